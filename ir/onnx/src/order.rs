//! The order of the nodes: ONNX demands that producers come first, but not every file obeys.

use crate::node::display_name;
use crate::proto::NodeProto;
use lutweave_ir::Diagnostic;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// Node indices with producers before users, as near to the file's order as can be; and the
/// faults of those on a cycle.
pub fn topological_order(nodes: &[NodeProto]) -> (Vec<usize>, Vec<Diagnostic>) {
    let mut producers: HashMap<&str, usize> = HashMap::new();
    for (index, node) in nodes.iter().enumerate() {
        for output in node.output.iter().filter(|name| !name.is_empty()) {
            producers.entry(output).or_insert(index);
        }
    }
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    let mut waiting = vec![0usize; nodes.len()];
    for (index, node) in nodes.iter().enumerate() {
        for &producer in node.input.iter().filter_map(|name| producers.get(name.as_str())) {
            users[producer].push(index);
            waiting[index] += 1;
        }
    }
    let mut ready: BinaryHeap<Reverse<usize>> =
        (0..nodes.len()).filter(|&index| waiting[index] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(Reverse(index)) = ready.pop() {
        order.push(index);
        for &user in &users[index] {
            waiting[user] -= 1;
            if waiting[user] == 0 {
                ready.push(Reverse(user));
            }
        }
    }
    let stuck: Vec<&str> = (0..nodes.len()).filter(|&i| waiting[i] > 0).map(|i| display_name(&nodes[i])).collect();
    let faults = stuck.first().map(|first| {
        let message = format!("{} nodes depend on their own results", stuck.len());
        Diagnostic::error("cyclic-graph", message).at(*first).help("export the model again; ONNX graphs have no cycles")
    });
    (order, faults.into_iter().collect())
}
