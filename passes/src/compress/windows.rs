//! The windows of a layer of a graph, wherever its taps read.

use super::Patch;
use lutweave_ir::op::{DeformConv, Geometry};
use lutweave_ir::{Graph, NodeId, Op, Tensor, TensorType};
use std::borrow::Cow;

/// What a layer's windows see: a [`Patch`], and the images that it lies on.
#[derive(Clone, Debug)]
pub struct Windows {
    patch: Patch,
    gather: Option<Gather>,
}

/// Lays what the taps of a deformable convolution read side by side, `[h'*kh,w'*kw,c]`: its
/// windows then stand next to each other.
///
/// The taps are read by the operator itself, with weights that pass one tap of one channel each.
#[derive(Clone, Debug)]
struct Gather {
    op: Op,
    /// Types of the operand, the weights, the bias, the offsets.
    types: [TensorType; 4],
    /// `[1,h',w',c*kh*kw]`.
    result: TensorType,
    weights: Tensor,
    bias: Tensor,
    kernel: [usize; 2],
    channels: usize,
}

impl Windows {
    /// Of a convolution of an image of a float graph, deformable or not, with operands
    /// `x, w, b, [offsets]`.
    ///
    /// # Panics
    /// If the node is no such layer.
    pub fn of(graph: &Graph, layer: NodeId) -> Self {
        let node = graph.node(layer);
        let x = &graph.node(node.operands[0]).ty;
        let (height, width, channels) = x.image().expect("invariant: layers read images");
        let weights = &graph.node(node.operands[1]).ty.shape;
        let kernel = [weights[1], weights[2]];
        match &node.op {
            Op::Conv(conv) => {
                Self { patch: Patch::new([height, width, channels], kernel, &conv.geometry), gather: None }
            }
            Op::DeformConv(conv) => {
                let gather = Gather::new(conv, x, kernel, &graph.node(node.operands[3]).ty);
                let extents = [gather.result.shape[1] * kernel[0], gather.result.shape[2] * kernel[1], channels];
                let geometry = Geometry { strides: kernel, groups: conv.geometry.groups, ..Geometry::PLAIN };
                Self { patch: Patch::new(extents, kernel, &geometry), gather: Some(gather) }
            }
            op => unreachable!("invariant: `{}` is no layer with windows", op.name()),
        }
    }

    /// The windows on the images.
    pub fn patch(&self) -> &Patch {
        &self.patch
    }

    /// The image that the windows lie on, for an operand and, if the layer has them, offsets: reals
    /// in the types of the layer's operands.
    pub fn image<'t>(&self, x: Cow<'t, [f32]>, offsets: Option<&[f32]>) -> Cow<'t, [f32]> {
        match (&self.gather, offsets) {
            (Some(gather), Some(offsets)) => Cow::Owned(gather.image(&x, offsets)),
            (Some(_) | None, _) => x,
        }
    }
}

impl Gather {
    fn new(conv: &DeformConv, x: &TensorType, kernel: [usize; 2], offsets: &TensorType) -> Self {
        let channels = x.shape[3];
        let taps = kernel[0] * kernel[1];
        let shape = [channels * taps, kernel[0], kernel[1], 1];
        let mut weights = vec![0.0; channels * taps * taps];
        weights.chunks_exact_mut(taps).enumerate().for_each(|(output, row)| row[output % taps] = 1.0);
        let geometry = Geometry { groups: channels, ..conv.geometry };
        let op = Op::DeformConv(DeformConv { geometry, sampling: conv.sampling, modulated: false });
        let types = [x.clone(), TensorType::f32(shape), TensorType::f32([channels * taps]), offsets.clone()];
        let result = op.infer(&types.each_ref()).expect("invariant: the layer's own operands fit");
        let (weights, bias) = (Tensor::f32(shape, weights), Tensor::f32([channels * taps], vec![0.0; channels * taps]));
        Self { op, types, result, weights, bias, kernel, channels }
    }

    fn image(&self, x: &[f32], offsets: &[f32]) -> Vec<f32> {
        let x = Tensor::f32(self.types[0].shape.clone(), x.to_vec());
        let offsets = Tensor::f32(self.types[3].shape.clone(), offsets.to_vec());
        let read = self.op.eval(&self.result, &self.types.each_ref(), &[&x, &self.weights, &self.bias, &offsets]);
        let [width, row] = [self.result.shape[2], self.result.shape[2] * self.kernel[1] * self.channels];
        let taps = self.kernel[0] * self.kernel[1];
        let mut image = vec![0.0; read.count()];
        for (position, window) in read.f32s().chunks_exact(self.channels * taps).enumerate() {
            let start = position / width * self.kernel[0] * row + position % width * self.kernel[1] * self.channels;
            for (index, &value) in window.iter().enumerate() {
                let (channel, tap) = (index / taps, index % taps);
                let place = tap / self.kernel[1] * row + tap % self.kernel[1] * self.channels;
                image[start + place + channel] = value;
            }
        }
        image
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lutweave_ir::op::{Conv, Sampling};

    /// A layer of two channels and three outputs, deformable if `offsets` are given.
    fn layer(geometry: Geometry, offsets: Option<(Sampling, usize)>) -> (Graph, NodeId) {
        let mut graph = Graph::new("layer");
        let x = graph.input("x", TensorType::f32([1, 5, 6, 2]));
        let shape = [2, 3, 3, 2 / geometry.groups];
        let reals = |count: usize| (0..count).map(|i| ((i * 29) % 13) as f32 / 4.0 - 1.5).collect::<Vec<f32>>();
        let w = graph.constant("w", Tensor::f32(shape, reals(36 / geometry.groups)), TensorType::f32(shape));
        let b = graph.constant("b", Tensor::f32([2], vec![0.0; 2]), TensorType::f32([2]));
        let id = match offsets {
            None => graph.add("y", Op::Conv(Conv { geometry }), &[x, w, b]),
            Some((sampling, channels)) => {
                let o = graph.input("o", TensorType::f32([1, 3, 6, channels]));
                graph.add("y", Op::DeformConv(DeformConv { geometry, sampling, modulated: false }), &[x, w, b, o])
            }
        };
        (graph, id.unwrap())
    }

    /// The layer's output by its windows.
    fn by_windows(graph: &Graph, id: NodeId, x: &[f32], offsets: Option<&[f32]>) -> Vec<f32> {
        let windows = Windows::of(graph, id);
        let image = windows.image(Cow::Borrowed(x), offsets);
        let w = graph.constant_of(graph.node(id).operands[1]).unwrap();
        let depth = w.shape[3];
        let mut window = vec![0.0; windows.patch().taps()];
        let mut y = Vec::new();
        for position in 0..windows.patch().positions() {
            windows.patch().gather(&image, position, &mut window);
            for (output, row) in w.f32s().chunks_exact(9 * depth).enumerate() {
                let first = output / (2 * depth / 2) * depth % 2;
                let read = |index: usize| window[index / depth * 2 + first + index % depth];
                y.push(row.iter().enumerate().map(|(index, w)| w * read(index)).sum());
            }
        }
        y
    }

    #[test]
    fn windows_see_what_the_layer_reads() {
        let x: Vec<f32> = (0..60).map(|i| ((i * 37) % 19) as f32 - 5.0).collect();
        for groups in [1, 2] {
            let geometry = Geometry { strides: [2, 1], pads: [1; 4], groups, ..Geometry::PLAIN };
            let free = (Sampling::Free { offset_groups: 1 }, 18);
            for sampling in [None, Some(free), Some((Sampling::Square, 1))] {
                let (graph, id) = layer(geometry, sampling);
                let offsets: Option<Vec<f32>> = sampling
                    .map(|(_, channels)| (0..18 * channels).map(|i| ((i * 7) % 9) as f32 * 0.5 - 1.0).collect());
                let mut inputs = vec![Tensor::f32([1, 5, 6, 2], x.clone())];
                if let (Some((_, channels)), Some(offsets)) = (sampling, &offsets) {
                    inputs.push(Tensor::f32([1, 3, 6, channels], offsets.clone()));
                }
                let mut whole = graph.clone();
                whole.set_outputs(vec![id]);
                let expected = lutweave_ir::interpret::run(&whole, &inputs).unwrap();
                let found = by_windows(&graph, id, &x, offsets.as_deref());
                assert_eq!(found.len(), expected[0].count());
                let close = found.iter().zip(expected[0].f32s()).all(|(a, b)| (a - b).abs() < 1e-3);
                assert!(close, "{sampling:?} {groups}: {found:?} {expected:?}");
            }
        }
    }
}
