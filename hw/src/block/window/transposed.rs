//! Results that come tile by tile and leave pixel by pixel, through a buffer of one block.
//!
//! The buffer is transposed in place: the results of a block are written to the places of those of the block before, in
//! the order in which these leave. With `t` tiles and `p` pixels, what leaves as number `i` was computed as number
//! `i * p mod (t * p - 1)` (the last one last), and so the places of the block number `n` are `i * p^n mod (t * p - 1)`:
//! a sum that wraps, whose step is the place of number `p` of the block before (Knuth, "The Art of Computer
//! Programming" 1, 1.3.3, exercise 12, on the transposition of a rectangular matrix).

use crate::rtl::build::{Builder, Level, advance, set, when};
use crate::rtl::expr::{Expr, add, and, eq, lt, mux, sub};
use crate::rtl::{SignalId, Statement, Ty};

/// The results of a block.
#[derive(Clone, Copy, Debug)]
pub struct Transposed {
    /// Tiles.
    pub tiles: u32,
    /// Pixels of a tile.
    pub pixels: u32,
    /// Words of a result.
    pub beats: u32,
}

/// A walk over the places of a block after the other.
pub struct Walk {
    /// The place of a word.
    pub place: Expr,
    /// The last word of a result.
    pub result_end: Expr,
    /// The last word of a block.
    pub end: Expr,
    statements: Vec<Statement>,
}

impl Transposed {
    /// Words of the buffer.
    pub fn words(&self) -> u32 {
        self.tiles * self.pixels * self.beats
    }

    /// A walk in the order of the first block's results as they are computed, or as they leave.
    pub fn walk(&self, b: &mut Builder, name: &str, leaving: bool) -> Walk {
        let Self { tiles, pixels, beats } = *self;
        let of = |part: &str| format!("{name}_{part}");
        let mut beat = Level::new(b, &of("beat"), beats);
        let mut number = Level::new(b, &of("number"), tiles * pixels);
        let base = match number.counter {
            Some(counted) if tiles > 1 && pixels > 1 => {
                let last = i64::from((tiles * pixels - 1) * beats);
                let ty = Ty::holding(last as u64);
                let base = b.register(&of("base"), ty, 0);
                let step = b.register(&of("step"), ty, i64::from(if leaving { pixels * beats } else { beats }));
                let next_step = b.register(&of("next_step"), ty, 0);
                let sum = b.wire(&of("sum"), add(base, step));
                let next = b.wire(&of("next"), wrapped(sum, last));
                number.on_step.push(when(eq(counted, i64::from(pixels) - 1), vec![set(next_step, next)]));
                number.on_wrap.push(set(step, next_step));
                number.on_step.push(set(base, next));
                number.on_wrap.push(set(base, 0));
                base.into()
            }
            // Nothing changes places.
            _ => number.times(b, &of("base"), beats),
        };
        let result_end = beat.at_end();
        let end = and(beat.at_end(), number.at_end());
        let place = if beats > 1 { add(base, beat.value()) } else { base };
        beat.on_wrap.extend(advance(vec![number]));
        Walk { place, result_end, end, statements: advance(vec![beat]) }
    }
}

impl Walk {
    /// Statements that go on to the next word.
    pub fn advance(self) -> Vec<Statement> {
        self.statements
    }
}

/// A sum of two places, of which `last` is the largest; `last` itself only comes up as the last one.
fn wrapped(sum: SignalId, last: i64) -> Expr {
    mux(lt(last, sum), sub(sum, last), sum)
}
