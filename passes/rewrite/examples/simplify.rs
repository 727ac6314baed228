//! Imports models, cleans them, and says what became of them:
//! `cargo run --release -p lutweave-rewrite --example simplify -- [--text] [--check] [--sites] MODEL.onnx ..`

use lutweave_ir::interpret;
use lutweave_ir::op::{SiteKind, Transpose};
use lutweave_ir::{Data, Graph, Op, Tensor};
use lutweave_onnx::{ImportOptions, import};
use lutweave_rewrite::cleanup::{simplify, simplify_sites};
use lutweave_rewrite::sites::{place, resolve};
use std::collections::BTreeMap;
use std::time::Instant;

fn main() {
    let (flags, paths): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|arg| arg.starts_with("--"));
    for path in paths {
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) => {
                eprintln!("{path}: {error}");
                continue;
            }
        };
        let options = ImportOptions { name: path.clone(), ..ImportOptions::default() };
        let graph = match import(bytes, &options) {
            Ok(imported) => imported.graph,
            Err(faults) => {
                println!("{path}: refused\n{faults}");
                continue;
            }
        };
        let start = Instant::now();
        match simplify(&graph) {
            Ok(simplified) => {
                let report = simplified.report;
                println!("{path}: {} -> {} nodes", graph.nodes().len(), simplified.graph.nodes().len());
                println!("  before {}", histogram(&graph));
                println!("  after  {}", histogram(&simplified.graph));
                println!(
                    "  cost {} -> {}; {} e-nodes in {} classes, {} rounds, saturated: {}; {:?}",
                    report.cost_before,
                    report.cost_after,
                    report.e_nodes,
                    report.e_classes,
                    report.iterations,
                    report.saturated,
                    start.elapsed()
                );
                let fired: Vec<String> = report.fired.iter().map(|(name, count)| format!("{name} {count}")).collect();
                println!("  fired: {}", fired.join(", "));
                transposes(&simplified.graph);
                if flags.iter().any(|flag| flag == "--check") {
                    check(&graph, &simplified.graph);
                }
                if flags.iter().any(|flag| flag == "--sites") {
                    sites(&simplified.graph);
                }
                if flags.iter().any(|flag| flag == "--text") {
                    nodes(&simplified.graph);
                }
            }
            Err(faults) => println!("{path}: {faults}"),
        }
    }
}

/// Places sites, rewrites around them, and takes them out again.
fn sites(graph: &Graph) {
    let start = Instant::now();
    let run = || {
        let placed = place(graph)?;
        let clean = simplify_sites(&placed.graph)?;
        let resolved = resolve(&clean.graph)?;
        Ok::<_, lutweave_ir::Diagnostics>((placed, clean, resolved))
    };
    match run() {
        Ok((placed, clean, resolved)) => {
            let weights = placed.sites.iter().filter(|site| site.kind == SiteKind::Weights).count();
            println!(
                "  sites: {weights} of weights, {} of activations; {} -> {} nodes, {} without sites; {} e-nodes, \
                 saturated: {}; {:?}",
                placed.sites.len() - weights,
                placed.graph.nodes().len(),
                clean.graph.nodes().len(),
                resolved.graph.nodes().len(),
                clean.report.e_nodes,
                clean.report.saturated,
                start.elapsed()
            );
        }
        Err(faults) => println!("  sites: {faults}"),
    }
}

fn histogram(graph: &Graph) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for node in graph.nodes() {
        *counts.entry(node.op.name()).or_default() += 1;
    }
    counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}

fn transposes(graph: &Graph) {
    let users = graph.users();
    for id in graph.ids() {
        let node = graph.node(id);
        if let Op::Transpose(Transpose { permutation }) = &node.op {
            let operand = graph.node(node.operands[0]);
            let users: Vec<&str> = users[id.index()].iter().map(|user| graph.node(*user).op.name()).collect();
            println!("  transpose {permutation:?} of {} `{}` for {users:?}", operand.op.name(), operand.name);
        }
    }
}

fn nodes(graph: &Graph) {
    for id in graph.ids() {
        let node = graph.node(id);
        if matches!(node.op, Op::Constant(_)) {
            continue;
        }
        let operands: Vec<String> = node
            .operands
            .iter()
            .map(|&operand| match graph.constant_of(operand) {
                Some(_) => graph.node(operand).ty.to_string(),
                None => operand.to_string(),
            })
            .collect();
        let attributes = format!("{:?}", node.op);
        println!("  {id} `{}` {attributes} ({}) {}", node.name, operands.join(", "), node.ty);
    }
}

/// Runs both graphs on one input and prints how far the outputs are apart.
fn check(before: &Graph, after: &Graph) {
    let wave = |index: usize| ((index as f32) * 0.37).sin();
    let input = |id: &lutweave_ir::NodeId| {
        let ty = &before.node(*id).ty;
        match ty.element.range() {
            None => Tensor::f32(ty.shape.clone(), (0..ty.count()).map(wave).collect::<Vec<_>>()),
            Some((lo, hi)) => {
                let value = |index: usize| (wave(index) * (hi - lo) as f32 / 2.0 + (hi + lo) as f32 / 2.0) as i32;
                Tensor::int(ty.shape.clone(), (0..ty.count()).map(value).collect::<Vec<_>>())
            }
        }
    };
    let inputs: Vec<Tensor> = before.inputs().iter().map(input).collect();
    match (interpret::run(before, &inputs), interpret::run(after, &inputs)) {
        (Ok(a), Ok(b)) => {
            for (position, (a, b)) in a.iter().zip(&b).enumerate() {
                match (&a.data, &b.data) {
                    (Data::F32(a), Data::F32(b)) => {
                        let largest = a.iter().fold(0f32, |largest, value| largest.max(value.abs()));
                        let error = a.iter().zip(b.iter()).fold(0f32, |error, (a, b)| error.max((a - b).abs()));
                        println!("  output {position}: largest {largest}, largest difference {error}");
                    }
                    (a, b) => println!("  output {position}: equal: {}", a == b),
                }
            }
        }
        (Err(error), _) | (_, Err(error)) => println!("  {error}"),
    }
}
