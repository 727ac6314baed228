//! A ResNet-8-shaped integer network: compiled code at every feature level beside the reference
//! interpreter, in one run.
//!
//! Medians over several batches. CPU time, where the system tells it, suffers less from other work
//! on the machine than the clock on the wall; the interpreter uses several threads.

use lutweave_cpu::{Features, Options, compile_jit_with};
use lutweave_ir::op::{Geometry, Op, QAdd, QAveragePool, QConv, Window};
use lutweave_ir::{Element, Graph, NodeId, Requantize, Tensor, TensorType, interpret};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Numbers from a fixed sequence.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn values(&mut self, count: usize, lo: i32, hi: i32) -> Vec<i32> {
        (0..count).map(|_| lo + self.below((hi - lo + 1) as u64) as i32).collect()
    }
}

struct Builder {
    graph: Graph,
    random: Random,
    macs: u64,
}

impl Builder {
    fn conv(&mut self, name: &str, x: NodeId, outputs: usize, kernel: usize, stride: usize, groups: usize) -> NodeId {
        let shape = self.graph.node(x).ty.shape.clone();
        let depth = shape[3] / groups;
        let weight_type = TensorType::int([outputs, kernel, kernel, depth], Element::I8);
        let weights = self.random.values(weight_type.count(), -127, 127);
        let weights = Tensor::int(weight_type.shape.clone(), weights);
        let weights = self.graph.constant(&format!("{name}.weights"), weights, weight_type);
        let bias = Tensor::int([outputs], self.random.values(outputs, -1000, 1000));
        let bias = self.graph.constant(&format!("{name}.bias"), bias, TensorType::int([outputs], Element::I32));
        let before = (kernel - 1) / 2;
        let geometry = Geometry {
            strides: [stride, stride],
            dilations: [1, 1],
            pads: [before, before, kernel / 2, kernel / 2],
            groups,
        };
        let multipliers = self.random.values(outputs, 32_768, 65_535).into_iter().map(|m| m as u16).collect();
        let requantize = Requantize { multipliers, shifts: vec![27; outputs], zero_point: -128, lo: -128, hi: 127 };
        let conv = QConv { geometry, pad_value: -128, requantize, element: Element::I8 };
        let y = self.graph.add(name, Op::QConv(conv), &[x, weights, bias]).expect("valid convolution");
        self.macs += (self.graph.node(y).ty.count() * kernel * kernel * depth) as u64;
        y
    }

    fn add(&mut self, name: &str, a: NodeId, b: NodeId) -> NodeId {
        let add = QAdd {
            multipliers: [40_000, 50_000],
            offset: 1 << 20,
            shift: 16,
            zero_point: -128,
            lo: -128,
            hi: 127,
            element: Element::I8,
        };
        self.graph.add(name, Op::QAdd(add), &[a, b]).expect("valid sum")
    }

    fn average(&mut self, x: NodeId) -> NodeId {
        let shape = self.graph.node(x).ty.shape.clone();
        let kernel = [shape[1], shape[2]];
        let window = Window { kernel, strides: [1, 1], dilations: [1, 1], pads: [0; 4] };
        let requantize = Requantize { multipliers: vec![32_768], shifts: vec![21], zero_point: 0, lo: -128, hi: 127 };
        let pool = QAveragePool { window, pad_value: -128, bias: 0, requantize, element: Element::I8 };
        self.graph.add("average", Op::QAveragePool(pool), &[x]).expect("valid pool")
    }
}

fn builder(name: &str, shape: [usize; 4]) -> (Builder, NodeId) {
    let mut graph = Graph::new(name);
    let x = graph.input("image", TensorType::int(shape, Element::I8));
    (Builder { graph, random: Random(1), macs: 0 }, x)
}

fn resnet8() -> (Graph, u64) {
    let (mut b, x) = builder("ResNet-8", [1, 32, 32, 3]);
    let mut x = b.conv("stem", x, 16, 3, 1, 1);
    for (block, (channels, stride)) in [(16, 1), (32, 2), (64, 2)].into_iter().enumerate() {
        let y = b.conv(&format!("block{block}.first"), x, channels, 3, stride, 1);
        let y = b.conv(&format!("block{block}.second"), y, channels, 3, 1, 1);
        let short = if stride == 1 { x } else { b.conv(&format!("block{block}.short"), x, channels, 1, stride, 1) };
        x = b.add(&format!("block{block}.add"), y, short);
    }
    let x = b.average(x);
    let x = b.conv("classes", x, 10, 1, 1, 1);
    b.graph.set_outputs(vec![x]);
    (b.graph, b.macs)
}

/// MobileNet v1, width 0.25, 96 x 96 pixels.
fn mobilenet() -> (Graph, u64) {
    let (mut b, x) = builder("MobileNetV1-0.25", [1, 96, 96, 3]);
    let mut x = b.conv("stem", x, 8, 3, 2, 1);
    let blocks = [
        (16, 1),
        (32, 2),
        (32, 1),
        (64, 2),
        (64, 1),
        (128, 2),
        (128, 1),
        (128, 1),
        (128, 1),
        (128, 1),
        (128, 1),
        (256, 2),
        (256, 1),
    ];
    for (block, (channels, stride)) in blocks.into_iter().enumerate() {
        let depth = b.graph.node(x).ty.shape[3];
        let y = b.conv(&format!("depthwise{block}"), x, depth, 3, stride, depth);
        x = b.conv(&format!("pointwise{block}"), y, channels, 1, 1, 1);
    }
    let x = b.average(x);
    let x = b.conv("classes", x, 2, 1, 1, 1);
    b.graph.set_outputs(vec![x]);
    (b.graph, b.macs)
}

/// CPU time of all threads of this process, if the system tells it.
fn cpu_time() -> Option<Duration> {
    let mut nanoseconds = 0u64;
    for thread in std::fs::read_dir("/proc/self/task").ok()? {
        let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        nanoseconds += text.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(Duration::from_nanos(nanoseconds))
}

/// Median seconds of one call over batches: by the clock on the wall, and of CPU time.
fn median(batches: usize, calls: usize, mut call: impl FnMut()) -> (f64, f64) {
    call();
    let (mut wall, mut cpu) = (Vec::new(), Vec::new());
    for _ in 0..batches {
        let (start, before) = (Instant::now(), cpu_time());
        for _ in 0..calls {
            call();
        }
        let elapsed = start.elapsed();
        let spent = cpu_time().zip(before).map_or(elapsed, |(after, before)| after - before);
        wall.push(elapsed.as_secs_f64() / calls as f64);
        cpu.push(spent.as_secs_f64() / calls as f64);
    }
    wall.sort_by(f64::total_cmp);
    cpu.sort_by(f64::total_cmp);
    (wall[batches / 2], cpu[batches / 2])
}

fn main() {
    for (graph, macs) in [resnet8(), mobilenet()] {
        let ty = graph.node(graph.inputs()[0]).ty.clone();
        let input = Tensor::int(ty.shape.clone(), Random(2).values(ty.count(), -128, 127));
        let interpreter = interpret::Interpreter::new(&graph);
        let expected = interpreter.run(std::slice::from_ref(&input)).expect("input matches");
        println!("{}: {:.2} million multiply-accumulates", graph.name, macs as f64 / 1e6);
        let (reference, reference_cpu) = median(11, 20, || {
            black_box(interpreter.run(std::slice::from_ref(black_box(&input))).expect("input matches"));
        });
        println!(
            "  {:12} {:>9.0} ns of CPU time, {:>6.1} GMAC/s; {:.0} ns by the clock",
            "interpreter",
            reference_cpu * 1e9,
            macs as f64 / reference_cpu / 1e9,
            reference * 1e9
        );
        let bytes: Vec<u8> = input.ints().iter().map(|&value| value as u8).collect();
        for features in [Features::Baseline, Features::Avx2, Features::Native] {
            let start = Instant::now();
            let Ok(jit) = compile_jit_with(&graph, Options { features, verify: false }) else {
                println!("  {features:?}: this machine cannot run it");
                continue;
            };
            let compiled = start.elapsed();
            assert_eq!(jit.run(std::slice::from_ref(&input)).expect("input matches"), expected);
            let mut workspace = jit.workspace();
            let mut output = vec![0; expected[0].count()];
            let (wall, cpu) = median(25, 200, || {
                let outcome = jit.run_bytes(&[black_box(&bytes)], &mut [&mut output], &mut workspace);
                outcome.expect("sizes match");
            });
            println!(
                "  {:12} {:>9.0} ns of CPU time, {:>6.1} GMAC/s; {:.0} ns by the clock; {:.1} x interpreter in CPU time; \
                 arena {} KiB; compiled in {:.0} ms",
                format!("{features:?}"),
                cpu * 1e9,
                macs as f64 / cpu / 1e9,
                wall * 1e9,
                reference_cpu / cpu,
                jit.arena_size() / 1024,
                compiled.as_secs_f64() * 1e3,
            );
        }
    }
}
