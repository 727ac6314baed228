//! The largest candidates so far, in order: a systolic list.
//!
//! Every cell compares the candidate with its own value in the same cycle; those whose value is
//! smaller move it on to the next, and the first of them takes the candidate. Equal values stay
//! before it, so that candidates that come in order of their places rank by place. What belongs to
//! a candidate lies in a memory; cells hold its number there, and a candidate takes the number
//! that falls out at the end.

use super::super::requantize::lane;
use super::super::select::pack;
use crate::rtl::build::{Builder, Level, advance, branch, set, when};
use crate::rtl::expr::{Expr, and, eq, lt, mux, sub};
use crate::rtl::{MemoryId, SignalId, Statement, Ty};

/// A value that may enter the list.
pub struct Candidate {
    /// 1: there is one.
    pub found: SignalId,
    /// What it is ranked by.
    pub value: SignalId,
    /// What belongs to it: bytes.
    pub payload: SignalId,
}

/// The record that leaves.
pub struct Record {
    /// 1: there is one.
    pub valid: SignalId,
    /// A byte for the value, then the payload's.
    pub data: Expr,
}

/// The cells and the memory behind them.
pub struct List {
    /// What an empty cell holds: smaller than every candidate.
    none: i64,
    values: Vec<SignalId>,
    /// Numbers of words of the memory, each of them once.
    numbers: Vec<SignalId>,
    payloads: MemoryId,
    payload_ty: Ty,
    leaving: SignalId,
    leave: Level,
}

impl List {
    /// A list of `count` empty cells.
    pub fn new(b: &mut Builder, count: u32, value_ty: Ty, none: i64, payload_ty: Ty) -> Self {
        let number_ty = Ty::holding(u64::from(count - 1));
        let cells = |b: &mut Builder, name: &str, ty: Ty, reset: &dyn Fn(u32) -> i64| -> Vec<SignalId> {
            (0..count).map(|index| b.register(&format!("{name}_{index}"), ty, reset(index))).collect()
        };
        Self {
            none,
            values: cells(b, "ranked", value_ty, &|_| none),
            numbers: cells(b, "number", number_ty, &|index| i64::from(index)),
            payloads: b.memory("payloads", payload_ty, count),
            payload_ty,
            leaving: b.register("leaving", Ty::BIT, 0),
            leave: Level::new(b, "leave", count),
        }
    }

    /// 1 while the list leaves: no candidate may come.
    pub fn is_leaving(&self) -> Expr {
        self.leaving.into()
    }

    /// 1 if the next cell that leaves is the last.
    pub fn at_last(&self) -> Expr {
        self.leave.at_end()
    }

    /// Adds what happens at the end of a cycle. `ended`: no candidate of the frame follows. `pop`:
    /// the first cell leaves; its record is there in the next cycle. The first bytes of the
    /// payload, so many, are all ones in the record of an empty cell; the other bytes are 0.
    pub fn serve(
        self,
        b: &mut Builder,
        statements: &mut Vec<Statement>,
        candidate: &Candidate,
        ended: SignalId,
        pop: SignalId,
        ones: u32,
    ) -> Record {
        let Self { none, values, numbers, payloads, payload_ty, leaving, leave } = self;
        let beaten: Vec<SignalId> = values
            .iter()
            .enumerate()
            .map(|(index, &value)| b.wire(&format!("beaten_{index}"), lt(value, candidate.value)))
            .collect();
        let last = values.len() - 1;
        let (freed, first_number) = (numbers[last], numbers[0]);
        let insert = b.wire("insert", and(candidate.found, beaten[last]));
        let mut left = vec![];
        let mut inserted =
            vec![Statement::Write { memory: payloads, address: freed.into(), data: candidate.payload.into() }];
        for index in 0..values.len() {
            let takes = vec![set(values[index], candidate.value), set(numbers[index], freed)];
            let moved = match index.checked_sub(1) {
                None => takes,
                Some(before) => {
                    let moves = vec![set(values[index], values[before]), set(numbers[index], numbers[before])];
                    vec![branch(beaten[before], moves, takes)]
                }
            };
            inserted.push(when(beaten[index], moved));
            let (value, number) = match values.get(index + 1) {
                Some(&next) => (next.into(), numbers[index + 1]),
                None => (Expr::Const(none), first_number),
            };
            left.extend([set(values[index], value), set(numbers[index], number)]);
        }

        let valid = b.register("record_valid", Ty::BIT, 0);
        let empty = b.data_register("record_empty", Ty::BIT);
        let byte = b.data_register("record_value", Ty::unsigned(8));
        let word = b.data_register("record_payload", payload_ty);
        let is_empty = b.wire("first_empty", eq(values[0], none));
        let read = Statement::Read { memory: payloads, address: first_number.into(), into: word };
        left.extend([
            set(valid, 1),
            set(empty, is_empty),
            set(byte, mux(is_empty, 0, sub(values[0], none + 1))),
            branch(is_empty, vec![], vec![read]),
        ]);
        let mut leave = leave;
        leave.on_wrap.push(set(leaving, 0));
        left.extend(advance(vec![leave]));
        let staying = vec![set(valid, 0), when(insert, inserted), when(ended, vec![set(leaving, 1)])];
        statements.push(branch(pop, left, staying));
        let absent = |index: u32| if index < ones { 255 } else { 0 };
        let payload = (0..payload_ty.lanes).map(|index| mux(empty, absent(index), lane(b, word, index)));
        let data = std::iter::once(Expr::Signal(byte)).chain(payload).collect();
        Record { valid, data: pack(payload_ty.lane(), data) }
    }
}
