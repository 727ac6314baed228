//! Options of stages against what is elaborated from them.

use lutweave_hw::block::window::Folding;
use lutweave_hw::cost::{Resources, estimate_module};
use lutweave_hw::device::{self, Device};
use lutweave_hw::elaborate::elaborate;
use lutweave_hw::fit::{fit, realize};
use lutweave_hw::kernel::{Kernel, kernel_of};
use lutweave_hw::plan::{
    Choice, WeightForm, assemble, conversion, conversion_through, form_of, lanes_between, options,
};
use lutweave_hw::rtl::engine::{Multiplier, NofM};
use lutweave_hw::rtl::validate::validate;
use lutweave_hw::rtl::{MemoryStyle, Ty};
use lutweave_ir::op::{Geometry, QConv};
use lutweave_ir::{Element, Graph, NodeId, Op, Requantize, Tensor, TensorType};
use std::collections::BTreeMap;

/// A convolution of an image of 6 x 6 pixels with padding.
#[derive(Clone, Copy)]
struct Layer {
    inputs: usize,
    outputs: usize,
    kernel: usize,
    groups: usize,
    bits: u8,
    /// Weights that differ from zero in each run of so many channels.
    kept: (usize, usize),
}

impl Layer {
    const PLAIN: Self = Self { inputs: 8, outputs: 8, kernel: 3, groups: 1, bits: 8, kept: (1, 1) };

    fn graph(self) -> (Graph, NodeId) {
        let Self { inputs, outputs, kernel, groups, bits, kept: (kept, run) } = self;
        let channels = inputs / groups;
        let count = outputs * kernel * kernel * channels;
        let most = (1i32 << (bits - 1)) - 1;
        let mut state = 7u32;
        let weights: Vec<i32> = (0..count)
            .map(|at| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let value = (state >> 16) as i32 % most + 1;
                if at % channels % run < kept { value } else { 0 }
            })
            .collect();
        let mut graph = Graph::new("layer");
        let x = graph.input("x", TensorType::int([1, 6, 6, inputs], Element::I8));
        let shape = [outputs, kernel, kernel, channels];
        let weight_type = TensorType::int(shape, Element::Int { bits, signed: true });
        let w = graph.constant("w", Tensor::int(shape, weights), weight_type);
        let biases: Vec<i32> = (0..outputs as i32).map(|channel| 100 * channel - 50).collect();
        let b = graph.constant("b", Tensor::int([outputs], biases), TensorType::int([outputs], Element::I32));
        let requantize = Requantize {
            multipliers: (0..outputs).map(|channel| 20_000 + 100 * channel as u16).collect(),
            shifts: vec![24],
            zero_point: 0,
            lo: -128,
            hi: 127,
        };
        let pad = (kernel - 1) / 2;
        let geometry = Geometry { strides: [1, 1], dilations: [1, 1], pads: [pad; 4], groups };
        let op = QConv { geometry, pad_value: 0, requantize, element: Element::I8 };
        let y = graph.add("conv", Op::QConv(op), &[x, w, b]).expect("the layer is valid");
        graph.set_outputs(vec![y]);
        (graph, y)
    }
}

fn device(name: &str) -> Device {
    device::find(name).expect("the device is built in")
}

fn listed(graph: &Graph, id: NodeId, device: &Device) -> Vec<Choice> {
    let kernel = kernel_of(graph, id).expect("the node has hardware");
    options(graph, id, &kernel, &form_of(graph, id, &kernel), device)
}

/// The narrowest options of every other node, and that one.
fn around(graph: &Graph, id: NodeId, choice: Choice, device: &Device) -> BTreeMap<NodeId, Choice> {
    let mut choices: BTreeMap<NodeId, Choice> = graph
        .ids()
        .filter(|other| kernel_of(graph, *other) != Ok(Kernel::Constant))
        .filter_map(|other| {
            let all = listed(graph, other, device);
            all.into_iter().min_by_key(|choice| choice.fold.input_lanes).map(|choice| (other, choice))
        })
        .collect();
    choices.insert(id, choice);
    choices
}

#[test]
fn the_price_of_an_option_is_the_estimate_of_its_module() {
    let layers = [
        Layer { kept: (1, 4), ..Layer::PLAIN },
        Layer { kept: (2, 4), bits: 4, ..Layer::PLAIN },
        Layer { groups: 8, ..Layer::PLAIN },
        Layer { kernel: 1, inputs: 16, outputs: 6, ..Layer::PLAIN },
    ];
    for name in ["ulx3s-85f", "ultra96"] {
        let device = device(name);
        for layer in layers {
            let (graph, id) = layer.graph();
            let all = listed(&graph, id, &device);
            assert!(all.len() > 10, "{} options", all.len());
            for choice in all.iter().step_by(1 + all.len() / 60) {
                let network =
                    assemble(&graph, &around(&graph, id, *choice, &device), &device).expect("it is an option");
                let design = elaborate(&graph, &network);
                assert_eq!(validate(&design), Ok(()), "{choice:?}");
                let module = design.modules.iter().find(|module| module.name == "conv").expect("there is a module");
                assert_eq!(estimate_module(module, &device), choice.resources, "{choice:?}");
                assert_eq!(module.engines[0].multipliers(), choice.multipliers(), "{choice:?}");
                assert_eq!(module.engines[0].products_per_cycle(), choice.fold.products, "{choice:?}");
            }
        }
    }
}

#[test]
fn options_differ_in_everything_that_may_be_chosen() {
    let (graph, id) = Layer { kept: (2, 4), bits: 4, inputs: 32, outputs: 32, ..Layer::PLAIN }.graph();
    let all = listed(&graph, id, &device("ulx3s-85f"));
    for multiplier in [Multiplier::Paired, Multiplier::Logic] {
        for pattern in [None, Some(NofM { kept: 2, of: 4 })] {
            let found =
                all.iter().filter(|choice| choice.multiplier() == Some(multiplier) && choice.pattern() == pattern);
            let memories: Vec<_> = found.filter_map(Choice::weight_memory).collect();
            for memory in [MemoryStyle::Block, MemoryStyle::Distributed] {
                assert!(memories.contains(&memory), "{multiplier:?} {pattern:?} {memory:?}");
            }
        }
    }
    // None is beaten in everything by another with its lanes.
    let costs = |choice: &Choice| {
        let Resources { lut, ff, dsp, bram, .. } = choice.resources;
        [choice.cycles(), u64::from(choice.multipliers()), lut, ff, dsp, bram]
    };
    let lanes = |choice: &Choice| (choice.fold.input_lanes, choice.fold.output_lanes);
    for (at, choice) in all.iter().enumerate() {
        for other in &all[..at] {
            let beats = costs(other).iter().zip(costs(choice)).all(|(a, b)| *a <= b);
            assert!(lanes(other) != lanes(choice) || !beats, "{other:?} beats {choice:?}");
        }
    }
}

/// Relative difference.
fn error(estimate: u64, actual: u64) -> f64 {
    estimate.abs_diff(actual) as f64 / actual.max(1) as f64
}

#[test]
fn assumed_weights_are_priced_like_those_that_come() {
    let (dense, id) = Layer { inputs: 16, outputs: 16, ..Layer::PLAIN }.graph();
    let (sparse, _) = Layer { inputs: 16, outputs: 16, bits: 4, kept: (2, 4), ..Layer::PLAIN }.graph();
    let device = device("ulx3s-85f");
    let kernel = kernel_of(&sparse, id).expect("the node has hardware");
    let form = form_of(&sparse, id, &kernel);
    let assumed = options(&dense, id, &kernel, &form, &device);
    let actual: Vec<Choice> = listed(&sparse, id, &device);
    let mut compared = 0;
    for choice in &actual {
        let Some(other) = assumed.iter().find(|other| other.fold == choice.fold) else { continue };
        compared += 1;
        // Assumed sums may be a few bits wider: a requantizer's product then takes two multipliers.
        let stream = u64::from(choice.fold.output_lanes);
        let dsp = choice.resources.dsp..=choice.resources.dsp + stream;
        assert!(dsp.contains(&other.resources.dsp), "{other:?} for {choice:?}");
        assert_eq!(other.resources.bram, choice.resources.bram);
        assert!(error(other.resources.lut, choice.resources.lut) < 0.15, "{other:?} for {choice:?}");
        assert!(error(other.resources.ff, choice.resources.ff) < 0.2, "{other:?} for {choice:?}");
    }
    assert!(compared > 50, "{compared} of {} options in common", actual.len());
    // Weights that do not keep to the assumption are refused.
    let wanted = assumed.iter().find(|choice| choice.pattern().is_some()).expect("there are patterns");
    let refused = assemble(&dense, &around(&dense, id, *wanted, &device), &device).unwrap_err();
    assert!(refused.to_string().contains("choice-not-possible"), "{refused}");
    assert!(realize(&sparse, &device, &around(&sparse, id, *wanted, &device)).is_ok());
}

#[test]
fn impossible_choices_are_refused() {
    let (graph, id) = Layer::PLAIN.graph();
    let device = device("ulx3s-85f");
    let good = *listed(&graph, id, &device).first().expect("there are options");
    let refused = |change: &dyn Fn(&mut Choice)| {
        let mut choice = good;
        change(&mut choice);
        assemble(&graph, &around(&graph, id, choice, &device), &device).expect_err("it is not possible").to_string()
    };
    let refold = |choice: &mut Choice, change: &dyn Fn(Folding) -> Folding| {
        choice.fold.folding = choice.fold.folding.map(change);
    };
    assert!(refused(&|choice| choice.fold.input_lanes = 5).contains("do not fold it"));
    assert!(refused(&|choice| choice.fold.multipliers += 1).contains("multipliers, not"));
    let paired = refused(&|choice| refold(choice, &|folding| Folding { multiplier: Multiplier::Paired, ..folding }));
    assert!(paired.contains("cannot share multipliers"), "8-bit weights do not fit 18 bits: {paired}");
    let pattern = Some(NofM { kept: 1, of: 4 });
    let sparse = refused(&|choice| refold(choice, &|folding| Folding { pattern, ..folding }));
    assert!(sparse.contains("do not keep to 1:4"), "{sparse}");
    let mut lacking = around(&graph, id, good, &device);
    lacking.remove(&id);
    assert!(assemble(&graph, &lacking, &device).unwrap_err().to_string().contains("no choice was made"));
}

#[test]
fn narrow_and_sparse_weights_save_cycles_on_their_own() {
    let device = device("ulx3s-85f");
    let cycles = |layer: Layer| {
        let fitted = fit(&layer.graph().0, &device, Some(16)).expect("it fits");
        assert!(fitted.network.multipliers() <= 16);
        fitted.network.bottleneck()
    };
    let wide = Layer { inputs: 32, outputs: 32, ..Layer::PLAIN };
    let dense = cycles(wide);
    assert_eq!(cycles(Layer { bits: 4, ..wide }), dense / 2);
    assert_eq!(cycles(Layer { kept: (1, 4), ..wide }), dense / 4);
    assert_eq!(cycles(Layer { bits: 4, kept: (2, 4), ..wide }), dense / 4);
    assert_eq!(cycles(Layer { kept: (1, 8), ..wide }), dense / 8);
}

#[test]
fn multipliers_beyond_the_device_go_into_logic() {
    let (graph, _) = Layer { inputs: 16, outputs: 16, ..Layer::PLAIN }.graph();
    let device = device("ice40up5k");
    let fitted = fit(&graph, &device, Some(32)).expect("there is a plan");
    let mut foldings = fitted.network.kernels.iter().filter_map(|kernel| kernel.folding);
    assert!(foldings.any(|folding| folding.multiplier == Multiplier::Logic));
    assert!(fitted.resources.dsp <= device.dsp, "{:?}", fitted.resources);
}

#[test]
fn conversions_cost_what_their_modules_do() {
    let device = device("ultra96");
    let lane = Ty::signed(8);
    assert_eq!(conversion(4, 4, lane, &device), Resources::default());
    let mut two = conversion(6, 2, lane, &device);
    two += conversion(2, 4, lane, &device);
    assert_eq!(conversion(6, 4, lane, &device), two);
    let mut fast = conversion(6, 12, lane, &device);
    fast += conversion(12, 4, lane, &device);
    assert_eq!(conversion_through(lanes_between(6, 4, 3), lane, &device), fast);
    assert!(conversion(1, 64, lane, &device).ff > conversion(1, 2, lane, &device).ff);
}

#[test]
fn a_form_may_be_assumed_where_there_are_no_such_weights() {
    let (graph, id) = Layer { inputs: 64, outputs: 64, ..Layer::PLAIN }.graph();
    let kernel = kernel_of(&graph, id).expect("the node has hardware");
    let form = WeightForm { bits: 4, patterns: NofM::ALL.to_vec(), pair_patterns: NofM::ALL.to_vec() };
    let start = std::time::Instant::now();
    let all = options(&graph, id, &kernel, &form, &device("ultra96"));
    println!("{} options in {:?}", all.len(), start.elapsed());
    assert!(all.iter().any(|choice| choice.pattern() == Some(NofM { kept: 1, of: 8 })));
}
