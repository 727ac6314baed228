//! Layers with random weights, written to a file and run on images at the same time.
//!
//! The images show how wide each channel's values are, so that its weights can be scaled as batch
//! normalization scales them in a trained network (layer-sequential unit variance: Mishkin and
//! Matas, "All you need is a good init", 2016).

use lutweave_ir::op::{
    Binary, Concat, Conv, DeformConv, Geometry, MaxPool, Resize, Sampling, Slice, Transpose, Unary, Window,
};
use lutweave_ir::random::SplitMix64;
use lutweave_ir::{Op, Tensor, TensorType};
use lutweave_onnx::write::{Attribute, Writer};

/// Smallest spread of a channel that is taken for one.
const LEAST_SPREAD: f64 = 1e-3;

/// A value of the network.
#[derive(Clone, Debug)]
pub struct Value {
    /// Its name in the file.
    name: String,
    /// Height, width and channels in the file.
    shape: [usize; 3],
    /// Its value on each of the images, `[1,h,w,c]`; smaller than in the file.
    images: Vec<Tensor>,
}

impl Value {
    /// Channels.
    pub fn channels(&self) -> usize {
        self.shape[2]
    }
}

/// A convolution in the making.
#[derive(Clone, Copy, Debug)]
pub struct Layer {
    /// Channels of the result.
    pub outputs: usize,
    /// Height and width of the window, odd.
    pub kernel: usize,
    /// Distance between windows.
    pub stride: usize,
    /// One filter per channel.
    pub depthwise: bool,
    /// What it ends in.
    pub activation: Activation,
    /// Mean of each channel before the activation.
    pub mean: f64,
    /// Standard deviation of each channel before the activation.
    pub spread: f64,
}

/// What a layer ends in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    None,
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `x / (1 + exp(-x))`.
    Silu,
}

impl Layer {
    /// A pointwise layer with a ReLU.
    pub fn pointwise(outputs: usize) -> Self {
        let activation = Activation::Relu;
        Self { outputs, kernel: 1, stride: 1, depthwise: false, activation, mean: 0.0, spread: 1.0 }
    }

    /// A depthwise 3x3 layer without a ReLU.
    pub fn depthwise(channels: usize, stride: usize) -> Self {
        Self { kernel: 3, stride, depthwise: true, activation: Activation::None, ..Self::pointwise(channels) }
    }

    /// Without an activation, with values around `mean`.
    #[must_use]
    pub fn linear(self, mean: f64, spread: f64) -> Self {
        Self { activation: Activation::None, mean, spread, ..self }
    }

    /// With another activation.
    #[must_use]
    pub fn with(self, activation: Activation) -> Self {
        Self { activation, ..self }
    }

    fn geometry(&self) -> Geometry {
        let pad = self.kernel / 2;
        let groups = if self.depthwise { self.outputs } else { 1 };
        Geometry { strides: [self.stride; 2], dilations: [1, 1], pads: [pad; 4], groups }
    }
}

/// A network in the making.
pub struct Builder {
    writer: Writer,
    random: SplitMix64,
    parameters: u64,
    macs: u64,
}

impl Builder {
    /// An empty network.
    pub fn new(name: &str, seed: u64) -> Self {
        // Operator set 19 is the first with DeformConv.
        Self { writer: Writer::new(name, 19), random: SplitMix64::new(seed), parameters: 0, macs: 0 }
    }

    /// The file.
    pub fn finish(self) -> Vec<u8> {
        self.writer.finish()
    }

    /// Parameters and multiply-accumulates so far.
    pub fn counts(&self) -> (u64, u64) {
        (self.parameters, self.macs)
    }

    /// The image, `size` pixels high and wide in the file.
    pub fn image(&mut self, name: &str, size: usize, images: Vec<Tensor>) -> Value {
        self.writer.input(name, &[1, 3, size, size]);
        Value { name: name.to_owned(), shape: [size, size, 3], images }
    }

    /// A convolution with its bias, and its activation.
    pub fn convolve(&mut self, name: &str, x: &Value, layer: Layer) -> Value {
        let (weights, y) = self.weights(name, x, layer, None);
        let [kernel, stride, pad] = [layer.kernel, layer.stride, layer.kernel / 2].map(|extent| extent as i64);
        let attributes = [
            ("kernel_shape", Attribute::Ints(&[kernel; 2])),
            ("strides", Attribute::Ints(&[stride; 2])),
            ("pads", Attribute::Ints(&[pad; 4])),
            ("group", Attribute::Int(layer.geometry().groups as i64)),
        ];
        self.writer.node("Conv", &[&x.name, &weights[0], &weights[1]], &[&y.name], &attributes);
        self.finished(name, layer, y)
    }

    /// A depthwise 3x3 layer whose taps of pixel `p` are `p + d(p) * {-1,0,1}^2`, where a pointwise
    /// layer on the same operand computes the distance `d`, rounded and clipped to `0..=reach`.
    pub fn deform(&mut self, name: &str, x: &Value, reach: u8) -> Value {
        let distance = format!("{name}/distance");
        let middle = f64::from(reach) / 2.0;
        let d = self.convolve(&distance, x, Layer::pointwise(1).linear(middle, middle / 2.0));
        let [rounded, clipped, beyond, offsets] =
            ["rounded", "clipped", "beyond", "offsets"].map(|part| format!("{distance}/{part}"));
        let [least, most, one, template] =
            ["least", "most", "one", "template"].map(|constant| format!("{distance}/{constant}"));
        self.writer.floats(&least, &[], &[0.0]);
        self.writer.floats(&most, &[], &[f32::from(reach)]);
        self.writer.floats(&one, &[], &[1.0]);
        let taps = [-1.0f32, 0.0, 1.0];
        let pairs: Vec<f32> = taps.iter().flat_map(|&row| taps.iter().flat_map(move |&column| [row, column])).collect();
        self.writer.floats(&template, &[1, 18, 1, 1], &pairs);
        self.writer.node("Round", &[&d.name], &[&rounded], &[]);
        self.writer.node("Clip", &[&rounded, &least, &most], &[&clipped], &[]);
        self.writer.node("Sub", &[&clipped, &one], &[&beyond], &[]);
        self.writer.node("Mul", &[&beyond, &template], &[&offsets], &[]);

        let layer = Layer::depthwise(x.channels(), 1);
        let whole = |image: &Tensor| {
            let distances = image.f32s().iter().map(|d| d.round_ties_even().clamp(0.0, f32::from(reach)));
            Tensor::f32(image.shape.clone(), distances.collect::<Vec<f32>>())
        };
        let distances: Vec<Tensor> = d.images.iter().map(whole).collect();
        let (weights, y) = self.weights(name, x, layer, Some(&distances));
        let attributes = [
            ("kernel_shape", Attribute::Ints(&[3; 2])),
            ("pads", Attribute::Ints(&[1; 4])),
            ("group", Attribute::Int(x.channels() as i64)),
            ("offset_group", Attribute::Int(1)),
        ];
        let operands = [x.name.as_str(), &weights[0], &offsets, &weights[1]];
        self.writer.node("DeformConv", &operands, &[&y.name], &attributes);
        self.finished(name, layer, y)
    }

    /// Largest element of square windows, `kernel` odd.
    pub fn max_pool(&mut self, name: &str, x: &Value, kernel: usize, stride: usize) -> Value {
        let pad = kernel / 2;
        let window = Window { kernel: [kernel; 2], strides: [stride; 2], dilations: [1, 1], pads: [pad; 4] };
        let attributes = [
            ("kernel_shape", Attribute::Ints(&[kernel as i64; 2])),
            ("strides", Attribute::Ints(&[stride as i64; 2])),
            ("pads", Attribute::Ints(&[pad as i64; 4])),
        ];
        self.writer.node("MaxPool", &[&x.name], &[name], &attributes);
        let shape = [x.shape[0].div_ceil(stride), x.shape[1].div_ceil(stride), x.shape[2]];
        value(name, shape, x.images.iter().map(|image| apply(&Op::MaxPool(MaxPool { window }), &[image])))
    }

    /// Both halves of the channels.
    pub fn split(&mut self, name: &str, x: &Value) -> [Value; 2] {
        let [height, width, channels] = x.shape;
        let half = channels / 2;
        let parts = [format!("{name}/left"), format!("{name}/right")];
        let sizes = format!("{name}/sizes");
        self.writer.integers(&sizes, &[half as i64, (channels - half) as i64]);
        let results = [parts[0].as_str(), &parts[1]];
        self.writer.node("Split", &[&x.name, &sizes], &results, &[("axis", Attribute::Int(1))]);
        let [left, right] = parts;
        let cut = |part: &str, start: usize, count: usize| {
            let images = x.images.iter().map(|image| {
                let sizes = [&image.shape[..3], &[count]].concat();
                apply(&Op::Slice(Slice { starts: vec![0, 0, 0, start], sizes, steps: vec![1; 4] }), &[image])
            });
            value(part, [height, width, count], images)
        };
        [cut(&left, 0, half), cut(&right, half, channels - half)]
    }

    /// Channels of both, and those of the two halves in turn, spelled as exporters spell it.
    pub fn concat_and_shuffle(&mut self, name: &str, parts: [&Value; 2]) -> Value {
        let [height, width, _] = parts[0].shape;
        let channels = parts[0].channels() + parts[1].channels();
        let [joined, apart, transposed, shuffled] =
            ["joined", "apart", "transposed", "shuffled"].map(|part| format!("{name}/{part}"));
        let [by_half, whole] = ["by_half", "whole"].map(|shape| format!("{name}/{shape}"));
        let [h, w, c] = [height, width, channels].map(|extent| extent as i64);
        self.writer.integers(&by_half, &[1, 2, c / 2, h, w]);
        self.writer.integers(&whole, &[1, c, h, w]);
        self.writer.node("Concat", &[&parts[0].name, &parts[1].name], &[&joined], &[("axis", Attribute::Int(1))]);
        self.writer.node("Reshape", &[&joined, &by_half], &[&apart], &[]);
        let order = [("perm", Attribute::Ints(&[0, 2, 1, 3, 4]))];
        self.writer.node("Transpose", &[&apart], &[&transposed], &order);
        self.writer.node("Reshape", &[&transposed, &whole], &[&shuffled], &[]);
        let images = parts[0].images.iter().zip(&parts[1].images).map(|(left, right)| {
            let joined = apply(&Op::Concat(Concat { axis: 3 }), &[left, right]);
            let [_, rows, columns, _] = extents(&joined);
            let apart = joined.reshaped(vec![1, rows, columns, 2, channels / 2]);
            apply(&Op::Transpose(Transpose { permutation: vec![0, 1, 2, 4, 3] }), &[&apart])
                .reshaped(joined.shape.clone())
        });
        value(&shuffled, [height, width, channels], images)
    }

    /// Every pixel four times.
    pub fn upsample(&mut self, name: &str, x: &Value) -> Value {
        let scales = format!("{name}/scales");
        self.writer.floats(&scales, &[4], &[1.0, 1.0, 2.0, 2.0]);
        let attributes = [
            ("mode", Attribute::Text("nearest")),
            ("coordinate_transformation_mode", Attribute::Text("asymmetric")),
            ("nearest_mode", Attribute::Text("floor")),
        ];
        self.writer.node("Resize", &[&x.name, "", &scales], &[name], &attributes);
        let [height, width, channels] = x.shape;
        let images = x.images.iter().map(|image| apply(&Op::Resize(Resize::by([2, 2])), &[image]));
        value(name, [2 * height, 2 * width, channels], images)
    }

    /// The channels of several values.
    pub fn concat(&mut self, name: &str, parts: &[&Value]) -> Value {
        let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
        self.writer.node("Concat", &names, &[name], &[("axis", Attribute::Int(1))]);
        let [height, width, _] = parts[0].shape;
        let channels = parts.iter().map(|part| part.channels()).sum();
        let images = (0..parts[0].images.len()).map(|image| {
            let operands: Vec<&Tensor> = parts.iter().map(|part| &part.images[image]).collect();
            apply(&Op::Concat(Concat { axis: 3 }), &operands)
        });
        value(name, [height, width, channels], images)
    }

    /// The sum of two values.
    pub fn add(&mut self, name: &str, x: &Value, y: &Value) -> Value {
        self.writer.node("Add", &[&x.name, &y.name], &[name], &[]);
        let images = x.images.iter().zip(&y.images).map(|(x, y)| apply(&Op::Binary(Binary::Add), &[x, y]));
        value(name, x.shape, images)
    }

    /// An activation of its own.
    pub fn activate(&mut self, name: &str, x: &Value, activation: Activation) -> Value {
        let unary = |op: Unary| move |image: &Tensor| apply(&Op::Unary(op), &[image]);
        match activation {
            Activation::None => x.clone(),
            Activation::Relu => {
                self.writer.node("Relu", &[&x.name], &[name], &[]);
                value(name, x.shape, x.images.iter().map(unary(Unary::Relu)))
            }
            Activation::Relu6 => {
                let [least, most] = ["least", "most"].map(|bound| format!("{name}/{bound}"));
                self.writer.floats(&least, &[], &[0.0]);
                self.writer.floats(&most, &[], &[6.0]);
                self.writer.node("Clip", &[&x.name, &least, &most], &[name], &[]);
                value(name, x.shape, x.images.iter().map(unary(Unary::Clip { lo: 0.0, hi: 6.0 })))
            }
            Activation::Sigmoid => {
                self.writer.node("Sigmoid", &[&x.name], &[name], &[]);
                value(name, x.shape, x.images.iter().map(unary(Unary::Sigmoid)))
            }
            Activation::Silu => {
                let gate = self.activate(&format!("{name}/gate"), x, Activation::Sigmoid);
                self.writer.node("Mul", &[&x.name, &gate.name], &[name], &[]);
                let images = x.images.iter().zip(&gate.images);
                value(name, x.shape, images.map(|(x, gate)| apply(&Op::Binary(Binary::Mul), &[x, gate])))
            }
        }
    }

    /// The mean of each channel.
    pub fn mean(&mut self, name: &str, x: &Value) -> Value {
        self.writer.node("GlobalAveragePool", &[&x.name], &[name], &[]);
        let mean = |image: &Tensor| {
            let channels = x.channels();
            let means: Vec<f32> =
                statistics(std::slice::from_ref(image), channels).iter().map(|&(mean, _)| mean as f32).collect();
            Tensor::f32([1, 1, 1, channels], means)
        };
        value(name, [1, 1, x.channels()], x.images.iter().map(mean))
    }

    /// A fully connected layer on a value of one pixel, as an output `[1,outputs]`.
    pub fn classify(&mut self, name: &str, x: &Value, outputs: usize) {
        let flat = format!("{name}/flat");
        self.writer.node("Flatten", &[&x.name], &[&flat], &[("axis", Attribute::Int(1))]);
        let layer = Layer::pointwise(outputs).linear(0.0, 2.0);
        let drawn = self.draw(x, layer, None);
        let [weight, bias] = self.write_parameters(name, &[outputs, x.channels()], &drawn);
        self.count(&drawn, [1, 1]);
        self.writer.node("Gemm", &[&flat, &weight, &bias], &[name], &[("transB", Attribute::Int(1))]);
        self.writer.output(name, &[1, outputs]);
    }

    /// A value as an output whose rows are the pixels: `[1,pixels,channels]`.
    pub fn output_rows(&mut self, name: &str, x: &Value) {
        let [height, width, channels] = x.shape;
        let [shape, flat] = ["shape", "flat"].map(|part| format!("{name}/{part}"));
        self.writer.integers(&shape, &[1, channels as i64, (height * width) as i64]);
        self.writer.node("Reshape", &[&x.name, &shape], &[&flat], &[]);
        self.writer.node("Transpose", &[&flat], &[name], &[("perm", Attribute::Ints(&[0, 2, 1]))]);
        self.writer.output(name, &[1, height * width, channels]);
    }

    /// A value as an output of another name.
    pub fn output(&mut self, name: &str, x: &Value) {
        self.writer.node("Identity", &[&x.name], &[name], &[]);
        let [height, width, channels] = x.shape;
        self.writer.output(name, &[1, channels, height, width]);
    }

    /// Draws weights and bias for a layer and writes them: their names, and the layer's result
    /// before the activation. `distances` are those of a deformable layer on each image.
    fn weights(&mut self, name: &str, x: &Value, layer: Layer, distances: Option<&[Tensor]>) -> ([String; 2], Value) {
        let drawn = self.draw(x, layer, distances);
        let names = self.write_parameters(name, &[layer.outputs, drawn.depth, layer.kernel, layer.kernel], &drawn);
        let [height, width] = [x.shape[0], x.shape[1]].map(|extent| extent.div_ceil(layer.stride));
        self.count(&drawn, [height, width]);
        let result = format!("{name}/{}", if layer.activation == Activation::None { "result" } else { "sum" });
        (names, value(&result, [height, width, layer.outputs], drawn.images.into_iter()))
    }

    /// Draws weights and bias for a layer, scaled by what it gives on the images.
    fn draw(&mut self, x: &Value, layer: Layer, distances: Option<&[Tensor]>) -> Drawn {
        let depth = if layer.depthwise { 1 } else { x.channels() };
        let taps = layer.kernel * layer.kernel;
        let shape = vec![layer.outputs, layer.kernel, layer.kernel, depth];
        let count = layer.outputs * taps * depth;
        let mut weights: Vec<f32> = (0..count).map(|_| self.bell() as f32).collect();
        let drawn = Tensor::f32(shape, weights.clone());
        let geometry = layer.geometry();
        let conv = Op::Conv(Conv { geometry });
        let deform = Op::DeformConv(DeformConv { geometry, sampling: Sampling::Square, modulated: false });
        let still = Tensor::f32([layer.outputs], vec![0.0; layer.outputs]);
        let run = |(index, image): (usize, &Tensor)| match distances {
            None => apply(&conv, &[image, &drawn]),
            Some(distances) => apply(&deform, &[image, &drawn, &still, &distances[index]]),
        };
        let raw: Vec<Tensor> = x.images.iter().enumerate().map(run).collect();

        let scales: Vec<(f64, f64)> = statistics(&raw, layer.outputs)
            .into_iter()
            .map(|(mean, spread)| {
                let factor = layer.spread / spread.max(LEAST_SPREAD);
                (factor, layer.mean - mean * factor)
            })
            .collect();
        for (filter, (factor, _)) in weights.chunks_exact_mut(taps * depth).zip(&scales) {
            filter.iter_mut().for_each(|weight| *weight = (f64::from(*weight) * factor) as f32);
        }
        let biases: Vec<f32> = scales.iter().map(|&(_, bias)| bias as f32).collect();
        let scaled = |image: &Tensor| {
            let values = image.f32s().iter().enumerate().map(|(position, &value)| {
                let (factor, bias) = scales[position % layer.outputs];
                (f64::from(value) * factor + bias) as f32
            });
            Tensor::f32(image.shape.clone(), values.collect::<Vec<f32>>())
        };
        let images = raw.iter().map(scaled).collect();
        Drawn { taps, depth, weights, biases, images }
    }

    /// Writes weights, of a shape with the taps last as ONNX has them, and bias: their names.
    fn write_parameters(&mut self, name: &str, shape: &[usize], drawn: &Drawn) -> [String; 2] {
        let &Drawn { taps, depth, ref weights, ref biases, .. } = drawn;
        let filters = weights.chunks_exact(taps * depth);
        let taps_last: Vec<f32> =
            filters.flat_map(|filter| (0..taps * depth).map(move |to| filter[to % taps * depth + to / taps])).collect();
        let names = [format!("{name}/weight"), format!("{name}/bias")];
        self.writer.floats(&names[0], shape, &taps_last);
        self.writer.floats(&names[1], &[biases.len()], biases);
        names
    }

    fn count(&mut self, drawn: &Drawn, [height, width]: [usize; 2]) {
        self.parameters += (drawn.weights.len() + drawn.biases.len()) as u64;
        self.macs += (drawn.weights.len() * height * width) as u64;
    }

    fn finished(&mut self, name: &str, layer: Layer, y: Value) -> Value {
        self.activate(&format!("{name}/result"), &y, layer.activation)
    }

    /// A number with the mean 0, the variance 1 and nearly the shape of a normal distribution: a
    /// sum of four uniform ones, which needs no function that differs between machines.
    fn bell(&mut self) -> f64 {
        let sum: f64 = (0..4).map(|_| self.random.real(-1.0, 1.0)).sum();
        sum * 0.75f64.sqrt()
    }
}

/// Weights and bias of a layer, taps before channels, and what it gives on each image.
struct Drawn {
    taps: usize,
    depth: usize,
    weights: Vec<f32>,
    biases: Vec<f32>,
    images: Vec<Tensor>,
}

fn value(name: &str, shape: [usize; 3], images: impl Iterator<Item = Tensor>) -> Value {
    Value { name: name.to_owned(), shape, images: images.collect() }
}

fn extents(image: &Tensor) -> [usize; 4] {
    image.shape[..].try_into().expect("invariant: images have four axes")
}

/// An operator's value on float operands.
fn apply(op: &Op, operands: &[&Tensor]) -> Tensor {
    let types: Vec<TensorType> = operands.iter().map(|operand| TensorType::f32(operand.shape.clone())).collect();
    let types: Vec<&TensorType> = types.iter().collect();
    let ty = op.infer(&types).expect("invariant: the layers of a network fit together");
    op.eval(&ty, &types, operands)
}

/// Mean and standard deviation of each channel over all pixels of all images.
fn statistics(images: &[Tensor], channels: usize) -> Vec<(f64, f64)> {
    let mut sums = vec![(0.0f64, 0.0f64); channels];
    let mut count = 0.0;
    for image in images {
        for pixel in image.f32s().chunks_exact(channels) {
            count += 1.0;
            for (sum, &value) in sums.iter_mut().zip(pixel) {
                sum.0 += f64::from(value);
                sum.1 += f64::from(value).powi(2);
            }
        }
    }
    let moments = |(sum, squares): (f64, f64)| {
        let mean = sum / count;
        (mean, (squares / count - mean * mean).max(0.0).sqrt())
    };
    sums.into_iter().map(moments).collect()
}
