//! All ways to build a network: every folding of every stage under every setting.

use super::budget::{Budgets, Quantity};
use crate::sensitivity::SensitivityTable;
use lutweave_hw::device::Device;
use lutweave_hw::elaborate::lane_type;
use lutweave_hw::kernel::{Kernel, kernel_of};
use lutweave_hw::plan::{Choice, WeightForm, conversion, form_of, kernels, options};
use lutweave_hw::rtl::NofM;
use lutweave_ir::{Diagnostics, Graph, NodeId, Op};
use lutweave_quantize::compress::{Pattern, WeightConfig, WeightConfigs};
use lutweave_solve::{Alternative, Edge, Problem, Stage};
use rayon::prelude::*;
use std::collections::BTreeMap;

/// One way to build a stage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Member {
    /// The setting of its layer's knob, where it has one.
    pub setting: Option<WeightConfig>,
    /// Its folding and what that takes.
    pub choice: Choice,
    /// What the setting costs, see [`crate::sensitivity::DISTORTION_ONE`].
    pub distortion: u64,
    /// Bits that its weights and their indices take.
    pub weight_bits: u64,
}

/// A stage with all ways to build it.
#[derive(Clone, Debug)]
pub struct StageSpace {
    /// Its node in the core graph that the space was made from.
    pub node: NodeId,
    /// Name of the node: that of the layer, if it is one.
    pub name: String,
    /// The ways, fastest first under each setting.
    pub members: Vec<Member>,
}

/// All stages of a core graph, and the streams between them.
#[derive(Clone, Debug)]
pub struct Space {
    /// In graph order.
    pub stages: Vec<StageSpace>,
    edges: Vec<Edge>,
}

/// A choice for every stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Design {
    /// The settings of the layers that have knobs.
    pub settings: WeightConfigs,
    /// How each stage is built, by the name of its node.
    pub choices: BTreeMap<String, Choice>,
    /// Sum of the layers' distortions.
    pub distortion: u64,
}

impl Space {
    /// The space of a core graph. Layers with a table may take each of its settings; others keep
    /// their weights. The graph's own weights do not matter where there is a table.
    ///
    /// # Errors
    /// Every node that has no hardware.
    pub fn new(graph: &Graph, tables: &[SensitivityTable], device: &Device) -> Result<Self, Diagnostics> {
        let kernels = kernels(graph)?;
        let built: Vec<(NodeId, &Kernel)> =
            kernels.iter().filter(|(_, kernel)| *kernel != Kernel::Reshape).map(|(id, kernel)| (*id, kernel)).collect();
        let stages: Vec<StageSpace> = built
            .par_iter()
            .map(|&(node, kernel)| {
                let name = graph.node(node).name.clone();
                let table = tables.iter().find(|table| table.layer == name);
                StageSpace { node, members: members(graph, node, kernel, table, device), name }
            })
            .collect();
        let mut space = Self { stages, edges: Vec::new() };
        space.edges = edges(graph, &space, device);
        Ok(space)
    }

    /// The space in which layers keep the settings that are given for them.
    #[must_use]
    pub fn with_settings(&self, settings: &WeightConfigs) -> Self {
        let mut space = self.clone();
        for stage in &mut space.stages {
            if let Some(setting) = settings.get(&stage.name) {
                stage.members.retain(|member| member.setting.is_none_or(|own| own == *setting));
            }
        }
        space
    }

    /// The space with other prices of the settings; layers without a table keep theirs.
    #[must_use]
    pub fn with_prices(&self, tables: &[SensitivityTable]) -> Self {
        let mut space = self.clone();
        for stage in &mut space.stages {
            let Some(table) = tables.iter().find(|table| table.layer == stage.name) else { continue };
            for member in &mut stage.members {
                if let Some(distortion) = member.setting.and_then(|setting| table.price(&setting)) {
                    member.distortion = distortion;
                }
            }
        }
        space
    }

    /// The problem of choosing a member of each stage within budgets.
    pub fn problem(&self, budgets: &Budgets) -> Problem {
        let stage = |stage: &StageSpace| Stage {
            name: stage.name.clone(),
            options: stage.members.iter().map(alternative).collect(),
        };
        Problem {
            stages: self.stages.iter().map(stage).collect(),
            edges: self.edges.clone(),
            budgets: budgets.limits(),
        }
    }

    /// What a selection of members means.
    pub fn design(&self, selection: &[usize]) -> Design {
        let picked = || self.stages.iter().zip(selection).map(|(stage, &index)| (stage, &stage.members[index]));
        Design {
            settings: picked().filter_map(|(stage, member)| Some((stage.name.clone(), member.setting?))).collect(),
            choices: picked().map(|(stage, member)| (stage.name.clone(), member.choice)).collect(),
            distortion: picked().map(|(_, member)| member.distortion).sum(),
        }
    }

    /// For each budget, the sum of what stages take of it at least.
    pub fn least_uses(&self) -> Vec<u64> {
        let mut total = Vec::new();
        for stage in &self.stages {
            let uses: Vec<Vec<u64>> = stage.members.iter().map(|member| alternative(member).uses).collect();
            total.resize(uses.first().map_or(total.len(), Vec::len), 0);
            for (budget, sum) in total.iter_mut().enumerate() {
                *sum += uses.iter().map(|uses| uses[budget]).min().unwrap_or(0);
            }
        }
        total
    }

    /// The distortion of the most faithful setting of every layer.
    pub fn least_distortion(&self) -> u64 {
        let least = |stage: &StageSpace| stage.members.iter().map(|member| member.distortion).min().unwrap_or(0);
        self.stages.iter().map(least).sum()
    }

    /// The distortion of the least faithful setting of every layer.
    pub fn most_distortion(&self) -> u64 {
        let most = |stage: &StageSpace| stage.members.iter().map(|member| member.distortion).max().unwrap_or(0);
        self.stages.iter().map(most).sum()
    }
}

fn alternative(member: &Member) -> Alternative {
    let uses = |quantity| match quantity {
        Quantity::Distortion => member.distortion,
        Quantity::Multipliers => u64::from(member.choice.multipliers()),
        Quantity::Part(part) => member.choice.resources[part],
        Quantity::WeightBits => member.weight_bits,
    };
    Alternative {
        cycles: member.choice.cycles(),
        uses: Quantity::ALL.map(uses).into(),
        input: member.choice.fold.input_lanes,
        output: member.choice.fold.output_lanes,
    }
}

fn members(
    graph: &Graph,
    node: NodeId,
    kernel: &Kernel,
    table: Option<&SensitivityTable>,
    device: &Device,
) -> Vec<Member> {
    let weights = match (&graph.node(node).op, graph.node(node).operands.get(1)) {
        (Op::QConv(_) | Op::QDeformConv(_), Some(&weights)) => graph.node(weights).ty.count() as u64,
        _ => 0,
    };
    let of_form = |form: &WeightForm, setting: Option<WeightConfig>, distortion: u64| -> Vec<Member> {
        options(graph, node, kernel, form, device)
            .into_iter()
            .map(|choice| Member {
                setting,
                choice,
                distortion,
                weight_bits: NofM::stored_bits(choice.pattern(), weights, form.bits),
            })
            .collect()
    };
    let Some(table) = table else {
        return of_form(&form_of(graph, node, kernel), None, 0);
    };
    let outputs_per_group = match kernel {
        Kernel::Convolution { extent, groups } => (extent.output[2] / groups) as usize,
        _ => 1,
    };
    table
        .prices
        .par_iter()
        .filter_map(|price| Some((assumed(&price.setting, outputs_per_group)?, price)))
        .flat_map(|(form, price)| of_form(&form, Some(price.setting), price.distortion))
        .collect()
}

/// The form that weights of a setting will have; free sparsity has none of use to the circuit.
fn assumed(setting: &WeightConfig, outputs_per_group: usize) -> Option<WeightForm> {
    let mut form = WeightForm::dense(u32::from(setting.bits));
    if let Pattern::NofM { kept, of } = setting.pattern {
        let pattern = NofM::ALL.into_iter().find(|pattern| (pattern.kept, pattern.of) == (kept, of))?;
        form.patterns.push(pattern);
        if setting.mask_rows(outputs_per_group) == 2 {
            form.pair_patterns.push(pattern);
        }
    }
    Some(form)
}

/// The streams between stages; reshapes pass a stream on.
fn edges(graph: &Graph, space: &Space, device: &Device) -> Vec<Edge> {
    let position: BTreeMap<NodeId, usize> =
        space.stages.iter().enumerate().map(|(index, stage)| (stage.node, index)).collect();
    let problem: Vec<Stage> = space
        .stages
        .iter()
        .map(|stage| Stage { name: String::new(), options: stage.members.iter().map(alternative).collect() })
        .collect();
    let mut edges = Vec::new();
    for (to, stage) in space.stages.iter().enumerate() {
        let Ok(kernel) = kernel_of(graph, stage.node) else { continue };
        for (stream, operand) in kernel.streams(&graph.node(stage.node).operands).into_iter().enumerate() {
            let mut source = operand;
            while let Op::Reshape(_) = graph.node(source).op {
                source = graph.node(source).operands[0];
            }
            let Some(&from) = position.get(&source) else { continue };
            let lane = lane_type(graph.node(source).ty.element);
            edges.push(Edge::priced(&problem, from, to, |written, read| {
                let parts = conversion(written, kernel.stream_lanes(stream, read), lane, device);
                let uses = |quantity| match quantity {
                    Quantity::Part(part) => parts[part],
                    Quantity::Distortion | Quantity::Multipliers | Quantity::WeightBits => 0,
                };
                Some(Quantity::ALL.map(uses).into())
            }));
        }
    }
    edges
}
