//! The text form of a network: one line per kernel, then one per stream.
//!
//! ```text
//! network "residual"
//! kernel %0 input: lanes 2 to 2, interval 36, latency 64, multipliers 0
//! kernel %3 qconv: lanes 2 to 2, interval 36, latency 67, multipliers 4, rows 2, taps one, channels 2, outputs 2, stream 2, pattern none, products single, weights distributed
//! stream %0 to %3.0: i8, lanes 2 to 2, depth 4
//! stream %3 to output 0: i8, lanes 2 to 2, depth 4
//! ```

use super::{Edge, KernelNode, Network, Sink};
use crate::block::window::{Bus, Folding, Port, WeightSource};
use crate::elaborate::lane_type;
use crate::family::Family;
use crate::kernel::kernel_of;
use crate::rtl::MemoryStyle;
use crate::rtl::engine::{Multiplier, NofM, ParallelTaps};
use lutweave_ir::{Diagnostic, Diagnostics, Element, Graph, NodeId};
use std::fmt::Write;
use std::str::FromStr;
use std::sync::Arc;

const TAPS: &[(ParallelTaps, &str)] =
    &[(ParallelTaps::One, "one"), (ParallelTaps::Row, "row"), (ParallelTaps::All, "all")];
const PRODUCTS: &[(Multiplier, &str)] =
    &[(Multiplier::Single, "single"), (Multiplier::Paired, "paired"), (Multiplier::Logic, "logic")];
const MEMORIES: &[(MemoryStyle, &str)] = &[
    (MemoryStyle::Block, "block"),
    (MemoryStyle::Distributed, "distributed"),
    (MemoryStyle::Registers, "registers"),
    (MemoryStyle::Large, "large"),
];

/// The word of a value; every value has one.
fn word<T: PartialEq>(words: &[(T, &'static str)], value: &T) -> &'static str {
    words.iter().find(|(other, _)| other == value).map_or("", |(_, word)| *word)
}

/// The network as text, which [`parse()`] reads back. Operators are named as in the graph's text form.
pub fn print(graph: &Graph, network: &Network) -> String {
    let mut text = format!("network {:?}\n", network.name);
    if let Some(from) = network.family.large_from {
        let _ = writeln!(text, "large from {from}");
    }
    for kernel in &network.kernels {
        let KernelNode { node, lanes: [read, written], interval, latency, multipliers, folding, .. } = kernel;
        let name = graph.node(*node).op.name();
        let _ = write!(
            text,
            "kernel {node} {name}: lanes {read} to {written}, interval {interval}, latency {latency}, \
             multipliers {multipliers}"
        );
        if let Some(rows) = kernel.rows() {
            let _ = write!(text, ", rows {rows}");
        }
        if let Some(Folding {
            parallel,
            lanes,
            outputs,
            stream,
            pattern,
            multiplier,
            weight_memory,
            source,
            tables_in_logic,
            pixel_by_pixel,
            large_from,
        }) = folding
        {
            let _ = write!(text, ", taps {}, channels {lanes}", word(TAPS, parallel));
            if *multipliers > 0 {
                let _ = write!(
                    text,
                    ", outputs {outputs}, stream {stream}, pattern {}, products {}, weights {}",
                    pattern.map_or_else(|| "none".to_owned(), |pattern| pattern.to_string()),
                    word(PRODUCTS, multiplier),
                    word(MEMORIES, weight_memory),
                );
                match source {
                    WeightSource::Constant => {}
                    WeightSource::Loaded(bus) => {
                        let _ = write!(text, ", loaded {}", bus_text(*bus));
                    }
                    WeightSource::Streamed { bus, rows } => {
                        let _ = write!(text, ", streamed {}, under {rows}", bus_text(*bus));
                    }
                }
                if *pixel_by_pixel {
                    text.push_str(", image pixels");
                }
                if *tables_in_logic {
                    text.push_str(", tables logic");
                }
            }
            if let Some(from) = large_from {
                let _ = write!(text, ", large {from}");
            }
        }
        text.push('\n');
    }
    for edge in &network.edges {
        text.push_str(&stream(edge));
        text.push('\n');
    }
    text
}

/// `BEATSxBYTES` of a memory's bursts, `BYTES` of a stream's beats.
fn bus_text(bus: Bus) -> String {
    let Bus { bytes, burst, port } = bus;
    match port {
        Port::Memory => format!("{burst}x{bytes}"),
        Port::Stream => bytes.to_string(),
    }
}

/// A stream's line.
pub(super) fn stream(edge: &Edge) -> String {
    let Edge { from, to, element, written, read, depth, outside } = edge;
    let to = match to {
        Sink::Kernel(node, stream) => format!("{node}.{stream}"),
        Sink::Output(output) => format!("output {output}"),
    };
    let outside = outside.map_or(String::new(), |bus| format!(", outside {}", bus_text(bus)));
    format!("stream {from} to {to}: {element}, lanes {written} to {read}, depth {depth}{outside}")
}

/// Reads a network that [`print()`] wrote for a graph, and validates it.
///
/// # Errors
/// What is wrong in the first faulty line, at `line N`, or what [`Network::validate`] says.
pub fn parse(text: &str, graph: &Graph, family: &Arc<Family>) -> Result<Network, Diagnostics> {
    let (name, family) = (graph.name.clone(), Arc::clone(family));
    let mut network = Network { name, kernels: Vec::new(), edges: Vec::new(), family };
    let title = format!("network {:?}", graph.name);
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let read = match line.split_once(' ') {
            Some(("network", _)) if line == title => Ok(()),
            Some(("large", rest)) => {
                rest.strip_prefix("from ").ok_or("`from` is expected".to_owned()).and_then(|from| {
                    let family = Family { large_from: Some(number(from)?), ..Family::clone(&network.family) };
                    network.family = Arc::new(family);
                    Ok(())
                })
            }
            Some(("kernel", rest)) => kernel(rest, graph).map(|kernel| network.kernels.push(kernel)),
            Some(("stream", rest)) => edge(rest).map(|edge| network.edges.push(edge)),
            _ => Err(format!("`{title}`, a kernel or a stream is expected")),
        };
        read.map_err(|message| Diagnostic::error("invalid-text", message).at(format!("line {}", index + 1)))?;
    }
    network.validate(graph)?;
    Ok(network)
}

fn number<T: FromStr>(word: &str) -> Result<T, String> {
    word.parse().map_err(|_| format!("`{word}` is not a number of the right kind"))
}

fn id(word: &str) -> Result<NodeId, String> {
    number(word.strip_prefix('%').ok_or_else(|| format!("`{word}` is no node"))?).map(NodeId)
}

/// The properties of a line, by name.
struct Properties<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Properties<'a> {
    fn read(text: &'a str) -> Self {
        Self(text.split(", ").map(|part| part.split_once(' ').unwrap_or((part, ""))).collect())
    }

    fn get(&self, name: &str) -> Result<&'a str, String> {
        let found = self.0.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| *value).ok_or_else(|| format!("`{name}` is missing"))
    }

    fn number<T: FromStr>(&self, name: &str) -> Result<T, String> {
        number(self.get(name)?)
    }

    fn pair(&self, name: &str) -> Result<[u32; 2], String> {
        let value = self.get(name)?;
        let (first, second) = value.split_once(" to ").ok_or_else(|| format!("`{value}` is not `A to B`"))?;
        Ok([number(first)?, number(second)?])
    }

    fn one_of<T: Copy>(&self, name: &str, words: &[(T, &'static str)]) -> Result<T, String> {
        let value = self.get(name)?;
        let found = words.iter().find(|(_, word)| *word == value);
        found.map(|(value, _)| *value).ok_or_else(|| format!("`{value}` is not a value of `{name}`"))
    }
}

fn kernel(line: &str, graph: &Graph) -> Result<KernelNode, String> {
    let (head, rest) = line.split_once(": ").ok_or("`:` expected after the operator")?;
    let (node, name) = head.split_once(' ').ok_or("an operator is expected after the node")?;
    let node = id(node)?;
    if node.index() >= graph.nodes().len() || graph.node(node).op.name() != name {
        return Err(format!("{node} is no `{name}` of the graph"));
    }
    let kernel = kernel_of(graph, node).map_err(|refused| refused.message)?;
    let properties = Properties::read(rest);
    let folding = properties.get("taps").is_ok().then(|| folding(&properties)).transpose()?;
    if let Some(folding) = &folding {
        kernel.takes_folding(folding)?;
    }
    let kernel = KernelNode {
        node,
        kernel,
        lanes: properties.pair("lanes")?,
        interval: properties.number("interval")?,
        latency: properties.number("latency")?,
        multipliers: properties.number("multipliers")?,
        folding,
    };
    match (kernel.rows(), properties.get("rows")) {
        (None, Err(_)) => Ok(kernel),
        (Some(own), Ok(given)) if number(given) == Ok(own) => Ok(kernel),
        (own, _) => Err(format!("its line buffer has {} rows", own.unwrap_or(0))),
    }
}

/// A folding without products is that of a pool.
fn folding(properties: &Properties) -> Result<Folding, String> {
    let (parallel, lanes) = (properties.one_of("taps", TAPS)?, properties.number("channels")?);
    let large_from = properties.get("large").ok().map(number).transpose()?;
    if properties.get("products").is_err() {
        return Ok(Folding { large_from, ..Folding::without_products(parallel, lanes) });
    }
    let pattern = match properties.get("pattern")? {
        "none" => None,
        named => {
            let known = NofM::ALL.into_iter().find(|pattern| pattern.to_string() == named);
            Some(known.ok_or_else(|| format!("there is no pattern `{named}`"))?)
        }
    };
    Ok(Folding {
        parallel,
        lanes,
        outputs: properties.number("outputs")?,
        stream: properties.number("stream")?,
        pattern,
        multiplier: properties.one_of("products", PRODUCTS)?,
        weight_memory: properties.one_of("weights", MEMORIES)?,
        source: source(properties)?,
        tables_in_logic: properties.get("tables") == Ok("logic"),
        pixel_by_pixel: properties.get("image") == Ok("pixels"),
        large_from,
    })
}

/// What [`bus_text`] wrote.
fn bus(text: &str) -> Result<Bus, String> {
    match text.split_once('x') {
        Some((burst, bytes)) => Ok(Bus::memory(number(bytes)?, number(burst)?)),
        None => Ok(Bus::stream(number(text)?)),
    }
}

/// Weights are constants where nothing is said.
fn source(properties: &Properties) -> Result<WeightSource, String> {
    match (properties.get("loaded"), properties.get("streamed")) {
        (Ok(text), _) => Ok(WeightSource::Loaded(bus(text)?)),
        (_, Ok(text)) => Ok(WeightSource::Streamed { bus: bus(text)?, rows: properties.number("under")? }),
        _ => Ok(WeightSource::Constant),
    }
}

fn edge(line: &str) -> Result<Edge, String> {
    let (head, rest) = line.split_once(": ").ok_or("`:` expected after the sink")?;
    let (from, to) = head.split_once(" to ").ok_or("a stream goes from a node to a sink")?;
    let to = match to.strip_prefix("output ") {
        Some(output) => Sink::Output(number(output)?),
        None => {
            let (node, stream) = to.split_once('.').ok_or_else(|| format!("`{to}` is no operand stream"))?;
            Sink::Kernel(id(node)?, number(stream)?)
        }
    };
    let properties = Properties::read(rest);
    let [written, read] = properties.pair("lanes")?;
    let word = rest.split(", ").next().unwrap_or_default();
    let element: Element = word.parse()?;
    if !element.is_int() {
        return Err(format!("`{word}` is not a lane type"));
    }
    let (from, element, depth) = (id(from)?, lane_type(element), properties.number("depth")?);
    let outside = properties.get("outside").ok().map(bus).transpose()?;
    outside.map_or(Ok(()), Bus::check)?;
    Ok(Edge { from, to, element, written, read, depth, outside })
}
