//! What the generator promises: valid graphs, every feature, outputs that vary.

use super::{RandomOptions, Step, random_graph};
use lutweave_ir::op::{Borders, Geometry, MaxPool, Pad, Reshape, Sampling, Select, Slice};
use lutweave_ir::random::random_inputs;
use lutweave_ir::{Element, Graph, NodeId, Op, Requantize, Tensor};
use std::collections::{BTreeMap, BTreeSet};

fn graphs(count: u64) -> impl Iterator<Item = (u64, Graph)> {
    let options = RandomOptions::default();
    (0..count).map(move |seed| (seed, random_graph(seed, &options)))
}

fn run(graph: &Graph, inputs: &[Tensor]) -> Vec<Tensor> {
    lutweave_ir::interpret::run(graph, inputs).expect("a valid graph runs on inputs of its types")
}

fn operators(graph: &Graph) -> usize {
    graph.nodes().iter().filter(|node| !matches!(node.op, Op::Input | Op::Constant(_))).count()
}

#[test]
fn bounds_are_kept() {
    let options = RandomOptions::default();
    for (seed, graph) in graphs(1000) {
        assert!(options.operators.contains(&operators(&graph)), "seed {seed}");
        assert!((1..=options.inputs).contains(&graph.inputs().len()), "seed {seed}");
        assert!((1..=options.outputs).contains(&graph.outputs().len()), "seed {seed}");
        let users = graph.users();
        for &input in graph.inputs() {
            assert!(!users[input.index()].is_empty(), "seed {seed}: an input is unused");
            assert!(!graph.outputs().contains(&input), "seed {seed}: an input is an output");
        }
        let activations = graph.nodes().iter().filter(|node| !matches!(node.op, Op::Constant(_)));
        for (height, width, channels) in activations.filter_map(|node| node.ty.image()) {
            assert!(height <= 40 && width <= 40, "seed {seed}: {height} x {width}");
            assert!(channels <= 160 || height * width == 1, "seed {seed}: {channels} channels");
        }
        assert!(graph.nodes().iter().all(|node| node.ty.count() <= 20_000), "seed {seed}");
    }
}

#[test]
fn sums_fit_32_bits() {
    for (seed, graph) in graphs(500) {
        for node in graph.nodes() {
            let range = |operand: usize| graph.node(node.operands[operand]).ty.element.range().expect("integers");
            let magnitude = |operand: usize| range(operand).0.abs().max(range(operand).1);
            let largest = match &node.op {
                Op::QConv(_) | Op::QDeformConv(_) => {
                    let weights = graph.constant_of(node.operands[1]).expect("constant weights");
                    let bias = graph.constant_of(node.operands[2]).expect("a constant bias");
                    let taps = weights.count() / weights.shape[0];
                    let sums = weights.ints().chunks(taps).zip(bias.ints()).map(|(row, bias)| {
                        let products: i64 = row.iter().map(|&weight| i64::from(weight).abs() * magnitude(0)).sum();
                        products + i64::from(*bias).abs()
                    });
                    sums.max().expect("a channel")
                }
                Op::QAdd(add) => {
                    let products = (0..2).map(|index| i64::from(add.multipliers[index]).abs() * magnitude(index));
                    products.sum::<i64>() + i64::from(add.offset).abs() + (1 << add.shift)
                }
                _ => 0,
            };
            assert!(largest <= i64::from(i32::MAX), "seed {seed}: {} may reach {largest}", node.name);
        }
    }
}

#[test]
fn the_same_seed_gives_the_same() {
    for (seed, graph) in graphs(50) {
        assert_eq!(graph, random_graph(seed, &RandomOptions::default()));
        assert_eq!(random_inputs(&graph, seed), random_inputs(&graph, seed));
    }
    let distinct: BTreeSet<String> = graphs(50).map(|(_, graph)| format!("{:?}", graph.nodes())).collect();
    assert_eq!(distinct.len(), 50);
}

#[test]
fn inputs_have_their_types_and_reach_the_extremes() {
    let (mut lowest, mut highest) = (false, false);
    for (seed, graph) in graphs(200) {
        for (tensor, &id) in random_inputs(&graph, seed).iter().zip(graph.inputs()) {
            let ty = &graph.node(id).ty;
            let (lo, hi) = ty.element.range().expect("integers");
            assert_eq!(tensor.shape, ty.shape);
            assert!(tensor.ints().iter().all(|&value| (lo..=hi).contains(&i64::from(value))));
            lowest |= tensor.ints().iter().all(|&value| i64::from(value) == lo);
            highest |= tensor.ints().iter().all(|&value| i64::from(value) == hi);
        }
    }
    assert!(lowest && highest);
}

#[test]
fn graphs_are_valid() {
    for (seed, graph) in graphs(300) {
        if let Err(faults) = lutweave_ir::validate::validate(&graph) {
            panic!("seed {seed}: {faults:?}");
        }
    }
}

#[test]
fn graphs_survive_their_text() {
    for (seed, graph) in graphs(100) {
        let text = lutweave_ir::text::print(&graph);
        let parsed = lutweave_ir::text::parse(&text).unwrap_or_else(|fault| panic!("seed {seed}: {fault:?}\n{text}"));
        assert_eq!(parsed, graph, "seed {seed}");
    }
}

#[test]
fn graphs_have_a_core_that_is_valid() {
    for (seed, graph) in graphs(300) {
        let split = lutweave_ir::split::split(&graph).unwrap_or_else(|faults| panic!("seed {seed}: {faults:?}"));
        assert_eq!(split.bypassed(), 0, "seed {seed}");
        if let Err(faults) = lutweave_ir::validate::validate(&split.core) {
            panic!("seed {seed}: {faults:?}");
        }
    }
}

#[test]
fn outputs_vary() {
    let (mut constant, mut outputs, mut levels) = (0, 0, Vec::new());
    for (seed, graph) in graphs(300) {
        // Several inputs: one may be a constant tensor by design.
        let runs: Vec<Vec<Tensor>> =
            (0..4).map(|round| run(&graph, &random_inputs(&graph, seed * 4 + round))).collect();
        for index in 0..graph.outputs().len() {
            let values: BTreeSet<i32> = runs.iter().flat_map(|run| run[index].ints().iter().copied()).collect();
            let (lo, hi) = graph.node(graph.outputs()[index]).ty.element.range().expect("integers");
            outputs += 1;
            constant += usize::from(values.len() == 1);
            let spread = values.last().expect("a value") - values.first().expect("a value");
            levels.push(f64::from(spread) / (hi - lo) as f64);
        }
    }
    levels.sort_by(f64::total_cmp);
    assert!(constant * 20 < outputs, "{constant} of {outputs} outputs are constant");
    println!(
        "{constant} of {outputs} outputs are constant; quartiles of the range used: {:?}",
        [1, 2, 3].map(|quarter| levels[levels.len() * quarter / 4])
    );
    assert!(levels[levels.len() / 2] > 0.5, "the median output uses {} of its range", levels[levels.len() / 2]);
}

#[test]
fn fewer_operators_are_a_beginning() {
    let options = |operators| RandomOptions { operators: operators..=operators, ..RandomOptions::default() };
    // Operators by their ordinal, as far as the bound has no influence; both graphs may lack some
    // that no output needs.
    let beginning = |graph: &Graph| -> BTreeMap<usize, Op> {
        let operators = graph.nodes().iter().filter(|node| !matches!(node.op, Op::Constant(_) | Op::Input));
        let ordinal =
            |name: &str| name.trim_start_matches(|letter: char| !letter.is_ascii_digit()).parse().expect("an ordinal");
        operators.map(|node| (ordinal(&node.name), node.op.clone())).filter(|(ordinal, _)| *ordinal < 4).collect()
    };
    let mut compared = 0;
    for seed in 0..100 {
        let (short, long) = (random_graph(seed, &options(8)), random_graph(seed, &options(20)));
        assert!(operators(&short) <= 8 && operators(&long) <= 20);
        let long = beginning(&long);
        for (ordinal, op) in beginning(&short) {
            assert!(long.get(&ordinal).is_none_or(|other| *other == op), "seed {seed}, operator {ordinal}");
            compared += usize::from(long.contains_key(&ordinal));
        }
    }
    assert!(compared > 100);
}

#[test]
fn steps_may_be_restricted() {
    for step in Step::STREAMING.into_iter().chain([Step::Transpose]) {
        let options = RandomOptions { steps: vec![step], ..RandomOptions::default() };
        for seed in 0..20 {
            let graph = random_graph(seed, &options);
            assert!(operators(&graph) >= 1, "{step:?}");
            run(&graph, &random_inputs(&graph, seed));
        }
    }
}

#[test]
fn every_feature_occurs() {
    let mut histogram = BTreeMap::new();
    for (_, graph) in graphs(1000) {
        for feature in features(&graph) {
            *histogram.entry(feature).or_insert(0) += 1;
        }
    }
    println!("{histogram:#?}");
    let absent: Vec<&str> =
        FEATURES.iter().copied().filter(|name| histogram.get(name).copied().unwrap_or(0) < 10).collect();
    assert!(absent.is_empty(), "in fewer than 1 % of the graphs: {absent:?}\n{histogram:#?}");
    let unlisted: Vec<&&str> = histogram.keys().filter(|name| !FEATURES.contains(name)).collect();
    assert!(unlisted.is_empty(), "not listed: {unlisted:?}");
}

const FEATURES: [&str; 81] = [
    "activation i4",
    "activation i8",
    "activation u4",
    "activation u8",
    "add: broadcast",
    "add: negative multiplier",
    "add: one value twice",
    "add: residual over several operators",
    "add: shift 0",
    "add: two element types",
    "average pool: overlapping",
    "average pool: padded",
    "average pool: whole image",
    "concat: one value twice",
    "concat: three",
    "concat: two",
    "conv: asymmetric pads",
    "conv: bias of 28 bits or more",
    "conv: channel multiplier",
    "conv: common multiplier",
    "conv: common multiplier and shift",
    "conv: common shift",
    "conv: dense layer",
    "conv: depthwise",
    "conv: dilated",
    "conv: grouped",
    "conv: multiplier 0",
    "conv: multipliers and shifts per channel",
    "conv: non-square",
    "conv: one tap",
    "conv: padded with a zero point",
    "conv: pattern of 4 channels",
    "conv: pattern of 8 channels",
    "conv: pattern of pairs of outputs",
    "conv: stride 1",
    "conv: stride 2",
    "conv: stride 3",
    "conv: weights of 4 bits",
    "conv: weights of 8 bits",
    "conv: weights of 9 bits",
    "deform: dense",
    "deform: depthwise",
    "deform: free and dilated",
    "deform: grouped",
    "deform: offsets by convolution",
    "deform: offsets by table",
    "deform: offsets of its image",
    "deform: reach 0",
    "deform: reach 7",
    "deform: square of five",
    "deform: square of three",
    "deform: strided",
    "extent 1",
    "fork",
    "inputs: several",
    "max pool: dilated",
    "max pool: overlapping",
    "max pool: padded",
    "multiply: broadcast",
    "multiply: one value twice",
    "multiply: squeeze and excitation",
    "output used further",
    "outputs: several",
    "pad",
    "pad: channels",
    "relu or clip",
    "reshape: flat",
    "reshape: image",
    "resize",
    "borders",
    "select: interleaved",
    "select: less",
    "select: more",
    "slice: channels",
    "slice: space",
    "slice: steps",
    "table",
    "argmax: first of equals",
    "argmax: last of equals",
    "top peaks: alone",
    "top peaks: with maps",
];

fn features(graph: &Graph) -> BTreeSet<&'static str> {
    let mut found = BTreeSet::new();
    let users = graph.users();
    if graph.inputs().len() > 1 {
        found.insert("inputs: several");
    }
    if graph.outputs().len() > 1 {
        found.insert("outputs: several");
    }
    for id in graph.ids() {
        let node = graph.node(id);
        if matches!(node.op, Op::Constant(_)) {
            continue;
        }
        found.insert(match node.ty.element {
            Element::I8 => "activation i8",
            Element::U8 => "activation u8",
            Element::I4 => "activation i4",
            _ => "activation u4",
        });
        if users[id.index()].len() > 1 {
            found.insert("fork");
        }
        if graph.outputs().contains(&id) && !users[id.index()].is_empty() {
            found.insert("output used further");
        }
        if node.ty.image().is_some_and(|(height, width, _)| height == 1 || width == 1) {
            found.insert("extent 1");
        }
        let mut put = |present: bool, name: &'static str| {
            if present {
                found.insert(name);
            }
        };
        let operand = |position: usize| &graph.node(node.operands[position]).ty;
        let clipped = |requantize: &Requantize, element: Element| {
            element.range() != Some((i64::from(requantize.lo), i64::from(requantize.hi)))
        };
        match &node.op {
            Op::QConv(conv) => {
                let Geometry { strides, dilations, pads, groups } = conv.geometry;
                let (x, weights) = (operand(0), operand(1));
                let inputs = x.shape[3];
                put(groups == inputs && groups > 1, "conv: depthwise");
                put(groups == inputs && weights.shape[0] > inputs && groups > 1, "conv: channel multiplier");
                put(groups > 1 && groups < inputs, "conv: grouped");
                put(dilations != [1, 1], "conv: dilated");
                put(pads[..2] != pads[2..], "conv: asymmetric pads");
                put(pads != [0; 4] && conv.pad_value != 0, "conv: padded with a zero point");
                put(weights.shape[1] != weights.shape[2], "conv: non-square");
                put(weights.shape[1..3] == [1, 1], "conv: one tap");
                put(strides.contains(&1), "conv: stride 1");
                put(strides.contains(&2), "conv: stride 2");
                put(strides.contains(&3), "conv: stride 3");
                put(weights.element == Element::I4, "conv: weights of 4 bits");
                put(weights.element == Element::I8, "conv: weights of 8 bits");
                put(weights.element == Element::Int { bits: 9, signed: true }, "conv: weights of 9 bits");
                let values = graph.constant_of(node.operands[1]).expect("constant weights").ints();
                let filter = values.len() / weights.shape[0];
                let sparse = |run: usize, together: usize| {
                    let free = |filters: &[i32], start: usize| {
                        (start..start + run)
                            .any(|at| filters.iter().skip(at).step_by(filter).all(|&weight| weight == 0))
                    };
                    weights.shape[3].is_multiple_of(run)
                        && weights.shape[0].is_multiple_of(together)
                        && values
                            .chunks(filter * together)
                            .all(|filters| (0..filter).step_by(run).all(|start| free(filters, start)))
                };
                put(sparse(4, 1), "conv: pattern of 4 channels");
                put(sparse(8, 1), "conv: pattern of 8 channels");
                put(sparse(4, 2), "conv: pattern of pairs of outputs");
                put(clipped(&conv.requantize, conv.element), "relu or clip");
                put(matches!(graph.node(node.operands[0]).op, Op::Reshape(_)), "conv: dense layer");
                let bias = graph.constant_of(node.operands[2]).expect("a constant bias");
                put(bias.ints().iter().any(|bias| bias.unsigned_abs() >= 1 << 27), "conv: bias of 28 bits or more");
                put(conv.requantize.multipliers.contains(&0), "conv: multiplier 0");
                let lengths = (conv.requantize.multipliers.len(), conv.requantize.shifts.len());
                put(lengths == (1, 1), "conv: common multiplier and shift");
                put(lengths.0 > 1 && lengths.1 == 1, "conv: common shift");
                put(lengths.0 == 1 && lengths.1 > 1, "conv: common multiplier");
                put(lengths.0 > 1 && lengths.1 > 1, "conv: multipliers and shifts per channel");
            }
            Op::QDeformConv(conv) => {
                let square = matches!(conv.sampling, Sampling::Square);
                let Geometry { strides, dilations, groups, .. } = conv.geometry;
                let weights = operand(1);
                put(square && weights.shape[1] == 3, "deform: square of three");
                put(square && weights.shape[1] == 5, "deform: square of five");
                put(!square && dilations != [1, 1], "deform: free and dilated");
                put(groups == operand(0).shape[3] && groups > 1, "deform: depthwise");
                put(groups > 1 && groups < operand(0).shape[3], "deform: grouped");
                put(groups == 1 && weights.shape[3] > 1, "deform: dense");
                put(strides != [1, 1], "deform: strided");
                put(conv.reach == 0, "deform: reach 0");
                put(conv.reach == 7, "deform: reach 7");
                put(matches!(graph.node(node.operands[3]).op, Op::Table(_)), "deform: offsets by table");
                put(matches!(graph.node(node.operands[3]).op, Op::QConv(_)), "deform: offsets by convolution");
                put(distance(graph, node.operands[0], node.operands[3]).is_some(), "deform: offsets of its image");
            }
            Op::QAveragePool(pool) => {
                put(pool.window.kernel == operand(0).shape[1..3], "average pool: whole image");
                put(pool.window.pads != [0; 4], "average pool: padded");
                put(pool.window.strides[0] < pool.window.kernel[0], "average pool: overlapping");
            }
            Op::MaxPool(MaxPool { window }) => {
                put(window.pads != [0; 4], "max pool: padded");
                put(window.dilations != [1, 1], "max pool: dilated");
                put(window.strides[0] < window.kernel[0], "max pool: overlapping");
            }
            Op::QAdd(add) => {
                put(operand(0).shape != operand(1).shape, "add: broadcast");
                put(node.operands[0] == node.operands[1], "add: one value twice");
                put(operand(0).element != operand(1).element, "add: two element types");
                put(add.multipliers.iter().any(|&multiplier| multiplier < 0), "add: negative multiplier");
                put(add.shift == 0, "add: shift 0");
                let [first, second] = [node.operands[0].min(node.operands[1]), node.operands[0].max(node.operands[1])];
                put(
                    distance(graph, first, second).is_some_and(|count| count > 1),
                    "add: residual over several operators",
                );
            }
            Op::QMul(_) => {
                put(operand(0).shape != operand(1).shape, "multiply: broadcast");
                put(node.operands[0] == node.operands[1], "multiply: one value twice");
                let gated = matches!(graph.node(node.operands[1]).op, Op::Table(_));
                put(
                    gated && distance(graph, node.operands[0], node.operands[1]) == Some(3),
                    "multiply: squeeze and excitation",
                );
            }
            Op::Table(_) => put(true, "table"),
            Op::QArgMax(argmax) => {
                put(argmax.last, "argmax: last of equals");
                put(!argmax.last, "argmax: first of equals");
            }
            Op::TopPeaks(_) => {
                put(node.operands.len() == 1, "top peaks: alone");
                put(node.operands.len() > 1, "top peaks: with maps");
            }
            Op::Concat(_) => {
                put(node.operands.len() == 2, "concat: two");
                put(node.operands.len() == 3, "concat: three");
                let distinct: BTreeSet<&NodeId> = node.operands.iter().collect();
                put(distinct.len() < node.operands.len(), "concat: one value twice");
            }
            Op::Slice(Slice { steps, .. }) => {
                put(node.ty.shape[3] < operand(0).shape[3], "slice: channels");
                put(node.ty.shape[1..3] != operand(0).shape[1..3], "slice: space");
                put(steps.iter().any(|&step| step > 1), "slice: steps");
            }
            Op::Select(Select { channels }) => {
                let inputs = operand(0).shape[3];
                let mut sorted = channels.clone();
                sorted.sort_unstable();
                sorted.dedup();
                put(sorted.len() == inputs && channels.len() == inputs && sorted != *channels, "select: interleaved");
                put(channels.len() < inputs, "select: less");
                put(channels.len() > inputs, "select: more");
            }
            Op::Pad(Pad { before, after, .. }) => {
                put(true, "pad");
                put(before[3] + after[3] > 0, "pad: channels");
            }
            Op::Resize(resize) => {
                put(resize.factors != [1, 1], "resize");
                put(resize.borders != Borders::default(), "borders");
            }
            Op::Reshape(Reshape { shape }) => {
                put(true, if shape.len() == 2 { "reshape: flat" } else { "reshape: image" })
            }
            _ => {}
        }
    }
    found
}

/// The longest path from one node to another, in operators.
fn distance(graph: &Graph, from: NodeId, to: NodeId) -> Option<usize> {
    if from == to {
        return Some(0);
    }
    let operands = graph.node(to).operands.iter();
    operands.filter_map(|&operand| distance(graph, from, operand)).max().map(|length| length + 1)
}
