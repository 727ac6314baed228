//! What the chip's head of a detector gives, read as detections.

use super::Detection;
use super::decode::Decode;
use lutweave_ir::op::TopPeaks;
use lutweave_ir::op::top_peaks::Peak;
use lutweave_ir::{Diagnostic, Graph, Op, Tensor, TensorType};
use lutweave_passes::head::Request;
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
    pub fn head(&self, names: &[String]) -> Result<Request, Diagnostic> {
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
            _ => Err(Diagnostic::error("bad-task", "[decode] is not of the kind `centernet`, but the circuit's head is")
                .help("give the task file that the model was compiled with")),
        }
    }
}
