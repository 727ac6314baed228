//! Random tables, sums, products, and the blocks that end in one.

use super::builder::{Builder, Target, Value};
use super::rescaling;
use super::spread::{Spread, range};
use lutweave_ir::Op;
use lutweave_ir::op::{QAdd, QMul, Table};

impl Builder<'_> {
    /// A function by table: random, rising, S-shaped, a step or a bowl.
    pub fn table(&mut self, x: Value) -> Value {
        let target = self.target();
        self.table_of(x, target)
    }

    fn table_of(&mut self, x: Value, target: Target) -> Value {
        let (first, last) = range(self.ty(x).element);
        let (lo, hi) = range(target.element);
        let spread = self.spread(x);
        let span = f64::from(hi - lo);
        let kind = self.random.below(5);
        let entries: Vec<i32> = (first..=last)
            .map(|value| {
                // Position in the part of the domain where most values lie.
                let position = (f64::from(value) - spread.mean) / (2.0 * spread.deviation);
                let real = match kind {
                    0 => return self.random.integer(lo, hi),
                    1 => 0.5 + position / 2.0,
                    2 => 0.5 + position / (1.0 + 2.0 * position.abs()),
                    3 => f64::from(u8::from(position > 0.0)),
                    _ => position * position,
                };
                lo + (real.clamp(0.0, 1.0) * span).round() as i32
            })
            .collect();
        let at = |value: f64| f64::from(entries[(value.round() as i32).clamp(first, last).abs_diff(first) as usize]);
        let spread = spread.through(at);
        self.apply(
            Op::Table(Table { entries: entries.into(), element: target.element }),
            &[x],
            &[],
            Some(target),
            spread,
        )
    }

    /// A sum with some partner.
    pub fn sum(&mut self, x: Value) -> Value {
        let partner = self.partner(x);
        self.add(x, partner)
    }

    /// A product with some partner.
    pub fn product(&mut self, x: Value) -> Value {
        let partner = self.partner(x);
        self.multiply(x, partner)
    }

    /// One or two convolutions, added to what they started from.
    pub fn residual(&mut self, x: Value) -> Value {
        let [_, _, channels] = self.extents(x);
        let inner = if self.random.chance(40) { self.channels() } else { channels };
        let twice = inner != channels || self.random.chance(40);
        let target = self.target();
        let mut branch = self.same_size(x, inner, target);
        if twice {
            let target = self.target();
            branch = self.same_size(branch, channels, target);
        }
        if self.random.chance(50) { self.add(x, branch) } else { self.add(branch, x) }
    }

    /// A product with a gate: mean of each channel, pointwise convolution, table.
    pub fn squeeze_excite(&mut self, x: Value) -> Value {
        let [_, _, channels] = self.extents(x);
        let means = self.global_average_pool(x);
        let target = self.target();
        let gate = self.pointwise(means, channels, target);
        let target = self.target();
        let gate = self.table_of(gate, target);
        self.multiply(x, gate)
    }

    /// A second operand: the value itself, another of its shape, or one value per channel.
    fn partner(&mut self, x: Value) -> Value {
        if self.random.chance(15) {
            return x;
        }
        let shape = self.ty(x).shape.clone();
        if self.random.chance(25) && shape.len() == 4 {
            let vector = [1, 1, 1, shape[3]];
            let found = self.find(|_, ty| ty.shape == vector);
            return found.unwrap_or_else(|| self.global_average_pool(x));
        }
        let others: Vec<Value> = self.others(x);
        if !others.is_empty() {
            return self.random.pick(&others);
        }
        if shape.len() == 4 && self.random.chance(60) {
            let target = self.target();
            return self.same_size(x, shape[3], target);
        }
        self.table(x)
    }

    /// `x0 + x1`, each with its factor.
    pub fn add(&mut self, x0: Value, x1: Value) -> Value {
        let target = self.target();
        let spreads = [self.spread(x0), self.spread(x1)];
        // Unequal signs on one value would leave next to nothing.
        let sign = if x0 != x1 && self.random.chance(15) { -1.0 } else { 1.0 };
        let parts = [self.random.real(0.3, 1.0), sign * self.random.real(0.3, 1.0)];
        let wanted = rescaling::width(target) / self.random.real(3.0, 8.0);
        let factors = [0, 1].map(|index| parts[index] * wanted / spreads[index].deviation);
        let largest = factors.iter().fold(0.0f64, |largest, factor| largest.max(factor.abs()));
        let most = (65_535.0 / largest).log2().floor().clamp(0.0, 30.0) as usize;
        let shift = match self.random.below(10) {
            0 => 0,
            1..=3 => self.random.between(0, most),
            _ => most,
        };
        let scale = (shift as f64).exp2();
        let multiplier = |factor: f64| {
            let rounded = (factor * scale).round().clamp(-65_535.0, 65_535.0) as i32;
            if rounded == 0 { factor.signum() as i32 } else { rounded }
        };
        let multipliers = factors.map(multiplier);
        let exact = multipliers.map(|multiplier| f64::from(multiplier) / scale);
        let mean = exact[0] * spreads[0].mean + exact[1] * spreads[1].mean;
        let deviation = (exact[0] * spreads[0].deviation).hypot(exact[1] * spreads[1].deviation);
        let (lo, hi) = rescaling::bounds(&mut self.random, target);
        let zero_point = target.quantization.zero_point;
        let jitter = self.random.real(-0.7, 0.7) * deviation;
        let offset = ((jitter - mean) * scale).round() as i32;
        let op = QAdd { multipliers, offset, shift: shift as u8, zero_point, lo, hi, element: target.element };
        let spread = Spread::new(f64::from(zero_point) + jitter, deviation);
        let spread = spread.through(|value| value.clamp(f64::from(lo), f64::from(hi)));
        self.apply(Op::QAdd(op), &[x0, x1], &[], Some(target), spread)
    }

    /// `x0 * x1`.
    pub fn multiply(&mut self, x0: Value, x1: Value) -> Value {
        let zero_points = [self.zero_point(x0), self.zero_point(x1)];
        let [first, second] = [(x0, zero_points[0]), (x1, zero_points[1])].map(|(x, zero_point)| {
            let spread = self.spread(x);
            (spread.mean - f64::from(zero_point), spread.deviation)
        });
        let mean = first.0 * second.0;
        let deviation = (first.0 * second.1).hypot(first.1 * second.0).hypot(first.1 * second.1);
        let mut target = self.target();
        let (requantize, spread) = rescaling::centred(&mut self.random, Spread::new(mean, deviation), &mut target);
        let op = QMul { zero_points, requantize, element: target.element };
        self.apply(Op::QMul(op), &[x0, x1], &[], Some(target), spread)
    }
}
