//! Channel concatenation: for each pixel, the beats of each input in turn.

use super::fifo::Fifo;
use crate::rtl::build::{Builder, Level, advance, set, when};
use crate::rtl::expr::{Expr, add, and, eq, mux, or};
use crate::rtl::{Module, Ty};

/// Joins streams of one type; `beats` are the beats a pixel (or any repeated unit) of each input
/// has.
pub fn concat(name: &str, ty: Ty, beats: &[u32]) -> Module {
    let mut b = Builder::new(name, format!("Joins {} streams, unit by unit.", beats.len()));
    let inputs: Vec<_> = (0..beats.len()).map(|index| b.input(&format!("in{index}"), ty)).collect();
    let queue = Fifo::new(&mut b, "out", ty, 4);
    let select = b.register("select", Ty::holding(beats.len() as u64 - 1), 0);
    let mut statements = Vec::new();
    let mut push: Option<Expr> = None;
    let mut data: Option<Expr> = None;
    for (index, (input, &count)) in inputs.iter().zip(beats).enumerate().rev() {
        let selected = eq(select, index as i64);
        let ready = b.ready(*input, and(selected.clone(), queue.has_space()));
        let take = b.wire(&format!("take{index}"), and(input.valid, ready));
        let next = if index + 1 == beats.len() { Expr::Const(0) } else { add(select, 1) };
        let mut beat = Level::new(&mut b, &format!("beat{index}"), count);
        beat.on_wrap.push(set(select, next));
        statements.push(when(take, advance(vec![beat])));
        push = Some(push.map_or(take.into(), |others| or(others, take)));
        data = Some(data.map_or(input.data.into(), |others| mux(selected, input.data, others)));
    }
    let (push, data) = (push.expect("at least one input"), data.expect("at least one input"));
    let push = b.wire("push", push);
    statements.extend(queue.serve(&push.into(), data));
    b.finish(statements)
}
