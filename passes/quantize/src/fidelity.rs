//! Where integers do not mean what the reals do: outputs that lose too much, steps of functions that
//! rounding crosses, and poles that values come near.

use super::assign::Origin;
use super::calibrate::Observations;
use super::fuse::Fusion;
use super::normalise::Model;
use super::place::Place;
use lutweave_ir::op::{Binary, Unary};
use lutweave_ir::{Diagnostic, NodeId, Op, Tensor};
use std::collections::BTreeSet;

/// Error of an output, as a share of its standard deviation, from which it is worth a warning.
const TOLERATED: f64 = 0.05;

/// Standard deviation, as a share of the largest magnitude, below which a value is as good as constant.
const CONSTANT: f64 = 0.01;

/// Share of the largest magnitude that stands for the standard deviation of such a value.
const SHARE: f64 = 0.1;

/// How well a value of the integer graph stands for the float graph's, on samples.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fidelity {
    /// The value in the normalised graph.
    pub node: NodeId,
    /// Smallest and largest real.
    range: [f64; 2],
    /// Root mean square of the error over the standard deviation of the reals, or what stands for it.
    relative: f64,
    /// Integers give a value that is not finite where the reals do not.
    broken: bool,
}

impl Fidelity {
    /// Compares values, sample by sample. `None` if there are no finite reals.
    pub fn of<'a>(
        node: NodeId,
        reals: impl Iterator<Item = &'a Tensor>,
        approximations: impl Iterator<Item = Vec<f64>>,
    ) -> Option<Self> {
        Self::against(CONSTANT, node, reals, approximations)
    }

    /// As [`Fidelity::of`], for values of which only the differences count.
    pub fn of_differences<'a>(
        node: NodeId,
        reals: impl Iterator<Item = &'a Tensor>,
        approximations: impl Iterator<Item = Vec<f64>>,
    ) -> Option<Self> {
        Self::against(0.0, node, reals, approximations)
    }

    /// Values whose standard deviation is at most the share `constant` of the largest are judged by their
    /// size.
    fn against<'a>(
        constant: f64,
        node: NodeId,
        reals: impl Iterator<Item = &'a Tensor>,
        approximations: impl Iterator<Item = Vec<f64>>,
    ) -> Option<Self> {
        let (mut count, mut sum, mut squares, mut noise) = (0usize, 0.0, 0.0, 0.0);
        let mut range = [f64::INFINITY, f64::NEG_INFINITY];
        let mut broken = false;
        for (reals, approximations) in reals.zip(approximations) {
            for (real, approximation) in reals.reals().into_iter().zip(approximations) {
                if !real.is_finite() {
                    continue;
                }
                range = [range[0].min(real), range[1].max(real)];
                count += 1;
                sum += real;
                squares += real * real;
                if approximation.is_finite() {
                    noise += (approximation - real).powi(2);
                } else {
                    broken = true;
                }
            }
        }
        if count == 0 {
            return None;
        }
        let count = count as f64;
        let variance = (squares / count - (sum / count).powi(2)).max(0.0);
        let largest = range[0].abs().max(range[1].abs());
        let signal = if variance.sqrt() <= constant * largest { SHARE * largest } else { variance.sqrt() };
        let relative = if noise == 0.0 { 0.0 } else { (noise / count).sqrt() / signal.max(f64::MIN_POSITIVE) };
        Some(Self { node, range, relative, broken })
    }

    fn described(&self) -> String {
        let [lo, hi] = self.range;
        // Of what varies: a mean carries nothing.
        let decibel = -20.0 * self.relative.max(1e-9).log10();
        format!("it goes from {lo:.4} to {hi:.4}, at a signal-to-noise ratio of {decibel:.1} dB")
    }
}

/// Warnings about outputs that are off, each with the first value that is half as much off. `inner` are
/// the values of the chip in order.
pub(super) fn of_outputs(model: &Model, inner: &[Fidelity], outputs: &[Fidelity]) -> Vec<Diagnostic> {
    let mut warnings = Vec::new();
    for output in outputs {
        let node = model.graph.node(output.node);
        if output.broken {
            let message = "rounding to integers makes it infinite or undefined where the model's is not";
            warnings.push(
                Diagnostic::warning("non-finite", message)
                    .at(&node.name)
                    .operator(node.op.name())
                    .help("keep divisors, logarithms and roots away from 0 (add an epsilon), or end the model before"),
            );
            continue;
        }
        if output.relative <= TOLERATED {
            continue;
        }
        let depends = ancestors(model, output.node);
        let cause = inner.iter().find(|value| depends.contains(&value.node) && value.relative >= 0.5 * output.relative);
        let cause = cause.unwrap_or(output);
        let place = model.graph.node(cause.node);
        let message = format!(
            "8 bits do not keep this value well: {}; output `{}` is off by {:.1} % of its standard deviation",
            cause.described(),
            node.name,
            100.0 * output.relative
        );
        warnings.push(Diagnostic::warning("low-fidelity", message).at(&place.name).operator(place.op.name()).help(
            "narrow its range (clip, normalise, retrain), try --ranges percentile or mse, or end the model before it",
        ));
    }
    warnings
}

fn ancestors(model: &Model, id: NodeId) -> BTreeSet<NodeId> {
    let mut found = BTreeSet::from([id]);
    let mut waiting = vec![id];
    while let Some(id) = waiting.pop() {
        for &operand in &model.graph.node(id).operands {
            if found.insert(operand) {
                waiting.push(operand);
            }
        }
    }
    found
}

/// The value by which an output is judged: where it says which element is the largest, that in which it
/// looked.
pub(super) fn judged(model: &Model, output: NodeId) -> NodeId {
    let mut at = output;
    loop {
        let node = model.graph.node(at);
        match node.op {
            Op::ArgMax(_) => return node.operands[0],
            Op::Reshape(_) | Op::Transpose(_) | Op::Slice(_) => at = node.operands[0],
            _ => return output,
        }
    }
}

/// The values whose nearness to 0 decides whether a result is finite.
pub(super) fn near_poles(model: &Model) -> Vec<(NodeId, NodeId)> {
    let pole = |id: NodeId| {
        let node = model.graph.node(id);
        let at = match node.op {
            Op::Binary(Binary::Div) => node.operands[1],
            Op::Unary(Unary::Reciprocal | Unary::Log) => node.operands[0],
            _ => return None,
        };
        let computed = model.places[id.index()] != Place::Nowhere && !model.is_constant(at);
        computed.then_some((id, at))
    };
    model.graph.ids().filter_map(pole).collect()
}

/// Warnings about results whose divisor (or argument of a logarithm) comes so near 0 on the samples that
/// 8 bits cannot tell it from 0.
pub(super) fn of_poles(model: &Model, observations: &Observations) -> Vec<Diagnostic> {
    /// Share of the largest magnitude below which a step of 8 bits moves the result by percents.
    const NEAR: f64 = 0.1;
    let mut warnings = Vec::new();
    for (id, at) in near_poles(model) {
        let Some(kept) = observations.kept.get(&at) else { continue };
        let values = || kept.iter().flat_map(Tensor::reals).filter(|value| value.is_finite());
        let least = values().fold(f64::INFINITY, |least, value| least.min(value.abs()));
        let most = values().fold(0.0f64, |most, value| most.max(value.abs()));
        if !least.is_finite() || least > NEAR * most {
            continue;
        }
        let node = model.graph.node(id);
        let message = format!(
            "`{}` comes as near 0 as {least:.3e} and goes to {most:.3e}: 8 bits hardly tell it from 0, where the \
             result has a pole",
            model.graph.node(at).name
        );
        warnings.push(
            Diagnostic::warning("near-pole", message)
                .at(&node.name)
                .operator(node.op.name())
                .help("add an epsilon or a clip in the model, or end the model before it"),
        );
    }
    warnings
}

/// Warnings about functions with steps of values that are rounded before: near a step the result may be
/// the neighbouring one.
pub(super) fn of_steps(model: &Model, fusion: &Fusion, origins: &[Option<Origin>]) -> Vec<Diagnostic> {
    let mut warnings = Vec::new();
    for id in model.graph.ids() {
        let node = model.graph.node(id);
        let Op::Unary(Unary::Round | Unary::Floor | Unary::Ceil) = node.op else { continue };
        if model.places[id.index()] == Place::Nowhere || !rounded_before(model, fusion, origins, id) {
            continue;
        }
        let message = "its operand is rounded to 8 bits, so that near a step the result may be a whole step off";
        warnings.push(
            Diagnostic::warning("rounding-near-steps", message)
                .at(&node.name)
                .operator(node.op.name())
                .help("quantize the operand in the model with a scale that divides 1, or end the model before it"),
        );
    }
    warnings
}

/// True if some value that a node depends on has a calibrated quantization.
fn rounded_before(model: &Model, fusion: &Fusion, origins: &[Option<Origin>], id: NodeId) -> bool {
    let source = fusion.sources[id.index()];
    let depends = ancestors(model, source.unwrap_or(id));
    depends.iter().filter(|&&other| other != id || source.is_some()).any(|other| {
        matches!(origins[other.index()], Some(Origin::Calibrated(_) | Origin::SameAs(_)))
            && super::calibrated(origins, *other).is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_measured_against_the_spread() {
        let reals = [Tensor::f32([4], vec![9.0, 11.0, 9.0, 11.0])];
        let of = |values: [f64; 4]| Fidelity::of(NodeId(0), reals.iter(), std::iter::once(values.to_vec()));
        let exact = of([9.0, 11.0, 9.0, 11.0]).expect("there are values");
        assert_eq!((exact.relative, exact.range), (0.0, [9.0, 11.0]));
        let off = of([9.5, 11.5, 8.5, 10.5]).expect("there are values");
        assert!((off.relative - 0.5).abs() < 1e-6, "{off:?}");
        assert!(of([9.0, f64::INFINITY, 9.0, 11.0]).expect("there are values").broken);
    }

    #[test]
    fn constants_are_measured_against_their_size() {
        let reals = [Tensor::f32([2], vec![2.0, 2.0])];
        let off = Fidelity::of(NodeId(0), reals.iter(), std::iter::once(vec![2.1, 2.1])).expect("there are values");
        assert!((off.relative - 0.5).abs() < 1e-6, "{off:?}");
        let none = [Tensor::f32([1], vec![f32::NAN])];
        assert!(Fidelity::of(NodeId(0), none.iter(), std::iter::once(vec![0.0])).is_none());
    }
}
