//! Convolutions: choice of kernel and packing of weights.

use super::window::{Bordered, Layout, Sliding};
use super::{ByteRange, Lowering, byte_range, images};
use crate::program::{BLOCK, Dense, Depthwise, Kernel, Location, Requantizer, Walk};
use lutweave_ir::op::QConv;
use lutweave_ir::{Diagnostic, NodeId, Requantize};

/// Taps of a window that a depthwise kernel unrolls; larger windows loop over rows.
const UNROLLED_TAPS: usize = 25;

/// A convolution's constants, with the operand's offset folded into the biases.
struct Constants<'a> {
    /// `[o,kh,kw,i/groups]`.
    weights: &'a [i32],
    biases: Vec<i32>,
    /// Largest magnitude of every channel's accumulator.
    bounds: Vec<f64>,
    /// Extents after the first.
    kernel: [usize; 3],
    /// The dot product of bytes serves.
    dot4: bool,
}

impl Constants<'_> {
    fn weight(&self, channel: usize, tap: [usize; 3]) -> i32 {
        let [kh, kw, depth] = self.kernel;
        self.weights[((channel * kh + tap[0]) * kw + tap[1]) * depth + tap[2]]
    }

    /// Elements of one 32-bit lane of a dot product.
    fn lane(&self) -> usize {
        if self.dot4 { 4 } else { 2 }
    }

    fn push(&self, bytes: &mut Vec<u8>, weight: i32) {
        if self.dot4 {
            bytes.push(weight as i8 as u8);
        } else {
            bytes.extend((weight as i16).to_le_bytes());
        }
    }
}

/// What a kernel needs besides the weights.
#[derive(Clone, Copy)]
struct Placed {
    sliding: Sliding,
    bordered: Bordered,
    walk: Walk,
    target: Location,
    biases: usize,
    requantizer: Requantizer,
}

/// What a convolution is beside how its windows slide.
#[derive(Clone, Copy)]
pub(super) struct Filter<'a> {
    pub groups: usize,
    pub pad_value: i32,
    pub requantize: &'a Requantize,
}

impl Lowering<'_> {
    pub(super) fn convolution(&mut self, id: NodeId, conv: &QConv) -> Result<(), Diagnostic> {
        let node = self.graph.node(id);
        let [_, h, w, c] = images(self.operand_type(node, 0))?;
        let [_, height, width, _] = images(&node.ty)?;
        let kernel = &self.operand_type(node, 1).shape;
        let geometry = &conv.geometry;
        let sliding = Sliding {
            image: [h, w, c],
            output: [height, width],
            kernel: [kernel[1], kernel[2]],
            strides: geometry.strides,
            dilations: geometry.dilations,
            pads: [geometry.pads[0], geometry.pads[1]],
        };
        let source = self.data(node.operands[0])?;
        let filter = Filter { groups: geometry.groups, pad_value: conv.pad_value, requantize: &conv.requantize };
        self.filtered(id, Vec::new(), source, sliding, filter)
    }

    /// Windows that slide over an image at `source`, after kernels that make it, times the
    /// weights of a node.
    pub(super) fn filtered(
        &mut self,
        id: NodeId,
        mut kernels: Vec<Kernel>,
        source: Location,
        sliding: Sliding,
        filter: Filter,
    ) -> Result<(), Diagnostic> {
        let graph = self.graph;
        let node = graph.node(id);
        let [height, width] = sliding.output;
        let [_, _, _, channels] = images(&node.ty)?;
        let input = byte_range(self.operand_type(node, 0).element)?;
        let output = byte_range(node.ty.element)?;
        let depth = self.operand_type(node, 1).shape[3];
        let kernel = [sliding.kernel[0], sliding.kernel[1], depth];
        let weights = self.constant(node.operands[1], "weight operand")?;
        let biases = self.constant(node.operands[2], "bias operand")?;
        self.accumulator(id)?;
        let constants = fold(weights, biases, kernel, input, self.capabilities.dot4)?;
        let groups = filter.groups;
        let depthwise = groups > 1 && groups == channels && depth == 1;
        let layout = Layout {
            groups: if depthwise { 1 } else { groups },
            widen: !depthwise && !constants.dot4,
            border: (filter.pad_value - input.least) as u8,
        };
        let bordered = self.bordered(&mut kernels, source, &sliding, layout);
        let walk = Walk {
            rows: height,
            columns: width,
            source_row: sliding.strides[0] * bordered.width * bordered.pixel,
            source_column: sliding.strides[1] * bordered.pixel,
            target_row: width * channels,
            target_column: channels,
        }
        .flattened();
        let (walk, pixels) = if depthwise { walk.folded(channels) } else { (walk, 1) };
        let per_group = channels / layout.groups;
        let slots: Vec<Option<usize>> = (0..layout.groups)
            .flat_map(|group| {
                let slot = move |index| (index < per_group * pixels).then_some(group * per_group + index % per_group);
                (0..(per_group * pixels).next_multiple_of(BLOCK)).map(slot)
            })
            .collect();
        let bounds = &constants.bounds;
        let requantizer = self.requantizer(filter.requantize, &slots, output, true, |channel| bounds[channel]);
        let biases = slots
            .iter()
            .map(|slot| slot.map_or(0, |channel| constants.biases[channel].wrapping_add(requantizer.carried())));
        let biases = self.program.table(biases.flat_map(i32::to_le_bytes));
        let target = self.result(id);
        let placed = Placed { sliding, bordered, walk, target, biases, requantizer };
        kernels.push(if depthwise {
            Kernel::Depthwise(self.depthwise(&constants, &placed, channels * pixels))
        } else {
            Kernel::Dense(self.dense(&constants, &placed, groups, per_group))
        });
        self.push(kernels);
        Ok(())
    }

    fn dense(&mut self, constants: &Constants, placed: &Placed, groups: usize, channels: usize) -> Dense {
        let Placed { sliding, bordered, walk, target, biases, requantizer } = *placed;
        let [kh, kw, depth] = constants.kernel;
        let [row, column] =
            [sliding.dilations[0] * bordered.width * bordered.pixel, sliding.dilations[1] * bordered.pixel];
        // Neighbouring taps are one run of memory: a row of the window, or all of it.
        let joined_row = kw == 1 || sliding.dilations[1] == 1;
        let joined_all = joined_row && (kh == 1 || row == kw * bordered.pixel);
        let (taps, run) = match (joined_all, joined_row) {
            (true, _) => ([(1, 0), (1, 0)], kh * kw * depth),
            (false, true) => ([(1, 0), (kh, row)], kw * depth),
            (false, false) => ([(kh, row), (kw, column)], depth),
        };
        let lane = constants.lane();
        let units = run.div_ceil(lane);
        let runs = taps[0].0 * taps[1].0;
        let mut bytes = Vec::new();
        for group in 0..groups {
            for block in (0..channels).step_by(BLOCK) {
                let lanes = (channels - block).min(BLOCK).next_multiple_of(4);
                for (tap, unit) in (0..runs).flat_map(|tap| (0..units).map(move |unit| (tap, unit))) {
                    for (channel, element) in (0..lanes).flat_map(|c| (0..lane).map(move |e| (block + c, e))) {
                        let index = unit * lane + element;
                        let valid = index < run && channel < channels;
                        let flat = tap * run + index;
                        let position = [flat / (kw * depth), flat / depth % kw, flat % depth];
                        let weight = if valid { constants.weight(group * channels + channel, position) } else { 0 };
                        constants.push(&mut bytes, weight);
                    }
                }
            }
        }
        Dense {
            source: bordered.location,
            target,
            walk,
            groups,
            group_stride: bordered.plane,
            channels,
            taps,
            units,
            dot4: constants.dot4,
            weights: self.program.table(bytes),
            biases,
            requantizer,
        }
    }

    /// `channels` counts those of all pixels that are taken together.
    fn depthwise(&mut self, constants: &Constants, placed: &Placed, channels: usize) -> Depthwise {
        let Placed { sliding, bordered, walk, target, biases, requantizer } = *placed;
        let [kh, kw, _] = constants.kernel;
        let lane = constants.lane();
        let unrolled_rows = if kh * kw <= UNROLLED_TAPS { kh } else { 1 };
        // Neighbouring pixels share the columns of their windows where a lane takes a column.
        let columns = constants.dot4 && unrolled_rows == kh && (lane - 1..=lane).contains(&kh) && kw > 1;
        let groups: Vec<Vec<(usize, usize)>> = if columns {
            (0..kw).map(|x| (0..kh).map(|y| (y, x)).collect()).collect()
        } else {
            let taps: Vec<(usize, usize)> = (0..unrolled_rows).flat_map(|y| (0..kw).map(move |x| (y, x))).collect();
            taps.chunks(lane).map(<[_]>::to_vec).collect()
        };
        let rows = kh / unrolled_rows;
        let distinct = constants.biases.len();
        let mut bytes = Vec::new();
        for block in (0..channels).step_by(BLOCK) {
            for (row, group) in (0..rows).flat_map(|row| groups.iter().map(move |group| (row, group))) {
                for (channel, element) in (0..BLOCK).flat_map(|c| (0..lane).map(move |e| (block + c, e))) {
                    let weight = match group.get(element) {
                        Some(&(y, x)) if channel < channels => constants.weight(channel % distinct, [row + y, x, 0]),
                        Some(_) | None => 0,
                    };
                    constants.push(&mut bytes, weight);
                }
            }
        }
        let offset = |y: usize, x: usize| {
            (y * sliding.dilations[0] * bordered.width + x * sliding.dilations[1]) * bordered.pixel
        };
        Depthwise {
            source: bordered.location,
            target,
            walk,
            channels,
            groups: groups.iter().map(|group| group.iter().map(|&(y, x)| offset(y, x)).collect()).collect(),
            rows: (rows, offset(1, 0)),
            pixels: if columns { 2 } else { 1 },
            dot4: constants.dot4,
            weights: self.program.table(bytes),
            biases,
            requantizer,
        }
    }
}

/// Folds the operand's smallest value into the biases: `sum w * x = sum w * byte + least * sum w`.
fn fold<'a>(
    weights: &'a [i32],
    biases: &[i32],
    kernel: [usize; 3],
    input: ByteRange,
    dot4: bool,
) -> Result<Constants<'a>, Diagnostic> {
    if let Some(weight) = weights.iter().find(|&&weight| i16::try_from(weight).is_err()) {
        return Err(Diagnostic::error("unsupported-weights", format!("weight {weight} does not fit 16 bits"))
            .help("quantize the weights to at most 8 bits"));
    }
    let per_channel = kernel.iter().product();
    let mut folded = Vec::with_capacity(biases.len());
    let mut bounds = Vec::with_capacity(biases.len());
    for (channel, &bias) in weights.chunks_exact(per_channel).zip(biases) {
        let sum: i64 = channel.iter().map(|&weight| i64::from(weight)).sum();
        let bias = i64::from(bias) + sum * i64::from(input.least);
        let extreme = |keep: fn(i64) -> bool| {
            let terms = channel.iter().map(|&weight| i64::from(weight)).filter(|&weight| keep(weight));
            bias + terms.sum::<i64>() * i64::from(input.span)
        };
        let bound = extreme(|weight| weight > 0).abs().max(extreme(|weight| weight < 0).abs());
        // Additions modulo 2^32 give the accumulator, which fits; only it matters.
        folded.push(bias as i32);
        bounds.push((bound as f64).min(2_147_483_648.0));
    }
    let dot4 = dot4 && weights.iter().all(|&weight| i8::try_from(weight).is_ok());
    Ok(Constants { weights, biases: folded, bounds, kernel, dot4 })
}
