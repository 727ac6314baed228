//! Plan to [`Design`]: one module per stage, forks where a result has several users, width
//! converters and queues between.

use crate::block::crop_pad::{Axis, crop, pad};
use crate::block::global::Global;
use crate::block::pointwise::{self, Operands};
use crate::block::requantize::Parameters;
use crate::block::upsample::Upsample;
use crate::block::window::{Computation, Window};
use crate::block::{concat, convert, fork};
use crate::kernel::Kernel;
use crate::plan::{Plan, Stage, gcd};
use crate::rtl::{Channel, Design, Endpoint, Module, ModuleId, TopPort, Ty};
use lutweave_ir::range::accumulator_range;
use lutweave_ir::{Element, Graph, NodeId, Op};
use std::collections::HashSet;

/// The circuit of a planned core graph.
///
/// Streams carry one frame after another; the elements of a frame are in row-major order,
/// channels innermost.
pub fn elaborate(graph: &Graph, plan: &Plan) -> Design {
    let mut elaboration = Elaboration {
        graph,
        plan,
        design: Design { name: identifier(&graph.name), ..Design::default() },
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
            let node = self.graph.node(stage.node);
            let streams: Vec<Stream> = node.operands[..stage.input_lanes.len()]
                .iter()
                .zip(&stage.input_lanes)
                .map(|(&operand, &lanes)| self.take(operand, lanes))
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
                let module =
                    convert::convert(&self.unique(&format!("{name}_x{from}_to_x{to}")), stream.ty.lane(), from, to);
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
            let operands = &self.graph.node(user.node).operands[..user.input_lanes.len()];
            for (position, operand) in operands.iter().enumerate() {
                if *operand == stage.node {
                    depths.push(depth_of(user.slack[position], output.ty.lanes));
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
        let operand = |position: usize| lane_type(self.graph.node(node.operands[position]).ty.element);
        let lanes = stage.output_lanes;
        let name = match stage.kernel {
            Kernel::Input => {
                let name = self.unique(&format!("in_{}", identifier(&node.name)));
                let ty = element.by(lanes);
                let port = self.design.inputs.len() as u32;
                let beats = node.ty.count() as u64 / u64::from(lanes);
                self.design.inputs.push(TopPort { name, ty, beats });
                return Stream { from: Endpoint::Top(port), ty };
            }
            Kernel::Reshape => return streams[0],
            _ => self.unique(&identifier(&node.name)),
        };
        let module = match (&stage.kernel, &node.op) {
            (Kernel::Convolution { extent, groups }, Op::QConv(conv)) => {
                let weights = self.graph.constant_of(node.operands[1]).expect("weights are constant");
                let biases: Vec<i64> = self
                    .graph
                    .constant_of(node.operands[2])
                    .expect("biases are constant")
                    .ints()
                    .iter()
                    .map(|&b| i64::from(b))
                    .collect();
                let weights = weights.ints();
                let parameters = Parameters { biases: &biases, requantize: &conv.requantize, channels: biases.len() };
                let computation = Computation::Convolution {
                    groups: *groups,
                    weights,
                    weight_bits: weight_bits(weights),
                    parameters,
                };
                self.window(stage, &name, *extent, computation, i64::from(conv.pad_value), operand(0), element)
            }
            (Kernel::Pool { extent, .. }, Op::MaxPool(_)) => {
                let least = operand(0).bounds().0;
                self.window(stage, &name, *extent, Computation::Max, least, operand(0), element)
            }
            (Kernel::Pool { extent, .. }, Op::QAveragePool(pool)) => {
                let biases = [i64::from(pool.bias)];
                let channels = extent.input[2] as usize;
                let parameters = Parameters { biases: &biases, requantize: &pool.requantize, channels };
                let computation = Computation::Sum(parameters);
                self.window(stage, &name, *extent, computation, i64::from(pool.pad_value), operand(0), element)
            }
            (Kernel::Global { pixels, channels }, Op::QAveragePool(pool)) => {
                let biases = [i64::from(pool.bias)];
                let parameters =
                    Parameters { biases: &biases, requantize: &pool.requantize, channels: *channels as usize };
                let (lo, hi) = accumulator_range(self.graph, stage.node);
                let global = Global {
                    input: operand(0),
                    output: element,
                    accumulator: Ty::range(lo.min(0), hi.max(0)),
                    lanes,
                    words: channels / lanes,
                    pixels: *pixels,
                    multiplier_width: self.plan.multiplier_width,
                };
                global.generate(&name, &parameters)
            }
            (Kernel::Table, Op::Table(table)) => pointwise::table(&name, operand(0), element, lanes, &table.entries),
            (Kernel::Pair { broadcast }, op) => {
                let beats = node.ty.count() as u32 / lanes;
                let words = node.ty.shape.last().map_or(1, |&channels| channels as u32) / lanes;
                let operands = Operands {
                    inputs: [operand(0), operand(1)],
                    output: element,
                    lanes,
                    beats,
                    broadcast: broadcast.then_some(words),
                    multiplier_width: self.plan.multiplier_width,
                };
                match op {
                    Op::QMul(mul) => pointwise::product(&name, &operands, mul),
                    Op::QAdd(add) => pointwise::sum(&name, &operands, add),
                    _ => unreachable!("kernel_of makes pairs of sums and products only"),
                }
            }
            (Kernel::Concat { parts, .. }, _) => {
                let beats: Vec<u32> = parts.iter().map(|part| part / lanes).collect();
                concat::concat(&name, element.by(lanes), &beats)
            }
            (Kernel::Crop(axes), _) => {
                let axes = [0, 1, 2].map(|axis| {
                    let [outer, start, size, step] = axes[axis];
                    let unit = if axis == 2 { lanes } else { 1 };
                    Axis { outer: outer / unit, start: start / unit, size: size / unit, step }
                });
                crop(&name, element.by(lanes), axes)
            }
            (Kernel::Pad(axes), Op::Pad { value, .. }) => {
                let axes = [0, 1, 2].map(|axis| {
                    let [outer, before, inner] = axes[axis];
                    let unit = if axis == 2 { lanes } else { 1 };
                    Axis { outer: outer / unit, start: before / unit, size: inner / unit, step: 1 }
                });
                pad(&name, element.by(lanes), axes, *value as i64)
            }
            (Kernel::Upsample { input, factors }, _) => {
                let upsample =
                    Upsample { ty: element.by(lanes), columns: input[1], words: input[2] / lanes, factors: *factors };
                upsample.generate(&name)
            }
            (
                Kernel::Input
                | Kernel::Constant
                | Kernel::Reshape
                | Kernel::Convolution { .. }
                | Kernel::Pool { .. }
                | Kernel::Global { .. }
                | Kernel::Table
                | Kernel::Pad(_),
                _,
            ) => unreachable!("kernel_of pairs kernels with their operators"),
        };
        self.single(module, streams)
    }

    #[expect(clippy::too_many_arguments, reason = "each names one property of the layer")]
    fn window(
        &self,
        stage: &Stage,
        name: &str,
        extent: crate::block::window::Extent,
        computation: Computation,
        pad_value: i64,
        input: Ty,
        output: Ty,
    ) -> Module {
        let node = self.graph.node(stage.node);
        let accumulator = match computation {
            Computation::Max => output,
            Computation::Convolution { .. } => {
                let (lo, hi) = accumulator_range(self.graph, stage.node);
                Ty::range(lo.min(0), hi.max(0))
            }
            Computation::Sum(_) => {
                // The adders take any element of the stream's type, also those that never come.
                let (lo, hi) = accumulator_range(self.graph, stage.node);
                let (least, most) = input.lane().bounds();
                Ty::range(lo.min(least), hi.max(most))
            }
        };
        Window {
            name,
            summary: format!("{} `{}`: {} -> {}", node.op.name(), node.name, shape(extent.input), shape(extent.output)),
            extent,
            folding: stage.folding.expect("window kernels are folded"),
            computation,
            pad_value,
            input,
            output,
            accumulator,
            multiplier_width: self.plan.multiplier_width,
        }
        .generate()
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

    fn module(&mut self, module: Module) -> ModuleId {
        self.design.modules.push(module);
        ModuleId(self.design.modules.len() as u32 - 1)
    }

    fn channel(&mut self, sink: &str, from: Stream, to: Endpoint) {
        let name = format!("to_{sink}");
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

fn lane_type(element: Element) -> Ty {
    let (lo, hi) = element.range().expect("the core of a graph is integer");
    Ty::range(lo, hi)
}

/// Bits of the narrowest signed type that holds all weights, at least 2.
pub fn weight_bits(weights: &[i32]) -> u32 {
    let lo = weights.iter().copied().min().unwrap_or(0).min(-1);
    let hi = weights.iter().copied().max().unwrap_or(0);
    Ty::range(i64::from(lo), i64::from(hi)).bits.max(2)
}

fn shape([height, width, channels]: [u32; 3]) -> String {
    format!("{height}x{width}x{channels}")
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
