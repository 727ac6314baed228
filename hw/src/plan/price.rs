//! What a choice costs, without elaborating it with its neighbours and without weights.
//!
//! The parts of an engine are a closed formula of its shape. What surrounds it (counters,
//! requantizer, queue) is counted once a folding on a module without weights, and holds for
//! every pattern, multiplier and weight memory: these change the engine alone, and the queue
//! through the engine's latency.

use super::Choice;
use super::fold::{Fold, Styles, folds, gcd};
use super::form::WeightForm;
use crate::block::width_converter;
use crate::block::window::{Folding, WeightSource};
use crate::cost::{Count, Resources, count_without_engines, estimate_module, of_engine, of_ram};
use crate::device::Device;
use crate::elaborate::{Assumption, WindowParts, module};
use crate::kernel::Kernel;
use crate::rtl::engine::ParallelTaps;
use crate::rtl::{Memory, Ty};
use lutweave_ir::{Graph, NodeId};
use std::collections::BTreeMap;

/// Prices the foldings of one kernel.
pub struct Pricer<'a> {
    graph: &'a Graph,
    node: NodeId,
    kernel: &'a Kernel,
    device: &'a Device,
    parts: Option<WindowParts<'a>>,
    /// What surrounds the engine, by what decides about it.
    around: BTreeMap<Form, Surroundings>,
}

/// What decides about the surroundings of an engine: taps, lanes, outputs, latency of the engine, source of the weights,
/// whether tables are in logic and whether it goes pixel by pixel.
type Form = (ParallelTaps, u32, u32, u32, WeightSource, [bool; 2]);

/// What surrounds an engine.
struct Surroundings {
    /// Everything but the memories that are written.
    fixed: Count,
    /// Bits of a word and words of those.
    memories: Vec<(u64, u64)>,
}

impl<'a> Pricer<'a> {
    /// For a kernel whose weights, if it has some, have that form.
    pub fn new(graph: &'a Graph, node: NodeId, kernel: &'a Kernel, form: &WeightForm, device: &'a Device) -> Self {
        let parts = WindowParts::new(graph, node, kernel, device.family.hard_multiplier()).map(|parts| {
            let accumulator = parts.accumulator();
            // Sums of wider or narrower weights grow or shrink with them.
            let bits = (accumulator.bits + form.bits).saturating_sub(parts.weight_bits()).clamp(2, 32);
            let assumption = Assumption { weight_bits: form.bits, accumulator: Ty { bits, ..accumulator } };
            if parts.weight_bits() > 0 { parts.assuming(assumption) } else { parts }
        });
        Self { graph, node, kernel, device, parts, around: BTreeMap::new() }
    }

    /// The same with the weights of a convolution from somewhere else, in memory that suits their number; the bytes
    /// that come from outside for every frame.
    pub fn supplied(&mut self, fold: &Fold, source: WeightSource) -> Option<(Choice, u64)> {
        let parts = self.parts.as_ref()?;
        let mut folding = Folding { source, ..fold.folding? };
        let shape = parts.window("", folding).engine_shape();
        let banks = shape.weight_banks();
        let [width, depth] = [banks.width, banks.depth].map(u64::from);
        let family = &self.device.family;
        folding.weight_memory = match source {
            WeightSource::Streamed { .. } => family.ram_style(width, depth, folding.large_from),
            WeightSource::Constant | WeightSource::Loaded(_) => family.loaded_style(width, depth, folding.large_from),
        };
        let traffic = parts.window("", folding).traffic();
        let fold = Fold { folding: Some(folding), ..*fold };
        Some((Choice { fold, resources: self.price(&fold) }, traffic))
    }

    /// From now on for the same device with memories in other places, see [`Device::with_large_from`].
    pub fn on(&mut self, device: &'a Device) {
        self.device = device;
    }

    /// Resources of a folding.
    pub fn price(&mut self, fold: &Fold) -> Resources {
        let Self { graph, node, kernel, device, parts, around } = self;
        match (*kernel, fold.folding, parts) {
            (Kernel::Input | Kernel::Reshape | Kernel::Constant, _, _) => Resources::default(),
            (_, Some(folding), Some(parts)) => {
                let engine = parts.window("", folding).engine_shape();
                let Folding { parallel, lanes, outputs, source, tables_in_logic, pixel_by_pixel, .. } = folding;
                let key = (parallel, lanes, outputs, engine.latency(), source, [tables_in_logic, pixel_by_pixel]);
                let around = around.entry(key).or_insert_with(|| {
                    let mut module = parts.window("", folding).generate();
                    let written = module.memories.extract_if(.., |memory| memory.contents.is_none());
                    let shape = |memory: Memory| (u64::from(memory.word.width()), u64::from(memory.depth));
                    let memories = written.map(shape).collect();
                    Surroundings { fixed: count_without_engines(&module, device), memories }
                });
                let mut total = around.fixed;
                total += of_engine(&engine, device);
                around
                    .memories
                    .iter()
                    .for_each(|&(width, depth)| total += of_ram(width, depth, folding.large_from, device));
                total.priced(device)
            }
            (_, _, _) => {
                let lanes = [fold.input_lanes, fold.output_lanes];
                let module = module(graph, *node, kernel, None, lanes, "", device.family.hard_multiplier());
                estimate_module(&module, device)
            }
        }
    }
}

/// The foldings of a kernel with their prices.
pub fn priced(
    graph: &Graph,
    id: NodeId,
    kernel: &Kernel,
    form: &WeightForm,
    device: &Device,
    styles: Styles,
) -> Vec<Choice> {
    let mut pricer = Pricer::new(graph, id, kernel, form, device);
    folds(graph, id, kernel, form, device, styles)
        .into_iter()
        .map(|fold| Choice { fold, resources: pricer.price(&fold) })
        .collect()
}

/// Resources of one folding of a kernel whose weights have that form.
pub fn price(graph: &Graph, id: NodeId, kernel: &Kernel, form: &WeightForm, device: &Device, fold: &Fold) -> Resources {
    Pricer::new(graph, id, kernel, form, device).price(fold)
}

/// The numbers of lanes that a stream has on its way from one number to another: through their greatest common divisor,
/// or, if at least so many are `needed`, through their least common multiple.
pub fn lanes_between(from: u32, to: u32, needed: u64) -> [u32; 3] {
    let common = gcd(from, to);
    let through = if u64::from(common) >= needed { common } else { from / common * to };
    [from, through, to]
}

/// Resources of what takes a stream of `lane`s from one number of lanes to another by the slow way: nothing for equal
/// ones, two converters where neither divides the other.
pub fn conversion(from: u32, to: u32, lane: Ty, device: &Device) -> Resources {
    conversion_through(lanes_between(from, to, 1), lane, device)
}

/// Resources of what takes a stream of `lane`s through numbers of lanes.
pub fn conversion_through(lanes: [u32; 3], lane: Ty, device: &Device) -> Resources {
    let mut total = Resources::default();
    for pair in lanes.windows(2).filter(|pair| pair[0] != pair[1]) {
        total += estimate_module(&width_converter::convert("", lane, pair[0], pair[1]), device);
    }
    total
}
