//! Numbers in bytes, low byte first: how places leave the chip.

/// Bytes that hold a number, at least one.
pub(crate) fn count(number: usize) -> usize {
    let mut bytes = 1;
    while number >> (8 * bytes) != 0 {
        bytes += 1;
    }
    bytes
}

/// The low bytes of a number.
pub(crate) fn split(number: usize, bytes: usize) -> impl Iterator<Item = i32> {
    (0..bytes).map(move |digit| (number >> (8 * digit) & 0xff) as i32)
}

/// The number that bytes hold.
pub(crate) fn join(bytes: &[i32]) -> usize {
    bytes.iter().rev().fold(0, |number, &byte| number << 8 | byte as usize)
}
