//! Graphs for the rules about integer layers.

use crate::Case;
use crate::affine_cases::plain;
use crate::random::Maker;
use lutweave_ir::op::{ArgMax, Dequantize, MaxPool, Pad, QAdd, QAveragePool, QConv, QMul, Table, Window};
use lutweave_ir::{Element, Graph, NodeId, Op, Quantization, Requantize, TensorType};

pub const CASES: &[Case] = &[
    Case { name: "tables", rules: &["table-table", "table-identity"], build: tables },
    Case { name: "table after a layer", rules: &["table-clamp", "table-max-pool"], build: table_after_layer },
    Case { name: "padded integer convolution", rules: &["qconv-pad"], build: padded },
    Case { name: "class decision on integers", rules: &["dequantize-argmax"], build: decision },
    Case {
        name: "layout of integers",
        rules: &["transpose-unary", "reshape-unary", "transpose-transpose"],
        build: layout,
    },
];

const HALF: Quantization = Quantization { scale: 0.5, zero_point: 0 };

fn typed(m: &mut Maker, op: Op, operands: &[NodeId], quantization: Quantization) -> NodeId {
    let types = m.graph.types(operands);
    let ty = op.infer(&types).expect("cases are well-typed").quantized(quantization);
    m.graph.add_typed("q", op, operands, ty).expect("cases are well-typed")
}

fn range(element: Element) -> (i32, i32) {
    let (lo, hi) = element.range().expect("an integer element");
    (lo as i32, hi as i32)
}

/// A random, an identical, a clamping or a rising table.
fn table(m: &mut Maker, from: Element, to: Element) -> Table {
    let ((lo, hi), (to_lo, to_hi)) = (range(from), range(to));
    let kind = m.random.from(0, 4);
    let entry = |m: &mut Maker, value: i32| match kind {
        0 => value.clamp(to_lo, to_hi),
        1 => value.clamp(0, 4).clamp(to_lo, to_hi),
        2 => (value / 2).clamp(to_lo, to_hi),
        3 => value.clamp(-3, 5).clamp(to_lo, to_hi),
        _ => m.random.from(0, to_hi as usize) as i32,
    };
    let entries: Vec<i32> = (lo..=hi).map(|value| entry(m, value)).collect();
    Table { entries: entries.into(), element: to }
}

/// The largest of integers that stand for reals, some of which are infinite.
fn decision(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let element = m.random.pick(&[Element::I8, Element::U8, Element::I4]);
    let quantization = Quantization { scale: m.random.pick(&[0.5, 0.03, 1e38]), zero_point: 0 };
    let shape = [1, 4, 4, if m.random.flip() { 4 } else { 5 }];
    let q = m.graph.input("q", TensorType::int(shape, element).quantized(quantization));
    let x = m.add(Op::Dequantize(Dequantize), &[q]);
    let axis = m.random.from(1, 3);
    let argmax = ArgMax { axis, keep: m.random.flip(), last: m.random.flip() };
    let y = m.add(Op::ArgMax(argmax), &[x]);
    m.finish(&[y])
}

fn tables(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let elements = [Element::I8, Element::U8, Element::I4];
    let from = m.random.pick(&elements);
    let mut x = m.integers(&[1, 2, 3, 4], from, 0);
    let mut element = from;
    for _ in 0..2 {
        let next = if m.random.flip() { element } else { m.random.pick(&elements) };
        let table = table(&mut m, element, next);
        let quantization = m.random.pick(&[HALF, HALF, Quantization { scale: 0.25, zero_point: 0 }]);
        x = typed(&mut m, Op::Table(table), &[x], quantization);
        element = next;
    }
    m.finish(&[x])
}

fn requantize(m: &mut Maker, multiplier: u16, shift: u8) -> Requantize {
    let (lo, hi) = m.random.pick(&[(-8, 7), (-2, 7), (0, 3)]);
    Requantize { multipliers: vec![multiplier], shifts: vec![shift], zero_point: m.random.from(0, 1) as i32, lo, hi }
}

fn window(kernel: [usize; 2]) -> Window {
    Window { kernel, strides: [1, 1], dilations: [1, 1], pads: [0; 4] }
}

fn layer(m: &mut Maker, x: NodeId) -> NodeId {
    let element = Element::I4;
    match m.random.from(0, 3) {
        0 => {
            let c = m.channels(x);
            let ty = TensorType::int([3, 2, 2, c], Element::I4);
            let w = m.random.tensor(&ty);
            let w = m.graph.constant("w", w, ty);
            let ty = TensorType::int([3], Element::I8);
            let b = m.random.tensor(&ty);
            let b = m.graph.constant("b", b, TensorType::int([3], Element::I32));
            let requantize = requantize(m, 40, 8);
            let conv = QConv { geometry: plain(1), pad_value: 0, requantize, element };
            typed(m, Op::QConv(conv), &[x, w, b], HALF)
        }
        1 => {
            let requantize = requantize(m, 64, 8);
            let pool = QAveragePool { window: window([2, 2]), pad_value: 0, bias: 0, requantize, element };
            typed(m, Op::QAveragePool(pool), &[x], HALF)
        }
        2 => {
            let requantize = requantize(m, 20, 8);
            let mul = QMul { zero_points: [1, 0], requantize, element };
            typed(m, Op::QMul(mul), &[x, x], HALF)
        }
        _ => {
            let (lo, hi) = m.random.pick(&[(-8, 7), (-2, 7), (0, 3)]);
            let add = QAdd { multipliers: [9, -4], offset: 3, shift: 3, zero_point: 0, lo, hi, element };
            typed(m, Op::QAdd(add), &[x, x], HALF)
        }
    }
}

fn table_after_layer(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.integers(&[1, 3, 4, 2], Element::I4, 0);
    let mut y = layer(&mut m, x);
    if m.random.flip() {
        let pads = m.random.pick(&[[0; 4], [1, 0, 0, 1]]);
        y = m.add(Op::MaxPool(MaxPool { window: Window { pads, ..window([2, 2]) } }), &[y]);
    }
    let element = m.random.pick(&[Element::I4, Element::I4, Element::I8]);
    let table = table(&mut m, Element::I4, element);
    let quantization = m.random.pick(&[HALF, HALF, Quantization { scale: 0.25, zero_point: 0 }]);
    let y = typed(&mut m, Op::Table(table), &[y], quantization);
    m.finish(&[y])
}

fn padded(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let zero_point = m.random.from(0, 3) as i32;
    let x = m.integers(&[1, 3, 3, 2], Element::U8, zero_point);
    let value = if m.random.from(0, 2) > 0 { zero_point } else { zero_point + 1 };
    let pads = [m.random.from(0, 2), m.random.from(0, 1)];
    let op = Op::Pad(Pad { before: vec![0, pads[0], pads[1], 0], after: vec![0, 1, pads[1], 0], value: value as f32 });
    let y = m.add(op, &[x]);
    let ty = TensorType::int([2, 2, 2, 2], Element::I8);
    let w = m.random.tensor(&ty);
    let w = m.graph.constant("w", w, ty);
    let ty = TensorType::int([2], Element::I8);
    let b = m.random.tensor(&ty);
    let b = m.graph.constant("b", b, TensorType::int([2], Element::I32));
    let requantize = Requantize { multipliers: vec![700, 300], shifts: vec![18, 17], zero_point: 3, lo: -128, hi: 127 };
    let mut geometry = plain(1);
    geometry.pads = [0, 1, 1, 0];
    let conv = QConv { geometry, pad_value: zero_point, requantize, element: Element::I8 };
    let y = typed(&mut m, Op::QConv(conv), &[y, w, b], HALF);
    m.finish(&[y])
}

fn layout(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.integers(&[1, 2, 3, 4], Element::I4, 0);
    let y = if m.random.flip() { m.shuffled(x).0 } else { m.reshape(x, &[1, 6, 4]) };
    let table = table(&mut m, Element::I4, Element::I8);
    let y = typed(&mut m, Op::Table(table), &[y], HALF);
    let y = if m.shape(y).len() == 4 { m.shuffled(y).0 } else { m.reshape(y, &[24]) };
    m.finish(&[y])
}
