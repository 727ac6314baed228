//! Layers whose channels no single scale fits.
//!
//! On the chip an activation has one scale. A depthwise layer multiplies each of its channels by
//! weights of its own, so that it may amplify the rounding of small channels until it drowns their
//! results. Here the layer before the function, the function and the depthwise layer are split by
//! channels, each part with a scale of its own; the function is the same over the reals.

use lutweave_ir::interpret::Interpreter;
use lutweave_ir::op::{Concat, Conv, Geometry, Select, Unary};
use lutweave_ir::{Diagnostic, Graph, NodeId, Op, Tensor, TensorType};
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Samples that are looked at.
const SAMPLES: usize = 8;
/// Steps of a result that one step of a channel may make before the channel gets a finer scale.
const AMPLIFICATION: f32 = 8.0;
/// Scales that a layer's channels are given at most.
const PARTS: usize = 3;
/// Steps of a range.
const STEPS: f32 = 255.0;

/// A layer, a function and a depthwise layer in a row, which nothing else reads.
#[derive(Clone, Copy, Debug)]
struct Chain {
    layer: NodeId,
    function: NodeId,
    depthwise: NodeId,
}

/// The graph with such layers split, and the names of those. Without samples nothing changes.
///
/// # Errors
/// Samples that do not fit the graph's inputs.
pub fn split_channels_by_range(graph: &Graph, samples: &[Vec<Tensor>]) -> Result<(Graph, Vec<String>), Diagnostic> {
    let chains = chains(graph);
    let count = SAMPLES.min(samples.len());
    if chains.is_empty() || count == 0 {
        return Ok((graph.clone(), Vec::new()));
    }
    let interpreter = Interpreter::new(graph);
    let watched: Vec<NodeId> = chains.iter().flat_map(|chain| [chain.function, chain.depthwise]).collect();
    let seen = (0..count)
        .into_par_iter()
        .map(|index| {
            let values = interpreter.run_all(&samples[index * samples.len() / count])?;
            Ok(watched.iter().map(|id| magnitudes(&values[id.index()])).collect::<Vec<_>>())
        })
        .collect::<Result<Vec<_>, Diagnostic>>()?;
    let largest = |place: usize| {
        let mut all = seen[0][place].clone();
        seen.iter().for_each(|sample| all.iter_mut().zip(&sample[place]).for_each(|(m, v)| *m = m.max(*v)));
        all
    };
    let mut splits: BTreeMap<NodeId, (Chain, Vec<Vec<usize>>)> = BTreeMap::new();
    for (position, chain) in chains.iter().enumerate() {
        let [inputs, outputs] = [largest(2 * position), largest(2 * position + 1)];
        let parts = parts(graph, chain, &inputs, &outputs);
        if parts.len() > 1 {
            splits.insert(chain.depthwise, (*chain, parts));
        }
    }
    let names = splits.values().map(|(chain, _)| graph.node(chain.layer).name.clone()).collect();
    let mut result = Graph::new(&graph.name);
    let mut map: Vec<NodeId> = Vec::with_capacity(graph.nodes().len());
    for id in graph.ids() {
        let node = graph.node(id);
        let operands: Vec<NodeId> = node.operands.iter().map(|operand| map[operand.index()]).collect();
        map.push(match (&node.op, splits.get(&id)) {
            (Op::Input, _) => result.input(&node.name, node.ty.clone()),
            (Op::Constant(value), _) => result.constant(&node.name, value.clone(), node.ty.clone()),
            (_, Some((chain, parts))) => split(graph, &mut result, &map, chain, parts)?,
            (op, None) => result.add_typed(&node.name, op.clone(), &operands, node.ty.clone())?,
        });
    }
    result.set_outputs(graph.outputs().iter().map(|output| map[output.index()]).collect());
    Ok((result.without_dead_nodes(), names))
}

/// The chains of a graph.
fn chains(graph: &Graph) -> Vec<Chain> {
    let users = graph.users();
    let alone = |id: NodeId| match users[id.index()][..] {
        [user] if !graph.outputs().contains(&id) => Some(user),
        _ => None,
    };
    let chain = |layer: NodeId| {
        let node = graph.node(layer);
        let Op::Conv(conv) = &node.op else { return None };
        if conv.geometry.groups != 1 || node.operands[1..].iter().any(|&operand| graph.constant_of(operand).is_none()) {
            return None;
        }
        let function = alone(layer)?;
        let smooth =
            matches!(graph.node(function).op, Op::Unary(Unary::Silu | Unary::HardSwish | Unary::Mish | Unary::Gelu));
        let depthwise = alone(function).filter(|_| smooth)?;
        let last = graph.node(depthwise);
        let Op::Conv(conv) = &last.op else { return None };
        let channels = *node.ty.shape.last()?;
        let fits = conv.geometry.groups == channels && last.ty.shape.last() == Some(&channels) && channels > 1;
        let constant = last.operands[1..].iter().all(|&operand| graph.constant_of(operand).is_some());
        (fits && constant).then_some(Chain { layer, function, depthwise })
    };
    graph.ids().filter_map(chain).collect()
}

/// Largest magnitude of each channel.
fn magnitudes(value: &Tensor) -> Vec<f32> {
    let channels = value.shape.last().copied().unwrap_or(1);
    let mut largest = vec![0.0f32; channels];
    for pixel in value.f32s().chunks_exact(channels) {
        largest.iter_mut().zip(pixel).for_each(|(largest, value)| *largest = largest.max(value.abs()));
    }
    largest
}

/// The channels by the scale that they need, coarse before fine.
fn parts(graph: &Graph, chain: &Chain, inputs: &[f32], outputs: &[f32]) -> Vec<Vec<usize>> {
    let maximum = |values: &mut dyn Iterator<Item = f32>| values.fold(0.0f32, f32::max);
    let step = maximum(&mut outputs.iter().copied()) / STEPS;
    let weights = graph.constant_of(graph.node(chain.depthwise).operands[1]).map(Tensor::f32s).unwrap_or_default();
    let taps = weights.len() / inputs.len().max(1);
    let gain = |channel: usize| {
        weights[channel * taps..(channel + 1) * taps].iter().map(|weight| weight * weight).sum::<f32>().sqrt()
    };
    let mut left: Vec<usize> = (0..inputs.len()).collect();
    let mut parts = Vec::new();
    while parts.len() + 1 < PARTS {
        let own = maximum(&mut left.iter().map(|&channel| inputs[channel])) / STEPS;
        let (fine, coarse): (Vec<usize>, Vec<usize>) =
            left.iter().partition(|&&channel| own * gain(channel) > AMPLIFICATION * step);
        // A finer scale helps where the channels that remain are smaller.
        let smaller = maximum(&mut fine.iter().map(|&channel| inputs[channel])) < own * STEPS / 2.0;
        if fine.is_empty() || coarse.is_empty() || !smaller {
            break;
        }
        parts.push(coarse);
        left = fine;
    }
    parts.push(left);
    parts
}

/// The parts of a chain, joined again.
fn split(
    graph: &Graph,
    result: &mut Graph,
    map: &[NodeId],
    chain: &Chain,
    parts: &[Vec<usize>],
) -> Result<NodeId, Diagnostic> {
    let channels: usize = parts.iter().map(Vec::len).sum();
    let mut joined = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let mut value = map[graph.node(chain.layer).operands[0].index()];
        for id in [chain.layer, chain.function, chain.depthwise] {
            let node = graph.node(id);
            let name = format!("{}.part{index}", node.name);
            value = match &node.op {
                Op::Conv(conv) => {
                    let mut operands = vec![value];
                    for &operand in &node.operands[1..] {
                        let rows = rows(graph, operand, channels, part);
                        let ty = TensorType::f32(rows.shape.clone());
                        operands.push(result.constant(&format!("{}.part{index}", graph.node(operand).name), rows, ty));
                    }
                    let groups = if id == chain.depthwise { part.len() } else { 1 };
                    result.add(&name, Op::Conv(Conv { geometry: Geometry { groups, ..conv.geometry } }), &operands)?
                }
                op => result.add(&name, op.clone(), &[value])?,
            };
        }
        joined.push(value);
    }
    let name = &graph.node(chain.depthwise).name;
    let axis = graph.node(chain.depthwise).ty.shape.len() - 1;
    let joined = result.add(&format!("{name}.parts"), Op::Concat(Concat { axis }), &joined)?;
    let mut order = vec![0; channels];
    parts.iter().flatten().enumerate().for_each(|(place, &channel)| order[channel] = place);
    result.add(name, Op::Select(Select { channels: order }), &[joined])
}

/// The rows of a constant that belong to some of its channels.
fn rows(graph: &Graph, constant: NodeId, channels: usize, part: &[usize]) -> Tensor {
    let tensor = graph.constant_of(constant).expect("invariant: a chain's parameters are constant");
    let size = tensor.count() / channels;
    let mut shape = tensor.shape.clone();
    shape[0] = part.len();
    let data = tensor.f32s();
    let values: Vec<f32> =
        part.iter().flat_map(|&channel| data[channel * size..(channel + 1) * size].iter().copied()).collect();
    Tensor::f32(shape, values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lutweave_ir::interpret;

    /// A pointwise layer of channels of such sizes, SiLU, and a depthwise layer that makes them
    /// equally large.
    fn network(sizes: &[f32], function: Unary) -> Graph {
        let count = sizes.len();
        let mut graph = Graph::new("test");
        let x = graph.input("x", TensorType::f32([1, 3, 3, 2]));
        let mut constant = |name: &str, shape: &[usize], values: Vec<f32>| {
            graph.constant(name, Tensor::f32(shape, values), TensorType::f32(shape))
        };
        let mixture = sizes.iter().flat_map(|size| [*size, -0.5 * size]).collect();
        let w = constant("w", &[count, 1, 1, 2], mixture);
        let b = constant("b", &[count], sizes.iter().map(|size| 0.1 * size).collect());
        let v = constant("v", &[count, 1, 1, 1], sizes.iter().map(|size| 1.0 / size).collect());
        let c = constant("c", &[count], vec![0.25; count]);
        let geometry = |groups| Geometry { strides: [1, 1], dilations: [1, 1], pads: [0; 4], groups };
        let y = graph.add("layer", Op::Conv(Conv { geometry: geometry(1) }), &[x, w, b]).expect("types fit");
        let y = graph.add("function", Op::Unary(function), &[y]).expect("types fit");
        let y = graph.add("depthwise", Op::Conv(Conv { geometry: geometry(count) }), &[y, v, c]).expect("types fit");
        graph.set_outputs(vec![y]);
        graph
    }

    fn sample() -> Vec<Tensor> {
        vec![Tensor::f32([1, 3, 3, 2], (0..18).map(|i| (i * 7 % 18) as f32 / 9.0 - 1.0).collect::<Vec<_>>())]
    }

    #[test]
    fn channels_are_split_by_size_and_nothing_else_changes() {
        let graph = network(&[0.01, 40.0, 1.0, 50.0, 0.02], Unary::Silu);
        let (result, names) = split_channels_by_range(&graph, &[sample()]).expect("the sample fits");
        assert_eq!(names, ["layer"]);
        let layers = result.nodes().iter().filter(|node| node.name.starts_with("layer.part")).count();
        assert_eq!(layers, 3);
        assert_eq!(interpret::run(&graph, &sample()), interpret::run(&result, &sample()));
    }

    #[test]
    fn what_one_scale_fits_stays() {
        for graph in [network(&[40.0, 30.0, 50.0], Unary::Silu), network(&[0.01, 40.0, 1.0], Unary::Relu)] {
            let (result, names) = split_channels_by_range(&graph, &[sample()]).expect("the sample fits");
            assert!(names.is_empty());
            assert_eq!(result, graph);
        }
    }
}
