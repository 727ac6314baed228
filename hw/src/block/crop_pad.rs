//! Blocks that change which positions a stream has: crop and pad.

use super::fifo::Fifo;
use crate::rtl::build::{Builder, Level, add_modulo, advance, set, when};
use crate::rtl::expr::{Expr, all, and, eq, ge, lt, mux, not};
use crate::rtl::{Module, Ty};

/// One axis of a strided crop or a padding, in beats (channels) or positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    /// WindowGeometry of the larger side: the input of a crop, the output of a padding.
    pub outer: u32,
    /// First position that is kept, or that comes from the input.
    pub start: u32,
    /// Positions that are kept, or that come from the input.
    pub size: u32,
    /// Distance of kept positions; 1 for a padding.
    pub step: u32,
}

impl Axis {
    /// Bits that are 1 where `level` is at an inner position. A step needs a phase counter.
    fn inside(&self, b: &mut Builder, name: &str, level: &mut Level) -> Vec<Expr> {
        let Self { outer, start, size, step } = *self;
        let value = level.value();
        let end = start + (size - 1) * step + 1;
        let mut bits = Vec::new();
        if start > 0 {
            bits.push(ge(value.clone(), i64::from(start)));
        }
        if end < outer {
            bits.push(lt(value, i64::from(end)));
        }
        if step > 1 && size > 1 {
            let phase = b.register(&format!("{name}_phase"), Ty::holding(u64::from(step - 1)), 0);
            let counting = add_modulo(phase, 1, step);
            let next = if start == 0 { counting } else { mux(ge(level.value(), i64::from(start)), counting, 0) };
            level.on_step.push(set(phase, next));
            level.on_wrap.push(set(phase, 0));
            bits.push(eq(phase, 0));
        }
        bits
    }
}

/// Counters over rows, columns and beats, innermost first, and a bit that is 1 at inner
/// positions.
fn walk(b: &mut Builder, axes: [Axis; 3]) -> (Vec<Level>, Expr) {
    let mut levels = Vec::new();
    let mut inside = Vec::new();
    for (name, axis) in ["row", "column", "beat"].into_iter().zip(axes) {
        let mut level = Level::new(b, name, axis.outer);
        inside.extend(axis.inside(b, name, &mut level));
        levels.insert(0, level);
    }
    (levels, all(inside))
}

/// Keeps a strided box of a stream. Axes: rows, columns, beats of a pixel.
pub fn crop(name: &str, ty: Ty, axes: [Axis; 3]) -> Module {
    let mut b = Builder::new(name, "Keeps a box of the image.");
    let input = b.input("in", ty);
    let queue = Fifo::new(&mut b, "out", ty, 4);
    let ready = b.ready(input, queue.has_space());
    let take = b.wire("take", and(input.valid, ready));
    let (levels, inside) = walk(&mut b, axes);
    let push = b.wire("push", and(take, inside));
    let mut statements = vec![when(take, advance(levels))];
    statements.extend(queue.serve(&push.into(), input.data.into()));
    b.finish(statements)
}

/// Surrounds a stream with a constant. Axes: rows, columns, beats of a pixel.
pub fn pad(name: &str, ty: Ty, axes: [Axis; 3], value: i64) -> Module {
    let mut b = Builder::new(name, format!("Surrounds the image with {value}."));
    let input = b.input("in", ty);
    let queue = Fifo::new(&mut b, "out", ty, 4);
    let (levels, inside) = walk(&mut b, axes);
    let inside = b.wire("inside", inside);
    let ready = b.ready(input, and(inside, queue.has_space()));
    let take = and(input.valid, ready);
    let push = b.wire("push", mux(inside, take, and(not(inside), queue.has_space())));
    let constant = if ty.lanes == 1 {
        Expr::Const(value)
    } else {
        Expr::Pack(ty.lane(), vec![Expr::Const(value); ty.lanes as usize])
    };
    let mut statements = vec![when(push, advance(levels))];
    statements.extend(queue.serve(&push.into(), mux(inside, input.data, constant)));
    b.finish(statements)
}
