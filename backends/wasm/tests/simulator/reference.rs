//! The meaning of the RTL IR, one cycle at a time, with nothing clever: every register and every
//! pipeline stage is updated from the state before, engines compute at issue and deliver after
//! their latency.

use lutweave_hw::rtl::engine::Step;
use lutweave_hw::rtl::harness::{Stall, Stimulus, Trace, patience};
use lutweave_hw::rtl::{
    Design, Endpoint, Engine, EngineId, Expr, Module, ParallelTaps, PipelineId, Reduce, SignalId, SignalKind,
    Statement, Ty,
};
use lutweave_hw::supply::MemoryTiming;
use std::collections::VecDeque;

pub type Lanes = Vec<i64>;

/// Wraps an exact value to a lane of a type.
pub fn wrap(value: i128, ty: Ty) -> i64 {
    let modulus = 1i128 << ty.bits;
    let low = value.rem_euclid(modulus);
    (if ty.signed && low >= modulus / 2 { low - modulus } else { low }) as i64
}

struct EngineState {
    /// `[ring row][column][group][lane]`
    window: Vec<i64>,
    weights: Vec<i16>,
    /// Of the steps since the last result.
    accumulators: Vec<Option<i64>>,
    flight: VecDeque<(u64, Lanes)>,
}

/// State of one module.
struct State {
    signals: Vec<Lanes>,
    memories: Vec<Vec<i64>>,
    /// Per pipeline and stage: whether a launch is there.
    tokens: Vec<Vec<bool>>,
    engines: Vec<EngineState>,
}

/// What a cycle changes.
#[derive(Default)]
struct Update {
    registers: Vec<(SignalId, Lanes)>,
    memories: Vec<(usize, usize, Lanes)>,
    launches: Vec<(PipelineId, Vec<Lanes>)>,
    fills: Vec<(EngineId, usize, Lanes)>,
    loads: Vec<(EngineId, u32, u32, Lanes)>,
    issues: Vec<(EngineId, [i64; 7])>,
}

pub struct Reference<'d> {
    design: &'d Design,
    modules: Vec<State>,
    sources: Vec<Source>,
    sinks: Vec<Sink>,
    pub cycle: u64,
    last_transfer: u64,
    first_transfer: Option<u64>,
    /// Per channel: transfers, valid without ready, ready without valid.
    pub counters: Vec<[u64; 3]>,
}

struct Source {
    beats: VecDeque<Lanes>,
    offer: Option<Lanes>,
    stall: Stall,
}

struct Sink {
    ready: bool,
    beats: Vec<(u64, Lanes)>,
    stall: Stall,
    expected: usize,
}

impl<'d> Reference<'d> {
    pub fn new(design: &'d Design) -> Self {
        let modules = design.modules.iter().map(State::new).collect();
        let counters = vec![[0; 3]; design.channels.len()];
        Self {
            design,
            modules,
            sources: vec![],
            sinks: vec![],
            cycle: 0,
            last_transfer: 0,
            first_transfer: None,
            counters,
        }
    }

    pub fn begin(&mut self, stimulus: &Stimulus) {
        let seed = stimulus.stall_seed;
        self.sources = self
            .design
            .inputs
            .iter()
            .enumerate()
            .map(|(port, top)| {
                let beats = stimulus.frames.iter().flat_map(|frame| {
                    assert_eq!(frame[port].len() as u64, top.beats * u64::from(top.ty.lanes));
                    frame[port]
                        .chunks(top.ty.lanes as usize)
                        .map(|beat| beat.iter().map(|&x| wrap(x.into(), top.ty)).collect())
                });
                Source { beats: beats.collect(), offer: None, stall: Stall::of_input(seed, port as u32) }
            })
            .collect();
        self.sinks = self
            .design
            .outputs
            .iter()
            .enumerate()
            .map(|(port, top)| Sink {
                ready: false,
                beats: vec![],
                stall: Stall::of_output(seed, port as u32),
                expected: top.beats as usize * stimulus.frames.len(),
            })
            .collect();
        self.cycle = 0;
        self.last_transfer = 0;
        self.first_transfer = None;
        self.counters.fill([0; 3]);
        for (state, module) in self.modules.iter_mut().zip(&self.design.modules) {
            state.reset(module);
        }
    }

    /// Whether all frames are out.
    pub fn done(&self) -> bool {
        self.sinks.iter().all(|sink| sink.beats.len() >= sink.expected)
    }

    pub fn run(&mut self, stimulus: &Stimulus) -> Result<Trace, u64> {
        if let Some(cycles) = stimulus.reset_after {
            self.begin(stimulus);
            for _ in 0..cycles {
                self.step();
            }
        }
        self.begin(stimulus);
        while !self.done() {
            self.step();
            if self.cycle - 1 - self.last_transfer >= patience(self.design, &MemoryTiming::default()) {
                return Err(self.cycle);
            }
        }
        Ok(self.trace(stimulus.frames.len()))
    }

    fn trace(&self, frames: usize) -> Trace {
        let mut trace = Trace {
            frames: vec![vec![]; frames],
            completions: vec![0; frames],
            first_transfer: self.first_transfer.unwrap_or(u64::MAX),
        };
        for (top, sink) in self.design.outputs.iter().zip(&self.sinks) {
            for frame in 0..frames {
                let beats = &sink.beats[frame * top.beats as usize..][..top.beats as usize];
                trace.frames[frame].push(beats.iter().flat_map(|(_, beat)| beat.iter().map(|&x| x as i32)).collect());
                trace.completions[frame] = trace.completions[frame].max(beats.last().unwrap().0);
            }
        }
        trace
    }

    pub fn register(&self, module: usize, signal: SignalId) -> &Lanes {
        &self.modules[module].signals[signal.0 as usize]
    }

    pub fn step(&mut self) {
        let design = self.design;
        // Wires between modules, from registers only.
        let writer = |this: &Self, from: Endpoint, ty: Ty| match from {
            Endpoint::Top(port) => {
                let offer = this.sources[port as usize].offer.clone();
                (offer.is_some(), offer.unwrap_or(vec![0; ty.lanes as usize]))
            }
            Endpoint::Supply(_) => unreachable!("a design is simulated with its memory"),
            Endpoint::Port(module, port) => {
                let output = &design.module(module).outputs[port as usize];
                let signals = &this.modules[module.0 as usize].signals;
                (signals[output.valid.0 as usize][0] == 1, signals[output.data.0 as usize].clone())
            }
        };
        let reader = |this: &Self, to: Endpoint| match to {
            Endpoint::Top(port) => this.sinks[port as usize].ready,
            Endpoint::Supply(_) => unreachable!("a design is simulated with its memory"),
            Endpoint::Port(module, port) => {
                let input = &design.module(module).inputs[port as usize];
                let evaluation = this.evaluation(module.0 as usize);
                evaluation.signal(input.ready)[0] == 1
            }
        };
        let channels: Vec<(bool, bool, Lanes)> = design
            .channels
            .iter()
            .map(|channel| {
                let (valid, data) = writer(self, channel.from, channel.ty);
                (valid, reader(self, channel.to), data)
            })
            .collect();
        for (counters, (valid, ready, _)) in self.counters.iter_mut().zip(&channels) {
            match (valid, ready) {
                (true, true) => counters[0] += 1,
                (true, false) => counters[1] += 1,
                (false, true) => counters[2] += 1,
                (false, false) => {}
            }
        }
        for (channel, (valid, ready, data)) in design.channels.iter().zip(&channels) {
            if let Endpoint::Port(module, port) = channel.to {
                let input = &design.module(module).inputs[port as usize];
                self.modules[module.0 as usize].signals[input.valid.0 as usize] = vec![i64::from(*valid)];
                self.modules[module.0 as usize].signals[input.data.0 as usize] = data.clone();
            }
            if let Endpoint::Port(module, port) = channel.from {
                let output = &design.module(module).outputs[port as usize];
                self.modules[module.0 as usize].signals[output.ready.0 as usize] = vec![i64::from(*ready)];
            }
        }
        let updates: Vec<Update> = (0..design.modules.len())
            .map(|number| {
                let mut update = Update::default();
                self.evaluation(number).statements(&design.modules[number].statements, &mut update);
                update
            })
            .collect();
        for (number, update) in updates.into_iter().enumerate() {
            self.modules[number].apply(&design.modules[number], update, self.cycle);
        }
        for (channel, (valid, ready, data)) in design.channels.iter().zip(&channels) {
            if let (Endpoint::Top(port), true, true) = (channel.to, *valid, *ready) {
                self.sinks[port as usize].beats.push((self.cycle, data.clone()));
                self.last_transfer = self.cycle;
            }
            if let Endpoint::Top(port) = channel.from {
                let source = &mut self.sources[port as usize];
                let stalls = source.stall.step();
                if *valid && *ready {
                    self.last_transfer = self.cycle;
                    self.first_transfer.get_or_insert(self.cycle);
                }
                if !*valid || *ready {
                    source.offer = if stalls { None } else { source.beats.pop_front() };
                }
            }
        }
        for sink in &mut self.sinks {
            sink.ready = !sink.stall.step();
        }
        self.cycle += 1;
    }

    fn evaluation(&self, module: usize) -> Evaluation<'_> {
        Evaluation { module: &self.design.modules[module], state: &self.modules[module], cycle: self.cycle }
    }
}

impl State {
    fn new(module: &Module) -> Self {
        Self {
            signals: module.signals.iter().map(|signal| vec![0; signal.ty.lanes as usize]).collect(),
            memories: module
                .memories
                .iter()
                .map(|m| m.contents.clone().unwrap_or_else(|| vec![0; (m.depth * m.word.lanes) as usize]))
                .collect(),
            tokens: module.pipelines.iter().map(|pipeline| vec![false; pipeline.stages as usize]).collect(),
            engines: module
                .engines
                .iter()
                .map(|engine| EngineState {
                    window: vec![0; (engine.rows * engine.columns * engine.groups * engine.word.lanes) as usize],
                    weights: if engine.is_loaded() {
                        vec![0; (engine.weight_depth() * engine.weights_per_address()) as usize]
                    } else {
                        engine.weights.clone()
                    },
                    accumulators: vec![None; engine.outputs() as usize],
                    flight: VecDeque::new(),
                })
                .collect(),
        }
    }

    fn reset(&mut self, module: &Module) {
        for (value, signal) in self.signals.iter_mut().zip(&module.signals) {
            if let SignalKind::Register { reset: Some(reset) } = signal.kind {
                *value = vec![reset];
            }
        }
        for tokens in &mut self.tokens {
            tokens.fill(false);
        }
        for engine in &mut self.engines {
            engine.accumulators.fill(None);
            engine.flight.clear();
        }
    }

    fn apply(&mut self, module: &Module, update: Update, cycle: u64) {
        // Stages, last first, each from the stage before.
        for (number, pipeline) in module.pipelines.iter().enumerate() {
            for stage in (0..pipeline.stages).rev() {
                if stage == 0 {
                    let launch = update.launches.iter().find(|(id, _)| id.0 as usize == number);
                    self.tokens[number][0] = launch.is_some();
                    if let Some((_, arguments)) = launch {
                        for (&parameter, argument) in pipeline.parameters.iter().zip(arguments) {
                            let ty = module.signal(parameter).ty;
                            self.signals[parameter.0 as usize] = wrap_lanes(argument, ty);
                        }
                    }
                } else {
                    self.tokens[number][stage as usize] = self.tokens[number][stage as usize - 1];
                }
                let mut values = vec![];
                for (id, signal) in module.signals.iter().enumerate() {
                    if let SignalKind::Stage { pipeline: owner, stage: of, value } = &signal.kind
                        && owner.0 as usize == number
                        && *of == stage
                        && self.tokens[number][stage as usize]
                    {
                        let evaluation = Evaluation { module, state: self, cycle };
                        values.push((id, wrap_lanes(&evaluation.vector(value), signal.ty)));
                    }
                }
                for (id, value) in values {
                    self.signals[id] = value;
                }
            }
        }
        for (id, step) in update.issues {
            let engine = module.engine(id);
            self.engines[id.0 as usize].issue(engine, step, cycle);
        }
        for (id, index, word) in update.fills {
            self.engines[id.0 as usize].window[index..index + word.len()].copy_from_slice(&word);
        }
        for (id, address, part, data) in update.loads {
            self.engines[id.0 as usize].load(module.engine(id), address, part, &data);
        }
        for engine in &mut self.engines {
            if engine.flight.front().is_some_and(|(due, _)| *due == cycle) {
                engine.flight.pop_front();
            }
        }
        for (register, value) in update.registers {
            self.signals[register.0 as usize] = wrap_lanes(&value, module.signal(register).ty);
        }
        for (memory, index, word) in update.memories {
            self.memories[memory][index..index + word.len()].copy_from_slice(&word);
        }
    }
}

impl EngineState {
    fn load(&mut self, engine: &Engine, address: u32, part: u32, data: &[i64]) {
        let (bits, per_load) = (engine.products().unwrap().weight_bits, engine.weights_per_load());
        for lane in 0..per_load {
            let (within, position) = engine.loaded_place(part, lane);
            let address = address * engine.addresses_per_load() + within;
            if position < engine.weights_per_address() && address < engine.weight_depth() {
                let bit = |at: u32| i128::from(data[at as usize / 8] >> (at % 8) & 1);
                let value = (0..bits).map(|at| bit(lane * bits + at) << at).sum();
                let index = address * engine.weights_per_address() + engine.loaded_weight(position);
                self.weights[index as usize] = wrap(value, Ty::signed(bits)) as i16;
            }
        }
    }

    fn issue(&mut self, engine: &Engine, step: [i64; 7], cycle: u64) {
        let [ring, row, column, group, tap, address, last] = step;
        let [height, width] = engine.kernel.map(i64::from);
        let taps: Vec<(i64, i64)> = match engine.parallel {
            ParallelTaps::One => vec![(tap / width, tap % width)],
            ParallelTaps::Row => (0..width).map(|j| (tap, j)).collect(),
            ParallelTaps::All => (0..height).flat_map(|i| (0..width).map(move |j| (i, j))).collect(),
        };
        let lanes = engine.word.lanes as usize;
        let words: Vec<Vec<i64>> = taps
            .iter()
            .map(|(i, j)| {
                let (y, x) = (row + i * i64::from(engine.dilations[0]), column + j * i64::from(engine.dilations[1]));
                if y < 0 || y >= engine.image_rows.into() || x < 0 || x >= engine.columns.into() {
                    return vec![engine.pad_value; lanes];
                }
                let r = (ring + i * i64::from(engine.dilations[0])) % i64::from(engine.rows);
                let index = ((r * i64::from(engine.columns) + x) * i64::from(engine.groups) + group) as usize * lanes;
                self.window[index..index + lanes].to_vec()
            })
            .collect();
        let terms = words.len() * lanes;
        for (number, accumulator) in self.accumulators.iter_mut().enumerate() {
            let lane = || words.iter().map(|word| word[number]);
            let value: i64 = match &engine.reduce {
                Reduce::Dense { outputs, .. } => {
                    let start = (address as usize * *outputs as usize + number) * terms;
                    words
                        .iter()
                        .flatten()
                        .zip(&self.weights[start..start + terms])
                        .map(|(a, w)| a * i64::from(*w))
                        .sum()
                }
                Reduce::Depthwise { .. } => lane()
                    .enumerate()
                    .map(|(t, a)| a * i64::from(self.weights[(address as usize * words.len() + t) * lanes + number]))
                    .sum(),
                Reduce::Max => lane().max().unwrap(),
                Reduce::Sum => lane().sum(),
            };
            *accumulator = Some(match (*accumulator, &engine.reduce) {
                (None, _) => value,
                (Some(before), Reduce::Max) => value.max(before),
                (Some(before), _) => value + before,
            });
        }
        if last == 1 {
            let result = self.accumulators.iter_mut().map(|accumulator| accumulator.take().unwrap()).collect();
            self.flight.push_back((cycle + u64::from(engine.latency()), result));
        }
    }
}

fn wrap_lanes(value: &[i64], ty: Ty) -> Lanes {
    assert_eq!(value.len(), ty.lanes as usize);
    value.iter().map(|&lane| wrap(lane.into(), ty)).collect()
}

struct Evaluation<'s> {
    module: &'s Module,
    state: &'s State,
    cycle: u64,
}

impl Evaluation<'_> {
    fn statements(&self, statements: &[Statement], update: &mut Update) {
        for statement in statements {
            match statement {
                Statement::Set(register, value) => {
                    let ty = self.module.signal(*register).ty;
                    let value = if ty.lanes == 1 { vec![wrap(self.scalar(value), ty)] } else { self.vector(value) };
                    update.registers.push((*register, value));
                }
                Statement::If { condition, then, otherwise } => {
                    self.statements(if self.scalar(condition) == 1 { then } else { otherwise }, update);
                }
                Statement::Read { memory, address, into } => {
                    update.registers.push((*into, self.word(memory.0 as usize, self.scalar(address))));
                }
                Statement::Write { memory, address, data } => {
                    let word = self.module.memory(*memory).word;
                    let data = wrap_lanes(&self.vector(data), word);
                    update.memories.push((
                        memory.0 as usize,
                        self.scalar(address) as usize * word.lanes as usize,
                        data,
                    ));
                }
                Statement::Launch { pipeline, arguments } => {
                    update.launches.push((*pipeline, arguments.iter().map(|argument| self.vector(argument)).collect()));
                }
                Statement::Fill { engine, row, column, group, data } => {
                    let shape = self.module.engine(*engine);
                    let [row, column, group] = [row, column, group].map(|expr| self.scalar(expr) as u32);
                    assert!(row < shape.rows && column < shape.columns && group < shape.groups);
                    let index = ((row * shape.columns + column) * shape.groups + group) * shape.word.lanes;
                    update.fills.push((*engine, index as usize, wrap_lanes(&self.vector(data), shape.word)));
                }
                Statement::Load { engine, address, part, data } => {
                    let shape = self.module.engine(*engine);
                    let [address, part] = [address, part].map(|expr| self.scalar(expr) as u32);
                    assert!(address < shape.weight_banks().depth && part < shape.loads_per_address());
                    update.loads.push((*engine, address, part, self.vector(data)));
                }
                Statement::Issue { engine, step } => {
                    let Step { ring, row, column, group, tap, address, last } = step;
                    let step = [ring, row, column, group, tap, address, last];
                    update.issues.push((*engine, step.map(|expr| self.scalar(expr) as i64)));
                }
            }
        }
    }

    fn signal(&self, id: SignalId) -> Lanes {
        let signal = self.module.signal(id);
        match &signal.kind {
            SignalKind::Wire(value) if signal.ty.lanes == 1 => vec![wrap(self.scalar(value), signal.ty)],
            SignalKind::Wire(value) => wrap_lanes(&self.vector(value), signal.ty),
            SignalKind::PipelineValid(pipeline) => {
                vec![i64::from(*self.state.tokens[pipeline.0 as usize].last().unwrap())]
            }
            SignalKind::EngineValid(engine) => vec![i64::from(self.result(*engine).is_some())],
            SignalKind::EngineResult(engine) => {
                self.result(*engine).unwrap_or_else(|| vec![0; signal.ty.lanes as usize])
            }
            _ => self.state.signals[id.0 as usize].clone(),
        }
    }

    fn result(&self, engine: EngineId) -> Option<Lanes> {
        let front = self.state.engines[engine.0 as usize].flight.front();
        front.filter(|(due, _)| *due == self.cycle).map(|(_, result)| result.clone())
    }

    fn word(&self, memory: usize, address: i128) -> Lanes {
        let word = self.module.memories[memory].word;
        let start = address as usize * word.lanes as usize;
        self.state.memories[memory][start..start + word.lanes as usize].to_vec()
    }

    /// The exact value of a scalar expression.
    pub fn scalar(&self, expr: &Expr) -> i128 {
        let value = |expr: &Expr| self.scalar(expr);
        let lane = |id: SignalId, lane: i128| i128::from(self.signal(id).get(lane as usize).copied().unwrap_or(0));
        match expr {
            Expr::Const(value) => (*value).into(),
            Expr::Signal(id) => lane(*id, 0),
            Expr::Lane(id, number) => lane(*id, (*number).into()),
            Expr::LaneAt(id, index) => lane(*id, value(index)),
            Expr::Add(a, b) => value(a) + value(b),
            Expr::Sub(a, b) => value(a) - value(b),
            Expr::Mul(a, b) => value(a) * value(b),
            Expr::Shl(a, by) => value(a) << by,
            Expr::Shr(a, by) => value(a) >> by,
            Expr::ShrBy(a, by) => value(a) >> value(by),
            Expr::Low(a, bits) => value(a).rem_euclid(1 << bits),
            Expr::And(a, b) => value(a) & value(b),
            Expr::Or(a, b) => value(a) | value(b),
            Expr::Not(a) => 1 - value(a),
            Expr::Eq(a, b) => (value(a) == value(b)).into(),
            Expr::Lt(a, b) => (value(a) < value(b)).into(),
            Expr::Mux(condition, a, b) => value(if value(condition) == 1 { a } else { b }),
            Expr::Clamp(a, lo, hi) => value(a).max((*lo).into()).min((*hi).into()),
            Expr::Pack(..) | Expr::Slice { .. } | Expr::SliceAt { .. } | Expr::Join(_) | Expr::Rom(..) => {
                self.vector(expr)[0].into()
            }
        }
    }

    /// The lanes of an expression.
    fn vector(&self, expr: &Expr) -> Lanes {
        match expr {
            Expr::Signal(id) => self.signal(*id),
            Expr::Pack(ty, lanes) => lanes.iter().map(|lane| wrap(self.scalar(lane), ty.lane())).collect(),
            Expr::Slice { signal, start, lanes } => self.signal(*signal)[*start as usize..][..*lanes as usize].to_vec(),
            Expr::SliceAt { signal, index, lanes } => {
                let start = self.scalar(index) as usize * *lanes as usize;
                self.signal(*signal)[start..][..*lanes as usize].to_vec()
            }
            Expr::Join(parts) => parts.iter().flat_map(|part| self.vector(part)).collect(),
            Expr::Rom(memory, address) => self.word(memory.0 as usize, self.scalar(address)),
            Expr::Mux(condition, a, b) if expr.ty(self.module).lanes > 1 => {
                self.vector(if self.scalar(condition) == 1 { a } else { b })
            }
            _ => vec![self.scalar(expr) as i64],
        }
    }
}
