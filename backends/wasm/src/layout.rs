//! Where everything lives in linear memory.

use crate::Options;
use crate::window::WindowLayout;
use lutweave_hw::rtl::{Channel, Design, Endpoint, Module, SignalId, SignalKind, Ty};

/// Bytes that store one lane: the narrowest power of two.
pub fn lane_bytes(ty: Ty) -> u32 {
    match ty.bits {
        0..=8 => 1,
        9..=16 => 2,
        17..=32 => 4,
        _ => 8,
    }
}

/// Bytes that store a value; lanes are contiguous.
pub fn value_bytes(ty: Ty) -> u32 {
    ty.lanes * lane_bytes(ty)
}

/// Little-endian bytes of one lane.
pub fn lane_image(ty: Ty, value: i64) -> impl Iterator<Item = u8> {
    value.to_le_bytes().into_iter().take(lane_bytes(ty) as usize)
}

/// Linear memory: an allocator and the initial contents.
pub struct Image {
    next: u32,
    /// Initial contents by address.
    pub data: Vec<(u32, Vec<u8>)>,
}

impl Image {
    /// Address 0 stays unused.
    pub fn new() -> Self {
        Self { next: 64, data: Vec::new() }
    }

    /// Reserves zeroed bytes, aligned for lanes or vectors.
    pub fn reserve(&mut self, bytes: u32) -> u32 {
        let align = bytes.min(16).next_power_of_two();
        let address = self.next.next_multiple_of(align);
        self.next = address + bytes;
        address
    }

    /// Reserves and initialises bytes.
    pub fn place(&mut self, bytes: Vec<u8>) -> u32 {
        let address = self.reserve(bytes.len() as u32);
        self.data.push((address, bytes));
        address
    }

    /// End of everything reserved, with slack for loads that reach past a value.
    pub fn end(&self) -> u32 {
        (self.next + 64).next_multiple_of(64)
    }
}

/// Bytes of a vector store: an engine's last one may reach so far past its result.
const STORE_BYTES: u32 = 16;

/// Results of a cell in flight: a ring of slots indexed by the cycle of launch, and one bit per
/// cycle of latency in the module's flight words.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Address of slot 0.
    pub ring: u32,
    /// Bytes of a slot.
    pub slot_bytes: u32,
    /// A power of two, greater than the latency.
    pub slots: u32,
    /// Cycles from launch to result.
    pub latency: u32,
    /// Flight bit set by a launch; bit `first_bit + latency - 1` is the cell's `valid`.
    pub first_bit: u32,
}

/// The flight bits of all cells of a module, one shift register over 64-bit words.
#[derive(Clone, Debug)]
pub struct Flight {
    /// Address of the first word.
    pub address: u32,
    /// Per word, the bits that a shift may set: all but each cell's first.
    pub keep: Vec<u64>,
}

/// Addresses of one module's state.
pub struct ModuleLayout {
    /// Per signal: registers, port signals and vector wires have an address; results of
    /// pipelines an offset in the slot.
    pub signals: Vec<u32>,
    /// Per memory.
    pub memories: Vec<u32>,
    /// Per pipeline.
    pub pipelines: Vec<Cell>,
    /// Per engine.
    pub engines: Vec<Cell>,
    /// Per engine.
    pub windows: Vec<WindowLayout>,
    /// Of all cells.
    pub flight: Flight,
    /// Per input: the channel.
    pub inputs: Vec<usize>,
    /// Per output: the channel.
    pub outputs: Vec<usize>,
    /// A byte: 0 while nothing in the module can change before a neighbour does something.
    pub awake: u32,
}

/// Addresses of a channel's wires.
#[derive(Clone, Copy, Debug, Default)]
pub struct ChannelLayout {
    /// Byte.
    pub valid: u32,
    /// Lanes.
    pub data: u32,
    /// Byte, written by the reader before the writer's turn.
    pub ready: u32,
    /// Three 64-bit counters, if stalls are counted.
    pub counters: Option<u32>,
    /// Of a channel against the order of the modules, whose reader has its turn after the writer: `valid` and `data`
    /// as they were when the cycle began, for the reader.
    pub seen: Option<[u32; 2]>,
}

/// Addresses of a whole design.
pub struct Layout {
    /// By module.
    pub modules: Vec<ModuleLayout>,
    /// By channel.
    pub channels: Vec<ChannelLayout>,
    /// Top inputs: channel.
    pub sources: Vec<usize>,
    /// Top outputs: channel.
    pub sinks: Vec<usize>,
}

impl Layout {
    /// Lays out a design.
    pub fn new(design: &Design, image: &mut Image, options: Options) -> Self {
        let find = |wanted: &dyn Fn(&Channel) -> bool| {
            design.channels.iter().position(wanted).expect("invariant: every port is the end of a channel")
        };
        let mut channels: Vec<ChannelLayout> = design
            .channels
            .iter()
            .map(|channel| ChannelLayout {
                ready: image.reserve(1),
                counters: options.count_stalls.then(|| image.reserve(24)),
                seen: design
                    .is_feedback(channel)
                    .then(|| [1, value_bytes(channel.ty)].map(|bytes| image.reserve(bytes))),
                ..ChannelLayout::default()
            })
            .collect();
        let sources: Vec<usize> =
            (0..design.inputs.len() as u32).map(|port| find(&|channel| channel.from == Endpoint::Top(port))).collect();
        let sinks: Vec<usize> =
            (0..design.outputs.len() as u32).map(|port| find(&|channel| channel.to == Endpoint::Top(port))).collect();
        for &source in &sources {
            channels[source].valid = image.reserve(1);
            channels[source].data = image.reserve(value_bytes(design.channels[source].ty));
        }
        let mut modules = Vec::new();
        for (number, module) in design.modules.iter().enumerate() {
            let id = lutweave_hw::rtl::ModuleId(number as u32);
            let inputs = (0..module.inputs.len() as u32)
                .map(|port| find(&|channel| channel.to == Endpoint::Port(id, port)))
                .collect();
            let outputs: Vec<usize> = (0..module.outputs.len() as u32)
                .map(|port| find(&|channel| channel.from == Endpoint::Port(id, port)))
                .collect();
            let layout = ModuleLayout::new(module, inputs, outputs, image, options.check_windows);
            for (output, &channel) in module.outputs.iter().zip(&layout.outputs) {
                channels[channel].valid = layout.signals[output.valid.0 as usize];
                channels[channel].data = layout.signals[output.data.0 as usize];
            }
            modules.push(layout);
        }
        for (module, layout) in design.modules.iter().zip(&mut modules) {
            for (input, &channel) in module.inputs.iter().zip(&layout.inputs) {
                let ChannelLayout { valid, data, seen, .. } = channels[channel];
                let [valid, data] = seen.unwrap_or([valid, data]);
                layout.signals[input.valid.0 as usize] = valid;
                layout.signals[input.data.0 as usize] = data;
            }
            for (output, &channel) in module.outputs.iter().zip(&layout.outputs) {
                layout.signals[output.ready.0 as usize] = channels[channel].ready;
            }
        }
        Self { modules, channels, sources, sinks }
    }
}

impl ModuleLayout {
    fn new(module: &Module, inputs: Vec<usize>, outputs: Vec<usize>, image: &mut Image, check_windows: bool) -> Self {
        let awake = image.reserve(1);
        let mut signals = vec![0; module.signals.len()];
        for (signal, address) in module.signals.iter().zip(&mut signals) {
            match &signal.kind {
                SignalKind::Register { .. } => *address = image.reserve(value_bytes(signal.ty)),
                SignalKind::Wire(_) if signal.ty.lanes > 1 => *address = image.reserve(value_bytes(signal.ty)),
                _ => {}
            }
        }
        let memories = module
            .memories
            .iter()
            .map(|memory| match &memory.contents {
                None => image.reserve(memory.depth * value_bytes(memory.word)),
                Some(contents) => {
                    image.place(contents.iter().flat_map(|&value| lane_image(memory.word, value)).collect())
                }
            })
            .collect();
        let mut bits = 0;
        let mut keep = Vec::new();
        let mut cell = |latency: u32, slot_bytes: u32, image: &mut Image| {
            let slots = (latency + 1).next_power_of_two();
            let slot_bytes = slot_bytes.next_multiple_of(32);
            let first_bit = bits;
            bits += latency;
            keep.resize(bits.div_ceil(64) as usize, u64::MAX);
            keep[first_bit as usize / 64] &= !(1 << (first_bit % 64));
            Cell { ring: image.reserve(slots * slot_bytes), slot_bytes, slots, latency, first_bit }
        };
        let mut pipelines = Vec::new();
        for (number, pipeline) in module.pipelines.iter().enumerate() {
            let mut slot = 0u32;
            for id in results(module, number as u32) {
                let bytes = value_bytes(module.signal(id).ty);
                slot = slot.next_multiple_of(bytes.next_power_of_two().min(16));
                signals[id.0 as usize] = slot;
                slot += bytes;
            }
            pipelines.push(cell(pipeline.stages, slot, image));
        }
        let engines = module
            .engines
            .iter()
            .map(|engine| {
                let bytes = value_bytes(module.signal(engine.result).ty) + STORE_BYTES;
                cell(engine.latency(), bytes, image)
            })
            .collect();
        let windows =
            module.engines.iter().map(|engine| WindowLayout::new(module, engine, image, check_windows)).collect();
        if !bits.is_multiple_of(64)
            && let Some(last) = keep.last_mut()
        {
            *last &= (1 << (bits % 64)) - 1;
        }
        let flight = Flight { address: image.reserve(8 * keep.len() as u32), keep };
        Self { signals, memories, pipelines, engines, windows, flight, inputs, outputs, awake }
    }
}

/// The signals of a pipeline's last stage.
pub fn results(module: &Module, pipeline: u32) -> impl Iterator<Item = SignalId> {
    let last = module.pipelines[pipeline as usize].stages - 1;
    (0..module.signals.len() as u32).map(SignalId).filter(move |id| {
        matches!(&module.signal(*id).kind,
            SignalKind::Stage { pipeline: owner, stage, .. } if owner.0 == pipeline && *stage == last)
    })
}
