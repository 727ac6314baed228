//! Checks of statements: what they do, and that nothing is done twice on one path.

use super::expression::{Checker, Reader};
use crate::rtl::{EngineId, MemoryId, MemoryUse, Module, PipelineId, Products, SignalId, SignalKind, Statement, Ty};
use std::collections::{BTreeMap, BTreeSet};

/// Something that may happen once a cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Action {
    Register(SignalId),
    Write(MemoryId),
    Launch(PipelineId),
    Fill(EngineId),
    Load(EngineId),
    Issue(EngineId),
}

/// Checks the statements of a module.
pub fn check<'a>(module: &'a Module, checker: &mut Checker<'a>) {
    let mut walk = Walk { module, checker, counts: BTreeMap::new(), set: BTreeSet::new(), reads: BTreeMap::new() };
    walk.block(&module.statements);
    let Walk { checker, counts, set, reads, .. } = walk;
    for (position, engine) in module.engines.iter().enumerate() {
        let id = EngineId(position as u32);
        for (action, wanted) in
            [(Action::Fill(id), 1), (Action::Issue(id), 1), (Action::Load(id), u32::from(engine.is_loaded()))]
        {
            if counts.get(&action).copied().unwrap_or(0) != wanted {
                checker.errors.push(format!("engine `{}` needs exactly one statement of each kind", engine.name));
            }
        }
    }
    for (id, memories) in &reads {
        if set.contains(id) || memories.len() > 1 {
            checker.errors.push(format!("`{}` takes words of a memory and other values", name(module, *id)));
        }
    }
    for (id, signal) in module.signals.iter().enumerate() {
        let id = SignalId(id as u32);
        let never = !set.contains(&id) && !reads.contains_key(&id);
        if matches!(signal.kind, SignalKind::Register { reset: None }) && never {
            checker.errors.push(format!("register `{}` never has a value", signal.name));
        }
    }
}

fn name(module: &Module, id: SignalId) -> &str {
    module.signals.get(id.0 as usize).map_or("?", |signal| &signal.name)
}

/// What some statements do on every path, and on some path.
#[derive(Default)]
struct Done {
    must: BTreeSet<Action>,
    may: BTreeSet<Action>,
}

struct Walk<'a, 'b> {
    module: &'a Module,
    checker: &'b mut Checker<'a>,
    counts: BTreeMap<Action, u32>,
    set: BTreeSet<SignalId>,
    reads: BTreeMap<SignalId, BTreeSet<MemoryId>>,
}

impl Walk<'_, '_> {
    fn error(&mut self, text: String) {
        self.checker.errors.push(text);
    }

    /// Checks statements; what they do. That two branches of separate conditions exclude each
    /// other cannot be seen here: only what certainly happens clashes with what may happen.
    fn block(&mut self, statements: &[Statement]) -> Done {
        let mut done = Done::default();
        for statement in statements {
            let next = self.statement(statement);
            let certain = done.may.intersection(&next.must).chain(done.must.intersection(&next.may));
            for action in certain.copied().collect::<BTreeSet<_>>() {
                let what = match action {
                    Action::Register(id) => format!("`{}` is set", name(self.module, id)),
                    Action::Write(id) => format!("memory {} is written", id.0),
                    Action::Launch(id) => format!("pipeline {} is launched", id.0),
                    Action::Fill(id) => format!("engine {} is filled", id.0),
                    Action::Load(id) => format!("engine {} is loaded", id.0),
                    Action::Issue(id) => format!("engine {} is issued a step", id.0),
                };
                self.error(format!("{what} twice on one path"));
            }
            done.may.extend(next.may);
            done.must.extend(next.must);
        }
        done
    }

    fn statement(&mut self, statement: &Statement) -> Done {
        let reader = Reader::Statement;
        let action = match statement {
            Statement::If { condition, then, otherwise } => {
                self.checker.bit(condition, reader, "condition");
                let (yes, no) = (self.block(then), self.block(otherwise));
                return Done {
                    must: yes.must.intersection(&no.must).copied().collect(),
                    may: yes.may.union(&no.may).copied().collect(),
                };
            }
            Statement::Set(id, value) => {
                match self.module.signals.get(id.0 as usize) {
                    Some(signal) if matches!(signal.kind, SignalKind::Register { .. }) => {
                        self.checker.stored(value, signal.ty, reader, &signal.name);
                    }
                    _ => self.error(format!("signal {} is set but is no register", id.0)),
                }
                self.set.insert(*id);
                Action::Register(*id)
            }
            Statement::Read { memory, address, into } => {
                let target = self.module.signals.get(into.0 as usize);
                match (self.module.memories.get(memory.0 as usize), target) {
                    (Some(source), Some(signal))
                        if matches!(signal.kind, SignalKind::Register { .. }) && signal.ty == source.word =>
                    {
                        self.checker.scalar(address, reader, &source.name);
                    }
                    _ => self.error(format!("memory {} is read into no register of its type", memory.0)),
                }
                self.reads.entry(*into).or_default().insert(*memory);
                Action::Register(*into)
            }
            Statement::Write { memory, address, data } => {
                match self.module.memories.get(memory.0 as usize) {
                    Some(target) if target.contents.is_none() || target.purpose == MemoryUse::Outside => {
                        self.checker.scalar(address, reader, &target.name);
                        self.checker.stored(data, target.word, reader, &target.name);
                    }
                    _ => self.error(format!("memory {} is written but is no RAM", memory.0)),
                }
                Action::Write(*memory)
            }
            Statement::Launch { pipeline, arguments } => {
                match self.module.pipelines.get(pipeline.0 as usize) {
                    Some(target) if target.parameters.len() == arguments.len() => {
                        for (parameter, argument) in target.parameters.iter().zip(arguments) {
                            let signal = self.module.signal(*parameter);
                            self.checker.stored(argument, signal.ty, reader, &signal.name);
                        }
                    }
                    _ => self.error(format!("pipeline {} takes other arguments", pipeline.0)),
                }
                Action::Launch(*pipeline)
            }
            Statement::Fill { engine, row, column, group, data } => {
                match self.module.engines.get(engine.0 as usize) {
                    Some(target) => {
                        for scalar in [row, column, group] {
                            self.checker.scalar(scalar, reader, &target.name);
                        }
                        self.checker.stored(data, target.word, reader, &target.name);
                    }
                    None => self.error(format!("engine {} does not exist", engine.0)),
                }
                Action::Fill(*engine)
            }
            Statement::Load { engine, address, part, data } => {
                match self.module.engines.get(engine.0 as usize).map(|target| (target, target.products())) {
                    Some((target, Some(Products { loaded: Some(bytes), .. }))) => {
                        for scalar in [address, part] {
                            self.checker.scalar(scalar, reader, &target.name);
                        }
                        self.checker.stored(data, Ty::unsigned(8).by(bytes), reader, &target.name);
                    }
                    _ => self.error(format!("engine {} is loaded but has constant weights", engine.0)),
                }
                Action::Load(*engine)
            }
            Statement::Issue { engine, step } => {
                match self.module.engines.get(engine.0 as usize) {
                    Some(target) => {
                        let scalars = [&step.ring, &step.row, &step.column, &step.group, &step.tap, &step.address];
                        for scalar in scalars {
                            self.checker.scalar(scalar, reader, &target.name);
                        }
                        self.checker.bit(&step.last, reader, &target.name);
                    }
                    None => self.error(format!("engine {} does not exist", engine.0)),
                }
                Action::Issue(*engine)
            }
        };
        *self.counts.entry(action).or_default() += 1;
        Done { must: BTreeSet::from([action]), may: BTreeSet::from([action]) }
    }
}
