//! What was chosen and why, as `codesign.json`, the report and `explain` show it.

use super::judge::Measured;
use lutweave_codesign::sensitivity::{SensitivityTable, real};
use lutweave_codesign::{DISTORTION, Space, is_limited};
use lutweave_hw::plan::Choice;
use lutweave_hw::rtl::{Multiplier, ParallelTaps};
use lutweave_quantize::compress::{Pattern, WeightConfig};
use lutweave_solve::{Problem, Solution};
use serde::{Deserialize, Serialize};

/// A co-design.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Points that the choice was allowed to cost.
    pub max_drop: f64,
    /// Requested multipliers, if any were.
    pub multipliers: Option<u32>,
    /// Cycles of the slowest stage.
    pub cycles: u64,
    /// No choice within the budgets needs fewer cycles.
    pub lower_bound: u64,
    /// `cycles / lower_bound - 1`.
    pub gap: f64,
    /// The bound is reached.
    pub optimal: bool,
    /// The sum of the layers' own distortions.
    pub predicted_distortion: f64,
    /// What was measured of the choice.
    pub measured: Measured,
    /// The choices that were tried, in order.
    pub rounds: Vec<Round>,
    /// Cycles of "compress first, then fold" within the same budgets.
    pub compress_first_cycles: Option<u64>,
    /// What the budgets allow and what is used of them.
    pub budgets: Vec<BudgetUse>,
    /// Every stage with weights, in order.
    pub decisions: Vec<Decision>,
    /// The measured tables.
    pub tables: Vec<SensitivityTable>,
}

/// One error budget that was tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// Sum of distortions that was allowed.
    pub allowed: f64,
    /// Sum of distortions of the choice.
    pub predicted: f64,
    /// Cycles of the slowest stage.
    pub cycles: u64,
    /// What was measured.
    pub measured: Measured,
    /// The measured drop was small enough.
    pub accepted: bool,
}

/// A budget.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BudgetUse {
    /// What it counts.
    pub name: String,
    /// The most that may be used; absent where there is no limit.
    pub limit: Option<f64>,
    /// What is used.
    pub used: f64,
    /// Its part of the price of a cycle: the parts of all budgets add up to 1 where one binds.
    pub share: f64,
    /// Cycles that one more percent of it saves.
    pub cycles_per_percent: f64,
    /// Cycles that would be reached with so many percent more.
    pub with_more: Vec<(u64, u64)>,
}

/// How one layer is built.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// Name of the layer.
    pub layer: String,
    /// The setting of its knob; absent if it has none.
    pub setting: Option<WeightConfig>,
    /// How it is folded.
    pub choice: Choice,
    /// Cycles by which it is faster than the slowest stage.
    pub slack: u64,
    /// Its share of the predicted distortion.
    pub distortion: f64,
    /// The next best way to build it while the others stay, and why it was rejected.
    pub runner_up: Option<String>,
}

/// A setting in words.
pub fn setting_text(setting: Option<WeightConfig>) -> String {
    let Some(setting) = setting else { return "as given".to_owned() };
    let pattern = match setting.pattern {
        Pattern::Dense => "dense".to_owned(),
        Pattern::NofM { kept, of } => format!("{kept}:{of}"),
        Pattern::Free { kept } => format!("{kept} weights"),
    };
    format!("{} bits, {pattern}", setting.bits)
}

/// A folding in words.
pub fn choice_text(choice: &Choice) -> String {
    let Some(folding) = choice.fold.folding else { return format!("{} lanes", choice.fold.input_lanes) };
    let taps = match folding.parallel {
        ParallelTaps::One => "one tap",
        ParallelTaps::Row => "a row of taps",
        ParallelTaps::All => "all taps",
    };
    let multipliers = match choice.multiplier() {
        None => String::new(),
        Some(Multiplier::Single) => format!(", {} multipliers", choice.multipliers()),
        Some(Multiplier::Paired) => format!(", {} shared multipliers", choice.multipliers()),
        Some(Multiplier::Logic) => format!(", {} multipliers in logic", choice.multipliers()),
    };
    format!("{taps} x {} in x {} out{multipliers}", folding.lanes, folding.outputs)
}

/// The decisions of a solution.
pub fn decisions(space: &Space, problem: &Problem, solution: &Solution) -> Vec<Decision> {
    let mut decisions = Vec::new();
    for (index, stage) in space.stages.iter().enumerate() {
        let member = &stage.members[solution.selection[index]];
        if member.choice.fold.products == 0 {
            continue;
        }
        let runner_up = solution.runner_up[index].as_ref().map(|runner_up| {
            let other = &stage.members[runner_up.option];
            let against = match runner_up.breaks {
                None if runner_up.cycles > solution.cycles => {
                    format!("{} cycles instead of {}", runner_up.cycles, solution.cycles)
                }
                None => "as fast, at a higher price".to_owned(),
                Some((budget, excess)) => {
                    let name = &problem.budgets[budget].name;
                    let excess = if budget == DISTORTION { format!("{:.4}", real(excess)) } else { excess.to_string() };
                    format!("exceeds {name} by {excess}")
                }
            };
            format!("{}; {}: {against}", setting_text(other.setting), choice_text(&other.choice))
        });
        decisions.push(Decision {
            layer: stage.name.clone(),
            setting: member.setting,
            choice: member.choice,
            slack: solution.slack[index],
            distortion: real(member.distortion),
            runner_up,
        });
    }
    decisions
}

/// What a solution uses of its problem's budgets.
pub fn budgets(problem: &Problem, solution: &Solution) -> Vec<BudgetUse> {
    problem
        .budgets
        .iter()
        .enumerate()
        .map(|(index, budget)| {
            let amount = |amount: u64| if index == DISTORTION { real(amount) } else { amount as f64 };
            let price = solution.prices.iter().find(|price| price.budget == index);
            BudgetUse {
                name: budget.name.clone(),
                limit: is_limited(budget).then(|| amount(budget.limit)),
                used: amount(solution.uses[index]),
                share: price.map_or(0.0, |price| price.share),
                cycles_per_percent: price.map_or(0.0, |price| price.per_percent),
                with_more: price.map_or_else(Vec::new, |price| price.measured.clone()),
            }
        })
        .collect()
}
