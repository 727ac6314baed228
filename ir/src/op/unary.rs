//! Functions of one real.

use super::attributes::{Attribute, Attributes, Given, Named, Written};
use super::operator::Operator;
use super::shape;
use crate::tensor::{Tensor, TensorType};

/// A function of one real, with ONNX's meaning unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unary {
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, lo), hi)`; infinite bounds are allowed.
    Clip {
        /// Lower bound.
        lo: f32,
        /// Upper bound.
        hi: f32,
    },
    /// `x < 0 ? alpha * x : x`.
    LeakyRelu {
        /// Slope for negative values.
        alpha: f32,
    },
    /// `x < 0 ? alpha * (exp(x) - 1) : x`.
    Elu {
        /// Scale of the negative part.
        alpha: f32,
    },
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `max(0, min(1, alpha * x + beta))`.
    HardSigmoid {
        /// Slope.
        alpha: f32,
        /// Offset.
        beta: f32,
    },
    /// `x * max(0, min(1, x / 6 + 1 / 2))`.
    HardSwish,
    /// `x * sigmoid(x)`.
    Silu,
    /// Hyperbolic tangent.
    Tanh,
    /// `x * tanh(softplus(x))`.
    Mish,
    /// `ln(1 + exp(x))`.
    Softplus,
    /// Gaussian error linear unit, `x / 2 * (1 + erf(x / sqrt 2))`.
    Gelu,
    /// Error function.
    Erf,
    /// `exp(x)`.
    Exp,
    /// Natural logarithm.
    Log,
    /// Square root.
    Sqrt,
    /// `1 / x`.
    Reciprocal,
    /// `|x|`.
    Abs,
    /// `-x`.
    Neg,
    /// Nearest integer, halves to even.
    Round,
    /// Largest integer not above.
    Floor,
    /// Smallest integer not below.
    Ceil,
}

/// Names and parameters of the functions.
macro_rules! functions {
    ($($function:ident $name:literal $({ $($parameter:ident),* })?,)*) => {
        impl Unary {
            /// The operator's name in the text form.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$function $({ $($parameter: _),* })? => $name,)*
                }
            }

            /// The function's parameters, in declaration order.
            pub fn parameters(self) -> Vec<f32> {
                match self {
                    $(Self::$function $({ $($parameter),* })? => vec![$($($parameter),*)?],)*
                }
            }
        }

        impl Attributes for Unary {
            fn name(&self) -> &'static str {
                Unary::name(*self)
            }

            fn write(&self, to: &mut Written) {
                match self {
                    $(Self::$function $({ $($parameter),* })? => {
                        $($($parameter.write(stringify!($parameter), to);)*)?
                    })*
                }
            }
        }

        impl Named for Unary {
            fn read(name: &str, given: &mut Given) -> Option<Result<Self, String>> {
                let mut read = || {
                    Ok(Some(match name {
                        $($name => Self::$function $({
                            $($parameter: Attribute::read(stringify!($parameter), given)?),*
                        })?,)*
                        _ => return Ok(None),
                    }))
                };
                read().transpose()
            }
        }
    };
}

functions! {
    Relu "relu",
    Clip "clip" { lo, hi },
    LeakyRelu "leaky_relu" { alpha },
    Elu "elu" { alpha },
    Sigmoid "sigmoid",
    HardSigmoid "hard_sigmoid" { alpha, beta },
    HardSwish "hard_swish",
    Silu "silu",
    Tanh "tanh",
    Mish "mish",
    Softplus "softplus",
    Gelu "gelu",
    Erf "erf",
    Exp "exp",
    Log "log",
    Sqrt "sqrt",
    Reciprocal "reciprocal",
    Abs "abs",
    Neg "neg",
    Round "round",
    Floor "floor",
    Ceil "ceil",
}

impl Unary {
    /// The function's value. Transcendental functions are computed in double precision and
    /// rounded once.
    pub fn apply(self, x: f32) -> f32 {
        let wide = f64::from(x);
        match self {
            Self::Relu => relu(x),
            Self::Clip { lo, hi } => {
                let raised = if x < lo { lo } else { x };
                if raised > hi { hi } else { raised }
            }
            Self::LeakyRelu { alpha } => {
                if x < 0.0 {
                    alpha * x
                } else {
                    x
                }
            }
            Self::Elu { alpha } => {
                if x < 0.0 {
                    (f64::from(alpha) * wide.exp_m1()) as f32
                } else {
                    x
                }
            }
            Self::Sigmoid => sigmoid(wide) as f32,
            Self::HardSigmoid { alpha, beta } => unit(alpha * x + beta),
            Self::HardSwish => x * unit(x / 6.0 + 0.5),
            Self::Silu => (wide * sigmoid(wide)) as f32,
            Self::Tanh => wide.tanh() as f32,
            Self::Mish => (wide * softplus(wide).tanh()) as f32,
            Self::Softplus => softplus(wide) as f32,
            Self::Gelu => (wide / 2.0 * (1.0 + erf(wide * std::f64::consts::FRAC_1_SQRT_2))) as f32,
            Self::Erf => erf(wide) as f32,
            Self::Exp => wide.exp() as f32,
            Self::Log => wide.ln() as f32,
            Self::Sqrt => x.sqrt(),
            Self::Reciprocal => 1.0 / x,
            Self::Abs => x.abs(),
            Self::Neg => -x,
            Self::Round => x.round_ties_even(),
            Self::Floor => x.floor(),
            Self::Ceil => x.ceil(),
        }
    }
}

/// `max(x, 0)`; a NaN and a negative zero stay.
fn relu(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

/// Clamps to 0..1; a NaN stays.
fn unit(x: f32) -> f32 {
    x.clamp(0.0, 1.0)
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p() + if x.is_nan() { x } else { 0.0 }
}

/// The error function, by its series of positive terms
/// `2/sqrt(pi) * exp(-x^2) * sum of 2^n x^(2n+1) / (2n+1)!!`.
fn erf(x: f64) -> f64 {
    // 1 - erf(6) is below the precision of f64.
    if x.abs() >= 6.0 {
        return x.signum();
    }
    let square = x * x;
    let mut term = x;
    let mut sum = x;
    let mut divisor = 1.0;
    while term.abs() > sum.abs() * 1e-17 {
        divisor += 2.0;
        term *= 2.0 * square / divisor;
        sum += term;
    }
    std::f64::consts::FRAC_2_SQRT_PI * (-square).exp() * sum
}

impl Operator for Unary {
    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [x] = shape::exactly(operands)?;
        self.parameters().into_iter().try_for_each(shape::number)?;
        shape::float("the operand", x)?;
        Ok(x.clone())
    }

    fn eval(&self, _ty: &TensorType, _types: &[&TensorType], operands: &[&Tensor]) -> Tensor {
        let x = operands[0];
        let y: Vec<f32> = match self {
            // Written out for the compiler's vectors: it follows half of all layers.
            Self::Relu => x.f32s().iter().map(|&x| relu(x)).collect(),
            _ => x.f32s().iter().map(|&x| self.apply(x)).collect(),
        };
        Tensor::f32(x.shape.clone(), y)
    }
}
