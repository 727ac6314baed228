//! Clocked statements as wasm.

use crate::code::Place;
use crate::code::at;
use crate::emitter::{Emitter, Rep};
use crate::hazard::{Effects, State, order, registers};
use crate::layout::{Cell, value_bytes};
use lutweave_hw::rtl::{Expr, PipelineId, SignalId, SignalKind, Statement};
use std::collections::BTreeSet;
use wasm_encoder::BlockType;

impl Emitter<'_> {
    /// Statements that happen together. `busy`: code before made the module active.
    pub fn block(&mut self, statements: &[Statement], busy: bool) {
        let effects: Vec<Effects> = statements.iter().map(|statement| Effects::of(self.module, statement)).collect();
        let order = order(self.module, &effects);
        let hard = statements.iter().any(|statement| self.always_changes(statement));
        if hard && !busy {
            self.activate();
        }
        for (position, &number) in order.iter().enumerate() {
            for state in &effects[number].writes {
                let State::Register(register) = state else { continue };
                let later = &order[position + 1..];
                if later.iter().any(|&later| effects[later].reads.contains(state)) {
                    self.capture(*register);
                }
            }
            self.statement(&statements[number], busy || hard);
        }
    }

    /// Statements that change state whenever they happen, as far as is cheap to know.
    fn always_changes(&self, statement: &Statement) -> bool {
        match statement {
            Statement::Set(register, _) => self.module.signal(*register).ty.lanes > 1,
            Statement::If { .. } => false,
            Statement::Read { .. }
            | Statement::Write { .. }
            | Statement::Launch { .. }
            | Statement::Fill { .. }
            | Statement::Load { .. }
            | Statement::Issue { .. } => true,
        }
    }

    fn activate(&mut self) {
        if let Some(active) = self.active {
            self.code.op().i32_const(1).local_set(active);
        }
    }

    fn statement(&mut self, statement: &Statement, busy: bool) {
        match statement {
            Statement::Set(register, value) => self.set(*register, value, busy),
            Statement::If { condition, then, otherwise } => {
                if then.is_empty() && otherwise.is_empty() {
                    return;
                }
                if let Expr::Const(bit) = condition {
                    self.scoped(|this| this.block(if *bit == 1 { then } else { otherwise }, busy));
                    return;
                }
                self.scalar(condition);
                if then.is_empty() {
                    self.code.op().i32_eqz();
                    self.if_else(BlockType::Empty, |this| this.block(otherwise, busy), None);
                    return;
                }
                let other = (!otherwise.is_empty())
                    .then(|| Box::new(|this: &mut Self| this.block(otherwise, busy)) as Box<dyn FnOnce(&mut Self)>);
                self.if_else(BlockType::Empty, |this| this.block(then, busy), other);
            }
            Statement::Read { memory, address, into } => {
                let ty = self.module.memory(*memory).word;
                let from = self.word(self.layout.memories[memory.0 as usize], ty, address);
                let to = Place::fixed(self.layout.signals[into.0 as usize]);
                self.copy(from, to, value_bytes(ty));
                self.wake_reader(*into);
            }
            Statement::Write { memory, address, data } => {
                let ty = self.module.memory(*memory).word;
                let to = self.word(self.layout.memories[memory.0 as usize], ty, address);
                self.store_value(data, ty, to);
            }
            Statement::Launch { pipeline, arguments } => self.launch(*pipeline, arguments),
            Statement::Fill { engine, row, column, group, data } => self.fill(*engine, row, column, group, data),
            Statement::Load { engine, address, part, data } => self.take_weights(*engine, address, part, data),
            Statement::Issue { engine, step } => self.issue(*engine, step),
        }
    }

    fn set(&mut self, register: SignalId, value: &Expr, busy: bool) {
        let ty = self.module.signal(register).ty;
        let place = Place::fixed(self.layout.signals[register.0 as usize]);
        if ty.lanes > 1 {
            if *value == Expr::Signal(register) {
                return;
            }
            let mut reads = BTreeSet::new();
            registers(self.module, value, &mut reads);
            if reads.contains(&State::Register(register)) {
                let scratch = Place::fixed(self.image.reserve(value_bytes(ty)));
                self.store_value(value, ty, scratch);
                self.copy(scratch, place, value_bytes(ty));
            } else {
                self.store_value(value, ty, place);
            }
            self.wake_reader(register);
            return;
        }
        let output = self.reader_of(register);
        let Some(active) = self.active.filter(|_| !busy || output.is_some()) else {
            self.store_value(value, ty, place);
            return;
        };
        let rep = Rep::of(ty);
        self.scalar_to(value, ty);
        let new = self.code.keep(rep.val());
        self.read_lane(register, 0);
        self.code.op().local_get(new);
        match rep {
            Rep::I32 => self.code.op().i32_xor(),
            Rep::I64 => self.code.op().i64_ne(),
        };
        let changed = self.code.keep(wasm_encoder::ValType::I32);
        if !busy {
            self.code.op().local_get(active).local_get(changed).i32_or().local_set(active);
        }
        if let Some(awake) = output {
            self.code.op().local_get(changed).if_(BlockType::Empty);
            self.code.op().i32_const(0).i32_const(1).i32_store8(at(awake)).end();
        }
        self.store_lane(ty, place, |this| {
            this.code.op().local_get(new);
            rep
        });
    }

    /// Flag of the module that reads an output register.
    fn reader_of(&self, register: SignalId) -> Option<u32> {
        self.active?;
        let outputs = &self.module.outputs;
        let port = outputs.iter().position(|output| output.valid == register || output.data == register)?;
        self.readers[port]
    }

    fn wake_reader(&mut self, register: SignalId) {
        if let Some(awake) = self.reader_of(register) {
            self.code.op().i32_const(0).i32_const(1).i32_store8(at(awake));
        }
    }

    /// A pipeline's results, computed from the arguments and stored for the cycle in which they
    /// are due.
    fn launch(&mut self, pipeline: PipelineId, arguments: &[Expr]) {
        let module = self.module;
        let cell = self.layout.pipelines[pipeline.0 as usize].clone();
        self.launched(&cell);
        self.scoped(|this| {
            for (&parameter, argument) in module.pipeline(pipeline).parameters.iter().zip(arguments) {
                this.bind(parameter, argument);
            }
            this.evaluate(pipeline, &cell);
        });
    }

    /// The stages of a pipeline over its bound parameters. In a scope of its own: the last
    /// stage's signals now mean the new results.
    fn evaluate(&mut self, pipeline: PipelineId, cell: &Cell) {
        let module = self.module;
        self.scoped(|this| {
            let stages = module.pipeline(pipeline).stages;
            for stage in 0..stages {
                for (number, signal) in module.signals.iter().enumerate() {
                    match &signal.kind {
                        SignalKind::Stage { pipeline: owner, stage: of, value }
                            if *owner == pipeline && *of == stage =>
                        {
                            this.bind(SignalId(number as u32), value);
                        }
                        _ => {}
                    }
                }
            }
            let base = this.slot_of(cell, 0);
            for id in crate::layout::results(module, pipeline.0) {
                let offset = this.layout.signals[id.0 as usize];
                this.store_value(&Expr::Signal(id), module.signal(id).ty, Place { base: Some(base), offset });
            }
        });
    }

    /// Gives a signal the value of an expression: by place where the value lies in memory, by
    /// locals otherwise.
    fn bind(&mut self, id: SignalId, value: &Expr) {
        let ty = self.module.signal(id).ty;
        let lies = match value {
            Expr::Signal(signal) | Expr::Slice { signal, .. } => !self.is_split(*signal),
            Expr::SliceAt { .. } => true,
            Expr::Rom(..) => true,
            _ => false,
        };
        if ty.lanes > 1 && lies {
            let place = self.place(value);
            self.bind_place(id, place);
            return;
        }
        let value_ty = self.ty(value).lane();
        for lane in 0..ty.lanes {
            if ty.lanes == 1 {
                self.scalar(value);
            } else {
                self.lane(value, lane);
            }
            self.wrap(Rep::of(value_ty), value_ty, ty.lane());
            let local = self.code.keep(Rep::of(ty).val());
            self.bind_lane(id, lane, local);
        }
        if ty.lanes > 1 {
            self.bind_split(id);
        }
    }
}
