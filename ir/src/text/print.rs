//! Graph to text.

use super::element_bytes;
use crate::graph::{Graph, Node, NodeId};
use crate::op::Op;
use crate::tensor::{Data, Tensor};
use std::fmt::Write;

/// Constants of at most this many elements stand in their node's line.
const INLINE: usize = 16;
const DIGITS: &[u8; 16] = b"0123456789abcdef";
/// Bytes on a line of the constants' section.
const LINE: usize = 64;

/// The whole graph as text, which [`super::parse()`] reads back. The graph must be valid.
pub fn print(graph: &Graph) -> String {
    let mut text = nodes(graph, |_| "@".to_owned());
    let large = graph.ids().filter_map(|id| Some((id, graph.constant_of(id).filter(|value| is_large(value))?)));
    let mut first = true;
    for (id, value) in large {
        if std::mem::replace(&mut first, false) {
            text.push_str("constants:\n");
        }
        let _ = writeln!(text, "{id}");
        for line in bytes(graph.node(id), value).chunks(LINE) {
            text.push_str("  ");
            text.extend(
                line.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(DIGITS[digit as usize])),
            );
            text.push('\n');
        }
    }
    text
}

/// The graph as text for reading and snapshots: of a large constant only a 64-bit FNV-1a hash of
/// its bytes. It does not parse back.
pub fn print_summary(graph: &Graph) -> String {
    nodes(graph, |id| {
        let node = graph.node(id);
        let value = graph.constant_of(id).expect("invariant: only constants are hashed");
        format!("#{:016x}", hash(&bytes(node, value)))
    })
}

fn is_large(value: &Tensor) -> bool {
    value.count() > INLINE
}

/// The header, one line per node, and the outputs.
fn nodes(graph: &Graph, large: impl Fn(NodeId) -> String) -> String {
    let mut text = format!("graph {}\n", quoted(&graph.name));
    for id in graph.ids() {
        let node = graph.node(id);
        let _ = write!(text, "{id} {} = {}", quoted(&node.name), node.op.name());
        if let Op::Constant(value) = &node.op {
            let _ = match &value.data {
                _ if is_large(value) => write!(text, " {}", large(id)),
                Data::F32(data) => write!(text, " {data:?}"),
                Data::Int(data) => write!(text, " {data:?}"),
            };
        }
        for (position, operand) in node.operands.iter().enumerate() {
            let _ = write!(text, "{} {operand}", if position == 0 { "" } else { "," });
        }
        let attributes = node.op.attributes();
        for (position, (name, value)) in attributes.iter().enumerate() {
            let _ = write!(text, "{}{name}={value}", if position == 0 { " {" } else { ", " });
        }
        let _ = writeln!(text, "{} : {}", if attributes.is_empty() { "" } else { "}" }, node.ty);
    }
    text.push_str("outputs");
    for (position, output) in graph.outputs().iter().enumerate() {
        let _ = write!(text, "{} {output}", if position == 0 { "" } else { "," });
    }
    text.push('\n');
    text
}

/// A string in quotes; quotes, backslashes and control characters escaped.
pub(super) fn quoted(name: &str) -> String {
    let mut text = String::from("\"");
    for character in name.chars() {
        match character {
            '"' | '\\' => text.extend(['\\', character]),
            control if control.is_control() || control == '\u{2028}' || control == '\u{2029}' => {
                let _ = write!(text, "\\u{{{:x}}}", u32::from(control));
            }
            other => text.push(other),
        }
    }
    text.push('"');
    text
}

fn bytes(node: &Node, value: &Tensor) -> Vec<u8> {
    match &value.data {
        Data::F32(data) => data.iter().flat_map(|value| value.to_le_bytes()).collect(),
        Data::Int(data) => {
            let width = element_bytes(node.ty.element);
            data.iter().flat_map(|value| value.to_le_bytes().into_iter().take(width)).collect()
        }
    }
}

/// 64-bit FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
