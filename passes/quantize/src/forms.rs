//! How each operator of the float graph is expressed by the few that integers can.

use super::constant::Folded;
use super::deform::{self, Deform};
use super::linear::{self, Linear};
use super::movement::{self, Movement};
use lutweave_ir::op::{AveragePool, BatchNorm, Binary, ReduceMean, Unary, Window};
use lutweave_ir::{Diagnostic, Element, Graph, NodeId, Op, Tensor, TensorType};

/// Why an operator cannot run on the chip.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    code: &'static str,
    message: String,
    help: String,
}

impl Fault {
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), help: String::new() }
    }

    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }

    pub fn batch(batch: usize) -> Self {
        Self::new("unsupported-batch", format!("the batch extent is {batch}")).help("export the model with batch 1")
    }

    pub fn rank(ty: &TensorType) -> Self {
        if ty.shape.len() <= 4 {
            return Self::batch(ty.shape[0]);
        }
        Self::new("unsupported-rank", format!("{ty} is no image [1,h,w,c]"))
            .help("at most four axes with a batch of 1 can be streamed")
    }

    pub fn diagnostic(&self, graph: &Graph, id: NodeId) -> Diagnostic {
        let node = graph.node(id);
        Diagnostic::error(self.code, &self.message).at(&node.name).operator(node.op.name()).help(&self.help)
    }
}

/// A binary operator on two values of an image's shape.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    /// Add, Sub, Mul, Max or Min.
    pub op: Binary,
    /// The operands. The second may be `[1,1,1,c]`.
    pub operands: [NodeId; 2],
    /// The operands' shapes as images.
    pub views: [[usize; 4]; 2],
    /// True where an operand of one channel has to be repeated for every channel.
    pub repeat: [bool; 2],
    /// The operands stand in the other order than in the model.
    pub swapped: bool,
}

/// How a node is expressed.
#[derive(Clone, Debug)]
pub(super) enum Form {
    /// A constant.
    Constant,
    /// By itself.
    Keep,
    /// A weighted sum.
    Linear(Box<Linear>),
    /// A weighted sum of what offsets point at.
    Deform(Box<Deform>),
    /// Another shape of a value.
    Reshape(NodeId),
    /// Channels of an image in another order.
    Select {
        /// The image.
        source: NodeId,
        /// Its channel for each of the result.
        channels: Vec<usize>,
    },
    /// `relu(x) + slope * min(x, 0)` with a slope a channel.
    PRelu(Vec<f32>),
    /// Average pooling of an image.
    Mean {
        /// The operand's shape as an image.
        view: [usize; 4],
        /// The window.
        window: Window,
    },
    /// Two tensors.
    Pair(Pair),
}

impl Form {
    /// The values a node of this form reads.
    pub fn operands(&self, graph: &Graph, id: NodeId) -> Vec<NodeId> {
        match self {
            Self::Constant => Vec::new(),
            Self::Keep => graph.node(id).operands.clone(),
            Self::Linear(linear) => vec![linear.input],
            Self::Deform(deform) => vec![deform.linear.input, deform.offsets.source],
            Self::Reshape(source) | Self::Select { source, .. } => vec![*source],
            Self::PRelu(_) | Self::Mean { .. } => vec![graph.node(id).operands[0]],
            Self::Pair(pair) => pair.operands.to_vec(),
        }
    }
}

/// The form of every node, or why there is none.
pub(super) fn forms(graph: &Graph, folded: &[Option<Folded>]) -> Vec<Result<Form, Fault>> {
    let users = graph.users();
    graph
        .ids()
        .map(|id| if folded[id.index()].is_some() { Ok(Form::Constant) } else { form(graph, folded, &users, id) })
        .collect()
}

fn form(graph: &Graph, folded: &[Option<Folded>], users: &[Vec<NodeId>], id: NodeId) -> Result<Form, Fault> {
    let node = graph.node(id);
    check_type(&node.ty)?;
    let operand = node.operands.first().copied().unwrap_or(id);
    match &node.op {
        Op::Input | Op::Constant(_) => Ok(Form::Keep),
        Op::Conv(conv) => linear::conv(graph, folded, id, conv.geometry).map(into_form),
        Op::DeformConv(conv) => deform::deform(graph, folded, id, conv).map(|deform| Form::Deform(Box::new(deform))),
        Op::Dense(_) => linear::dense(graph, folded, id).map(into_form),
        Op::BatchNorm(BatchNorm { epsilon }) => linear::batch_norm(graph, folded, id, *epsilon).map(into_form),
        Op::Unary(unary) => unary_form(*unary),
        Op::Binary(binary) => binary_form(graph, folded, users, id, *binary),
        Op::PRelu(_) => prelu_form(graph, folded, id),
        Op::MaxPool(_) => Ok(Form::Keep),
        Op::AveragePool(pool) => average_pool_form(&graph.node(operand).ty, *pool),
        Op::ReduceMean(ReduceMean { axes, .. }) => mean_form(graph, operand, axes),
        Op::Concat(_) => match node.operands.iter().find(|operand| folded[operand.index()].is_some()) {
            None => Ok(Form::Keep),
            Some(_) => Err(Fault::new("constant-operand", "it joins a constant to computed values")
                .help("only computed values can be joined on the chip")),
        },
        Op::Slice(_) | Op::Select(_) | Op::Resize(_) | Op::Pad(_) | Op::Quantize(_) | Op::Dequantize(_) => {
            Ok(Form::Keep)
        }
        Op::Transpose(_) | Op::Reshape(_) => match movement::chain(graph, id) {
            (source, Movement::Reshape) => Ok(Form::Reshape(source)),
            (source, Movement::Channels(channels)) => Ok(Form::Select { source, channels }),
            (_, Movement::Elements(_)) => Err(Fault::new(
                "transposed-stream",
                "it changes the order of elements beyond a permutation of channels",
            )
            .help("values stream row by row, channels innermost; export the model without this transposition")),
        },
        Op::Softmax(_) | Op::ArgMax(_) | Op::JoinBytes(_) => {
            Err(Fault::new("host-operator", "it runs on the host and cannot feed layers on the chip")
                .help("only the end of a model runs on the host"))
        }
        Op::Site(site) => {
            Err(Fault::new("unresolved-site", format!("site {} is still without a setting", site.number))
                .help("resolve the sites of the graph before it is quantized"))
        }
        Op::DequantizeWeights(_) => {
            Err(Fault::new("dynamic-weights", "it dequantizes weights that are computed at run time"))
        }
        Op::QConv(_)
        | Op::QDeformConv(_)
        | Op::QAveragePool(_)
        | Op::QAdd(_)
        | Op::QMul(_)
        | Op::Table(_)
        | Op::QArgMax(_)
        | Op::TopPeaks(_) => Err(Fault::new("already-integer", "the graph has integer operators already")
            .help("quantize the graph that the importer made")),
    }
}

fn into_form(linear: Linear) -> Form {
    Form::Linear(Box::new(linear))
}

fn check_type(ty: &TensorType) -> Result<(), Fault> {
    if ty.image().is_none() {
        return Err(Fault::rank(ty));
    }
    match ty.element {
        Element::F32 => Ok(()),
        Element::Int { bits, .. } if bits <= 8 => Ok(()),
        element => Err(Fault::new("wide-activation", format!("an activation of type {element} is wider than 8 bits"))
            .help("quantize activations to 8 or 4 bits")),
    }
}

fn unary_form(unary: Unary) -> Result<Form, Fault> {
    match unary {
        Unary::Clip { lo, hi } if lo.is_nan() || hi.is_nan() || lo > hi => {
            Err(Fault::new("invalid-attribute", format!("the bounds {lo} and {hi} hold nothing")))
        }
        _ => Ok(Form::Keep),
    }
}

/// Image extents `[1,h,w,c]` of a type.
pub(super) fn view(ty: &TensorType) -> Result<[usize; 4], Fault> {
    ty.image().map(|(h, w, c)| [1, h, w, c]).ok_or_else(|| Fault::rank(ty))
}

fn prelu_form(graph: &Graph, folded: &[Option<Folded>], id: NodeId) -> Result<Form, Fault> {
    let operands = &graph.node(id).operands;
    let slope = folded[operands[1].index()]
        .as_ref()
        .ok_or_else(|| Fault::new("dynamic-weights", "the slope is computed at run time"))?;
    let channels = view(&graph.node(operands[0]).ty)?[3];
    let slopes = per_channel(&slope.tensor, channels)
        .filter(|slopes| slopes.len() == channels)
        .ok_or_else(|| Fault::new("unsupported-broadcast", "the slope is neither a scalar nor one value a channel"))?;
    Ok(Form::PRelu(slopes))
}

/// A constant as one value a channel.
fn per_channel(tensor: &Tensor, channels: usize) -> Option<Vec<f32>> {
    let values = tensor.f32s();
    let extents_ok = tensor.shape.iter().rev().skip(1).all(|&extent| extent == 1);
    match values.len() {
        1 => Some(vec![values[0]; channels]),
        n if extents_ok && (n == channels || channels == 1) => Some(values.to_vec()),
        _ => None,
    }
}

fn average_pool_form(x: &TensorType, pool: AveragePool) -> Result<Form, Fault> {
    let view = view(x)?;
    let window = pool.window;
    if window.dilations != [1, 1] {
        return Err(Fault::new("unsupported-attribute", "average pooling with dilations"));
    }
    let area = divisors(&view, &pool).ok_or_else(|| {
        Fault::new("unsupported-attribute", "the windows average over different numbers of elements")
            .help("use count_include_pad=1, or no padding")
    })?;
    if area != window.kernel[0] * window.kernel[1] {
        return Err(Fault::new("unsupported-attribute", "the divisor is not the window's area"));
    }
    Ok(Form::Keep)
}

/// The number of elements that every window of an average pooling divides by, if it is the same.
fn divisors(view: &[usize; 4], pool: &AveragePool) -> Option<usize> {
    let window = &pool.window;
    let along = |axis: usize| -> Option<usize> {
        let (extent, kernel) = (view[axis + 1] as i64, window.kernel[axis] as i64);
        let (before, after) = (window.pads[axis] as i64, window.pads[axis + 2] as i64);
        let (low, high) = match pool.counted_pads {
            Some(pads) => (-(pads[axis] as i64), extent + pads[axis + 2] as i64),
            None => (0, extent),
        };
        let positions = (extent + before + after - kernel) / window.strides[axis] as i64 + 1;
        let counts = (0..positions).map(|position| {
            let start = position * window.strides[axis] as i64 - before;
            (start + kernel).min(high) - start.max(low)
        });
        let first = counts.clone().next()?;
        (counts.clone().all(|count| count == first) && first > 0).then_some(first as usize)
    };
    Some(along(0)? * along(1)?)
}

fn mean_form(graph: &Graph, operand: NodeId, axes: &[usize]) -> Result<Form, Fault> {
    let ty = &graph.node(operand).ty;
    let view = view(ty)?;
    // Axes counted from the image's; the extents before the image's are 1.
    let offset = 4 - ty.shape.len();
    let mut reduced: Vec<usize> = axes.iter().map(|axis| axis + offset).filter(|&axis| view[axis] != 1).collect();
    reduced.sort_unstable();
    match reduced[..] {
        [] => Ok(Form::Reshape(operand)),
        [3] => linear::channel_mean(graph, operand).map(into_form),
        [1] | [2] | [1, 2] => {
            let extent = |axis: usize| if reduced.contains(&axis) { view[axis] } else { 1 };
            let kernel = [extent(1), extent(2)];
            Ok(Form::Mean { view, window: Window { kernel, strides: kernel, dilations: [1, 1], pads: [0; 4] } })
        }
        _ => Err(Fault::new("unsupported-attribute", format!("a mean over axes {axes:?} of {ty}"))
            .help("means over height and width, or over the channels, can be computed on the chip")),
    }
}

fn binary_form(
    graph: &Graph,
    folded: &[Option<Folded>],
    users: &[Vec<NodeId>],
    id: NodeId,
    op: Binary,
) -> Result<Form, Fault> {
    let operands = &graph.node(id).operands;
    match operands.iter().position(|operand| folded[operand.index()].is_some()) {
        None => pair_form(graph, id, op).map(Form::Pair),
        Some(position) => constant_form(graph, folded, users, id, op, position),
    }
}

/// A binary operator with a constant operand at a position.
fn constant_form(
    graph: &Graph,
    folded: &[Option<Folded>],
    users: &[Vec<NodeId>],
    id: NodeId,
    op: Binary,
    position: usize,
) -> Result<Form, Fault> {
    let operands = &graph.node(id).operands;
    let (x, first) = (operands[1 - position], position == 0);
    let constant = folded[operands[position].index()].as_ref().expect("invariant: the operand is constant");
    let channels = view(&graph.node(x).ty)?[3];
    let result = view(&graph.node(id).ty)?;
    let unsupported = || {
        Fault::new("unsupported-broadcast", format!("a constant of shape {:?}", constant.tensor.shape))
            .help("constants must be scalars or one value a channel")
    };
    let x_view = view(&graph.node(x).ty)?;
    if x_view[..3] != result[..3] {
        return Err(unsupported());
    }
    let values = per_channel(&constant.tensor, channels).ok_or_else(unsupported)?;
    let producer = graph.node(x);
    let sums = match op {
        Binary::Add => Some(1.0),
        Binary::Sub if !first => Some(-1.0),
        _ => None,
    };
    if let (Some(sign), true) = (sums, linear::takes_bias(&producer.op) && users[x.index()].len() == 1) {
        let base = match &producer.op {
            Op::Conv(conv) => linear::conv(graph, folded, x, conv.geometry)?,
            _ => linear::dense(graph, folded, x)?,
        };
        if [1, base.weights.outputs()].contains(&constant.tensor.count()) {
            return linear::with_bias(base, constant, sign).map(into_form);
        }
    }
    if constant.tensor.count() == 1 {
        return Ok(Form::Keep);
    }
    let ones = |sign: f32| vec![sign; values.len()];
    let reals = |sign: f64| values.iter().map(|&value| sign * f64::from(value)).collect::<Vec<f64>>();
    let (factors, bias) = match (op, first) {
        (Binary::Add, _) => (ones(1.0), reals(1.0)),
        (Binary::Sub, false) => (ones(1.0), reals(-1.0)),
        (Binary::Sub, true) => (ones(-1.0), reals(1.0)),
        (Binary::Mul, _) => (values, reals_zero(constant, channels)),
        (Binary::Div, false) => (values.iter().map(|value| 1.0 / value).collect(), reals_zero(constant, channels)),
        (Binary::Div, true) | (Binary::Max | Binary::Min | Binary::Pow, _) => {
            return Err(Fault::new("unsupported-broadcast", format!("`{}` with one constant a channel", op.name()))
                .help("with a scalar constant it becomes a table"));
        }
    };
    linear::affine(graph, x, factors, bias).map(into_form)
}

fn reals_zero(constant: &Folded, channels: usize) -> Vec<f64> {
    vec![0.0; constant.tensor.count().max(channels)]
}

fn pair_form(graph: &Graph, id: NodeId, op: Binary) -> Result<Pair, Fault> {
    match op {
        Binary::Add | Binary::Sub | Binary::Mul | Binary::Max | Binary::Min => {}
        Binary::Div | Binary::Pow => {
            return Err(Fault::new("unsupported-operator", format!("`{}` of two computed values", op.name()))
                .help("only a constant second operand can be compiled"));
        }
    }
    let node = graph.node(id);
    let [h, w, c] = image(&node.ty)?;
    let mut operands = [node.operands[0], node.operands[1]];
    let mut views = [image(&graph.node(operands[0]).ty)?, image(&graph.node(operands[1]).ty)?];
    // The first operand has to have the result's height and width.
    let swapped = views[0][..2] != [h, w];
    if swapped {
        operands.swap(0, 1);
        views.swap(0, 1);
    }
    let small = views[1][..2] == [1, 1];
    let fits = views[0][..2] == [h, w] && (views[1][..2] == [h, w] || small);
    let repeat = [views[0][2] != c, views[1][2] != c];
    if !fits || views.iter().zip(repeat).any(|(view, repeat)| repeat && view[2] != 1) {
        let shape = |position: usize| &graph.node(node.operands[position]).ty.shape;
        return Err(Fault::new(
            "unsupported-broadcast",
            format!("operands of shapes {:?} and {:?}", shape(0), shape(1)),
        )
        .help("an operand may be broadcast over height and width, or over the channels"));
    }
    let views = views.map(|[h, w, c]| [1, h, w, c]);
    Ok(Pair { op, operands, views, repeat, swapped })
}

fn image(ty: &TensorType) -> Result<[usize; 3], Fault> {
    ty.image().map(|(h, w, c)| [h, w, c]).ok_or_else(|| Fault::rank(ty))
}
