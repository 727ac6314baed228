//! Stream width conversion by an integer factor.

use super::fifo::Fifo;
use crate::rtl::build::{Builder, Level, advance, branch, set, when};
use crate::rtl::expr::{Expr, and, not, or};
use crate::rtl::{Module, Statement, Ty};

/// Depth of the queue behind a conversion.
const DEPTH: u32 = 4;

/// From `from` lanes to `to` lanes of a lane type; one count divides the other and they differ.
pub fn convert(name: &str, lane: Ty, from: u32, to: u32) -> Module {
    if from < to { widen(name, lane, from, to) } else { narrow(name, lane, from, to) }
}

fn widen(name: &str, lane: Ty, from: u32, to: u32) -> Module {
    let mut b = Builder::new(name, format!("Widens a stream of {lane} from {from} to {to} lanes."));
    let input = b.input("in", lane.by(from));
    let queue = Fifo::new(&mut b, "out", lane.by(to), DEPTH);
    let ready = b.ready(input, queue.has_space());
    let take = b.wire("take", and(input.valid, ready));
    let part = Level::new(&mut b, "part", to / from);
    let push = b.wire("push", and(take, part.at_end()));
    // Beats shift in from above, so that the first of a group ends in the low lanes.
    let kept = to - from;
    let gathered = b.data_register("gathered", lane.by(kept));
    let shifted = if kept == from {
        Expr::Signal(input.data)
    } else {
        Expr::Join(vec![Expr::Slice { signal: gathered, start: from, lanes: kept - from }, input.data.into()])
    };
    let mut taken = vec![set(gathered, shifted)];
    taken.extend(advance(vec![part]));
    let mut statements = vec![when(take, taken)];
    statements.extend(queue.serve(&push.into(), Expr::Join(vec![gathered.into(), input.data.into()])));
    b.finish(statements)
}

fn narrow(name: &str, lane: Ty, from: u32, to: u32) -> Module {
    let mut b = Builder::new(name, format!("Narrows a stream of {lane} from {from} to {to} lanes."));
    let input = b.input("in", lane.by(from));
    let queue = Fifo::new(&mut b, "out", lane.by(to), DEPTH);
    let held = b.register("held", Ty::BIT, 0);
    let data = b.data_register("data", lane.by(from));
    let part = Level::new(&mut b, "part", from / to);
    let give = b.wire("give", and(held, queue.has_space()));
    let finish = b.wire("finish", and(give, part.at_end()));
    let ready = b.ready(input, or(not(held), finish));
    let slice = Expr::SliceAt { signal: data, index: Box::new(part.value()), lanes: to };
    let mut statements: Vec<Statement> = vec![
        branch(
            and(input.valid, ready),
            vec![set(data, input.data), set(held, 1)],
            vec![when(finish, vec![set(held, 0)])],
        ),
        when(give, advance(vec![part])),
    ];
    statements.extend(queue.serve(&give.into(), slice));
    b.finish(statements)
}
