//! Blocks that change which positions a stream has: crop and pad.

use super::pointwise::at;
use super::queue::Queue;
use crate::rtl::build::{Builder, Level, advance, when};
use crate::rtl::expr::{Expr, all, and, ge, lt, mux, not};
use crate::rtl::{Module, Ty};

/// One axis of a strided crop or a padding, in beats (channels) or positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    /// Extent of the larger side: the input of a crop, the output of a padding.
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
            let counting = crate::rtl::build::add_modulo(phase, 1, step);
            let next = if start == 0 { counting } else { mux(ge(level.value(), i64::from(start)), counting, 0) };
            level.on_step.push(crate::rtl::build::set(phase, next));
            level.on_wrap.push(crate::rtl::build::set(phase, 0));
            bits.push(at(&phase.into(), 0));
        }
        bits
    }
}

/// Keeps a strided box of a stream. Axes: rows, columns, beats of a pixel.
pub fn crop(name: &str, ty: Ty, axes: [Axis; 3]) -> Module {
    let mut b = Builder::new(name, "Keeps a box of the image.");
    let input = b.input("in", ty);
    let queue = Queue::new(&mut b, "out", ty, 4);
    let ready = b.ready(input, queue.has_space());
    let take = b.wire("take", and(input.valid, ready));
    let mut levels: Vec<Level> =
        ["row", "column", "beat"].iter().zip(axes).map(|(name, axis)| Level::new(&mut b, name, axis.outer)).collect();
    let mut inside = vec![Expr::Signal(take)];
    for ((name, axis), level) in ["row", "column", "beat"].iter().zip(axes).zip(&mut levels) {
        inside.extend(axis.inside(&mut b, name, level));
    }
    let push = b.wire("push", all(inside));
    levels.reverse();
    let mut statements = vec![when(take, advance(levels))];
    statements.extend(queue.serve(&push.into(), input.data.into()));
    b.finish(statements)
}

/// Surrounds a stream with a constant. Axes: rows, columns, beats of a pixel.
pub fn pad(name: &str, ty: Ty, axes: [Axis; 3], value: i64) -> Module {
    let mut b = Builder::new(name, format!("Surrounds the image with {value}."));
    let input = b.input("in", ty);
    let queue = Queue::new(&mut b, "out", ty, 4);
    let mut levels: Vec<Level> =
        ["row", "column", "beat"].iter().zip(axes).map(|(name, axis)| Level::new(&mut b, name, axis.outer)).collect();
    let mut inside = Vec::new();
    for ((name, axis), level) in ["row", "column", "beat"].iter().zip(axes).zip(&mut levels) {
        inside.extend(axis.inside(&mut b, name, level));
    }
    let inside = b.wire("inside", all(inside));
    let ready = b.ready(input, and(inside, queue.has_space()));
    let take = and(input.valid, ready);
    let push = b.wire("push", mux(inside, take, and(not(inside), queue.has_space())));
    levels.reverse();
    let constant = if ty.lanes == 1 {
        Expr::Const(value)
    } else {
        Expr::Pack(ty.lane(), vec![Expr::Const(value); ty.lanes as usize])
    };
    let mut statements = vec![when(push, advance(levels))];
    statements.extend(queue.serve(&push.into(), mux(inside, input.data, constant)));
    b.finish(statements)
}
