//! Free offsets as one distance per pixel.

use super::edit::{DeformableLayer, Edit};
use lutweave_ir::op::{Conv, DeformConv, Geometry, Sampling, Unary};
use lutweave_ir::{Diagnostic, Graph, NodeId, Op};
use lutweave_quantize::stated_offsets;
use lutweave_rewrite::rules::template::template;

/// Why a layer has no square form; `None` if it has one.
pub(super) fn obstacle(graph: &Graph, layer: &DeformableLayer) -> Option<String> {
    let weights = &graph.node(graph.node(layer.node).operands[1]).ty.shape;
    let (side, conv) = (weights[1], &layer.conv);
    if conv.sampling == Sampling::Square {
        return None;
    }
    if conv.modulated {
        return Some("it has a mask".to_owned());
    }
    if side != weights[2] || side % 2 == 0 || side == 1 {
        return Some(format!("a kernel of {side} x {} is no square around a pixel", weights[2]));
    }
    let [vertical, horizontal] = conv.geometry.dilations;
    if vertical != horizontal {
        return Some(format!("its dilations {vertical} and {horizontal} differ"));
    }
    let spread = side / 2 * (vertical - 1);
    conv.geometry.pads.iter().any(|&pad| pad < spread).then(|| "its padding is less than its dilation".to_owned())
}

/// The layer with the distance whose square lies nearest to its taps, pixel by pixel: the least
/// squares of all offsets. A layer that makes the offsets takes that into its weights when the
/// graph is cleaned. Distances lie in `0..=reach`. `None` if the layer has a distance already. It
/// must have no [`obstacle`].
pub(super) fn project(edit: &mut Edit, layer: &DeformableLayer, reach: u32) -> Result<Option<NodeId>, Diagnostic> {
    let Sampling::Free { offset_groups } = layer.conv.sampling else { return Ok(None) };
    let node = edit.source.node(layer.node);
    let name = node.name.clone();
    let side = edit.source.node(node.operands[1]).ty.shape[1];
    let dilation = layer.conv.geometry.dilations[0];
    let mut operands = edit.operands(layer.node);

    // Clamps and roundings come after the projection, for the distance.
    let stated = stated_offsets(edit.source, node.operands[3]);
    let offsets = edit.copied(stated.source);
    let template = template(side, offset_groups);
    let square: f32 = template.iter().map(|steps| steps * steps).sum();
    let shape = [1, 1, 1, template.len()];
    let w =
        edit.floats(&format!("{name}.distance.weight"), &shape, template.iter().map(|steps| steps / square).collect());
    let b = edit.floats(&format!("{name}.distance.bias"), &[1], vec![dilation as f32]);
    let mean = Op::Conv(Conv { geometry: Geometry::PLAIN });
    let distance = edit.graph.add(&format!("{name}.distance"), mean, &[offsets, w, b])?;
    let clip = Op::Unary(Unary::Clip { lo: 0.0, hi: reach as f32 });
    operands[3] = edit.graph.add(&format!("{name}.distance.bound"), clip, &[distance])?;

    let spread = side / 2 * (dilation - 1);
    let pads = layer.conv.geometry.pads.map(|pad| pad - spread);
    let geometry = Geometry { dilations: [1, 1], pads, ..layer.conv.geometry };
    let op = Op::DeformConv(DeformConv { geometry, sampling: Sampling::Square, modulated: false });
    edit.graph.add(&name, op, &operands).map(Some)
}
