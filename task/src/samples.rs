//! Arrays of samples in `.npy`/`.npz` files.

use crate::failure::Failure;
use crate::file;
use lutweave_ir::{Data, Diagnostic, Tensor};
use lutweave_models::npz::NpzWriter;
use std::io::{self, Read, Seek};
use std::path::Path;
use zip::ZipArchive;

/// A numeric array, as read.
#[derive(Clone, Debug)]
pub struct Array {
    /// Extents.
    pub shape: Vec<usize>,
    /// Elements in row-major order. All integers up to 32 bits are exact in `f64`.
    pub values: Vec<f64>,
}

/// What an array's header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Extents.
    pub shape: Vec<usize>,
    /// Type of the elements.
    pub element: Stored,
    /// The first axis varies fastest (Fortran's order).
    transposed: bool,
}

/// How a file stores an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    kind: Kind,
    bytes: usize,
    big_endian: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Signed,
    Unsigned,
    Float,
}

impl Stored {
    /// True for integers.
    pub fn is_integer(self) -> bool {
        self.kind != Kind::Float
    }

    /// As NumPy names it.
    pub fn name(self) -> String {
        let kind = match self.kind {
            Kind::Signed => "int",
            Kind::Unsigned => "uint",
            Kind::Float => "float",
        };
        format!("{kind}{}", 8 * self.bytes)
    }

    fn of(descriptor: &npyz::TypeStr) -> Option<Self> {
        let kind = match descriptor.type_char() {
            npyz::TypeChar::Int => Kind::Signed,
            npyz::TypeChar::Uint => Kind::Unsigned,
            npyz::TypeChar::Float => Kind::Float,
            _ => return None,
        };
        let bytes = usize::try_from(descriptor.size_field()).ok()?;
        let known = matches!((kind, bytes), (Kind::Float, 4 | 8) | (Kind::Signed | Kind::Unsigned, 1 | 2 | 4 | 8));
        let big_endian = descriptor.endianness() == npyz::Endianness::Big;
        known.then_some(Self { kind, bytes, big_endian })
    }

    /// The element in its bytes, of which there are as many as it has.
    fn read(self, bytes: &[u8]) -> f64 {
        let mut little = [0u8; 8];
        little[..self.bytes].copy_from_slice(bytes);
        if self.big_endian {
            little[..self.bytes].reverse();
        }
        let bits = u64::from_le_bytes(little);
        let unused = 64 - 8 * self.bytes as u32;
        match (self.kind, self.bytes) {
            (Kind::Float, 4) => f64::from(f32::from_bits(bits as u32)),
            (Kind::Float, _) => f64::from_bits(bits),
            (Kind::Signed, _) => ((bits << unused) as i64 >> unused) as f64,
            (Kind::Unsigned, _) => bits as f64,
        }
    }
}

/// Most elements that are read at once.
const MAX_ELEMENTS: usize = 1 << 26;

/// Most bytes that an array may claim to unpack to.
const MAX_BYTES: u64 = 1 << 36;

/// An open `.npz` file. What is read of it is bounded by what is asked for, whatever it claims.
pub struct Archive {
    reader: ZipArchive<Box<dyn Seekable>>,
    name: String,
}

/// What an archive is read from.
pub trait Seekable: Read + Seek {}

impl<R: Read + Seek> Seekable for R {}

impl Archive {
    /// Opens a file.
    ///
    /// # Errors
    /// If it cannot be read, or is not an `.npz` file.
    pub fn open_file(path: &Path) -> Result<Self, Failure> {
        let file = file::open(path, "open the data")?;
        Self::open(std::io::BufReader::new(file), &path.display().to_string())
    }

    /// Opens an archive; `name` is for messages.
    ///
    /// # Errors
    /// If it is not an `.npz` file.
    pub fn open(reader: impl Seekable + 'static, name: &str) -> Result<Self, Failure> {
        let reader = ZipArchive::new(Box::new(reader) as Box<dyn Seekable>).map_err(|error| {
            Diagnostic::error("bad-data", format!("not an npz file: {error}"))
                .at(name)
                .help("save arrays with `numpy.savez_compressed(\"data.npz\", images=.., labels=..)`")
        })?;
        Ok(Self { reader, name: name.to_owned() })
    }

    /// Names of the arrays, without `.npy`.
    pub fn names(&self) -> Vec<String> {
        self.reader.file_names().map(|name| name.strip_suffix(".npy").unwrap_or(name).to_owned()).collect()
    }

    /// The arrays with types and shapes, for messages.
    pub fn listing(&mut self) -> String {
        let names = self.names();
        let lines = names.iter().map(|name| match self.header(name) {
            Ok(header) => format!("`{name}` {}{:?}", header.element.name(), header.shape),
            Err(_) => format!("`{name}`"),
        });
        lines.collect::<Vec<_>>().join(", ")
    }

    /// Type and shape of an array.
    ///
    /// # Errors
    /// If there is no such array, or its header is damaged or of another type.
    pub fn header(&mut self, name: &str) -> Result<Header, Failure> {
        self.entry(name).map(|(header, _)| header)
    }

    /// An array of integers or floats of at most 64 bits.
    ///
    /// # Errors
    /// If there is no such array, it is damaged, of another type, or has more than 2^26 elements.
    pub fn array(&mut self, name: &str) -> Result<Array, Failure> {
        let header = self.header(name)?;
        let count: usize = header.shape.iter().product();
        if count > MAX_ELEMENTS {
            let message = format!("array `{name}` has {count} elements, of which at most {MAX_ELEMENTS} are read");
            return Err(fault(&self.name, message));
        }
        let rows = header.shape.first().copied().unwrap_or(1);
        let mut values = Vec::with_capacity(count);
        self.rows(name, &(0..rows).collect::<Vec<_>>(), |row| {
            values.extend_from_slice(row);
            Ok(())
        })?;
        Ok(Array { shape: header.shape, values })
    }

    /// Calls `each` with the elements at some positions, which ascend, of an array's first axis.
    /// One row is held at a time.
    ///
    /// # Errors
    /// As [`Archive::array`]; a position that does not exist; what `each` says.
    pub fn rows(
        &mut self,
        name: &str,
        positions: &[usize],
        mut each: impl FnMut(&[f64]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let archive = self.name.clone();
        let unreadable = |cause: String| fault(&archive, format!("array `{name}` cannot be read: {cause}"));
        let (header, mut reader) = self.entry(name)?;
        let extent = header.shape.first().copied().unwrap_or(1);
        let size: usize = header.shape.iter().skip(1).product();
        if let Some(position) = positions.iter().find(|&&position| position >= extent) {
            return Err(unreadable(format!("there is no element {position}, it has {extent}")));
        }
        // Where the first axis varies fastest, a row is everywhere.
        let held = if header.transposed { extent.saturating_mul(size) } else { size };
        if held > MAX_ELEMENTS {
            return Err(unreadable(format!("{held} elements at once are too many; at most {MAX_ELEMENTS} are read")));
        }
        let mut bytes = vec![0; held * header.element.bytes];
        let mut next = |bytes: &mut [u8]| reader.read_exact(bytes).map_err(|error| unreadable(error.to_string()));
        let elements =
            |bytes: &[u8]| bytes.chunks_exact(header.element.bytes).map(|bytes| header.element.read(bytes)).collect();
        if header.transposed {
            next(&mut bytes)?;
            let all: Vec<f64> = elements(&bytes);
            return positions.iter().try_for_each(|&position| each(&row_of_transposed(&all, &header.shape, position)));
        }
        let mut passed = 0;
        for &position in positions {
            while passed <= position {
                next(&mut bytes)?;
                passed += 1;
            }
            let row: Vec<f64> = elements(&bytes);
            each(&row)?;
        }
        Ok(())
    }

    /// The header of an array, and what follows it.
    fn entry(&mut self, name: &str) -> Result<(Header, impl Read), Failure> {
        if !self.names().iter().any(|known| known == name) {
            let listing = self.listing();
            return Err(fault(&self.name, format!("there is no array `{name}`; there are: {listing}")));
        }
        let unreadable = |cause: String| fault(&self.name, format!("array `{name}` cannot be read: {cause}"));
        let file = format!("{name}.npy");
        let file = if self.reader.index_for_name(&file).is_some() { file } else { name.to_owned() };
        let mut reader = self.reader.by_name(&file).map_err(|error| unreadable(error.to_string()))?;
        let size = reader.size();
        // A header of one line: whoever claims more claims too much.
        const MAX_HEADER: u64 = 1 << 16;
        let header = npyz::NpyHeader::from_reader(&mut reader.by_ref().take(MAX_HEADER))
            .map_err(|error| unreadable(format!("it is no npy array ({error})")))?;
        let element = match header.dtype() {
            npyz::DType::Plain(descriptor) => Stored::of(&descriptor),
            _ => None,
        };
        let element =
            element.ok_or_else(|| unreadable("its elements are not integers or floats of 32 or 64 bits".to_owned()))?;
        let extents: Option<Vec<usize>> = header.shape().iter().map(|&extent| usize::try_from(extent).ok()).collect();
        let count =
            |shape: &Vec<usize>| shape.iter().try_fold(element.bytes, |bytes, &extent| bytes.checked_mul(extent));
        let shape = extents.filter(|shape| count(shape).is_some_and(|bytes| bytes as u64 <= size.min(MAX_BYTES)));
        let shape = shape.ok_or_else(|| unreadable("its header does not fit its size".to_owned()))?;
        Ok((Header { shape, element, transposed: header.order() == npyz::Order::Fortran }, reader))
    }
}

/// The elements at a position of the first axis, in row-major order, of an array whose first axis
/// varies fastest.
fn row_of_transposed(all: &[f64], shape: &[usize], position: usize) -> Vec<f64> {
    let extent = shape.first().copied().unwrap_or(1);
    let inner = shape.get(1..).unwrap_or_default();
    let size: usize = inner.iter().product();
    let at = |index: usize| {
        let (mut rest, mut place, mut stride) = (index, position, extent);
        let mut offsets = vec![0; inner.len()];
        for axis in (0..inner.len()).rev() {
            offsets[axis] = rest % inner[axis];
            rest /= inner[axis];
        }
        for (offset, &length) in offsets.iter().zip(inner) {
            place += offset * stride;
            stride *= length;
        }
        all[place]
    };
    (0..size).map(at).collect()
}

fn fault(name: &str, message: String) -> Failure {
    Diagnostic::error("bad-data", message).at(name).into()
}

/// Writes named tensors as an `.npz` file. Integers are stored as `i32`.
///
/// # Errors
/// What the file system says.
pub fn write(bytes: &mut Vec<u8>, tensors: &[(String, Tensor)]) -> io::Result<()> {
    let mut writer = NpzWriter::compressed(std::io::Cursor::new(bytes));
    for (name, tensor) in tensors {
        match &tensor.data {
            Data::F32(data) => writer.add(name, &tensor.shape, data)?,
            Data::Int(data) => writer.add(name, &tensor.shape, data)?,
        }
    }
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Cursor, Write};

    fn archive(arrays: &[(&str, &[u8])]) -> Archive {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in arrays {
            let options = zip::write::SimpleFileOptions::default();
            writer.start_file(*name, options).expect("a file can be added");
            writer.write_all(bytes).expect("memory can be written");
        }
        Archive::open(writer.finish().expect("memory can be written"), "x.npz").expect("it is an archive")
    }

    fn npy(descriptor: &str, transposed: bool, shape: &str, data: &[u8]) -> Vec<u8> {
        let order = if transposed { "True" } else { "False" };
        let header = format!("{{'descr': '{descriptor}', 'fortran_order': {order}, 'shape': {shape}, }}\n");
        [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), data].concat()
    }

    #[test]
    fn elements_of_every_type_are_read() {
        let one = |descriptor: &str, data: &[u8]| {
            let bytes = npy(descriptor, false, "(1,)", data);
            archive(&[("x.npy", &bytes)]).array("x").map(|array| array.values[0]).ok()
        };
        assert_eq!(one("|u1", &[200]), Some(200.0));
        assert_eq!(one("|i1", &[200]), Some(-56.0));
        assert_eq!(one(">i2", &[0xff, 0xfe]), Some(-2.0));
        assert_eq!(one("<i8", &(-3i64).to_le_bytes()), Some(-3.0));
        assert_eq!(one("<f4", &1.5f32.to_le_bytes()), Some(1.5));
        assert_eq!(one(">f8", &(-1.5f64).to_be_bytes()), Some(-1.5));
        assert_eq!(one("<f2", &[0, 0]), None);
        assert_eq!(one("<U1", &[0; 4]), None);
    }

    #[test]
    fn rows_are_those_asked_for_in_either_order() {
        let data: Vec<u8> = (0..12).collect();
        let straight = npy("|u1", false, "(3, 2, 2)", &data);
        let transposed = npy("|u1", true, "(3, 2, 2)", &data);
        let mut archive = archive(&[("a.npy", &straight), ("b.npy", &transposed)]);
        let mut rows = |name: &str, positions: &[usize]| {
            let mut rows = Vec::new();
            archive.rows(name, positions, |row| {
                rows.push(row.to_vec());
                Ok(())
            })?;
            Ok::<_, Failure>(rows)
        };
        assert_eq!(rows("a", &[0, 2]).ok(), Some(vec![vec![0.0, 1.0, 2.0, 3.0], vec![8.0, 9.0, 10.0, 11.0]]));
        // Element (i, j, k) is at i + 3j + 6k.
        assert_eq!(rows("b", &[1]).ok(), Some(vec![vec![1.0, 7.0, 4.0, 10.0]]));
        assert!(rows("a", &[3]).is_err());
        assert_eq!(archive.listing(), "`a` uint8[3, 2, 2], `b` uint8[3, 2, 2]");
    }

    #[test]
    fn only_one_suffix_is_the_formats() {
        let bytes = npy("|u1", false, "(1,)", &[3]);
        let mut archive = archive(&[("a.npy.npy", &bytes)]);
        assert_eq!(archive.names(), ["a.npy"]);
        assert_eq!(archive.array("a.npy").map(|array| array.values).ok(), Some(vec![3.0]));
    }

    #[test]
    fn headers_that_claim_too_much_are_refused() {
        for shape in ["(99999999999, 99999999999)", "(100,)", "(-1, 2)", "5", ""] {
            let bytes = npy("<f4", false, shape, &[0; 16]);
            assert!(archive(&[("x.npy", &bytes)]).array("x").is_err(), "{shape}");
        }
        let whole = npy("|u1", false, "(7,)", &[0; 7]);
        for length in 0..whole.len() {
            assert!(archive(&[("x.npy", &whole[..length])]).array("x").is_err(), "{length}");
        }
        assert!(archive(&[("x.npy", &whole)]).array("x").is_ok());
    }
}
