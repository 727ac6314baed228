//! Writes bursts of one queue after the other, and tells each when its burst is written.
//!
//! A queue offers the first beat of a burst only when it has all of them, so a burst that has begun does not wait.

use super::Supply;
use super::turn::Turn;
use crate::block::fifo::Fifo;
use crate::block::ring::Ring;
use crate::rtl::build::{Builder, Level, advance, branch, count, set, when};
use crate::rtl::expr::{Expr, all, and, eq, lt, not, or};
use crate::rtl::{Module, Ty};

/// Bursts that are written, as far as is known, at most.
const OUTSTANDING: u32 = 8;

/// Depth of the queue of beats.
const DEPTH: u32 = 4;

/// See [`Supply::writer`].
pub fn writer(name: &str, supply: &Supply) -> Module {
    let queues: Vec<_> = supply.queues().collect();
    let of = queues.len();
    let mut b = Builder::new(name, format!("Writes what waits in {of} queue(s) outside, burst by burst."));
    let done = b.input("done", Ty::BIT);
    b.ready(done, Expr::Const(1));
    let request = b.output("request", supply.number());
    let data = Fifo::new(&mut b, "data", supply.beat(), DEPTH);
    let turn = Turn::new(&mut b, of);
    let busy = b.register("busy", Ty::BIT, 0);
    // Whose bursts are not known to be written; of one queue, how many are not.
    let begun = turn.number.map(|_| Ring::new(&mut b, "begun", turn.ty(), OUTSTANDING));
    let open = begun.map_or_else(|| b.register("open", Ty::holding(OUTSTANDING.into()), 0), |begun| begun.count);

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
    let room = and(lt(open, i64::from(OUTSTANDING)), or(not(request.valid), request.ready));
    let begin = b.wire("begin", all([not(busy), offered.into(), room]));
    let beat = Level::new(&mut b, "beat", supply.bus.burst);
    let last = b.wire("last", and(take, beat.at_end()));
    let numbers: Vec<_> = queues
        .iter()
        .enumerate()
        .map(|(index, client)| {
            let end = u64::from(client.first + client.bursts) - 1;
            b.register(&format!("number{index}"), Ty::holding(end), client.first.into())
        })
        .collect();
    let number = turn.choose(numbers.iter().map(|&number| number.into()));
    let mut statements = vec![
        branch(
            begin,
            vec![set(request.valid, 1), set(request.data, number)],
            vec![when(request.ready, vec![set(request.valid, 0)])],
        ),
        branch(begin, vec![set(busy, 1)], vec![when(last, vec![set(busy, 0)])]),
        when(take, advance(vec![beat])),
    ];
    statements.extend(data.serve(&take.into(), turn.choose(inputs.iter().map(|input| input.data.into()))));
    for (index, (&number, client)) in numbers.iter().zip(&queues).enumerate() {
        statements.push(when(and(begin, turn.is(index)), vec![set(number, client.after(number))]));
    }
    // What has no burst gives its turn to the next.
    statements.extend(turn.serve(or(and(not(busy), not(offered)), last)));
    let written: Vec<_> = (0..of).map(|index| b.output(&format!("written{index}"), Ty::BIT)).collect();
    let (Some(begun), Some(number)) = (begun, turn.number) else {
        statements.extend([count(open, begin, done.valid), set(written[0].valid, done.valid), set(written[0].data, 1)]);
        return b.finish(statements);
    };
    let is_done = b.register("is_done", Ty::BIT, 0);
    let whose = b.data_register("whose", turn.ty());
    statements.extend(begun.serve(begin, number.into(), done.valid.into()));
    statements.extend([when(done.valid, vec![begun.read(whose)]), set(is_done, done.valid)]);
    for (index, written) in written.into_iter().enumerate() {
        statements.extend([set(written.valid, and(is_done, eq(whose, index as i64))), set(written.data, 1)]);
    }
    b.finish(statements)
}
