//! Places of lossy choices.

use super::attributes::{Attribute, Attributes, Given, Named, Written};
use super::operator::Operator;
use super::shape;
use crate::tensor::{Tensor, TensorType};

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

impl Attributes for Site {
    fn name(&self) -> &'static str {
        self.kind.name()
    }

    fn write(&self, to: &mut Written) {
        self.number.write("number", to);
    }
}

impl Named for Site {
    fn read(name: &str, given: &mut Given) -> Option<Result<Self, String>> {
        let kind = [SiteKind::Weights, SiteKind::Activation].into_iter().find(|kind| kind.name() == name)?;
        Some(Attribute::read("number", given).map(|number| Self { number, kind }))
    }
}

impl Operator for Site {
    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [x] = shape::exactly(operands)?;
        shape::float("the operand", x)?;
        Ok(TensorType::clone(x))
    }

    fn eval(&self, _ty: &TensorType, _types: &[&TensorType], operands: &[&Tensor]) -> Tensor {
        operands[0].clone()
    }
}
