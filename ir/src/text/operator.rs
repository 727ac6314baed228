//! Operators from their name and attributes.

use super::lexer::{Cursor, Value, element, number, numbers};
use crate::op::{
    AveragePool, Binary, Conv, DeformConv, DequantizeWeights, Geometry, Op, QAdd, QAveragePool, QConv, QDeformConv,
    QMul, Sampling, Site, SiteKind, Table, TopPeaks, Unary, Window,
};
use crate::quant::{Quantization, Requantize};
use crate::tensor::Element;
use std::str::FromStr;

/// The attributes of a line, consumed one by one.
pub(super) struct Given<'a>(Vec<(&'a str, Value<'a>)>);

impl<'a> Given<'a> {
    /// Reads `{name=value, ..}` if it is next.
    pub fn read(cursor: &mut Cursor<'a>) -> Result<Self, String> {
        let mut given: Vec<(&str, Value)> = Vec::new();
        if cursor.take("{") {
            loop {
                let name = cursor.word()?;
                cursor.expect("=")?;
                if given.iter().any(|(known, _)| *known == name) {
                    return Err(format!("attribute `{name}` is given twice"));
                }
                given.push((name, cursor.value()?));
                if cursor.take("}") {
                    break;
                }
                cursor.expect(",")?;
            }
        }
        Ok(Self(given))
    }

    /// The operator of a name. Every attribute must be one of its own.
    pub fn operator(mut self, name: &str) -> Result<Op, String> {
        let op = self.build(name)?;
        match self.0.first() {
            None => Ok(op),
            Some((attribute, _)) => Err(format!("`{name}` has no attribute `{attribute}`")),
        }
    }

    fn build(&mut self, name: &str) -> Result<Op, String> {
        if let Some(binary) = Binary::ALL.into_iter().find(|binary| binary.name() == name) {
            return Ok(Op::Binary(binary));
        }
        Ok(match name {
            "conv" => Op::Conv(Conv { geometry: self.geometry()? }),
            "deform_conv" => Op::DeformConv(DeformConv {
                geometry: self.geometry()?,
                sampling: self.sampling()?,
                modulated: self.one("modulated")?,
            }),
            "dense" => Op::Dense,
            "batch_norm" => Op::BatchNorm { epsilon: self.one("epsilon")? },
            "prelu" => Op::PRelu,
            "max_pool" => Op::MaxPool(self.window()?),
            "average_pool" => Op::AveragePool(AveragePool {
                window: self.window()?,
                counted_pads: if self.has("counted_pads") { Some(self.array("counted_pads")?) } else { None },
            }),
            "reduce_mean" => Op::ReduceMean { axes: self.many("axes")?, keep: self.one("keep")? },
            "concat" => Op::Concat { axis: self.one("axis")? },
            "slice" => {
                Op::Slice { starts: self.many("starts")?, sizes: self.many("sizes")?, steps: self.many("steps")? }
            }
            "select" => Op::Select { channels: self.many("channels")? },
            "pad" => Op::Pad { before: self.many("before")?, after: self.many("after")?, value: self.one("value")? },
            "resize" => Op::Resize { factors: self.array("factors")? },
            "transpose" => Op::Transpose { permutation: self.many("permutation")? },
            "reshape" => Op::Reshape { shape: self.many("shape")? },
            "softmax" => Op::Softmax { axis: self.one("axis")? },
            "argmax" => Op::ArgMax { axis: self.one("axis")?, keep: self.one("keep")?, last: self.one("last")? },
            "quantize" => Op::Quantize {
                element: self.element()?,
                quantization: Quantization { scale: self.one("scale")?, zero_point: self.one("zero_point")? },
            },
            "weight_site" => Op::Site(Site { number: self.one("number")?, kind: SiteKind::Weights }),
            "activation_site" => Op::Site(Site { number: self.one("number")?, kind: SiteKind::Activation }),
            "dequantize" => Op::Dequantize,
            "dequantize_weights" => Op::DequantizeWeights(DequantizeWeights {
                axis: self.one("axis")?,
                scales: self.many("scales")?,
                zero_points: self.many("zero_points")?,
            }),
            "qconv" => Op::QConv(QConv {
                geometry: self.geometry()?,
                pad_value: self.one("pad_value")?,
                requantize: self.requantize()?,
                element: self.element()?,
            }),
            "qdeform_conv" => Op::QDeformConv(QDeformConv {
                geometry: self.geometry()?,
                sampling: self.sampling()?,
                reach: self.one("reach")?,
                pad_value: self.one("pad_value")?,
                requantize: self.requantize()?,
                element: self.element()?,
            }),
            "qaverage_pool" => Op::QAveragePool(QAveragePool {
                window: self.window()?,
                pad_value: self.one("pad_value")?,
                bias: self.one("bias")?,
                requantize: self.requantize()?,
                element: self.element()?,
            }),
            "qadd" => Op::QAdd(QAdd {
                multipliers: self.array("multipliers")?,
                offset: self.one("offset")?,
                shift: self.one("shift")?,
                zero_point: self.one("zero_point")?,
                lo: self.one("lo")?,
                hi: self.one("hi")?,
                element: self.element()?,
            }),
            "qmul" => Op::QMul(QMul {
                zero_points: self.array("zero_points")?,
                requantize: self.requantize()?,
                element: self.element()?,
            }),
            "table" => Op::Table(Table { entries: self.many::<i32>("entries")?.into(), element: self.element()? }),
            "top_peaks" => Op::TopPeaks(TopPeaks { count: self.one("count")? }),
            _ => Op::Unary(self.unary(name)?),
        })
    }

    fn unary(&mut self, name: &str) -> Result<Unary, String> {
        Ok(match name {
            "relu" => Unary::Relu,
            "clip" => Unary::Clip { lo: self.one("lo")?, hi: self.one("hi")? },
            "leaky_relu" => Unary::LeakyRelu { alpha: self.one("alpha")? },
            "elu" => Unary::Elu { alpha: self.one("alpha")? },
            "sigmoid" => Unary::Sigmoid,
            "hard_sigmoid" => Unary::HardSigmoid { alpha: self.one("alpha")?, beta: self.one("beta")? },
            "hard_swish" => Unary::HardSwish,
            "silu" => Unary::Silu,
            "tanh" => Unary::Tanh,
            "mish" => Unary::Mish,
            "softplus" => Unary::Softplus,
            "gelu" => Unary::Gelu,
            "erf" => Unary::Erf,
            "exp" => Unary::Exp,
            "log" => Unary::Log,
            "sqrt" => Unary::Sqrt,
            "reciprocal" => Unary::Reciprocal,
            "abs" => Unary::Abs,
            "neg" => Unary::Neg,
            "round" => Unary::Round,
            "floor" => Unary::Floor,
            "ceil" => Unary::Ceil,
            _ => return Err(format!("there is no operator `{name}`")),
        })
    }

    fn geometry(&mut self) -> Result<Geometry, String> {
        Ok(Geometry {
            strides: self.array("strides")?,
            dilations: self.array("dilations")?,
            pads: self.array("pads")?,
            groups: self.one("groups")?,
        })
    }

    fn sampling(&mut self) -> Result<Sampling, String> {
        match self.word("sampling")? {
            "free" => Ok(Sampling::Free { offset_groups: self.one("offset_groups")? }),
            "square" => Ok(Sampling::Square),
            other => Err(format!("`{other}` is not a sampling: it is `free` or `square`")),
        }
    }

    fn window(&mut self) -> Result<Window, String> {
        Ok(Window {
            kernel: self.array("kernel")?,
            strides: self.array("strides")?,
            dilations: self.array("dilations")?,
            pads: self.array("pads")?,
        })
    }

    fn requantize(&mut self) -> Result<Requantize, String> {
        Ok(Requantize {
            multipliers: self.many("multipliers")?,
            shifts: self.many("shifts")?,
            zero_point: self.one("zero_point")?,
            lo: self.one("lo")?,
            hi: self.one("hi")?,
        })
    }

    fn element(&mut self) -> Result<Element, String> {
        element(self.word("element")?)
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| *known == name)
    }

    fn take(&mut self, name: &str) -> Result<Value<'a>, String> {
        let position = self.0.iter().position(|(known, _)| *known == name);
        position.map(|position| self.0.remove(position).1).ok_or_else(|| format!("attribute `{name}` is missing"))
    }

    fn word(&mut self, name: &str) -> Result<&'a str, String> {
        match self.take(name)? {
            Value::Word(word) => Ok(word),
            Value::List(_) => Err(format!("attribute `{name}` must be a single value")),
        }
    }

    fn one<T: FromStr>(&mut self, name: &str) -> Result<T, String> {
        number(self.word(name)?)
    }

    fn many<T: FromStr>(&mut self, name: &str) -> Result<Vec<T>, String> {
        match self.take(name)? {
            Value::List(words) => numbers(&words),
            Value::Word(_) => Err(format!("attribute `{name}` must be a list")),
        }
    }

    fn array<T: FromStr, const N: usize>(&mut self, name: &str) -> Result<[T; N], String> {
        self.many(name)?.try_into().map_err(|_| format!("attribute `{name}` must have {N} values"))
    }
}
