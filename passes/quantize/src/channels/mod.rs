//! Removing channels from a float graph: those that nobody needs, and those that a caller gives up.
//!
//! A channel goes from the layers that compute it, from everything on the way, and from the
//! weights of the layers that read it. Channels that meet channel by channel (in a sum, in a
//! depthwise convolution) go together or not at all.
//!
//! Steps: `lanes` finds what has to go together; `observe` runs the calibration samples;
//! `negligible` sets weights to zero that are zero but for rounding; `constancy` finds channels
//! that have one value; `removal` decides which channels somebody needs; `rebuild` builds the
//! graph of those. A constant moves into the bias of the layers that read it, except at a padded
//! border: there the layer sees 0, and only a constant 0 can go.

mod class;
mod constancy;
mod lanes;
mod layer;
mod negligible;
mod observe;
mod prune;
mod rebuild;
mod removal;
mod report;

#[cfg(test)]
mod tests;

pub use class::{Channel, ChannelClass, classes};
pub use prune::{Keep, prune};
pub use report::{Kept, LayerChannels, OutputChange, Removed};

use constancy::Constancy;
use lanes::Lanes;
use lutweave_ir::{Diagnostic, Diagnostics, Graph, NodeId, Op, Tensor};
use observe::Observed;
use std::collections::BTreeMap;

/// How [`remove_dead`] decides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Takes a channel as constant whose activation function (ReLU, clip, hard sigmoid, hard
    /// swish, or the quantization of a quantized model) is saturated on all calibration samples. An unseen sample may disagree: with `n`
    /// samples of Gumbel-distributed maxima, about one in `n * exp(1.28 * margin)` does.
    pub never_firing: bool,
    /// How far from saturation a channel's extreme value must stay, in standard deviations, over
    /// the samples, of the extreme value of a sample. Not negative.
    pub margin: f64,
    /// Weights are set to zero that together move an output by at most this share of an 8-bit
    /// step of its own largest magnitude (magnitude / 127) on any calibration sample. Weights
    /// that are exactly zero need no sample. Not negative; with 0, no weight changes.
    pub negligible: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { never_firing: true, margin: 1.0, negligible: 1.0 / 1024.0 }
    }
}

/// Removes channels that nobody needs: those that never fire, and those read by weights only
/// that are zero but for rounding.
///
/// `calibration` holds one list of inputs per sample. Without samples only what follows from the
/// weights is removed, and the result equals the graph up to floating-point rounding. With
/// samples the two lossy choices of [`Options`] come in; [`Removed::change`] is their measured
/// price. Nothing that follows from the weights is left to remove.
///
/// # Errors
/// Options out of range; a graph that does not validate; samples that do not fit the graph's inputs.
pub fn remove_dead(graph: &Graph, calibration: &[Vec<Tensor>], options: &Options) -> Result<Removed, Diagnostics> {
    check(options)?;
    lutweave_ir::validate::validate(graph)?;
    let mut removed = round(graph, calibration, options)?;
    let mut before = graph.clone();
    while resized(&removed.graph, &before) {
        // What is left of a grouped convolution may have one group, whose channels are not tied.
        // All else that a smaller graph shows (a reshape can be seen through once there is only
        // one channel) follows from the weights.
        let samples = if one_group(&removed.graph, &before) { calibration } else { &[] };
        before = removed.graph.clone();
        removed = removed.then(round(&before, samples, options)?);
    }
    removed.change = report::change(graph, &removed.graph, calibration)?;
    Ok(removed)
}

/// A value has other extents now. Comparing the graphs would not end where a constant is no number.
fn resized(now: &Graph, before: &Graph) -> bool {
    let shapes = |graph: &Graph| graph.nodes().iter().map(|node| node.ty.shape.clone()).collect::<Vec<_>>();
    shapes(now) != shapes(before)
}

/// A convolution has one group now, and had more before.
fn one_group(now: &Graph, before: &Graph) -> bool {
    let grouped = |graph: &Graph| {
        let groups = graph.nodes().iter().filter(|node| matches!(&node.op, Op::Conv(conv) if conv.geometry.groups > 1));
        groups.count()
    };
    grouped(now) < grouped(before)
}

fn round(graph: &Graph, calibration: &[Vec<Tensor>], options: &Options) -> Result<Removed, Diagnostics> {
    let lanes = Lanes::new(graph);
    let mut layers = layer::layers(graph, &lanes);
    let observed = if calibration.is_empty() { None } else { Some(Observed::new(graph, &lanes, calibration)?) };
    if let Some(observed) = &observed
        && options.negligible > 0.0
    {
        negligible::zero(graph, &lanes, &mut layers, observed, options.negligible);
    }
    let saturated = observed.as_ref().filter(|_| options.never_firing).map(|observed| (observed, options.margin));
    let constancy = Constancy::new(graph, &lanes, &layers, saturated);
    let mut removed = remove(graph, &lanes, &layers, &constancy)?;
    removed.never_firing = constancy.observed;
    Ok(removed)
}

/// Builds the graph of the needed channels.
fn remove(
    graph: &Graph,
    lanes: &Lanes,
    layers: &BTreeMap<NodeId, layer::MixingLayer>,
    constancy: &Constancy,
) -> Result<Removed, Diagnostics> {
    let needed = removal::needed(graph, lanes, layers, constancy);
    let unchanged = needed.iter().all(|&needed| needed) && !layers.values().any(|layer| layer.changed);
    let smaller = if unchanged { graph.clone() } else { rebuild::rebuild(graph, lanes, layers, constancy, &needed)? };
    lutweave_ir::validate::validate(&smaller)?;
    Ok(report::report(graph, smaller, lanes, layers, &needed))
}

fn check(options: &Options) -> Result<(), Diagnostic> {
    for (name, value) in [("margin", options.margin), ("negligible", options.negligible)] {
        if !(value.is_finite() && value >= 0.0) {
            return Err(Diagnostic::error("invalid-option", format!("{value} is not a number of at least 0")).at(name));
        }
    }
    Ok(())
}
