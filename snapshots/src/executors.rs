//! One graph through every executor.

use lutweave_cpu::{Features, Options, compile_jit_with};
use lutweave_hw::dataflow::Network;
use lutweave_hw::device;
use lutweave_hw::elaborate::elaborate;
use lutweave_hw::kernel::kernel_of;
use lutweave_hw::plan::{Choice, all_implementations, assemble, fewest_multipliers, form_of, plan};
use lutweave_hw::rtl::Design;
use lutweave_hw::rtl::harness::{Stimulus, Trace};
use lutweave_hw::rtl::validate::validate;
use lutweave_ir::random::SplitMix64;
use lutweave_ir::random::random_inputs;
use lutweave_ir::{Graph, Tensor, interpret};
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
    Ok(Circuit { network, design })
}

/// The circuit of a core graph whose stages are built in random ways that its weights allow, each
/// with at most `most` multipliers; other ones for another seed.
///
/// # Errors
/// What the planner refuses, or what is wrong with the design.
pub fn random_circuit(graph: &Graph, seed: u64, most: u32) -> Result<Circuit, String> {
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
    let network = assemble(graph, &choices, &device).map_err(|error| error.to_string())?;
    let design = elaborate(graph, &network);
    validate(&design).map_err(|faults| format!("the design is not valid: {}", faults.join("; ")))?;
    Ok(Circuit { network, design })
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
    let mut simulator = lutweave_wasm::Simulator::new(&circuit.design).map_err(|error| format!("wasm: {error}"))?;
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
    let checked = lutweave_wasm::Options { check_windows: true, ..lutweave_wasm::Options::default() };
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
pub fn verilog_agrees(design: &Design, simulator: Simulator, driven: &[Driven]) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let build = Build::new(design, simulator, folder.path()).map_err(|error| format!("{simulator}: {error}"))?;
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
