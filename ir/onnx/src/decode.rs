//! Tensors of a model file to literals: every storage form, checked against the declared shape
//! before anything is allocated.

use crate::literal::{Kind, Literal, Numbers, count, data_type_name};
use crate::proto::{TensorProto, data_type};
use bytes::Bytes;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path};

/// Decodes a tensor. `base` is the directory that external data must lie in.
///
/// # Errors
/// What is wrong with the tensor.
pub fn decode(tensor: &TensorProto, base: Option<&Path>) -> Result<Literal, String> {
    let data_type = tensor.data_type.unwrap_or(0);
    let kind = Kind::of(data_type)
        .ok_or_else(|| format!("elements of type {} are not supported", data_type_name(data_type)))?;
    if tensor.segment.is_some() {
        return Err("tensors in segments are not supported".into());
    }
    let shape: Vec<usize> = tensor
        .dims
        .iter()
        .map(|&extent| usize::try_from(extent).map_err(|_| format!("extent {extent} is negative")))
        .collect::<Result<_, _>>()?;
    let count = count(&shape).ok_or_else(|| format!("the shape {shape:?} has too many elements"))?;
    let bytes = byte_count(data_type, count);
    let numbers = if tensor.data_location == Some(1) {
        from_raw(data_type, count, &external(tensor, base, bytes)?)
    } else if let Some(raw) = &tensor.raw_data {
        if raw.len() != bytes {
            return Err(format!("{} bytes of data, where the shape {shape:?} needs {bytes}", raw.len()));
        }
        from_raw(data_type, count, raw)
    } else {
        from_fields(tensor, data_type, kind, count)?
    };
    Ok(Literal { shape, kind, numbers })
}

fn byte_count(data_type: i32, count: usize) -> usize {
    match data_type {
        data_type::UINT4 | data_type::INT4 => count.div_ceil(2),
        data_type::UINT8 | data_type::INT8 | data_type::BOOL => count,
        data_type::UINT16 | data_type::INT16 | data_type::FLOAT16 | data_type::BFLOAT16 => 2 * count,
        data_type::INT64 | data_type::UINT64 | data_type::DOUBLE => 8 * count,
        _ => 4 * count,
    }
}

/// `raw` holds exactly the bytes that `count` elements need.
fn from_raw(data_type: i32, count: usize, raw: &[u8]) -> Numbers {
    fn chunks<const N: usize, T>(raw: &[u8], read: impl Fn([u8; N]) -> T) -> impl Iterator<Item = T> {
        raw.as_chunks::<N>().0.iter().map(move |&chunk| read(chunk))
    }
    let nibbles = || raw.iter().flat_map(|&byte| [byte & 15, byte >> 4]).take(count);
    match data_type {
        data_type::FLOAT => Numbers::floats(chunks(raw, f32::from_le_bytes)),
        data_type::DOUBLE => Numbers::floats(chunks(raw, f64::from_le_bytes).map(|v| v as f32)),
        data_type::FLOAT16 => Numbers::floats(chunks(raw, u16::from_le_bytes).map(half)),
        data_type::BFLOAT16 => Numbers::floats(chunks(raw, u16::from_le_bytes).map(upper_half)),
        data_type::UINT8 => Numbers::Int(raw.iter().map(|&v| v.into()).collect()),
        data_type::BOOL => Numbers::Int(raw.iter().map(|&v| i64::from(v != 0)).collect()),
        data_type::INT8 => Numbers::Int(raw.iter().map(|&v| (v as i8).into()).collect()),
        data_type::UINT16 => Numbers::Int(chunks(raw, u16::from_le_bytes).map(i64::from).collect()),
        data_type::INT16 => Numbers::Int(chunks(raw, i16::from_le_bytes).map(i64::from).collect()),
        data_type::UINT32 => Numbers::Int(chunks(raw, u32::from_le_bytes).map(i64::from).collect()),
        data_type::INT64 => Numbers::Int(chunks(raw, i64::from_le_bytes).collect()),
        data_type::UINT64 => Numbers::Int(chunks(raw, u64::from_le_bytes).map(saturated).collect()),
        data_type::UINT4 => Numbers::Int(nibbles().map(i64::from).collect()),
        data_type::INT4 => Numbers::Int(nibbles().map(signed_nibble).collect()),
        _ => Numbers::Int(chunks(raw, i32::from_le_bytes).map(i64::from).collect()),
    }
}

/// Elements from the field that ONNX prescribes for the type.
fn from_fields(tensor: &TensorProto, data_type: i32, kind: Kind, count: usize) -> Result<Numbers, String> {
    let expect = |field: &str, found: usize, needed: usize| {
        if found == needed { Ok(()) } else { Err(format!("`{field}` has {found} elements, the shape needs {needed}")) }
    };
    Ok(match data_type {
        data_type::FLOAT => {
            expect("float_data", tensor.float_data.len(), count)?;
            Numbers::floats(tensor.float_data.iter().copied())
        }
        data_type::DOUBLE => {
            expect("double_data", tensor.double_data.len(), count)?;
            Numbers::floats(tensor.double_data.iter().map(|&v| v as f32))
        }
        data_type::FLOAT16 | data_type::BFLOAT16 => {
            expect("int32_data", tensor.int32_data.len(), count)?;
            let convert = if data_type == data_type::FLOAT16 { half } else { upper_half };
            Numbers::floats(tensor.int32_data.iter().map(|&v| convert(v as u16)))
        }
        data_type::INT64 => {
            expect("int64_data", tensor.int64_data.len(), count)?;
            Numbers::Int(tensor.int64_data.as_slice().into())
        }
        data_type::UINT32 | data_type::UINT64 => {
            expect("uint64_data", tensor.uint64_data.len(), count)?;
            Numbers::Int(tensor.uint64_data.iter().map(|&v| saturated(v)).collect())
        }
        data_type::UINT4 | data_type::INT4 => {
            expect("int32_data", tensor.int32_data.len(), count.div_ceil(2))?;
            let bytes: Vec<u8> = tensor.int32_data.iter().map(|&v| v as u8).collect();
            from_raw(data_type, count, &bytes)
        }
        _ => {
            expect("int32_data", tensor.int32_data.len(), count)?;
            let (lo, hi) = kind.range().unwrap_or((i64::MIN, i64::MAX));
            let data: Vec<i64> = tensor.int32_data.iter().map(|&v| v.into()).collect();
            if let Some(outside) = data.iter().find(|&&v| v < lo || v > hi) {
                return Err(format!("element {outside} does not fit {}", data_type_name(data_type)));
            }
            Numbers::Int(data.into())
        }
    })
}

fn saturated(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn signed_nibble(value: u8) -> i64 {
    if value < 8 { value.into() } else { i64::from(value) - 16 }
}

fn upper_half(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

fn half(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let fraction = f32::from(bits & 0x3ff);
    match (bits >> 10) & 31 {
        0 => sign * fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => sign * f32::INFINITY,
        31 => f32::NAN,
        exponent => sign * (1.0 + fraction / 1024.0) * 2f32.powi(i32::from(exponent) - 15),
    }
}

/// Reads the bytes of a tensor kept in a file of its own: `location` is relative to `base` and
/// must stay inside it, also through links.
fn external(tensor: &TensorProto, base: Option<&Path>, bytes: usize) -> Result<Bytes, String> {
    let base = base.ok_or("its data is in another file, but the model was not read from a directory")?;
    let entry = |key: &str| {
        let entry = tensor.external_data.iter().find(|entry| entry.key.as_deref() == Some(key));
        entry.and_then(|entry| entry.value.as_deref())
    };
    let number = |key: &str| match entry(key) {
        None => Ok(None),
        Some(text) => text.parse::<u64>().map(Some).map_err(|_| format!("external data {key} `{text}` is no number")),
    };
    let location = entry("location").ok_or("its external data has no location")?;
    let outside = || format!("external data `{location}` lies outside the model's directory");
    let relative = Path::new(location);
    if location.is_empty()
        || !relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
    {
        return Err(outside());
    }
    let cannot = |error: std::io::Error| format!("external data `{location}` cannot be read: {error}");
    // The parent of a bare file name is the empty path.
    let base = if base.as_os_str().is_empty() { Path::new(".") } else { base };
    let directory = base.canonicalize().map_err(cannot)?;
    let path = directory.join(relative).canonicalize().map_err(cannot)?;
    if !path.starts_with(&directory) {
        return Err(outside());
    }
    let offset = number("offset")?.unwrap_or(0);
    if let Some(length) = number("length")?
        && length != bytes as u64
    {
        return Err(format!("external data of {length} bytes, where the shape needs {bytes}"));
    }
    let metadata = path.metadata().map_err(cannot)?;
    if !metadata.is_file() {
        return Err(format!("external data `{location}` is not a file"));
    }
    if offset.checked_add(bytes as u64).is_none_or(|end| end > metadata.len()) {
        return Err(format!(
            "{bytes} bytes at offset {offset} lie beyond the end of external data `{location}` ({} bytes)",
            metadata.len()
        ));
    }
    let mut file = File::open(&path).map_err(cannot)?;
    file.seek(SeekFrom::Start(offset)).map_err(cannot)?;
    let mut data = vec![0; bytes];
    file.read_exact(&mut data).map_err(cannot)?;
    Ok(data.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::StringStringEntryProto;

    #[test]
    fn halves() {
        assert_eq!(half(0x3c00), 1.0);
        assert_eq!(half(0xc000), -2.0);
        assert_eq!(half(0x0001), 2f32.powi(-24));
        assert_eq!(half(0x7c00), f32::INFINITY);
        assert_eq!(upper_half(0x3fc0), 1.5);
    }

    #[test]
    fn four_bit_integers_are_packed_low_half_first() {
        let tensor = TensorProto {
            dims: vec![3],
            data_type: Some(data_type::INT4),
            raw_data: Some(Bytes::from_static(&[0xf1, 0x08])),
            ..TensorProto::default()
        };
        assert_eq!(decode(&tensor, None).unwrap().as_ints().unwrap(), [1, -1, -8]);
        let fields = TensorProto { raw_data: None, int32_data: vec![0xf1, 0x08], ..tensor };
        assert_eq!(decode(&fields, None).unwrap().as_ints().unwrap(), [1, -1, -8]);
    }

    #[test]
    fn declared_sizes_are_checked_before_allocation() {
        let mut tensor = TensorProto { dims: vec![1 << 30], data_type: Some(1), ..TensorProto::default() };
        assert!(decode(&tensor, None).unwrap_err().contains("0 elements"));
        tensor.dims = vec![i64::MAX, i64::MAX];
        assert!(decode(&tensor, None).unwrap_err().contains("too many"));
        tensor.dims = vec![-1];
        assert!(decode(&tensor, None).unwrap_err().contains("negative"));
    }

    #[test]
    fn external_data_stays_inside_the_directory() {
        let directory = std::env::temp_dir().join(format!("lutweave-external-{}", std::process::id()));
        let inside = directory.join("inside");
        std::fs::create_dir_all(&inside).unwrap();
        std::fs::write(inside.join("weights.bin"), [0u8; 12]).unwrap();
        std::fs::write(directory.join("secret.bin"), [0u8; 12]).unwrap();
        #[cfg(unix)]
        let _ = std::os::unix::fs::symlink(directory.join("secret.bin"), inside.join("link.bin"));
        let read = |location: &str, offset: &str| {
            let entry = |key: &str, value: &str| StringStringEntryProto {
                key: Some(key.to_owned()),
                value: Some(value.to_owned()),
            };
            let tensor = TensorProto {
                dims: vec![2],
                data_type: Some(1),
                data_location: Some(1),
                external_data: vec![entry("location", location), entry("offset", offset)],
                ..TensorProto::default()
            };
            decode(&tensor, Some(&inside))
        };
        assert_eq!(read("weights.bin", "4").unwrap().count(), 2);
        assert!(read("weights.bin", "5").unwrap_err().contains("beyond the end"));
        assert!(read("weights.bin", "18446744073709551615").unwrap_err().contains("beyond the end"));
        assert!(read("../secret.bin", "0").unwrap_err().contains("outside"));
        assert!(read(&directory.join("secret.bin").to_string_lossy(), "0").unwrap_err().contains("outside"));
        #[cfg(unix)]
        assert!(read("link.bin", "0").unwrap_err().contains("outside"));
        assert!(read("absent.bin", "0").unwrap_err().contains("cannot be read"));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
