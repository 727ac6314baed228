//! Plan to [`Design`]: one module per stage, forks where a result has several users, width
//! converters and queues between.

mod stage;

use crate::block::{fork, width_converter};
use crate::kernel::Kernel;
use crate::plan::{Plan, Stage, gcd};
use crate::rtl::{Channel, Design, Endpoint, Module, ModuleId, TopPort, Ty};
use lutweave_ir::{Graph, NodeId};
use std::collections::HashSet;
use std::sync::Arc;

pub use stage::lane_type;
pub use stage::weight_bits;
pub(crate) use stage::{Assumption, WindowParts, module};

/// The circuit of a planned core graph.
///
/// Streams carry one frame after another; the elements of a frame are in row-major order,
/// channels innermost.
pub fn elaborate(graph: &Graph, plan: &Plan) -> Design {
    let mut elaboration = Elaboration {
        graph,
        plan,
        design: Design { name: identifier(&graph.name), family: Arc::clone(&plan.family), ..Design::default() },
        names: HashSet::new(),
        sources: vec![Vec::new(); graph.nodes().len()],
    };
    elaboration.run();
    elaboration.design
}

/// Where a stream comes from, and its type.
#[derive(Clone, Copy, Debug)]
struct Stream {
    from: Endpoint,
    ty: Ty,
}

struct Elaboration<'a> {
    graph: &'a Graph,
    plan: &'a Plan,
    design: Design,
    names: HashSet<String>,
    /// For each node, one stream per use that is still to be connected, last use first.
    sources: Vec<Vec<Stream>>,
}

impl Elaboration<'_> {
    fn run(&mut self) {
        // The name of the top module is not available to others.
        self.names.insert(self.design.name.clone());
        for stage in &self.plan.stages {
            let operands = stage.kernel.streams(&self.graph.node(stage.node).operands);
            let streams: Vec<Stream> = operands
                .into_iter()
                .zip(&stage.input_lanes)
                .map(|(operand, &lanes)| self.take(operand, lanes))
                .collect();
            let output = self.stage(stage, &streams);
            self.publish(stage, output);
        }
        for &output in self.graph.outputs() {
            let node = self.graph.node(output);
            let lanes = self.plan.stage(output).map_or(1, |stage| stage.output_lanes);
            let stream = self.take(output, lanes);
            let name = self.unique(&format!("out_{}", identifier(&node.name)));
            let port = self.design.outputs.len() as u32;
            let beats = node.ty.count() as u64 / u64::from(stream.ty.lanes);
            self.design.outputs.push(TopPort { name: name.clone(), ty: stream.ty, beats });
            self.channel(&name, stream, Endpoint::Top(port));
        }
    }

    /// The next use of a node's result, converted to `lanes` lanes.
    fn take(&mut self, id: NodeId, lanes: u32) -> Stream {
        let mut stream = self.sources[id.index()].pop().expect("every use has a stream");
        let name = identifier(&self.graph.node(id).name);
        let common = gcd(stream.ty.lanes, lanes);
        for to in [common, lanes] {
            let from = stream.ty.lanes;
            if from != to {
                let module = width_converter::convert(
                    &self.unique(&format!("{name}_x{from}_to_x{to}")),
                    stream.ty.lane(),
                    from,
                    to,
                );
                stream = self.single(module, &[stream]);
            }
        }
        stream
    }

    /// Makes one stream per use of a stage's result.
    fn publish(&mut self, stage: &Stage, output: Stream) {
        let node = self.graph.node(stage.node);
        let mut depths = Vec::new();
        for user in &self.plan.stages {
            let operands = user.kernel.streams(&self.graph.node(user.node).operands);
            for (position, operand) in operands.into_iter().enumerate() {
                if operand == stage.node {
                    depths.push(depth_of(user.fifo_depths[position], output.ty.lanes));
                }
            }
        }
        let uses = depths.len();
        let outputs = self.graph.outputs().iter().filter(|&&id| id == stage.node).count();
        depths.extend(std::iter::repeat_n(SMALLEST_QUEUE, outputs));
        let passes = matches!(output.from, Endpoint::Top(_)) && outputs > 0;
        let direct = depths.len() == 1 && depths[0] == SMALLEST_QUEUE && !passes;
        let mut streams = if direct {
            vec![output]
        } else if depths.is_empty() {
            // Nothing reads an input: it is drained.
            let name = self.unique(&format!("{}_drain", identifier(&node.name)));
            let module = fork::drain(&name, output.ty);
            let id = self.module(module);
            self.channel(&name, output, Endpoint::Port(id, 0));
            Vec::new()
        } else {
            let kind = if depths.len() == 1 { "queue" } else { "fork" };
            let name = self.unique(&format!("{}_{kind}", identifier(&node.name)));
            let summary = format!("Brings `{}` to its {} use(s).", node.name, depths.len());
            let module = fork::fork(&name, &summary, output.ty, &depths);
            let id = self.module(module);
            self.channel(&name, output, Endpoint::Port(id, 0));
            (0..depths.len() as u32).map(|port| Stream { from: Endpoint::Port(id, port), ty: output.ty }).collect()
        };
        debug_assert!(uses + outputs == streams.len());
        streams.reverse();
        self.sources[stage.node.index()] = streams;
    }

    fn stage(&mut self, stage: &Stage, streams: &[Stream]) -> Stream {
        let node = self.graph.node(stage.node);
        let element = lane_type(node.ty.element);
        let name = match stage.kernel {
            Kernel::Input => {
                let name = self.unique(&format!("in_{}", identifier(&node.name)));
                let lanes = stage.output_lanes;
                let ty = element.by(lanes);
                let port = self.design.inputs.len() as u32;
                let beats = node.ty.count() as u64 / u64::from(lanes);
                self.design.inputs.push(TopPort { name, ty, beats });
                return Stream { from: Endpoint::Top(port), ty };
            }
            Kernel::Reshape => return streams[0],
            _ => self.unique(&identifier(&node.name)),
        };
        let (lanes, wide) = ([stage.input_lanes[0], stage.output_lanes], self.plan.family.multiplier[0]);
        let module = module(self.graph, stage.node, &stage.kernel, stage.folding, lanes, &name, wide);
        self.single(module, streams)
    }

    /// Adds a module with one output and connects its inputs.
    fn single(&mut self, module: Module, streams: &[Stream]) -> Stream {
        let name = module.name.clone();
        let ty = module.signal(module.outputs[0].data).ty;
        let id = self.module(module);
        for (port, stream) in streams.iter().enumerate() {
            let channel = if streams.len() == 1 { name.clone() } else { format!("{name}_{port}") };
            self.channel(&channel, *stream, Endpoint::Port(id, port as u32));
        }
        Stream { from: Endpoint::Port(id, 0), ty }
    }

    fn module(&mut self, mut module: Module) -> ModuleId {
        // Blocks know no family; where its RAMs live is decided here, by the rule that prices them.
        for memory in module.memories.iter_mut().filter(|memory| memory.contents.is_none()) {
            memory.style = self.plan.family.ram_style(u64::from(memory.word.width()), u64::from(memory.depth));
        }
        self.design.modules.push(module);
        ModuleId(self.design.modules.len() as u32 - 1)
    }

    fn channel(&mut self, sink: &str, from: Stream, to: Endpoint) {
        let name = self.unique(&format!("to_{sink}"));
        self.design.channels.push(Channel { name, ty: from.ty, from: from.from, to });
    }

    fn unique(&mut self, base: &str) -> String {
        let mut candidate = base.to_owned();
        let mut suffix = 1;
        while !self.names.insert(candidate.clone()) {
            suffix += 1;
            candidate = format!("{base}_{suffix}");
        }
        candidate
    }
}

/// Depth of a queue where no more is needed.
const SMALLEST_QUEUE: u32 = 4;

fn depth_of(slack: u64, lanes: u32) -> u32 {
    (slack.div_ceil(u64::from(lanes)) as u32).max(SMALLEST_QUEUE)
}

/// A lower-case identifier made of a model's name.
pub fn identifier(name: &str) -> String {
    let mut result = String::new();
    for character in name.chars() {
        if character.is_ascii_alphanumeric() {
            result.push(character.to_ascii_lowercase());
        } else if !result.ends_with('_') && !result.is_empty() {
            result.push('_');
        }
    }
    let trimmed = result.trim_end_matches('_');
    let start: String = trimmed.chars().take(48).collect();
    if start.is_empty() || start.starts_with(|first: char| first.is_ascii_digit()) {
        format!("n_{start}")
    } else {
        start
    }
}
