//! Engines of every kind against a direct computation of what their documentation says.

mod support;

use lutweave_hw::family::{self, HardMultiplier};
use lutweave_hw::rtl::build::{Builder, Level, advance, branch, by_counter, set, when};
use lutweave_hw::rtl::engine::{Pairing, Step};
use lutweave_hw::rtl::expr::{and, not};
use lutweave_hw::rtl::harness::{Stimulus, Trace};
use lutweave_hw::rtl::{
    Design, EngineShape, Expr, MemoryStyle, Multiplier, NofM, ParallelTaps, Products, Reduce, Statement, Ty,
};
use lutweave_verilog::Simulator;

/// An engine that sees a whole image, and windows over it.
#[derive(Clone, Debug)]
struct Case {
    shape: EngineShape,
    weights: Vec<i16>,
    stride: [u32; 2],
    pad: [u32; 2],
}

impl Case {
    fn outputs(&self) -> [u32; 2] {
        let extent = |axis: usize, size: u32| {
            let span = (self.shape.kernel[axis] - 1) * self.shape.dilations[axis] + 1;
            (size + 2 * self.pad[axis] - span) / self.stride[axis] + 1
        };
        [extent(0, self.shape.image_rows), extent(1, self.shape.columns)]
    }

    fn taps(&self) -> (u32, u32) {
        (self.shape.taps(), self.shape.tap_steps())
    }

    /// What window `(y, x)` must give.
    fn expected(&self, image: &[i32], y: u32, x: u32) -> Vec<i32> {
        let shape = &self.shape;
        let lanes = shape.word.lanes;
        let (taps, steps) = self.taps();
        let element = |group: u32, tap: u32, lane: u32| {
            let (i, j) = (tap / shape.kernel[1], tap % shape.kernel[1]);
            let row = i64::from(y * self.stride[0] + i * shape.dilations[0]) - i64::from(self.pad[0]);
            let column = i64::from(x * self.stride[1] + j * shape.dilations[1]) - i64::from(self.pad[1]);
            if row < 0 || row >= i64::from(shape.image_rows) || column < 0 || column >= i64::from(shape.columns) {
                return shape.pad_value;
            }
            let word = (row as u32 * shape.columns + column as u32) * shape.groups + group;
            i64::from(image[(word * lanes + lane) as usize])
        };
        let terms = |accumulator: u32| {
            let mut terms = Vec::new();
            for group in 0..shape.groups {
                for step in 0..steps {
                    let address = group * steps + step;
                    for tap in 0..taps {
                        let number = step * taps + tap;
                        match &shape.reduce {
                            Reduce::Dense { outputs, .. } => {
                                for lane in 0..lanes {
                                    let at = ((address * outputs + accumulator) * taps + tap) * lanes + lane;
                                    terms.push(i64::from(self.weights[at as usize]) * element(group, number, lane));
                                }
                            }
                            Reduce::Depthwise { .. } => {
                                let at = (address * taps + tap) * lanes + accumulator;
                                terms.push(i64::from(self.weights[at as usize]) * element(group, number, accumulator));
                            }
                            Reduce::Max | Reduce::Sum => terms.push(element(group, number, accumulator)),
                        }
                    }
                }
            }
            terms
        };
        let accumulators = shape.outputs();
        let reduce = |accumulator: u32| match shape.reduce {
            Reduce::Max => terms(accumulator).into_iter().max().expect("terms"),
            Reduce::Dense { .. } | Reduce::Depthwise { .. } | Reduce::Sum => terms(accumulator).into_iter().sum(),
        };
        (0..accumulators).map(|accumulator| reduce(accumulator) as i32).collect()
    }

    /// Fills the image, then gives one window after the other, waiting for each result.
    fn design(&self) -> Design {
        let shape = &self.shape;
        let mut b = Builder::new("windows", "Windows of one image.");
        let input = b.input("in", shape.word);
        let accumulators = shape.outputs();
        let output = b.output("out", shape.accumulator.by(accumulators));
        let full = b.register("full", Ty::BIT, 0);
        let waiting = b.register("waiting", Ty::BIT, 0);
        b.ready(input, not(full));
        let (engine, valid, result) = b.engine("reduce", *shape, self.weights.clone());
        let (_, steps) = self.taps();
        let [rows, columns] = self.outputs();

        let fill_row = Level { on_wrap: vec![set(full, 1)], ..Level::new(&mut b, "fill_row", shape.image_rows) };
        let fill_column = Level::new(&mut b, "fill_column", shape.columns);
        let fill_group = Level::new(&mut b, "fill_group", shape.groups);
        let fill = Statement::Fill {
            engine,
            row: fill_row.value(),
            column: fill_column.value(),
            group: fill_group.value(),
            data: input.data.into(),
        };
        let mut take = vec![fill];
        take.extend(advance(vec![fill_group, fill_column, fill_row]));

        let row = Level { on_wrap: vec![set(full, 0)], ..Level::new(&mut b, "row", rows) };
        let column = Level::new(&mut b, "column", columns);
        let group = Level { on_wrap: vec![set(waiting, 1)], ..Level::new(&mut b, "group", shape.groups) };
        let tap = Level::new(&mut b, "tap", steps);
        let corner = |axis: usize, value: &Expr, count: u32| {
            let corners: Vec<i64> =
                (0..count).map(|at| i64::from(at * self.stride[axis]) - i64::from(self.pad[axis])).collect();
            by_counter(value, &corners)
        };
        let rings: Vec<i64> = (0..rows)
            .map(|at| (i64::from(at * self.stride[0]) - i64::from(self.pad[0])).rem_euclid(i64::from(shape.rows)))
            .collect();
        let address: Vec<i64> = (0..shape.groups).map(|group| i64::from(group * steps)).collect();
        let addressed = !matches!(shape.reduce, Reduce::Max | Reduce::Sum);
        let address = lutweave_hw::rtl::expr::add(by_counter(&group.value(), &address), tap.value());
        let step = Step {
            ring: by_counter(&row.value(), &rings),
            row: corner(0, &row.value(), rows),
            column: corner(1, &column.value(), columns),
            group: group.value(),
            tap: tap.value(),
            address: if addressed { address } else { Expr::Const(0) },
            last: and(group.at_end(), tap.at_end()),
        };
        let mut go = vec![Statement::Issue { engine, step }];
        go.extend(advance(vec![tap, group, column, row]));
        let statements = vec![
            when(and(input.valid, not(full)), take),
            branch(
                valid,
                vec![set(output.valid, 1), set(output.data, result)],
                vec![when(and(output.valid, output.ready), vec![set(output.valid, 0), set(waiting, 0)])],
            ),
            when(and(full, not(waiting)), go),
        ];
        let beats = [u64::from(shape.image_rows * shape.columns * shape.groups), u64::from(rows * columns)];
        let family = family::find(if shape.chain() > 1 { "xc7" } else { "ecp5" }).expect("a family");
        Design { family, ..support::alone(b.finish(statements), &beats) }
    }

    fn stimulus(&self, seed: u32, frames: usize) -> (Stimulus, Vec<Vec<Vec<i32>>>) {
        let shape = &self.shape;
        let mut random = Random(seed);
        let words = (shape.image_rows * shape.columns * shape.groups * shape.word.lanes) as usize;
        let (lo, hi) = shape.word.bounds();
        let images: Vec<Vec<i32>> =
            (0..frames).map(|_| (0..words).map(|_| random.between(lo, hi) as i32).collect()).collect();
        let [rows, columns] = self.outputs();
        let answer = |image: &Vec<i32>| {
            let windows = (0..rows).flat_map(|y| (0..columns).map(move |x| (y, x)));
            vec![windows.flat_map(|(y, x)| self.expected(image, y, x)).collect()]
        };
        let expected = images.iter().map(answer).collect();
        (Stimulus { frames: images.into_iter().map(|image| vec![image]).collect(), ..Stimulus::default() }, expected)
    }
}

struct Random(u32);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    fn between(&mut self, lo: i64, hi: i64) -> i64 {
        lo + i64::from(self.next()) % (hi - lo + 1)
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.next() as usize % choices.len()]
    }
}

/// How the products of a case are formed, and how many outputs a dense one has.
#[derive(Clone, Copy, Debug)]
struct Formed {
    multiplier: Multiplier,
    pattern: Option<NofM>,
    outputs: u32,
}

impl Formed {
    fn plainly(outputs: u32) -> Self {
        Self { multiplier: Multiplier::Single, pattern: None, outputs }
    }
}

/// A case of a kind (0 dense, 1 depthwise, 2 maximum, 3 sum) and mode, the rest by chance.
fn case(kind: u32, parallel: ParallelTaps, formed: Formed, seed: u32) -> Case {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9) | 1);
    for _ in 0..4 {
        random.next();
    }
    let kernel = random.one_of(&[[1, 1], [3, 3], [1, 3], [3, 1], [2, 2], [2, 3], [1, 5]]);
    let dilations = random.one_of(&[[1, 1], [1, 1], [2, 2], [2, 1], [1, 3]]);
    let span = [(kernel[0] - 1) * dilations[0] + 1, (kernel[1] - 1) * dilations[1] + 1];
    let pad = [random.next() % span[0], random.next() % span[1]];
    let image_rows = span[0] + random.next() % 4;
    let columns = span[1] + random.next() % 5;
    let groups = 1 + random.next() % 3;
    let word = random.one_of(&[Ty::signed(8), Ty::unsigned(8), Ty::signed(4), Ty::unsigned(4)]);
    let lanes = random.one_of(&[1, 2, 3, 4]);
    let word = word.by(formed.pattern.map_or(lanes, |pattern| u32::from(pattern.of) * (1 + lanes % 2)));
    let weight_bits = match formed.multiplier {
        Multiplier::Paired => 2 + random.next() % 3,
        Multiplier::Single | Multiplier::Logic => 2 + random.next() % 8,
    };
    let products = Products {
        weight_bits,
        addresses: 1,
        multiplier: formed.multiplier,
        pairing: Pairing::separate(word, weight_bits),
        chain: 1,
        memory: MemoryStyle::Distributed,
        loaded: None,
    };
    let (reduce, accumulator) = match kind {
        0 => (Reduce::Dense { outputs: formed.outputs, pattern: formed.pattern, products }, Ty::signed(27)),
        1 => (Reduce::Depthwise { products }, Ty::signed(24)),
        2 => (Reduce::Max, word.lane()),
        _ => (Reduce::Sum, Ty { bits: 15, ..word.lane() }),
    };
    let (lo, hi) = word.bounds();
    let mut shape = EngineShape {
        large_from: None,
        word,
        rows: image_rows,
        columns,
        groups,
        image_rows,
        kernel,
        dilations,
        leaves: [true; 2],
        pad_value: random.between(lo, hi),
        parallel,
        reduce,
        accumulator,
        steps: 1,
    };
    let depth = groups * shape.tap_steps();
    shape.steps = depth;
    if let Reduce::Dense { products, .. } | Reduce::Depthwise { products } = &mut shape.reduce {
        products.addresses = depth;
        products.memory = random.one_of(&[MemoryStyle::Distributed, MemoryStyle::Block]);
    }
    let symmetric = random.next().is_multiple_of(2);
    let terms = shape.terms();
    if let Reduce::Dense { products, .. } | Reduce::Depthwise { products } = &mut shape.reduce {
        let widths = random.one_of(&[[18, 18], [22, 18], [27, 18]]);
        let hard = HardMultiplier { widths, chain: random.one_of(&[1, 2, 3]) };
        *products = products.arranged(word, symmetric, terms, hard);
    }
    let weights = weights(&shape, symmetric, &mut random);
    Case { shape, weights, stride: random.one_of(&[[1, 1], [2, 2], [1, 2]]), pad }
}

/// Random weights, often extreme, that keep to the shape's pattern and fill it as a rule; none is the least of its width,
/// if they are to be symmetric.
fn weights(shape: &EngineShape, symmetric: bool, random: &mut Random) -> Vec<i16> {
    let Some(products) = shape.products() else { return Vec::new() };
    let (lo, hi) = Ty::signed(products.weight_bits).bounds();
    let lo = lo + i64::from(symmetric);
    let count = products.addresses * shape.weights_per_address();
    let mut weights: Vec<i16> =
        (0..count).map(|_| if random.next().is_multiple_of(4) { lo } else { random.between(lo, hi) } as i16).collect();
    if let Some(NofM { kept, of }) = shape.pattern() {
        let shared = shape.outputs_per_element() as usize;
        for outputs in weights.chunks_mut(shared * shape.elements() as usize) {
            for run in 0..shape.elements() as usize / usize::from(of) {
                let mut places: Vec<usize> = (0..usize::from(of)).collect();
                while places.len() > usize::from(kept) {
                    let zero = places.remove(random.next() as usize % places.len());
                    for output in outputs.chunks_mut(shape.elements() as usize) {
                        output[run * usize::from(of) + zero] = 0;
                    }
                }
            }
        }
    }
    weights
}

fn check(case: &Case, simulator: Simulator) -> Option<Vec<Trace>> {
    let design = case.design();
    let (plain, expected) = case.stimulus(77, 2);
    let stalled = Stimulus { stall_seed: 5, ..plain.clone() };
    let restarted = Stimulus { reset_after: Some(expected[0][0].len() as u64 + 37), ..plain.clone() };
    let traces = support::traces(&design, simulator, &[plain, stalled, restarted])?;
    for trace in &traces {
        assert_eq!(trace.frames, expected, "{simulator} on {case:?}");
    }
    assert_eq!(traces[0], traces[2], "a reset restores the start: {case:?}");
    Some(traces)
}

const MODES: [ParallelTaps; 3] = [ParallelTaps::One, ParallelTaps::Row, ParallelTaps::All];

#[test]
fn every_kind_and_mode_in_icarus() {
    for kind in 0..4 {
        for (mode, parallel) in MODES.into_iter().enumerate() {
            for variant in 0..4 {
                let formed = Formed::plainly(1 + variant % 3);
                let case = case(kind, parallel, formed, 1 + kind * 100 + mode as u32 * 10 + variant);
                check(&case, Simulator::Icarus);
            }
        }
    }
}

/// Every way to form dense products but the plain one, with seeds.
fn formed() -> Vec<(Formed, u32)> {
    let mut all = Vec::new();
    for multiplier in [Multiplier::Single, Multiplier::Paired, Multiplier::Logic] {
        for pattern in std::iter::once(None).chain(NofM::ALL.map(Some)) {
            let outputs = if multiplier == Multiplier::Paired { 2 + 2 * (all.len() as u32 % 2) } else { 2 };
            if multiplier != Multiplier::Single || pattern.is_some() {
                all.push((Formed { multiplier, pattern, outputs }, 900 + 7 * all.len() as u32));
            }
        }
    }
    all
}

#[test]
fn every_way_to_form_products_in_icarus() {
    for (formed, seed) in formed() {
        for (mode, parallel) in MODES.into_iter().enumerate() {
            check(&case(0, parallel, formed, seed + mode as u32), Simulator::Icarus);
        }
    }
    for variant in 0..3 {
        let logic = Formed { multiplier: Multiplier::Logic, ..Formed::plainly(1) };
        check(&case(1, MODES[variant as usize], logic, 1200 + variant), Simulator::Icarus);
    }
}

#[test]
fn ways_to_form_products_in_verilator() {
    let pattern = Some(NofM { kept: 2, of: 4 });
    for (number, multiplier) in [Multiplier::Single, Multiplier::Paired, Multiplier::Logic].into_iter().enumerate() {
        let case = case(0, ParallelTaps::Row, Formed { multiplier, pattern, outputs: 2 }, 1300 + number as u32);
        let (verilator, icarus) = (check(&case, Simulator::Verilator), check(&case, Simulator::Icarus));
        if verilator.is_some() && icarus.is_some() {
            assert_eq!(verilator, icarus);
        }
    }
}

#[test]
fn no_tool_complains_of_any_way_to_form_products() {
    for (formed, seed) in formed() {
        let case = case(0, MODES[seed as usize % 3], formed, seed);
        let (stimulus, frames) = case.stimulus(3, 1);
        support::lint(&case.design(), &stimulus, &Trace { frames, ..Trace::default() });
    }
    let logic = Formed { multiplier: Multiplier::Logic, ..Formed::plainly(1) };
    let case = case(1, ParallelTaps::All, logic, 1400);
    let (stimulus, frames) = case.stimulus(3, 1);
    support::lint(&case.design(), &stimulus, &Trace { frames, ..Trace::default() });
}

#[test]
fn verilator_agrees_with_icarus_in_every_cycle() {
    for (kind, parallel) in [(0, ParallelTaps::All), (1, ParallelTaps::Row), (2, ParallelTaps::One)] {
        let case = case(kind, parallel, Formed::plainly(2), 500 + kind);
        let (verilator, icarus) = (check(&case, Simulator::Verilator), check(&case, Simulator::Icarus));
        if verilator.is_some() && icarus.is_some() {
            assert_eq!(verilator, icarus);
        }
    }
}

#[test]
fn no_tool_complains() {
    for kind in 0..4 {
        for (mode, parallel) in MODES.into_iter().enumerate() {
            for variant in 0..2 {
                let formed = Formed::plainly(1 + variant % 3);
                let case = case(kind, parallel, formed, 1 + kind * 100 + mode as u32 * 10 + variant);
                let (stimulus, frames) = case.stimulus(3, 1);
                support::lint(&case.design(), &stimulus, &Trace { frames, ..Trace::default() });
            }
        }
    }
}
