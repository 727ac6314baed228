//! What statements read and write, and an order of simultaneous statements in which few old
//! values have to be saved.

use lutweave_hw::rtl::{EngineId, Expr, Module, SignalId, SignalKind, Statement};
use std::collections::BTreeSet;

/// State that a statement reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// A register.
    Register(SignalId),
    /// A window memory with its weights and accumulators.
    Engine(EngineId),
}

/// Effects of a statement.
#[derive(Clone, Debug, Default)]
pub struct Effects {
    /// State that it may read.
    pub reads: BTreeSet<State>,
    /// State that it may change.
    pub writes: BTreeSet<State>,
}

impl Effects {
    /// Of one statement with all its branches.
    pub fn of(module: &Module, statement: &Statement) -> Self {
        let mut effects = Self::default();
        effects.add(module, statement);
        effects
    }

    fn add(&mut self, module: &Module, statement: &Statement) {
        match statement {
            Statement::Set(register, value) => {
                self.writes.insert(State::Register(*register));
                self.read(module, value);
            }
            Statement::If { condition, then, otherwise } => {
                self.read(module, condition);
                for statement in then.iter().chain(otherwise) {
                    self.add(module, statement);
                }
            }
            Statement::Read { memory: _, address, into } => {
                self.writes.insert(State::Register(*into));
                self.read(module, address);
            }
            Statement::Write { memory: _, address, data } => {
                self.read(module, address);
                self.read(module, data);
            }
            Statement::Launch { pipeline: _, arguments } => {
                for argument in arguments {
                    self.read(module, argument);
                }
            }
            Statement::Fill { engine, row, column, group, data } => {
                self.writes.insert(State::Engine(*engine));
                for expr in [row, column, group, data] {
                    self.read(module, expr);
                }
            }
            Statement::Load { engine, address, part, data } => {
                self.writes.insert(State::Engine(*engine));
                for expr in [address, part, data] {
                    self.read(module, expr);
                }
            }
            Statement::Issue { engine, step } => {
                self.reads.insert(State::Engine(*engine));
                let exprs = [&step.ring, &step.row, &step.column, &step.group, &step.tap, &step.address, &step.last];
                for expr in exprs {
                    self.read(module, expr);
                }
            }
        }
    }

    fn read(&mut self, module: &Module, expr: &Expr) {
        registers(module, expr, &mut self.reads);
    }
}

/// Adds the registers that an expression reads, also through wires.
pub fn registers(module: &Module, expr: &Expr, reads: &mut BTreeSet<State>) {
    match expr.signal().map(|id| (id, &module.signal(id).kind)) {
        Some((id, SignalKind::Register { .. })) => {
            reads.insert(State::Register(id));
        }
        Some((_, SignalKind::Wire(value))) => registers(module, value, reads),
        _ => {}
    }
    expr.for_each_operand(|operand| registers(module, operand, reads));
}

/// An order of statements that happen together: whatever reads a vector or an engine comes
/// before what changes it, unless they do so to each other.
pub fn order(module: &Module, effects: &[Effects]) -> Vec<usize> {
    let dear = |state: &State| match state {
        State::Register(id) => module.signal(*id).ty.lanes > 1,
        State::Engine(_) => true,
    };
    let reads_what_writes = |reader: usize, writer: usize| {
        reader != writer && effects[reader].reads.intersection(&effects[writer].writes).any(dear)
    };
    let mut left: Vec<usize> = (0..effects.len()).collect();
    let mut order = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let free = |&candidate: &usize| !left.iter().any(|&other| reads_what_writes(other, candidate));
        let fills = |&candidate: &usize| {
            left.iter().any(|&other| {
                other != candidate
                    && effects[other]
                        .reads
                        .intersection(&effects[candidate].writes)
                        .any(|state| matches!(state, State::Engine(_)))
            })
        };
        let position = left
            .iter()
            .position(free)
            .or_else(|| left.iter().position(|candidate| !fills(candidate)))
            .expect("invariant: an engine has one issue, and what fills and loads it reads no engine");
        order.push(left.remove(position));
    }
    order
}
