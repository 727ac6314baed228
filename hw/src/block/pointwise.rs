//! Blocks that compute element by element: table, sum and product.

use super::fifo::CreditFifo;
use super::requantize::{Parameters, Requantizer, lane, vector};
use super::skid_buffer::SkidBuffer;
use crate::rtl::build::{Builder, Level, advance, branch, set, when};
use crate::rtl::expr::{Expr, add, and, mul, not, sub};
use crate::rtl::{Module, SignalId, Statement, Ty};
use lutweave_ir::op::{QAdd, QMul};

/// A function by table: `entries[x - smallest x]`, one copy of the table a lane.
pub fn table(name: &str, input: Ty, output: Ty, lanes: u32, entries: &[i32]) -> Module {
    let mut b = Builder::new(name, format!("A function of {input} by table."));
    let stream = b.input("in", input.by(lanes));
    let (pipeline, arguments) = b.pipeline("lookup", &[("x", input.by(lanes))]);
    // Tables are addressed by the bit pattern: negative values are in the upper half.
    let half = entries.len() / 2;
    let rotated: Vec<i64> = if input.signed {
        entries[half..].iter().chain(&entries[..half]).map(|&entry| i64::from(entry)).collect()
    } else {
        entries.iter().map(|&entry| i64::from(entry)).collect()
    };
    b.next_stage(pipeline);
    let values: Vec<SignalId> = (0..lanes)
        .map(|index| {
            let rom = b.rom(&format!("table_{index}"), output, rotated.clone());
            let address = Expr::Low(Box::new(lane(&b, arguments[0], index)), input.bits);
            b.stage(pipeline, &format!("y_{index}"), Expr::Rom(rom, Box::new(address)))
        })
        .collect();
    b.next_stage(pipeline);
    let joined = vector(&b, values.into_iter().map(Expr::Signal).collect());
    let result = b.stage_typed(pipeline, "y", output.by(lanes), joined);
    let queue = CreditFifo::new(&mut b, "out", output.by(lanes), 8);
    let ready = b.ready(stream, queue.has_free(1));
    let take = b.wire("take", and(stream.valid, ready));
    let valid = b.valid_of(pipeline);
    let mut statements = vec![when(take, vec![Statement::Launch { pipeline, arguments: vec![stream.data.into()] }])];
    statements.extend(queue.serve(take.into(), 1, &valid.into(), result.into()));
    b.finish(statements)
}

/// Sizes of a block with two operands.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// Lane types of the operands.
    pub inputs: [Ty; 2],
    /// Lane type of the result.
    pub output: Ty,
    /// Lanes of all streams.
    pub lanes: u32,
    /// Beats of a frame of the first operand.
    pub beats: u32,
    /// Where the second operand is one pixel for all positions: its beats.
    pub broadcast: Option<u32>,
    /// Width of the wider operand of a hardware multiplier.
    pub multiplier_width: u32,
}

/// The two operands, side by side: registers that are valid together.
struct Pair {
    take: SignalId,
    operands: [SignalId; 2],
    statements: Vec<Statement>,
}

/// Brings two operands together where `proceed` (over registers) allows. A broadcast operand is
/// kept for a frame.
fn pair(b: &mut Builder, sizes: &Operands, proceed: &Expr) -> Pair {
    let [first, second] = sizes.inputs.map(|ty| ty.by(sizes.lanes));
    let a = SkidBuffer::new(b, "in0", first);
    let c = SkidBuffer::new(b, "in1", second);
    let Some(words) = sizes.broadcast else {
        let take = b.wire("take", and(and(a.valid, c.valid), proceed.clone()));
        let mut statements = a.serve(take);
        statements.extend(c.serve(take));
        return Pair { take, operands: [a.data, c.data], statements };
    };
    let kept = b.memory("kept", second, words.max(2));
    let loaded = b.register("loaded", Ty::BIT, 0);
    let load = b.wire("load", and(c.valid, not(loaded)));
    let mut load_word = Level::new(b, "load_word", words);
    let load_value = load_word.value();
    load_word.on_wrap.push(set(loaded, 1));
    let read = b.wire("read", and(and(a.valid, loaded), proceed.clone()));
    let word = Level::new(b, "word", words);
    let word_value = word.value();
    let mut pixel = Level::new(b, "pixel", sizes.beats / words);
    pixel.on_wrap.push(set(loaded, 0));
    let take = b.register("paired", Ty::BIT, 0);
    let left = b.data_register("left", first);
    let right = b.data_register("right", second);
    let mut loading = vec![Statement::Write { memory: kept, address: load_value, data: c.data.into() }];
    loading.extend(advance(vec![load_word]));
    let mut reading =
        vec![set(left, a.data), Statement::Read { memory: kept, address: word_value, into: right }, set(take, 1)];
    reading.extend(advance(vec![word, pixel]));
    let mut statements = a.serve(read);
    statements.extend(c.serve(load));
    // Loading happens only while nothing is loaded, reading only while something is.
    statements.push(branch(read, reading, vec![set(take, 0), when(load, loading)]));
    Pair { take, operands: [left, right], statements }
}

/// Linear combination of two tensors.
pub fn sum(name: &str, sizes: &Operands, op: &QAdd) -> Module {
    let mut b = Builder::new(name, "Sum of two tensors of different scales.");
    let lanes = sizes.lanes;
    let queue = CreditFifo::new(&mut b, "out", sizes.output.by(lanes), 8);
    let pair = pair(&mut b, sizes, &queue_proceed(&queue, sizes));
    let types = sizes.inputs.map(|ty| ty.by(lanes));
    let (pipeline, arguments) = b.pipeline("sum", &[("x0", types[0]), ("x1", types[1])]);
    b.next_stage(pipeline);
    let scaled: Vec<SignalId> = (0..2)
        .map(|operand| {
            let factor = i64::from(op.multipliers[operand]);
            let values = (0..lanes).map(|index| mul(lane(&b, arguments[operand], index), factor)).collect();
            let value = vector(&b, values);
            b.stage(pipeline, &format!("scaled_{operand}"), value)
        })
        .collect();
    b.next_stage(pipeline);
    let rounding = if op.shift == 0 { 0 } else { 1i64 << (op.shift - 1) };
    let values = (0..lanes)
        .map(|index| {
            let total = add(lane(&b, scaled[0], index), lane(&b, scaled[1], index));
            add(total, i64::from(op.offset) + rounding)
        })
        .collect();
    let value = vector(&b, values);
    let total = b.stage(pipeline, "total", value);
    b.next_stage(pipeline);
    let values = (0..lanes)
        .map(|index| {
            let shifted = Expr::Shr(Box::new(lane(&b, total, index)), u32::from(op.shift));
            let moved = add(shifted, i64::from(op.zero_point));
            Expr::Clamp(Box::new(moved), i64::from(op.lo), i64::from(op.hi))
        })
        .collect();
    let value = vector(&b, values);
    let result = b.stage_typed(pipeline, "y", sizes.output.by(lanes), value);
    let valid = b.valid_of(pipeline);
    let mut statements = pair.statements;
    let arguments = pair.operands.map(Expr::Signal).to_vec();
    statements.push(when(pair.take, vec![Statement::Launch { pipeline, arguments }]));
    statements.extend(queue.serve(pair.take.into(), 1, &valid.into(), result.into()));
    b.finish(statements)
}

/// Product of two tensors.
pub fn product(name: &str, sizes: &Operands, op: &QMul) -> Module {
    let mut b = Builder::new(name, "Product of two tensors.");
    let lanes = sizes.lanes;
    let queue = CreditFifo::new(&mut b, "out", sizes.output.by(lanes), 16);
    let pair = pair(&mut b, sizes, &queue_proceed(&queue, sizes));
    let types = sizes.inputs.map(|ty| ty.by(lanes));
    let (pipeline, arguments) = b.pipeline("product", &[("x0", types[0]), ("x1", types[1])]);
    b.next_stage(pipeline);
    let centred: Vec<SignalId> = (0..2)
        .map(|operand| {
            let zero = i64::from(op.zero_points[operand]);
            let values = (0..lanes).map(|index| sub(lane(&b, arguments[operand], index), zero)).collect();
            let value = vector(&b, values);
            b.stage(pipeline, &format!("centred_{operand}"), value)
        })
        .collect();
    b.next_stage(pipeline);
    let values = (0..lanes).map(|index| mul(lane(&b, centred[0], index), lane(&b, centred[1], index))).collect();
    let value = vector(&b, values);
    let products = b.stage(pipeline, "xy", value);
    let accumulator = b.ty(&products.into());
    let parameters = Parameters { biases: &[0], requantize: &op.requantize, channels: 1, in_logic: false };
    let requantizer = Requantizer::new(&mut b, &parameters, accumulator, sizes.output, sizes.multiplier_width);
    let valid = b.valid_of(pipeline);
    let mut statements = pair.statements;
    let arguments = pair.operands.map(Expr::Signal).to_vec();
    statements.push(when(pair.take, vec![Statement::Launch { pipeline, arguments }]));
    statements.push(when(valid, vec![requantizer.launch(products.into(), Expr::Const(0))]));
    statements.extend(queue.serve(pair.take.into(), 1, &requantizer.valid.into(), requantizer.result.into()));
    b.finish(statements)
}

/// Room for one more pair, and for the one that a broadcast may have on the way.
fn queue_proceed(queue: &CreditFifo, sizes: &Operands) -> Expr {
    queue.has_free(if sizes.broadcast.is_some() { 2 } else { 1 })
}
