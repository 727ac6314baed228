//! Graph to Graphviz.

use super::print::quoted;
use crate::graph::{Graph, NodeId};
use crate::op::Op;
use petgraph::visit::EdgeRef;
use std::fmt::Write;

/// The graph in Graphviz's language. Constants are left out: their shapes stand in the boxes of
/// the nodes that read them.
pub fn dot(graph: &Graph) -> String {
    let topology = graph.topology();
    let is_constant = |id: NodeId| matches!(graph.node(id).op, Op::Constant(_));
    let mut text =
        format!("digraph {} {{\n  rankdir=TB;\n  node [shape=box, fontname=\"monospace\"];\n", quoted(&graph.name));
    for index in topology.node_indices() {
        let id = topology[index];
        let node = graph.node(id);
        if is_constant(id) {
            continue;
        }
        let mut label = format!("{}\n{}", node.name, node.op.name());
        for operand in node.operands.iter().filter(|operand| is_constant(**operand)) {
            let _ = write!(label, " {}", graph.node(*operand).ty);
        }
        let _ = write!(label, "\n{}", node.ty);
        let style = if graph.outputs().contains(&id) || matches!(node.op, Op::Input) { ", style=bold" } else { "" };
        let _ = writeln!(text, "  n{} [label={}{style}];", id.0, escaped(&label));
    }
    for edge in topology.edge_references() {
        let (from, to) = (topology[edge.source()], topology[edge.target()]);
        if !is_constant(from) {
            let _ = writeln!(text, "  n{} -> n{};", from.0, to.0);
        }
    }
    text.push_str("}\n");
    text
}

/// A Graphviz string; line breaks become centred lines.
fn escaped(label: &str) -> String {
    let mut text = String::from("\"");
    for character in label.chars() {
        match character {
            '"' | '\\' => text.extend(['\\', character]),
            '\n' => text.push_str("\\n"),
            control if control.is_control() => text.push(' '),
            other => text.push(other),
        }
    }
    text.push('"');
    text
}
