//! Transposed convolution of images and of sequences, as ordinary convolutions.
//!
//! Results whose positions agree modulo the stride, a phase, are an ordinary convolution of the
//! operand by every stride-th tap, in reverse order (Shi et al., "Is the deconvolution layer the
//! same as a convolutional layer?", 2016). A convolution gives all phases of columns at once, as
//! groups of channels, and images that are channels last hold them side by side already. Phases of
//! rows are joined row by row.

use super::select::range;
use super::{Imported, one};
use crate::import::Importer;
use crate::literal::Literal;
use crate::node::Node;
use crate::value::Value;
use lutweave_ir::op::{Concat, Conv, Geometry, Select};
use lutweave_ir::{Diagnostic, NodeId, Op};

/// No dilation or padding may be larger.
const MAX_EXTENT: usize = 65_535;

/// Largest stride: every row between two of the operand is a convolution of its own.
pub const MAX_STRIDE: usize = 16;

/// Most pixels of the operand that one result may depend on, along an axis.
const MAX_SPAN: usize = 64;

/// Most weights of the ordinary convolutions together, zeros included.
const MAX_WEIGHTS: usize = 1 << 27;

/// One axis.
#[derive(Clone, Debug)]
pub struct Axis {
    /// Extent of the operand.
    pub extent: usize,
    /// Taps.
    pub kernel: usize,
    /// Distance of the operand's elements in the result.
    pub stride: usize,
    /// Distance of the taps.
    pub dilation: usize,
    /// Results cut off at the start.
    pub before: isize,
    /// Extent of the result.
    pub output: usize,
}

/// Where a phase's taps read, relative to the pixel that the phase belongs to.
#[derive(Clone, Debug, PartialEq)]
struct Phase {
    /// Tap of the transposed convolution, and the pixel's distance.
    taps: Vec<(usize, isize)>,
}

/// `ConvTranspose`: operands `x`, `w [i,o/g,..]`, `b [o]`.
pub fn conv_transpose(importer: &mut Importer, node: &Node) -> Imported {
    let x = importer.float(node, 0)?;
    let weights = node.parameter(1, "the convolution's weights")?;
    let weights = weights.literal().ok_or_else(|| node.not_constant("the convolution's weights"))?;
    let bias = match node.optional(2) {
        Some(_) => Some(node.parameter(2, "the convolution's bias")?),
        None => None,
    };
    one(importer, |importer| convolve(importer, node, x, &weights, bias.as_ref()))
}

fn convolve(
    importer: &mut Importer,
    node: &Node,
    x: NodeId,
    weights: &Literal,
    bias: Option<&Value>,
) -> Result<NodeId, Diagnostic> {
    let (shape, kernel) = (importer.shape(x).to_vec(), weights.shape.clone());
    let rank = shape.len();
    let groups = usize::try_from(node.int("group").unwrap_or(1)).unwrap_or(0);
    if !(3..=4).contains(&rank) {
        return Err(node.unsupported(
            format!("an operand of shape {shape:?}"),
            "only transposed convolutions of images and of sequences can be compiled",
        ));
    }
    let fits = kernel.len() == rank && !kernel.contains(&0) && !shape.contains(&0);
    if !fits || groups == 0 || kernel[0] != shape[1] || !kernel[0].is_multiple_of(groups) {
        let message =
            format!("weights of shape {kernel:?} in {groups} groups do not fit the operand of shape {shape:?}");
        return Err(node.invalid(message));
    }
    if node.ints("kernel_shape").is_some_and(|given| !given.iter().copied().eq(kernel[2..].iter().map(|&k| k as i64))) {
        return Err(node.invalid(format!("`kernel_shape` contradicts the weights of shape {kernel:?}")));
    }
    // A sequence is an image of height 1.
    let mut axes = axes(node, &shape[2..], &kernel[2..])?;
    if rank == 3 {
        axes.insert(0, Axis { extent: 1, kernel: 1, stride: 1, dilation: 1, before: 0, output: 1 });
    }
    let [rows, columns] = &axes[..] else { return Err(node.invalid("the operand is no image")) };
    let outputs = kernel[1] * groups;
    let taps = Taps { weights: weights.to_floats(), outputs: kernel[1], groups, rows, columns };
    let bias = match bias {
        None => vec![0.0; outputs],
        Some(bias) => bias.literal().ok_or_else(|| node.not_constant("the convolution's bias"))?.to_floats(),
    };
    if bias.len() != outputs {
        return Err(node.invalid(format!("the bias has {} values for {outputs} channels", bias.len())));
    }
    let image = importer.image(node, x)?;
    let y = taps.apply(importer, node, image, &bias)?;
    importer.model_layout(y, rank)
}

/// The spatial axes of the model.
fn axes(node: &Node, spatial: &[usize], kernel: &[usize]) -> Result<Vec<Axis>, Diagnostic> {
    let rank = spatial.len();
    let strides = node.extents("strides", 1, rank)?;
    let dilations = node.extents("dilations", 1, rank)?;
    let padding = node.extents("output_padding", 0, rank)?;
    let pads = node.extents("pads", 0, 2 * rank)?;
    let wanted = node.ints("output_shape");
    if wanted.is_some_and(|wanted| wanted.len() < rank) {
        return Err(node.invalid(format!("`output_shape` has fewer than {rank} extents")));
    }
    let automatic = node.string("auto_pad", "NOTSET");
    let mut axes = Vec::new();
    for index in 0..rank {
        let (extent, stride, dilation) = (spatial[index], strides[index], dilations[index]);
        let wide =
            [dilation, pads[index], pads[rank + index], padding[index]].iter().any(|&extent| extent > MAX_EXTENT);
        if stride == 0 || dilation == 0 || wide {
            return Err(node
                .invalid(format!("strides, dilations and padding must be at most {MAX_EXTENT}, the first two not 0")));
        }
        if stride > MAX_STRIDE {
            return Err(node.unsupported(
                format!("a stride of {stride}"),
                format!("transposed convolutions with strides of at most {MAX_STRIDE} can be compiled"),
            ));
        }
        let span = (kernel[index] - 1).saturating_mul(dilation).saturating_add(1);
        let whole = (extent - 1).saturating_mul(stride).saturating_add(span).saturating_add(padding[index]);
        // Of a window's rounding half, `SAME_UPPER` cuts the smaller part at the start.
        let halves = |total: isize| {
            let smaller = total.div_euclid(2);
            if automatic == "SAME_UPPER" { smaller } else { total - smaller }
        };
        // What `output_shape` says of the spatial axes stands at its end.
        let given = wanted.map(|wanted| wanted[wanted.len() - rank + index]);
        let (before, output) = match (given, automatic) {
            (Some(output), _) => {
                let output = usize::try_from(output).map_err(|_| node.invalid("`output_shape` is negative"))?;
                (halves(whole.saturating_sub(output) as isize), output)
            }
            (None, "NOTSET" | "" | "VALID") => {
                let (before, after) = if automatic == "VALID" { (0, 0) } else { (pads[index], pads[rank + index]) };
                (before as isize, whole.saturating_sub(before.saturating_add(after)))
            }
            // A window shorter than the stride leaves less than nothing to be cut: zeros at the start.
            (None, "SAME_UPPER" | "SAME_LOWER") => {
                let output = extent.saturating_mul(stride);
                (halves(whole as isize - output as isize), output)
            }
            (None, other) => return Err(node.invalid(format!("`auto_pad` is `{other}`"))),
        };
        if output == 0 {
            return Err(node.invalid(format!("nothing is left of axis {}", index + 2)));
        }
        axes.push(Axis { extent, kernel: kernel[index], stride, dilation, before, output });
    }
    Ok(axes)
}

impl Axis {
    /// Results of each phase, those behind the end included.
    fn positions(&self) -> usize {
        self.output.div_ceil(self.stride)
    }

    /// The taps of each phase. Result `stride * q + phase` takes tap `k` of pixel `q + distance`
    /// where `stride * distance = phase + before - dilation * k`.
    fn phases(&self) -> Vec<Phase> {
        let stride = self.stride as isize;
        let phase = |phase: usize| {
            let tap = |tap: usize| {
                let reach = phase as isize + self.before - (self.dilation * tap) as isize;
                (reach.rem_euclid(stride) == 0).then_some((tap, reach.div_euclid(stride)))
            };
            Phase { taps: (0..self.kernel).filter_map(tap).collect() }
        };
        (0..self.stride).map(phase).collect()
    }
}

/// First and last distance of the taps of some phases. It holds 0 at least, so that padding at the
/// start is not negative.
fn window(phases: &[Phase]) -> (isize, isize) {
    let distances = || phases.iter().flat_map(|phase| &phase.taps).map(|&(_, distance)| distance);
    (distances().min().unwrap_or(0).min(0), distances().max().unwrap_or(0).max(0))
}

fn span((first, last): (isize, isize)) -> usize {
    last.abs_diff(first) + 1
}

/// The weights `[i,o/g,rows,columns]` and what they slide over.
pub struct Taps<'a> {
    /// In row-major order.
    pub weights: Vec<f32>,
    /// Outputs of a group.
    pub outputs: usize,
    /// Groups of channels.
    pub groups: usize,
    /// The vertical axis.
    pub rows: &'a Axis,
    /// The horizontal axis.
    pub columns: &'a Axis,
}

impl Taps<'_> {
    /// The transposed convolution of an image `[n,h,w,i]`, with a bias for each of the `o`
    /// channels.
    ///
    /// # Errors
    /// If it would take more room than any sensible model.
    pub fn apply(
        &self,
        importer: &mut Importer,
        node: &Node,
        image: NodeId,
        bias: &[f32],
    ) -> Result<NodeId, Diagnostic> {
        self.check(node)?;
        let (rows, columns) = (self.rows, self.columns);
        let (batch, outputs) = (importer.shape(image)[0], self.outputs * self.groups);
        let mut parts = Vec::new();
        for phase in 0..rows.stride {
            let part = self.convolution(importer, node, image, phase, bias)?;
            let wide = [batch, rows.positions(), columns.positions() * columns.stride, outputs];
            let part = importer.reshape(part, &wide)?;
            parts.push(range(importer, part, 2, 0, columns.output, 1)?);
        }
        let joined = if parts.len() == 1 { parts[0] } else { importer.emit(Op::Concat(Concat { axis: 2 }), &parts)? };
        let tall = [batch, rows.positions() * rows.stride, columns.output, outputs];
        let joined = importer.reshape(joined, &tall)?;
        range(importer, joined, 1, 0, rows.output, 1)
    }

    /// Inputs of a group.
    fn inputs(&self) -> usize {
        self.weights.len() / (self.outputs * self.rows.kernel * self.columns.kernel * self.groups)
    }

    /// Refuses what would take more room than any sensible model.
    fn check(&self, node: &Node) -> Result<(), Diagnostic> {
        let spans = [self.rows, self.columns].map(|axis| span(window(&axis.phases())));
        let channels = self.outputs * self.groups * self.inputs();
        let area = spans[0].saturating_mul(spans[1]);
        let weights = area.saturating_mul(channels).saturating_mul(self.rows.stride * self.columns.stride);
        if spans.iter().any(|&span| span > MAX_SPAN) || weights > MAX_WEIGHTS {
            return Err(node.unsupported(
                format!("a result depends on {} x {} pixels of the operand", spans[0], spans[1]),
                format!("use kernels and padding that stay within {MAX_SPAN} pixels"),
            ));
        }
        Ok(())
    }

    /// One phase of rows with all phases of columns: `[n,positions,positions,phases*o]`.
    fn convolution(
        &self,
        importer: &mut Importer,
        node: &Node,
        image: NodeId,
        row: usize,
        bias: &[f32],
    ) -> Result<NodeId, Diagnostic> {
        let (rows, columns) = (&self.rows.phases()[row], self.columns.phases());
        let (vertical, horizontal) = (window(std::slice::from_ref(rows)), window(&columns));
        let (height, width, inputs) = (span(vertical), span(horizontal), self.inputs());
        let phases = columns.len();
        // Output channels of a group stand together: group, phase, channel.
        let mut weights = vec![0.0f32; self.groups * phases * self.outputs * height * width * inputs];
        for group in 0..self.groups {
            for (phase, taps) in columns.iter().enumerate() {
                for output in 0..self.outputs {
                    let channel = (group * phases + phase) * self.outputs + output;
                    for &(i, down) in &rows.taps {
                        for &(j, right) in &taps.taps {
                            let (y, x) = (down.abs_diff(vertical.0), right.abs_diff(horizontal.0));
                            for input in 0..inputs {
                                let from = (group * inputs + input) * self.outputs + output;
                                let from = (from * self.rows.kernel + i) * self.columns.kernel + j;
                                weights[((channel * height + y) * width + x) * inputs + input] = self.weights[from];
                            }
                        }
                    }
                }
            }
        }
        let channels = self.groups * phases * self.outputs;
        let ordered: Vec<usize> = (0..phases * self.groups * self.outputs)
            .map(|to| {
                let (phase, rest) = (to / (self.groups * self.outputs), to % (self.groups * self.outputs));
                let (group, output) = (rest / self.outputs, rest % self.outputs);
                (group * phases + phase) * self.outputs + output
            })
            .collect();
        let mut biases = vec![0.0; channels];
        for (to, &from) in ordered.iter().enumerate() {
            biases[from] = bias[to % bias.len()];
        }
        let literal = |shape: Vec<usize>, data| Literal::floats(shape, data).map_err(|message| node.invalid(message));
        let weights = Value::Constant(literal(vec![channels, height, width, inputs], weights)?);
        let biases = Value::Constant(literal(vec![channels], biases)?);
        let [above, below] = padding(self.rows, vertical);
        let [left, right] = padding(self.columns, horizontal);
        let geometry =
            Geometry { strides: [1, 1], dilations: [1, 1], pads: [above, left, below, right], groups: self.groups };
        let operands = [image, importer.node_as(&weights, "weights")?, importer.node_as(&biases, "bias")?];
        let mut y = importer.emit(Op::Conv(Conv { geometry }), &operands)?;
        if self.groups > 1 && phases > 1 {
            y = importer.emit(Op::Select(Select { channels: ordered }), &[y])?;
        }
        let y = range(importer, y, 1, 0, self.rows.positions(), 1)?;
        range(importer, y, 2, 0, self.columns.positions(), 1)
    }
}

/// Zeros before and behind an axis that give at least a window for each position.
fn padding(axis: &Axis, (first, last): (isize, isize)) -> [usize; 2] {
    let behind = axis.positions() as isize + last - axis.extent as isize;
    [first.unsigned_abs(), behind.max(0).unsigned_abs()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(kernel: usize, stride: usize, before: isize) -> Axis {
        Axis { extent: 4, kernel, stride, dilation: 1, before, output: 4 * stride }
    }

    #[test]
    fn kernels_as_wide_as_the_stride_read_one_pixel() {
        let phases = axis(2, 2, 0).phases();
        assert_eq!(phases, [Phase { taps: vec![(0, 0)] }, Phase { taps: vec![(1, 0)] }]);
        assert_eq!(window(&phases), (0, 0));
    }

    #[test]
    fn wider_kernels_read_neighbours() {
        let phases = axis(4, 2, 1).phases();
        assert_eq!(phases, [Phase { taps: vec![(1, 0), (3, -1)] }, Phase { taps: vec![(0, 1), (2, 0)] }]);
        assert_eq!(padding(&axis(4, 2, 1), window(&phases)), [1, 1]);
    }

    #[test]
    fn strides_beyond_the_kernel_leave_phases_empty() {
        let phases = axis(1, 3, 0).phases();
        assert_eq!(phases.iter().map(|phase| phase.taps.len()).collect::<Vec<_>>(), [1, 0, 0]);
    }
}
