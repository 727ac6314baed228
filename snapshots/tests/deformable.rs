//! The block for deformable convolution alone, and where its two streams come from one source.

use lutweave_hw::rtl::expr::{Expr, lt};
use lutweave_hw::rtl::{Design, SignalKind};
use lutweave_ir::op::{Geometry, QAdd, QConv, QDeformConv, Sampling, Table};
use lutweave_ir::random::SplitMix64;
use lutweave_ir::{Element, Graph, NodeId, Op, Requantize, Tensor, TensorType, text};
use lutweave_snapshots::cases::{self, seeds};
use lutweave_snapshots::executors::{Circuit, Driven, agree, circuit, expected, samples, stimulus, verilog_agrees};
use lutweave_testing::tools;
use lutweave_verilog::Simulator;
use lutweave_wasm::{Options, SimulationError};

/// A deformable convolution whose image and offsets are inputs.
#[derive(Clone, Debug)]
struct Case {
    sampling: Sampling,
    reach: i32,
    /// Rows, columns and channels.
    image: [usize; 3],
    kernel: [usize; 2],
    geometry: Geometry,
    channels: usize,
    seed: u64,
}

impl Case {
    /// A square kernel of three that keeps the size of the image, depthwise.
    fn depthwise(reach: i32, image: [usize; 3], seed: u64) -> Self {
        let geometry = Geometry { pads: [1; 4], groups: image[2], ..Geometry::PLAIN };
        Self { sampling: Sampling::Square, reach, image, kernel: [3, 3], geometry, channels: image[2], seed }
    }

    fn random(seed: u64) -> Self {
        let mut random = SplitMix64::new(seed);
        let square = random.chance(60);
        let reach = random.integer(0, 7);
        let channels = random.between(1, 6);
        let (groups, outputs) = match random.below(4) {
            0 | 1 => (channels, channels),
            2 => (1, random.between(1, 5)),
            _ if channels.is_multiple_of(2) => (2, 2 * random.between(1, 3)),
            _ => (1, 2),
        };
        let (kernel, dilations) = if square {
            ([random.pick(&[1, 3, 3, 3, 5]); 2], [1, 1])
        } else {
            ([0; 2].map(|_| random.between(1, 3)), [0; 2].map(|_| random.between(1, 2)))
        };
        let pads = if random.chance(60) {
            [0, 1, 0, 1].map(|axis: usize| (kernel[axis] - 1) * dilations[axis] / 2)
        } else {
            [0; 4].map(|_| random.between(0, 3))
        };
        let strides = [0; 2].map(|_| random.pick(&[1, 1, 2, 3]));
        // Small and odd images as often as ones that the reach does not span.
        let extent = |random: &mut SplitMix64, axis: usize| {
            let span = (kernel[axis] - 1) * dilations[axis] + 1;
            let most = if random.chance(50) { 5 } else { 18 };
            random.between(1, most).max((span).saturating_sub(pads[axis] + pads[axis + 2]))
        };
        let image = [extent(&mut random, 0), extent(&mut random, 1), channels];
        let sampling = if square { Sampling::Square } else { Sampling::Free { offset_groups: 1 } };
        let geometry = Geometry { strides, dilations, pads, groups };
        Self { sampling, reach, image, kernel, geometry, channels: outputs, seed }
    }

    fn bounds(&self) -> (i32, i32) {
        match self.sampling {
            Sampling::Free { .. } => (-self.reach, self.reach),
            Sampling::Square => (0, self.reach),
        }
    }

    /// Constants of the convolution.
    fn constants(&self, graph: &mut Graph) -> [NodeId; 2] {
        let mut random = SplitMix64::new(self.seed ^ 0x55);
        let shape = [self.channels, self.kernel[0], self.kernel[1], self.image[2] / self.geometry.groups];
        let weights: Vec<i32> = (0..shape.iter().product()).map(|_| random.integer(-128, 127)).collect();
        let bias: Vec<i32> = (0..self.channels).map(|_| random.integer(-3000, 3000)).collect();
        [
            graph.constant("w", Tensor::int(shape, weights), TensorType::int(shape, Element::I8)),
            graph.constant("b", Tensor::int([self.channels], bias), TensorType::int([self.channels], Element::I32)),
        ]
    }

    fn requantize(&self) -> Requantize {
        let mut random = SplitMix64::new(self.seed ^ 0xAA);
        let multipliers = (0..self.channels).map(|_| random.between(20_000, 65_000) as u16).collect();
        Requantize { multipliers, shifts: vec![23], zero_point: 5, lo: -128, hi: 127 }
    }

    fn input(&self, graph: &mut Graph) -> NodeId {
        let [height, width, channels] = self.image;
        graph.input("x", TensorType::int([1, height, width, channels], Element::I8))
    }

    /// What positions outside the image read.
    fn pad_value(&self) -> i32 {
        (self.seed % 255) as i32 - 127
    }

    /// The convolution of an image by offsets.
    fn apply(&self, graph: &mut Graph, x: NodeId, offsets: NodeId) -> NodeId {
        let [w, b] = self.constants(graph);
        let op = QDeformConv {
            geometry: self.geometry,
            sampling: self.sampling,
            reach: self.reach as u32,
            pad_value: self.pad_value(),
            requantize: self.requantize(),
            element: Element::I8,
        };
        graph.add("y", Op::QDeformConv(op), &[x, w, b, offsets]).expect("the operands fit")
    }

    /// Shape of the offsets.
    fn offsets_shape(&self) -> [usize; 4] {
        let positions = |axis: usize| {
            let Geometry { strides, dilations, pads, .. } = self.geometry;
            let padded = self.image[axis] + pads[axis] + pads[axis + 2];
            (padded - (self.kernel[axis] - 1) * dilations[axis] - 1) / strides[axis] + 1
        };
        [1, positions(0), positions(1), self.sampling.channels(self.kernel)]
    }

    /// The graph whose second input goes through a table to become offsets.
    fn graph_with(&self, table: impl Fn(i32) -> i32) -> Graph {
        let mut graph = Graph::new("deformable");
        let x = self.input(&mut graph);
        let moves = graph.input("moves", TensorType::int(self.offsets_shape(), Element::I8));
        let table = Table { entries: (-128..128).map(table).collect(), element: Element::I4 };
        let offsets = graph.add("offsets", Op::Table(table), &[moves]).expect("the table fits");
        let y = self.apply(&mut graph, x, offsets);
        graph.set_outputs(vec![y]);
        graph
    }

    /// All offsets within reach, each as often.
    fn graph(&self) -> Graph {
        let (lo, hi) = self.bounds();
        self.graph_with(|value| lo + value.rem_euclid(hi - lo + 1))
    }

    /// The ordinary convolution of the same constants.
    fn plain(&self) -> Graph {
        let mut graph = Graph::new("plain");
        let x = self.input(&mut graph);
        let [w, b] = self.constants(&mut graph);
        let op = QConv {
            geometry: self.geometry,
            pad_value: self.pad_value(),
            requantize: self.requantize(),
            element: Element::I8,
        };
        let y = graph.add("y", Op::QConv(op), &[x, w, b]).expect("the operands fit");
        graph.set_outputs(vec![y]);
        graph
    }
}

fn share(seed: u64) -> f64 {
    [0.0, 0.3, 1.0][(seed % 3) as usize]
}

fn check(graph: &Graph, seed: u64) -> Result<(Circuit, Vec<Driven>), String> {
    let circuit = circuit(graph, share(seed), 60)?;
    let driven = agree(graph, &circuit, &samples(graph, 3, seed), seed as u32)?;
    Ok((circuit, driven))
}

fn all_pass(cases: Vec<Case>, check: impl Fn(&Case) -> Result<(), String> + Sync) {
    cases::all_pass(cases, check, |case| format!("{case:?}\n{}", text::print_summary(&case.graph())));
}

#[test]
fn blocks_agree() {
    let mut cases: Vec<Case> = seeds(150, 3000).into_iter().map(Case::random).collect();
    // More rows are left behind at the end of a frame than any offset keeps.
    let wide = |strides| Case {
        kernel: [5, 5],
        geometry: Geometry { strides, groups: 2, ..Geometry::PLAIN },
        ..Case::depthwise(0, [13, 7, 2], 6)
    };
    cases.extend([[1, 1], [2, 1], [3, 3]].map(wide));
    all_pass(cases, |case| check(&case.graph(), case.seed).map(drop));
}

/// Every reach on images of every small size: every offset meets every corner and edge.
#[test]
fn every_reach_agrees_on_every_size() {
    let sizes = [[1, 1], [1, 8], [7, 1], [2, 3], [5, 5], [9, 8], [17, 4], [4, 19]];
    let cases =
        (0..=7).flat_map(|reach| sizes.map(|[h, w]| Case::depthwise(reach, [h, w, 3], (reach as u64) << 8 | h as u64)));
    all_pass(cases.collect(), |case| check(&case.graph(), case.seed).map(drop));
}

/// Distances of 1, and offsets of 0, are the ordinary convolution in every executor.
#[test]
fn taps_that_stay_are_the_ordinary_convolution() {
    let still = |case: &Case| {
        let case = Case { reach: case.reach.max(1), ..case.clone() };
        let graph = case.graph_with(|_| i32::from(matches!(case.sampling, Sampling::Square)));
        let (_, driven) = check(&graph, case.seed)?;
        let inputs = samples(&graph, 3, case.seed);
        let images: Vec<Vec<Tensor>> = inputs.into_iter().map(|mut inputs| vec![inputs.swap_remove(0)]).collect();
        let plain = case.plain();
        let ordinary = agree(&plain, &circuit(&plain, 0.5, 60)?, &images, 1)?;
        for (moved, fixed) in driven.iter().zip(&ordinary) {
            if moved.trace.frames != fixed.trace.frames {
                return Err(format!("{}: not what the ordinary convolution gives", moved.how));
            }
        }
        if expected(&plain, &images)? == ordinary[0].trace.frames {
            Ok(())
        } else {
            Err("not the interpreter's".into())
        }
    };
    let mut cases: Vec<Case> = seeds(40, 400).into_iter().map(Case::random).collect();
    cases.extend((1..=7).map(|reach| Case::depthwise(reach, [6, 9, 4], 77)));
    all_pass(cases, still);
}

#[test]
fn blocks_agree_in_icarus() {
    if !tools::icarus() {
        return;
    }
    let mut cases: Vec<Case> = seeds(8, 300).into_iter().map(Case::random).collect();
    cases.push(Case::depthwise(7, [9, 11, 2], 3));
    all_pass(cases, |case| {
        let (circuit, driven) = check(&case.graph(), case.seed)?;
        verilog_agrees(&circuit, Simulator::Icarus, &[driven[0].clone(), driven[3].clone()])
    });
}

/// The image by way of `deep` convolutions, the offsets by way of `wide` ones, from one input.
fn forked(reach: i32, deep: usize, wide: usize) -> Graph {
    let mut graph = Graph::new("forked");
    let case = Case::depthwise(reach, [14, 10, 4], 9);
    let input = case.input(&mut graph);
    let mut random = SplitMix64::new(4);
    let mut convolve = |graph: &mut Graph, x: NodeId, outputs: usize, requantize: Requantize, element: Element| {
        let shape = [outputs, 3, 3, 4];
        let weights: Vec<i32> = (0..shape.iter().product()).map(|_| random.integer(-90, 90)).collect();
        let w = graph.constant("w", Tensor::int(shape, weights), TensorType::int(shape, Element::I8));
        let b = Tensor::int([outputs], vec![7; outputs]);
        let b = graph.constant("b", b, TensorType::int([outputs], Element::I32));
        let op = QConv { geometry: Geometry { pads: [1; 4], ..Geometry::PLAIN }, pad_value: 0, requantize, element };
        graph.add("conv", Op::QConv(op), &[x, w, b]).expect("the operands fit")
    };
    let through = || Requantize { multipliers: vec![40_000], shifts: vec![24], zero_point: 0, lo: -128, hi: 127 };
    let (mut x, mut moves) = (input, input);
    for _ in 0..deep {
        x = convolve(&mut graph, x, 4, through(), Element::I8);
    }
    for _ in 0..wide {
        moves = convolve(&mut graph, moves, 4, through(), Element::I8);
    }
    let distance = Requantize { multipliers: vec![40_000], shifts: vec![27], zero_point: 0, lo: 0, hi: reach };
    let offsets = convolve(&mut graph, moves, 1, distance, Element::Int { bits: 3, signed: false });
    let y = case.apply(&mut graph, x, offsets);
    // A skip around all of it.
    let join =
        QAdd { multipliers: [1, 1], offset: 0, shift: 1, zero_point: 0, lo: -128, hi: 127, element: Element::I8 };
    let sum = graph.add("sum", Op::QAdd(join), &[y, input]).expect("the operands fit");
    graph.set_outputs(vec![sum]);
    graph
}

/// Neither path waits for the other one for ever, and frames take as long as the slowest stage.
#[test]
fn forks_to_both_streams_flow() {
    let mut cases = Vec::new();
    for reach in [0, 1, 2, 5, 7] {
        for (deep, wide) in [(0, 0), (3, 0), (0, 4), (2, 2)] {
            cases.extend([0.0, 0.4, 1.0].map(|share| (reach, deep, wide, share)));
        }
    }
    let check = |&(reach, deep, wide, share): &(i32, usize, usize, f64)| {
        let graph = forked(reach, deep, wide);
        let circuit = circuit(&graph, share, 150)?;
        let samples = samples(&graph, 6, 1);
        let driven = agree(&graph, &circuit, &samples, 3)?;
        circuit.keeps_pace(&driven[0].trace, 1.05)
    };
    cases::all_pass(cases, check, |case| format!("{case:?}"));
}

/// A frame takes the cycles that the plan says, whatever the reach.
#[test]
fn blocks_keep_their_pace() {
    let cases = (0..=7).map(|reach| Case::depthwise(reach, [12, 13, 4], 21)).collect();
    all_pass(cases, |case| {
        let graph = case.graph();
        for share in [0.0, 0.5, 1.0] {
            let circuit = circuit(&graph, share, 40)?;
            let mut simulator = lutweave_wasm::Simulator::new(&circuit.design).map_err(|error| error.to_string())?;
            let trace = simulator.run(&stimulus(&samples(&graph, 5, 2), 0, None)).map_err(|error| error.to_string())?;
            circuit.keeps_pace(&trace, 1.02)?;
        }
        Ok(())
    });
}

/// Lets the writer of every ring run one row further ahead than the ring has room.
fn overrun(mut design: Design) -> Design {
    for module in design.modules.iter_mut().filter(|module| !module.engines.is_empty()) {
        let rows = i64::from(module.engines[0].rows);
        let ready = module.inputs[0].ready;
        let SignalKind::Wire(value) = &mut module.signals[ready.0 as usize].kind else {
            panic!("tready is a wire");
        };
        let Expr::Lt(kept, limit) = value.clone() else { panic!("tready compares rows with the ring's") };
        assert_eq!(*limit, Expr::Const(rows));
        *value = lt(*kept, rows + 1);
    }
    design
}

#[test]
fn a_ring_one_row_too_small_is_noticed() {
    let options = Options { check_windows: true, ..Options::default() };
    let wrong = |graph: &Graph, image_only: bool| {
        let design = overrun(circuit(graph, 0.0, 60).expect("it has hardware").design);
        let mut inputs = samples(graph, 3, 8);
        if image_only {
            inputs.iter_mut().for_each(|inputs| inputs.truncate(1));
        }
        let mut simulator = lutweave_wasm::Simulator::with_options(&design, options).expect("it is a design");
        simulator.run(&stimulus(&inputs, 0, None))
    };
    let fires = |result: Result<_, SimulationError>| matches!(result, Err(SimulationError::WrongRow { .. }));
    for reach in 1..=7 {
        let case = Case::depthwise(reach, [20, 6, 3], 5);
        let farthest = case.graph_with(|_| reach);
        assert!(fires(wrong(&farthest, false)), "reach {reach}");
    }
    // As much of the ring as the image has rows.
    assert!(fires(wrong(&Case::depthwise(7, [5, 6, 3], 5).graph_with(|_| 2), false)));
    assert!(fires(wrong(&Case::depthwise(1, [20, 6, 3], 5).plain(), true)));
}
