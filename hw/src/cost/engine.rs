//! Resources of an engine's expansion.

use super::{Held, Resources, ram, rom};
use crate::cost::logic::{dsps, select};
use crate::device::Device;
use crate::rtl::engine::{EngineShape, Multiplier, WeightBanks};
use crate::rtl::{MemoryStyle, Ty};

/// Window memory, tap selection, weights, gathering, products, trees and accumulators. Weights
/// themselves do not matter.
pub fn of_engine(engine: &EngineShape, device: &Device) -> Resources {
    let mut total = window_memory(engine, device);
    let word = u64::from(engine.word.width());
    let element = u64::from(engine.word.bits);
    let (row_banks, column_banks) = (u64::from(engine.row_banks()), u64::from(engine.column_banks()));
    let taps = u64::from(engine.taps());
    let [_, depth] = banks(engine);
    let address = u64::from(Ty::holding(depth.saturating_sub(1)).bits);
    total.ff += column_banks * address + taps + 24;
    total.lut += column_banks * address * 2 + 3 * taps + 16;

    // Tap selection, padding included, registered.
    total.lut += taps * (select(word, row_banks, device) + select(word, column_banks, device) + word / 2);
    total.ff += taps * word;

    // Weights, gathered elements and products.
    let outputs = u64::from(engine.outputs());
    let terms = u64::from(engine.terms());
    let product_bits = u64::from(engine.product_bits());
    if let Some(products) = engine.products() {
        let multipliers = u64::from(engine.multipliers());
        let width = u64::from(engine.weight_word_bits());
        let depth = u64::from(products.addresses);
        total += weight_memory(engine, device);
        if let Some(bytes) = products.loaded {
            // The load that enters, and the enables of its banks.
            let address = u64::from(Ty::holding(depth.saturating_sub(1)).bits);
            let (banks, addresses) = (engine.weight_banks(), u64::from(engine.addresses_per_load()));
            total.ff += u64::from(banks.width.max(banks.last) + banks.count) + address;
            total.lut += 4 * u64::from(bytes) + u64::from(banks.count);
            // One of the addresses that lie side by side is selected.
            total.lut += select(width, addresses, device);
            total.ff += if addresses > 1 { (addresses - 1) * width } else { 0 };
        }
        // A block RAM holds the first of the word's two registers.
        let registers = if matches!(products.memory, MemoryStyle::Block | MemoryStyle::Large) { 1 } else { 2 };
        total.ff += if depth > 1 { registers * width } else { 0 };
        if let Some(pattern) = engine.pattern() {
            // Tables join in pairs into wider multiplexers.
            total.lut += multipliers * element * u64::from(pattern.of) / device.family.pattern_ways;
            total.ff += multipliers * element;
            total.ff += if depth > 1 { multipliers * u64::from(engine.weight_field_bits()) } else { 0 };
        }
        let [wide, narrow] = engine.factor_bits().map(u64::from);
        match products.multiplier {
            Multiplier::Single => total.dsp += multipliers * dsps(narrow, wide, device),
            Multiplier::Paired => {
                total.dsp += multipliers * dsps(narrow, wide, device);
                // The upper product takes back what the lower one's sign took from it; carry chains
                // of six-input tables increment without tables.
                total.lut += if device.family.masked_adders { 0 } else { multipliers * product_bits };
            }
            Multiplier::Logic => {
                let cost = logic_multiplier(narrow, wide, device);
                total.lut += multipliers * cost.lut;
                total.ff += multipliers * cost.ff;
            }
        }
    }
    total.ff += outputs * terms * product_bits * u64::from(engine.product_stages());

    // Trees of registered three-input adders, then accumulators.
    let mut remaining = terms;
    let mut bits = product_bits;
    while remaining > 1 {
        let next = remaining.div_ceil(3);
        bits += 2;
        total.ff += outputs * next * bits;
        total.lut += outputs * (remaining - next) * bits;
        remaining = next;
    }
    let accumulator = u64::from(engine.accumulator.bits);
    total.ff += outputs * accumulator + u64::from(engine.latency()) * 3;
    total.lut += outputs * accumulator;
    total
}

/// Banks of the window memory, and the words of each.
fn banks(engine: &EngineShape) -> [u64; 2] {
    let (row_banks, column_banks) = (u64::from(engine.row_banks()), u64::from(engine.column_banks()));
    let rows = u64::from(engine.rows).div_ceil(row_banks);
    let depth = rows * u64::from(engine.columns).div_ceil(column_banks) * u64::from(engine.groups);
    [row_banks * column_banks, depth]
}

/// The window memory, each bank with its output register.
fn window_memory(engine: &EngineShape, device: &Device) -> Resources {
    let word = u64::from(engine.word.width());
    let [banks, depth] = banks(engine);
    let style = device.family.ram_style(word, depth);
    let bank = Resources {
        ff: if matches!(style, MemoryStyle::Block | MemoryStyle::Large) { 0 } else { word },
        ..ram(word, depth, style, device)
    };
    Resources::of_each(|part| banks * bank[part])
}

fn weight_memory(engine: &EngineShape, device: &Device) -> Resources {
    let Some(products) = engine.products() else { return Resources::default() };
    let (width, depth) = (u64::from(engine.weight_word_bits()), u64::from(products.addresses));
    if products.loaded.is_some() {
        let WeightBanks { width, last, count, depth } = engine.weight_banks();
        let bank = |width: u32| ram(width.into(), depth.into(), products.memory, device);
        let (full, last) = (bank(width), bank(last));
        return Resources::of_each(|part| u64::from(count.saturating_sub(1)) * full[part] + last[part]);
    }
    rom(width, depth, products.memory, device)
}

/// What the rows take that windows slide over.
pub(super) fn line_buffer(engine: &EngineShape, device: &Device) -> Held {
    let [banks, depth] = banks(engine);
    Held::new(banks * depth * u64::from(engine.word.width()), window_memory(engine, device))
}

/// What the weights take.
pub(super) fn weights(engine: &EngineShape, device: &Device) -> Held {
    let bits =
        engine.products().map_or(0, |products| u64::from(engine.weight_word_bits()) * u64::from(products.addresses));
    Held::new(bits, weight_memory(engine, device))
}

/// A multiplier of shifts and adders whose rows are summed in two halves; its flip-flops beyond
/// those of two registered products.
fn logic_multiplier(element: u64, weight: u64, device: &Device) -> Resources {
    let (low, high) = (weight.div_ceil(2), weight / 2);
    let half = |rows: u64| rows.saturating_sub(1) * (element + 1);
    // A table of six inputs often takes a row's mask and the sum; smaller ones mask apart.
    let masks = if device.family.masked_adders { weight * element / 2 } else { weight * element };
    Resources { lut: half(low) + half(high) + element + high + masks, ff: element, ..Resources::default() }
}

/// Whether the factors of a shared multiplier fit one multiplier of the device.
pub fn pairs_fit(element: Ty, weight_bits: u32, device: &Device) -> bool {
    let narrow = element.bits + u32::from(!element.signed);
    let wide = element.bits + 2 * weight_bits + 1;
    wide.max(narrow) <= device.family.multiplier[0] && wide.min(narrow) <= device.family.multiplier[1]
}
