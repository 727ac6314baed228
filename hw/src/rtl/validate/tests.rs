//! Every promise broken once.

use super::validate;
use crate::rtl::build::{Builder, branch, set, when};
use crate::rtl::engine::{Pairing, Step};
use crate::rtl::expr::{add, and, not};
use crate::rtl::{
    Channel, Design, Endpoint, EngineShape, Expr, MemoryStyle, ModuleId, Multiplier, NofM, ParallelTaps, Products,
    Reduce, SignalId, SignalKind, Statement, TopPort, Ty,
};

/// A register stage with an engine, a pipeline over a ROM and a memory beside it.
fn design() -> Design {
    let mut b = Builder::new("stage", "All there is.");
    let input = b.input("in", Ty::signed(8));
    let output = b.output("out", Ty::signed(8));
    b.ready(input, not(output.valid));
    let memory = b.memory("store", Ty::signed(8), 16);
    let word = b.data_register("word", Ty::signed(8));
    let at = b.register("at", Ty::unsigned(4), 0);
    let rom = b.rom("table", Ty::signed(8), (0..16).collect());
    let (pipeline, parameters) = b.pipeline("look", &[("x", Ty::unsigned(4))]);
    b.next_stage(pipeline);
    let found = b.stage(pipeline, "found", Expr::Rom(rom, Box::new(parameters[0].into())));
    let shape = EngineShape {
        large_from: None,
        word: Ty::signed(8),
        rows: 2,
        columns: 2,
        groups: 1,
        image_rows: 2,
        kernel: [2, 2],
        dilations: [1, 1],
        leaves: [true; 2],
        pad_value: 0,
        parallel: ParallelTaps::All,
        reduce: dense(1, 4),
        accumulator: Ty::signed(16),
        steps: 1,
    };
    let (engine, valid, result) = b.engine("sum", shape, vec![1, -1, 2, 3]);
    let step = Step {
        ring: Expr::Const(0),
        row: Expr::Const(0),
        column: Expr::Const(0),
        group: Expr::Const(0),
        tap: Expr::Const(0),
        address: Expr::Const(0),
        last: Expr::Const(1),
    };
    let statements = vec![
        when(
            and(input.valid, not(output.valid)),
            vec![
                set(output.valid, 1),
                set(output.data, input.data),
                Statement::Write { memory, address: at.into(), data: input.data.into() },
                Statement::Fill {
                    engine,
                    row: Expr::Const(0),
                    column: Expr::Const(0),
                    group: Expr::Const(0),
                    data: input.data.into(),
                },
                Statement::Launch { pipeline, arguments: vec![at.into()] },
            ],
        ),
        when(and(output.valid, output.ready), vec![set(output.valid, 0)]),
        branch(valid, vec![set(at, Expr::Lane(result, 0))], vec![set(at, add(at, found))]),
        Statement::Read { memory, address: at.into(), into: word },
        Statement::Issue { engine, step },
    ];
    let port = |name: &str| TopPort { name: name.to_owned(), ty: Ty::signed(8), beats: 4 };
    let channel = |name: &str, from, to| Channel { name: name.to_owned(), ty: Ty::signed(8), from, to };
    Design {
        name: "top".to_owned(),
        modules: vec![b.finish(statements)],
        channels: vec![
            channel("a", Endpoint::Top(0), Endpoint::Port(ModuleId(0), 0)),
            channel("b", Endpoint::Port(ModuleId(0), 0), Endpoint::Top(0)),
        ],
        inputs: vec![port("x")],
        outputs: vec![port("y")],
        ..Design::default()
    }
}

fn signal(design: &Design, name: &str) -> SignalId {
    let position = design.modules[0].signals.iter().position(|signal| signal.name == name);
    SignalId(position.expect("a signal of that name") as u32)
}

fn refuses(what: &str, damage: impl FnOnce(&mut Design)) {
    let mut damaged = design();
    damage(&mut damaged);
    let errors = validate(&damaged).expect_err(what);
    assert!(errors.iter().any(|error| error.contains(what)), "{what}: {errors:?}");
}

#[test]
fn the_whole_design_is_valid() {
    assert_eq!(validate(&design()), Ok(()));
}

#[test]
fn channels() {
    refuses("end of no channel", |design| drop(design.channels.pop()));
    refuses("end of 2 channels", |design| {
        let mut copy = design.channels[0].clone();
        copy.name = "c".to_owned();
        design.channels.push(copy);
    });
    refuses("which does not exist", |design| design.channels[0].from = Endpoint::Top(3));
    refuses("carries i9", |design| design.channels[0].ty = Ty::signed(9));
    refuses("kind channel are called `a`", |design| design.channels[1].name = "a".to_owned());
    refuses("against the order", |design| {
        design.channels[0].from = Endpoint::Port(ModuleId(0), 0);
    });
    refuses("frames without beats", |design| design.inputs[0].beats = 0);
}

#[test]
fn signals_and_ports() {
    refuses("kind name are called `at`", |design| design.modules[0].signals[0].name = "at".to_owned());
    refuses("impossible type", |design| design.modules[0].signals[1].ty.bits = 65);
    refuses("depends on more than registers", |design| {
        let valid = design.modules[0].inputs[0].valid;
        let ready = design.modules[0].inputs[0].ready;
        design.modules[0].signals[ready.0 as usize].kind = SignalKind::Wire(valid.into());
    });
    refuses("not a bit register that resets to 0", |design| {
        let valid = design.modules[0].outputs[0].valid;
        design.modules[0].signals[valid.0 as usize].kind = SignalKind::Register { reset: Some(1) };
    });
    refuses("or its reset value", |design| {
        let at = signal(design, "at");
        design.modules[0].signals[at.0 as usize].kind = SignalKind::Register { reset: Some(16) };
    });
    refuses("`in_tready` cannot be read here", |design| {
        let ready = design.modules[0].inputs[0].ready;
        design.modules[0].signals[ready.0 as usize].kind = SignalKind::Wire(ready.into());
    });
    refuses("never has a value", |design| {
        design.modules[0].statements.retain(|statement| !matches!(statement, Statement::Read { .. }));
    });
}

#[test]
fn expressions() {
    let with = |value: Expr| {
        move |design: &mut Design| {
            let at = signal(design, "at");
            design.modules[0].statements[2] = set(at, value);
        }
    };
    let at = signal(&design(), "at");
    let parameter = signal(&design(), "look_x");
    let wide = || Expr::Shl(Box::new(at.into()), 60);
    refuses("a value of 65 bits", with(add(wide(), 1)));
    refuses("cannot be read here", with(parameter.into()));
    refuses("does not exist", with(SignalId(99).into()));
    refuses("lane 3", with(Expr::Lane(at, 3)));
    refuses("where one bit is needed", with(not(at)));
    refuses("empty range", with(Expr::Clamp(Box::new(at.into()), 2, 1)));
    refuses("a ROM is read inside", with(Expr::Rom(crate::rtl::MemoryId(1), Box::new(at.into()))));
    refuses("a shift by", with(Expr::ShrBy(Box::new(at.into()), Box::new(Expr::Const(-1)))));
}

#[test]
fn statements() {
    refuses("twice on one path", |design| {
        let at = signal(design, "at");
        design.modules[0].statements.push(set(at, 0));
    });
    refuses("exactly one statement", |design| drop(design.modules[0].statements.pop()));
    refuses("takes other arguments", |design| {
        let launch = Statement::Launch { pipeline: crate::rtl::PipelineId(0), arguments: Vec::new() };
        design.modules[0].statements.push(launch);
    });
    refuses("is written but is no RAM", |design| {
        let memory = crate::rtl::MemoryId(1);
        design.modules[0].statements.push(Statement::Write { memory, address: Expr::Const(0), data: Expr::Const(0) });
    });
    refuses("takes words of a memory and other values", |design| {
        let word = signal(design, "word");
        let statements = std::mem::take(&mut design.modules[0].statements);
        design.modules[0].statements = vec![when(Expr::Const(1), vec![set(word, 0)])];
        design.modules[0].statements.extend(statements);
    });
}

#[test]
fn memories_and_engines() {
    refuses("16 values for 15 words", |design| design.modules[0].memories[1].depth = 15);
    refuses("which is no i4", |design| design.modules[0].memories[1].word = Ty::signed(4));
    refuses("too small for its window", |design| design.modules[0].engines[0].shape.rows = 1);
    refuses("pad value 128", |design| design.modules[0].engines[0].shape.pad_value = 128);
    refuses("do not fill 1 words of 4", |design| design.modules[0].engines[0].weights = vec![1; 5]);
    refuses("needs more than 2 bits", |design| design.modules[0].engines[0].shape.reduce = dense(1, 2));
    refuses("1 lanes for 2 accumulators", |design| design.modules[0].engines[0].shape.reduce = dense(2, 4));
    refuses("cannot share multipliers in pairs", |design| {
        let Reduce::Dense { products, .. } = &mut design.modules[0].engines[0].shape.reduce else { return };
        products.multiplier = Multiplier::Paired;
    });
    refuses("there is no pattern 2:4 for words of i8", |design| {
        let Reduce::Dense { pattern, .. } = &mut design.modules[0].engines[0].shape.reduce else { return };
        *pattern = Some(NofM { kept: 2, of: 4 });
    });
}

/// A dense engine of one address.
fn dense(outputs: u32, weight_bits: u32) -> Reduce {
    let products = Products {
        weight_bits,
        addresses: 1,
        multiplier: Multiplier::Single,
        pairing: Pairing::separate(Ty::signed(8), weight_bits),
        chain: 1,
        memory: MemoryStyle::Distributed,
        loaded: None,
    };
    Reduce::Dense { outputs, pattern: None, products }
}

#[test]
fn weights_keep_to_their_pattern() {
    // Two outputs of a run of four: each alone keeps to 1:4, together they need 2:4.
    let engine = |multiplier: Multiplier, kept: u8| {
        let products = Products {
            weight_bits: 4,
            addresses: 1,
            multiplier,
            pairing: Pairing::separate(Ty::signed(8), 4),
            chain: 1,
            memory: MemoryStyle::Distributed,
            loaded: None,
        };
        let pattern = Some(NofM { kept, of: 4 });
        let reduce = Reduce::Dense { outputs: 2, pattern, products };
        let shape = EngineShape {
            large_from: None,
            word: Ty::signed(8).by(4),
            rows: 1,
            columns: 1,
            groups: 1,
            image_rows: 1,
            kernel: [1, 1],
            dilations: [1, 1],
            leaves: [true; 2],
            pad_value: 0,
            parallel: ParallelTaps::One,
            reduce,
            accumulator: Ty::signed(16),
            steps: 1,
        };
        let mut b = Builder::new("engines", "");
        b.engine("engine", shape, vec![0, 5, 0, 0, 0, 0, 0, -3]);
        let module = b.finish(Vec::new());
        let mut errors = Vec::new();
        super::geometry(&module, &module.engines[0], &mut errors);
        errors
    };
    assert_eq!(engine(Multiplier::Single, 1), Vec::<String>::new());
    assert_eq!(engine(Multiplier::Paired, 2), Vec::<String>::new());
    assert_eq!(engine(Multiplier::Paired, 1), ["its weights do not keep to the pattern 1:4"]);
}
