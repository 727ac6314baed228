//! Giving up channels by what their loss costs.
//!
//! A channel is gone once nobody reads it. Step by step, a few channels of one class are masked in
//! the layers that read them, and these are fitted again on the inputs that they then get; the step
//! taken is the one of least distortion for the multiply-accumulates that it saves. What nobody
//! reads any more is then removed from the graph, and its neighbours shrink.

use crate::prune::Totals;
use crate::sensitivity::{Change, Loss, Prepared, Study};
use lutweave_ir::{Diagnostic, Diagnostics, Graph, NodeId, OnStep, Tensor};
use lutweave_quantize::channels::{Channel, ChannelClass, Options, classes, remove_dead};
use lutweave_quantize::{NormalizedLayer, NormalizedNetwork, normalized_network};
use lutweave_solve::allocate::Target;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A class loses one part of so many of its channels in a step.
const PARTS: usize = 8;

/// How far to go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Until {
    /// Until the network keeps a share of the totals.
    Kept(Target, Totals),
    /// As long as the distortion of the outputs is at most this.
    Distortion(f64),
}

/// A step that was taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The layers that lost channels.
    pub layers: Vec<String>,
    /// Channels that they have left.
    pub left: usize,
    /// Channels that they had at first.
    pub of: usize,
    /// Distortion of the network's outputs after the step.
    pub distortion: f64,
    /// Multiply-accumulates of the network after the step.
    pub macs: u64,
}

/// A network with fewer channels.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The network.
    pub graph: Graph,
    /// How it came about, in order.
    pub steps: Vec<Step>,
}

/// Removes channels of a network whose weights are trained, until a share is left or a distortion
/// is reached. `progress` gets the number of steps.
///
/// # Errors
/// Samples that do not fit; a share that cannot be reached.
pub fn shrink(
    network: &NormalizedNetwork,
    samples: &[Vec<Tensor>],
    loss: Loss,
    until: Until,
    progress: OnStep,
) -> Result<Shrunk, Diagnostics> {
    let original = Study::new(&network.graph, samples, loss)?;
    let mut descent = Descent {
        study: original.clone(),
        original,
        layers: network.layers.iter().map(|layer| (layer.node, layer)).collect(),
        gone: BTreeMap::new(),
    };
    let mut classes: Vec<Class> =
        classes(&network.graph).into_iter().filter_map(|class| descent.class(class)).collect();
    let mut now = State::of(network.graph.clone())?;
    let mut distortion = 0.0;
    let mut steps = Vec::new();
    // What each class's next step would be, by an evaluation that may be older than the network's
    // state: costs hardly fall as channels go, so only the best has to be looked at again.
    let mut offers: Vec<Option<Offer>> = Vec::new();
    for class in &classes {
        offers.push(descent.offer(class, &now, distortion, steps.len())?);
    }
    while !reached(until, &now.totals) {
        let allowed = |offer: &Offer| !matches!(until, Until::Distortion(most) if offer.cost > most);
        let candidates = offers.iter().enumerate().filter_map(|(index, offer)| Some((index, offer.as_ref()?)));
        let best = candidates.filter(|(_, offer)| allowed(offer)).min_by(|(_, a), (_, b)| a.price.total_cmp(&b.price));
        let Some(index) = best.map(|(index, _)| index) else {
            match until {
                Until::Kept(..) => return Err(too_few(network)),
                Until::Distortion(_) => break,
            }
        };
        let class = &mut classes[index];
        if let Some(offer) = offers[index].take_if(|offer| offer.made_after == steps.len()) {
            descent.take(class.step().unwrap_or_default(), &offer.change)?;
            class.left -= class.part;
            (now, distortion) = (offer.next, offer.cost);
            steps.push(Step {
                layers: class.members.clone(),
                left: class.left,
                of: class.order.len(),
                distortion,
                macs: now.totals.macs,
            });
            progress(steps.len())?;
        }
        offers[index] = descent.offer(class, &now, distortion, steps.len())?;
    }
    Ok(Shrunk { graph: now.graph, steps })
}

fn reached(until: Until, totals: &Totals) -> bool {
    match until {
        Until::Kept(Target::Weights(share), whole) => totals.weights as f64 <= share * whole.weights as f64,
        Until::Kept(Target::Macs(share), whole) => totals.macs as f64 <= share * whole.macs as f64,
        Until::Distortion(_) => false,
    }
}

fn too_few(network: &NormalizedNetwork) -> Diagnostics {
    Diagnostic::error("too-sparse", "no channel can go any more, and the network keeps more than that")
        .at(&network.graph.name)
        .help("keep a larger share, or prune single weights")
        .into()
}

/// A network without what nobody reads.
struct State {
    graph: Graph,
    totals: Totals,
}

impl State {
    fn of(graph: Graph) -> Result<Self, Diagnostics> {
        let exact = Options { never_firing: false, negligible: 0.0, ..Options::default() };
        let graph = remove_dead(&graph, &[], &exact)?.graph;
        let totals = Totals::of(&normalized_network(&graph)?);
        Ok(Self { graph, totals })
    }
}

/// Channels that go in an order.
struct Class {
    members: Vec<String>,
    /// The least important first.
    order: Vec<Channel>,
    /// Channels that are left: the last of `order`.
    left: usize,
    /// Channels of a step.
    part: usize,
}

impl Class {
    /// The channels that would go next; at least one stays.
    fn step(&self) -> Option<&[Channel]> {
        let start = self.order.len() - self.left;
        (self.left > self.part).then(|| &self.order[start..start + self.part])
    }
}

/// What the next step of a class would be.
struct Offer {
    /// Distortion that it adds for a multiply-accumulate that it saves.
    price: f64,
    /// Distortion of the outputs after it.
    cost: f64,
    change: Change,
    next: State,
    /// Steps that were taken when it was evaluated.
    made_after: usize,
}

struct Descent<'a> {
    original: Study,
    study: Study,
    layers: BTreeMap<NodeId, &'a NormalizedLayer>,
    /// Input channels that a layer no longer reads.
    gone: BTreeMap<NodeId, Vec<usize>>,
}

impl Descent<'_> {
    /// A class whose channels can go: all that read them have trained weights. Important is what
    /// moves the readers' outputs most.
    fn class(&self, class: ChannelClass) -> Option<Class> {
        let readers = || class.channels.iter().flat_map(|channel| &channel.readers);
        let open = |(id, _): &(NodeId, usize)| self.layers.get(id).is_some_and(|layer| layer.open());
        if class.channels.len() < 2 || readers().next().is_none() || !readers().all(open) {
            return None;
        }
        let read_by: BTreeSet<NodeId> = readers().map(|(id, _)| *id).collect();
        let influences: BTreeMap<NodeId, Vec<f64>> = read_by.iter().map(|&id| (id, self.influences(id))).collect();
        let influence = |channel: &Channel| channel.readers.iter().map(|(id, input)| influences[id][*input]).sum();
        let mut scored: Vec<(f64, Channel)> =
            class.channels.into_iter().map(|channel| (influence(&channel), channel)).collect();
        scored.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let count = scored.len();
        Some(Class {
            members: class.members,
            order: scored.into_iter().map(|(_, channel)| channel).collect(),
            left: count,
            part: (count / PARTS).max(1),
        })
    }

    /// For each input channel of a layer its mean square times the squares of its weights, as a
    /// share of all channels'.
    fn influences(&self, id: NodeId) -> Vec<f64> {
        let layer = self.layers[&id];
        let depth = layer.info.shape[3];
        let mut squares = vec![0.0f64; depth];
        for value in self.original.values(self.original.graph().node(id).operands[0]) {
            for (index, &x) in value.f32s().iter().enumerate() {
                squares[index % depth] += f64::from(x).powi(2);
            }
        }
        let mut norms = vec![0.0f64; depth];
        let weights = self.original.constant(layer.weights);
        for (index, &w) in weights.map_or(&[][..], Tensor::f32s).iter().enumerate() {
            norms[index % depth] += f64::from(w).powi(2);
        }
        squares.iter_mut().zip(norms).for_each(|(square, norm)| *square *= norm);
        let sum = squares.iter().sum::<f64>().max(f64::MIN_POSITIVE);
        squares.iter().map(|square| square / sum).collect()
    }

    /// The next step of a class from the present state, if it has one that saves anything.
    fn offer(
        &self,
        class: &Class,
        now: &State,
        distortion: f64,
        made_after: usize,
    ) -> Result<Option<Offer>, Diagnostics> {
        let Some(step) = class.step() else { return Ok(None) };
        let change = self.without(step)?;
        let cost = self.study.distortion(&change)?;
        let next = State::of(self.study.graph().with_constants(&change))?;
        let saved = now.totals.macs.saturating_sub(next.totals.macs);
        let price = (cost - distortion).max(0.0) / saved as f64;
        Ok((saved > 0).then_some(Offer { price, cost, change, next, made_after }))
    }

    /// What the readers of channels become without them.
    fn without(&self, channels: &[Channel]) -> Result<Change, Diagnostic> {
        let mut inputs: BTreeMap<NodeId, Vec<usize>> = BTreeMap::new();
        for &(id, input) in channels.iter().flat_map(|channel| &channel.readers) {
            inputs.entry(id).or_default().push(input);
        }
        let mut change = Change::new();
        for (id, mut gone) in inputs {
            gone.extend(self.gone.get(&id).into_iter().flatten());
            let layer = self.layers[&id];
            let depth = layer.info.shape[3];
            let mask: Vec<bool> = (0..layer.count()).map(|index| !gone.contains(&(index % depth))).collect();
            let prepared = Prepared::new(&self.study, &self.original, layer)?;
            let real = prepared.pruner(layer).refit(&mask, 1);
            change.extend(prepared.change(layer, &real));
        }
        Ok(change)
    }

    fn take(&mut self, channels: &[Channel], change: &Change) -> Result<(), Diagnostic> {
        for &(id, input) in channels.iter().flat_map(|channel| &channel.readers) {
            self.gone.entry(id).or_default().push(input);
        }
        self.study.apply(change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lutweave_ir::TensorType;
    use lutweave_ir::op::{Binary, Conv, Geometry, Op, Unary};

    /// Two branches that meet in a sum, and a layer that reads it.
    fn network() -> NormalizedNetwork {
        let mut graph = Graph::new("shrink");
        let x = graph.input("x", TensorType::f32([1, 6, 6, 4]));
        let layer = |graph: &mut Graph, name: &str, x: NodeId, outputs: usize, step: f32| {
            let shape = [outputs, 3, 3, graph.node(x).ty.shape[3]];
            let weights: Vec<f32> =
                (0..shape.iter().product()).map(|index: usize| (index as f32 * step).sin()).collect();
            let w = graph.constant(&format!("{name}.w"), Tensor::f32(shape, weights), TensorType::f32(shape));
            let geometry = Geometry { pads: [1; 4], ..Geometry::PLAIN };
            let y = graph.add(name, Op::Conv(Conv { geometry }), &[x, w]).unwrap();
            graph.add(&format!("{name}.relu"), Op::Unary(Unary::Relu), &[y]).unwrap()
        };
        let a = layer(&mut graph, "a", x, 16, 1.3);
        let b = layer(&mut graph, "b", a, 16, 0.7);
        let sum = graph.add("sum", Op::Binary(Binary::Add), &[a, b]).unwrap();
        let y = layer(&mut graph, "y", sum, 4, 2.1);
        graph.set_outputs(vec![y]);
        normalized_network(&graph).unwrap()
    }

    fn samples() -> Vec<Vec<Tensor>> {
        let pixel = |sample: usize, index: usize| ((index * 7 + sample * 31) as f32 * 0.37).cos();
        (0..12)
            .map(|sample| {
                let pixels: Vec<f32> = (0..144).map(|index| pixel(sample, index)).collect();
                vec![Tensor::f32([1, 6, 6, 4], pixels)]
            })
            .collect()
    }

    #[test]
    fn channels_go_until_the_share_is_left() {
        let network = network();
        let whole = Totals::of(&network);
        let until = Until::Kept(Target::Macs(0.5), whole);
        let shrunk = shrink(&network, &samples(), Loss::SquaredError, until, &|_| Ok(())).unwrap();
        lutweave_ir::validate::validate(&shrunk.graph).unwrap();
        let left = Totals::of(&normalized_network(&shrunk.graph).unwrap());
        assert!(left.macs * 2 <= whole.macs, "{left:?} of {whole:?}");
        let last = shrunk.steps.last().unwrap();
        assert_eq!(last.macs, left.macs);
        assert!(shrunk.steps.len() > 2 && shrunk.steps.windows(2).all(|pair| pair[1].macs < pair[0].macs));
        // What was recorded is what the smaller network really does.
        let reference = Study::new(&network.graph, &samples(), Loss::SquaredError).unwrap();
        let smaller = Study::new(&shrunk.graph, &samples(), Loss::SquaredError).unwrap();
        let output = smaller.graph().outputs()[0];
        let outputs: Vec<Vec<f32>> = smaller
            .judging()
            .iter()
            .map(|&sample| {
                let values = lutweave_ir::interpret::Interpreter::new(&shrunk.graph).run(&samples()[sample]).unwrap();
                assert_eq!(values[0].shape, shrunk.graph.node(output).ty.shape);
                values[0].f32s().to_vec()
            })
            .collect();
        assert!((reference.distortion_of(&outputs) - last.distortion).abs() < 1e-4 * last.distortion.max(1e-3));
    }

    #[test]
    fn no_step_goes_beyond_the_distortion() {
        let network = network();
        let shrink = |most: f64| shrink(&network, &samples(), Loss::SquaredError, Until::Distortion(most), &|_| Ok(()));
        assert!(shrink(0.0).unwrap().steps.is_empty());
        let all = shrink(f64::INFINITY).unwrap().steps;
        let most = all[1].distortion;
        let some = shrink(most).unwrap().steps;
        assert!(!some.is_empty() && some.len() < all.len() && some.iter().all(|step| step.distortion <= most));
    }

    #[test]
    fn a_share_out_of_reach_is_refused() {
        let network = network();
        let until = Until::Kept(Target::Macs(0.001), Totals::of(&network));
        let faults = shrink(&network, &samples(), Loss::SquaredError, until, &|_| Ok(())).unwrap_err();
        assert_eq!(faults.0[0].code, "too-sparse");
    }
}
