//! The test bench: drives a design as `lutweave_hw::rtl::harness` prescribes and checks it.

use crate::emit_module;
use crate::memory::hex_file;
use crate::namer::Namer;
use crate::top::memory::LOAD;
use crate::top::{TopStream, top_streams};
use lutweave_hw::rtl::harness::{Stall, Stimulus, Trace, patience};
use lutweave_hw::rtl::{Design, TopPort};
use lutweave_hw::supply::{MODEL, MemoryTiming, Supply};
mod templates;

use templates::{CORE, READER, SINK, SINK_CHECK, SOURCE, Section, WRAPPER, fill};

/// Names of the test bench's modules: what a simulator with a clock of its own takes as top, and
/// the wrapper that makes the clock.
pub fn testbench_names(design: &Design) -> (String, String) {
    let top = Namer::default().unique(&design.name);
    (format!("{top}_tb_core"), format!("{top}_tb"))
}

/// Files of a self-checking test bench to lie beside the design's: `<top>_tb.v` and
/// `<top>_tb_core.v`, `stimulus_<port>.hex`, and with a trace `expected_<port>.hex`, which the
/// outputs are compared with. For a design with a supply also a model of the memory outside.
pub fn emit_testbench(
    design: &Design,
    stimulus: &Stimulus,
    expected: Option<&Trace>,
    memory: &MemoryTiming,
) -> Vec<(String, String)> {
    let (core, wrapper) = testbench_names(design);
    let mut files = vec![
        (format!("{core}.v"), core_text(design, stimulus, expected.is_some(), memory)),
        (format!("{wrapper}.v"), wrapper_text(&core, &wrapper)),
    ];
    files.extend(design.supply.iter().flat_map(|supply| emit_module(&supply.outside(MODEL, memory))));
    files.extend(stimulus_files(design, stimulus));
    if let Some(trace) = expected {
        for (number, (port, file)) in design.outputs.iter().zip(port_files(&design.outputs, "expected")).enumerate() {
            files.push((file, frames_hex(&trace.frames, number, port)));
        }
    }
    files
}

/// The `stimulus_<port>.hex` files.
pub fn stimulus_files(design: &Design, stimulus: &Stimulus) -> Vec<(String, String)> {
    let names = port_files(&design.inputs, "stimulus");
    let files = design.inputs.iter().zip(names).enumerate();
    files.map(|(number, (port, file))| (file, frames_hex(&stimulus.frames, number, port))).collect()
}

fn port_files(ports: &[TopPort], prefix: &str) -> Vec<String> {
    let mut namer = Namer::default();
    ports.iter().map(|port| format!("{}.hex", namer.unique(&format!("{prefix}_{}", port.name)))).collect()
}

fn frames_hex(frames: &[Vec<Vec<i32>>], port: usize, of: &TopPort) -> String {
    let elements = frames.iter().filter_map(|frame| frame.get(port)).flatten().map(|&element| i64::from(element));
    hex_file(elements, of.ty.lanes, of.ty.bits)
}

fn wrapper_text(core: &str, wrapper: &str) -> String {
    fill(WRAPPER, &[("core", core), ("wrapper", wrapper)])
}

fn core_text(design: &Design, stimulus: &Stimulus, checked: bool, memory: &MemoryTiming) -> String {
    let (core, _) = testbench_names(design);
    let top = Namer::default().unique(&design.name);
    let (inputs, outputs, _) = top_streams(design);
    let mut parts = Parts::default();
    let stimuli = port_files(&design.inputs, "stimulus");
    for (number, (port, stream)) in design.inputs.iter().zip(&inputs).enumerate() {
        let name = format!("source_{number}");
        let start = generator_start(number as u32);
        parts.add(READER, &name, port, stream, &start, &stimuli[number]);
        parts.add(SOURCE, &name, port, stream, &start, &stimuli[number]);
    }
    let expected = port_files(&design.outputs, "expected");
    for (number, (port, stream)) in design.outputs.iter().zip(&outputs).enumerate() {
        let name = format!("sink_{number}");
        let start = generator_start(0x100 + number as u32);
        parts.add(SINK, &name, port, stream, &start, "");
        if checked {
            parts.add(READER, &name, port, stream, &start, &expected[number]);
            parts.add(SINK_CHECK, &name, port, stream, &start, &expected[number]);
        }
    }
    let transfers: Vec<String> =
        inputs.iter().chain(&outputs).map(|stream| format!("({} && {})", stream.valid, stream.ready)).collect();
    let complete: Vec<String> = (0..outputs.len()).map(|number| format!("sink_{number}_left == 64'd0")).collect();
    let connections: Vec<String> = inputs
        .iter()
        .chain(&outputs)
        .flat_map(|stream| [&stream.data, &stream.valid, &stream.ready, &stream.last])
        .map(|port| format!(".{port}({port})"))
        .collect();
    let (outside, wires) = design.supply.as_ref().map(outside).unwrap_or_default();
    let connections: Vec<String> = connections.into_iter().chain(wires).collect();
    let declarations = parts.declarations + &outside;
    let warm_up = stimulus.reset_after.unwrap_or(0).min(i32::MAX as u64);
    let verdict = if checked { templates::VERDICT } else { templates::NO_VERDICT };
    fill(
        CORE,
        &[
            ("core", &core),
            ("top", &top),
            ("frames", &stimulus.frames.len().to_string()),
            ("seed", &stimulus.stall_seed.to_string()),
            ("warm_up", &warm_up.to_string()),
            ("patience", &patience(design, memory).to_string()),
            ("declarations", &declarations),
            ("opening", &parts.opening),
            ("restart", &parts.restart),
            ("step", &parts.step),
            ("transfer", &joined(&transfers, " || ", "1'b0")),
            ("complete", &joined(&complete, " && ", "1'b1")),
            ("connections", &connections.join(",\n        ")),
            ("verdict", verdict),
        ],
    )
}

/// The memory outside, and the connections of the design to it.
fn outside(supply: &Supply) -> (String, Vec<String>) {
    let (data, number) = (8 * supply.bus.bytes, supply.number().width());
    if supply.is_stream() {
        let text = fill(templates::LOAD, &[("model", MODEL), ("data_high", &(data - 1).to_string())]);
        return (text, LOAD.map(|port| format!(".{port}({port})")).into());
    }
    let base = 0x0030_0000;
    let shift = supply.bus.burst_bytes().trailing_zeros();
    let mut writes = ["", ""];
    let mut ports = vec!["araddr", "arvalid", "arready", "rdata", "rvalid", "rready"];
    let mut unused = vec!["arlen", "arsize", "arburst"];
    if supply.is_written() {
        writes = [templates::OUTSIDE_WRITES, templates::OUTSIDE_WRITTEN];
        ports.extend(["awaddr", "awvalid", "awready", "wdata", "wvalid", "wready", "bvalid", "bready"]);
        unused.extend(["awlen", "awsize", "awburst", "wstrb", "wlast"]);
    }
    let values = [
        ("writes", writes[0]),
        ("written", writes[1]),
        ("model", MODEL),
        ("data_high", &(data - 1).to_string()),
        ("base", &format!("{base:08x}")),
        ("shift", &shift.to_string()),
        ("number_high", &(number - 1).to_string()),
    ];
    let text = fill(templates::OUTSIDE, &values);
    let connections = ports.iter().map(|port| format!(".m_axi_{port}(m_axi_{port})"));
    let unused = unused.iter().map(|port| format!(".m_axi_{port}()"));
    let based = std::iter::once(".memory_base(MEMORY_BASE)".to_owned());
    (text, connections.chain(unused).chain(based).collect())
}

fn joined(terms: &[String], operator: &str, none: &str) -> String {
    if terms.is_empty() { none.to_owned() } else { terms.join(operator) }
}

/// The part of a generator's start that does not depend on the seed, see [`Stall`].
fn generator_start(number: u32) -> String {
    let constant = number.wrapping_add(1).wrapping_mul(0x85EB_CA6B);
    debug_assert_eq!(Stall::of_input(7, number).state, (7u32.wrapping_mul(0x9E37_79B9) ^ constant) | 1);
    format!("{constant:08x}")
}

/// The text of all streams by where it belongs.
#[derive(Default)]
struct Parts {
    declarations: String,
    opening: String,
    restart: String,
    step: String,
}

impl Parts {
    fn add(&mut self, section: Section, name: &str, port: &TopPort, stream: &TopStream, start: &str, file: &str) {
        let values = [
            ("name", name),
            ("number", name.rsplit('_').next().unwrap_or(name)),
            ("port", &port.name),
            ("data", &stream.data),
            ("valid", &stream.valid),
            ("ready", &stream.ready),
            ("last", &stream.last),
            ("high", &(stream.width - 1).to_string()),
            ("width", &stream.width.to_string()),
            ("beats", &port.beats.to_string()),
            ("final", &(port.beats - 1).to_string()),
            ("start", start),
            ("file", file),
        ];
        self.declarations += &fill(section.declarations, &values);
        self.opening += &fill(section.opening, &values);
        self.restart += &fill(section.restart, &values);
        self.step += &fill(section.step, &values);
    }
}
