//! The largest candidates so far, in order: a systolic list.
//!
//! Every cell compares the candidate with its own value in the same cycle; those whose value is
//! smaller move it on to the next, and the first of them takes the candidate. Equal values stay
//! before it, so that candidates that come in order of their places rank by place. What belongs to
//! a candidate lies in a memory; cells hold its number there, and a candidate takes the number
//! that falls out at the end.
//!
//! At the end of a frame the list runs out at that same end, the smallest first, so that a cell
//! has one neighbour to take from. The numbers are turned round in a second memory, by which the
//! records are then read.

use super::super::fifo::CreditFifo;
use super::super::requantize::lane;
use super::super::select::pack;
use crate::rtl::build::{Builder, Level, advance, branch, set, when};
use crate::rtl::expr::{Expr, and, eq, lt, mux, or, sub};
use crate::rtl::{MemoryId, SignalId, Statement, Ty};

/// A value that may enter the list.
pub struct Candidate {
    /// 1: there is one.
    pub found: SignalId,
    /// What it is ranked by.
    pub value: SignalId,
    /// Its record: bytes.
    pub record: SignalId,
}

/// Cycles from the last step of a frame to the first in which the next candidate may be decided
/// on, for so many cells.
pub fn turnaround(count: u32) -> u64 {
    2 * u64::from(count) + 3
}

/// The cells and the memories behind them.
pub struct List {
    count: u32,
    /// What an empty cell holds: smaller than every candidate.
    none: i64,
    values: Vec<SignalId>,
    /// Numbers of words of the memory of records, each of them once.
    numbers: Vec<SignalId>,
    records: MemoryId,
    record: SignalId,
    /// The records leave: nothing may be found until the last has left.
    giving: SignalId,
    give: Level,
    queue: CreditFifo,
}

impl List {
    /// A list of `count` empty cells before an output `out` of records.
    pub fn new(b: &mut Builder, count: u32, value_ty: Ty, none: i64, record_ty: Ty) -> Self {
        let number_ty = Ty::holding(u64::from(count - 1));
        let cells = |b: &mut Builder, name: &str, ty: Ty, reset: &dyn Fn(u32) -> i64| -> Vec<SignalId> {
            (0..count).map(|index| b.register(&format!("{name}_{index}"), ty, reset(index))).collect()
        };
        Self {
            count,
            none,
            values: cells(b, "ranked", value_ty, &|_| none),
            numbers: cells(b, "number", number_ty, &|index| i64::from(index)),
            records: b.memory("records", record_ty, count),
            record: b.data_register("record", record_ty),
            giving: b.register("giving", Ty::BIT, 0),
            give: Level::new(b, "give", count),
            queue: CreditFifo::new(b, "out", record_ty, 8),
        }
    }

    /// 1 in the cycle in which the last record begins to leave.
    pub fn is_done(&self) -> Expr {
        and(self.is_given(), self.give.at_end())
    }

    fn is_given(&self) -> Expr {
        and(self.giving, self.queue.has_free(1))
    }

    /// What happens at the end of a cycle. `ended`: no candidate of the frame follows. In the
    /// records of empty cells, bytes 1 to `ones` are 255 and the others 0.
    pub fn serve(self, b: &mut Builder, candidate: &Candidate, ended: SignalId, ones: u32) -> Vec<Statement> {
        let given = b.wire("given", self.is_given());
        let Self { count, none, values, numbers, records, record, giving, mut give, queue } = self;
        let leaving = b.register("leaving", Ty::BIT, 0);
        let mut leave = Level::new(b, "leave", count);
        let beaten: Vec<SignalId> = values
            .iter()
            .enumerate()
            .map(|(index, &value)| b.wire(&format!("beaten_{index}"), lt(value, candidate.value)))
            .collect();
        let last = values.len() - 1;
        let freed = numbers[last];
        let insert = b.wire("insert", and(candidate.found, beaten[last]));

        // Cells take from the one before; an empty one comes after the last that leaves.
        let shifts: Vec<SignalId> = beaten
            .iter()
            .enumerate()
            .map(|(index, &beaten)| b.wire(&format!("shifts_{index}"), or(leaving, beaten)))
            .collect();
        let mut moved = Vec::new();
        for index in 0..values.len() {
            let (value, number) = match index.checked_sub(1) {
                None => (mux(leaving, none, candidate.value), freed.into()),
                Some(before) => {
                    (mux(shifts[before], values[before], candidate.value), mux(shifts[before], numbers[before], freed))
                }
            };
            moved.push(when(shifts[index], vec![set(values[index], value), set(numbers[index], number)]));
        }

        let rank_ty = Ty::holding(u64::from(count));
        let ranks = b.memory("ranks", rank_ty, count);
        let rank = b.data_register("rank", rank_ty);
        let (empty, ranked) = (i64::from(count), b.register("rank_valid", Ty::BIT, 0));
        let left = Statement::Write {
            memory: ranks,
            address: sub(i64::from(count - 1), leave.value()),
            data: mux(eq(values[last], none), empty, freed),
        };
        leave.on_wrap.extend([set(leaving, 0), set(giving, 1)]);
        give.on_wrap.push(set(giving, 0));
        let mut leaves = vec![left];
        leaves.extend(advance(vec![leave]));
        let read_rank = Statement::Read { memory: ranks, address: give.value(), into: rank };
        let mut gives = vec![read_rank, set(ranked, 1)];
        gives.extend(advance(vec![give]));
        let no_record = b.wire("no_record", eq(rank, empty));
        let valid = b.register("record_valid", Ty::BIT, 0);
        let absent = b.data_register("record_absent", Ty::BIT);
        let read_record = Statement::Read { memory: records, address: rank.into(), into: record };
        let entered = Statement::Write { memory: records, address: freed.into(), data: candidate.record.into() };
        let mut statements = vec![
            when(or(leaving, insert), moved),
            branch(
                leaving,
                leaves,
                vec![
                    when(insert, vec![entered]),
                    when(ended, vec![set(leaving, 1)]),
                    branch(given, gives, vec![set(ranked, 0)]),
                ],
            ),
            set(valid, ranked),
            when(ranked, vec![set(absent, no_record), branch(no_record, vec![], vec![read_record])]),
        ];
        let ty = b.ty(&record.into());
        let byte = |index: u32| {
            let instead = if (1..=ones).contains(&index) { 255 } else { 0 };
            mux(absent, instead, lane(b, record, index))
        };
        let data = pack(ty.lane(), (0..ty.lanes).map(byte).collect());
        statements.extend(queue.serve(given.into(), 1, &valid.into(), data));
        statements
    }
}
