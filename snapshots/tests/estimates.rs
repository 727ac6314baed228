//! Estimates against Yosys: the stated error of `hw::cost` is held here.

use lutweave::options::Weights;
use lutweave_hw::block::window::WeightSource;
use lutweave_hw::cost::Resources;
use lutweave_hw::device;
use lutweave_hw::fit::{Fitted, fit, realize};
use lutweave_hw::kernel::{Kernel, kernel_of};
use lutweave_hw::plan::{Choice, all_implementations, form_of};
use lutweave_hw::rtl::MemoryStyle;
use lutweave_hw::rtl::engine::{Multiplier, NofM, ParallelTaps};
use lutweave_ir::op::{Geometry, MaxPool, QConv, TopPeaks, Window};
use lutweave_ir::random::SplitMix64;
use lutweave_ir::{Element, Graph, NodeId, Op, Requantize, Tensor, TensorType};
use lutweave_snapshots::{full, stages};
use lutweave_testing::tools;
use lutweave_verilog::Artefacts;
use lutweave_verilog::synthesis::Synthesis;

/// Largest error of LUTs and flip-flops against Yosys 0.23 on the built-in model, as a share of
/// what Yosys counts. Multipliers and block RAMs are counted exactly.
const LUT_ERROR: f64 = 0.25;
/// The same where LUTs have six inputs and take in more logic than the estimate knows of; it errs
/// on the safe side there.
const LUT6_ERROR: f64 = 0.35;
const FF_ERROR: f64 = 0.15;
/// The same for LUTs of single engines, each of one kind of products and memory: errors of prices do not even out there.
const ENGINE_LUT_ERROR: f64 = 0.32;
/// The same for LUTs of a detector's head, whose cells pack worse than most logic.
const HEAD_LUT_ERROR: f64 = 0.4;

/// What Yosys makes of a design for a device.
fn synthesise(fitted: &Fitted, device: &device::Device) -> Result<Resources, String> {
    let Artefacts { top, files, .. } = lutweave_verilog::emit(&fitted.design);
    let synthesis = Synthesis { files: files.iter().map(|(name, text)| (&name[..], &text[..])).collect(), top: &top };
    synthesis.yosys(&device.family).map_err(|error| error.to_string())
}

fn within(estimate: u64, found: u64, error: f64) -> bool {
    estimate.abs_diff(found) as f64 <= error * found as f64
}

/// How an estimate misses what Yosys counts by more than is stated.
fn miss(what: &str, fitted: &Fitted, device: &device::Device) -> Option<String> {
    let lut_error = if device.family.lut_inputs == 6 { LUT6_ERROR } else { LUT_ERROR };
    miss_by(lut_error, what, fitted, device)
}

fn miss_by(lut_error: f64, what: &str, fitted: &Fitted, device: &device::Device) -> Option<String> {
    let found = synthesise(fitted, device).expect("yosys takes the design");
    let estimate = fitted.resources;
    println!("{what}: estimate {estimate:?}, yosys {found:?}");
    // Yosys takes registers of products into DSP48E1 slices; the estimate counts all.
    let ff = device.family.name != "ecp5" || within(estimate.ff, found.ff, FF_ERROR);
    let counted = estimate.dsp == found.dsp && estimate.bram == found.bram;
    let kept = ff && counted && within(estimate.lut, found.lut, lut_error);
    (!kept).then(|| format!("{what}: {estimate:?} against {found:?}"))
}

/// Yosys takes a circuit for a device of every family, finds its multipliers and memories, and makes no more
/// flip-flops than were estimated: no memory fell apart.
#[test]
fn every_family_is_synthesised() {
    if !tools::yosys() {
        return;
    }
    let mnist = || {
        let (graph, samples) = stages::mnist().expect("the built-in model is sound");
        stages::lower(graph, &samples, Weights::Eight).expect("the built-in model compiles").lowered.split.core
    };
    let small = || {
        let case = stages::cases().into_iter().find(|case| case.name == "residual").expect("there is such a case");
        let samples = stages::float_samples(&case.graph, 4);
        stages::lower(case.graph, &samples, case.weights).expect("the case compiles").lowered.split.core
    };
    let core = if full() { mnist() } else { small() };
    for family in lutweave_hw::family::families() {
        let device = device::devices().into_iter().find(|device| device.family == *family);
        let device = device.unwrap_or_else(|| panic!("{} has no device", family.name));
        if !full() && ["ecp5", "xc7"].contains(&family.name.as_str()) {
            // The other tests synthesise for them.
            continue;
        }
        let fitted = fit(&core, &device, Some(12)).expect("it fits");
        let found = synthesise(&fitted, &device).unwrap_or_else(|error| panic!("{}: {error}", family.name));
        let estimate = fitted.resources;
        let what = format!("{}: {estimate:?} against {found:?}", family.name);
        // Yosys finds Gowin's multipliers from version 0.50 on.
        assert!(found.dsp > 0 || estimate.dsp == 0 || family.name == "gowin", "{what}");
        assert!(found.bram <= estimate.bram && (found.bram > 0) == (estimate.bram > 0), "{what}");
        assert!(found.ff as f64 <= 1.2 * estimate.ff as f64, "{what}");
    }
}

#[test]
fn estimates_keep_their_error() {
    if !tools::yosys() {
        return;
    }
    let (graph, samples) = stages::mnist().expect("the built-in model is sound");
    let lower = |weights: Weights| {
        let lowered = stages::lower(graph.clone(), &samples, weights).expect("the built-in model compiles");
        lowered.lowered.split.core
    };
    let (wide, narrow) = (lower(Weights::Eight), lower(Weights::Four));
    let cases: &[(&Graph, &str, u32)] = if full() {
        &[
            (&wide, "ulx3s-85f", 40),
            (&wide, "ulx3s-85f", 109),
            (&narrow, "ulx3s-85f", 40),
            (&wide, "arty-a7-100t", 40),
            (&narrow, "arty-a7-100t", 40),
        ]
    } else {
        &[(&wide, "ulx3s-85f", 40), (&narrow, "ulx3s-85f", 20)]
    };
    let mut faults = Vec::new();
    for &(graph, name, multipliers) in cases {
        let device = device::find(name).expect("the device is built in");
        let fitted = fit(graph, &device, Some(multipliers)).expect("there is a plan");
        faults.extend(miss(&format!("{name}, {multipliers} multipliers"), &fitted, &device));
    }
    assert!(faults.is_empty(), "estimates miss Yosys by more than is stated: {faults:#?}");
}

/// A detector's head.
#[test]
fn estimates_of_heads_keep_their_error() {
    if !tools::yosys() {
        return;
    }
    let mut graph = Graph::new("head");
    let maps = [("heatmap", 3), ("size", 2), ("offset", 2)];
    let operands = maps.map(|(name, channels)| graph.input(name, TensorType::int([1, 36, 48, channels], Element::I8)));
    let count = if full() { 100 } else { 30 };
    let peaks = graph.add("peaks", Op::TopPeaks(TopPeaks { count }), &operands).expect("the operands fit");
    graph.set_outputs(vec![peaks]);
    let names: &[&str] = if full() { &["ulx3s-85f", "arty-a7-100t"] } else { &["ulx3s-85f"] };
    let faults: Vec<String> = names
        .iter()
        .filter_map(|name| {
            let device = device::find(name).expect("the device is built in");
            let fitted = fit(&graph, &device, Some(1)).expect("there is a plan");
            miss_by(HEAD_LUT_ERROR, &format!("{name}, {count} records"), &fitted, &device)
        })
        .collect();
    assert!(faults.is_empty(), "estimates miss Yosys by more than is stated: {faults:#?}");
}

/// A convolution of 16 to 16 channels whose weights, if `sparse`, keep to 1:4, for pairs of outputs
/// also.
fn layer(bits: u8, sparse: bool) -> (Graph, NodeId) {
    let most = (1i32 << (bits - 1)) - 1;
    let mut random = SplitMix64::new(7);
    let mut weight = |at: usize| {
        let (output, run, place) = (at / 144, at / 4, at % 4);
        let kept = !sparse || (output / 2 * 5 + run % 36 * 7) % 4 == place;
        let value = random.integer(-most, most);
        if kept { value } else { 0 }
    };
    let mut graph = Graph::new("layer");
    let x = graph.input("x", TensorType::int([1, 8, 8, 16], Element::I8));
    let weights = Tensor::int([16, 3, 3, 16], (0..16 * 144).map(&mut weight).collect::<Vec<_>>());
    let w = graph.constant("w", weights, TensorType::int([16, 3, 3, 16], Element::Int { bits, signed: true }));
    let b = Tensor::int([16], (0..16).map(|channel| 321 * channel - 2_000).collect::<Vec<_>>());
    let b = graph.constant("b", b, TensorType::int([16], Element::I32));
    let multipliers = (0..16).map(|channel| 30_000 + 1_234 * channel).collect();
    let requantize = Requantize { multipliers, shifts: vec![24], zero_point: 3, lo: -128, hi: 127 };
    let geometry = Geometry { strides: [1, 1], dilations: [1, 1], pads: [1; 4], groups: 1 };
    let op = QConv { geometry, pad_value: 0, requantize, element: Element::I8 };
    let y = graph.add("conv", Op::QConv(op), &[x, w, b]).expect("the layer is valid");
    graph.set_outputs(vec![y]);
    (graph, y)
}

/// Weights that are loaded into the large RAM, or streamed: Yosys finds as many memories and multipliers.
#[test]
fn memories_of_weights_from_outside_are_exact() {
    if !tools::yosys() {
        return;
    }
    let device = device::find("kv260").expect("the device is built in");
    let bus = device.memory.as_ref().expect("it has a memory").bus();
    let (graph, conv) = layer(8, false);
    let rows = graph.node(conv).ty.shape[1] as u32;
    for (source, memory) in [
        (WeightSource::Loaded(bus), MemoryStyle::Large),
        (WeightSource::Loaded(bus), MemoryStyle::Block),
        (WeightSource::Streamed { bus, rows: rows.div_ceil(2) }, MemoryStyle::Distributed),
    ] {
        let choice = |id: NodeId| {
            let kernel = kernel_of(&graph, id).expect("there is hardware for it");
            let wide =
                |choice: &Choice| choice.fold.folding.is_none_or(|folding| (folding.lanes, folding.outputs) == (8, 4));
            let all = all_implementations(&graph, id, &kernel, &form_of(&graph, id, &kernel), &device);
            let mut choice = all.into_iter().find(wide).expect("there is such an option");
            if let (true, Some(folding)) = (id == conv, &mut choice.fold.folding) {
                (folding.source, folding.weight_memory) = (source, memory);
            }
            (id, choice)
        };
        let ids = graph.ids().filter(|&id| kernel_of(&graph, id) != Ok(Kernel::Constant));
        let fitted = realize(&graph, &device, &ids.map(choice).collect()).expect("the weights may come from there");
        let found = synthesise(&fitted, &device).expect("yosys takes the design");
        let estimate = fitted.resources;
        println!("{source:?}, {memory:?}: estimate {estimate:?}, yosys {found:?}");
        assert_eq!([estimate.dsp, estimate.bram, estimate.uram], [found.dsp, found.bram, found.uram], "{source:?}");
        assert_eq!(found.uram > 0, memory == MemoryStyle::Large, "{source:?}");
    }
}

/// Line buffers in the large RAM, words side by side: Yosys finds as many memories.
#[test]
fn large_memories_are_exact() {
    if !tools::yosys() {
        return;
    }
    let device = device::find("kv260").expect("the device is built in").with_large_from(Some(1));
    let mut graph = Graph::new("tall");
    let x = graph.input("x", TensorType::int([1, 16, 300, 12], Element::I8));
    let window = Window { kernel: [3, 3], strides: [1, 1], dilations: [1, 1], pads: [1; 4] };
    let y = graph.add("pool", Op::MaxPool(MaxPool { window }), &[x]).expect("the layer is valid");
    graph.set_outputs(vec![y]);
    for lanes in [1, 2, 4, 6] {
        let choice = |id: NodeId| {
            let kernel = kernel_of(&graph, id).expect("there is hardware for it");
            let all = all_implementations(&graph, id, &kernel, &form_of(&graph, id, &kernel), &device);
            let suits = |choice: &&Choice| choice.fold.input_lanes == lanes || id == x;
            let mut choice = *all.iter().find(suits).expect("there is such an option");
            choice.fold.folding.iter_mut().for_each(|folding| folding.large_from = Some(1));
            (id, choice)
        };
        let fitted = realize(&graph, &device, &[x, y].map(choice).into()).expect("the choices are possible");
        let found = synthesise(&fitted, &device).expect("yosys takes the design");
        println!("{lanes} lanes: estimate {:?}, yosys {found:?}", fitted.resources);
        let estimate = fitted.resources;
        assert_eq!([estimate.bram, estimate.uram], [found.bram, found.uram], "{lanes} lanes");
        assert!(found.uram > 0, "{lanes} lanes");
    }
}

/// Every way to form products, with weights in either kind of memory.
#[test]
fn estimates_of_engines_keep_their_error() {
    if !tools::yosys() {
        return;
    }
    let names: &[&str] = if full() { &["ulx3s-85f", "arty-a7-100t"] } else { &["ulx3s-85f"] };
    let pattern = Some(NofM { kept: 1, of: 4 });
    let mut faults = Vec::new();
    for name in names {
        let device = device::find(name).expect("the device is built in");
        let cases = [
            (8, Multiplier::Single, pattern, MemoryStyle::Distributed),
            (4, Multiplier::Paired, None, MemoryStyle::Block),
            (4, Multiplier::Paired, pattern, MemoryStyle::Block),
            (8, Multiplier::Logic, None, MemoryStyle::Distributed),
            (4, Multiplier::Logic, pattern, MemoryStyle::Block),
        ];
        for (bits, multiplier, pattern, weight_memory) in cases {
            let (graph, conv) = layer(bits, pattern.is_some());
            let ids = graph.ids().filter(|&id| kernel_of(&graph, id) != Ok(Kernel::Constant));
            let choices = ids.map(|id| {
                let kernel = kernel_of(&graph, id).expect("there is hardware for it");
                let wanted = |choice: &Choice| match choice.fold.folding {
                    None => choice.fold.input_lanes == 8,
                    Some(folding) => {
                        (folding.parallel, folding.lanes, folding.outputs) == (ParallelTaps::Row, 8, 4)
                            && (folding.multiplier, folding.pattern) == (multiplier, pattern)
                            && folding.weight_memory == weight_memory
                    }
                };
                // Also what another option beats: all of them have their price.
                let form = form_of(&graph, id, &kernel);
                let all = all_implementations(&graph, id, &kernel, &form, &device);
                (id, all.into_iter().find(wanted).expect("there is such an option"))
            });
            let fitted = realize(&graph, &device, &choices.collect()).expect("the weights allow it");
            let what = format!("{name}, {bits} bits, {multiplier:?}, {pattern:?}, {weight_memory:?}");
            assert!(fitted.network.kernel(conv).is_some_and(|kernel| kernel.multipliers > 0));
            let lut_error = if device.family.lut_inputs == 6 { LUT6_ERROR } else { ENGINE_LUT_ERROR };
            faults.extend(miss_by(lut_error, &what, &fitted, &device));
        }
    }
    assert!(faults.is_empty(), "estimates miss Yosys by more than is stated: {faults:#?}");
}
