//! Several graphs side by side in one.

use lutweave_ir::{Graph, NodeId, Op};

/// The graphs as unconnected parts of one, so that a simulator with a slow build is built once
/// for all. Inputs and outputs are those of the parts, in order.
///
/// # Errors
/// If a graph is not valid.
pub fn side_by_side(name: &str, graphs: &[Graph]) -> Result<Graph, String> {
    let mut joined = Graph::new(name);
    let mut outputs = Vec::new();
    for (number, graph) in graphs.iter().enumerate() {
        let mut map: Vec<NodeId> = Vec::with_capacity(graph.nodes().len());
        for id in graph.ids() {
            let node = graph.node(id);
            let name = format!("g{number}_{}", node.name);
            let operands: Vec<NodeId> = node.operands.iter().map(|operand| map[operand.index()]).collect();
            map.push(match &node.op {
                Op::Input => joined.input(&name, node.ty.clone()),
                Op::Constant(value) => joined.constant(&name, value.clone(), node.ty.clone()),
                op => joined
                    .add_typed(&name, op.clone(), &operands, node.ty.clone())
                    .map_err(|error| error.to_string())?,
            });
        }
        outputs.extend(graph.outputs().iter().map(|output| map[output.index()]));
    }
    joined.set_outputs(outputs);
    Ok(joined)
}
