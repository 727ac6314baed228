//! The block that picks and ranks peaks, alone and behind a network.

use lutweave_hw::block::top_peaks::cycles;
use lutweave_hw::dataflow::Sink;
use lutweave_hw::kernel::Kernel;
use lutweave_ir::op::{Geometry, QConv, TopPeaks};
use lutweave_ir::random::SplitMix64;
use lutweave_ir::{Element, Graph, NodeId, Op, Requantize, Tensor, TensorType, text};
use lutweave_snapshots::cases::{self, seeds};
use lutweave_snapshots::executors::{Circuit, Driven, agree, circuit, expected, samples, stimulus, verilog_agrees};
use lutweave_testing::tools;
use lutweave_verilog::Simulator;

const ELEMENTS: [Element; 5] = [
    Element::I8,
    Element::U8,
    Element::I4,
    Element::Int { bits: 4, signed: false },
    Element::Int { bits: 1, signed: false },
];

/// A heatmap and maps that are inputs.
#[derive(Clone, Debug)]
struct Case {
    /// Rows, columns and channels.
    image: [usize; 3],
    element: Element,
    /// Channels and elements of the maps.
    maps: Vec<(usize, Element)>,
    count: usize,
    /// Values that the heatmap takes, from the smallest on, less one the largest; few make ties.
    levels: usize,
    seed: u64,
}

impl Case {
    fn random(seed: u64) -> Self {
        let mut random = SplitMix64::new(seed);
        let most = if random.chance(30) { 3 } else { 13 };
        let image = [random.between(1, most), random.between(1, most), random.between(1, 6)];
        let maps = (0..random.below(4)).map(|_| (random.between(1, 4), random.pick(&ELEMENTS))).collect();
        // Fewer records than peaks, and more than there are elements.
        let elements: usize = image.iter().product();
        let count = if random.chance(60) { random.between(1, 8) } else { random.between(1, 2 * elements).min(90) };
        let levels = random.pick(&[1, 2, 2, 3, 5, 300]);
        Self { image, element: random.pick(&ELEMENTS), maps, count, levels, seed }
    }

    fn graph(&self) -> Graph {
        let mut graph = Graph::new("peaks");
        let [height, width, channels] = self.image;
        let mut input = |name: &str, channels: usize, element: Element| {
            graph.input(name, TensorType::int([1, height, width, channels], element))
        };
        let mut operands = vec![input("heatmap", channels, self.element)];
        operands.extend(self.maps.iter().map(|&(channels, element)| input("map", channels, element)));
        let peaks = graph.add("peaks", Op::TopPeaks(TopPeaks { count: self.count }), &operands);
        graph.set_outputs(vec![peaks.expect("the operands fit")]);
        graph
    }

    /// Random samples with ties in the heatmap.
    fn samples(&self, graph: &Graph, count: u64) -> Vec<Vec<Tensor>> {
        let mut samples = samples(graph, count, self.seed);
        let (lo, hi) = self.element.range().expect("an integer");
        for (inputs, number) in samples.iter_mut().zip(0..) {
            let mut random = SplitMix64::new(self.seed ^ number);
            // Now and then nothing but one value.
            let flat = if random.chance(20) { Some(random.pick(&[lo as i32, hi as i32])) } else { None };
            let mut value = || match random.below(self.levels + 1) {
                0 => hi as i32,
                level => (lo + level as i64 - 1).min(hi) as i32,
            };
            let values = inputs[0].ints().iter().map(|_| flat.unwrap_or_else(&mut value));
            let values: Vec<i32> = values.collect();
            if self.levels < 300 {
                inputs[0] = Tensor::int(inputs[0].shape.clone(), values);
            }
        }
        samples
    }

    fn check(&self) -> Result<(Circuit, Vec<Driven>), String> {
        let graph = self.graph();
        let circuit = circuit(&graph, 0.5, 4)?;
        let driven = agree(&graph, &circuit, &self.samples(&graph, 4), self.seed as u32)?;
        Ok((circuit, driven))
    }
}

fn all_pass(cases: Vec<Case>, check: impl Fn(&Case) -> Result<(), String> + Sync) {
    cases::all_pass(cases, check, |case| format!("{case:?}\n{}", text::print_summary(&case.graph())));
}

#[test]
fn blocks_agree() {
    all_pass(seeds(300, 5000).into_iter().map(Case::random).collect(), |case| case.check().map(drop));
}

/// Images of one pixel, row and column, one channel and several, with and without maps.
#[test]
fn every_small_size_agrees() {
    let mut cases = Vec::new();
    for (height, width) in (1..=3).flat_map(|height| (1..=3).map(move |width| (height, width))) {
        for (channels, maps, count) in [(1, 0, 1), (1, 1, 2), (2, 2, 12), (3, 1, 4)] {
            let maps = (0..maps).map(|map| (1 + map, Element::I8)).collect();
            let seed = (height * 16 + width) as u64;
            cases.push(Case { image: [height, width, channels], element: Element::I8, maps, count, levels: 2, seed });
        }
    }
    all_pass(cases, |case| case.check().map(drop));
}

#[test]
fn blocks_agree_in_icarus() {
    if !tools::icarus() {
        return;
    }
    all_pass(seeds(10, 300).into_iter().map(Case::random).collect(), |case| {
        let (circuit, driven) = case.check()?;
        verilog_agrees(&circuit, Simulator::Icarus, &[driven[0].clone(), driven[3].clone()])
    });
}

#[test]
fn blocks_agree_in_verilator() {
    if !tools::verilator() {
        return;
    }
    let maps = vec![(2, Element::I8), (2, Element::U8)];
    let case = Case { image: [11, 13, 3], element: Element::I8, maps, count: 40, levels: 3, seed: 12 };
    all_pass(vec![case], |case| {
        let (circuit, driven) = case.check()?;
        verilog_agrees(&circuit, Simulator::Verilator, &driven)
    });
}

/// A frame takes the cycles that the plan says, whatever it holds.
#[test]
fn blocks_keep_their_pace() {
    let of = |image: [usize; 3], maps: usize, count: usize, levels: usize| {
        let maps = vec![(2, Element::I8); maps];
        Case { image, element: Element::I8, maps, count, levels, seed: 5 }
    };
    let mut cases = Vec::new();
    for levels in [1, 3, 300] {
        cases.extend([of([12, 13, 3], 2, 20, levels), of([9, 10, 1], 2, 5, levels), of([4, 4, 2], 0, 60, levels)]);
    }
    all_pass(cases, |case| {
        let graph = case.graph();
        let circuit = circuit(&graph, 0.5, 4)?;
        let mut simulator = lutweave_wasm::Simulator::new(&circuit.design).map_err(|error| error.to_string())?;
        let inputs = case.samples(&graph, 6);
        let trace = simulator.run(&stimulus(&inputs, 0, None)).map_err(|error| error.to_string())?;
        let found = trace.cycles_per_inference().expect("there are several frames");
        let planned = cycles(case.image.map(|extent| extent as u32), case.maps.len(), case.count as u32);
        if found <= planned && found + 8 >= planned {
            Ok(())
        } else {
            Err(format!("{found} cycles per frame, {planned} are planned"))
        }
    });
}

/// Heatmap and map by way of so many convolutions each, from one image.
fn forked(image: [usize; 2], heat: usize, map: usize, count: usize) -> Graph {
    let mut graph = Graph::new("forked");
    let input = graph.input("x", TensorType::int([1, image[0], image[1], 4], Element::I8));
    let mut random = SplitMix64::new(4);
    let mut convolve = |graph: &mut Graph, x: NodeId| {
        let shape = [4, 3, 3, 4];
        let weights: Vec<i32> = (0..shape.iter().product()).map(|_| random.integer(-90, 90)).collect();
        let w = graph.constant("w", Tensor::int(shape, weights), TensorType::int(shape, Element::I8));
        let b = graph.constant("b", Tensor::int([4], vec![7; 4]), TensorType::int([4], Element::I32));
        let requantize = Requantize { multipliers: vec![40_000], shifts: vec![24], zero_point: 0, lo: -128, hi: 127 };
        let geometry = Geometry { pads: [1; 4], ..Geometry::PLAIN };
        let op = QConv { geometry, pad_value: 0, requantize, element: Element::I8 };
        graph.add("conv", Op::QConv(op), &[x, w, b]).expect("the operands fit")
    };
    let mut through = |graph: &mut Graph, count: usize| (0..count).fold(input, |x, _| convolve(graph, x));
    let operands = [through(&mut graph, heat), through(&mut graph, map)];
    let peaks = graph.add("peaks", Op::TopPeaks(TopPeaks { count }), &operands).expect("the operands fit");
    graph.set_outputs(vec![peaks, operands[0]]);
    graph
}

/// Neither path waits for the other one for ever, and frames take as long as the slowest stage.
#[test]
fn forks_to_all_streams_flow() {
    let mut cases = Vec::new();
    for image in [[14, 10], [1, 12], [12, 1], [2, 2]] {
        for (heat, map) in [(0, 0), (3, 0), (0, 4), (2, 2)] {
            cases.extend(
                [(0.0, 9), (0.4, 60), (1.0, 9), (1.0, 60)].map(|(share, count)| (image, heat, map, share, count)),
            );
        }
    }
    let check = |&(image, heat, map, share, count): &([usize; 2], usize, usize, f64, usize)| {
        let graph = forked(image, heat, map, count);
        let circuit = circuit(&graph, share, 150)?;
        let driven = agree(&graph, &circuit, &samples(&graph, 6, 1), 3)?;
        circuit.keeps_pace(&driven[0].trace, 1.05)
    };
    cases::all_pass(cases, check, |case| format!("{case:?}"));
}

/// The stage's kernel says what the operator does.
#[test]
fn the_network_knows_the_streams() {
    let case = Case {
        image: [5, 6, 3],
        element: Element::U8,
        maps: vec![(2, Element::I8), (1, Element::I4)],
        count: 7,
        levels: 3,
        seed: 1,
    };
    let graph = case.graph();
    let network = circuit(&graph, 0.0, 1).expect("it has hardware").network;
    let peaks = network.kernels.last().expect("there are kernels");
    assert_eq!(peaks.kernel, Kernel::TopPeaks { image: [5, 6, 3], maps: vec![2, 1], count: 7 });
    let reads = network.edges.iter().filter(|edge| matches!(edge.to, Sink::Kernel(node, _) if node == peaks.node));
    assert_eq!(reads.map(|edge| edge.read).collect::<Vec<_>>(), [1, 2, 1]);
    assert_eq!(peaks.lanes, [1, 5]);
    assert_eq!(expected(&graph, &case.samples(&graph, 1)).expect("it runs")[0][0].len(), 35);
}
