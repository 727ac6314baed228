//! The RTL intermediate representation: a design at clock-cycle and word level.
//!
//! A [`Design`] is a network of [`Module`]s joined by stream channels (`tvalid`, `tready`,
//! `tdata`). A module holds signals, memories, cells and one list of clocked statements. Both
//! backends read exactly this: `backends/verilog` prints it, `backends/wasm` simulates it, and
//! the two agree in every cycle on every channel.
//!
//! # Meaning
//! * One clock. In a cycle, all expressions read the registers and memories as they were at the
//!   start of the cycle; at its end all registers that a statement reached take their new values
//!   together. A register that no statement reached keeps its value. No register is set twice on
//!   one path.
//! * A synchronous reset gives every register that has a reset value that value and empties all
//!   cells (no result in flight). It leaves other registers and memories as they are.
//! * Signals are integers, or vectors of `lanes` integers, in the range of their [`Ty`].
//!   Expressions compute exactly; storing wraps to the target's width (two's complement).
//! * A channel transfers in each cycle in which `tvalid` and `tready` are both 1. `tvalid` and
//!   `tdata` of an output are registers; `tready` of an input is a wire over registers of its own
//!   module only. No combinational path crosses a module.
//! * Two cells are more than registers: [`Pipeline`] (a feed-forward datapath of fixed latency)
//!   and [`Engine`] (window memory, weights, multipliers, accumulators). Each has one meaning and
//!   two expansions: in Verilog, registers stage by stage; in the simulator, a result computed
//!   at launch and delivered after the latency.

pub mod build;
pub mod engine;
pub mod expr;
pub mod harness;
pub mod print;
pub mod validate;

pub use engine::{Engine, EngineShape, Multiplier, NofM, ParallelTaps, Products, Reduce};
pub use expr::Expr;

use crate::family::Family;
use crate::supply::Supply;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// A signal of one module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SignalId(pub u32);

/// A memory of one module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemoryId(pub u32);

/// A pipeline of one module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PipelineId(pub u32);

/// An engine of one module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EngineId(pub u32);

/// A module of a design.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModuleId(pub u32);

/// Type of a signal: `lanes` integers of `bits` bits each. Lane 0 is in the low bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ty {
    /// Number of integers, at least 1.
    pub lanes: u32,
    /// Width of each, 1 to 64.
    pub bits: u32,
    /// Two's complement if true.
    pub signed: bool,
}

impl Ty {
    /// One bit.
    pub const BIT: Self = Self { lanes: 1, bits: 1, signed: false };

    /// An unsigned integer.
    pub fn unsigned(bits: u32) -> Self {
        Self { lanes: 1, bits, signed: false }
    }

    /// A signed integer.
    pub fn signed(bits: u32) -> Self {
        Self { lanes: 1, bits, signed: true }
    }

    /// The narrowest unsigned type that holds 0 to `largest`.
    pub fn holding(largest: u64) -> Self {
        Self::unsigned((64 - largest.leading_zeros()).max(1))
    }

    /// The narrowest type that holds `lo` to `hi`; signed exactly if `lo` is negative.
    pub fn range(lo: i64, hi: i64) -> Self {
        assert!(lo <= hi, "empty range");
        if lo >= 0 {
            return Self::holding(hi as u64);
        }
        let magnitude = |value: i64| 64 - (if value < 0 { !value } else { value }).leading_zeros();
        Self::signed(magnitude(lo).max(magnitude(hi)) + 1)
    }

    /// The same integer in `lanes` lanes.
    #[must_use]
    pub fn by(self, lanes: u32) -> Self {
        Self { lanes, ..self }
    }

    /// The type of one lane.
    #[must_use]
    pub fn lane(self) -> Self {
        self.by(1)
    }

    /// Total width in bits.
    pub fn width(self) -> u32 {
        self.lanes * self.bits
    }

    /// Smallest and largest integer of a lane (saturated to `i64`).
    pub fn bounds(self) -> (i64, i64) {
        match (self.signed, self.bits) {
            (true, 64) => (i64::MIN, i64::MAX),
            (true, bits) => (-(1 << (bits - 1)), (1 << (bits - 1)) - 1),
            (false, 63..) => (0, i64::MAX),
            (false, bits) => (0, (1 << bits) - 1),
        }
    }
}

impl fmt::Display for Ty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.signed { 'i' } else { 'u' };
        if self.lanes == 1 { write!(f, "{sign}{}", self.bits) } else { write!(f, "{sign}{}x{}", self.bits, self.lanes) }
    }
}

/// A named signal.
#[derive(Clone, Debug, PartialEq)]
pub struct Signal {
    /// Unique in the module; lower snake case.
    pub name: String,
    /// Its type.
    pub ty: Ty,
    /// What drives it.
    pub kind: SignalKind,
}

/// What drives a signal.
#[derive(Clone, Debug, PartialEq)]
pub enum SignalKind {
    /// Clocked; set by [`Statement::Set`] or [`Statement::Read`]. Only scalars have a reset value.
    Register {
        /// Value after reset; `None`: reset leaves it (it is read only after being set).
        reset: Option<i64>,
    },
    /// Combinational over signals that are not stages or parameters. No cycles: a wire reads
    /// only wires of smaller id.
    Wire(Expr),
    /// `tvalid` of an input port.
    InputValid,
    /// `tdata` of an input port.
    InputData,
    /// `tready` of an output port.
    OutputReady,
    /// An argument of a pipeline; read by its first stage only.
    Parameter(PipelineId),
    /// A register of a pipeline stage (0 first) with its definition over the stage before (or
    /// the parameters). [`Expr::Rom`] may stand at the root of a definition. Signals of the last
    /// stage are the pipeline's results and may be read by statements under [`Pipeline::valid`].
    Stage {
        /// The pipeline.
        pipeline: PipelineId,
        /// Stage number.
        stage: u32,
        /// Definition.
        value: Expr,
    },
    /// [`Pipeline::valid`].
    PipelineValid(PipelineId),
    /// [`Engine::valid`].
    EngineValid(EngineId),
    /// [`Engine::result`].
    EngineResult(EngineId),
}

/// A stream input of a module.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamInput {
    /// Port name; the Verilog ports are `<name>_tdata`, `<name>_tvalid`, `<name>_tready`.
    pub name: String,
    /// [`SignalKind::InputValid`].
    pub valid: SignalId,
    /// [`SignalKind::InputData`]; its type is the port's.
    pub data: SignalId,
    /// A wire over registers.
    pub ready: SignalId,
}

/// A stream output of a module.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamOutput {
    /// Port name.
    pub name: String,
    /// A register with reset value 0.
    pub valid: SignalId,
    /// A register; its type is the port's.
    pub data: SignalId,
    /// [`SignalKind::OutputReady`].
    pub ready: SignalId,
}

/// Where a memory should live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum MemoryStyle {
    /// Block RAM.
    Block,
    /// LUT RAM or logic.
    Distributed,
    /// Flip-flops: small RAMs of families without LUT RAM.
    Registers,
    /// The large RAM of families that have one: it holds nothing at the start.
    Large,
}

impl MemoryStyle {
    /// Where a memory of so many bits per word and so many words usually lives: in block RAM from 4 kbit and
    /// 128 words on. Estimates and Verilog both ask here.
    pub fn usual(width: u64, depth: u64) -> Self {
        if width * depth >= 4096 && depth >= 128 { Self::Block } else { Self::Distributed }
    }
}

/// What a memory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryUse {
    /// Constants: parameters by channel, and tables.
    Constants,
    /// Values that are read again, or in another order.
    Buffer,
    /// Values that wait.
    Queue,
    /// What stands in a memory outside the chip, in the model of one.
    Outside,
}

/// A memory of `depth` words with one write port and synchronous reads. A location is never
/// read in the cycle in which it is written, nor before it was first written (unless it has
/// contents).
#[derive(Clone, Debug, PartialEq)]
pub struct Memory {
    /// Unique among the module's names.
    pub name: String,
    /// Type of a word.
    pub word: Ty,
    /// Number of words, at least 1.
    pub depth: u32,
    /// Contents of a ROM: `depth * lanes` integers, word by word, lane 0 first. A ROM is never
    /// written; a memory outside the chip has contents, and may be.
    pub contents: Option<Vec<i64>>,
    /// Where it should live.
    pub style: MemoryStyle,
    /// What it is for.
    pub purpose: MemoryUse,
}

/// A feed-forward datapath. [`Statement::Launch`] in cycle `t` makes [`Pipeline::valid`] 1 in
/// cycle `t + stages` and the signals of the last stage hold the results in that cycle. At most
/// one launch a cycle. In cycles without a result the last stage's values are undefined.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    /// Unique among the module's names.
    pub name: String,
    /// Signals of kind [`SignalKind::Parameter`], in the order of the launch's arguments.
    pub parameters: Vec<SignalId>,
    /// Number of stages, at least 1.
    pub stages: u32,
    /// Signal of kind [`SignalKind::PipelineValid`].
    pub valid: SignalId,
}

/// What happens at the clock edge.
#[derive(Clone, Debug, PartialEq)]
pub enum Statement {
    /// A register takes a value.
    Set(SignalId, Expr),
    /// Exactly one branch happens.
    If {
        /// One bit.
        condition: Expr,
        /// Where it is 1.
        then: Vec<Statement>,
        /// Where it is 0.
        otherwise: Vec<Statement>,
    },
    /// A register takes a word of a memory.
    Read {
        /// The memory.
        memory: MemoryId,
        /// Word number, below the depth.
        address: Expr,
        /// A register of the word's type.
        into: SignalId,
    },
    /// A word of a memory is replaced. One write per memory and cycle.
    Write {
        /// The memory.
        memory: MemoryId,
        /// Word number, below the depth.
        address: Expr,
        /// The word.
        data: Expr,
    },
    /// A pipeline takes arguments. One launch statement per pipeline and path.
    Launch {
        /// The pipeline.
        pipeline: PipelineId,
        /// As many as parameters, of their types.
        arguments: Vec<Expr>,
    },
    /// A word enters an engine's window memory. One such statement per engine.
    Fill {
        /// The engine.
        engine: EngineId,
        /// Row of the ring, below `rows` of the engine.
        row: Expr,
        /// Column of the image.
        column: Expr,
        /// Channel group.
        group: Expr,
        /// `word` of the engine.
        data: Expr,
    },
    /// Weights enter an engine's weight memory. One such statement per engine whose weights are loaded.
    Load {
        /// The engine.
        engine: EngineId,
        /// Weight address, over [`EngineShape::addresses_per_load`].
        address: Expr,
        /// Which of the address's loads, below [`EngineShape::loads_per_address`].
        part: Expr,
        /// [`Products::loaded`] bytes, with [`EngineShape::weights_per_load`] weights.
        data: Expr,
    },
    /// An engine takes one step of a window. One such statement per engine.
    Issue {
        /// The engine.
        engine: EngineId,
        /// What to compute.
        step: engine::Step,
    },
}

/// A module: one block of the dataflow.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Module {
    /// Unique in the design; lower snake case, from the graph's node names.
    pub name: String,
    /// What the module does, one line, for the head of its Verilog.
    pub summary: String,
    /// Name of the graph's node whose work it does, or whose result it brings on; of what serves all, in words.
    pub node: String,
    /// Signals by id.
    pub signals: Vec<Signal>,
    /// Memories by id.
    pub memories: Vec<Memory>,
    /// Pipelines by id.
    pub pipelines: Vec<Pipeline>,
    /// Engines by id.
    pub engines: Vec<Engine>,
    /// Stream inputs.
    pub inputs: Vec<StreamInput>,
    /// Stream outputs.
    pub outputs: Vec<StreamOutput>,
    /// What happens at each clock edge outside reset.
    pub statements: Vec<Statement>,
}

/// One end of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A stream input of the design (as a source) or a stream output (as a sink), by position.
    Top(u32),
    /// A port of a module, by position among its inputs or outputs.
    Port(ModuleId, u32),
    /// A port of the memory outside, see [`crate::supply`].
    Supply(u32),
}

/// A stream from one source to one sink of the same type.
#[derive(Clone, Debug, PartialEq)]
pub struct Channel {
    /// Unique in the design; lower snake case.
    pub name: String,
    /// Type of the data.
    pub ty: Ty,
    /// Top input or module output.
    pub from: Endpoint,
    /// Top output or module input.
    pub to: Endpoint,
}

/// A stream port of the whole design. In Verilog it also has `tlast`: on outputs 1 with the last
/// beat of a frame; on inputs checked against the beat count (a mismatch raises the sticky
/// output `frame_error`).
#[derive(Clone, Debug, PartialEq)]
pub struct TopPort {
    /// Port name.
    pub name: String,
    /// Type of a beat.
    pub ty: Ty,
    /// Beats of a frame.
    pub beats: u64,
}

/// A whole circuit.
///
/// Every port is the end of exactly one channel. [`Design::modules`] is in topological order, sources first, but
/// for channels that feed something back ([`Design::is_feedback`]): their readers never wait, so that they take no
/// part in back-pressure.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Design {
    /// Name of the top module.
    pub name: String,
    /// Modules by id; each is instantiated once.
    pub modules: Vec<Module>,
    /// Channels.
    pub channels: Vec<Channel>,
    /// Stream inputs; their [`TopPort`]s carry one frame per inference.
    pub inputs: Vec<TopPort>,
    /// Stream outputs.
    pub outputs: Vec<TopPort>,
    /// The memory outside.
    pub supply: Option<Supply>,
    /// The family that it is made for: where its memories live, and how they are asked for.
    pub family: Arc<Family>,
}

impl Module {
    /// From what on its memories live in the large RAM: as the folding of its window block says, else as the circuit's.
    pub fn large_from(&self, family: &Family) -> Option<u32> {
        self.engines.first().map_or(family.large_from, |engine| engine.shape.large_from)
    }

    /// A signal.
    pub fn signal(&self, id: SignalId) -> &Signal {
        &self.signals[id.0 as usize]
    }

    /// A memory.
    pub fn memory(&self, id: MemoryId) -> &Memory {
        &self.memories[id.0 as usize]
    }

    /// A pipeline.
    pub fn pipeline(&self, id: PipelineId) -> &Pipeline {
        &self.pipelines[id.0 as usize]
    }

    /// An engine.
    pub fn engine(&self, id: EngineId) -> &Engine {
        &self.engines[id.0 as usize]
    }
}

impl Design {
    /// Whether a channel runs against the order of the modules. Its reader takes a beat in every cycle.
    pub fn is_feedback(&self, channel: &Channel) -> bool {
        match (channel.from, channel.to) {
            (Endpoint::Port(from, _), Endpoint::Port(to, _)) => from >= to,
            // The memory is the last module.
            (Endpoint::Supply(_), _) => true,
            _ => false,
        }
    }

    /// A module.
    pub fn module(&self, id: ModuleId) -> &Module {
        &self.modules[id.0 as usize]
    }
}
