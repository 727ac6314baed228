//! Operators' attributes as text.

use crate::op::{Geometry, Op, Sampling, Unary, Window};
use crate::quant::Requantize;
use std::fmt::{Debug, Display};

/// Names and values of an operator's attributes, in the order in which they are printed.
#[derive(Default)]
pub(super) struct Attributes(pub Vec<(&'static str, String)>);

impl Attributes {
    /// All attributes of an operator.
    pub fn of(op: &Op) -> Self {
        let mut list = Self::default();
        match op {
            Op::Input | Op::Constant(_) | Op::Dense | Op::Binary(_) | Op::PRelu | Op::Dequantize => {}
            Op::Conv(conv) => list.geometry(&conv.geometry),
            Op::DeformConv(conv) => {
                list.geometry(&conv.geometry);
                list.sampling(conv.sampling);
                list.debug("modulated", conv.modulated);
            }
            Op::BatchNorm { epsilon } => list.debug("epsilon", epsilon),
            Op::Unary(unary) => list.unary(*unary),
            Op::MaxPool(window) => list.window(window),
            Op::AveragePool(pool) => {
                list.window(&pool.window);
                if let Some(counted) = &pool.counted_pads {
                    list.debug("counted_pads", counted);
                }
            }
            Op::ReduceMean { axes, keep } => {
                list.debug("axes", axes);
                list.debug("keep", keep);
            }
            Op::Concat { axis } | Op::Softmax { axis } => list.debug("axis", axis),
            Op::Slice { starts, sizes, steps } => {
                list.debug("starts", starts);
                list.debug("sizes", sizes);
                list.debug("steps", steps);
            }
            Op::Select { channels } => list.debug("channels", channels),
            Op::Pad { before, after, value } => {
                list.debug("before", before);
                list.debug("after", after);
                list.debug("value", value);
            }
            Op::Resize { factors } => list.debug("factors", factors),
            Op::Transpose { permutation } => list.debug("permutation", permutation),
            Op::Reshape { shape } => list.debug("shape", shape),
            Op::ArgMax { axis, keep, last } => {
                list.debug("axis", axis);
                list.debug("keep", keep);
                list.debug("last", last);
            }
            Op::Site(site) => list.debug("number", site.number),
            Op::Quantize { element, quantization } => {
                list.display("element", element);
                list.debug("scale", quantization.scale);
                list.debug("zero_point", quantization.zero_point);
            }
            Op::DequantizeWeights(weights) => {
                list.debug("axis", weights.axis);
                list.debug("scales", &weights.scales);
                list.debug("zero_points", &weights.zero_points);
            }
            Op::QConv(conv) => {
                list.geometry(&conv.geometry);
                list.debug("pad_value", conv.pad_value);
                list.requantize(&conv.requantize);
                list.display("element", conv.element);
            }
            Op::QDeformConv(conv) => {
                list.geometry(&conv.geometry);
                list.sampling(conv.sampling);
                list.debug("reach", conv.reach);
                list.debug("pad_value", conv.pad_value);
                list.requantize(&conv.requantize);
                list.display("element", conv.element);
            }
            Op::QAveragePool(pool) => {
                list.window(&pool.window);
                list.debug("pad_value", pool.pad_value);
                list.debug("bias", pool.bias);
                list.requantize(&pool.requantize);
                list.display("element", pool.element);
            }
            Op::QAdd(add) => {
                list.debug("multipliers", add.multipliers);
                list.debug("offset", add.offset);
                list.debug("shift", add.shift);
                list.debug("zero_point", add.zero_point);
                list.debug("lo", add.lo);
                list.debug("hi", add.hi);
                list.display("element", add.element);
            }
            Op::QMul(mul) => {
                list.debug("zero_points", mul.zero_points);
                list.requantize(&mul.requantize);
                list.display("element", mul.element);
            }
            Op::Table(table) => {
                list.debug("entries", &table.entries);
                list.display("element", table.element);
            }
            Op::TopPeaks(peaks) => list.debug("count", peaks.count),
        }
        list
    }

    // Debug prints a float so that it parses back to the same bits.
    fn debug(&mut self, name: &'static str, value: impl Debug) {
        self.0.push((name, format!("{value:?}")));
    }

    fn display(&mut self, name: &'static str, value: impl Display) {
        self.0.push((name, value.to_string()));
    }

    fn unary(&mut self, unary: Unary) {
        let names: &[&'static str] = match unary {
            Unary::Clip { .. } => &["lo", "hi"],
            Unary::HardSigmoid { .. } => &["alpha", "beta"],
            Unary::LeakyRelu { .. } | Unary::Elu { .. } => &["alpha"],
            Unary::Relu
            | Unary::Sigmoid
            | Unary::HardSwish
            | Unary::Silu
            | Unary::Tanh
            | Unary::Mish
            | Unary::Softplus
            | Unary::Gelu
            | Unary::Erf
            | Unary::Exp
            | Unary::Log
            | Unary::Sqrt
            | Unary::Reciprocal
            | Unary::Abs
            | Unary::Neg
            | Unary::Round
            | Unary::Floor
            | Unary::Ceil => &[],
        };
        for (name, parameter) in names.iter().zip(unary.parameters()) {
            self.debug(name, parameter);
        }
    }

    fn geometry(&mut self, geometry: &Geometry) {
        self.debug("strides", geometry.strides);
        self.debug("dilations", geometry.dilations);
        self.debug("pads", geometry.pads);
        self.debug("groups", geometry.groups);
    }

    fn sampling(&mut self, sampling: Sampling) {
        match sampling {
            Sampling::Free { offset_groups } => {
                self.display("sampling", "free");
                self.debug("offset_groups", offset_groups);
            }
            Sampling::Square => self.display("sampling", "square"),
        }
    }

    fn window(&mut self, window: &Window) {
        self.debug("kernel", window.kernel);
        self.debug("strides", window.strides);
        self.debug("dilations", window.dilations);
        self.debug("pads", window.pads);
    }

    fn requantize(&mut self, requantize: &Requantize) {
        self.debug("multipliers", &requantize.multipliers);
        self.debug("shifts", &requantize.shifts);
        self.debug("zero_point", requantize.zero_point);
        self.debug("lo", requantize.lo);
        self.debug("hi", requantize.hi);
    }
}
