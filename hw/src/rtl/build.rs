//! Building modules: names, signals, memories, cells and the recurring statement shapes.

use super::engine::{Engine, EngineShape};
use super::expr::{Expr, add, eq, mux};
use super::*;
use std::collections::{BTreeMap, HashSet};

/// A module under construction.
#[derive(Debug)]
pub struct Builder {
    module: Module,
    names: HashSet<String>,
}

/// A stream input under construction.
#[derive(Clone, Copy, Debug)]
pub struct Input {
    port: usize,
    /// `tvalid`.
    pub valid: SignalId,
    /// `tdata`.
    pub data: SignalId,
}

/// A stream output.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// `tvalid`, a register.
    pub valid: SignalId,
    /// `tdata`, a register.
    pub data: SignalId,
    /// `tready`.
    pub ready: SignalId,
}

impl Builder {
    /// A module without ports.
    pub fn new(name: &str, summary: impl Into<String>) -> Self {
        let module = Module { name: name.to_owned(), summary: summary.into(), ..Module::default() };
        Self { module, names: HashSet::new() }
    }

    /// The module with its statements.
    pub fn finish(mut self, statements: Vec<Statement>) -> Module {
        self.module.statements = statements;
        self.module
    }

    /// The type of an expression.
    pub fn ty(&self, expr: &Expr) -> Ty {
        expr.ty(&self.module)
    }

    /// A control register with a reset value.
    pub fn register(&mut self, name: &str, ty: Ty, reset: i64) -> SignalId {
        self.signal(name, ty, SignalKind::Register { reset: Some(reset) })
    }

    /// A data register without a reset value.
    pub fn data_register(&mut self, name: &str, ty: Ty) -> SignalId {
        self.signal(name, ty, SignalKind::Register { reset: None })
    }

    /// A combinational signal.
    pub fn wire(&mut self, name: &str, value: Expr) -> SignalId {
        let ty = self.ty(&value);
        self.signal(name, ty, SignalKind::Wire(value))
    }

    /// A combinational signal of a stated type that holds every value.
    pub fn wire_typed(&mut self, name: &str, ty: Ty, value: Expr) -> SignalId {
        self.signal(name, ty, SignalKind::Wire(value))
    }

    /// A stream input; [`Builder::ready`] must follow.
    pub fn input(&mut self, name: &str, ty: Ty) -> Input {
        let valid = self.signal(&format!("{name}_tvalid"), Ty::BIT, SignalKind::InputValid);
        let data = self.signal(&format!("{name}_tdata"), ty, SignalKind::InputData);
        let port = self.module.inputs.len();
        self.module.inputs.push(StreamInput { name: name.to_owned(), valid, data, ready: valid });
        Input { port, valid, data }
    }

    /// Defines `tready` of an input, over registers only.
    pub fn ready(&mut self, input: Input, value: Expr) -> SignalId {
        let name = format!("{}_tready", self.module.inputs[input.port].name);
        let ready = self.signal(&name, Ty::BIT, SignalKind::Wire(value));
        self.module.inputs[input.port].ready = ready;
        ready
    }

    /// A stream output.
    pub fn output(&mut self, name: &str, ty: Ty) -> Output {
        let valid = self.signal(&format!("{name}_tvalid"), Ty::BIT, SignalKind::Register { reset: Some(0) });
        let data = self.signal(&format!("{name}_tdata"), ty, SignalKind::Register { reset: None });
        let ready = self.signal(&format!("{name}_tready"), Ty::BIT, SignalKind::OutputReady);
        self.module.outputs.push(StreamOutput { name: name.to_owned(), valid, data, ready });
        Output { valid, data, ready }
    }

    /// A memory without contents, for values that are read again.
    pub fn memory(&mut self, name: &str, word: Ty, depth: u32) -> MemoryId {
        self.add_memory(name, word, depth, None, MemoryUse::Buffer)
    }

    /// A memory without contents, for values that wait.
    pub fn queue(&mut self, name: &str, word: Ty, depth: u32) -> MemoryId {
        self.add_memory(name, word, depth, None, MemoryUse::Queue)
    }

    /// The contents of a memory outside the chip, which may be written.
    pub fn outside(&mut self, name: &str, word: Ty, contents: Vec<i64>) -> MemoryId {
        let depth = contents.len() as u32 / word.lanes;
        self.add_memory(name, word, depth, Some(contents), MemoryUse::Outside)
    }

    /// A ROM.
    pub fn rom(&mut self, name: &str, word: Ty, contents: Vec<i64>) -> MemoryId {
        let depth = contents.len() as u32 / word.lanes;
        self.add_memory(name, word, depth, Some(contents), MemoryUse::Constants)
    }

    /// Has a ROM in logic, whatever its size.
    pub fn move_into_logic(&mut self, rom: MemoryId) {
        self.module.memories[rom.0 as usize].style = MemoryStyle::Distributed;
    }

    /// A pipeline with named parameters; [`Builder::stage`] adds to it.
    pub fn pipeline(&mut self, name: &str, parameters: &[(&str, Ty)]) -> (PipelineId, Vec<SignalId>) {
        let id = PipelineId(self.module.pipelines.len() as u32);
        let parameters: Vec<SignalId> = parameters
            .iter()
            .map(|(parameter, ty)| self.signal(&format!("{name}_{parameter}"), *ty, SignalKind::Parameter(id)))
            .collect();
        let valid = self.signal(&format!("{name}_valid"), Ty::BIT, SignalKind::PipelineValid(id));
        let name = self.unique_name(name);
        self.module.pipelines.push(Pipeline { name, parameters: parameters.clone(), stages: 0, valid });
        (id, parameters)
    }

    /// Opens the next stage of a pipeline.
    pub fn next_stage(&mut self, pipeline: PipelineId) {
        self.module.pipelines[pipeline.0 as usize].stages += 1;
    }

    /// A register of the stage opened last, of the definition's type.
    pub fn stage(&mut self, pipeline: PipelineId, name: &str, value: Expr) -> SignalId {
        let ty = self.ty(&value);
        self.stage_typed(pipeline, name, ty, value)
    }

    /// A register of the stage opened last, of a stated type that holds every value.
    pub fn stage_typed(&mut self, pipeline: PipelineId, name: &str, ty: Ty, value: Expr) -> SignalId {
        let pipe = &self.module.pipelines[pipeline.0 as usize];
        let stage = pipe.stages - 1;
        let name = format!("{}_{name}", pipe.name);
        self.signal(&name, ty, SignalKind::Stage { pipeline, stage, value })
    }

    /// Number of stages opened so far.
    pub fn stages_of(&self, pipeline: PipelineId) -> u32 {
        self.module.pipelines[pipeline.0 as usize].stages
    }

    /// `valid` of a pipeline.
    pub fn valid_of(&self, pipeline: PipelineId) -> SignalId {
        self.module.pipelines[pipeline.0 as usize].valid
    }

    /// An engine with its weights: its id, `valid` and `result`.
    pub fn engine(&mut self, name: &str, shape: EngineShape, weights: Vec<i16>) -> (EngineId, SignalId, SignalId) {
        let id = EngineId(self.module.engines.len() as u32);
        let valid = self.signal(&format!("{name}_valid"), Ty::BIT, SignalKind::EngineValid(id));
        let result_ty = shape.accumulator.by(shape.outputs());
        let result = self.signal(&format!("{name}_result"), result_ty, SignalKind::EngineResult(id));
        let name = self.unique_name(name);
        self.module.engines.push(Engine { name, shape, weights, result, valid });
        (id, valid, result)
    }

    /// Latency of an engine in cycles.
    pub fn engine_latency(&self, engine: EngineId) -> u32 {
        self.module.engine(engine).latency()
    }

    /// Addresses of an engine's weight memory; 0 without weights.
    pub fn engine_addresses(&self, engine: EngineId) -> u32 {
        self.module.engine(engine).weight_depth()
    }

    fn signal(&mut self, name: &str, ty: Ty, kind: SignalKind) -> SignalId {
        let name = self.unique_name(name);
        let id = SignalId(self.module.signals.len() as u32);
        self.module.signals.push(Signal { name, ty, kind });
        id
    }

    fn add_memory(
        &mut self,
        name: &str,
        word: Ty,
        depth: u32,
        contents: Option<Vec<i64>>,
        purpose: MemoryUse,
    ) -> MemoryId {
        let style = MemoryStyle::usual(u64::from(word.width()), u64::from(depth));
        let memory = Memory { name: self.unique_name(name), word, depth, contents, style, purpose };
        let id = MemoryId(self.module.memories.len() as u32);
        self.module.memories.push(memory);
        id
    }

    fn unique_name(&mut self, name: &str) -> String {
        let mut candidate = name.to_owned();
        let mut suffix = 1;
        while !self.names.insert(candidate.clone()) {
            suffix += 1;
            candidate = format!("{name}_{suffix}");
        }
        candidate
    }
}

/// `register <- value`.
pub fn set(register: SignalId, value: impl Into<Expr>) -> Statement {
    Statement::Set(register, value.into())
}

/// `if condition { then }`.
pub fn when(condition: impl Into<Expr>, then: Vec<Statement>) -> Statement {
    Statement::If { condition: condition.into(), then, otherwise: Vec::new() }
}

/// `if condition { then } else { otherwise }`.
pub fn branch(condition: impl Into<Expr>, then: Vec<Statement>, otherwise: Vec<Statement>) -> Statement {
    Statement::If { condition: condition.into(), then, otherwise }
}

/// Counts up where `more` is 1 and down where `fewer` is.
pub fn count(register: SignalId, more: impl Into<Expr>, fewer: impl Into<Expr>) -> Statement {
    let fewer = fewer.into();
    branch(
        more,
        vec![when(expr::not(fewer.clone()), vec![set(register, add(register, 1))])],
        vec![when(fewer, vec![set(register, expr::sub(register, 1))])],
    )
}

/// `(value + step) mod modulus` for a value below the modulus and a constant step of at most
/// the modulus.
pub fn add_modulo(value: impl Into<Expr>, step: u32, modulus: u32) -> Expr {
    let value = value.into();
    let step = step % modulus;
    if step == 0 {
        return value;
    }
    let (step, modulus) = (i64::from(step), i64::from(modulus));
    mux(expr::lt(value.clone(), modulus - step), add(value.clone(), step), expr::sub(value, modulus - step))
}

/// One level of a counter nest.
#[derive(Debug)]
pub struct Level {
    /// Starts at 0; a level of one value needs no register.
    pub counter: Option<SignalId>,
    /// Its value after it wraps.
    pub first: Expr,
    /// The value after which it wraps.
    pub last: Expr,
    /// Extra statements when the counter steps without wrapping.
    pub on_step: Vec<Statement>,
    /// Extra statements when it wraps.
    pub on_wrap: Vec<Statement>,
}

impl Level {
    /// A level that counts from 0 to `count - 1` in a fresh register, or in none for a count of 1.
    pub fn new(builder: &mut Builder, name: &str, count: u32) -> Self {
        let counter = (count > 1).then(|| builder.register(name, Ty::holding(u64::from(count - 1)), 0));
        let last = i64::from(count) - 1;
        Self { counter, last: last.into(), ..Self::single() }
    }

    /// The level, but wrapping after the value `last`, to `first`.
    #[must_use]
    pub fn wrapping(self, first: Expr, last: Expr) -> Self {
        Self { first, last, ..self }
    }

    /// A level of one value.
    pub fn single() -> Self {
        Self { counter: None, first: 0.into(), last: 0.into(), on_step: Vec::new(), on_wrap: Vec::new() }
    }

    /// The counter's value.
    pub fn value(&self) -> Expr {
        self.counter.map_or(Expr::Const(0), Expr::Signal)
    }

    /// Its value times a number: shifted, or, where that will not do, in a register of its own.
    pub fn times(&mut self, builder: &mut Builder, name: &str, step: u32) -> Expr {
        let (Some(counter), &Expr::Const(last)) = (self.counter, &self.last) else { return Expr::Const(0) };
        match step.is_power_of_two().then(|| step.trailing_zeros()) {
            Some(0) => counter.into(),
            Some(bits) => Expr::Shl(Box::new(counter.into()), bits),
            None => {
                let multiple = builder.register(name, Ty::holding(last as u64 * u64::from(step)), 0);
                self.on_step.push(set(multiple, add(multiple, i64::from(step))));
                self.on_wrap.push(set(multiple, 0));
                multiple.into()
            }
        }
    }

    /// 1 if the counter is at its last value.
    pub fn at_end(&self) -> Expr {
        match self.counter {
            Some(counter) => eq(counter, self.last.clone()),
            None => Expr::Const(1),
        }
    }
}

/// The number of a step of nested counters, innermost first, each with how many values it has; `None` where it is not
/// just their bits side by side.
pub fn side_by_side(levels: &[(Expr, u32)]) -> Option<Expr> {
    let mut number: Option<Expr> = None;
    let mut below = 1u32;
    for (value, count) in levels.iter().filter(|(_, count)| *count > 1) {
        if !below.is_power_of_two() {
            return None;
        }
        number = Some(match number {
            None => value.clone(),
            Some(inner) => add(Expr::Shl(Box::new(value.clone()), below.trailing_zeros()), inner),
        });
        below *= count;
    }
    Some(number.unwrap_or(Expr::Const(0)))
}

/// Statements that advance a nest of counters, innermost level first.
pub fn advance(levels: Vec<Level>) -> Vec<Statement> {
    let mut outer = Vec::new();
    for level in levels.into_iter().rev() {
        let at_end = level.at_end();
        let mut wrap = level.on_wrap;
        outer = match level.counter {
            None => {
                wrap.extend(outer);
                wrap
            }
            Some(counter) => {
                wrap.insert(0, set(counter, level.first));
                wrap.extend(outer);
                let mut step = vec![set(counter, add(counter, 1))];
                step.extend(level.on_step);
                vec![branch(at_end, wrap, step)]
            }
        };
    }
    outer
}

/// A piecewise constant function of a counter: `values[counter]`, as a chain of comparisons
/// against the values that differ from the most frequent one.
pub fn by_counter(counter: &Expr, values: &[i64]) -> Expr {
    let mut occurrences: BTreeMap<i64, usize> = BTreeMap::new();
    values.iter().for_each(|&value| *occurrences.entry(value).or_default() += 1);
    let default = occurrences.into_iter().max_by_key(|&(value, count)| (count, value)).map_or(0, |(value, _)| value);
    let mut result = Expr::Const(default);
    for (index, &value) in values.iter().enumerate().rev() {
        if value != default {
            result = mux(eq(counter.clone(), index as i64), value, result);
        }
    }
    result
}
