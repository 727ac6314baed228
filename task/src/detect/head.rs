//! What the chip's head of a detector gives, read as detections.

use super::Detection;
use super::decode::Decode;
use lutweave_ir::op::TopPeaks;
use lutweave_ir::op::top_peaks::Peak;
use lutweave_ir::{Diagnostic, Graph, Op, Tensor, TensorType};
use lutweave_quantize::head::HeadSpec;
use serde::{Deserialize, Serialize};

/// The records that a compiled model gives instead of maps.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// Position among the model's outputs.
    output: usize,
    /// Types of the heatmap and of the maps.
    types: Vec<TensorType>,
}

/// A winner of the heatmap, in reals.
#[derive(Clone, Debug, PartialEq)]
pub struct Winner {
    /// Its value.
    pub logit: f64,
    /// Row, column and channel of the heatmap.
    pub place: [usize; 3],
    /// What the maps hold there, all channels in order.
    pub gathered: Vec<f64>,
}

/// How the bytes of a record are to be read: what `manifest.json` says of a circuit with a head.
///
/// A record holds the heatmap's value, its position `(row * width + column) * channels + channel`
/// in `index_bytes` bytes, low byte first, and for every channel of every map its value there.
/// Values are bytes `b` that stand for `scale * (b + least - zero_point)`. In the records that are
/// left over all index bytes are 255.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Layout {
    /// Name of the tensor.
    pub tensor: String,
    /// Records of an image, best first.
    pub records: usize,
    /// Bytes of the position.
    pub index_bytes: usize,
    /// The heatmap, then the maps.
    pub values: Vec<Values>,
}

/// One operand of a head.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Values {
    /// Name of the tensor in `graph.txt`.
    pub tensor: String,
    /// Extents, batch first, channels last.
    pub shape: Vec<usize>,
    /// The integer that the byte 0 stands for.
    pub least: i64,
    /// Real value of a step, where the integers stand for reals.
    pub scale: Option<f32>,
    /// The integer that stands for 0.
    pub zero_point: Option<i32>,
}

impl Head {
    /// The head of an integer graph, if it has one.
    pub fn of(graph: &Graph) -> Option<Self> {
        let is_head = |output: &usize| matches!(graph.node(graph.outputs()[*output]).op, Op::TopPeaks(_));
        let output = (0..graph.outputs().len()).find(is_head)?;
        let operands = &graph.node(graph.outputs()[output]).operands;
        Some(Self { output, types: operands.iter().map(|&id| graph.node(id).ty.clone()).collect() })
    }

    /// The winners of an image among a model's outputs, best first.
    ///
    /// # Errors
    /// If there are no records.
    pub fn winners(&self, outputs: &[Tensor]) -> Result<Vec<Winner>, Diagnostic> {
        let types: Vec<&TensorType> = self.types.iter().collect();
        let fields = TopPeaks::fields(&types);
        let records = outputs.get(self.output).filter(|records| records.shape.last() == Some(&fields));
        let records = records.ok_or_else(|| {
            Diagnostic::error("bad-task", format!("the model's output {} holds no records", self.output))
        })?;
        let real = |ty: &TensorType, value: i32| match ty.quantization {
            Some(quantization) => f64::from(quantization.dequantize(value)),
            None => f64::from(value),
        };
        let of_maps = || self.types[1..].iter().flat_map(|ty| std::iter::repeat_n(ty, ty.shape[3]));
        let winner = |Peak { value, row, column, channel, gathered }: Peak| Winner {
            logit: real(&self.types[0], value),
            place: [row, column, channel],
            gathered: of_maps().zip(gathered).map(|(ty, value)| real(ty, value)).collect(),
        };
        Ok(TopPeaks::peaks(records, &types).into_iter().map(winner).collect())
    }
}

impl Layout {
    /// Of the head of an integer graph.
    pub fn of(graph: &Graph) -> Option<Self> {
        let Head { output, types } = Head::of(graph)?;
        let node = graph.node(graph.outputs()[output]);
        let values = node.operands.iter().zip(&types).map(|(&operand, ty)| Values {
            tensor: graph.node(operand).name.clone(),
            shape: ty.shape.clone(),
            least: ty.element.range().map_or(0, |(least, _)| least),
            scale: ty.quantization.map(|quantization| quantization.scale),
            zero_point: ty.quantization.map(|quantization| quantization.zero_point),
        });
        Some(Self {
            tensor: node.name.clone(),
            records: node.ty.shape[2],
            index_bytes: TopPeaks::index_bytes(types[0].count()),
            values: values.collect(),
        })
    }
}

impl Decode {
    /// The head that picks and ranks what this decoding reads of outputs with these names.
    ///
    /// # Errors
    /// If there is no such head, or no such output.
    pub fn head(&self, names: &[String]) -> Result<HeadSpec, Diagnostic> {
        match self {
            Self::Centernet(decode) => decode.head(names),
            _ => Err(Diagnostic::error("no-head", "only heads of the kind `centernet` are built on the chip")
                .help("leave --head out: the host decodes the outputs")),
        }
    }

    /// Detections of one image, best first, from the winners of the head.
    ///
    /// # Errors
    /// If it does not read winners.
    pub fn detections_of(&self, winners: &[Winner]) -> Result<Vec<Detection>, Diagnostic> {
        match self {
            Self::Centernet(decode) => decode.detections_of(winners),
            _ => {
                Err(Diagnostic::error("bad-task", "[decode] is not of the kind `centernet`, but the circuit's head is")
                    .help("give the task file that the model was compiled with"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::decode::Outputs;
    use lutweave_hw::device;
    use lutweave_hw::elaborate::elaborate;
    use lutweave_hw::plan::plan;
    use lutweave_hw::rtl::harness::Stimulus;
    use lutweave_ir::op::{Dequantize, Transpose};
    use lutweave_ir::random::SplitMix64;
    use lutweave_ir::split::split;
    use lutweave_ir::{Element, NodeId, Quantization, interpret};

    const NAMES: [&str; 3] = ["offset", "heat", "size"];

    /// The outputs of a detector that are integers up to here, and its decoding.
    struct Detector {
        graph: Graph,
        decode: Decode,
        shapes: [[usize; 4]; 3],
    }

    impl Detector {
        fn random(random: &mut SplitMix64) -> Self {
            let mut graph = Graph::new("detector");
            let [height, width, classes] = [0; 3].map(|_| random.between(1, 9));
            let channels = [2, classes, 2];
            let outputs: Vec<NodeId> = (0..3)
                .map(|output| {
                    let element = random.pick(&[Element::I8, Element::U8, Element::I4]);
                    let zero_point = random.integer(0, 7);
                    let scale = random.real(0.01, 0.9) as f32;
                    let ty = TensorType::int([1, height, width, channels[output]], element);
                    let ty = ty.quantized(Quantization { scale, zero_point });
                    let x = graph.input(NAMES[output], ty);
                    let real = graph.add("real", Op::Dequantize(Dequantize), &[x]).expect("an integer");
                    graph
                        .add("out", Op::Transpose(Transpose { permutation: vec![0, 3, 1, 2] }), &[real])
                        .expect("four axes")
                })
                .collect();
            graph.set_outputs(outputs);
            // Fewer than there are peaks, and more.
            let most = if random.chance(50) { 6 } else { 150 };
            let limit = random.between(1, most);
            let form = random.pick(&["linear", "log"]);
            let text = format!(
                "kind = \"centernet\"\nheatmap = \"heat\"\nsize = \"size\"\nsize_form = \"{form}\"\n\
                 offset = \"offset\"\nstride = 4\nlimit = {limit}\n"
            );
            let decode = toml::from_str(&text).expect("it is a decoding");
            Self { graph, decode, shapes: channels.map(|channels| [1, height, width, channels]) }
        }

        /// An image of few logits, so that many are equal, down to the smallest.
        fn image(&self, random: &mut SplitMix64) -> Vec<Tensor> {
            let levels = random.between(1, 4) as i32;
            let mut value = |output: usize| {
                let (lo, hi) = self.graph.node(self.graph.inputs()[output]).ty.element.range().expect("an integer");
                let any = random.integer(lo as i32, hi as i32);
                if output == 1 { lo as i32 + any.rem_euclid(levels) } else { any }
            };
            let tensor = |output: usize| {
                let shape = self.shapes[output];
                Tensor::int(shape, (0..shape.iter().product()).map(|_| value(output)).collect::<Vec<_>>())
            };
            (0..3).map(tensor).collect()
        }
    }

    #[test]
    fn chip_and_host_find_the_same() {
        let names = NAMES.map(str::to_owned);
        let device = device::find("ulx3s-85f").expect("it is known");
        let (mut most, mut full) = (0, 0);
        for seed in 0..60 {
            let mut random = SplitMix64::new(seed);
            let detector = Detector::random(&mut random);
            let images: Vec<Vec<Tensor>> = (0..3).map(|_| detector.image(&mut random)).collect();
            let request = detector.decode.head(&names).expect("the outputs are there");
            let with_head = lutweave_quantize::head::attach(&detector.graph, &request).expect("the outputs fit");
            let head = Head::of(&with_head).expect("it has one");
            let core = split(&with_head).expect("it has a core").core;
            let jit = lutweave_cpu::compile_jit(&core).expect("it compiles");
            let design = elaborate(&core, &plan(&core, 1, &device).expect("it has hardware"));
            let mut simulator = lutweave_wasm::Simulator::new(&design).expect("it is a design");
            let frames = images.iter().map(|image| image.iter().map(|x| x.ints().to_vec()).collect()).collect();
            let stimulus = Stimulus { frames, stall_seed: seed as u32, ..Stimulus::default() };
            let trace = simulator.run(&stimulus).expect("it runs");
            let shape = &core.node(core.outputs()[0]).ty.shape;
            for (image, frame) in images.iter().zip(trace.frames) {
                let values = interpret::run(&detector.graph, image).expect("it runs");
                let expected = detector.decode.detections(&Outputs { names: &names, values: &values });
                let expected = expected.expect("the outputs fit");
                let records = [
                    interpret::run(&with_head, image).expect("it runs"),
                    jit.run(image).expect("it runs"),
                    vec![Tensor::int(shape.clone(), frame[0].clone())],
                ];
                for records in records {
                    let winners = head.winners(&records).expect("there are records");
                    assert_eq!(detector.decode.detections_of(&winners).expect("they fit"), expected, "seed {seed}");
                }
                most = most.max(expected.len());
                full += usize::from(expected.len() == request.count);
            }
        }
        assert!(most > 30 && (20..160).contains(&full), "{most} {full}");
    }

    #[test]
    fn outputs_without_records_are_refused() {
        let mut random = SplitMix64::new(1);
        let detector = Detector::random(&mut random);
        assert_eq!(Head::of(&detector.graph), None);
        let request = detector.decode.head(&NAMES.map(str::to_owned)).expect("the outputs are there");
        assert_eq!((request.heatmap, &request.maps[..]), (1, &[2, 0][..]));
        let with_head = lutweave_quantize::head::attach(&detector.graph, &request).expect("the outputs fit");
        let head = Head::of(&with_head).expect("it has one");
        assert_eq!(head.winners(&[]).expect_err("there are none").code, "bad-task");
        assert_eq!(head.winners(&[Tensor::int([1, 2], vec![0, 0])]).expect_err("too small").code, "bad-task");
        assert!(detector.decode.head(&[]).is_err());
        let winner = Winner { logit: 0.0, place: [0; 3], gathered: vec![0.0; 3] };
        assert!(detector.decode.detections_of(&[winner]).is_err());
    }
}
