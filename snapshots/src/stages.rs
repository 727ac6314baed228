//! A network through the stages of the compiler, and the small networks that snapshots show.

use crate::network::{Network, Shape};
use lutweave::observer::Context;
use lutweave::options::{Options, Weights};
use lutweave::pipeline::{self, Lowered, Stage, State};
use lutweave::{Failure, Model};
use lutweave_ir::op::Softmax;
use lutweave_ir::random::SplitMix64;
use lutweave_ir::{Graph, Op, Tensor};
use lutweave_rewrite::cleanup::RewriteReport;

/// What the passes of each stage made of a network.
pub struct Stages {
    /// As built or imported.
    pub float: Graph,
    /// After the passes on the float graph.
    pub clean: Graph,
    /// What their rewrites did.
    pub clean_rewrites: RewriteReport,
    /// The integer graph and its parts.
    pub lowered: Lowered,
}

/// Takes a float network through the compiler's pipeline up to its integer core. `calibration` holds one list
/// of inputs per sample.
///
/// # Errors
/// What a pass refuses.
pub fn lower(float: Graph, calibration: &[Vec<Tensor>], weights: Weights) -> Result<Stages, String> {
    let model = Model::of(float);
    let options = Options { weights: Some(weights), ..Options::default() };
    let context = Context::new(&());
    let attempt = || -> Result<Stages, Failure> {
        let device = lutweave::device::find(&options.device)?;
        let mut state = State::new(&model, &options, &context, device, calibration.to_vec())?;
        pipeline::run(&mut state, |pass| pass.stage != Stage::Circuit)?;
        let lowered = state.lowered.take().expect("invariant: the passes of that stage lower");
        let (clean, clean_rewrites) = (state.cleaned.graph().clone(), state.cleaned.rewrites.clone());
        Ok(Stages { float: model.graph.clone(), clean, clean_rewrites, lowered })
    };
    attempt().map_err(|failure| failure.to_string())
}

/// Uniform random float inputs in -1 to 1; the same for the same graph.
pub fn float_samples(graph: &Graph, count: usize) -> Vec<Vec<Tensor>> {
    let mut random = SplitMix64::new(graph.nodes().len() as u64);
    let types: Vec<_> = graph.inputs().iter().map(|&input| graph.node(input).ty.clone()).collect();
    let sample = |_| {
        types
            .iter()
            .map(|ty| {
                let values: Vec<f32> = (0..ty.count()).map(|_| random.real(-1.0, 1.0) as f32).collect();
                Tensor::f32(ty.shape.clone(), values)
            })
            .collect()
    };
    (0..count).map(sample).collect()
}

/// The built-in digits model and some of its calibration samples.
///
/// # Errors
/// If it cannot be imported.
pub fn mnist() -> Result<(Graph, Vec<Vec<Tensor>>), String> {
    let model = lutweave_models::find("mnist").ok_or("there is no built-in model mnist")?;
    let options = lutweave_onnx::ImportOptions { name: "mnist".to_owned(), base: None };
    let graph = lutweave_onnx::import(model.onnx().into_owned(), &options).map_err(|error| error.to_string())?.graph;
    // Random pixels: what the snapshots show does not depend on how good the ranges are.
    let samples = float_samples(&graph, 8);
    Ok((graph, samples))
}

/// A small network for snapshots.
#[derive(Clone, Debug)]
pub struct Case {
    /// Name of the snapshots.
    pub name: &'static str,
    /// The float network.
    pub graph: Graph,
    /// Width of the weights.
    pub weights: Weights,
    /// Multipliers allowed.
    pub multipliers: u32,
}

/// The small networks.
pub fn cases() -> Vec<Case> {
    vec![
        Case { name: "residual", graph: residual(), weights: Weights::Eight, multipliers: 24 },
        Case { name: "gated", graph: gated(), weights: Weights::Eight, multipliers: 12 },
        Case { name: "head", graph: head(), weights: Weights::Eight, multipliers: 12 },
        Case { name: "narrow", graph: narrow(), weights: Weights::Four, multipliers: 40 },
    ]
}

/// A residual block of stride 2: both paths have their own scale.
fn residual() -> Graph {
    let mut network = Network::new("residual");
    let x = network.input(8, 8, 3);
    let x = network.conv(x, 4, Shape::square(3));
    let x = network.batch_norm(x);
    let x = network.relu(x);
    let y = network.conv(x, 6, Shape::square(3).stride(2));
    let y = network.batch_norm(y);
    let y = network.relu(y);
    let y = network.conv(y, 6, Shape::square(3));
    let skip = network.conv(x, 6, Shape::square(1).stride(2));
    let sum = network.sum(y, skip);
    let sum = network.relu(sum);
    network.finish(&[sum])
}

/// A depthwise convolution whose channels are gated by squeeze and excitation.
fn gated() -> Graph {
    let mut network = Network::new("gated");
    let x = network.input(6, 7, 6);
    let x = network.conv(x, 6, Shape::square(3).groups(6));
    let x = network.add(Op::Unary(lutweave_ir::op::Unary::Clip { lo: 0.0, hi: 6.0 }), &[x]);
    let x = network.squeeze_excite(x, 2);
    let x = network.conv(x, 4, Shape::square(1));
    network.finish(&[x])
}

/// Joining, cutting, padding and upsampling before a dense layer and a softmax.
fn head() -> Graph {
    let mut network = Network::new("head");
    let x = network.input(6, 6, 2);
    let a = network.conv_relu(x, 4, Shape::square(3).stride(2));
    let a = network.upsample(a, [2, 2]);
    let b = network.conv_relu(x, 2, Shape::square(1));
    let joined = network.concat(3, &[a, b]);
    let cut = network.slice(joined, [1, 0, 1], [4, 3, 4], [1, 2, 1]);
    let padded = network.pad(cut, [0, 1, 0, 0]);
    let pooled = network.max_pool(padded, Shape::valid(2, 2).stride(2));
    let scores = network.dense(pooled, 5);
    let scores = network.add(Op::Softmax(Softmax { axis: 1 }), &[scores]);
    network.finish(&[scores])
}

/// Layers of 4-bit weights between two of 8 bits.
fn narrow() -> Graph {
    let mut network = Network::new("narrow");
    let x = network.input(5, 5, 4);
    let x = network.conv_relu(x, 8, Shape::square(3));
    let x = network.conv_relu(x, 8, Shape::square(3));
    let x = network.conv_relu(x, 8, Shape::square(1));
    let x = network.global_mean(x);
    let x = network.dense(x, 3);
    network.finish(&[x])
}
