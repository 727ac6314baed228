//! The queue that ends every block: a small memory and an output register.
//!
//! A block reserves space before it starts work (`free` counts unreserved places), so
//! its datapath never stalls and needs no enables.

use crate::rtl::build::{Builder, Output, add_modulo, branch, set, when};
use crate::rtl::expr::{Expr, add, and, eq, lt, not, or, sub};
use crate::rtl::{MemoryId, SignalId, Statement, Ty};

/// A queue in front of a stream output.
#[derive(Clone, Copy, Debug)]
pub struct Fifo {
    output: Output,
    memory: MemoryId,
    depth: u32,
    head: SignalId,
    tail: SignalId,
    count: SignalId,
    load: SignalId,
}

impl Fifo {
    /// A queue of `depth` words, at least 2, before a new output `name`.
    pub fn new(builder: &mut Builder, name: &str, ty: Ty, depth: u32) -> Self {
        let output = builder.output(name, ty);
        let pointer = Ty::holding(u64::from(depth - 1));
        let memory = builder.queue(&format!("{name}_queue"), ty, depth);
        let head = builder.register(&format!("{name}_head"), pointer, 0);
        let tail = builder.register(&format!("{name}_tail"), pointer, 0);
        let count = builder.register(&format!("{name}_count"), Ty::holding(u64::from(depth)), 0);
        let load = builder.wire(&format!("{name}_load"), and(not(eq(count, 0)), or(not(output.valid), output.ready)));
        Self { output, memory, depth, head, tail, count, load }
    }

    /// 1 if a word may be pushed without reservation; over registers only.
    pub fn has_space(&self) -> Expr {
        lt(self.count, i64::from(self.depth))
    }

    /// Statements that push `data` where `push` is 1, and serve the output.
    pub fn serve(&self, push: &Expr, data: Expr) -> Vec<Statement> {
        let step = |pointer: SignalId| {
            // A pointer of a power of two wraps by its width.
            let next = if self.depth.is_power_of_two() { add(pointer, 1) } else { add_modulo(pointer, 1, self.depth) };
            set(pointer, next)
        };
        vec![
            branch(
                self.load,
                vec![
                    Statement::Read { memory: self.memory, address: self.head.into(), into: self.output.data },
                    step(self.head),
                    set(self.output.valid, 1),
                ],
                vec![when(self.output.ready, vec![set(self.output.valid, 0)])],
            ),
            branch(
                push.clone(),
                vec![
                    Statement::Write { memory: self.memory, address: self.tail.into(), data },
                    step(self.tail),
                    when(not(self.load), vec![set(self.count, add(self.count, 1))]),
                ],
                vec![when(self.load, vec![set(self.count, sub(self.count, 1))])],
            ),
        ]
    }
}

/// A queue whose places are reserved before the work starts.
#[derive(Clone, Copy, Debug)]
pub struct CreditFifo {
    queue: Fifo,
    free: SignalId,
}

impl CreditFifo {
    /// A queue of `depth` words, all free.
    pub fn new(builder: &mut Builder, name: &str, ty: Ty, depth: u32) -> Self {
        let queue = Fifo::new(builder, name, ty, depth);
        let free = builder.register(&format!("{name}_free"), Ty::holding(u64::from(depth)), i64::from(depth));
        Self { queue, free }
    }

    /// 1 if `words` places are free; over registers only.
    pub fn has_free(&self, words: u32) -> Expr {
        if words == 1 { not(eq(self.free, 0)) } else { not(lt(self.free, i64::from(words))) }
    }

    /// Statements that reserve `words` places where `reserve` is 1, push `data` where `push` is
    /// 1, and serve the output.
    pub fn serve(&self, reserve: Expr, words: u32, push: &Expr, data: Expr) -> Vec<Statement> {
        let words = i64::from(words);
        let mut statements = self.queue.serve(push, data);
        statements.push(branch(
            reserve,
            vec![branch(
                self.queue.load,
                if words == 1 { vec![] } else { vec![set(self.free, sub(self.free, words - 1))] },
                vec![set(self.free, sub(self.free, words))],
            )],
            vec![when(self.queue.load, vec![set(self.free, add(self.free, 1))])],
        ));
        statements
    }
}
