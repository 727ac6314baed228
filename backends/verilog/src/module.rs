//! A module: its registers, memories and pipelines, and the instances of its engines.

use crate::Files;
use crate::engine;
use crate::engine::memory::side_by_side;
use crate::lower::{Lower, first_of};
use crate::memory::{address_bits, hex_file, ram_attributes, rom_attributes};
use crate::namer::Namer;
use crate::syntax::{
    self, Declaration, Direction, Expr, Item, Kind, Port, Statement, assign, concat, driven, drives, name, number, when,
};
use lutweave_hw::rtl::expr::{all, not};
use lutweave_hw::rtl::{self, MemoryId, PipelineId, SignalId, SignalKind};

/// Names of the ports of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamPorts {
    /// `tdata`.
    pub data: String,
    /// `tvalid`.
    pub valid: String,
    /// `tready`.
    pub ready: String,
}

impl StreamPorts {
    fn new(namer: &mut Namer, stream: &str) -> Self {
        let mut port = |suffix: &str| namer.unique(&format!("{stream}_{suffix}"));
        Self { data: port("tdata"), valid: port("tvalid"), ready: port("tready") }
    }
}

/// Names of all stream ports of a module, inputs and outputs, with the names they take.
pub fn stream_ports(module: &rtl::Module) -> (Vec<StreamPorts>, Vec<StreamPorts>, Namer) {
    let mut namer = Namer::default();
    for fixed in ["clk", "rst", "unused"] {
        namer.unique(fixed);
    }
    let inputs = module.inputs.iter().map(|input| StreamPorts::new(&mut namer, &input.name)).collect();
    let outputs = module.outputs.iter().map(|output| StreamPorts::new(&mut namer, &output.name)).collect();
    (inputs, outputs, namer)
}

/// A statement that acts on something else than a register, with the conditions around it.
struct Effect<'a> {
    condition: rtl::Expr,
    statement: &'a rtl::Statement,
}

fn effects<'a>(statements: &'a [rtl::Statement], path: &[rtl::Expr], found: &mut Vec<Effect<'a>>) {
    for statement in statements {
        match statement {
            rtl::Statement::Set(..) => {}
            rtl::Statement::If { condition, then, otherwise } => {
                effects(then, &[path, std::slice::from_ref(condition)].concat(), found);
                effects(otherwise, &[path, &[not(condition.clone())]].concat(), found);
            }
            rtl::Statement::Read { .. }
            | rtl::Statement::Write { .. }
            | rtl::Statement::Launch { .. }
            | rtl::Statement::Fill { .. }
            | rtl::Statement::Load { .. }
            | rtl::Statement::Issue { .. } => found.push(Effect { condition: all(path.iter().cloned()), statement }),
        }
    }
}

/// Emits a module under a name of its own.
pub fn emit(module: &rtl::Module, module_name: &str, files: &mut Files) -> syntax::Module {
    let mut emitter = Emitter::new(module, module_name);
    emitter.registers();
    emitter.memories(files);
    emitter.cell_results();
    emitter.wires();
    let mut found = Vec::new();
    effects(&module.statements, &[], &mut found);
    for pipeline in 0..module.pipelines.len() {
        emitter.pipeline(PipelineId(pipeline as u32), &found);
    }
    emitter.engines(&found, files);
    emitter.memory_ports(&found, files);
    emitter.statements();
    emitter.finish()
}

struct Emitter<'a> {
    module: &'a rtl::Module,
    result: syntax::Module,
    lower: Lower<'a>,
    memories: Vec<String>,
}

impl<'a> Emitter<'a> {
    fn new(module: &'a rtl::Module, module_name: &str) -> Self {
        let (inputs, outputs, namer) = stream_ports(module);
        let mut lower = Lower::new(module, namer);
        let mut result = syntax::Module { name: module_name.to_owned(), ..syntax::Module::default() };
        result.comment.push(format!("{module_name}: {}", module.summary));
        result.input("clk", 1);
        result.input("rst", 1);

        let mut fixed: Vec<Option<Expr>> = vec![None; module.signals.len()];
        let mut port = |id: SignalId, direction, kind, port_name: &str| {
            let ty = module.signal(id).ty;
            let declaration =
                Declaration { kind, signed: ty.signed && ty.lanes == 1, width: ty.width(), name: port_name.to_owned() };
            let expr = declaration.expr();
            result.ports.push(Port { direction, declaration });
            let free = fixed[id.0 as usize].is_none();
            if free {
                fixed[id.0 as usize] = Some(expr.clone());
            }
            (expr, free)
        };
        let mut copies = Vec::new();
        for (stream, ports) in module.inputs.iter().zip(&inputs) {
            port(stream.data, Direction::Input, Kind::Wire, &ports.data);
            port(stream.valid, Direction::Input, Kind::Wire, &ports.valid);
            let (ready, free) = port(stream.ready, Direction::Output, Kind::Wire, &ports.ready);
            if !free {
                copies.push((ready, stream.ready));
            }
        }
        for (stream, ports) in module.outputs.iter().zip(&outputs) {
            for (id, port_name) in [(stream.data, &ports.data), (stream.valid, &ports.valid)] {
                let (copy, free) = port(id, Direction::Output, Kind::Reg, port_name);
                if !free {
                    copies.push((copy, id));
                }
            }
            port(stream.ready, Direction::Input, Kind::Wire, &ports.ready);
        }
        for (signal, port) in module.signals.iter().zip(fixed) {
            let ty = signal.ty;
            let expr = port.unwrap_or_else(|| Expr {
                signed: ty.signed && ty.lanes == 1,
                ..name(lower.namer.unique(&signal.name), ty.width())
            });
            lower.signals.push(expr);
        }
        for (copy, id) in copies {
            // A port that shares its signal with an earlier one is a wire driven from that.
            for port in &mut result.ports {
                if port.declaration.name == copy.identifier() {
                    port.declaration.kind = Kind::Wire;
                }
            }
            let value = lower.signals[id.0 as usize].clone();
            lower.items.push(Item::Assign(copy, value));
        }
        Self { module, result, lower, memories: Vec::new() }
    }

    fn is_port(&self, expr: &Expr) -> bool {
        self.result.ports.iter().any(|port| port.declaration.name == expr.identifier())
    }

    fn clocked(&mut self, statements: Vec<Statement>) {
        self.lower.items.push(Item::Clocked(statements));
    }

    fn declare(&mut self, kind: Kind, id: SignalId) {
        let expr = self.lower.signals[id.0 as usize].clone();
        if !self.is_port(&expr) {
            self.lower.items.push(Item::Declare(Declaration::of(&expr, kind), None));
        }
    }

    fn ids(&self) -> impl Iterator<Item = (SignalId, &'a SignalKind)> + use<'a> {
        self.module.signals.iter().enumerate().map(|(id, signal)| (SignalId(id as u32), &signal.kind))
    }

    fn comment(&mut self, text: impl Into<String>) {
        self.lower.items.push(Item::Comment(text.into()));
    }

    fn registers(&mut self) {
        let registers: Vec<SignalId> =
            self.ids().filter(|(_, kind)| matches!(kind, SignalKind::Register { .. })).map(|(id, _)| id).collect();
        if registers.iter().any(|id| !self.is_port(&self.lower.signals[id.0 as usize])) {
            self.comment("Registers.");
        }
        for id in registers {
            self.declare(Kind::Reg, id);
        }
    }

    fn memories(&mut self, files: &mut Files) {
        for memory in &self.module.memories {
            let memory_name = self.lower.namer.unique(&memory.name);
            let (width, depth) = (memory.word.width(), memory.depth);
            match &memory.contents {
                Some(contents) => {
                    self.comment(format!("{memory_name}: ROM of {depth} words of {}.", memory.word));
                    let attributes = rom_attributes(memory.style, &files.family);
                    self.lower.items.push(Item::Memory { attributes, width, depth, name: memory_name.clone() });
                    let file = files.hex(
                        &format!("{}_{memory_name}", self.result.name),
                        hex_file(contents.iter().copied(), memory.word.lanes, memory.word.bits),
                    );
                    let load = Statement::ReadMemory(file, memory_name.clone());
                    self.lower.items.push(Item::Initial(vec![load]));
                }
                None if depth == 1 => {
                    self.comment(format!("{memory_name}: one word of {}.", memory.word));
                    self.lower.items.push(Item::Declare(Declaration::reg(memory_name.clone(), width), None));
                }
                // In a module of its own, see `memory_ports`.
                None if side_by_side(memory.style, width, &files.family).is_some() => {}
                None => {
                    self.comment(format!("{memory_name}: RAM of {depth} words of {}.", memory.word));
                    let attributes = ram_attributes(memory.style, &files.family);
                    self.lower.items.push(Item::Memory { attributes, width, depth, name: memory_name.clone() });
                }
            }
            self.memories.push(memory_name);
        }
    }

    /// Declares what pipelines and engines drive.
    fn cell_results(&mut self) {
        let cells: Vec<(SignalId, Kind)> = self
            .ids()
            .filter_map(|(id, kind)| match kind {
                SignalKind::Stage { .. } => Some((id, Kind::Reg)),
                SignalKind::PipelineValid(_) | SignalKind::EngineValid(_) | SignalKind::EngineResult(_) => {
                    Some((id, Kind::Wire))
                }
                SignalKind::Register { .. }
                | SignalKind::Wire(_)
                | SignalKind::InputValid
                | SignalKind::InputData
                | SignalKind::OutputReady
                | SignalKind::Parameter(_) => None,
            })
            .collect();
        if !cells.is_empty() {
            self.comment("Pipeline stages and results of engines.");
        }
        for (id, kind) in cells {
            self.declare(kind, id);
        }
    }

    fn wires(&mut self) {
        let wires: Vec<(SignalId, &rtl::Expr)> = self
            .ids()
            .filter_map(|(id, kind)| if let SignalKind::Wire(value) = kind { Some((id, value)) } else { None })
            .collect();
        if !wires.is_empty() {
            self.comment("Wires.");
        }
        for (id, value) in wires {
            let target = self.lower.signals[id.0 as usize].clone();
            let value = self.lower.assigned(value, self.module.signal(id).ty, &self.module.signal(id).name);
            if self.is_port(&target) {
                self.lower.items.push(Item::Assign(target, value));
            } else {
                self.lower.items.push(Item::Declare(Declaration::of(&target, Kind::Wire), Some(value)));
            }
        }
    }

    fn pipeline(&mut self, id: PipelineId, effects: &[Effect<'_>]) {
        let module = self.module;
        let pipeline = module.pipeline(id);
        let stages = pipeline.stages;
        self.comment(format!("Pipeline {}: {stages} stages.", pipeline.name));
        let mut launches = Vec::new();
        for effect in effects {
            if let rtl::Statement::Launch { pipeline, arguments } = effect.statement
                && *pipeline == id
            {
                let condition = self.lower.bit(&effect.condition, &module.pipeline(id).name);
                launches.push((condition, arguments));
            }
        }
        let launch_value = syntax::any(launches.iter().map(|(condition, _)| condition.clone()));
        let launch = self.lower.declare(&format!("{}_launch", pipeline.name), false, launch_value);
        for (position, parameter) in pipeline.parameters.iter().enumerate() {
            let signal = module.signal(*parameter);
            let mut choices = Vec::new();
            for (condition, arguments) in &launches {
                choices.push((condition.clone(), self.lower.typed(&arguments[position], signal.ty, &signal.name)));
            }
            let value = first_of(choices).map_or_else(|| number(0, signal.ty.width()), |(_, value)| value);
            let target = self.lower.signals[parameter.0 as usize].clone();
            self.lower.items.push(Item::Declare(Declaration::of(&target, Kind::Wire), Some(value)));
        }
        let pending_declaration =
            Declaration::reg(self.lower.namer.unique(&format!("{}_pending", pipeline.name)), stages);
        let pending = pending_declaration.expr();
        self.lower.items.push(Item::Declare(pending_declaration, None));
        let valid = self.lower.signals[pipeline.valid.0 as usize].clone();
        self.lower.items.push(Item::Assign(valid, pending.bits(stages - 1, 1)));
        let shifted =
            if stages == 1 { launch.clone() } else { concat(vec![pending.bits(0, stages - 1), launch.clone()]) };
        let rst = name("rst", 1);
        self.clocked(vec![Statement::If(
            rst,
            vec![assign(pending.clone(), number(0, stages))],
            vec![assign(pending.clone(), shifted)],
        )]);
        for stage in 0..stages {
            let enable = if stage == 0 { launch.clone() } else { pending.bits(stage - 1, 1) };
            self.stage(id, stage, &enable);
        }
    }

    fn stage(&mut self, id: PipelineId, number: u32, enable: &Expr) {
        let module = self.module;
        let mut registers = Vec::new();
        let mut reads = Vec::new();
        for (signal, kind) in self.ids() {
            let SignalKind::Stage { pipeline, stage, value } = kind else { continue };
            if *pipeline != id || *stage != number {
                continue;
            }
            let target = self.lower.signals[signal.0 as usize].clone();
            let hint = &module.signal(signal).name;
            if let rtl::Expr::Rom(memory, address) = value {
                let word = self.word(*memory, address, hint);
                reads.push(when(enable.clone(), vec![assign(target, word)]));
            } else {
                let value = self.lower.assigned(value, module.signal(signal).ty, hint);
                registers.push(assign(target, value));
            }
        }
        if registers.is_empty() && reads.is_empty() {
            return;
        }
        self.comment(format!("Stage {number}."));
        if !registers.is_empty() {
            self.clocked(vec![when(enable.clone(), registers)]);
        }
        for read in reads {
            self.clocked(vec![read]);
        }
    }

    fn word(&mut self, memory: MemoryId, address: &rtl::Expr, hint: &str) -> Expr {
        let word = self.module.memory(memory);
        let address = if word.depth == 1 {
            syntax::integer(0)
        } else {
            self.lower.value(address, address_bits(word.depth), hint)
        };
        self.located(memory, address)
    }

    /// A word of a memory; a RAM of one word is a register.
    fn located(&self, id: MemoryId, address: Expr) -> Expr {
        let memory = self.module.memory(id);
        let (own, width) = (&self.memories[id.0 as usize], memory.word.width());
        if memory.depth == 1 && memory.contents.is_none() { name(own, width) } else { Expr::word(own, address, width) }
    }

    fn engines(&mut self, effects: &[Effect<'_>], files: &mut Files) {
        let module = self.module;
        for (position, cell) in module.engines.iter().enumerate() {
            self.comment(format!("Engine {}.", cell.name));
            let issue = effects.iter().find_map(|effect| match effect.statement {
                rtl::Statement::Issue { engine, step } if engine.0 as usize == position => {
                    Some((&effect.condition, step))
                }
                _ => None,
            });
            let fill = effects.iter().find_map(|effect| match effect.statement {
                rtl::Statement::Fill { engine, row, column, group, data } if engine.0 as usize == position => {
                    Some((&effect.condition, row, column, group, data))
                }
                _ => None,
            });
            let load = effects.iter().find_map(|effect| match effect.statement {
                rtl::Statement::Load { engine, address, part, data } if engine.0 as usize == position => {
                    let arguments = [&effect.condition, address, part, data];
                    Some(["load", "load_address", "load_part", "load_data"].into_iter().zip(arguments))
                }
                _ => None,
            });
            let (Some((issue, step)), Some((fill, row, column, group, data))) = (issue, fill) else { continue };
            let interface = engine::Interface::new(cell, module, step);
            let mut connections = vec![drives("clk", name("clk", 1)), drives("rst", name("rst", 1))];
            let arguments = [
                ("fill", fill),
                ("fill_row", row),
                ("fill_column", column),
                ("fill_group", group),
                ("fill_data", data),
                ("issue", issue),
                ("ring", &step.ring),
                ("row", &step.row),
                ("column", &step.column),
                ("group", &step.group),
                ("tap", &step.tap),
                ("address", &step.address),
                ("last", &step.last),
            ];
            for (port, value) in arguments.into_iter().chain(load.into_iter().flatten()) {
                if let Some(ty) = interface.port(port) {
                    let wire = self.lower.wire(&format!("{}_{port}", cell.name), ty, value);
                    connections.push(drives(port, wire));
                }
            }
            connections.push(driven("result", self.lower.signals[cell.result.0 as usize].clone()));
            connections.push(driven("result_valid", self.lower.signals[cell.valid.0 as usize].clone()));
            let engine_module = engine::emit(cell, &interface, module, &self.result.name, files);
            let instance = self.lower.namer.unique(&cell.name);
            self.lower.items.push(Item::Instance { module: engine_module, name: instance, connections });
        }
    }

    /// Memory reads and writes, each in a block of its own so that tools see a memory port.
    fn memory_ports(&mut self, effects: &[Effect<'_>], files: &mut Files) {
        let module = self.module;
        for (position, memory) in module.memories.iter().enumerate() {
            let id = MemoryId(position as u32);
            let mut writes: Vec<(Expr, Expr)> = Vec::new();
            let mut reads: Vec<(SignalId, Vec<(Expr, Expr)>)> = Vec::new();
            let depth_bits = address_bits(memory.depth);
            for effect in effects {
                match effect.statement {
                    rtl::Statement::Write { memory: target, address, data } if *target == id => {
                        let condition = self.lower.bit(&effect.condition, &memory.name);
                        let address = self.lower.value(address, depth_bits, &memory.name);
                        let data = self.lower.typed(data, memory.word, &memory.name);
                        writes.push((condition, concat(vec![address, data])));
                    }
                    rtl::Statement::Read { memory: source, address, into } if *source == id => {
                        let condition = self.lower.bit(&effect.condition, &memory.name);
                        let address = self.lower.value(address, depth_bits, &memory.name);
                        match reads.iter_mut().find(|(register, _)| register == into) {
                            Some((_, choices)) => choices.push((condition, address)),
                            None => reads.push((*into, vec![(condition, address)])),
                        }
                    }
                    _ => {}
                }
            }
            if memory.contents.is_none() && side_by_side(memory.style, memory.word.width(), &files.family).is_some() {
                for (into, choices) in reads {
                    self.bank(memory, &writes, into, choices, files);
                }
                continue;
            }
            self.write_port(&writes, memory, position);
            for (into, choices) in reads {
                let Some((enable, address)) = first_of(choices) else { continue };
                let address = if memory.depth == 1 { syntax::integer(0) } else { address };
                let target = self.lower.signals[into.0 as usize].clone();
                let word = self.located(id, address);
                self.clocked(vec![when(enable, vec![assign(target, word)])]);
            }
        }
    }

    /// A memory whose words lie side by side, with the register that takes what is read.
    fn bank(
        &mut self,
        memory: &rtl::Memory,
        writes: &[(Expr, Expr)],
        into: SignalId,
        reads: Vec<(Expr, Expr)>,
        files: &mut Files,
    ) {
        let (Some((write, port)), Some((read, address))) = (first_of(writes.to_vec()), first_of(reads)) else { return };
        let (width, depth) = (memory.word.width(), memory.depth);
        let module = engine::memory::bank_of("ram", width, depth, memory.style, files);
        self.comment(format!("{}: RAM of {depth} words of {}.", memory.name, memory.word));
        let port = self.lower.declare(&format!("{}_write_port", memory.name), false, port);
        let word = Declaration::wire(self.lower.namer.unique(&format!("{}_word", memory.name)), width);
        let word_name = name(&word.name, width);
        self.lower.items.push(Item::Declare(word, None));
        let connections = vec![
            drives("clk", name("clk", 1)),
            drives("write", write),
            drives("write_address", port.bits(width, port.width - width)),
            drives("write_data", port.bits(0, width)),
            drives("read", read),
            drives("read_address", address),
            driven("read_data", word_name.clone()),
        ];
        let instance = self.lower.namer.unique(&memory.name);
        self.lower.items.push(Item::Instance { module, name: instance, connections });
        let target = self.lower.signals[into.0 as usize].clone();
        self.lower.items.push(Item::Combinational(vec![Statement::Block(target, word_name)]));
    }

    fn write_port(&mut self, writes: &[(Expr, Expr)], memory: &rtl::Memory, position: usize) {
        let Some((enable, port)) = first_of(writes.to_vec()) else { return };
        self.comment(format!("Port of {}.", self.memories[position]));
        let enable = self.lower.declare(&format!("{}_write", memory.name), false, enable);
        let port = self.lower.declare(&format!("{}_write_port", memory.name), false, port);
        let width = memory.word.width();
        let address = if memory.depth == 1 { syntax::integer(0) } else { port.bits(width, port.width - width) };
        let target = self.located(MemoryId(position as u32), address);
        self.clocked(vec![when(enable, vec![assign(target, port.bits(0, width))])]);
    }

    fn statements(&mut self) {
        let module = self.module;
        let mut body = self.branch(&module.statements);
        let mut resets = Vec::new();
        for (id, kind) in self.ids() {
            if let SignalKind::Register { reset: Some(value) } = kind {
                let target = self.lower.signals[id.0 as usize].clone();
                let value = Expr { signed: *value < 0, ..number(*value, target.width) };
                resets.push(assign(target, value));
            }
        }
        if !resets.is_empty() {
            body.push(when(name("rst", 1), resets));
        }
        if !body.is_empty() {
            self.comment("What happens at each clock edge; the reset is last and so wins.");
            self.clocked(body);
        }
    }

    fn branch(&mut self, statements: &[rtl::Statement]) -> Vec<Statement> {
        let mut body = Vec::new();
        for statement in statements {
            match statement {
                rtl::Statement::Set(id, value) => {
                    let signal = self.module.signal(*id);
                    let value = self.lower.assigned(value, signal.ty, &signal.name);
                    body.push(assign(self.lower.signals[id.0 as usize].clone(), value));
                }
                rtl::Statement::If { condition, then, otherwise } => {
                    let (yes, no) = (self.branch(then), self.branch(otherwise));
                    if yes.is_empty() && no.is_empty() {
                        continue;
                    }
                    let condition = self.lower.bit(condition, "condition");
                    body.push(if yes.is_empty() {
                        when(condition.not(), no)
                    } else {
                        Statement::If(condition, yes, no)
                    });
                }
                rtl::Statement::Read { .. }
                | rtl::Statement::Write { .. }
                | rtl::Statement::Launch { .. }
                | rtl::Statement::Fill { .. }
                | rtl::Statement::Load { .. }
                | rtl::Statement::Issue { .. } => {}
            }
        }
        body
    }

    fn finish(mut self) -> syntax::Module {
        self.result.items = self.lower.items;
        self.result
    }
}
