//! One graph through every executor.

use lutweave_cpu::{Features, Options, compile_jit_with};
use lutweave_hw::block::window::{Bus, WeightSource};
use lutweave_hw::dataflow::{Network, SMALLEST_QUEUE};
use lutweave_hw::device::{self, Device};
use lutweave_hw::elaborate::elaborate;
use lutweave_hw::kernel::{Kernel, kernel_of};
use lutweave_hw::plan::{Choice, all_implementations, assemble, divisors, fewest_multipliers, form_of, plan};
use lutweave_hw::rtl::harness::{Stimulus, Trace};
use lutweave_hw::rtl::validate::validate;
use lutweave_hw::rtl::{Design, MemoryStyle};
use lutweave_hw::supply::{MemoryTiming, closed};
use lutweave_ir::random::SplitMix64;
use lutweave_ir::random::random_inputs;
use lutweave_ir::{Graph, NodeId, Tensor, interpret};
use lutweave_verilog::{Build, Simulator};
use std::collections::{BTreeMap, BTreeSet};

/// Elements of frames: for each frame, for each output, its elements.
pub type Frames = Vec<Vec<Vec<i32>>>;

/// A folded and elaborated graph.
#[derive(Clone, Debug)]
pub struct Circuit {
    /// Its kernels and streams.
    pub network: Network,
    /// The valid design.
    pub design: Design,
    /// How the memory outside answers, if the design has one.
    pub memory: MemoryTiming,
}

/// The circuit of a core graph with a share (0 to 1) of the multipliers between the fewest and
/// `most`.
///
/// # Errors
/// What the planner refuses, or what is wrong with the design.
pub fn circuit(graph: &Graph, share: f64, most: u32) -> Result<Circuit, String> {
    let fewest = fewest_multipliers(graph).max(1);
    let multipliers = fewest + (share * f64::from(most.saturating_sub(fewest))) as u32;
    // Of different multipliers: 18 and 27 bits wide.
    let device = device::find(if share < 0.5 { "ulx3s-85f" } else { "ultra96" }).ok_or("a device is missing")?;
    let network = plan(graph, multipliers, &device).map_err(|error| error.to_string())?;
    let design = elaborate(graph, &network);
    validate(&design).map_err(|faults| format!("the design is not valid: {}", faults.join("; ")))?;
    Ok(Circuit { network, design, memory: MemoryTiming::default() })
}

/// The circuit of a core graph whose stages are built in random ways that its weights allow, each
/// with at most `most` multipliers; other ones for another seed.
///
/// # Errors
/// What the planner refuses, or what is wrong with the design.
pub fn random_circuit(graph: &Graph, seed: u64, most: u32) -> Result<Circuit, String> {
    let (choices, device) = random_choices(graph, seed, most)?;
    assembled(graph, &choices, &device)
}

/// [`random_circuit`] of stages some of whose weights come from a memory outside, or as a stream, together with what
/// brings them.
///
/// # Errors
/// What the planner refuses, or what is wrong with the design.
pub fn supplied_circuit(graph: &Graph, seed: u64, most: u32) -> Result<Circuit, String> {
    let (mut choices, device) = random_choices(graph, seed, most)?;
    let mut random = SplitMix64::new(seed ^ 0x5EED);
    let bus = Bus::memory(random.pick(&[4, 4, 8, 16]), random.pick(&[1, 2, 4, 16]));
    let is_stream = random.below(4) == 0;
    let bus = if is_stream { Bus::stream(random.pick(&[2, 4])) } else { bus };
    for (&id, choice) in &mut choices {
        let kernel = kernel_of(graph, id).map_err(|fault| fault.to_string())?;
        let (Some(folding), Kernel::Convolution { extent, .. }) = (&mut choice.fold.folding, &kernel) else { continue };
        let blocks = divisors(extent.output[0]);
        let [rows, few] = [blocks.len(), blocks.len().min(2)].map(|most| blocks[random.below(most)]);
        let source = random.pick(&[
            WeightSource::Constant,
            WeightSource::Loaded(bus),
            WeightSource::Streamed { bus, rows },
            WeightSource::Streamed { bus, rows: few },
        ]);
        if kernel.takes_weights(source, folding.pattern).is_ok() {
            folding.source = source;
        }
        // A RAM whose one port writes or reads, on devices that have such.
        if matches!(folding.source, WeightSource::Loaded(_)) && device.family.large_ram.is_some() && is_stream {
            folding.weight_memory = MemoryStyle::Large;
        }
        folding.pixel_by_pixel = kernel.is_pointwise(folding.source) && random.below(2) == 0;
    }
    let mut network = assemble(graph, &choices, &device).map_err(|error| error.to_string())?;
    for edge in network.edges.iter_mut().filter(|edge| edge.element.bits == 8 && !is_stream) {
        let likely = if edge.depth > SMALLEST_QUEUE { 2 } else { 4 };
        edge.outside = (random.below(likely) == 0).then_some(bus);
    }
    network.validate(graph).map_err(|error| error.to_string())?;
    let mut circuit = elaborated(graph, network)?;
    circuit.memory = MemoryTiming {
        latency: random.between(1, 60) as u32,
        jitter_bits: random.below(6) as u32,
        seed: seed as u16,
        refresh_every: random.between(60, 500) as u32,
        refresh: random.below(40) as u32,
        outstanding: random.pick(&[1, 2, 8]),
    };
    validate(&closed(&circuit.design, &circuit.memory))
        .map_err(|faults| format!("with its memory: {}", faults.join("; ")))?;
    Ok(circuit)
}

/// The circuit with the fewest multipliers whose memories live in large RAMs wherever they may.
///
/// # Errors
/// What the planner refuses, or what is wrong with the design.
pub fn large_circuit(graph: &Graph) -> Result<Circuit, String> {
    let device = device::find("kv260").ok_or("a device is missing")?.with_large_from(Some(1));
    let mut network = plan(graph, fewest_multipliers(graph).max(1), &device).map_err(|error| error.to_string())?;
    network.kernels.iter_mut().filter_map(|kernel| kernel.folding.as_mut()).for_each(|folding| {
        folding.large_from = Some(1);
    });
    elaborated(graph, network)
}

fn assembled(graph: &Graph, choices: &BTreeMap<NodeId, Choice>, device: &Device) -> Result<Circuit, String> {
    elaborated(graph, assemble(graph, choices, device).map_err(|error| error.to_string())?)
}

fn elaborated(graph: &Graph, network: Network) -> Result<Circuit, String> {
    let design = elaborate(graph, &network);
    validate(&design).map_err(|faults| format!("the design is not valid: {}", faults.join("; ")))?;
    Ok(Circuit { network, design, memory: MemoryTiming::default() })
}

fn random_choices(graph: &Graph, seed: u64, most: u32) -> Result<(BTreeMap<NodeId, Choice>, Device), String> {
    let mut random = SplitMix64::new(seed);
    let device = device::find(random.pick(&["ulx3s-85f", "ultra96", "ice40up5k"])).ok_or("a device is missing")?;
    let mut choices = BTreeMap::new();
    for id in graph.ids() {
        let kernel = kernel_of(graph, id).map_err(|fault| fault.to_string())?;
        let form = form_of(graph, id, &kernel);
        let all = all_implementations(graph, id, &kernel, &form, &device);
        let modest: Vec<Choice> = all.into_iter().filter(|choice| choice.multipliers() <= most).collect();
        // First how products are formed, then the folding: some ways have few foldings.
        let way = |choice: &Choice| (choice.multiplier(), choice.pattern(), choice.weight_memory());
        let ways: BTreeSet<_> = modest.iter().map(way).collect();
        if !ways.is_empty() {
            let chosen = random.pick(&ways.into_iter().collect::<Vec<_>>());
            let from: Vec<Choice> = modest.into_iter().filter(|choice| way(choice) == chosen).collect();
            choices.insert(id, random.pick(&from));
        }
    }
    Ok((choices, device))
}

impl Circuit {
    /// Holds the cycles per frame of several frames to those of the slowest stage, times a factor, and 16 more.
    ///
    /// # Errors
    /// Both, where frames take longer; a trace of fewer than two frames.
    pub fn keeps_pace(&self, trace: &Trace, factor: f64) -> Result<(), String> {
        let cycles = trace.cycles_per_inference().ok_or("there are not several frames")?;
        let slowest = self.network.bottleneck();
        if cycles as f64 <= factor * slowest as f64 + 16.0 {
            return Ok(());
        }
        Err(format!("{cycles} cycles per inference, the slowest stage takes {slowest}"))
    }
}

/// A stimulus of samples, back to back.
pub fn stimulus(samples: &[Vec<Tensor>], stall_seed: u32, reset_after: Option<u64>) -> Stimulus {
    let frames = samples.iter().map(|inputs| elements(inputs)).collect();
    Stimulus { frames, stall_seed, reset_after }
}

fn elements(tensors: &[Tensor]) -> Vec<Vec<i32>> {
    tensors.iter().map(|tensor| tensor.ints().to_vec()).collect()
}

/// What the reference interpreter answers.
///
/// # Errors
/// If a sample does not fit the graph.
pub fn expected(graph: &Graph, samples: &[Vec<Tensor>]) -> Result<Frames, String> {
    samples
        .iter()
        .map(|inputs| interpret::run(graph, inputs).map(|outputs| elements(&outputs)))
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())
}

/// Where frames first differ from what is expected.
///
/// # Errors
/// Frame, output and element of the first difference.
pub fn same_frames(expected: &[Vec<Vec<i32>>], actual: &[Vec<Vec<i32>>]) -> Result<(), String> {
    if expected.len() != actual.len() {
        return Err(format!("{} frames instead of {}", actual.len(), expected.len()));
    }
    for (frame, (expected, actual)) in expected.iter().zip(actual).enumerate() {
        if expected.len() != actual.len() {
            return Err(format!("frame {frame}: {} outputs instead of {}", actual.len(), expected.len()));
        }
        for (output, (expected, actual)) in expected.iter().zip(actual).enumerate() {
            if let Some(element) = expected.iter().zip(actual).position(|(a, b)| a != b) {
                let (wanted, found) = (expected[element], actual[element]);
                return Err(format!("frame {frame} output {output} element {element}: {found} instead of {wanted}"));
            }
            if expected.len() != actual.len() {
                return Err(format!("frame {frame} output {output}: {} elements", actual.len()));
            }
        }
    }
    Ok(())
}

/// How a circuit was driven and what it answered.
#[derive(Clone, Debug)]
pub struct Driven {
    /// Says how, for messages.
    pub how: String,
    /// The stimulus.
    pub stimulus: Stimulus,
    /// The answer of the WebAssembly simulator.
    pub trace: Trace,
}

/// Runs samples through the interpreter, both kinds of CPU code and the simulated circuit: back
/// to back, with stalls, with a reset in mid-frame, and one by one.
///
/// # Errors
/// The first that differs from the interpreter, and where.
pub fn agree(graph: &Graph, circuit: &Circuit, samples: &[Vec<Tensor>], seed: u32) -> Result<Vec<Driven>, String> {
    let expected = expected(graph, samples)?;
    for features in [Features::Native, Features::Baseline] {
        let options = Options { features, ..Options::default() };
        let jit = compile_jit_with(graph, options).map_err(|error| format!("cpu, {features:?}: {error}"))?;
        let found = samples.iter().map(|inputs| jit.run(inputs).map(|outputs| elements(&outputs)));
        let found: Frames = found.collect::<Result<_, _>>().map_err(|error| format!("cpu, {features:?}: {error}"))?;
        same_frames(&expected, &found).map_err(|error| format!("cpu, {features:?}: {error}"))?;
    }
    let options = lutweave_wasm::Options { memory: circuit.memory, ..lutweave_wasm::Options::default() };
    let mut simulator =
        lutweave_wasm::Simulator::with_options(&circuit.design, options).map_err(|error| format!("wasm: {error}"))?;
    let mut drive = |stimulus: Stimulus, expected: &[Vec<Vec<i32>>]| -> Result<Driven, String> {
        let how = format!(
            "{} frames, stall seed {}, reset after {:?}",
            stimulus.frames.len(),
            stimulus.stall_seed,
            stimulus.reset_after
        );
        let trace = simulator.run(&stimulus).map_err(|error| format!("wasm, {how}: {error}"))?;
        same_frames(expected, &trace.frames).map_err(|error| format!("wasm, {how}: {error}"))?;
        Ok(Driven { how, stimulus, trace })
    };
    let mut driven = vec![drive(stimulus(samples, 0, None), &expected)?];
    let completions = &driven[0].trace.completions;
    let end = completions.last().copied().unwrap_or(1).max(1);
    // Anywhere from the first cycle to the last frame's end.
    let middle = 1 + u64::from(seed.wrapping_mul(0x9E37_79B9)) % end;
    driven.push(drive(stimulus(samples, seed | 1, None), &expected)?);
    driven.push(drive(stimulus(samples, 0, Some(middle)), &expected)?);
    driven.push(drive(stimulus(samples, seed.rotate_left(7) | 1, Some(middle)), &expected)?);
    // The same with every read of a window memory checked.
    let checked = lutweave_wasm::Options { check_windows: true, ..options };
    let mut checked =
        lutweave_wasm::Simulator::with_options(&circuit.design, checked).map_err(|error| format!("wasm: {error}"))?;
    for Driven { how, stimulus, trace } in &driven {
        let found = checked.run(stimulus).map_err(|error| format!("wasm, checked, {how}: {error}"))?;
        if found != *trace {
            return Err(format!("wasm, checked, {how}: not the trace without the check"));
        }
    }
    for (sample, expected) in samples.iter().zip(&expected) {
        drive(stimulus(std::slice::from_ref(sample), 0, None), std::slice::from_ref(expected))?;
    }
    Ok(driven)
}

/// Runs a circuit in a Verilog simulator as it was driven before: the same data in the same
/// cycles.
///
/// # Errors
/// The first difference, or what the simulator says.
pub fn verilog_agrees(circuit: &Circuit, simulator: Simulator, driven: &[Driven]) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let options = lutweave_verilog::Options { memory: circuit.memory, ..lutweave_verilog::Options::default() };
    let build = Build::with_options(&circuit.design, simulator, folder.path(), &options)
        .map_err(|error| format!("{simulator}: {error}"))?;
    for Driven { how, stimulus, trace } in driven {
        let found = build.run(stimulus).map_err(|error| format!("{simulator}, {how}: {error}"))?.trace;
        same_frames(&trace.frames, &found.frames).map_err(|error| format!("{simulator}, {how}: {error}"))?;
        if found != *trace {
            return Err(format!(
                "{simulator}, {how}: first transfer in {} and frames complete in {:?}, in wasm in {} and {:?}",
                found.first_transfer, found.completions, trace.first_transfer, trace.completions
            ));
        }
    }
    Ok(())
}

/// Random samples of a graph; other ones for another seed.
pub fn samples(graph: &Graph, count: u64, seed: u64) -> Vec<Vec<Tensor>> {
    (0..count).map(|sample| random_inputs(graph, seed.wrapping_mul(1_000_003).wrapping_add(sample))).collect()
}
