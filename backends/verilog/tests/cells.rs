//! Registers, memories, ROMs, pipelines and every expression against hand-written expectations.

mod support;

use lutweave_hw::rtl::build::{Builder, set, when};
use lutweave_hw::rtl::expr::{add, and, eq, lt, mul, mux, not, or, sub};
use lutweave_hw::rtl::harness::{Stimulus, Trace};
use lutweave_hw::rtl::validate::validate;
use lutweave_hw::rtl::{Design, Expr, MemoryStyle, SignalId, Statement, Ty};
use lutweave_testing::tools;
use lutweave_verilog::Simulator;

fn boxed(expr: impl Into<Expr>) -> Box<Expr> {
    Box::new(expr.into())
}

/// Two signed 8-bit lanes in; a pipeline computes `results` of them, each wrapped to 24 bits.
fn arithmetic(results: impl Fn(SignalId) -> Vec<Expr>) -> Design {
    let mut b = Builder::new("arithmetic", "Expressions of two numbers.");
    let input = b.input("x", Ty::signed(8).by(2));
    let count = results(SignalId(0)).len() as u32;
    let output = b.output("y", Ty::signed(24).by(count));
    let busy = b.register("busy", Ty::BIT, 0);
    b.ready(input, not(busy));
    let (pipeline, parameters) = b.pipeline("compute", &[("pair", Ty::signed(8).by(2))]);
    let values = results(parameters[0]);
    b.next_stage(pipeline);
    let stages: Vec<SignalId> = values
        .into_iter()
        .enumerate()
        .map(|(number, value)| b.stage_typed(pipeline, &format!("r{number}"), Ty::signed(24), value))
        .collect();
    b.next_stage(pipeline);
    let packed = Expr::Pack(Ty::signed(24), stages.into_iter().map(Expr::Signal).collect());
    let packed = b.stage_typed(pipeline, "packed", Ty::signed(24).by(count), packed);
    let valid = b.valid_of(pipeline);
    let statements = vec![
        when(
            and(input.valid, not(busy)),
            vec![set(busy, 1), Statement::Launch { pipeline, arguments: vec![input.data.into()] }],
        ),
        when(valid, vec![set(output.valid, 1), set(output.data, packed)]),
        when(and(output.valid, output.ready), vec![set(output.valid, 0), set(busy, 0)]),
    ];
    support::alone(b.finish(statements), &[1, 1])
}

#[test]
fn expressions_compute_what_they_say() {
    let design = arithmetic(|pair| {
        let (a, b) = (Expr::Lane(pair, 0), Expr::Lane(pair, 1));
        let low = Expr::Low(boxed(b.clone()), 3);
        vec![
            add(a.clone(), b.clone()),
            sub(a.clone(), b.clone()),
            mul(a.clone(), b.clone()),
            add(mul(a.clone(), b.clone()), mul(a.clone(), 23)),
            mul(low.clone(), a.clone()),
            mul(sub(a.clone(), 7), -3),
            Expr::Shl(boxed(a.clone()), 5),
            Expr::Shr(boxed(add(a.clone(), b.clone())), 2),
            sub(100, Expr::ShrBy(boxed(mul(a.clone(), b.clone())), boxed(low.clone()))),
            Expr::Clamp(boxed(sub(a.clone(), b.clone())), -20, 100),
            mux(lt(a.clone(), b.clone()), a.clone(), low.clone()),
            and(lt(low.clone(), 8), or(eq(a.clone(), b.clone()), lt(b.clone(), -3))),
            Expr::LaneAt(pair, boxed(Expr::Low(boxed(a.clone()), 1))),
            Expr::Low(boxed(mul(a.clone(), a.clone())), 9),
            not(lt(sub(a, b), 0)),
        ]
    });
    assert_eq!(validate(&design), Ok(()));
    let wrap = |value: i64| ((value << 40) >> 40) as i32;
    let expected = |a: i64, b: i64| {
        let low = b & 7;
        let values = [
            a + b,
            a - b,
            a * b,
            a * b + a * 23,
            low * a,
            (a - 7) * -3,
            a << 5,
            (a + b) >> 2,
            100 - ((a * b) >> low),
            (a - b).clamp(-20, 100),
            if a < b { a } else { low },
            i64::from(a == b || b < -3),
            if a & 1 == 1 { b } else { a },
            (a * a) & 511,
            i64::from(a - b >= 0),
        ];
        values.map(wrap).to_vec()
    };
    let pairs = [(0, 0), (-128, -128), (127, -128), (-128, 127), (5, 5), (-1, -4), (77, 13), (-56, 94)];
    let stimulus = Stimulus {
        frames: pairs.iter().map(|&(a, b)| vec![vec![a as i32, b as i32]]).collect(),
        ..Stimulus::default()
    };
    let frames: Vec<_> = pairs.iter().map(|&(a, b)| vec![expected(a, b)]).collect();
    for simulator in [Simulator::Icarus, Simulator::Verilator] {
        for trace in support::traces(&design, simulator, std::slice::from_ref(&stimulus)).unwrap_or_default() {
            assert_eq!(trace.frames, frames, "{simulator}");
        }
    }
    support::lint(&design, &stimulus, &Trace { frames, ..Trace::default() });
}

/// A queue of four words, first in, first out.
fn queue(style: MemoryStyle) -> Design {
    let mut b = Builder::new("reg", "A queue whose name is a reserved word.");
    let input = b.input("in", Ty::unsigned(5).by(3));
    let output = b.output("out", Ty::unsigned(5).by(3));
    let (head, tail) = (b.register("head", Ty::unsigned(2), 0), b.register("tail", Ty::unsigned(2), 0));
    let count = b.register("count", Ty::unsigned(3), 0);
    b.ready(input, lt(count, 4));
    let take = b.wire("take", and(input.valid, lt(count, 4)));
    let give = b.wire("give", and(lt(0, count), or(not(output.valid), output.ready)));
    let memory = b.memory("words", Ty::unsigned(5).by(3), 4);
    let mut statements = vec![
        when(
            take,
            vec![Statement::Write { memory, address: tail.into(), data: input.data.into() }, set(tail, add(tail, 1))],
        ),
        Statement::If {
            condition: give.into(),
            then: vec![
                Statement::Read { memory, address: head.into(), into: output.data },
                set(head, add(head, 1)),
                set(output.valid, 1),
            ],
            otherwise: vec![when(output.ready, vec![set(output.valid, 0)])],
        },
    ];
    statements.push(set(count, sub(add(count, take), give)));
    let mut module = b.finish(statements);
    module.memories[0].style = style;
    support::alone(module, &[5, 5])
}

#[test]
fn a_queue_keeps_order_under_stalls() {
    for style in [MemoryStyle::Block, MemoryStyle::Distributed] {
        let design = queue(style);
        assert_eq!(validate(&design), Ok(()));
        let frame = |frame: i32| vec![(0..15).map(|at| (frame * 7 + at * 3) % 32).collect::<Vec<i32>>()];
        let plain = Stimulus { frames: (0..4).map(frame).collect(), ..Stimulus::default() };
        let stimuli = [
            plain.clone(),
            Stimulus { stall_seed: 9, ..plain.clone() },
            Stimulus { reset_after: Some(13), ..plain.clone() },
        ];
        let mut all = Vec::new();
        for simulator in [Simulator::Icarus, Simulator::Verilator] {
            if let Some(traces) = support::traces(&design, simulator, &stimuli) {
                assert!(traces.iter().all(|trace| trace.frames == plain.frames), "{simulator}");
                // A beat is offered in cycle 1, taken, read and given: one per cycle from cycle 3 on.
                assert_eq!(traces[0].first_transfer, 1);
                assert_eq!(traces[0].completions, [7, 12, 17, 22]);
                assert_eq!(traces[0], traces[2]);
                all.push(traces);
            }
        }
        assert!(all.windows(2).all(|pair| pair[0] == pair[1]));
        support::lint(&design, &plain, &Trace { frames: plain.frames.clone(), ..Trace::default() });
    }
}

#[test]
fn a_stuck_design_is_reported() {
    let mut b = Builder::new("stuck", "Takes all, gives nothing.");
    let input = b.input("in", Ty::unsigned(8));
    let output = b.output("out", Ty::unsigned(8));
    b.ready(input, Expr::Const(1));
    let design = support::alone(b.finish(vec![when(output.ready, vec![set(output.data, input.data)])]), &[3, 3]);
    let stimulus = Stimulus { frames: vec![vec![vec![1, 2, 3]]], ..Stimulus::default() };
    if !tools::icarus() {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let error = lutweave_verilog::simulate(&design, &stimulus, Simulator::Icarus, folder.path());
    assert!(matches!(error, Err(lutweave_verilog::SimulationError::Deadlock { .. })), "{error:?}");
}

#[test]
fn equal_modules_are_emitted_once() {
    let mut design = queue(MemoryStyle::Block);
    let mut second = design.modules[0].clone();
    second.name = "second".to_owned();
    design.modules.push(second);
    let middle = lutweave_hw::rtl::Endpoint::Port(lutweave_hw::rtl::ModuleId(0), 0);
    let end = lutweave_hw::rtl::Endpoint::Port(lutweave_hw::rtl::ModuleId(1), 0);
    let mut channel = design.channels[1].clone();
    channel.name = "middle".to_owned();
    (channel.from, channel.to, design.channels[1].from) = (middle, end, end);
    design.channels.push(channel);
    assert_eq!(validate(&design), Ok(()));
    let artefacts = lutweave_verilog::emit(&design);
    let names: Vec<&str> = artefacts.files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["reg_n.v", "reg_top.v"]);
    let stimulus = Stimulus { frames: vec![vec![(0..15).collect()]], ..Stimulus::default() };
    support::lint(&design, &stimulus, &Trace { frames: stimulus.frames.clone(), ..Trace::default() });
}
