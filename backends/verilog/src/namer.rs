//! Legal and unique names.

use crate::reserved::is_reserved;
use std::collections::BTreeSet;

/// Hands out names of one scope, each once. Names that differ only in letter case count as equal:
/// VHDL and some file systems do not tell them apart.
#[derive(Clone, Debug, Default)]
pub struct Namer {
    taken: BTreeSet<String>,
}

impl Namer {
    /// A name as close to the wanted one as possible.
    pub fn unique(&mut self, wanted: &str) -> String {
        let base = sanitise(wanted);
        let mut candidate = base.clone();
        let mut number = 1;
        while !self.taken.insert(candidate.to_ascii_lowercase()) {
            number += 1;
            candidate = format!("{base}_{number}");
        }
        candidate
    }
}

/// Letters, digits and single underscores between them, not starting with a digit, not reserved.
pub fn sanitise(wanted: &str) -> String {
    let mut name = String::new();
    for character in wanted.chars() {
        if character.is_ascii_alphanumeric() {
            name.push(character);
        } else if !name.is_empty() && !name.ends_with('_') {
            name.push('_');
        }
    }
    let name = name.trim_end_matches('_');
    match name.chars().next() {
        None => "unnamed".to_owned(),
        Some('0'..='9') => format!("n{name}"),
        Some(_) if is_reserved(name) => format!("{name}_n"),
        Some(_) => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::Namer;

    #[test]
    fn names_are_legal_and_unique() {
        let mut namer = Namer::default();
        let names: Vec<String> =
            ["conv/1::out", "conv 1 out", "reg", "REG", "3x3", "", "__a__b_", "käse", "CONV_1_OUT"]
                .iter()
                .map(|wanted| namer.unique(wanted))
                .collect();
        assert_eq!(
            names,
            ["conv_1_out", "conv_1_out_2", "reg_n", "REG_n_2", "n3x3", "unnamed", "a_b", "k_se", "CONV_1_OUT_3"]
        );
    }
}
