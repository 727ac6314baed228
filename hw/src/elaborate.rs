//! Dataflow network to [`Design`]: one module per kernel, forks where a result has several users, width
//! converters and queues between.

mod stage;

use crate::block::outside_queue::OutsideQueue;
use crate::block::window::{Folding, WeightSource, WeightSupply};
use crate::block::{fork, width_converter};
use crate::dataflow::{Edge, KernelNode, Network, SMALLEST_QUEUE, Sink};
use crate::kernel::Kernel;
use crate::plan::lanes_between;
use crate::rtl::{Channel, Design, Endpoint, Module, ModuleId, TopPort, Ty};
use crate::supply::{READ, Supply, WRITE, WRITE_DATA};
use lutweave_ir::{Graph, NodeId};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

pub use stage::lane_type;
pub use stage::weight_bits;
pub(crate) use stage::{Assumption, WindowParts, module};

/// The circuit of a network that is the graph's (see [`Network::validate`]).
///
/// Streams carry one frame after another; the elements of a frame are in row-major order,
/// channels innermost.
pub fn elaborate(graph: &Graph, network: &Network) -> Design {
    let mut elaboration = Elaboration {
        graph,
        network,
        pace: network.bottleneck().max(1),
        design: Design { name: identifier(&graph.name), family: Arc::clone(&network.family), ..Design::default() },
        names: HashSet::new(),
        sources: HashMap::new(),
        outside: HashMap::new(),
        returned: HashMap::new(),
        queues: BTreeMap::new(),
    };
    elaboration.run();
    elaboration.design
}

/// A stage whose weights come from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutsideStage {
    /// Its node.
    pub node: NodeId,
    /// Bytes of its weights in the memory there, which begin where those of the stage before end.
    pub bytes: u64,
    /// Rows of a block under which they are streamed; `None` if they are loaded once.
    pub rows: Option<u32>,
    /// Bytes that come for every frame.
    pub bytes_per_frame: u64,
}

/// The stages of a network whose weights come from outside, in the order of the memory there.
pub fn outside(graph: &Graph, network: &Network) -> Vec<OutsideStage> {
    let stage = |(node, parts, folding): (NodeId, WindowParts, Folding)| {
        let window = parts.window("", folding);
        let rows = if let WeightSource::Streamed { rows, .. } = folding.source { Some(rows) } else { None };
        OutsideStage { node, bytes: window.stored(), rows, bytes_per_frame: window.traffic() }
    };
    supplied(graph, network).map(stage).collect()
}

/// Bytes that go to and come from outside for every frame.
pub fn traffic(graph: &Graph, network: &Network) -> u64 {
    let weights: u64 = outside(graph, network).iter().map(|stage| stage.bytes_per_frame).sum();
    let queues = network.edges.iter().filter_map(|edge| Some((edge, edge.outside_queue()?)));
    weights + queues.map(|(edge, queue)| queue.traffic(graph.node(edge.from).ty.count() as u64)).sum::<u64>()
}

/// The window kernels whose weights come from outside, in order.
fn supplied<'a>(
    graph: &'a Graph,
    network: &'a Network,
) -> impl Iterator<Item = (NodeId, WindowParts<'a>, Folding)> + use<'a> {
    network.kernels.iter().filter_map(move |kernel| {
        let folding = kernel.folding.filter(|folding| !folding.source.is_constant())?;
        let parts = WindowParts::new(graph, kernel.node, &kernel.kernel, network.family.hard_multiplier())?;
        Some((kernel.node, parts, folding))
    })
}

/// Where a stream comes from, and its type.
#[derive(Clone, Copy, Debug)]
struct Stream {
    from: Endpoint,
    ty: Ty,
}

struct Elaboration<'a> {
    graph: &'a Graph,
    network: &'a Network,
    /// Cycles of the slowest kernel, at least 1.
    pace: u64,
    design: Design,
    names: HashSet<String>,
    /// The streams that are still to be connected, by what reads them.
    sources: HashMap<Sink, Stream>,
    /// Of kernels whose weights come from outside: the stream of them, and what is told that a tile is no longer
    /// needed.
    outside: HashMap<NodeId, (Stream, Option<Endpoint>)>,
    /// Of streams that wait outside: their number, what comes back, and what is told that there is room for more.
    returned: HashMap<Sink, (u32, Stream, Endpoint)>,
    /// The queues that wait outside, by number.
    queues: BTreeMap<u32, ModuleId>,
}

/// What stands for a node in modules that serve all of them.
const MEMORY_PORT: &str = "memory port";

impl Elaboration<'_> {
    fn run(&mut self) {
        // The name of the top module is not available to others.
        self.names.insert(self.design.name.clone());
        self.memory_reader();
        let network = self.network;
        let mut readers: HashMap<Sink, &Edge> = network.edges.iter().map(|edge| (edge.to, edge)).collect();
        let mut read = |sink: Sink| readers.remove(&sink);
        for kernel in &network.kernels {
            let edges: Vec<&Edge> = (0..).map_while(|stream| read(Sink::Kernel(kernel.node, stream))).collect();
            let streams: Vec<Stream> = edges.into_iter().map(|edge| self.take(edge)).collect();
            let output = self.kernel(kernel, &streams);
            self.publish(kernel, output);
        }
        for (index, &output) in self.graph.outputs().iter().enumerate() {
            let Some(edge) = read(Sink::Output(index)) else { continue };
            let node = self.graph.node(output);
            let stream = self.take(edge);
            let name = self.unique(&format!("out_{}", identifier(&node.name)));
            let port = self.design.outputs.len() as u32;
            let beats = node.ty.count() as u64 / u64::from(stream.ty.lanes);
            self.design.outputs.push(TopPort { name: name.clone(), ty: stream.ty, beats });
            self.channel(&name, stream, Endpoint::Top(port));
        }
        self.memory_writer();
    }

    /// The module that reads the memory outside, where something comes from there.
    fn memory_reader(&mut self) {
        let (nodes, stages): (Vec<NodeId>, Vec<WeightSupply>) = supplied(self.graph, self.network)
            .filter_map(|(node, parts, folding)| Some((node, parts.window("", folding).supply()?)))
            .unzip();
        let edges = self.network.edges.iter();
        let (sinks, queues): (Vec<Sink>, Vec<OutsideQueue>) =
            edges.filter_map(|edge| Some((edge.to, edge.outside_queue()?))).unzip();
        let Some(supply) = Supply::new(&stages, &queues) else { return };
        let name = self.unique(if supply.is_stream() { "loader" } else { "memory_reader" });
        let reader = self.add(supply.reader(&name), MEMORY_PORT);
        self.channel(&name, Stream { from: Endpoint::Supply(READ), ty: supply.beat() }, Endpoint::Port(reader, 0));
        if !supply.is_stream() {
            let numbers = Stream { from: Endpoint::Port(reader, 0), ty: supply.number() };
            self.channel("memory", numbers, Endpoint::Supply(READ));
        }
        let (mut told, mut nodes, mut sinks) = (0, nodes.into_iter(), (0..).zip(sinks));
        for (port, client) in (u32::from(!supply.is_stream())..).zip(&supply.clients) {
            let stream = Stream { from: Endpoint::Port(reader, port), ty: supply.beat() };
            let says = client.asks.then(|| {
                told += 1;
                Endpoint::Port(reader, told)
            });
            if let Some(node) = nodes.next() {
                self.outside.insert(node, (stream, says));
            } else if let (Some((number, sink)), Some(says)) = (sinks.next(), says) {
                self.returned.insert(sink, (number, stream, says));
            }
        }
        self.design.supply = Some(supply);
    }

    /// The module that writes to the memory outside, where queues wait there.
    fn memory_writer(&mut self) {
        let Some(supply) = self.design.supply.clone().filter(|_| !self.queues.is_empty()) else { return };
        let name = self.unique("memory_writer");
        let writer = self.add(supply.writer(&name), MEMORY_PORT);
        self.channel(&name, Stream { from: Endpoint::Supply(WRITE), ty: Ty::BIT }, Endpoint::Port(writer, 0));
        let port = |port: u32, ty: Ty| Stream { from: Endpoint::Port(writer, port), ty };
        self.channel("memory_write", port(0, supply.number()), Endpoint::Supply(WRITE));
        self.channel("memory_write_data", port(1, supply.beat()), Endpoint::Supply(WRITE_DATA));
        for (number, queue) in std::mem::take(&mut self.queues) {
            let leaving = Stream { from: Endpoint::Port(queue, 1), ty: supply.beat() };
            self.channel(&format!("{name}_{number}"), leaving, Endpoint::Port(writer, number + 1));
            let written = Stream { from: Endpoint::Port(writer, number + 2), ty: Ty::BIT };
            self.channel(&format!("queue_{number}_written"), written, Endpoint::Port(queue, 2));
        }
    }

    /// The stream of an edge, with as many lanes as are read.
    fn take(&mut self, edge: &Edge) -> Stream {
        let mut stream = self.sources.remove(&edge.to).expect("invariant: operands come before users");
        if let (Some(queue), Some((number, returned, says))) = (edge.outside_queue(), self.returned.remove(&edge.to)) {
            stream = self.converted(edge, stream, queue.word.lanes);
            let name = self.unique(&format!("{}_outside", identifier(&self.graph.node(edge.from).name)));
            stream = self.single(queue.module(&name), edge.from, &[stream]);
            if let Endpoint::Port(module, _) = stream.from {
                self.channel(&format!("{name}_returned"), returned, Endpoint::Port(module, 1));
                self.channel(&format!("{name}_more"), Stream { from: Endpoint::Port(module, 2), ty: Ty::BIT }, says);
                self.queues.insert(number, module);
            }
        }
        let frame = self.graph.node(edge.from).ty.count() as u64;
        for to in lanes_between(stream.ty.lanes, edge.read, frame.div_ceil(self.pace)) {
            stream = self.converted(edge, stream, to);
        }
        stream
    }

    /// A stream in other lanes; one count divides the other.
    fn converted(&mut self, edge: &Edge, stream: Stream, to: u32) -> Stream {
        let from = stream.ty.lanes;
        if from == to {
            return stream;
        }
        let name = identifier(&self.graph.node(edge.from).name);
        let name = self.unique(&format!("{name}_x{from}_to_x{to}"));
        self.single(width_converter::convert(&name, stream.ty.lane(), from, to), edge.from, &[stream])
    }

    /// Makes one stream per edge of a kernel's result.
    fn publish(&mut self, kernel: &KernelNode, output: Stream) {
        let node = self.graph.node(kernel.node);
        let edges: Vec<&Edge> = self.network.written(kernel.node).collect();
        let depths: Vec<u32> = edges.iter().map(|edge| edge.depth_on_chip()).collect();
        let leaves = edges.iter().any(|edge| matches!(edge.to, Sink::Output(_)));
        let passes = matches!(output.from, Endpoint::Top(_)) && leaves;
        let direct = depths[..] == [SMALLEST_QUEUE] && !passes;
        let streams = if direct {
            vec![output]
        } else if depths.is_empty() {
            // Nothing reads an input: it is drained.
            let name = self.unique(&format!("{}_drain", identifier(&node.name)));
            let module = fork::drain(&name, output.ty);
            let id = self.module(module, kernel.node);
            self.channel(&name, output, Endpoint::Port(id, 0));
            Vec::new()
        } else {
            let kind = if depths.len() == 1 { "queue" } else { "fork" };
            let name = self.unique(&format!("{}_{kind}", identifier(&node.name)));
            let summary = format!("Brings `{}` to its {} use(s).", node.name, depths.len());
            let module = fork::fork(&name, &summary, output.ty, &depths);
            let id = self.module(module, kernel.node);
            self.channel(&name, output, Endpoint::Port(id, 0));
            (0..depths.len() as u32).map(|port| Stream { from: Endpoint::Port(id, port), ty: output.ty }).collect()
        };
        self.sources.extend(edges.iter().map(|edge| edge.to).zip(streams));
    }

    fn kernel(&mut self, kernel: &KernelNode, streams: &[Stream]) -> Stream {
        let node = self.graph.node(kernel.node);
        let element = lane_type(node.ty.element);
        let name = match kernel.kernel {
            Kernel::Input => {
                let name = self.unique(&format!("in_{}", identifier(&node.name)));
                let lanes = kernel.lanes[1];
                let ty = element.by(lanes);
                let port = self.design.inputs.len() as u32;
                let beats = node.ty.count() as u64 / u64::from(lanes);
                self.design.inputs.push(TopPort { name, ty, beats });
                return Stream { from: Endpoint::Top(port), ty };
            }
            Kernel::Reshape => return streams[0],
            _ => self.unique(&identifier(&node.name)),
        };
        let hard = self.network.family.hard_multiplier();
        let KernelNode { node, kernel, lanes, folding, .. } = kernel;
        let module = module(self.graph, *node, kernel, *folding, *lanes, &name, hard);
        let output = self.single(module, *node, streams);
        if let (Some((weights, says)), Endpoint::Port(id, _)) = (self.outside.remove(node), output.from) {
            self.channel(&format!("{name}_weights"), weights, Endpoint::Port(id, streams.len() as u32));
            if let Some(says) = says {
                self.channel(&format!("{name}_more"), Stream { from: Endpoint::Port(id, 1), ty: Ty::BIT }, says);
            }
        }
        output
    }

    /// Adds a module with one output and connects its inputs.
    fn single(&mut self, module: Module, node: NodeId, streams: &[Stream]) -> Stream {
        let name = module.name.clone();
        let ty = module.signal(module.outputs[0].data).ty;
        let id = self.module(module, node);
        for (port, stream) in streams.iter().enumerate() {
            let channel = if streams.len() == 1 { name.clone() } else { format!("{name}_{port}") };
            self.channel(&channel, *stream, Endpoint::Port(id, port as u32));
        }
        Stream { from: Endpoint::Port(id, 0), ty }
    }

    fn module(&mut self, module: Module, node: NodeId) -> ModuleId {
        let graph = self.graph;
        self.add(module, &graph.node(node).name)
    }

    fn add(&mut self, mut module: Module, node: &str) -> ModuleId {
        node.clone_into(&mut module.node);
        // Blocks know no family; where its RAMs live is decided here, by the rule that prices them.
        let family = &self.network.family;
        let large_from = module.large_from(family);
        for memory in module.memories.iter_mut().filter(|memory| memory.contents.is_none()) {
            let [width, depth] = [memory.word.width(), memory.depth].map(u64::from);
            memory.style = family.ram_style(width, depth, large_from);
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
