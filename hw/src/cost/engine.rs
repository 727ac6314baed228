//! Resources of an engine's expansion.

use super::logic::{Term, dsps, select, ways};
use super::{Count, Held, ram, rom};
use crate::device::Device;
use crate::rtl::engine::{EngineShape, Multiplier, WeightBanks};
use crate::rtl::{MemoryStyle, Ty};

/// Window memory, tap selection, weights, gathering, products, trees and accumulators. Weights
/// themselves do not matter.
pub fn of_engine(engine: &EngineShape, device: &Device) -> Count {
    let mut total = window_memory(engine, device);
    let Count { parts, logic } = &mut total;
    let word = u64::from(engine.word.width());
    let element = u64::from(engine.word.bits);
    let (row_banks, column_banks) = (u64::from(engine.row_banks()), u64::from(engine.column_banks()));
    let taps = u64::from(engine.taps());
    let [_, depth] = banks(engine);
    let address = u64::from(Ty::holding(depth.saturating_sub(1)).bits);
    logic[Term::Engine] += 1;
    logic[Term::Address] += column_banks * address;
    logic[Term::Tap] += taps;
    parts.ff += column_banks * address + taps + 24;

    // Tap selection, padding included, registered.
    logic[Term::Select] += taps * (select(word, row_banks, device) + select(word, column_banks, device));
    if engine.leaves != [false; 2] {
        logic[Term::Padding] += taps * word;
    }
    parts.ff += taps * word;

    // Weights, gathered elements and products.
    let outputs = u64::from(engine.outputs());
    let terms = u64::from(engine.terms());
    let product_bits = u64::from(engine.product_bits());
    // Trees of registered three-input adders, then accumulators.
    let chain = u64::from(engine.chain());
    let mut remaining = u64::from(engine.sums());
    let carried = u64::from(chain.next_power_of_two().ilog2());
    let mut bits = product_bits + carried;
    let mut level = |sums: u64, bits: u64, remaining: &mut u64| {
        let next = remaining.div_ceil(3);
        parts.ff += sums * next * bits;
        logic[Term::Tree] += sums * (*remaining - next) * bits;
        *remaining = next;
    };
    let pairing = engine.products().filter(|_| engine.outputs_per_element() == 2).map(|products| products.pairing);
    if let Some(pairing) = pairing {
        // Both at once, then each.
        let gap = u64::from(pairing.gap);
        for added in 1..=u64::from(pairing.levels) {
            level(outputs / 2, (gap + product_bits + carried + 2 * added).min(2 * gap), &mut remaining);
        }
        bits = gap;
    }
    let apart = remaining;
    while remaining > 1 {
        bits += 2;
        level(outputs, bits, &mut remaining);
    }
    let accumulator = u64::from(engine.accumulator.bits);
    parts.ff += outputs * accumulator;
    // Registers of products, but for those inside of multipliers, and of what is taken apart.
    parts.ff += match pairing {
        None if chain > 1 => 0,
        None => outputs * terms * product_bits * u64::from(engine.product_stages()),
        Some(pairing) => {
            let gap = u64::from(pairing.gap);
            let products = if chain > 1 { 0 } else { outputs / 2 * terms * (gap + product_bits) };
            products + outputs * apart * gap
        }
    };
    parts.ff += u64::from(engine.latency()) * 2;
    if engine.steps > 1 {
        parts.ff += outputs * accumulator;
        logic[Term::Accumulator] += outputs * accumulator;
    }
    logic[Term::Stage] += u64::from(engine.latency());

    let Some(products) = engine.products() else { return total };
    let multipliers = u64::from(engine.multipliers());
    let width = u64::from(engine.weight_word_bits());
    let depth = u64::from(products.addresses);
    if let Some(bytes) = products.loaded {
        // The load that enters, and the enables of its banks.
        let address = u64::from(Ty::holding(depth.saturating_sub(1)).bits);
        let (banks, addresses) = (engine.weight_banks(), u64::from(engine.addresses_per_load()));
        parts.ff += u64::from(banks.width.max(banks.last) + banks.count) + address;
        logic[Term::Load] += u64::from(bytes) + u64::from(banks.count);
        // One of the addresses that lie side by side is selected.
        logic[Term::Select] += select(width, addresses, device);
        parts.ff += if addresses > 1 { (addresses - 1) * width } else { 0 };
    }
    // A block RAM holds the first of the word's two registers.
    let registers = if matches!(products.memory, MemoryStyle::Block | MemoryStyle::Large) { 1 } else { 2 };
    parts.ff += if depth > 1 { registers * width } else { 0 };
    if let Some(pattern) = engine.pattern() {
        logic[Term::Position] += ways(multipliers * element, pattern.of.into());
        parts.ff += multipliers * element;
        parts.ff += if depth > 1 { multipliers * u64::from(engine.weight_field_bits()) } else { 0 };
    }
    let [wide, narrow] = engine.factor_bits().map(u64::from);
    match products.multiplier {
        Multiplier::Single => parts.dsp += multipliers * dsps(narrow, wide, device),
        Multiplier::Paired => {
            parts.dsp += multipliers * dsps(narrow, wide, device);
            // The upper product takes back what the lower one's sign took from it.
            logic[Term::Paired] += outputs / 2 * apart * u64::from(products.pairing.gap);
        }
        Multiplier::Logic => {
            // Shifts and adders whose rows are summed in two halves.
            let (low, high) = (narrow.div_ceil(2), narrow / 2);
            let half = |rows: u64| rows.saturating_sub(1) * (wide + 1);
            logic[Term::Rows] += multipliers * (half(low) + half(high) + wide + high);
            logic[Term::Mask] += multipliers * narrow * wide;
            parts.ff += multipliers * wide;
        }
    }
    total += weight_memory(engine, device);
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
fn window_memory(engine: &EngineShape, device: &Device) -> Count {
    let word = u64::from(engine.word.width());
    let [banks, depth] = banks(engine);
    let style = device.family.ram_style(word, depth, engine.large_from);
    let mut bank = ram(word, depth, style, device);
    bank.parts.ff += if matches!(style, MemoryStyle::Block | MemoryStyle::Large) { 0 } else { word };
    bank.times(banks)
}

fn weight_memory(engine: &EngineShape, device: &Device) -> Count {
    let Some(products) = engine.products() else { return Count::default() };
    let (width, depth) = (u64::from(engine.weight_word_bits()), u64::from(products.addresses));
    if products.loaded.is_some() {
        let WeightBanks { width, last, count, depth } = engine.weight_banks();
        let bank = |width: u32| ram(width.into(), depth.into(), products.memory, device);
        let mut all = bank(width).times(count.saturating_sub(1).into());
        all += bank(last);
        return all;
    }
    rom(width, depth, products.memory, device)
}

/// What the rows take that windows slide over.
pub(super) fn line_buffer(engine: &EngineShape, device: &Device) -> Held {
    let [banks, depth] = banks(engine);
    Held::new(banks * depth * u64::from(engine.word.width()), window_memory(engine, device).priced(device))
}

/// What the weights take.
pub(super) fn weights(engine: &EngineShape, device: &Device) -> Held {
    let bits =
        engine.products().map_or(0, |products| u64::from(engine.weight_word_bits()) * u64::from(products.addresses));
    Held::new(bits, weight_memory(engine, device).priced(device))
}

/// Whether the factors of a shared multiplier fit one multiplier of the device.
pub fn pairs_fit(element: Ty, weight_bits: u32, device: &Device) -> bool {
    let narrow = element.bits + u32::from(!element.signed);
    let wide = element.bits + 2 * weight_bits + 1;
    wide.max(narrow) <= device.family.multiplier[0] && wide.min(narrow) <= device.family.multiplier[1]
}
