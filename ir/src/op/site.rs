//! Places of lossy choices.

use super::shape;
use crate::tensor::TensorType;

/// What is rounded at a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SiteKind {
    /// The weights of a layer: any function of position and value.
    Weights,
    /// A computed value: one non-decreasing function for all elements, which maps 0 to 0.
    Activation,
}

impl SiteKind {
    /// The operator's name in the text form.
    pub fn name(self) -> &'static str {
        match self {
            Self::Weights => "weight_site",
            Self::Activation => "activation_site",
        }
    }
}

/// A place where a lossy choice will be made: how many bits, which weights are zero.
///
/// A graph with sites is a family of functions, one for every choice of a setting per site; as
/// long as nothing is chosen, every site is the identity, which is also what evaluation computes.
/// Two sites with one number have one setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Site {
    /// Identifies the setting.
    pub number: u32,
    /// What is rounded.
    pub kind: SiteKind,
}

/// Type of the result: the operand's, a float.
pub(crate) fn infer(operands: &[&TensorType]) -> Result<TensorType, String> {
    let [x] = shape::exactly(operands)?;
    shape::float("the operand", x)?;
    Ok(TensorType::clone(x))
}
