//! Graphs for the rules about quantization and where elements go.

use crate::Case;
use crate::random::Maker;
use lutweave_ir::op::{Concat, Dequantize, MaxPool, Quantize, Resize, Slice, Window};
use lutweave_ir::{Element, Graph, NodeId, Op, Quantization};

pub const CASES: &[Case] = &[
    Case {
        name: "quantization after movement",
        rules: &["quantize-max-pool", "quantize-box", "quantize-concat"],
        build: quantized,
    },
    Case {
        name: "movement after dequantization",
        rules: &["dequantize-max-pool", "dequantize-box", "dequantize-concat"],
        build: dequantized,
    },
    Case { name: "quantization twice", rules: &["requantize-widened"], build: twice },
];

fn moved(m: &mut Maker, x: NodeId, other: NodeId) -> NodeId {
    let window = Window { kernel: [2, 2], strides: [1, 2], dilations: [1, 1], pads: [0, 1, 1, 0] };
    let shape = m.shape(x);
    match m.random.from(0, 3) {
        0 => m.add(Op::MaxPool(MaxPool { window }), &[x]),
        1 => m.add(Op::Resize(Resize::by([2, 1])), &[x]),
        2 => {
            let sizes = vec![1, shape[1] - 1, shape[2].div_ceil(2), shape[3]];
            m.add(Op::Slice(Slice { starts: vec![0, 1, 0, 0], sizes, steps: vec![1, 1, 2, 1] }), &[x])
        }
        _ => m.add(Op::Concat(Concat { axis: 3 }), &[x, other]),
    }
}

fn quantized(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let (x, y) = (m.input(&[1, 3, 4, 2]), m.input(&[1, 3, 4, 1]));
    let z = moved(&mut m, x, y);
    let quantization = Quantization { scale: 0.03, zero_point: 4 };
    let q = m.add(Op::Quantize(Quantize { element: Element::I8, quantization }), &[z]);
    m.finish(&[q])
}

fn dequantized(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.integers(&[1, 3, 4, 2], Element::I8, 3);
    let other = m.random.pick(&[(Element::I8, 3), (Element::I8, 3), (Element::I8, 5), (Element::U8, 3)]);
    let y = m.integers(&[1, 3, 4, 1], other.0, other.1);
    let (x, y) = (m.add(Op::Dequantize(Dequantize), &[x]), m.add(Op::Dequantize(Dequantize), &[y]));
    let z = moved(&mut m, x, y);
    m.finish(&[z])
}

fn twice(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let scale = m.random.pick(&[0.5, 0.5, 0.3, 1e38]);
    let from = Quantization { scale, zero_point: 2 };
    let ty = lutweave_ir::TensorType::int([1, 60], m.random.pick(&[Element::I4, Element::I8])).quantized(from);
    let q = m.graph.input("q", ty);
    let x = m.add(Op::Dequantize(Dequantize), &[q]);
    let to = Quantization { scale: m.random.pick(&[scale, scale, 0.25]), zero_point: m.random.pick(&[2, 0, 100]) };
    let wide = m.add(Op::Quantize(Quantize { element: Element::I8, quantization: to }), &[x]);
    let y = m.add(Op::Dequantize(Dequantize), &[wide]);
    m.finish(&[y])
}
