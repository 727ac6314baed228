//! Running a simulator module in wasmtime.

use crate::map::{DEADLOCK, DONE, Map, PortMap, RUNNING, SECTION, SignalMap};
use crate::{Options, emit_with};
use lutweave_hw::rtl::Design;
use lutweave_hw::rtl::harness::{Stall, Stimulus, Trace};
use std::time::Instant;
use wasmtime::{
    Config, Engine, Instance, Memory, Module, OptLevel, Store, StoreLimits, StoreLimitsBuilder, Trap, TypedFunc,
};

/// Cycles per call into the module.
const CHUNK: u32 = 1 << 12;

/// Instructions that a module may execute per cycle: far more than the largest circuit needs.
const FUEL_PER_CYCLE: u64 = 1 << 22;

/// Instructions that a module may execute at its start, at a reset, or besides its cycles.
const FUEL: u64 = 1 << 30;

/// Bytes of memory that a module may have.
const MAX_MEMORY: usize = 1 << 30;

/// `tvalid` and `tready` of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelState {
    /// Name of the channel.
    pub name: String,
    /// The writer offers a beat.
    pub valid: bool,
    /// The reader would take one.
    pub ready: bool,
}

/// Cycles of a channel by what happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stalls {
    /// Name of the channel.
    pub name: String,
    /// Valid and ready.
    pub transfers: u64,
    /// Valid, not ready: the reader is the slower side.
    pub blocked: u64,
    /// Ready, not valid: the writer is the slower side.
    pub starved: u64,
}

/// Why a simulation gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum SimulationError {
    /// Nothing moves any more.
    #[error("deadlock: no transfer on any port since cycle {since} (cycle {cycle} now)")]
    Deadlock {
        /// Cycle of the last transfer.
        since: u64,
        /// Cycle in which patience ended.
        cycle: u64,
        /// All channels, in the order of the design.
        channels: Vec<ChannelState>,
    },
    /// A window read a pixel that was overwritten or is still to come.
    #[error("`{module}` read {reads} pixels of another row than the one meant")]
    WrongRow {
        /// The module of the window memory.
        module: String,
        /// How many.
        reads: u64,
    },
    /// The stimulus does not suit the design.
    #[error("stimulus: {0}")]
    Stimulus(String),
    /// The file is no simulator module of this version.
    #[error("not a simulator module: {0}")]
    Format(String),
    /// The WebAssembly engine failed.
    #[error("WebAssembly engine: {0}")]
    Engine(String),
    /// The caller asked to stop.
    #[error("interrupted in cycle {cycle}")]
    Interrupted {
        /// Cycles simulated.
        cycle: u64,
    },
}

/// A simulator module, compiled and ready.
pub struct Simulator {
    store: Store<StoreLimits>,
    memory: Memory,
    run: TypedFunc<i32, i32>,
    reset: TypedFunc<(), ()>,
    map: Map,
    /// Its instructions are counted.
    bounded: bool,
    cycles: u64,
    seconds: f64,
}

impl std::fmt::Debug for Simulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulator").field("design", &self.map.name).field("cycles", &self.cycles).finish()
    }
}

impl Simulator {
    /// A simulator of a design.
    ///
    /// # Errors
    /// If the WebAssembly engine fails.
    pub fn new(design: &Design) -> Result<Self, SimulationError> {
        Self::with_options(design, Options::default())
    }

    /// A simulator of a design, with options.
    ///
    /// # Errors
    /// If the WebAssembly engine fails.
    pub fn with_options(design: &Design, options: Options) -> Result<Self, SimulationError> {
        Self::load(&emit_with(design, options), false)
    }

    /// A simulator from a module that [`crate::emit`] made, or that is said to be one: it runs with as
    /// many instructions and as much memory as a simulator needs, and touches nothing else.
    ///
    /// # Errors
    /// If the bytes are not such a module, or the engine fails.
    pub fn from_wasm(wasm: &[u8]) -> Result<Self, SimulationError> {
        Self::load(wasm, true)
    }

    /// Counting instructions costs a tenth of the speed; modules that were made just now need no bound.
    fn load(wasm: &[u8], bounded: bool) -> Result<Self, SimulationError> {
        let section = custom_section(wasm, SECTION).ok_or_else(|| {
            SimulationError::Format(format!("no custom section `{SECTION}`: the file was not written by this compiler"))
        })?;
        let map: Map = serde_json::from_slice(section)
            .map_err(|error| SimulationError::Format(format!("custom section `{SECTION}`: {error}")))?;
        if let Some(fault) = map.fault() {
            return Err(SimulationError::Format(fault));
        }
        let mut config = Config::new();
        config.cranelift_opt_level(OptLevel::Speed);
        config.consume_fuel(bounded);
        let engine = Engine::new(&config).map_err(engine_error)?;
        let module = Module::new(&engine, wasm).map_err(engine_error)?;
        let limits = StoreLimitsBuilder::new().memory_size(MAX_MEMORY).memories(1).tables(1).instances(1);
        let mut store = Store::new(&engine, limits.build());
        store.limiter(|limits| limits);
        if bounded {
            store.set_fuel(FUEL).map_err(engine_error)?;
        }
        let instance = Instance::new(&mut store, &module, &[]).map_err(engine_error)?;
        let memory = instance
            .get_memory(&mut store, "memory")
            .ok_or_else(|| SimulationError::Format("no export `memory`".to_owned()))?;
        let run = instance.get_typed_func(&mut store, "run").map_err(engine_error)?;
        let reset = instance.get_typed_func(&mut store, "reset").map_err(engine_error)?;
        Ok(Self { store, memory, run, reset, map, bounded, cycles: 0, seconds: 0.0 })
    }

    /// What the module says about itself.
    pub fn map(&self) -> &Map {
        &self.map
    }

    /// Cycles simulated by the last run.
    pub fn cycles(&self) -> u64 {
        self.cycles
    }

    /// Processor time of the last run.
    pub fn seconds(&self) -> f64 {
        self.seconds
    }

    /// Simulates until all frames are out.
    ///
    /// # Errors
    /// On a deadlock, a wrong read where reads are checked, a stimulus that does not suit the
    /// design's ports, or a failing engine.
    pub fn run(&mut self, stimulus: &Stimulus) -> Result<Trace, SimulationError> {
        self.run_watched(stimulus, &mut |_| true)
    }

    /// [`Simulator::run`] that tells the cycle every now and then; `false` stops it.
    ///
    /// # Errors
    /// As [`Simulator::run`], and [`SimulationError::Interrupted`].
    pub fn run_watched(
        &mut self,
        stimulus: &Stimulus,
        watch: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Trace, SimulationError> {
        let answers = self.prepare(stimulus)?;
        let start = processor_seconds();
        self.cycles = 0;
        if let Some(cycles) = stimulus.reset_after {
            self.restart()?;
            self.advance(cycles, watch)?;
        }
        self.restart()?;
        let status = self.advance(u64::MAX, watch)?;
        self.seconds = processor_seconds() - start;
        self.check_windows()?;
        if status == DEADLOCK {
            return Err(SimulationError::Deadlock {
                since: self.word(self.map.control.last_transfer)?,
                cycle: self.word(self.map.control.cycle)?,
                channels: self.channel_state(),
            });
        }
        self.trace(stimulus.frames.len(), &answers)
    }

    fn check_windows(&self) -> Result<(), SimulationError> {
        for window in &self.map.windows {
            let reads = self.word(window.wrong)?;
            if reads > 0 {
                return Err(SimulationError::WrongRow { module: window.module.clone(), reads });
            }
        }
        Ok(())
    }

    /// Resets, ready to be stepped through a stimulus.
    ///
    /// # Errors
    /// If the stimulus does not suit the design's ports, or the engine fails.
    pub fn begin(&mut self, stimulus: &Stimulus) -> Result<(), SimulationError> {
        self.prepare(stimulus)?;
        self.cycles = 0;
        self.restart()
    }

    fn refuel(&mut self, fuel: u64) -> Result<(), SimulationError> {
        if self.bounded { self.store.set_fuel(fuel).map_err(engine_error) } else { Ok(()) }
    }

    fn restart(&mut self) -> Result<(), SimulationError> {
        self.refuel(FUEL)?;
        self.reset.call(&mut self.store, ()).map_err(engine_error)
    }

    /// Simulates up to so many cycles after [`Simulator::begin`]; `false` when there is nothing
    /// more to simulate.
    ///
    /// # Errors
    /// If the engine fails.
    pub fn step(&mut self, cycles: u64) -> Result<bool, SimulationError> {
        let status = self.advance(cycles, &mut |_| true)?;
        Ok(status != DONE && status != DEADLOCK)
    }

    /// All registers with their present lanes.
    pub fn registers(&self) -> impl Iterator<Item = (&SignalMap, Vec<i64>)> {
        let data = self.memory.data(&self.store);
        self.map.signals.iter().map(|signal| {
            let bytes =
                data.get(signal.address as usize..).and_then(|data| data.get(..signal.ty.bytes())).unwrap_or(&[]);
            let lanes = bytes.chunks_exact(signal.ty.lane_bytes as usize);
            (signal, lanes.map(|bytes| decode(bytes, signal.ty.signed)).collect())
        })
    }

    /// Runs up to so many cycles; the status after them.
    fn advance(&mut self, cycles: u64, watch: &mut dyn FnMut(u64) -> bool) -> Result<u32, SimulationError> {
        let mut left = cycles;
        while left > 0 {
            let limit = left.min(u64::from(CHUNK)) as i32;
            self.refuel(FUEL + limit as u64 * FUEL_PER_CYCLE)?;
            let done = self.run.call(&mut self.store, limit).map_err(engine_error)? as u64;
            if done > limit as u64 {
                return Err(SimulationError::Format(format!("it simulated {done} of {limit} cycles")));
            }
            self.cycles += done;
            left -= done;
            let status = self.word(self.map.control.status)? as u32;
            if status != RUNNING {
                return Ok(status);
            }
            if done == 0 {
                return Err(SimulationError::Format("it runs, and simulates no cycle".to_owned()));
            }
            if !watch(self.cycles) {
                return Err(SimulationError::Interrupted { cycle: self.cycles });
            }
        }
        Ok(RUNNING)
    }

    /// `tvalid` and `tready` of every channel in the last simulated cycle.
    pub fn channel_state(&self) -> Vec<ChannelState> {
        let data = self.memory.data(&self.store);
        let bit = |address: u32| data.get(address as usize).is_some_and(|&byte| byte != 0);
        self.map
            .channels
            .iter()
            .map(|channel| ChannelState {
                name: channel.name.clone(),
                valid: bit(channel.valid),
                ready: bit(channel.ready),
            })
            .collect()
    }

    /// Stall counts of every channel since reset, if they were built in.
    pub fn stalls(&self) -> Option<Vec<Stalls>> {
        let count = |address: u32| self.word(address).unwrap_or(0);
        self.map
            .channels
            .iter()
            .map(|channel| {
                channel.counters.map(|counters| Stalls {
                    name: channel.name.clone(),
                    transfers: count(counters),
                    blocked: count(counters + 8),
                    starved: count(counters + 16),
                })
            })
            .collect()
    }

    /// Lays out the buffers, writes the stimulus, and says where each sink's answers and
    /// completions will be.
    fn prepare(&mut self, stimulus: &Stimulus) -> Result<Vec<(usize, usize)>, SimulationError> {
        let frames = stimulus.frames.len();
        let (sources, sinks) = (self.map.sources.clone(), self.map.sinks.clone());
        let mut next = (self.map.memory_end as usize).next_multiple_of(64);
        let mut reserve = |bytes: usize| {
            let address = next;
            next = next.saturating_add(bytes).min(1 << 40).next_multiple_of(64);
            address
        };
        let beats = |port: &PortMap| (port.beats as usize).saturating_mul(frames);
        let inputs: Vec<usize> =
            sources.iter().map(|port| reserve(beats(port).saturating_mul(port.ty.bytes()))).collect();
        let answers: Vec<(usize, usize)> = sinks
            .iter()
            .map(|port| (reserve(beats(port).saturating_mul(port.ty.bytes())), reserve(8 * frames)))
            .collect();
        if next >= 1 << 32 {
            return Err(SimulationError::Stimulus(format!(
                "{frames} frames need {next} bytes of simulator memory, more than 4 GiB; run fewer at a time"
            )));
        }
        let have = self.memory.data_size(&self.store);
        if next > have {
            let pages = (next - have).div_ceil(1 << 16) as u64;
            self.memory.grow(&mut self.store, pages).map_err(engine_error)?;
        }
        for (number, (port, &address)) in sources.iter().zip(&inputs).enumerate() {
            let bytes = encode(stimulus, number, port)?;
            self.write(address, &bytes)?;
            self.write_word(port.buffer, address as u32)?;
            self.write_word(port.total, beats(port) as u32)?;
            self.write_word(port.seed, Stall::of_input(stimulus.stall_seed, number as u32).state)?;
        }
        for (number, (port, &(address, completions))) in sinks.iter().zip(&answers).enumerate() {
            self.write_word(port.buffer, address as u32)?;
            self.write_word(port.completions, completions as u32)?;
            self.write_word(port.total, beats(port) as u32)?;
            self.write_word(port.seed, Stall::of_output(stimulus.stall_seed, number as u32).state)?;
        }
        self.write(self.map.control.patience as usize, &self.map.patience.to_le_bytes())?;
        Ok(answers)
    }

    fn trace(&self, frames: usize, answers: &[(usize, usize)]) -> Result<Trace, SimulationError> {
        let data = self.memory.data(&self.store);
        let mut trace = Trace {
            frames: vec![Vec::new(); frames],
            completions: vec![0; frames],
            first_transfer: self.word(self.map.control.first_transfer)?,
        };
        for (port, &(address, completions)) in self.map.sinks.iter().zip(answers) {
            let lane = port.ty.lane_bytes as usize;
            let per_frame = port.beats as usize * port.ty.lanes as usize;
            for frame in 0..frames {
                let start = address + frame * per_frame * lane;
                let bytes = data.get(start..start + per_frame * lane).ok_or_else(outside)?;
                trace.frames[frame]
                    .push(bytes.chunks_exact(lane).map(|bytes| decode(bytes, port.ty.signed) as i32).collect());
                let completion = self.word((completions + 8 * frame) as u32)?;
                trace.completions[frame] = trace.completions[frame].max(completion);
            }
        }
        Ok(trace)
    }

    fn write(&mut self, address: usize, bytes: &[u8]) -> Result<(), SimulationError> {
        self.memory.write(&mut self.store, address, bytes).map_err(|_| outside())
    }

    fn write_word(&mut self, address: u32, value: u32) -> Result<(), SimulationError> {
        self.write(address as usize, &value.to_le_bytes())
    }

    /// 64 bits at an address.
    fn word(&self, address: u32) -> Result<u64, SimulationError> {
        let mut bytes = [0; 8];
        self.memory.read(&self.store, address as usize, &mut bytes).map_err(|_| outside())?;
        Ok(u64::from_le_bytes(bytes))
    }
}

fn engine_error(error: wasmtime::Error) -> SimulationError {
    if error.downcast_ref::<Trap>() == Some(&Trap::OutOfFuel) {
        return SimulationError::Format("it executes more instructions than a simulator needs".to_owned());
    }
    SimulationError::Engine(format!("{error:#}"))
}

fn outside() -> SimulationError {
    SimulationError::Format("an address of the map lies outside the memory".to_owned())
}

/// The beats of all frames for one source.
fn encode(stimulus: &Stimulus, number: usize, port: &PortMap) -> Result<Vec<u8>, SimulationError> {
    let expected = port.beats as usize * port.ty.lanes as usize;
    let mask = if port.ty.bits >= 64 { u64::MAX } else { (1 << port.ty.bits) - 1 };
    let unused = 64 - port.ty.bits.min(64);
    let mut bytes = Vec::with_capacity(stimulus.frames.len() * expected * port.ty.lane_bytes as usize);
    for (frame, ports) in stimulus.frames.iter().enumerate() {
        let elements = ports.get(number).ok_or_else(|| {
            SimulationError::Stimulus(format!("frame {frame} has nothing for input {number} (`{}`)", port.name))
        })?;
        if elements.len() != expected {
            let found = elements.len();
            let name = &port.name;
            return Err(SimulationError::Stimulus(format!(
                "frame {frame} has {found} elements for input `{name}`, which takes {expected}"
            )));
        }
        for &element in elements {
            let value = (i64::from(element) as u64) & mask;
            let value = if port.ty.signed { ((value << unused) as i64 >> unused) as u64 } else { value };
            bytes.extend(value.to_le_bytes().into_iter().take(port.ty.lane_bytes as usize));
        }
    }
    Ok(bytes)
}

fn decode(bytes: &[u8], signed: bool) -> i64 {
    let mut value = [if signed && bytes[bytes.len() - 1] >= 0x80 { 0xFF } else { 0 }; 8];
    value[..bytes.len()].copy_from_slice(bytes);
    i64::from_le_bytes(value)
}

/// Contents of a custom section of a WebAssembly binary.
fn custom_section<'w>(wasm: &'w [u8], name: &str) -> Option<&'w [u8]> {
    let mut rest = wasm.strip_prefix(b"\0asm\x01\0\0\0")?;
    while let Some((&id, after)) = rest.split_first() {
        let (size, after) = leb128(after)?;
        let section = after.get(..size)?;
        rest = &after[size..];
        if id == 0 {
            let (length, after) = leb128(section)?;
            if after.get(..length)? == name.as_bytes() {
                return Some(&after[length..]);
            }
        }
    }
    None
}

fn leb128(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0u64;
    for (index, &byte) in bytes.iter().enumerate().take(5) {
        value |= u64::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(value).ok()?, &bytes[index + 1..]));
        }
    }
    None
}

/// Processor time of this thread where the system tells it, otherwise elapsed time.
fn processor_seconds() -> f64 {
    use std::sync::OnceLock;
    static START: OnceLock<Instant> = OnceLock::new();
    let scheduled = std::fs::read_to_string("/proc/thread-self/schedstat")
        .ok()
        .and_then(|text| text.split(' ').next().and_then(|field| field.parse::<u64>().ok()));
    match scheduled {
        Some(nanoseconds) => nanoseconds as f64 * 1e-9,
        None => START.get_or_init(Instant::now).elapsed().as_secs_f64(),
    }
}
