//! `inspect`: what is in a model.

use super::arguments::{Inspect, View};
use super::bars::Bars;
use super::render::Ending;
use super::table::table;
use lutweave::artefact::Build;
use lutweave::compiler::Compiler;
use lutweave::failure::printable;
use lutweave::model::Model;
use lutweave::options::Options;
use lutweave_ir::split::{host_ops, split};
use lutweave_ir::{Graph, Op, TensorType, text};
use serde_json::json;
use std::path::Path;

/// The pass after which a model is shown.
const DEFAULT_PASS: &str = "simplify";

/// Runs the command.
///
/// # Errors
/// If the model cannot be read.
pub fn command(arguments: &Inspect, bars: &Bars) -> Result<(), Ending> {
    let directory = arguments.model.as_deref().map(Path::new).filter(|path| Build::is_at(path));
    let graph = match directory {
        Some(directory) => Build::read(directory)?.graph,
        None => {
            let model = Model::load(arguments.model.as_deref(), arguments.task.as_deref())?;
            if arguments.raw {
                model.graph
            } else {
                let compiler = Compiler::watched(Options::default(), bars);
                let pass = arguments.stop_after.as_deref().unwrap_or(DEFAULT_PASS);
                compiler.stop_after(&model, pass)?.graph().clone()
            }
        }
    };
    if arguments.format.json {
        outln!("{}", summary(&graph));
        return Ok(());
    }
    match arguments.view.unwrap_or(View::Table) {
        View::Table => print_table(&graph),
        View::Text => out!("{}", text::print_summary(&graph)),
        View::Full => out!("{}", text::print(&graph)),
        View::Dot => out!("{}", text::dot(&graph)),
    }
    Ok(())
}

struct Line {
    name: String,
    operator: &'static str,
    ty: TensorType,
    macs: u64,
    parameters: u64,
}

fn lines(graph: &Graph) -> Vec<Line> {
    let nodes = graph.ids().map(|id| (id, graph.node(id))).filter(|(_, node)| !matches!(node.op, Op::Constant(_)));
    nodes
        .map(|(id, node)| {
            let constants = node.operands.iter().filter_map(|&operand| weights_behind(graph, operand));
            Line {
                name: node.name.clone(),
                operator: node.op.name(),
                ty: node.ty.clone(),
                macs: graph.macs(id),
                parameters: constants.sum(),
            }
        })
        .filter(|line| line.operator != "dequantize_weights")
        .collect()
}

/// Elements of a constant operand, directly or behind a dequantization.
fn weights_behind(graph: &Graph, operand: lutweave_ir::NodeId) -> Option<u64> {
    let node = graph.node(operand);
    match &node.op {
        Op::Constant(tensor) => Some(tensor.count() as u64),
        Op::DequantizeWeights(_) => weights_behind(graph, node.operands[0]),
        _ => None,
    }
}

fn print_table(graph: &Graph) {
    let lines = lines(graph);
    let mut table = table(&["layer", "operator", "result", "MACs", "parameters"], &[3, 4]);
    for line in &lines {
        let count = |count: u64| if count == 0 { String::new() } else { count.to_string() };
        table.add_row([
            printable(&line.name),
            line.operator.to_owned(),
            line.ty.to_string(),
            count(line.macs),
            count(line.parameters),
        ]);
    }
    outln!("{table}");
    let macs: u64 = lines.iter().map(|line| line.macs).sum();
    let parameters: u64 = lines.iter().map(|line| line.parameters).sum();
    outln!("{} layers, {macs} MACs, {parameters} parameters", lines.len());
    if let Ok(split) = split(graph) {
        let host = host_ops(&split);
        outln!("on the host: {}", if host.is_empty() { "nothing".to_owned() } else { host.join(", ") });
    }
}

fn summary(graph: &Graph) -> serde_json::Value {
    let lines = lines(graph);
    let layers: Vec<_> = lines
        .iter()
        .map(|line| {
            json!({
                "name": line.name, "operator": line.operator, "shape": line.ty.shape,
                "element": line.ty.element.to_string(), "macs": line.macs, "parameters": line.parameters,
            })
        })
        .collect();
    let tensors = |ids: &[lutweave_ir::NodeId]| -> Vec<_> {
        ids.iter()
            .map(|&id| {
                let node = graph.node(id);
                json!({ "name": node.name, "shape": node.ty.shape, "element": node.ty.element.to_string() })
            })
            .collect()
    };
    json!({
        "model": graph.name, "inputs": tensors(graph.inputs()), "outputs": tensors(graph.outputs()),
        "macs": lines.iter().map(|line| line.macs).sum::<u64>(),
        "parameters": lines.iter().map(|line| line.parameters).sum::<u64>(),
        "host_ops": split(graph).map(|split| host_ops(&split)).unwrap_or_default(),
        "layers": layers,
    })
}
