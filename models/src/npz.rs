//! Arrays into an `.npz` file.

use npyz::{AutoSerialize, WriterBuilder};
use std::io::{self, Seek, Write};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Writes arrays into an `.npz` file, which NumPy reads. The same arrays give the same bytes.
pub struct NpzWriter<W: Write + Seek> {
    archive: ZipWriter<W>,
    options: SimpleFileOptions,
}

impl<W: Write + Seek> NpzWriter<W> {
    /// Arrays are stored as they are.
    pub fn new(writer: W) -> Self {
        Self::with(writer, CompressionMethod::Stored)
    }

    /// Arrays are compressed.
    pub fn compressed(writer: W) -> Self {
        Self::with(writer, CompressionMethod::Deflated)
    }

    fn with(writer: W, method: CompressionMethod) -> Self {
        let options = SimpleFileOptions::default().compression_method(method).large_file(true);
        Self { archive: ZipWriter::new(writer), options }
    }

    /// Adds an array with its elements in row-major order.
    ///
    /// # Errors
    /// What the writer says, a name twice, or another number of elements than the shape has.
    pub fn add<T: AutoSerialize + Copy>(&mut self, name: &str, shape: &[usize], elements: &[T]) -> io::Result<()> {
        let count: usize = shape.iter().product();
        if count != elements.len() {
            let message = format!("{} elements are not an array of shape {shape:?}", elements.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let shape: Vec<u64> = shape.iter().map(|&extent| extent as u64).collect();
        self.archive.start_file(npyz::npz::file_name_from_array_name(name), self.options)?;
        let header = npyz::WriteOptions::new().default_dtype().shape(&shape);
        let mut array = header.writer(&mut self.archive).begin_nd()?;
        array.extend(elements.iter().copied())?;
        array.finish()
    }

    /// Ends the file.
    ///
    /// # Errors
    /// What the writer says.
    pub fn finish(self) -> io::Result<()> {
        self.archive.finish()?;
        Ok(())
    }
}
