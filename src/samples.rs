//! Arrays of samples in `.npy`/`.npz` files.

use crate::failure::Failure;
use lutweave_ir::{Diagnostic, Tensor};
use ndarray::{ArrayD, IxDyn, OwnedRepr};
use ndarray_npy::{NpzReader, NpzWriter, ReadableElement};
use std::io::{Read, Seek};

/// A numeric array, as read.
#[derive(Clone, Debug)]
pub struct Array {
    /// Extents.
    pub shape: Vec<usize>,
    /// Elements in row-major order. All integers up to 32 bits are exact in `f64`.
    pub values: Vec<f64>,
}

/// An open `.npz` file.
pub struct Archive<R: Read + Seek> {
    reader: NpzReader<R>,
    name: String,
}

impl<R: Read + Seek> Archive<R> {
    /// Opens an archive; `name` is for messages.
    ///
    /// # Errors
    /// If it is not an `.npz` file.
    pub fn open(reader: R, name: &str) -> Result<Self, Failure> {
        let reader = NpzReader::new(reader).map_err(|error| fault(name, format!("not an npz file: {error}")))?;
        Ok(Self { reader, name: name.to_owned() })
    }

    /// Names of the arrays, without `.npy`.
    ///
    /// # Errors
    /// If the archive is damaged.
    pub fn names(&mut self) -> Result<Vec<String>, Failure> {
        let names = self.reader.names().map_err(|error| fault(&self.name, error.to_string()))?;
        Ok(names.into_iter().map(|name| name.trim_end_matches(".npy").to_owned()).collect())
    }

    /// An array of any integer or float type of at most 64 bits.
    ///
    /// # Errors
    /// If there is no such array, or it is damaged or of another type.
    pub fn array(&mut self, name: &str) -> Result<Array, Failure> {
        let names = self.names()?;
        if !names.iter().any(|known| known == name) {
            return Err(fault(&self.name, format!("there is no array `{name}`; there are: {}", names.join(", "))));
        }
        let mut causes: Vec<String> = Vec::new();
        macro_rules! attempt {
            ($($element:ty),*) => {
                $(match self.typed::<$element>(name) {
                    Ok(array) => return Ok(convert(array, |value| value as f64)),
                    Err(error) => causes.push(error),
                })*
            };
        }
        attempt!(u8, i8, f32, f64, i64, i32, u16, i16, u32, u64);
        let cause = causes.pop().unwrap_or_default();
        Err(fault(&self.name, format!("array `{name}` cannot be read: {cause}")))
    }

    fn typed<T: ReadableElement>(&mut self, name: &str) -> Result<ArrayD<T>, String> {
        self.reader.by_name::<OwnedRepr<T>, IxDyn>(name).map_err(|error| error.to_string())
    }
}

fn convert<T: Copy>(array: ArrayD<T>, as_f64: impl Fn(T) -> f64) -> Array {
    Array { shape: array.shape().to_vec(), values: array.iter().map(|&value| as_f64(value)).collect() }
}

fn fault(name: &str, message: String) -> Failure {
    Diagnostic::error("bad-data", message).at(name).into()
}

/// Writes named tensors as an `.npz` file. Integers are stored as `i32`.
///
/// # Errors
/// What the file system says.
pub fn write(bytes: &mut Vec<u8>, tensors: &[(String, Tensor)]) -> Result<(), String> {
    let mut writer = NpzWriter::new_compressed(std::io::Cursor::new(bytes));
    for (name, tensor) in tensors {
        let shape = IxDyn(&tensor.shape);
        let result = match &tensor.data {
            lutweave_ir::Data::F32(data) => ArrayD::from_shape_vec(shape, data.to_vec())
                .map_err(|error| error.to_string())
                .and_then(|array| writer.add_array(name.clone(), &array).map_err(|error| error.to_string())),
            lutweave_ir::Data::Int(data) => ArrayD::from_shape_vec(shape, data.to_vec())
                .map_err(|error| error.to_string())
                .and_then(|array| writer.add_array(name.clone(), &array).map_err(|error| error.to_string())),
        };
        result?;
    }
    writer.finish().map_err(|error| error.to_string())?;
    Ok(())
}
