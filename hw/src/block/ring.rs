//! A memory of words in order, for blocks that take them up themselves.

use crate::rtl::build::{Builder, count, set, when};
use crate::rtl::expr::{Expr, add, eq, lt, not};
use crate::rtl::{MemoryId, SignalId, Statement, Ty};

/// Words in order. A word can be read from the cycle after it came on.
#[derive(Clone, Copy, Debug)]
pub struct Ring {
    memory: MemoryId,
    depth: u32,
    head: SignalId,
    tail: SignalId,
    /// How many there are.
    pub count: SignalId,
}

impl Ring {
    /// Of a depth that is a power of two.
    pub fn new(b: &mut Builder, name: &str, word: Ty, depth: u32) -> Self {
        let pointer = Ty::holding(u64::from(depth - 1));
        Self {
            memory: b.queue(name, word, depth),
            depth,
            head: b.register(&format!("{name}_head"), pointer, 0),
            tail: b.register(&format!("{name}_tail"), pointer, 0),
            count: b.register(&format!("{name}_count"), Ty::holding(depth.into()), 0),
        }
    }

    /// 1 if there is room for a word.
    pub fn has_room(&self) -> Expr {
        lt(self.count, i64::from(self.depth))
    }

    /// 1 if there is a word.
    pub fn holds_some(&self) -> Expr {
        not(eq(self.count, 0))
    }

    /// Reads the oldest.
    pub fn read(&self, into: SignalId) -> Statement {
        Statement::Read { memory: self.memory, address: self.head.into(), into }
    }

    /// Statements that take a word in where `push` is 1, and forget the oldest where `pop` is.
    pub fn serve(&self, push: SignalId, data: Expr, pop: Expr) -> Vec<Statement> {
        let &Self { memory, head, tail, .. } = self;
        let step = |pointer| set(pointer, add(pointer, 1));
        vec![
            when(push, vec![Statement::Write { memory, address: tail.into(), data }, step(tail)]),
            when(pop.clone(), vec![step(head)]),
            count(self.count, push, pop),
        ]
    }
}
