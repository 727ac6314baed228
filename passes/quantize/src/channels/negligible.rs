//! Weights that are zero but for rounding.

use super::lanes::Lanes;
use super::layer::MixingLayer;
use super::observe::Observed;
use lutweave_ir::{Graph, NodeId, Op};
use std::collections::BTreeMap;

/// Steps of an 8-bit value on each side of zero.
const STEPS: f64 = 127.0;

/// Sets weights to zero as long as, on no calibration sample, they move an output by more than
/// `share` of an 8-bit step of its own largest magnitude (after its activation function).
///
/// The bound is the sum of `|weight| * largest |input|` over what is set to zero. Since the step
/// is the output's own, scaling a channel up and its readers down changes nothing.
pub(super) fn zero(
    graph: &Graph,
    lanes: &Lanes,
    layers: &mut BTreeMap<NodeId, MixingLayer>,
    observed: &Observed,
    share: f64,
) {
    let users = graph.users();
    for (&id, layer) in layers.iter_mut().filter(|(_, layer)| layer.plain) {
        for output in 0..layer.outputs {
            let Some(budget) = magnitude(graph, lanes, &users, observed, id, output) else { continue };
            let budget = f64::from(budget) / STEPS * share;
            zero_output(layer, output, observed, budget);
        }
    }
}

fn zero_output(layer: &mut MixingLayer, output: usize, observed: &Observed, budget: f64) {
    let mut effects: Vec<(f64, usize)> = Vec::with_capacity(layer.taps * layer.inputs);
    for input in 0..layer.inputs {
        let Some(seen) = observed.channel(layer.operand, layer.channel(output, input)) else { return };
        for tap in 0..layer.taps {
            let at = layer.weight(output, tap, input);
            let effect = f64::from(layer.weights[at].abs()) * f64::from(seen.magnitude());
            if layer.weights[at] != 0.0 && effect <= budget {
                effects.push((effect, at));
            }
        }
    }
    effects.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let mut spent = 0.0;
    for (effect, at) in effects {
        spent += effect;
        if spent > budget {
            break;
        }
        layer.weights[at] = 0.0;
        layer.zeroed += 1;
        layer.changed = true;
    }
}

/// Largest magnitude of an output channel: of the functions of it where nothing else reads it,
/// else of itself.
fn magnitude(
    graph: &Graph,
    lanes: &Lanes,
    users: &[Vec<NodeId>],
    observed: &Observed,
    id: NodeId,
    channel: usize,
) -> Option<f32> {
    let readers = &users[id.index()];
    let functions = readers.iter().all(|&user| matches!(graph.node(user).op, Op::Unary(_)) && lanes.of(user).is_some());
    if functions && !readers.is_empty() && !graph.outputs().contains(&id) {
        let after = readers.iter().map(|&user| Some(observed.channel(user, channel)?.magnitude()));
        return after.collect::<Option<Vec<f32>>>().map(|all| all.into_iter().fold(0.0, f32::max));
    }
    observed.channel(id, channel).map(super::observe::Extremes::magnitude)
}
