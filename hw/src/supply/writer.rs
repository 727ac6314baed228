//! Writes bursts of one queue after the other, and tells each when its burst is written.
//!
//! A queue offers the first beat of a burst only when it has all of them, so a burst that has begun does not wait.

use super::places::Places;
use super::{Client, Supply};
use crate::block::fifo::Fifo;
use crate::block::ring::Ring;
use crate::rtl::build::{Builder, Level, advance, branch, set, when};
use crate::rtl::expr::{Expr, all, and, eq, not, or};
use crate::rtl::{Module, Ty};

/// Bursts that are written, as far as is known, at most.
const OUTSTANDING: u32 = 8;

/// Depth of the queue of beats.
const DEPTH: u32 = 4;

/// See [`Supply::writer`].
pub fn writer(name: &str, supply: &Supply) -> Module {
    let queues: Vec<Client> = supply.queues().copied().collect();
    let of = queues.len();
    let mut b = Builder::new(name, format!("Writes what waits in {of} queue(s) outside, burst by burst."));
    let done = b.input("done", Ty::BIT);
    b.ready(done, Expr::Const(1));
    let request = b.output("request", supply.number());
    let data = Fifo::new(&mut b, "data", supply.beat(), DEPTH);
    let places = Places::new(&mut b, supply.number(), &queues);
    let turn = places.turn;
    let busy = b.register("busy", Ty::BIT, 0);
    // Whose bursts are not known to be written.
    let begun = Ring::new(&mut b, "begun", turn.ty(), OUTSTANDING);

    let inputs: Vec<_> = (0..queues.len()).map(|index| b.input(&format!("in{index}"), supply.beat())).collect();
    let space = b.wire("space", data.has_space());
    let taken: Vec<_> = inputs
        .iter()
        .enumerate()
        .map(|(index, &input)| {
            let ready = b.ready(input, all([busy.into(), turn.is(index), space.into()]));
            b.wire(&format!("take{index}"), and(input.valid, ready))
        })
        .collect();
    let take = taken.iter().copied().map(Expr::Signal).reduce(or).unwrap_or(Expr::Const(0));
    let take = b.wire("take", take);
    let offered = b.wire("offered", turn.has(inputs.iter().map(|input| input.valid.into())));
    let room = and(begun.has_room(), or(not(request.valid), request.ready));
    let begin = b.wire("begin", all([places.is_ready(), not(busy), offered.into(), room]));
    let beat = Level::new(&mut b, "beat", supply.bus.burst);
    let last = b.wire("last", and(take, beat.at_end()));
    let mut statements = vec![
        branch(
            begin,
            vec![set(request.valid, 1), set(request.data, places.number)],
            vec![when(request.ready, vec![set(request.valid, 0)])],
        ),
        branch(begin, vec![set(busy, 1)], vec![when(last, vec![set(busy, 0)])]),
        when(take, advance(vec![beat])),
    ];
    let offers = Expr::Join(inputs.iter().map(|input| input.data.into()).collect());
    let offers = b.wire("offers", offers);
    let offer = Expr::SliceAt { signal: offers, index: Box::new(turn.number.into()), lanes: supply.bus.bytes };
    statements.extend(data.serve(&take.into(), offer));
    // What has no burst gives its turn to the next.
    statements.extend(places.serve(&mut b, begin, or(and(not(busy), not(offered)), last)));
    let is_done = b.register("is_done", Ty::BIT, 0);
    let whose = b.data_register("whose", turn.ty());
    statements.extend(begun.serve(begin, turn.number.into(), done.valid.into()));
    statements.extend([when(done.valid, vec![begun.read(whose)]), set(is_done, done.valid)]);
    for index in 0..of {
        let written = b.output(&format!("written{index}"), Ty::BIT);
        statements.extend([set(written.valid, and(is_done, eq(whose, index as i64))), set(written.data, 1)]);
    }
    b.finish(statements)
}
