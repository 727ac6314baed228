//! What is to be chosen: one alternative a stage, under additive budgets.

use std::collections::{BTreeMap, BTreeSet};

use lutweave_ir::diagnostic::Diagnostic;
use serde::{Deserialize, Serialize};

/// Totals stay below this, so that sums of them never wrap.
const LARGEST_TOTAL: u128 = 1 << 62;

/// An additive limit on the whole network, in the caller's unit (multipliers, look-up tables, fixed-point distortion).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// What it counts, for reports.
    pub name: String,
    /// The most that a selection may use.
    pub limit: u64,
}

/// One way to build a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alternative {
    /// Clock cycles per inference that the stage needs.
    pub cycles: u64,
    /// How much it takes of each budget, in the order of [`Problem::budgets`].
    pub uses: Vec<u64>,
    /// Interface state at its input, such as the lanes of the stream it reads.
    pub input: u32,
    /// Interface state at its output, such as the lanes of the stream it writes.
    pub output: u32,
}

/// A step of the network with the alternatives for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// For reports.
    pub name: String,
    /// At least one.
    pub options: Vec<Alternative>,
}

/// A stream from one stage to a later one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    /// Index of the stage that writes.
    pub from: usize,
    /// Index of the stage that reads; greater than `from`.
    pub to: usize,
    /// What a converter takes of each budget, by (state written, state read). Equal states need no converter and no
    /// entry. Unequal states without an entry cannot be joined.
    pub conversion: BTreeMap<(u32, u32), Vec<u64>>,
}

/// Stages in topological order, the streams between them, and the limits.
///
/// A selection is one option index a stage. Its cycles are those of its slowest stage; its uses are the sums over
/// stages and converters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What is to be chosen.
    pub stages: Vec<Stage>,
    /// Where interface states meet; stages without an edge have free interfaces.
    pub edges: Vec<Edge>,
    /// What limits the choice.
    pub budgets: Vec<Budget>,
}

impl Edge {
    /// An edge whose converters are priced by `price(written, read)`, asked once for each unequal pair that the
    /// options of the two stages can meet in; `None` if there is no such converter.
    pub fn priced(stages: &[Stage], from: usize, to: usize, price: impl Fn(u32, u32) -> Option<Vec<u64>>) -> Self {
        let mut conversion = BTreeMap::new();
        if let (Some(writer), Some(reader)) = (stages.get(from), stages.get(to)) {
            let written: BTreeSet<u32> = writer.options.iter().map(|option| option.output).collect();
            let read: BTreeSet<u32> = reader.options.iter().map(|option| option.input).collect();
            for (&written, &read) in written.iter().flat_map(|w| read.iter().map(move |r| (w, r))) {
                if written != read
                    && let Some(uses) = price(written, read)
                {
                    conversion.insert((written, read), uses);
                }
            }
        }
        Self { from, to, conversion }
    }
}

impl Problem {
    /// What a selection uses of each budget, converters included. `None` if it names an option that does not exist
    /// or joins states that cannot be joined.
    pub fn usage(&self, selection: &[usize]) -> Option<Vec<u64>> {
        if selection.len() != self.stages.len() {
            return None;
        }
        let mut total = vec![0u64; self.budgets.len()];
        let mut add = |uses: &[u64]| {
            for (sum, &amount) in total.iter_mut().zip(uses) {
                *sum = sum.saturating_add(amount);
            }
        };
        for (stage, &option) in self.stages.iter().zip(selection) {
            add(&stage.options.get(option)?.uses);
        }
        for edge in &self.edges {
            let written = self.stages[edge.from].options[selection[edge.from]].output;
            let read = self.stages[edge.to].options[selection[edge.to]].input;
            if written != read {
                add(edge.conversion.get(&(written, read))?);
            }
        }
        Some(total)
    }

    /// Cycles of the slowest stage of a selection; `None` if it names an option that does not exist.
    pub fn cycles(&self, selection: &[usize]) -> Option<u64> {
        let mut slowest = 0;
        for (stage, &option) in self.stages.iter().zip(selection) {
            slowest = slowest.max(stage.options.get(option)?.cycles);
        }
        Some(slowest)
    }

    /// Whether a selection exists, joins, and stays within every budget.
    pub fn fits(&self, selection: &[usize]) -> bool {
        self.usage(selection)
            .is_some_and(|usage| usage.iter().zip(&self.budgets).all(|(&amount, budget)| amount <= budget.limit))
    }

    /// Checks shapes and magnitudes.
    ///
    /// # Errors
    /// A stage without options, a row of uses of the wrong length, an edge that does not lead forward, or amounts
    /// whose total could leave 62 bits (amounts above their own budget's limit do not count: they are never chosen).
    pub fn validate(&self) -> Result<(), Diagnostic> {
        let budgets = self.budgets.len();
        for stage in &self.stages {
            if stage.options.is_empty() {
                return Err(Diagnostic::error("stage-without-options", "a stage has no alternative to choose")
                    .at(&stage.name)
                    .help("give every stage at least one alternative"));
            }
            if let Some(index) = stage.options.iter().position(|option| option.uses.len() != budgets) {
                return Err(Diagnostic::error(
                    "budget-count-mismatch",
                    format!("alternative {index} has {} uses for {budgets} budgets", stage.options[index].uses.len()),
                )
                .at(&stage.name));
            }
        }
        for (index, edge) in self.edges.iter().enumerate() {
            let name = format!("edge {index}");
            if edge.from >= edge.to || edge.to >= self.stages.len() {
                return Err(Diagnostic::error(
                    "edge-not-forward",
                    format!("it leads from stage {} to stage {} of {}", edge.from, edge.to, self.stages.len()),
                )
                .at(name)
                .help("list the stages in topological order"));
            }
            if let Some(uses) = edge.conversion.values().find(|uses| uses.len() != budgets) {
                return Err(Diagnostic::error(
                    "budget-count-mismatch",
                    format!("a converter has {} uses for {budgets} budgets", uses.len()),
                )
                .at(name));
            }
        }
        for (k, budget) in self.budgets.iter().enumerate() {
            let within = |amount: &u64| *amount <= budget.limit;
            let largest =
                |amounts: &mut dyn Iterator<Item = u64>| u128::from(amounts.filter(within).max().unwrap_or(0));
            let stages = self.stages.iter().map(|s| largest(&mut s.options.iter().map(|o| o.uses[k]))).sum::<u128>();
            let edges = self.edges.iter().map(|e| largest(&mut e.conversion.values().map(|c| c[k]))).sum::<u128>();
            if stages + edges >= LARGEST_TOTAL {
                return Err(Diagnostic::error("amounts-too-large", "the total of this budget does not fit in 62 bits")
                    .at(&budget.name)
                    .help("count it in a coarser unit"));
            }
        }
        Ok(())
    }
}
