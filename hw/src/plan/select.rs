//! The fastest network that a number of multipliers allows.

use super::Choice;
use super::choice::{assemble, form_of, kernels};
use super::fold::Styles;
use super::form::WeightForm;
use super::price::{conversion, priced};
use crate::cost::{Part, Resources};
use crate::dataflow::Network;
use crate::device::Device;
use crate::elaborate::lane_type;
use crate::kernel::Kernel;
use crate::rtl::engine::Multiplier;
use lutweave_ir::{Diagnostic, Diagnostics, Graph, NodeId};
use std::collections::BTreeMap;

/// Folds a core graph so that its slowest stage is as fast as the multipliers allow, and no
/// stage has more multipliers than that speed needs. Multipliers are shared by pairs of products,
/// and patterns of zeros save products, wherever the weights allow it.
///
/// # Errors
/// Every node that has no hardware; or fewer multipliers than the graph needs.
pub fn plan(graph: &Graph, multipliers: u32, device: &Device) -> Result<Network, Diagnostics> {
    Planner::new(graph, device)?.plan(multipliers)
}

/// The priced choices of every stage of a graph, for several networks of it.
pub struct Planner<'a> {
    graph: &'a Graph,
    device: &'a Device,
    stages: Vec<Candidates>,
}

/// The choices of one stage.
struct Candidates {
    node: NodeId,
    kernel: Kernel,
    form: WeightForm,
    /// Those with hardware multipliers.
    table: Vec<Choice>,
}

impl<'a> Planner<'a> {
    /// Prices what the weights of the graph allow.
    ///
    /// # Errors
    /// Every node that has no hardware.
    pub fn new(graph: &'a Graph, device: &'a Device) -> Result<Self, Diagnostics> {
        Self::of(graph, device, Styles::Usual)
    }

    /// With every style of multipliers and memories, those in logic too.
    ///
    /// # Errors
    /// As [`Planner::new`].
    pub(crate) fn of_all_styles(graph: &'a Graph, device: &'a Device) -> Result<Self, Diagnostics> {
        Self::of(graph, device, Styles::All)
    }

    fn of(graph: &'a Graph, device: &'a Device, styles: Styles) -> Result<Self, Diagnostics> {
        let stages = kernels(graph)?
            .into_iter()
            .map(|(node, kernel)| {
                let form = form_of(graph, node, &kernel);
                let table = priced(graph, node, &kernel, &form, device, styles);
                Candidates { node, kernel, form, table }
            })
            .collect();
        Ok(Self { graph, device, stages })
    }

    /// The fastest network of at most so many multipliers. Where it has more of them than the device
    /// has in hardware, the smallest go into logic.
    ///
    /// # Errors
    /// Fewer multipliers than the graph needs.
    pub fn plan(&self, multipliers: u32) -> Result<Network, Diagnostics> {
        assemble(self.graph, &self.choose(multipliers)?, self.device)
    }

    /// The choices of [`Planner::plan`].
    pub(crate) fn choose(&self, multipliers: u32) -> Result<BTreeMap<NodeId, Choice>, Diagnostics> {
        let least = |stage: &Candidates| stage.table.iter().map(|choice| u64::from(choice.multipliers())).min();
        let fewest: u64 = self.stages.iter().filter_map(least).sum();
        if fewest > u64::from(multipliers) {
            let message = format!(
                "the model needs at least {fewest} multipliers, one per convolution; {multipliers} are allowed"
            );
            return Err(Diagnostic::error("too-few-multipliers", message)
                .help(format!("allow {fewest} multipliers or choose a larger device"))
                .into());
        }
        // The fewest cycles whose cheapest choices fit the budget.
        let targets = self.cycles();
        let feasible = |target: u64| self.fewest_multipliers(target).is_some_and(|used| used <= u64::from(multipliers));
        let first_feasible = targets.partition_point(|&target| !feasible(target));
        let target = targets.get(first_feasible).copied().unwrap_or(0);

        let mut chosen: BTreeMap<NodeId, Choice> = BTreeMap::new();
        let mut lanes: BTreeMap<NodeId, u32> = BTreeMap::new();
        for stage in &self.stages {
            let producer = self.graph.node(stage.node).operands.first();
            let producer_lanes = producer.and_then(|operand| lanes.get(operand)).copied();
            let element = producer.map(|&operand| &self.graph.node(operand).ty);
            let lane = element.filter(|ty| ty.element.range().is_some()).map(|ty| lane_type(ty.element));
            let joint = |choice: &Choice| {
                let converter = match (producer_lanes, lane) {
                    (Some(from), Some(lane)) => conversion(from, choice.fold.input_lanes, lane, self.device),
                    _ => Resources::default(),
                };
                let mut total = choice.resources;
                total += converter;
                self.weigh(&total)
            };
            let Some(choice) = stage.cheapest(target, joint) else { continue };
            let passed = stage.kernel == Kernel::Reshape;
            lanes.insert(stage.node, if passed { producer_lanes.unwrap_or(1) } else { choice.fold.output_lanes });
            chosen.insert(stage.node, *choice);
        }
        self.spill(&mut chosen, target, multipliers);
        Ok(chosen)
    }

    /// Cycles that stages may take, the fewest first.
    pub(crate) fn cycles(&self) -> Vec<u64> {
        let mut cycles: Vec<u64> = self.stages.iter().flat_map(|stage| &stage.table).map(Choice::cycles).collect();
        cycles.sort_unstable();
        cycles.dedup();
        cycles
    }

    /// The fewest multipliers of all stages within so many cycles; `None` if a stage is not so fast.
    pub(crate) fn fewest_multipliers(&self, cycles: u64) -> Option<u64> {
        self.stages.iter().map(|stage| stage.fewest_multipliers(cycles)).sum()
    }

    /// Up to `most` ways to fold each stage within so many cycles: those of the fewest multipliers, and the cheapest of
    /// them. Reshapes have one way for every number of lanes.
    pub(crate) fn within(&self, cycles: u64, most: usize) -> Vec<(NodeId, Vec<Choice>)> {
        let foldings = |stage: &Candidates| {
            let fewest = stage.fewest_multipliers(cycles).unwrap_or(0);
            let wanted =
                |choice: &&Choice| choice.cycles() <= cycles && u64::from(choice.multipliers()) <= fewest + fewest / 4;
            if stage.kernel == Kernel::Reshape {
                return (stage.node, stage.table.clone());
            }
            let mut wanted: Vec<Choice> = stage.table.iter().filter(wanted).copied().collect();
            wanted.sort_by_key(|choice| (choice.multipliers(), self.weigh(&choice.resources)));
            wanted.truncate(most);
            (stage.node, wanted)
        };
        self.stages.iter().map(foldings).filter(|(_, choices)| !choices.is_empty()).collect()
    }

    /// The stages, with the forms of their weights.
    pub(crate) fn stages(&self) -> impl Iterator<Item = (NodeId, &Kernel, &WeightForm)> {
        self.stages.iter().map(|stage| (stage.node, &stage.kernel, &stage.form))
    }

    /// Parts of the device as one number: the sum of the shares of each kind, in millionths.
    fn weigh(&self, resources: &Resources) -> u64 {
        let parts = self.device.parts();
        Part::ALL.into_iter().map(|part| resources[part] * 1_000_000 / parts[part].max(1)).sum()
    }

    /// Moves the processing elements of some stages into logic, if the device has too few multipliers, until
    /// the rest is what a fitted design may take: those first that free most of them for their look-up tables, or one alone, if it
    /// frees enough and takes fewer. A stage keeps its hardware multipliers if logic would take it over
    /// the limit of both kinds.
    fn spill(&self, chosen: &mut BTreeMap<NodeId, Choice>, target: u64, multipliers: u32) {
        let dsps = |chosen: &BTreeMap<NodeId, Choice>| chosen.values().map(|choice| choice.resources.dsp).sum::<u64>();
        let used = |chosen: &BTreeMap<NodeId, Choice>| chosen.values().map(|choice| choice.multipliers()).sum::<u32>();
        if dsps(chosen) <= self.device.dsp {
            return;
        }
        let most = self.device.limits().dsp;
        let excess = dsps(chosen) - most;
        // Millionths of a look-up table for each freed multiplier, freed ones, node, and what replaces it.
        let mut moves: Vec<(u64, u64, NodeId, Choice)> = Vec::new();
        for stage in &self.stages {
            let Some(now) = chosen.get(&stage.node).filter(|choice| choice.multipliers() > 0) else { continue };
            let logic = priced(self.graph, stage.node, &stage.kernel, &stage.form, self.device, Styles::All)
                .into_iter()
                .filter(|choice| choice.multiplier() == Some(Multiplier::Logic) && choice.cycles() <= target)
                .filter(|choice| choice.fold.input_lanes == now.fold.input_lanes)
                .min_by_key(|choice| (choice.multipliers(), self.weigh(&choice.resources)));
            let Some(logic) = logic else { continue };
            let freed = now.resources.dsp.saturating_sub(logic.resources.dsp);
            let more = logic.resources.lut.saturating_sub(now.resources.lut);
            if let Some(price) = (more * 1_000_000).checked_div(freed) {
                moves.push((price, freed, stage.node, logic));
            }
        }
        moves.sort_by_key(|(price, _, node, _)| (*price, *node));
        let cost = |(price, freed, ..): &(u64, u64, NodeId, Choice)| price * freed;
        let (mut freed, mut several) = (0, 0);
        for one in moves.iter() {
            if freed >= excess {
                break;
            }
            (freed, several) = (freed + one.1, several + cost(one));
        }
        let enough = |(_, freed, ..): &&(u64, u64, NodeId, Choice)| *freed >= excess;
        if let Some(&alone) = moves.iter().filter(enough).min_by_key(|one| cost(one)).filter(|one| cost(one) < several)
        {
            moves.insert(0, alone);
        }
        for (_, _, node, logic) in moves {
            if dsps(chosen) <= most {
                return;
            }
            let before = chosen.insert(node, logic);
            if used(chosen) > multipliers
                && let Some(before) = before
            {
                chosen.insert(node, before);
            }
        }
    }
}

impl Candidates {
    fn fewest_multipliers(&self, target: u64) -> Option<u64> {
        let fast = self.table.iter().filter(|choice| choice.cycles() <= target);
        fast.map(|choice| u64::from(choice.multipliers())).min()
    }

    /// The choice of least weight among those of fewest multipliers that keep a target.
    fn cheapest(&self, target: u64, weight: impl Fn(&Choice) -> u64) -> Option<&Choice> {
        let fewest = self.fewest_multipliers(target)?;
        self.table
            .iter()
            .filter(|choice| choice.cycles() <= target && u64::from(choice.multipliers()) == fewest)
            .min_by_key(|choice| {
                (weight(choice), choice.fold.input_lanes, choice.fold.output_lanes, choice.fold.cycles)
            })
    }
}
