//! Arrays of samples in `.npy`/`.npz` files.

use crate::failure::Failure;
use lutweave_ir::{Diagnostic, Tensor};
use ndarray::{ArrayD, IxDyn};
use ndarray_npy::{NpzWriter, ReadNpyError, ReadNpyExt};
use std::io::{Read, Seek};
use zip::ZipArchive;

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
    reader: ZipArchive<R>,
    name: String,
}

impl<R: Read + Seek> Archive<R> {
    /// Opens an archive; `name` is for messages.
    ///
    /// # Errors
    /// If it is not an `.npz` file.
    pub fn open(reader: R, name: &str) -> Result<Self, Failure> {
        let reader = ZipArchive::new(reader).map_err(|error| fault(name, format!("not an npz file: {error}")))?;
        Ok(Self { reader, name: name.to_owned() })
    }

    /// Names of the arrays, without `.npy`.
    pub fn names(&self) -> Vec<String> {
        self.reader.file_names().map(|name| name.trim_end_matches(".npy").to_owned()).collect()
    }

    /// An array of any integer or float type of at most 64 bits.
    ///
    /// # Errors
    /// If there is no such array, or it is damaged or of another type.
    pub fn array(&mut self, name: &str) -> Result<Array, Failure> {
        let names = self.names();
        if !names.iter().any(|known| known == name) {
            return Err(fault(&self.name, format!("there is no array `{name}`; there are: {}", names.join(", "))));
        }
        let unreadable = |cause: String| fault(&self.name, format!("array `{name}` cannot be read: {cause}"));
        let bytes = content(&mut self.reader, name).map_err(unreadable)?;
        // The reader allocates what the header says before it looks at the data.
        if claimed_elements(&bytes).is_none_or(|elements| elements > bytes.len() as u64) {
            return Err(unreadable("its header does not fit its size".to_owned()));
        }
        macro_rules! attempt {
            ($($element:ty),*) => {
                $(match ArrayD::<$element>::read_npy(&bytes[..]) {
                    Ok(array) => return Ok(convert(array, |value| value as f64)),
                    Err(ReadNpyError::WrongDescriptor(_)) => {}
                    Err(error) => return Err(unreadable(error.to_string())),
                })*
            };
        }
        attempt!(u8, i8, f32, f64, i64, i32, u16, i16, u32, u64);
        Err(unreadable("its elements are not integers or floats of at most 64 bits".to_owned()))
    }
}

/// The bytes of an array's file, with or without `.npy` in its name.
fn content<R: Read + Seek>(reader: &mut ZipArchive<R>, name: &str) -> Result<Vec<u8>, String> {
    let file = format!("{name}.npy");
    let file = if reader.index_for_name(&file).is_some() { file } else { name.to_owned() };
    let mut entry = reader.by_name(&file).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// Elements that the header of an `.npy` file claims; `None` if it makes no sense.
fn claimed_elements(bytes: &[u8]) -> Option<u64> {
    let (start, length): (usize, usize) = match bytes.get(6)? {
        1 => (10, usize::from(u16::from_le_bytes(bytes.get(8..10)?.try_into().ok()?))),
        _ => (12, usize::try_from(u32::from_le_bytes(bytes.get(8..12)?.try_into().ok()?)).ok()?),
    };
    let header = String::from_utf8_lossy(bytes.get(start..start.checked_add(length)?)?);
    let (_, shape) = header.split_once("'shape'").or_else(|| header.split_once("\"shape\""))?;
    let (_, shape) = shape.split_once('(')?;
    let (extents, _) = shape.split_once(')')?;
    let mut extents = extents.split(',').map(str::trim).filter(|extent| !extent.is_empty());
    extents.try_fold(1u64, |count, extent| count.checked_mul(extent.trim_end_matches('L').parse().ok()?))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(header: &str) -> Vec<u8> {
        [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes()].concat()
    }

    #[test]
    fn headers_say_how_many_elements_there_are() {
        assert_eq!(claimed_elements(&npy("{'descr': '<f4', 'shape': (3, 1, 28), }")), Some(84));
        assert_eq!(claimed_elements(&npy("{'shape': (7,)}")), Some(7));
        assert_eq!(claimed_elements(&npy("{'shape': ()}")), Some(1));
        assert_eq!(claimed_elements(&npy("{'shape': (0, 5)}")), Some(0));
        for header in
            ["", "{'shape': 5}", "{'shape': (x)}", "{'shape': (-1, 2)}", "{'shape': (99999999999, 99999999999)}"]
        {
            assert_eq!(claimed_elements(&npy(header)), None, "{header}");
        }
        let whole = npy("{'shape': (7,)}");
        for length in 0..whole.len() {
            assert_eq!(claimed_elements(&whole[..length]), None);
        }
    }
}
