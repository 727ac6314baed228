//! Engines of every kind against the reference.

use crate::support::{chain, compare};
use lutweave_hw::rtl::build::{Builder, Level, advance, branch, set, when};
use lutweave_hw::rtl::engine::{Pairing, Step};
use lutweave_hw::rtl::expr::{Expr, add, all, and, lt, mux, not, or, sub};
use lutweave_hw::rtl::{
    EngineId, EngineShape, MemoryStyle, Module, Multiplier, NofM, ParallelTaps, Products, Reduce, Statement, Ty,
};
use proptest::prelude::*;

#[derive(Clone, Debug)]
struct Case {
    word: Ty,
    columns: u32,
    rows: u32,
    /// Rows of the ring beyond the image's.
    spare: u32,
    groups: u32,
    kernel: [u32; 2],
    dilations: [u32; 2],
    pads: [u32; 2],
    pad_value: i64,
    parallel: ParallelTaps,
    /// 0: dense, 1: depthwise, 2: maximum, 3: sum.
    kind: u32,
    outputs: u32,
    weight_bits: u32,
    multiplier: Multiplier,
    pattern: Option<NofM>,
    /// Bytes by which weights are loaded.
    loaded: Option<u32>,
    seed: u64,
}

impl Case {
    fn reduce(&self, addresses: u32) -> Reduce {
        let Self { weight_bits, multiplier, outputs, pattern, loaded, .. } = *self;
        let pairing = Pairing::separate(self.word, weight_bits);
        let products =
            Products { weight_bits, addresses, multiplier, pairing, chain: 1, memory: MemoryStyle::Block, loaded };
        match self.kind {
            0 => Reduce::Dense { outputs, pattern, products },
            1 => Reduce::Depthwise { products },
            2 => Reduce::Max,
            _ => Reduce::Sum,
        }
    }

    /// Random weights that keep to the pattern.
    fn weights(&self, shape: &EngineShape) -> Vec<i16> {
        let mut state = self.seed | 1;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state
        };
        let count = shape.weights_per_address() * shape.weight_depth();
        let mut weights: Vec<i16> = (0..count).map(|_| ((next() as i64) >> (64 - self.weight_bits)) as i16).collect();
        if let Some(NofM { kept, of }) = shape.pattern() {
            let shared = shape.outputs_per_element() * shape.elements();
            for outputs in weights.chunks_mut(shared as usize) {
                // Both outputs of a pair keep the same places of a run.
                let start = (next() >> 40) as usize;
                for (at, weight) in outputs.iter_mut().enumerate() {
                    let run = at % shape.elements() as usize / usize::from(of);
                    if (at + start + run) % usize::from(of) >= usize::from(kept) {
                        *weight = 0;
                    }
                }
            }
        }
        weights
    }

    /// Takes a frame, then issues all windows one after another, and gives each result away.
    fn module(&self) -> Module {
        let Self { word, columns, rows, groups, kernel, dilations, pads, .. } = *self;
        let ring_rows = rows + self.spare;
        let tap_steps = match self.parallel {
            ParallelTaps::One => kernel[0] * kernel[1],
            ParallelTaps::Row => kernel[0],
            ParallelTaps::All => 1,
        };
        let dense = self.kind == 0;
        let terms = i64::from(kernel[0] * kernel[1] * if dense { groups * word.lanes } else { 1 });
        let largest = ((1i64 << word.bits) * terms) << (if self.kind < 2 { self.weight_bits } else { 0 });
        let accumulator = if self.kind == 2 { word.lane() } else { Ty::range(-largest, largest) };
        let mut b = Builder::new("engine", "engine under test");
        let input = b.input("in", word);
        let shape = EngineShape {
            large_from: None,
            word,
            rows: ring_rows,
            columns,
            groups,
            image_rows: rows,
            kernel,
            dilations,
            leaves: [true; 2],
            pad_value: self.pad_value,
            parallel: self.parallel,
            reduce: self.reduce(groups * tap_steps),
            accumulator,
            steps: tap_steps * if dense { groups } else { 1 },
        };
        let constant = if shape.is_loaded() { Vec::new() } else { self.weights(&shape) };
        let (engine, valid, result) = b.engine("engine", shape, constant);
        let outputs = if dense { self.outputs } else { word.lanes };
        let output = b.output("out", accumulator.by(outputs));
        let filling = b.register("filling", Ty::BIT, i64::from(!shape.is_loaded()));
        let loading = self.loading(&mut b, engine, &shape, set(filling, 1));
        let waiting = b.register("waiting", Ty::BIT, 0);
        let start = b.register("start", Ty::holding(u64::from(ring_rows - 1)), 0);
        b.ready(input, filling.into());
        let wrapped =
            |value: Expr| mux(lt(value.clone(), i64::from(ring_rows)), value.clone(), sub(value, i64::from(ring_rows)));
        let mut fill_levels = [("fill_group", groups), ("fill_column", columns), ("fill_row", rows)]
            .map(|(name, count)| Level::new(&mut b, name, count));
        fill_levels[2].on_wrap.push(set(filling, 0));
        let [fill_group, fill_column, fill_row] = fill_levels;
        let mut filled = vec![Statement::Fill {
            engine,
            row: wrapped(add(start, fill_row.value())),
            column: fill_column.value(),
            group: fill_group.value(),
            data: input.data.into(),
        }];
        filled.extend(advance(vec![fill_group, fill_column, fill_row]));

        let tap = Level::new(&mut b, "tap", tap_steps);
        let group = Level::new(&mut b, "group", groups);
        let column = Level::new(&mut b, "column", columns + pads[1]);
        let mut row = Level::new(&mut b, "row", rows + pads[0]);
        row.on_wrap.push(set(filling, 1));
        row.on_wrap.push(set(start, wrapped(add(start, i64::from(rows)))));
        let top = b.wire("top", sub(row.value(), i64::from(pads[0])));
        let ring = add(add(start, top), i64::from(ring_rows));
        let ring = b.wire("ring", wrapped(wrapped(ring)));
        let address =
            b.wire("address", add(lutweave_hw::rtl::expr::mul(group.value(), i64::from(tap_steps)), tap.value()));
        let last = if dense { and(tap.at_end(), group.at_end()) } else { tap.at_end() };
        let last = b.wire("last", last);
        let step = Step {
            ring: ring.into(),
            row: top.into(),
            column: sub(column.value(), i64::from(pads[1])),
            group: group.value(),
            tap: tap.value(),
            address: if self.kind < 2 { address.into() } else { 0.into() },
            last: last.into(),
        };
        let mut issued = vec![Statement::Issue { engine, step }, when(last, vec![set(waiting, 1)])];
        issued.extend(advance(vec![tap, group, column, row]));
        let beats = if dense { 1 } else { groups };
        assert!(beats > 0);
        let mut statements = loading;
        statements.extend(vec![
            when(all([filling.into(), input.valid.into()]), filled),
            when(and(not(filling), not(waiting)), issued),
            branch(
                valid,
                vec![set(output.data, result), set(output.valid, 1)],
                vec![when(and(output.valid, or(output.ready, 0)), vec![set(output.valid, 0), set(waiting, 0)])],
            ),
        ]);
        b.finish(statements)
    }

    /// Loads all weights from a memory, then does something.
    fn loading(&self, b: &mut Builder, engine: EngineId, shape: &EngineShape, then: Statement) -> Vec<Statement> {
        let Some(bytes) = self.loaded else { return Vec::new() };
        let beat = Ty::unsigned(8).by(bytes);
        let image = shape.load_image(&self.weights(shape)).iter().map(|&byte| i64::from(byte)).collect();
        let rom = b.rom("weights", beat, image);
        let loads = shape.weight_banks().depth * shape.loads_per_address();
        let read = b.register("read", Ty::holding(loads.into()), 0);
        let data = b.data_register("load_data", beat);
        let known = b.register("load_known", Ty::BIT, 0);
        let part = Level::new(b, "load_part", shape.loads_per_address());
        let mut address = Level::new(b, "load_address", shape.weight_banks().depth);
        address.on_wrap.push(then);
        let mut loaded =
            vec![Statement::Load { engine, address: address.value(), part: part.value(), data: data.into() }];
        loaded.extend(advance(vec![part, address]));
        vec![
            branch(
                lt(read, i64::from(loads)),
                vec![
                    Statement::Read { memory: rom, address: read.into(), into: data },
                    set(read, add(read, 1)),
                    set(known, 1),
                ],
                vec![set(known, 0)],
            ),
            when(known, loaded),
        ]
    }

    fn check(&self) {
        let beats_in = u64::from(self.rows * self.columns * self.groups);
        let windows = u64::from((self.rows + self.pads[0]) * (self.columns + self.pads[1]));
        let beats_out = windows * u64::from(if self.kind == 0 { 1 } else { self.groups });
        compare(&chain(vec![self.module()], beats_in, beats_out), 2, self.seed);
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let word = (
        1u32..=20,
        prop_oneof![3 => Just(8u32), 2 => Just(4), 1 => Just(1), 1 => Just(9), 1 => Just(16)],
        any::<bool>(),
    )
        .prop_map(|(lanes, bits, signed)| Ty { lanes, bits, signed });
    let parallel = prop_oneof![Just(ParallelTaps::One), Just(ParallelTaps::Row), Just(ParallelTaps::All)];
    let weight_bits = prop_oneof![3 => Just(8u32), 1 => Just(4), 1 => Just(9), 1 => Just(16)];
    let shape = (1u32..5, 1u32..5, 0u32..3, 1u32..4, 1u32..4, 1u32..4, 1u32..3, 1u32..3, 0u32..4, 0u32..6);
    let pattern = prop_oneof![2 => Just(None), 1 => (0..NofM::ALL.len()).prop_map(|index| Some(NofM::ALL[index]))];
    let multiplier = prop_oneof![Just(Multiplier::Single), Just(Multiplier::Paired), Just(Multiplier::Logic)];
    let loaded = prop_oneof![2 => Just(None), 1 => (4u32..17).prop_map(Some)];
    let formed = (weight_bits, pattern, multiplier, loaded);
    (word, shape, parallel, 0u32..4, 1u32..40, formed, any::<u64>(), any::<i64>()).prop_map(
        |(word, shape, parallel, kind, outputs, formed, seed, pad)| {
            let (weight_bits, pattern, multiplier, loaded) = formed;
            let loaded = loaded.filter(|_| kind < 2);
            let pattern = pattern.filter(|_| kind == 0 && loaded.is_none());
            let paired = multiplier == Multiplier::Paired && kind == 0;
            let multiplier = if paired || multiplier == Multiplier::Logic { multiplier } else { Multiplier::Single };
            let word = pattern.map_or(word, |pattern: NofM| word.by(word.lanes.next_multiple_of(pattern.of.into())));
            let outputs = if paired { outputs.next_multiple_of(2) } else { outputs };
            let (columns, rows, spare, groups, height, width, down, right, above, before) = shape;
            let (least, most) = word.bounds();
            // Enough ring rows for the kernel.
            let spare = spare.max(((height - 1) * down + 1).saturating_sub(rows));
            Case {
                word,
                columns,
                rows,
                spare,
                groups,
                kernel: [height, width],
                dilations: [down, right],
                pads: [above.min(rows + spare), before],
                pad_value: least + pad.rem_euclid(most - least + 1),
                parallel,
                kind,
                outputs,
                weight_bits,
                multiplier,
                pattern,
                loaded,
                seed,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    #[test]
    fn engines_agree_with_the_reference(case in cases()) {
        case.check();
    }
}
