//! Sum over a whole image, requantized: global average pooling without a window memory.

use super::fifo::CreditFifo;
use super::requantize::{Parameters, Requantizer, lane, vector};
use crate::rtl::build::{Builder, Level, advance, branch, set, when};
use crate::rtl::expr::{Expr, add, and, mux};
use crate::rtl::{Module, Statement, Ty};

/// Sums each of `words * lanes` channels over `pixels` pixels.
#[derive(Clone, Copy, Debug)]
pub struct Global {
    /// Lane type of the input.
    pub input: Ty,
    /// Lane type of the output.
    pub output: Ty,
    /// Lane type of the sums.
    pub accumulator: Ty,
    /// Lanes of both streams.
    pub lanes: u32,
    /// Beats a pixel.
    pub words: u32,
    /// Pixels of a frame.
    pub pixels: u32,
    /// Width of the wider operand of a hardware multiplier.
    pub multiplier_width: u32,
}

impl Global {
    /// The module.
    pub fn generate(&self, name: &str, parameters: &Parameters) -> Module {
        let mut b = Builder::new(name, format!("Mean of each channel over {} pixels.", self.pixels));
        let stream = b.input("in", self.input.by(self.lanes));
        let sums = self.accumulator.by(self.lanes);
        let requantizer = Requantizer::new(&mut b, parameters, sums, self.output, self.multiplier_width);
        let queue = CreditFifo::new(&mut b, "out", self.output.by(self.lanes), 16);
        let ready = b.ready(stream, queue.has_free(2));
        let take = b.wire("take", and(stream.valid, ready));
        let word = Level::new(&mut b, "word", self.words);
        let word_value = word.value();
        let mut pixel = Level::new(&mut b, "pixel", self.pixels);
        let first_pixel = b.register("first_pixel", Ty::BIT, 1);
        pixel.on_step.push(set(first_pixel, 0));
        pixel.on_wrap.push(set(first_pixel, 1));
        let last_pixel = b.wire("last_pixel", pixel.at_end());

        let held = b.register("held", Ty::BIT, 0);
        let x = b.data_register("x", self.input.by(self.lanes));
        let starts = b.data_register("starts", Ty::BIT);
        let ends = b.register("ends", Ty::BIT, 0);
        let held_word = b.data_register("held_word", Ty::holding(u64::from(self.words - 1)));
        let sum = b.data_register("sum", sums);
        let mut taken = vec![
            set(held, 1),
            set(x, stream.data),
            set(starts, first_pixel),
            set(ends, last_pixel),
            set(held_word, word_value.clone()),
        ];
        // With a single word the sum stays in its register; otherwise it is read here, at least
        // two cycles after its last write.
        let memory = (self.words > 1).then(|| b.memory("sums", sums, self.words));
        if let Some(memory) = memory {
            taken.push(when(
                crate::rtl::expr::not(first_pixel),
                vec![Statement::Read { memory, address: word_value, into: sum }],
            ));
        }
        taken.extend(advance(vec![word, pixel]));

        let values = (0..self.lanes)
            .map(|index| mux(starts, lane(&b, x, index), add(lane(&b, sum, index), lane(&b, x, index))))
            .collect();
        let next = match vector(&b, values) {
            Expr::Pack(_, lanes) => Expr::Pack(self.accumulator, lanes),
            scalar => scalar,
        };
        let next = b.wire_typed("next_sum", sums, next);
        let keep = match memory {
            Some(memory) => Statement::Write { memory, address: held_word.into(), data: next.into() },
            None => set(sum, next),
        };
        let mut channel = Level::new(&mut b, "channel", self.words);
        if !requantizer.is_addressed() {
            channel = Level::single();
        }
        let mut finished = vec![requantizer.launch(next.into(), channel.value())];
        finished.extend(advance(vec![channel]));
        let mut statements =
            vec![branch(take, taken, vec![set(held, 0)]), when(held, vec![branch(ends, finished, vec![keep])])];
        let reserve = and(held, ends);
        statements.extend(queue.serve(reserve, 1, &requantizer.valid.into(), requantizer.result.into()));
        b.finish(statements)
    }
}
