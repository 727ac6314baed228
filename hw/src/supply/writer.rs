//! Writes bursts of one queue after the other, and tells each when its burst is written.
//!
//! A queue offers the first beat of a burst only when it has all of them, so a burst that has begun does not wait.

use super::Supply;
use crate::block::fifo::Fifo;
use crate::rtl::build::{Builder, Level, add_modulo, advance, branch, count, set, when};
use crate::rtl::expr::{Expr, add, all, and, eq, lt, mux, not, or};
use crate::rtl::{Module, Statement, Ty};

/// Bursts that are written, as far as is known, at most.
const OUTSTANDING: u32 = 8;

/// Depth of the queue of beats.
const DEPTH: u32 = 4;

/// See [`Supply::writer`].
pub fn writer(name: &str, supply: &Supply) -> Module {
    let queues: Vec<_> = supply.queues().collect();
    let number_of = queues.len() as u32;
    let mut b = Builder::new(name, format!("Writes what waits in {number_of} queue(s) outside, burst by burst."));
    let done = b.input("done", Ty::BIT);
    b.ready(done, Expr::Const(1));
    let request = b.output("request", supply.number());
    let data = Fifo::new(&mut b, "data", supply.beat(), DEPTH);
    let queue = Ty::holding(u64::from(number_of - 1));
    let turn = (number_of > 1).then(|| b.register("turn", queue, 0));
    let is_turn = |index: usize| turn.map_or(Expr::Const(1), |turn| eq(turn, index as i64));
    let busy = b.register("busy", Ty::BIT, 0);
    let open = b.register("open", Ty::holding(OUTSTANDING.into()), 0);

    let inputs: Vec<_> = (0..queues.len()).map(|index| b.input(&format!("in{index}"), supply.beat())).collect();
    let space = b.wire("space", data.has_space());
    let taken: Vec<_> = inputs
        .iter()
        .enumerate()
        .map(|(index, &input)| {
            let ready = b.ready(input, all([busy.into(), is_turn(index), space.into()]));
            b.wire(&format!("take{index}"), and(input.valid, ready))
        })
        .collect();
    let any = |terms: Vec<Expr>| terms.into_iter().reduce(or).unwrap_or(Expr::Const(0));
    let take = b.wire("take", any(taken.iter().map(|&take| take.into()).collect()));
    let offered = inputs.iter().enumerate().map(|(index, input)| and(is_turn(index), input.valid)).collect();
    let offered = b.wire("offered", any(offered));
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
    let choose = |values: Vec<Expr>| {
        let values = values.into_iter().enumerate();
        let chosen = values.reduce(|(_, others), (index, value)| (index, mux(is_turn(index), value, others)));
        chosen.map_or(Expr::Const(0), |(_, value)| value)
    };
    let number = choose(numbers.iter().map(|&number| number.into()).collect());
    let mut statements = vec![
        branch(
            begin,
            vec![set(request.valid, 1), set(request.data, number)],
            vec![when(request.ready, vec![set(request.valid, 0)])],
        ),
        branch(begin, vec![set(busy, 1)], vec![when(last, vec![set(busy, 0)])]),
        when(take, advance(vec![beat])),
    ];
    statements.extend(data.serve(&take.into(), choose(inputs.iter().map(|input| input.data.into()).collect())));
    for (index, (&number, client)) in numbers.iter().zip(&queues).enumerate() {
        statements.push(when(and(begin, is_turn(index)), vec![set(number, client.after(number))]));
    }
    statements.push(count(open, begin, done.valid));
    let written: Vec<_> = (0..queues.len()).map(|index| b.output(&format!("written{index}"), Ty::BIT)).collect();
    let Some(turn) = turn else {
        statements.extend([set(written[0].valid, done.valid), set(written[0].data, 1)]);
        return b.finish(statements);
    };
    // What has no burst gives its turn to the next.
    let passed = and(not(busy), not(offered));
    statements.push(when(or(passed, last), vec![set(turn, add_modulo(turn, 1, number_of))]));
    let pointer = Ty::holding(u64::from(OUTSTANDING - 1));
    let begun = b.queue("begun", queue, OUTSTANDING);
    let [head, tail] = ["head", "tail"].map(|name| b.register(name, pointer, 0));
    let is_done = b.register("is_done", Ty::BIT, 0);
    let whose = b.data_register("whose", queue);
    let step = |pointer| set(pointer, add(pointer, 1));
    statements.extend([
        when(begin, vec![Statement::Write { memory: begun, address: tail.into(), data: turn.into() }, step(tail)]),
        when(done.valid, vec![Statement::Read { memory: begun, address: head.into(), into: whose }, step(head)]),
        set(is_done, done.valid),
    ]);
    for (index, written) in written.into_iter().enumerate() {
        statements.extend([set(written.valid, and(is_done, eq(whose, index as i64))), set(written.data, 1)]);
    }
    b.finish(statements)
}
