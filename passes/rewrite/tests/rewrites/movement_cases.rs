//! Graphs for the rules about layouts, shapes, slices and joins.

use crate::Case;
use crate::random::Maker;
use lutweave_ir::op::{
    ArgMax, Binary, Borders, Concat, Dense, Dequantize, DequantizeWeights, PRelu, Pad, Quantize, ReduceMean, Resize,
    Slice, Softmax, Unary,
};
use lutweave_ir::{Element, Graph, NodeId, Op, Quantization, Tensor, TensorType};

pub const CASES: &[Case] = &[
    Case { name: "transpose after functions", rules: &["hoist-transpose"], build: hoisted },
    Case {
        name: "borders and quantization",
        rules: &["quantize-pad", "dequantize-pad", "hoist-reshape"],
        build: quantized_border,
    },
    Case { name: "dequantization and quantization", rules: &["quantize-dequantize"], build: requantized },
    Case { name: "slice of a reshape", rules: &["slice-reshape"], build: reshaped_slice },
    Case { name: "pads and joins of reshaped images", rules: &["pad-reshape", "concat-reshape"], build: reshaped_join },
    Case {
        name: "transpose of a transpose",
        rules: &["transpose-transpose", "transpose-identity", "transpose-reshape-unit"],
        build: transposes,
    },
    Case {
        name: "pointwise after a transpose",
        rules: &["transpose-unary", "transpose-affine", "transpose-prelu"],
        build: pointwise,
    },
    Case { name: "two transposed operands", rules: &["transpose-binary"], build: binary },
    Case { name: "quantization after a transpose", rules: &["transpose-unary", "reshape-unary"], build: quantized },
    Case { name: "joined transposes", rules: &["transpose-concat"], build: joined },
    Case { name: "box of a transpose", rules: &["transpose-box"], build: boxed },
    Case { name: "softmax of a transpose", rules: &["transpose-softmax"], build: softmax },
    Case {
        name: "reduction of a transpose",
        rules: &["transpose-reduce", "mean-average-pool", "mean-of-one"],
        build: reduced,
    },
    Case { name: "matrix product of a transpose", rules: &["transpose-dense"], build: dense },
    Case {
        name: "transposed quantized weights",
        rules: &["transpose-dequantize-weights", "reshape-dequantize-weights"],
        build: weights,
    },
    Case {
        name: "reshapes",
        rules: &["reshape-reshape", "reshape-identity", "reshape-unary", "reshape-affine", "reshape-dense"],
        build: reshapes,
    },
    Case { name: "two reshaped operands", rules: &["reshape-binary"], build: reshaped_operands },
    Case { name: "reshape of a transpose", rules: &["reshape-transpose"], build: reshaped_transpose },
    Case { name: "flattened image", rules: &["flatten-dense"], build: flatten },
    Case { name: "slices", rules: &["slice-slice", "slice-all"], build: slices },
    Case { name: "slice of a join", rules: &["slice-concat"], build: slice_of_join },
    Case { name: "join of slices", rules: &["concat-slices"], build: join_of_slices },
    Case { name: "joins", rules: &["concat-concat", "concat-one"], build: joins },
    Case { name: "pads", rules: &["pad-pad", "pad-nothing", "slice-pad"], build: pads },
    Case { name: "resize", rules: &["resize-one"], build: resize },
];

fn transposes(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = if m.random.flip() { m.image() } else { m.input(&[1, 1, 3, 2]) };
    let (y, first) = m.shuffled(x);
    let y = if m.random.from(0, 2) == 0 {
        let mut back = vec![0; 4];
        first.iter().enumerate().for_each(|(i, &axis)| back[axis] = i);
        m.transpose(y, &back)
    } else {
        m.shuffled(y).0
    };
    m.finish(&[y])
}

fn pointwise(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.image();
    let (y, _) = m.shuffled(x);
    let c = m.channels(y);
    let k = m.constant(&[c]);
    let y = match m.random.from(0, 3) {
        0 => m.unary(Unary::Tanh, y),
        1 => m.binary(Binary::Mul, y, k),
        2 => m.binary(Binary::Add, y, k),
        _ => m.add(Op::PRelu(PRelu), &[y, k]),
    };
    m.finish(&[y])
}

fn binary(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.input(&[1, 3, 2, 3]);
    let (t, permutation) = m.shuffled(x);
    let other = match m.random.from(0, 4) {
        0 => {
            let y = m.input(&[1, 3, 2, 3]);
            m.transpose(y, &permutation)
        }
        1 => {
            let y = m.input(&[1, 3, 2, 3]);
            let y = m.transpose(y, &[0, 1, 2, 3]);
            if m.shape(y) == m.shape(t) { y } else { m.opaque(t) }
        }
        2 => {
            let extent = m.shape(t)[1];
            m.input(&[1, extent, 1, 1])
        }
        3 => {
            let shape = m.shape(t)[2..].to_vec();
            m.constant(&shape)
        }
        _ => m.scalar(3.0),
    };
    let function = m.random.pick(&[Binary::Add, Binary::Mul, Binary::Max, Binary::Sub]);
    let y = if m.random.flip() { m.binary(function, t, other) } else { m.binary(function, other, t) };
    m.finish(&[y])
}

fn quantized(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.input(&[1, 2, 3, 2]);
    let x = if m.random.flip() { m.shuffled(x).0 } else { m.reshape(x, &[1, 6, 2]) };
    let quantization = Quantization { scale: 0.02, zero_point: 3 };
    let q = m.add(Op::Quantize(Quantize { element: Element::I8, quantization }), &[x]);
    let rank = m.shape(q).len();
    let permutation = m.random.permutation(rank);
    let q = m.transpose(q, &permutation);
    let y = m.add(Op::Dequantize(Dequantize), &[q]);
    m.finish(&[y])
}

fn joined(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let (x, y) = (m.input(&[1, 2, 2, 2]), m.input(&[1, 2, 2, 2]));
    let (x, permutation) = m.shuffled(x);
    let y = if m.random.from(0, 2) > 0 { m.transpose(y, &permutation) } else { m.shuffled(y).0 };
    let axis = m.random.from(0, 3);
    if m.shape(x) != m.shape(y) {
        return m.finish(&[x, y]);
    }
    let shape = m.shape(x);
    let k = m.constant(&shape);
    let z = m.add(Op::Concat(Concat { axis }), &[x, y, k]);
    m.finish(&[z])
}

fn random_slice(m: &mut Maker, x: NodeId) -> NodeId {
    let shape = m.shape(x);
    let (mut starts, mut sizes, mut steps) = (Vec::new(), Vec::new(), Vec::new());
    for &extent in &shape {
        let start = m.random.from(0, extent - 1);
        let step = m.random.from(1, 2);
        starts.push(start);
        steps.push(step);
        sizes.push(m.random.from(1, (extent - start).div_ceil(step)));
    }
    m.add(Op::Slice(Slice { starts, sizes, steps }), &[x])
}

fn random_pad(m: &mut Maker, x: NodeId, value: f32) -> NodeId {
    let rank = m.shape(x).len();
    let before = (0..rank).map(|_| m.random.from(0, 1)).collect();
    let after = (0..rank).map(|_| m.random.from(0, 1)).collect();
    m.add(Op::Pad(Pad { before, after, value }), &[x])
}

fn boxed(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.image();
    let (y, _) = m.shuffled(x);
    let y = if m.random.flip() { random_slice(&mut m, y) } else { random_pad(&mut m, y, 0.5) };
    m.finish(&[y])
}

fn softmax(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.input(&[2, 3, 4]);
    let (y, _) = m.shuffled(x);
    let axis = m.random.from(0, 2);
    let y = m.add(Op::Softmax(Softmax { axis }), &[y]);
    m.finish(&[y])
}

fn reduced(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.input(&[1, 3, 2, 4]);
    let y = if m.random.from(0, 2) > 0 { m.shuffled(x).0 } else { x };
    let keep = m.random.flip();
    let y = if m.random.flip() {
        let axes = m.random.pick(&[&[1, 2][..], &[2, 3], &[1], &[3], &[0, 2]]).to_vec();
        m.add(Op::ReduceMean(ReduceMean { axes, keep }), &[y])
    } else {
        let op = Op::ArgMax(ArgMax { axis: m.random.from(0, 3), keep, last: m.random.flip() });
        m.add(op, &[y])
    };
    m.finish(&[y])
}

fn dense(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.input(&[2, 3, 3]);
    let (y, _) = m.shuffled(x);
    let y = m.dense(y);
    m.finish(&[y])
}

fn weights(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.input(&[1, 2, 4]);
    let shape = [4, 3];
    let ty = TensorType::int(shape, Element::I8);
    let q = m.random.tensor(&ty);
    let q = m.graph.constant("q", Tensor { shape: shape.to_vec(), ..q }, ty);
    let axis = m.random.from(0, 1);
    let count = m.random.pick(&[1, shape[axis]]);
    let axis = if count == 1 { 0 } else { axis };
    let scales = (0..count).map(|_| m.random.real().abs() + 0.1).collect();
    let zero_points = (0..count).map(|i| i as i32).collect();
    let w = m.add(Op::DequantizeWeights(DequantizeWeights { axis, scales, zero_points }), &[q]);
    let w = match m.random.from(0, 2) {
        0 => m.transpose(w, &[1, 0]),
        1 => m.reshape(w, &[4, 3, 1]),
        _ => m.reshape(w, &[3, 4]),
    };
    let x = if m.shape(w) == [3, 4] {
        m.add(Op::Dense(Dense), &[x, w])
    } else {
        let w = m.reshape(w, &[1, 12]);
        let x = m.reshape(x, &[8, 1]);
        m.binary(Binary::Mul, x, w)
    };
    m.finish(&[x])
}

fn reshapes(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.input(&[1, 2, 3, 4]);
    let shapes: [&[usize]; 5] = [&[24], &[6, 4], &[1, 1, 6, 4], &[1, 2, 3, 4], &[1, 2, 12]];
    let first = m.random.pick(&shapes);
    let y = m.reshape(x, first);
    let c = m.channels(y);
    let k = m.constant(&[c]);
    let y = match m.random.from(0, 4) {
        0 => m.opaque(y),
        1 => m.binary(Binary::Mul, y, k),
        2 => m.binary(Binary::Add, y, k),
        3 => m.dense(y),
        _ => {
            let next = m.random.pick(&shapes);
            m.reshape(y, next)
        }
    };
    m.finish(&[y])
}

fn reshaped_operands(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.input(&[2, 3]);
    let y = if m.random.flip() { m.input(&[2, 3]) } else { m.input(&[3, 2]) };
    let x = m.reshape(x, &[6, 1]);
    let y = if m.random.flip() { m.reshape(y, &[6, 1]) } else { m.reshape(y, &[1, 6]) };
    let z = m.binary(Binary::Sub, x, y);
    m.finish(&[z])
}

fn reshaped_transpose(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let shape = m.random.pick(&[[1, 2, 3, 4], [1, 3, 1, 4], [2, 2, 1, 6]]);
    let x = m.input(&shape);
    let permutation = if m.random.flip() { vec![0, 3, 1, 2] } else { m.random.permutation(4) };
    let y = m.transpose(x, &permutation);
    let count: usize = shape.iter().product();
    let channels = m.shape(y)[1];
    let shapes = [
        vec![count],
        vec![m.shape(y)[0], channels, count / channels / m.shape(y)[0]],
        vec![1, m.shape(y)[0] * channels, 1, count / channels / m.shape(y)[0]],
        vec![2, 2, count / 4],
        vec![m.shape(y)[0], 1, channels, m.shape(y)[2], m.shape(y)[3]],
    ];
    let shape = shapes[m.random.from(0, if count.is_multiple_of(4) { 4 } else { 2 })].clone();
    let y = m.reshape(y, &shape);
    let rank = shape.len();
    let y = if m.random.flip() {
        let again = m.random.permutation(rank);
        let y = m.transpose(y, &again);
        m.reshape(y, &[count])
    } else {
        y
    };
    m.finish(&[y])
}

fn flatten(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.input(&[1, 2, 3, 4]);
    let permutation = if m.random.flip() { vec![0, 3, 1, 2] } else { m.random.permutation(4) };
    let y = m.transpose(x, &permutation);
    let shapes: [&[usize]; 4] = [&[1, 24], &[24], &[1, 1, 24], &[2, 12]];
    let shape = m.random.pick(&shapes);
    let y = m.reshape(y, shape);
    let y = m.dense(y);
    m.finish(&[y])
}

fn slices(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.image();
    let y = random_slice(&mut m, x);
    let y = if m.random.flip() {
        random_slice(&mut m, y)
    } else {
        let sizes = m.shape(y);
        m.add(Op::Slice(Slice { starts: vec![0; 4], sizes, steps: vec![1; 4] }), &[y])
    };
    m.finish(&[y])
}

fn slice_of_join(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let (x, y) = (m.input(&[2, 4]), m.input(&[3, 4]));
    let z = m.add(Op::Concat(Concat { axis: 0 }), &[x, y]);
    let z = random_slice(&mut m, z);
    m.finish(&[z])
}

fn join_of_slices(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.input(&[2, 6]);
    let cut = m.random.from(1, 4);
    let second = m.random.from(cut, 4).max(cut + m.random.from(0, 1)).min(5);
    let part = |m: &mut Maker, from: usize, to: usize| {
        let op = Op::Slice(Slice { starts: vec![0, from], sizes: vec![2, to - from], steps: vec![1, 1] });
        m.add(op, &[x])
    };
    let (a, b) = (part(&mut m, 0, cut), part(&mut m, second.min(cut + 1).max(cut), 6));
    let (a, b) = if m.random.from(0, 3) == 0 { (b, a) } else { (a, b) };
    let mut parts = vec![a, b];
    if m.random.flip() {
        let other = m.input(&[2, 3]);
        let at = m.random.from(0, 2);
        parts.insert(at, other);
    }
    let y = m.add(Op::Concat(Concat { axis: 1 }), &parts);
    m.finish(&[y])
}

fn joins(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let (x, y) = (m.input(&[2, 2]), m.input(&[2, 2]));
    let inner = m.random.from(0, 1);
    let z = m.add(Op::Concat(Concat { axis: inner }), &[x, y]);
    let w = m.add(Op::Concat(Concat { axis: 0 }), &[z]);
    let axis = m.random.from(0, 1);
    let v = m.add(Op::Concat(Concat { axis }), &[w, z]);
    m.finish(&[v])
}

fn pads(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.image();
    let first = m.random.pick(&[0.0, 1.0]);
    let y = random_pad(&mut m, x, first);
    let y = match m.random.from(0, 2) {
        0 => {
            let second = m.random.pick(&[0.0, 1.0]);
            random_pad(&mut m, y, second)
        }
        1 => random_slice(&mut m, y),
        _ => m.add(Op::Pad(Pad { before: vec![0; 4], after: vec![0; 4], value: 0.0 }), &[y]),
    };
    m.finish(&[y])
}

fn resize(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.image();
    let factors = m.random.pick(&[[1, 1], [1, 2], [2, 1]]);
    let borders = Borders(m.random.pick(&[[0; 4], [0; 4], [1, 0, 0, 2]]));
    let y = m.add(Op::Resize(Resize { factors, borders }), &[x]);
    m.finish(&[y])
}

fn hoisted(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.image();
    let shape = m.shape(x);
    let c = m.channels(x);
    let k = m.constant(&[c]);
    let full = m.constant(&shape);
    let scalar = m.scalar(2.5);
    let y = match m.random.from(0, 9) {
        0 => m.unary(Unary::Tanh, x),
        1 => m.binary(Binary::Mul, x, k),
        2 => m.binary(Binary::Add, x, k),
        3 => m.add(Op::PRelu(PRelu), &[x, k]),
        4 => random_slice(&mut m, x),
        5 => random_pad(&mut m, x, 1.5),
        6 => {
            let axis = m.random.from(0, 3);
            m.add(Op::Concat(Concat { axis }), &[x, x, full])
        }
        7 => m.binary(Binary::Max, full, x),
        8 => m.binary(Binary::Sub, scalar, x),
        _ => {
            let row = m.input(&[c]);
            m.binary(Binary::Mul, x, row)
        }
    };
    let (y, _) = m.shuffled(y);
    m.finish(&[y])
}

fn quantized_border(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.input(&[1, 2, 3, 2]);
    let value = m.random.pick(&[0.0, 0.7, 100.0]);
    let x = random_pad(&mut m, x, value);
    let quantization = Quantization { scale: 0.02, zero_point: -3 };
    let q = m.add(Op::Quantize(Quantize { element: Element::I8, quantization }), &[x]);
    let q = random_pad(&mut m, q, -3.0);
    let count = m.graph.node(q).ty.count();
    let q = m.reshape(q, &[count]);
    let y = m.add(Op::Dequantize(Dequantize), &[q]);
    m.finish(&[y])
}

fn requantized(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let scale = m.random.pick(&[0.3, 1e38, 1e-3]);
    let from = Quantization { scale, zero_point: 5 };
    let q = m.graph.input("q", TensorType::int([1, 40], Element::I8).quantized(from));
    let x = m.add(Op::Dequantize(Dequantize), &[q]);
    let zero_point = m.random.pick(&[5, 5, 6]);
    let element = m.random.pick(&[Element::I8, Element::I8, Element::U8]);
    let y = m.add(Op::Quantize(Quantize { element, quantization: Quantization { scale, zero_point } }), &[x]);
    m.finish(&[y])
}

fn reshaped_slice(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.input(&[1, 2, 3, 12]);
    let shapes: [&[usize]; 4] = [&[2, 3, 1, 6, 2], &[1, 2, 3, 3, 4], &[6, 12], &[2, 1, 3, 12, 1]];
    let shape = m.random.pick(&shapes);
    let y = m.reshape(x, shape);
    let mut starts = vec![0; shape.len()];
    let mut sizes = shape.to_vec();
    let mut steps = vec![1; shape.len()];
    for _ in 0..m.random.from(1, 2) {
        let axis = m.random.from(0, shape.len() - 1);
        starts[axis] = m.random.from(0, shape[axis] - 1);
        sizes[axis] = if m.random.flip() { 1 } else { shape[axis] - starts[axis] };
        if sizes[axis] > 2 && m.random.flip() {
            steps[axis] = 2;
            sizes[axis] = sizes[axis].div_ceil(2);
        }
    }
    let y = m.add(Op::Slice(Slice { starts, sizes, steps }), &[y]);
    m.finish(&[y])
}

fn reshaped_join(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let (x, y) = (m.input(&[1, 2, 3, 4]), m.input(&[2, 3, 4, 1]));
    let x = m.reshape(x, &[2, 3, 4, 1]);
    if m.random.flip() {
        let z = random_pad(&mut m, x, 0.5);
        let before = vec![m.random.from(0, 2), 0, 1, 0];
        let w = m.add(Op::Pad(Pad { before, after: vec![0, 1, 0, 0], value: 1.0 }), &[x]);
        return m.finish(&[z, w]);
    }
    let axis = m.random.from(0, 3);
    let z = m.add(Op::Concat(Concat { axis }), &[y, x, y]);
    m.finish(&[z])
}
