//! Reshaping of deformable layers, step by step as CoDeNet does it (Huang et al., 2021): dense
//! layers become depthwise and pointwise ones, offsets get a bound, a square with one distance a
//! pixel takes the place of free taps, and offsets become whole pixels.
//!
//! Every step but the exact rewrites of [`lutweave_rewrite::rules`] changes the function; what it costs is
//! measured on calibration samples.

mod edit;
mod factor;
mod project;

#[cfg(test)]
mod tests;

use crate::sensitivity::{Loss, Study};
use edit::DeformableLayer;
use lutweave_ir::interpret::Interpreter;
use lutweave_ir::op::Sampling;
use lutweave_ir::{Diagnostic, Graph, NodeId, Op, Tensor};
use lutweave_quantize::stated_offsets;
use rayon::prelude::*;
use serde::Serialize;
use std::collections::BTreeMap;

/// How free the taps of deformable layers are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Variant {
    /// As the model has them; offsets without a bound get what the samples show.
    Full,
    /// Each tap its own offset within a reach.
    Bounded,
    /// One distance per pixel within a reach.
    Square,
}

/// Distance that CoDeNet bounds offsets to.
pub const DEFAULT_REACH: u32 = 7;

/// Samples on which prices are measured.
const SAMPLES: usize = 32;

/// What to make of the deformable layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// How free taps are left.
    pub variant: Variant,
    /// Largest offset or distance; [`DEFAULT_REACH`] if it is not given, except with
    /// [`Variant::Full`], where the model or the samples decide.
    pub reach: Option<u32>,
    /// Dense layers become depthwise and pointwise ones.
    pub depthwise: bool,
}

/// A step of reshaping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Dense layers became depthwise and pointwise ones.
    Depthwise,
    /// Offsets got a bound.
    Bounded,
    /// One distance per pixel took the place of free taps, within the bound.
    Square,
    /// Offsets became whole pixels.
    Whole,
}

/// The price of all steps up to one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Price {
    /// The last step.
    pub step: Step,
    /// Mean loss of the network's outputs against those of the model, see [`Loss`]; absent
    /// without samples.
    pub distortion: Option<f64>,
}

/// What became of a deformable layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReshapedLayer {
    /// Its name.
    pub name: String,
    /// `free`, or `square` for one distance per pixel.
    pub sampling: &'static str,
    /// True if every channel has a filter of its own.
    pub depthwise: bool,
    /// Bounds of the offsets or distances in whole pixels; absent if nothing bounds them.
    pub bounds: Option<[i32; 2]>,
    /// Smallest and largest offset on the samples before the layer was reshaped; absent without
    /// samples.
    pub seen: Option<[f32; 2]>,
    /// Why a step could not be taken.
    pub note: Option<String>,
}

/// What reshaping did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// What was asked for.
    pub variant: Variant,
    /// The layers, in order.
    pub layers: Vec<ReshapedLayer>,
    /// The steps that changed something, in order.
    pub prices: Vec<Price>,
}

/// A reshaped network.
#[derive(Clone, Debug)]
pub struct Reshaped {
    /// The float graph.
    pub graph: Graph,
    /// The float graph before offsets became whole pixels.
    pub unrounded: Graph,
    /// What was done.
    pub report: Report,
}

/// True if there is anything to reshape.
pub fn is_deformable(graph: &Graph) -> bool {
    graph.nodes().iter().any(|node| matches!(node.op, Op::DeformConv(_)))
}

/// Reshapes the deformable layers of a cleaned float graph and measures what that costs.
///
/// Layers with a mask keep their freedom and are noted in the report.
///
/// # Errors
/// Samples that do not fit the graph; a reach that is 0 or more than 127.
pub fn reshape(graph: &Graph, samples: &[Vec<Tensor>], loss: Loss, request: &Request) -> Result<Reshaped, Diagnostic> {
    if let Some(reach) = request.reach
        && !(1..=127).contains(&reach)
    {
        return Err(Diagnostic::error("invalid-option", format!("a reach of {reach} pixels is not supported"))
            .help("choose 1 to 127"));
    }
    let count = SAMPLES.min(samples.len());
    let samples: Vec<Vec<Tensor>> = (0..count).map(|index| samples[index * samples.len() / count].clone()).collect();
    let study = if samples.is_empty() { None } else { Some(Study::new(graph, &samples, loss)?) };
    let mut seen = study.as_ref().map(seen).unwrap_or_default();
    let mut reshaping =
        Reshaping { graph: graph.clone(), samples: &samples, study: study.as_ref(), prices: Vec::new() };
    let mut notes: BTreeMap<String, String> = BTreeMap::new();
    if request.depthwise {
        reshaping.step(Step::Depthwise, |graph| {
            edit::rebuild(graph, &mut |edit, layer| {
                let Some(factored) = factor::factor(edit, layer)? else { return Ok(None) };
                let name = &edit.source.node(layer.node).name;
                if let Some(&range) = seen.get(name) {
                    seen.insert(factor::depthwise_name(name), range);
                }
                Ok(Some(factored))
            })
        })?;
    }
    reshaping.step(Step::Bounded, |graph| {
        edit::rebuild(graph, &mut |edit, layer| {
            let Some((lo, hi)) = bounds(edit.source, layer, request, &seen) else { return Ok(None) };
            edit.with_clamped_offsets(layer, lo, hi).map(Some)
        })
    })?;
    if request.variant == Variant::Square {
        reshaping.step(Step::Square, |graph| {
            edit::rebuild(graph, &mut |edit, layer| match project::obstacle(edit.source, layer) {
                None => project::project(edit, layer, request.reach.unwrap_or(DEFAULT_REACH)),
                Some(obstacle) => {
                    notes.insert(edit.source.node(layer.node).name.clone(), obstacle);
                    Ok(None)
                }
            })
        })?;
    }
    let unrounded = reshaping.graph.clone();
    reshaping.step(Step::Whole, |graph| edit::rebuild(graph, &mut |edit, layer| edit.with_whole_offsets(layer)))?;
    let Reshaping { graph, prices, .. } = reshaping;
    let layers = layers(&graph, &seen, &notes);
    Ok(Reshaped { graph, unrounded, report: Report { variant: request.variant, layers, prices } })
}

/// Smallest and largest offset of each deformable layer on a study's samples, by name.
fn seen(study: &Study) -> BTreeMap<String, [f32; 2]> {
    let graph = study.graph();
    let layers = graph.ids().filter(|&id| matches!(graph.node(id).op, Op::DeformConv(_)));
    layers
        .map(|id| {
            let node = graph.node(id);
            let values = study.all_values(node.operands[3]).flat_map(|value| value.f32s().iter().copied());
            let extremes = values.fold([f32::INFINITY, f32::NEG_INFINITY], |[lo, hi], v| [lo.min(v), hi.max(v)]);
            (node.name.clone(), extremes)
        })
        .collect()
}

/// The bounds that a layer's offsets get, if they are to change.
fn bounds(
    graph: &Graph,
    layer: &DeformableLayer,
    request: &Request,
    seen: &BTreeMap<String, [f32; 2]>,
) -> Option<(f32, f32)> {
    let stated = stated_offsets(graph, graph.node(layer.node).operands[3]);
    let reach = match (request.variant, request.reach) {
        (Variant::Bounded | Variant::Square, reach) => reach.unwrap_or(DEFAULT_REACH) as i32,
        (Variant::Full, Some(reach)) => reach as i32,
        (Variant::Full, None) if stated.bounded() => stated.reach().min(127) as i32,
        (Variant::Full, None) => {
            let [lo, hi] = seen.get(&graph.node(layer.node).name)?.map(f32::round_ties_even);
            (lo.abs().max(hi.abs()).min(127.0) as i32).max(1)
        }
    };
    let least = if layer.conv.sampling == Sampling::Square { 0 } else { -reach };
    (stated.lo < least || stated.hi > reach).then_some((least as f32, reach as f32))
}

fn layers(graph: &Graph, seen: &BTreeMap<String, [f32; 2]>, notes: &BTreeMap<String, String>) -> Vec<ReshapedLayer> {
    let layer = |id: NodeId| -> Option<ReshapedLayer> {
        let node = graph.node(id);
        let Op::DeformConv(conv) = &node.op else { return None };
        let stated = stated_offsets(graph, node.operands[3]);
        let depth = graph.node(node.operands[1]).ty.shape[3];
        Some(ReshapedLayer {
            name: node.name.clone(),
            sampling: match conv.sampling {
                Sampling::Free { .. } => "free",
                Sampling::Square => "square",
            },
            depthwise: conv.geometry.groups > 1 && depth == 1,
            bounds: stated.bounded().then_some([stated.lo, stated.hi]),
            seen: seen.get(&node.name).copied(),
            note: notes.get(&node.name).cloned(),
        })
    };
    graph.ids().filter_map(layer).collect()
}

struct Reshaping<'s> {
    graph: Graph,
    samples: &'s [Vec<Tensor>],
    study: Option<&'s Study>,
    prices: Vec<Price>,
}

impl Reshaping<'_> {
    /// Takes a step, and measures it if it changes the graph.
    fn step(
        &mut self,
        step: Step,
        take: impl FnOnce(&Graph) -> Result<Option<Graph>, Diagnostic>,
    ) -> Result<(), Diagnostic> {
        let Some(graph) = take(&self.graph)? else { return Ok(()) };
        self.graph = graph;
        let distortion = self.study.map(|study| self.distortion(study)).transpose()?;
        self.prices.push(Price { step, distortion });
        Ok(())
    }

    fn distortion(&self, study: &Study) -> Result<f64, Diagnostic> {
        let interpreter = Interpreter::new(&self.graph);
        let joined = |&index: &usize| -> Result<Vec<f32>, Diagnostic> {
            let outputs = interpreter.run(&self.samples[index])?;
            Ok(outputs.iter().flat_map(|output| output.reals().into_iter().map(|value| value as f32)).collect())
        };
        let outputs = study.judging().par_iter().map(joined).collect::<Result<Vec<_>, Diagnostic>>()?;
        Ok(study.distortion_of(&outputs))
    }
}
