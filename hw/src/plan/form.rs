//! The properties of a layer's weights that affect hardware cost.

use crate::elaborate::weight_bits;
use crate::rtl::NofM;
use std::collections::{BTreeMap, BTreeSet};

/// The form of a convolution's weights: detected from them, or assumed for ones to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightForm {
    /// Width of the narrowest signed type that holds all weights.
    pub bits: u32,
    /// Patterns that the weights of every output channel keep to.
    pub patterns: Vec<NofM>,
    /// Patterns that the weights of output channels `2 i` and `2 i + 1` keep to together: where
    /// either differs from zero, a place is taken. Empty for an odd number of outputs a group.
    pub pair_patterns: Vec<NofM>,
}

impl WeightForm {
    /// Dense weights of a width.
    pub fn dense(bits: u32) -> Self {
        Self { bits, patterns: Vec::new(), pair_patterns: Vec::new() }
    }

    /// The form of weights `[output, row, column, input channel of the group]` in row-major
    /// order. Runs of a pattern lie along the last axis, which their length must divide.
    pub fn of(weights: &[i32], shape: &[usize], groups: usize) -> Self {
        let bits = weight_bits(weights);
        let outputs = shape.first().copied().unwrap_or(1).max(1);
        let channels = shape.last().copied().unwrap_or(1).max(1);
        let filters: Vec<&[i32]> = weights.chunks_exact((weights.len() / outputs).max(1)).collect();
        let paired = (outputs / groups.max(1)).is_multiple_of(2);
        let fullest = |of: usize, together: usize| -> usize {
            let nonzero = |filters: &[&[i32]], start: usize| {
                (start..start + of).filter(|&at| filters.iter().any(|filter| filter[at] != 0)).count()
            };
            let runs =
                |filters: &[&[i32]]| (0..filters[0].len()).step_by(of).map(|start| nonzero(filters, start)).max();
            filters.chunks_exact(together).filter_map(runs).max().unwrap_or(of)
        };
        let patterns = |together: usize| -> Vec<NofM> {
            let lengths: BTreeSet<usize> = NofM::ALL.iter().map(|pattern| usize::from(pattern.of)).collect();
            let dividing = lengths.into_iter().filter(|&of| channels.is_multiple_of(of));
            let counts: BTreeMap<usize, usize> = dividing.map(|of| (of, fullest(of, together))).collect();
            let kept = |pattern: &NofM| {
                let count = counts.get(&usize::from(pattern.of));
                count.is_some_and(|&count| count <= usize::from(pattern.kept))
            };
            NofM::ALL.into_iter().filter(kept).collect()
        };
        Self { bits, patterns: patterns(1), pair_patterns: if paired { patterns(2) } else { Vec::new() } }
    }

    /// The patterns worth building an engine for: those that no shorter or as short a pattern
    /// does better.
    pub fn worthwhile(&self, paired: bool) -> impl Iterator<Item = NofM> + '_ {
        let patterns = if paired { &self.pair_patterns } else { &self.patterns };
        let better = |other: &NofM, than: &NofM| {
            let (a, b) = (u32::from(other.kept) * u32::from(than.of), u32::from(than.kept) * u32::from(other.of));
            other != than && other.of <= than.of && a <= b
        };
        patterns.iter().copied().filter(move |pattern| !patterns.iter().any(|other| better(other, pattern)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(patterns: &[NofM]) -> Vec<String> {
        patterns.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn patterns_are_those_of_the_fullest_run() {
        // Two outputs of one tap and eight channels.
        let weights = [7, 0, 0, 0, 0, 0, -8, 0, 0, 0, 0, 1, 0, 0, 1, 0];
        let form = WeightForm::of(&weights, &[2, 1, 1, 8], 1);
        assert_eq!(form.bits, 4);
        assert_eq!(named(&form.patterns), ["1:4", "2:4", "3:4", "2:8", "4:8"]);
        assert_eq!(named(&form.pair_patterns), ["2:4", "3:4", "4:8"]);
        assert_eq!(named(&form.worthwhile(false).collect::<Vec<_>>()), ["1:4"]);
        assert_eq!(named(&form.worthwhile(true).collect::<Vec<_>>()), ["2:4"]);
    }

    #[test]
    fn runs_do_not_cross_taps_and_pairs_do_not_cross_groups() {
        // Four channels a tap: there are no runs of eight.
        let form = WeightForm::of(&[1, 0, 0, 0, 0, 0, 0, 1], &[1, 1, 2, 4], 1);
        assert_eq!(named(&form.patterns), ["1:4", "2:4", "3:4"]);
        assert!(form.pair_patterns.is_empty(), "one output has no partner");
        assert!(WeightForm::of(&[1; 8], &[8, 1, 1, 1], 8).patterns.is_empty());
        let grouped = WeightForm::of(&[1, 0, 0, 0, 1, 0, 0, 0], &[2, 1, 1, 4], 2);
        assert!(grouped.pair_patterns.is_empty(), "outputs of different groups see other channels");
    }

    #[test]
    fn a_longer_run_is_worthwhile_if_it_saves_more() {
        let mut weights = [0; 8];
        weights[3] = 5;
        let form = WeightForm::of(&weights, &[1, 1, 1, 8], 1);
        assert_eq!(named(&form.worthwhile(false).collect::<Vec<_>>()), ["1:4", "1:8"]);
    }
}
