//! Small modules against the reference.

use crate::support::{chain, compare};
use lutweave_hw::rtl::build::{Builder, Level, add_modulo, advance, branch, set, when};
use lutweave_hw::rtl::expr::{Expr, add, all, and, eq, lt, mul, mux, not, or, sub};
use lutweave_hw::rtl::{Module, Statement, Ty};

/// A FIFO: a memory with a registered read in front of the output register.
fn queue(name: &str, word: Ty, depth: u32) -> Module {
    let mut b = Builder::new(name, "queue");
    let input = b.input("in", word);
    let output = b.output("out", word);
    let memory = b.memory("memory", word, depth);
    let pointer = Ty::holding(u64::from(depth - 1));
    let write = b.register("write", pointer, 0);
    let read = b.register("read", pointer, 0);
    let count = b.register("count", Ty::holding(u64::from(depth)), 0);
    let ready = b.ready(input, lt(count, i64::from(depth)));
    let push = b.wire("push", and(input.valid, ready));
    let free = b.wire("free", or(not(output.valid), output.ready));
    let pop = b.wire("pop", and(free, lt(0, count)));
    b.finish(vec![
        when(
            push,
            vec![
                Statement::Write { memory, address: write.into(), data: input.data.into() },
                set(write, add_modulo(write, 1, depth)),
            ],
        ),
        when(
            pop,
            vec![
                Statement::Read { memory, address: read.into(), into: output.data },
                set(read, add_modulo(read, 1, depth)),
            ],
        ),
        when(free, vec![set(output.valid, pop)]),
        set(count, sub(add(count, push), pop)),
    ])
}

/// Joins `factor` beats into one, through a shift register.
fn widen(name: &str, lane: Ty, factor: u32) -> Module {
    let mut b = Builder::new(name, "width converter");
    let input = b.input("in", lane);
    let output = b.output("out", lane.by(factor));
    let shift = b.data_register("shift", lane.by(factor));
    let mut level = Level::new(&mut b, "filled", factor);
    let full = b.register("full", Ty::BIT, 0);
    let ready = b.ready(input, not(full));
    let take = b.wire("take", and(input.valid, ready));
    let free = or(not(output.valid), output.ready);
    let give = b.wire("give", and(full, free));
    level.on_wrap.push(set(full, 1));
    let kept = Expr::Slice { signal: shift, start: 1, lanes: factor - 1 };
    let mut taken = vec![set(shift, Expr::Join(vec![kept, input.data.into()]))];
    taken.extend(advance(vec![level]));
    b.finish(vec![
        when(take, taken),
        branch(
            give,
            vec![set(output.valid, 1), set(output.data, shift), set(full, 0)],
            vec![when(output.ready, vec![set(output.valid, 0)])],
        ),
    ])
}

/// Splits a beat into its lanes, by a counter.
fn narrow(name: &str, word: Ty) -> Module {
    let mut b = Builder::new(name, "width converter");
    let input = b.input("in", word);
    let output = b.output("out", word.lane());
    let held = b.data_register("held", word);
    let busy = b.register("busy", Ty::BIT, 0);
    let mut level = Level::new(&mut b, "lane", word.lanes);
    let lane = level.value();
    let ready = b.ready(input, not(busy));
    let take = and(input.valid, ready);
    let give = and(busy, or(not(output.valid), output.ready));
    level.on_wrap.push(set(busy, 0));
    let mut given = vec![set(output.valid, 1), set(output.data, Expr::LaneAt(held, Box::new(lane)))];
    given.extend(advance(vec![level]));
    b.finish(vec![
        when(take, vec![set(held, input.data), set(busy, 1)]),
        branch(give, given, vec![when(output.ready, vec![set(output.valid, 0)])]),
    ])
}

/// A pipeline of all kinds of expressions between a queue's credit and an output.
fn datapath(name: &str) -> Module {
    let word = Ty::signed(8).by(4);
    let mut b = Builder::new(name, "datapath");
    let input = b.input("in", word);
    let output = b.output("out", Ty::signed(24).by(4));
    let rom = b.rom("factors", Ty::signed(18).by(4), (0..64).map(|i| (i * i * 37) % 131_072 - 65_536).collect());
    let scalar_rom = b.rom("shifts", Ty::unsigned(6), (0..16).map(|i| (i * 7) % 40).collect());
    let busy = b.register("busy", Ty::BIT, 0);
    let index = b.register("index", Ty::unsigned(4), 5);
    let ready = b.ready(input, not(busy));
    let take = b.wire("take", and(input.valid, ready));
    let (pipe, p) = b.pipeline("pipe", &[("data", word), ("index", Ty::unsigned(4)), ("wide", Ty::unsigned(33))]);
    b.next_stage(pipe);
    let factors = b.stage(pipe, "factors", Expr::Rom(rom, Box::new(p[1].into())));
    let shift = b.stage(pipe, "shift", Expr::Rom(scalar_rom, Box::new(p[1].into())));
    let data = b.stage(pipe, "data", p[0].into());
    let wide = b.stage(pipe, "wide", p[2].into());
    let chosen = b.stage(pipe, "chosen", Expr::LaneAt(p[0], Box::new(Expr::Low(Box::new(p[1].into()), 2))));
    b.next_stage(pipe);
    let products: Vec<Expr> =
        (0..4).map(|lane| mul(Expr::Lane(data, lane), mul(Expr::Lane(factors, lane), wide))).collect();
    let product = b.stage(pipe, "product", Expr::Pack(Ty::signed(60), products));
    let shift = b.stage(pipe, "shift", shift.into());
    let chosen = b.stage(pipe, "chosen", chosen.into());
    b.next_stage(pipe);
    let shifted: Vec<Expr> =
        (0..4).map(|lane| Expr::ShrBy(Box::new(Expr::Lane(product, lane)), Box::new(shift.into()))).collect();
    let shifted = b.stage(pipe, "shifted", Expr::Pack(Ty::signed(60), shifted));
    let chosen = b.stage(pipe, "chosen", chosen.into());
    b.next_stage(pipe);
    let clamped: Vec<Expr> = (0..4)
        .map(|lane| {
            let rounded = Expr::Shr(Box::new(add(Expr::Lane(shifted, lane), 1 << lane)), 1 + lane);
            let clamped = Expr::Clamp(Box::new(rounded), -8_000_000, 8_000_000);
            mux(lt(chosen, 0), sub(clamped.clone(), chosen), clamped)
        })
        .collect();
    let result = b.stage(pipe, "result", Expr::Pack(Ty::signed(24), clamped));
    let valid = b.valid_of(pipe);
    let give = b.wire("give", and(output.valid, output.ready));
    b.finish(vec![
        when(
            take,
            vec![
                Statement::Launch {
                    pipeline: pipe,
                    arguments: vec![
                        input.data.into(),
                        index.into(),
                        add(Expr::Shl(Box::new(index.into()), 28), 123_456_789),
                    ],
                },
                set(index, add(index, 3)),
                set(busy, 1),
            ],
        ),
        branch(
            valid,
            vec![set(output.valid, 1), set(output.data, result)],
            vec![when(give, vec![set(output.valid, 0), set(busy, 0)])],
        ),
    ])
}

/// Two launch statements of one pipeline, a pipeline longer than a flight word, feedback of the
/// result into the next launch.
fn feedback(name: &str, stages: u32) -> Module {
    let ty = Ty::unsigned(16).by(3);
    let mut b = Builder::new(name, "feedback");
    let input = b.input("in", ty);
    let output = b.output("out", ty);
    let (pipe, p) = b.pipeline("pipe", &[("a", ty), ("n", Ty::unsigned(2))]);
    let (mut a, mut n) = (p[0], p[1]);
    for stage in 0..stages {
        b.next_stage(pipe);
        let lanes = (0..3).map(|lane| add(Expr::Lane(a, (lane + 1) % 3), i64::from(stage))).collect();
        a = b.stage(pipe, "a", Expr::Pack(Ty::unsigned(16), lanes));
        n = b.stage(pipe, "n", n.into());
    }
    let valid = b.valid_of(pipe);
    let busy = b.register("busy", Ty::BIT, 0);
    let ready = b.ready(input, not(busy));
    let take = and(input.valid, ready);
    let launch = |a: Expr, n: Expr| Statement::Launch { pipeline: pipe, arguments: vec![a, n] };
    b.finish(vec![
        when(take, vec![launch(input.data.into(), 0.into()), set(busy, 1)]),
        when(
            valid,
            vec![branch(
                lt(n, 2),
                vec![launch(
                    Expr::Join(vec![Expr::Slice { signal: a, start: 1, lanes: 2 }, Expr::Lane(a, 0)]),
                    Expr::Low(Box::new(add(n, 1)), 2),
                )],
                vec![set(output.data, a), set(output.valid, 1)],
            )],
        ),
        when(all([output.valid.into(), output.ready.into()]), vec![set(output.valid, 0), set(busy, 0)]),
    ])
}

#[test]
fn queues_hold_back_and_pass_on() {
    let word = Ty::unsigned(8).by(3);
    for depth in [1, 2, 5, 16] {
        compare(&chain(vec![queue("a", word, depth), queue("b", word, 3)], 50, 50), 3, 11 + u64::from(depth));
    }
    for ty in [Ty::signed(1), Ty::signed(9).by(17), Ty::unsigned(32), Ty::signed(40).by(2), Ty::unsigned(4).by(300)] {
        compare(&chain(vec![queue("a", ty, 4)], 20, 20), 2, 5);
    }
}

#[test]
fn width_converters_keep_order() {
    for lane in [Ty::unsigned(8), Ty::signed(12), Ty::signed(33)] {
        let modules = vec![widen("join", lane, 6), queue("middle", lane.by(6), 3), narrow("split", lane.by(6))];
        compare(&chain(modules, 24, 24), 3, 23);
    }
}

#[test]
fn pipelines_deliver_after_their_latency() {
    compare(&chain(vec![datapath("path")], 40, 40), 2, 99);
    for stages in [1, 3, 63, 64, 65, 130] {
        compare(&chain(vec![feedback("loop", stages)], 9, 9), 2, 7);
    }
}

/// Registers that exchange values in one cycle, scalars and vectors, also across branches.
#[test]
fn statements_read_old_values() {
    let ty = Ty::signed(8).by(5);
    let mut b = Builder::new("swap", "exchange");
    let input = b.input("in", ty);
    let output = b.output("out", ty);
    let ready = b.ready(input, or(not(output.valid), eq(0, 1)));
    let take = b.wire("take", and(input.valid, ready));
    let [v, w] = ["v", "w"].map(|name| b.data_register(name, ty));
    let [x, y, z] = ["x", "y", "z"].map(|name| b.register(name, Ty::signed(8), 3));
    let sum = b.wire("sum", add(Expr::Lane(v, 2), x));
    let reversed = b.wire("reversed", Expr::Pack(Ty::signed(8), (0..5).map(|i| Expr::Lane(w, 4 - i)).collect()));
    let module = b.finish(vec![
        when(
            take,
            vec![
                set(v, reversed),
                set(w, v),
                set(x, y),
                branch(lt(x, y), vec![set(y, add(x, z)), set(z, sum)], vec![set(z, sub(x, Expr::Lane(w, 1)))]),
                set(
                    output.data,
                    Expr::Mux(
                        Box::new(lt(z, x)),
                        Box::new(Expr::Join(vec![Expr::Slice { signal: v, start: 1, lanes: 4 }, z.into()])),
                        Box::new(input.data.into()),
                    ),
                ),
                set(output.valid, 1),
            ],
        ),
        when(and(output.valid, output.ready), vec![set(output.valid, 0), set(w, input_like(ty, v))]),
    ]);
    compare(&chain(vec![module], 60, 60), 2, 1234);
}

fn input_like(ty: Ty, v: lutweave_hw::rtl::SignalId) -> Expr {
    Expr::Pack(ty.lane(), (0..ty.lanes).map(|lane| mul(Expr::Lane(v, lane), 3)).collect())
}
