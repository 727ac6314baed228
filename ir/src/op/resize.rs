//! Nearest-neighbour upsampling by integer factors, and copies of the border.

use super::attributes::{Attribute, Given, Written, attributes};
use super::operator::{Operator, Values};
use super::shape;
use crate::range::Operands;
use crate::tensor::{Data, Tensor, TensorType};

/// Nearest-neighbour upsampling by integer factors, with further copies of the border:
/// `x [n,h,w,c] -> [n,top+h*fy+bottom,left+w*fx+right,c]`, along each axis
/// `y[i] = x[(i - before) / factor]` within the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resize {
    /// Vertical and horizontal factor.
    pub factors: [usize; 2],
    /// Copies of the outermost rows and columns beyond those.
    pub borders: Borders,
}
attributes!(Resize, "resize", factors, borders);

/// Copies of rows and columns around an image: top, left, bottom, right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Borders(pub [usize; 4]);

impl Borders {
    /// Copies before and after an axis: 0 is vertical.
    pub fn of(self, axis: usize) -> [usize; 2] {
        [self.0[axis], self.0[axis + 2]]
    }
}

/// Left out where there are none.
impl Attribute for Borders {
    fn write(&self, name: &'static str, to: &mut Written) {
        if *self != Self::default() {
            self.0.write(name, to);
        }
    }

    fn read(name: &'static str, given: &mut Given) -> Result<Self, String> {
        if given.has(name) { Attribute::read(name, given).map(Self) } else { Ok(Self::default()) }
    }
}

impl Resize {
    /// Without borders.
    pub fn by(factors: [usize; 2]) -> Self {
        Self { factors, borders: Borders::default() }
    }

    /// Whether the result is the operand.
    pub fn is_identity(&self) -> bool {
        *self == Self::by([1, 1])
    }

    /// What repeating the result once more comes to.
    #[must_use]
    pub fn then(&self, outer: &Self) -> Self {
        let factors = [0, 1].map(|axis| self.factors[axis] * outer.factors[axis]);
        let borders = [0, 1, 2, 3].map(|side| self.borders.0[side] * outer.factors[side % 2] + outer.borders.0[side]);
        Self { factors, borders: Borders(borders) }
    }

    /// The operand's row or column (axis 1) of each of the result's, of `extent` in the operand.
    fn sources(&self, axis: usize, extent: usize) -> Vec<usize> {
        let (factor, [before, after]) = (self.factors[axis], self.borders.of(axis));
        let place = |index: usize| (index.saturating_sub(before) / factor).min(extent - 1);
        (0..before + extent * factor + after).map(place).collect()
    }
}

impl Operator for Resize {
    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let Self { factors, borders } = *self;
        let [x] = shape::exactly(operands)?;
        let [n, h, w, c] = shape::rank4("the operand", x)?;
        if factors.contains(&0) || factors.iter().any(|&factor| factor > shape::MAX_WINDOW) {
            return Err(format!("factors {factors:?} are not in 1 to {}", shape::MAX_WINDOW));
        }
        if borders.0.iter().any(|&copies| copies > shape::MAX_WINDOW) {
            return Err(format!("borders {:?} are not in 0 to {}", borders.0, shape::MAX_WINDOW));
        }
        let [height, width] = [(0, h), (1, w)].map(|(axis, extent)| {
            let [before, after] = borders.of(axis);
            before + extent * factors[axis] + after
        });
        Ok(TensorType { shape: shape::checked(vec![n, height, width, c])?, ..x.clone() })
    }

    fn eval(&self, ty: &TensorType, _types: &[&TensorType], operands: &[&Tensor]) -> Tensor {
        let x = operands[0];
        let data = match &x.data {
            Data::F32(data) => Data::F32(self.repeat(data, &x.shape, ty).into()),
            Data::Int(data) => Data::Int(self.repeat(data, &x.shape, ty).into()),
        };
        Tensor { shape: ty.shape.clone(), data }
    }

    fn values(&self, _operands: &Operands) -> Values {
        Values::OfOperands(None)
    }
}

impl Resize {
    fn repeat<T: Copy>(&self, x: &[T], shape: &[usize], ty: &TensorType) -> Vec<T> {
        let &[_, h, w, c] = shape else { return Vec::new() };
        let (rows, columns) = (self.sources(0, h), self.sources(1, w));
        let mut y = Vec::with_capacity(ty.count());
        for image in x.chunks_exact(h * w * c) {
            for row in &rows {
                let row = &image[row * w * c..][..w * c];
                for column in &columns {
                    y.extend_from_slice(&row[column * c..][..c]);
                }
            }
        }
        y
    }
}
