//! Co-design: the settings of all knobs and the folding of all stages, chosen together.
//!
//! A [`Space`] holds, for every stage of a circuit, each way to build it under each setting of
//! its layer's knob: cycles, parts of the device, and measured distortion. [`lutweave_solve`] picks
//! one for each stage; [`Space::design`] says what was picked.

mod budget;
pub mod deform;
pub mod prune;
pub mod sensitivity;
pub mod shrink;
mod space;

pub use budget::{Budgets, DISTORTION, Quantity, is_limited};
pub use space::{Design, Member, Space, StageSpace};

use crate::sensitivity::SensitivityTable;
use lutweave_ir::Diagnostic;
use lutweave_quantize::compress::{Pattern, WeightConfig, WeightConfigs};
use lutweave_solve::Limits;
use lutweave_solve::{Outcome, Problem, check, check_bound, check_infeasible, knapsack, least_size, minimise_cycles};
use std::collections::BTreeMap;

/// How hard a choice is searched: the bound is proven, and distortion is lowered where stages have
/// cycles to spare.
pub const SOLVER_LIMITS: Limits = Limits { nodes: 400, total_nodes: 1500, secondary: Some(DISTORTION), report: true };

/// The fewest cycles within the budgets, checked.
///
/// # Errors
/// An internal error if the problem is malformed, or the checker refuses the answer.
pub fn solve(space: &Space, budgets: &Budgets) -> Result<(Problem, Outcome), Diagnostic> {
    let problem = space.problem(budgets);
    let outcome = minimise_cycles(&problem, &SOLVER_LIMITS)?;
    checked(&problem, &outcome)?;
    Ok((problem, outcome))
}

/// Puts an answer before the checker, which shares no code with the search.
///
/// # Errors
/// An internal error if the checker refuses it.
pub fn checked(problem: &Problem, outcome: &Outcome) -> Result<(), Diagnostic> {
    let verdict = match outcome {
        Outcome::Solved(solution) => check(problem, solution),
        Outcome::Infeasible { certificate } => check_infeasible(problem, certificate),
        Outcome::Unknown { lower_bound, certificate } => check_bound(problem, *lower_bound, certificate),
    };
    verdict.map_err(|violation| {
        Diagnostic::error("internal-error", format!("the checker refuses the solver's answer: {violation}"))
            .help("this is a fault of the compiler: please report it with the model")
    })
}

/// The settings of least size within a distortion, the circuit left out of account (L-GreCo):
/// what "compress first, then fold" compresses. A layer's size is the bits that its weights take,
/// `weights` being their numbers. `None` if not even the most faithful settings stay within it.
///
/// # Errors
/// An internal error if a layer has no settings.
pub fn compress_first(
    tables: &[SensitivityTable],
    weights: &BTreeMap<String, u64>,
    distortion: u64,
) -> Result<Option<WeightConfigs>, Diagnostic> {
    const BUCKETS: usize = 10_000;
    let size = |table: &SensitivityTable, setting: &WeightConfig| {
        let dense = weights.get(&table.layer).copied().unwrap_or(0) * u64::from(setting.bits);
        match setting.pattern {
            Pattern::NofM { kept, of } => dense * u64::from(kept) / u64::from(of),
            Pattern::Dense | Pattern::Free { .. } => dense,
        }
    };
    let layers: Vec<Vec<knapsack::Setting>> = tables
        .iter()
        .map(|table| {
            let entry = |price: &crate::sensitivity::SensitivityEntry| knapsack::Setting {
                cost: size(table, &price.setting),
                distortion: price.distortion,
            };
            table.prices.iter().map(entry).collect()
        })
        .collect();
    let chosen = least_size(&layers, distortion, BUCKETS)?;
    Ok(chosen.map(|chosen| {
        let pick = |(table, index): (&SensitivityTable, usize)| (table.layer.clone(), table.prices[index].setting);
        tables.iter().zip(chosen).map(pick).collect()
    }))
}
