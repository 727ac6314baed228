//! Simulated cycles per second of processor time, on a residual network of the shape of MLPerf
//! Tiny's ResNet-8 with random weights. Arguments: multiplier budgets (156 and 1024 if none).

use lutweave_hw::device;
use lutweave_hw::elaborate::elaborate;
use lutweave_hw::plan::plan;
use lutweave_hw::rtl::harness::Stimulus;
use lutweave_ir::op::{Geometry, QAdd, QAveragePool, QConv, Window};
use lutweave_ir::{Diagnostic, Element, Graph, NodeId, Op, Requantize, Tensor, TensorType};
use lutweave_wasm::{Simulator, emit};
use std::time::Instant;

const BYTE: Element = Element::Int { bits: 8, signed: true };

/// The network under construction, with its random generator.
struct Network {
    graph: Graph,
    state: u64,
}

impl Network {
    fn random(&mut self, count: usize, least: i32, most: i32) -> Vec<i32> {
        let mut next = || {
            self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            least + ((self.state >> 33) % (most - least + 1) as u64) as i32
        };
        (0..count).map(|_| next()).collect()
    }

    /// Square kernel, "same" padding with the odd pixel at the bottom right.
    fn convolution(
        &mut self,
        x: NodeId,
        name: &str,
        channels: usize,
        kernel: usize,
        stride: usize,
    ) -> Result<NodeId, Diagnostic> {
        let shape = self.graph.node(x).ty.shape.clone();
        let taps = kernel * kernel * shape[3];
        let weights = self.random(channels * taps, -127, 127);
        let bias = self.random(channels, -500, 500);
        let constant = |graph: &mut Graph, what: &str, tensor: Tensor, element| {
            let ty = TensorType::int(tensor.shape.clone(), element);
            graph.constant(&format!("{name}_{what}"), tensor, ty)
        };
        let weights = Tensor::int([channels, kernel, kernel, shape[3]], weights);
        let weights = constant(&mut self.graph, "weights", weights, BYTE);
        let bias = constant(&mut self.graph, "bias", Tensor::int([channels], bias), Element::I32);
        let total = (kernel - 1).saturating_sub((shape[1] - 1) % stride);
        let (before, after) = (total / 2, total - total / 2);
        let op = QConv {
            geometry: Geometry {
                strides: [stride, stride],
                dilations: [1, 1],
                pads: [before, before, after, after],
                groups: 1,
            },
            pad_value: -128,
            requantize: Requantize {
                multipliers: (0..channels).map(|channel| 40_000 + 500 * channel as u16).collect(),
                shifts: vec![23],
                zero_point: -128,
                lo: -128,
                hi: 127,
            },
            element: BYTE,
        };
        self.graph.add(name, Op::QConv(op), &[x, weights, bias])
    }

    fn residual(&mut self, a: NodeId, b: NodeId, name: &str) -> Result<NodeId, Diagnostic> {
        let op = QAdd {
            multipliers: [20_000, 30_000],
            offset: 128 * 50_000,
            shift: 15,
            zero_point: -128,
            lo: -128,
            hi: 127,
            element: BYTE,
        };
        self.graph.add(name, Op::QAdd(op), &[a, b])
    }

    fn build(mut self) -> Result<Graph, Diagnostic> {
        let input = self.graph.input("image", TensorType::int([1, 32, 32, 3], BYTE));
        let mut x = self.convolution(input, "stem", 16, 3, 1)?;
        for (number, (channels, stride)) in [(16, 1), (32, 2), (64, 2)].into_iter().enumerate() {
            let a = self.convolution(x, &format!("block{number}_a"), channels, 3, stride)?;
            let b = self.convolution(a, &format!("block{number}_b"), channels, 3, 1)?;
            let shortcut =
                if stride == 1 { x } else { self.convolution(x, &format!("block{number}_skip"), channels, 1, stride)? };
            x = self.residual(b, shortcut, &format!("block{number}_add"))?;
        }
        let pool = QAveragePool {
            window: Window { kernel: [8, 8], strides: [1, 1], dilations: [1, 1], pads: [0; 4] },
            pad_value: -128,
            bias: 64 * 128,
            requantize: Requantize {
                multipliers: vec![1 << 15],
                shifts: vec![21],
                zero_point: -128,
                lo: -128,
                hi: 127,
            },
            element: BYTE,
        };
        let pooled = self.graph.add("pool", Op::QAveragePool(pool), &[x])?;
        let scores = self.convolution(pooled, "classifier", 10, 1, 1)?;
        self.graph.set_outputs(vec![scores]);
        Ok(self.graph)
    }
}

fn measure(graph: &Graph, multipliers: u32, frames: usize) -> Result<(), Box<dyn std::error::Error>> {
    let device = device::find("ultra96").ok_or("the device is built in")?;
    let network = plan(graph, multipliers, &device).map_err(|faults| format!("{faults:?}"))?;
    let design = elaborate(graph, &network);
    let start = Instant::now();
    let wasm = emit(&design);
    let emitted = start.elapsed();
    let mut simulator = Simulator::from_wasm(&wasm)?;
    let compiled = start.elapsed() - emitted;
    let mut random = Network { graph: Graph::new(""), state: 5 };
    let elements = design.inputs[0].beats as usize * design.inputs[0].ty.lanes as usize;
    let frames = (0..frames).map(|_| vec![random.random(elements, -128, 127)]).collect();
    let stimulus = Stimulus { frames, ..Stimulus::default() };
    let mut best = 0.0f64;
    let mut period = None;
    for _ in 0..5 {
        let trace = simulator.run(&stimulus)?;
        period = trace.cycles_per_inference();
        best = best.max(simulator.cycles() as f64 / simulator.seconds());
    }
    println!(
        "{multipliers:>5} multipliers ({} used), {} modules, {} bytes of wasm, emit {:.1} ms, compile {:.1} ms: \
         {} cycles per inference, {:.0} thousand cycles per second of processor time",
        network.multipliers(),
        design.modules.len(),
        wasm.len(),
        emitted.as_secs_f64() * 1e3,
        compiled.as_secs_f64() * 1e3,
        period.unwrap_or(0),
        best * 1e-3
    );
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let network = Network { graph: Graph::new("resnet8"), state: 1 };
    let graph = network.build().map_err(|fault| format!("{fault:?}"))?;
    let mut budgets: Vec<u32> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    if budgets.is_empty() {
        budgets = vec![156, 1024];
    }
    for multipliers in budgets {
        measure(&graph, multipliers, if multipliers < 500 { 4 } else { 20 })?;
    }
    Ok(())
}
