//! Memory files and attributes.

use lutweave_hw::family::Family;
use lutweave_hw::rtl::MemoryStyle;

/// Attributes of a memory that is written.
pub fn ram_attributes(style: MemoryStyle, family: &Family) -> String {
    match style {
        MemoryStyle::Block => family.attributes.block_ram.clone(),
        MemoryStyle::Distributed => family.attributes.lut_ram.clone(),
        MemoryStyle::Registers => family.attributes.register_ram.clone(),
        MemoryStyle::Large => family.attributes.large_ram.clone(),
    }
}

/// Attributes of a memory with contents.
pub fn rom_attributes(style: MemoryStyle, family: &Family) -> String {
    match style {
        MemoryStyle::Block => family.attributes.block_rom.clone(),
        MemoryStyle::Distributed | MemoryStyle::Registers | MemoryStyle::Large => family.attributes.logic_rom.clone(),
    }
}

/// Bits of an address of that many words.
pub fn address_bits(depth: u32) -> u32 {
    lutweave_hw::rtl::Ty::holding(u64::from(depth.saturating_sub(1))).bits
}

/// A line of a `$readmemh` file: fields of `bits` bits each, the first in the low bits.
pub fn hex_word(fields: impl Iterator<Item = i64>, bits: u32) -> String {
    hex_fields(fields.map(|field| (field, bits)))
}

/// The same for fields with a width each.
pub fn hex_fields(fields: impl Iterator<Item = (i64, u32)>) -> String {
    let mut digits = Vec::new();
    let (mut pending, mut filled) = (0u128, 0);
    for (field, bits) in fields {
        let mask = (1u128 << bits) - 1;
        pending |= (field as u128 & mask) << filled;
        filled += bits;
        while filled >= 4 {
            digits.push((pending & 15) as u32);
            pending >>= 4;
            filled -= 4;
        }
    }
    if filled > 0 {
        digits.push(pending as u32);
    }
    digits.iter().rev().filter_map(|&digit| char::from_digit(digit, 16)).collect()
}

/// A `$readmemh` file of words of `lanes` fields each.
pub fn hex_file(contents: impl Iterator<Item = i64>, lanes: u32, bits: u32) -> String {
    let mut contents = contents.peekable();
    let mut text = String::new();
    while contents.peek().is_some() {
        text.push_str(&hex_word(contents.by_ref().take(lanes as usize), bits));
        text.push('\n');
    }
    text
}

/// The fields of a hexadecimal word, sign-extended if `signed`; `None` if a digit is not one.
pub fn parse_word(word: &str, lanes: u32, bits: u32, signed: bool) -> Option<Vec<i64>> {
    let digits: Option<Vec<u32>> = word.chars().rev().map(|digit| digit.to_digit(16)).collect();
    let digits = digits?;
    let bit =
        |position: u32| digits.get(position as usize / 4).map_or(0, |digit| u64::from(digit >> (position % 4) & 1));
    let field = |lane: u32| {
        let value = (0..bits).fold(0u64, |value, position| value | bit(lane * bits + position) << position);
        let shift = 64 - bits;
        if signed { ((value << shift) as i64) >> shift } else { value as i64 }
    };
    Some((0..lanes).map(field).collect())
}

#[cfg(test)]
mod tests {
    use super::{hex_file, hex_word, parse_word};

    #[test]
    fn words_round_trip() {
        for (bits, values) in
            [(8, vec![-128, 127, 0, -1]), (5, vec![-16, 15, 3]), (19, vec![-7, 200_000]), (64, vec![-5])]
        {
            let word = hex_word(values.iter().copied(), bits);
            assert_eq!(parse_word(&word, values.len() as u32, bits, true), Some(values));
        }
        assert_eq!(hex_word([1, 2].into_iter(), 8), "0201");
        assert_eq!(parse_word("0x", 1, 8, false), None);
    }

    #[test]
    fn a_line_a_word_with_a_final_newline() {
        assert_eq!(hex_file([1, -1, 2, 3].into_iter(), 2, 4), "f1\n32\n");
    }
}
