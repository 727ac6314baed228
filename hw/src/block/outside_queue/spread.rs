//! Beats are spread into words again.

use super::OutsideQueue;
use super::gather::Gather;
use crate::block::ring::Ring;
use crate::rtl::build::{Builder, branch, set, when};
use crate::rtl::expr::{Expr, add, and, eq, mux, not, or, sub};
use crate::rtl::{SignalId, Statement, Ty};

/// The beat whose words go on.
pub struct Spread {
    /// 1 while there is one.
    held: SignalId,
    /// 1 if it came back, 0 if it waited.
    is_back: SignalId,
    waited: SignalId,
    came: SignalId,
    /// The word that comes next, and the last one.
    index: SignalId,
    last: SignalId,
    /// That word, of unsigned lanes.
    word: SignalId,
    /// 1 where it goes on.
    pub give: SignalId,
    /// 1 where the next beat can be taken.
    pub free: SignalId,
}

impl Spread {
    pub fn new(b: &mut Builder, queue: &OutsideQueue, space: Expr) -> Self {
        let number = Ty::holding(u64::from(queue.words_per_beat() - 1));
        let [held, is_back] = ["held", "is_back"].map(|name| b.register(name, Ty::BIT, 0));
        let [waited, came] = ["held_waited", "held_came"].map(|name| b.data_register(name, queue.beat()));
        let [index, last] = ["index", "last"].map(|name| b.register(name, number, 0));
        let beat = b.wire("beat", mux(is_back, came, waited));
        let used = b.wire("used_lanes", Expr::Slice { signal: beat, start: 0, lanes: queue.used_lanes() });
        let slice = Expr::SliceAt { signal: used, index: Box::new(index.into()), lanes: queue.word.lanes };
        let word = b.wire("next_word", slice);
        let give = b.wire("give", and(held, space));
        let free = b.wire("free", or(not(held), and(give, eq(index, last))));
        Self { held, is_back, waited, came, index, last, word, give, free }
    }

    /// The word, as it came in.
    pub fn word(&self, queue: &OutsideQueue) -> Expr {
        Expr::Pack(queue.word.lane(), (0..queue.word.lanes).map(|lane| Expr::Lane(self.word, lane)).collect())
    }

    /// Statements that take the beats that wait or came, where `pop` of them is 1. Where `flush` is, a beat of which
    /// only part counts starts to wait, and is the next.
    pub fn serve(
        &self,
        b: &mut Builder,
        queue: &OutsideQueue,
        [waiting, came]: [&Ring; 2],
        [pop_waiting, pop_came]: [SignalId; 2],
        gather: &Gather,
        flush: SignalId,
    ) -> Vec<Statement> {
        let &Self { held, is_back, index, last, .. } = self;
        let end = i64::from(queue.words_per_beat()) - 1;
        let mut statements = Vec::new();
        let [first, before] = if end == 0 {
            [Expr::Const(0), Expr::Const(0)]
        } else {
            let first = b.register("first", Ty::holding(end as u64), 0);
            let is_part = b.register("is_part", Ty::BIT, 0);
            statements.push(branch(
                flush,
                vec![set(first, sub(end, gather.count())), set(is_part, 1)],
                vec![when(pop_waiting, vec![set(first, 0), set(is_part, 0)])],
            ));
            [first.into(), mux(is_part, end - 1, end)]
        };
        let from_waiting = vec![waiting.read(self.waited), set(is_back, 0), set(index, first), set(last, before)];
        let from_came = vec![came.read(self.came), set(is_back, 1), set(index, 0), set(last, end)];
        let next = if end > 0 { vec![when(self.give, vec![set(index, add(index, 1))])] } else { Vec::new() };
        statements.push(branch(pop_came, from_came, vec![branch(pop_waiting, from_waiting, next)]));
        statements.push(set(held, or(or(pop_came, pop_waiting), and(held, not(self.free)))));
        statements
    }
}
