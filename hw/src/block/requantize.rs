//! The requantizer: bias, multiplication, rounding shift with the zero point, and clamp, one stage each.

use crate::rtl::build::Builder;
use crate::rtl::expr::{Expr, add, mul, mux, sub};
use crate::rtl::{PipelineId, SignalId, Statement, Ty};
use lutweave_ir::Requantize;

/// A pipeline from accumulators to activations.
#[derive(Clone, Copy, Debug)]
pub struct Requantizer {
    pipeline: PipelineId,
    /// 1 when [`Requantizer::result`] holds a result.
    pub valid: SignalId,
    /// The activations, one lane per accumulator lane.
    pub result: SignalId,
    /// Stages from launch to result.
    pub latency: u32,
    addressed: bool,
}

/// Per-channel constants of a requantizer.
#[derive(Clone, Debug)]
pub struct Parameters<'a> {
    /// Added to the accumulator: one per channel, or one for all.
    pub biases: &'a [i64],
    /// Multipliers, shifts, zero point and bounds.
    pub requantize: &'a Requantize,
    /// Number of channels.
    pub channels: usize,
    /// Tables of constants by channel are in logic, whatever their size.
    pub in_logic: bool,
}

/// Lane `index` of a signal, which may be a scalar.
pub fn lane(builder: &Builder, signal: SignalId, index: u32) -> Expr {
    if builder.ty(&signal.into()).lanes == 1 { Expr::Signal(signal) } else { Expr::Lane(signal, index) }
}

/// A vector of `lanes` expressions, or the scalar itself for one lane. The lane type holds all.
pub fn vector(builder: &Builder, lanes: Vec<Expr>) -> Expr {
    if lanes.len() == 1 {
        return lanes.into_iter().next().expect("one lane");
    }
    let ty = lanes.iter().map(|lane| builder.ty(lane)).reduce(crate::rtl::expr::union).expect("at least one lane");
    Expr::Pack(ty, lanes)
}

impl Requantizer {
    /// A requantizer of accumulators of type `accumulator` (with its lanes) whose beats run
    /// through the channels in order; the result has type `element` with as many lanes. A factor
    /// wider than `wide` bits is multiplied in two parts.
    pub fn new(builder: &mut Builder, parameters: &Parameters, accumulator: Ty, element: Ty, wide: u32) -> Self {
        let lanes = accumulator.lanes;
        let beats = (parameters.channels as u32 / lanes).max(1);
        let table = Table::new(parameters);
        let addressed = table.varies && beats > 1;
        let address = ("channel", Ty::holding(u64::from(beats - 1)));
        let inputs: Vec<(&str, Ty)> =
            [("accumulator", accumulator)].into_iter().chain(addressed.then_some(address)).collect();
        let (pipeline, arguments) = builder.pipeline("requantize", &inputs);
        let accumulator = arguments[0];

        builder.next_stage(pipeline);
        let constant = |builder: &mut Builder, name: &str, values: &[i64]| -> Vec<Expr> {
            if values.iter().all(|value| *value == values[0]) {
                return vec![Expr::Const(values[0]); lanes as usize];
            }
            if !addressed {
                return values.iter().map(|&value| Expr::Const(value)).collect();
            }
            let (lo, hi) = (values.iter().min().expect("a channel"), values.iter().max().expect("a channel"));
            let word = Ty::range((*lo).min(0), (*hi).max(0)).by(lanes);
            let rom = builder.rom(&format!("{name}_rom"), word, values.to_vec());
            if parameters.in_logic {
                builder.move_into_logic(rom);
            }
            let register = builder.stage(pipeline, name, Expr::Rom(rom, Box::new(arguments[1].into())));
            (0..lanes).map(|index| lane(builder, register, index)).collect()
        };
        let mut biases = constant(builder, "bias", &table.biases);
        let mut multipliers = constant(builder, "multiplier", &table.multipliers);
        let mut shifts = constant(builder, "shift", &table.shifts);
        let carry = |builder: &mut Builder, name: &str, values: &mut Vec<Expr>| {
            if values.iter().any(|value| !matches!(value, Expr::Const(_))) {
                let value = vector(builder, values.clone());
                let register = builder.stage(pipeline, name, value);
                *values = (0..lanes).map(|index| lane(builder, register, index)).collect();
            }
        };
        let sums = builder.stage(pipeline, "accumulator_0", accumulator.into());

        builder.next_stage(pipeline);
        let values = (0..lanes as usize)
            .map(|index| add(lane(builder, sums, index as u32), std::mem::replace(&mut biases[index], Expr::Const(0))))
            .collect();
        let value = vector(builder, values);
        // The biased accumulator fits 32 bits by validation of the graph.
        let mut ty = builder.ty(&value);
        ty.bits = ty.bits.min(32);
        let sums = builder.stage_typed(pipeline, "sum", ty, value);
        carry(builder, "multiplier_1", &mut multipliers);
        carry(builder, "shift_1", &mut shifts);

        // A sum that is wider than a hardware multiplier is split into an unsigned low part and
        // a signed high part.
        let low_bits = if wide <= UNSIGNED_UP_TO { wide } else { wide - 1 };
        let split = ty.bits > wide && table.multipliers.iter().any(|&multiplier| multiplier.count_ones() > 1);
        builder.next_stage(pipeline);
        let products = |builder: &Builder, part: &dyn Fn(Expr) -> Expr| {
            let values = (0..lanes)
                .map(|index| mul(part(lane(builder, sums, index)), multipliers[index as usize].clone()))
                .collect();
            vector(builder, values)
        };
        let mut product = if split {
            let high_bits = ty.bits - low_bits;
            let high = if wide <= UNSIGNED_UP_TO && high_bits <= ROWS {
                let row =
                    |index: u32| rows(lane(builder, sums, index), low_bits..ty.bits, &multipliers[index as usize]);
                vector(builder, (0..lanes).map(row).collect())
            } else {
                products(builder, &|sum| Expr::Shr(Box::new(sum), low_bits))
            };
            let high = builder.stage(pipeline, "product_high", high);
            // low = sum - (high << low_bits), an unsigned number of low_bits bits.
            let low_values = (0..lanes)
                .map(|index| {
                    mul(Expr::Low(Box::new(lane(builder, sums, index)), low_bits), multipliers[index as usize].clone())
                })
                .collect();
            let low = vector(builder, low_values);
            let low = builder.stage(pipeline, "product_low", low);
            carry(builder, "shift_2", &mut shifts);
            builder.next_stage(pipeline);
            let values = (0..lanes)
                .map(|index| add(Expr::Shl(Box::new(lane(builder, high, index)), low_bits), lane(builder, low, index)))
                .collect();
            let value = vector(builder, values);
            builder.stage(pipeline, "product", value)
        } else {
            let value = products(builder, &|sum| sum);
            builder.stage(pipeline, "product", value)
        };
        carry(builder, "shift_3", &mut shifts);

        // ((p >> (s-1)) + 1) >> 1 equals (p + 2^(s-1)) >> s, and shifts by one amount a lane. What is left to shift by is
        // the same for all channels. The zero point is added twice before the last bit falls.
        let least = *table.shifts.iter().min().expect("a channel");
        let left = if table.shifts.iter().any(|&shift| shift != least) {
            builder.next_stage(pipeline);
            let values = (0..lanes)
                .map(|index| {
                    let common = Expr::Shr(Box::new(lane(builder, product, index)), (least - 1) as u32);
                    let amount = match &shifts[index as usize] {
                        Expr::Const(shift) => Expr::Const(shift - least),
                        shift => Expr::Low(Box::new(sub(shift.clone(), least)), 6),
                    };
                    Expr::ShrBy(Box::new(common), Box::new(amount))
                })
                .collect();
            let value = vector(builder, values);
            product = builder.stage(pipeline, "aligned", value);
            0
        } else {
            least - 1
        };

        let requantize = parameters.requantize;
        builder.next_stage(pipeline);
        let half = |index: u32| Expr::Shr(Box::new(lane(builder, product, index)), left as u32);
        let offset = 2 * i64::from(requantize.zero_point) + 1;
        let values = (0..lanes).map(|index| Expr::Shr(Box::new(add(half(index), offset)), 1)).collect();
        let value = vector(builder, values);
        let rounded = builder.stage(pipeline, "rounded", value);

        builder.next_stage(pipeline);
        let values = (0..lanes)
            .map(|index| {
                let value = Box::new(lane(builder, rounded, index));
                Expr::Clamp(value, i64::from(requantize.lo), i64::from(requantize.hi))
            })
            .collect();
        let value = vector(builder, values);
        let result = builder.stage_typed(pipeline, "activation", element.by(lanes), value);
        let latency = builder.stages_of(pipeline);
        Self { pipeline, valid: builder.valid_of(pipeline), result, latency, addressed }
    }

    /// Launches accumulators of beat number `beat` of a pixel.
    pub fn launch(&self, accumulators: Expr, beat: Expr) -> Statement {
        let mut arguments = vec![accumulators];
        if self.addressed {
            arguments.push(beat);
        }
        Statement::Launch { pipeline: self.pipeline, arguments }
    }

    /// True if [`Requantizer::launch`] uses the beat number.
    pub fn is_addressed(&self) -> bool {
        self.addressed
    }
}

/// Hardware multipliers up to this width take unsigned operands of all their bits.
const UNSIGNED_UP_TO: u32 = 16;

/// Bits of a factor up to which its product is a sum of rows in logic, where multipliers are that narrow, and few.
const ROWS: u32 = 8;

/// The product of some of the upper bits of a signed value, its sign among them, and an unsigned factor: a row for each
/// bit, added in pairs.
fn rows(value: Expr, bits: std::ops::Range<u32>, factor: &Expr) -> Expr {
    let (first, last) = (bits.start, bits.end - 1);
    let row = |bit: u32| {
        let picked = Expr::Low(Box::new(Expr::Shr(Box::new(value.clone()), bit)), 1);
        mux(picked, Expr::Shl(Box::new(factor.clone()), bit - first), 0)
    };
    let mut sums: Vec<Expr> = (first..last).map(row).collect();
    while sums.len() > 1 {
        sums = sums.chunks(2).filter_map(|pair| pair.iter().cloned().reduce(add)).collect();
    }
    sub(sums.pop().unwrap_or(Expr::Const(0)), row(last))
}

/// The constants of all channels, with shifts of at least 1.
struct Table {
    biases: Vec<i64>,
    multipliers: Vec<i64>,
    shifts: Vec<i64>,
    varies: bool,
}

impl Table {
    fn new(parameters: &Parameters) -> Self {
        let channels = parameters.channels;
        let biases: Vec<i64> = (0..channels)
            .map(|channel| if parameters.biases.len() == 1 { parameters.biases[0] } else { parameters.biases[channel] })
            .collect();
        // (a * 2m + 1) >> 1 equals a * m, so that every shift is at least 1.
        let (multipliers, shifts): (Vec<i64>, Vec<i64>) = (0..channels)
            .map(|channel| {
                let (multiplier, shift) = parameters.requantize.factor(channel);
                if shift == 0 { (2 * i64::from(multiplier), 1) } else { (i64::from(multiplier), i64::from(shift)) }
            })
            .unzip();
        let varies =
            [&biases, &multipliers, &shifts].iter().any(|values| values.iter().any(|value| *value != values[0]));
        Self { biases, multipliers, shifts, varies }
    }
}
