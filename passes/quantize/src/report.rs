//! What quantization did to each layer.

use super::weights::ScaleChoice;
use crate::compress::WeightConfig;
use lutweave_ir::NodeId;

/// One arithmetic layer of the integer graph.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerReport {
    /// The node in the normalised graph.
    pub(super) node: NodeId,
    /// Name of the integer node.
    pub name: String,
    /// Its operator's name in the text form.
    pub operator: &'static str,
    /// Width of the weights; `None` for operators without weights.
    pub weight_bits: Option<u8>,
    /// Where the weights' scales come from.
    pub scales: ScaleChoice,
    /// How the weights were compressed; `None` where the model gives them as integers.
    pub setting: Option<WeightConfig>,
    /// The relative error of the layer's output that compressing its weights alone makes, as the
    /// calibration samples predict it.
    pub distortion: Option<f64>,
    /// True if the bias was corrected for the mean error on the calibration samples.
    pub bias_corrected: bool,
    /// Output channels whose scale was corrected.
    pub scales_corrected: usize,
    /// Mean squared error of the result, in the model's units, against the float graph, errors of
    /// earlier layers included; `None` where no calibration samples were needed.
    pub mse: Option<f64>,
    /// Signal to quantization noise ratio of the result in decibel.
    pub sqnr_db: Option<f64>,
}
