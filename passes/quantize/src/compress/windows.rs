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
#[derive(Clone, Debug)]
struct Gather {
    conv: DeformConv,
    result: TensorType,
    /// Shapes of the operand, the weights and the offsets.
    shapes: [Vec<usize>; 3],
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
                let shapes = [0, 1, 3].map(|position| graph.node(node.operands[position]).ty.shape.clone());
                let extents = [node.ty.shape[1] * kernel[0], node.ty.shape[2] * kernel[1], channels];
                let geometry = Geometry { strides: kernel, groups: conv.geometry.groups, ..Geometry::PLAIN };
                let gather = Gather { conv: *conv, result: node.ty.clone(), shapes };
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
    fn image(&self, x: &[f32], offsets: &[f32]) -> Vec<f32> {
        let tensor = |position: usize, values: &[f32]| Tensor::f32(self.shapes[position].clone(), values.to_vec());
        // What taps read does not depend on the weights.
        let weights = Tensor::f32(self.shapes[1].clone(), vec![0.0; self.shapes[1].iter().product()]);
        let bias = Tensor::f32([self.shapes[1][0]], vec![0.0; self.shapes[1][0]]);
        self.conv.taps(&self.result, &[&tensor(0, x), &weights, &bias, &tensor(2, offsets)])
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
