//! Resources of an engine's expansion.

use super::{Resources, block_rams, ram_luts, rom_luts};
use crate::cost::logic::{dsps, select};
use crate::device::Device;
use crate::rtl::build::style;
use crate::rtl::engine::{Engine, Reduce};
use crate::rtl::{MemoryStyle, Module, Ty};

/// Window memory, tap selection, weights, products, trees and accumulators.
pub fn of_engine(module: &Module, engine: &Engine, device: &Device) -> Resources {
    let mut total = Resources::default();
    let word = u64::from(engine.word.width());
    let element = u64::from(engine.word.bits);
    let (row_banks, column_banks) = (u64::from(engine.row_banks()), u64::from(engine.column_banks()));
    let banks = row_banks * column_banks;
    let taps = u64::from(engine.taps());

    // Window memory: each bank with its address register.
    let rows = u64::from(engine.rows).div_ceil(row_banks);
    let depth = rows * u64::from(engine.columns).div_ceil(column_banks) * u64::from(engine.groups);
    let bank_word = Ty { lanes: engine.word.lanes, ..engine.word };
    match style(bank_word, depth as u32) {
        MemoryStyle::Block => total.bram += banks * block_rams(word, depth, device),
        MemoryStyle::Distributed => {
            total.lut += banks * ram_luts(word, depth, device);
            total.ff += banks * word;
        }
    }
    let address = u64::from(Ty::holding(depth.saturating_sub(1)).bits);
    total.ff += column_banks * address + taps + 24;
    total.lut += column_banks * address * 2 + 3 * taps + 16;

    // Tap selection, padding included, registered.
    total.lut += taps * (select(word, row_banks, device) + select(word, column_banks, device) + word / 2);
    total.ff += taps * word;

    // Products and weights.
    let outputs = u64::from(engine.outputs());
    let terms = u64::from(engine.terms());
    let (product_bits, weight_bits) = match &engine.reduce {
        Reduce::Dense { weight_bits, .. } | Reduce::Depthwise { weight_bits, .. } => {
            (element + u64::from(*weight_bits), u64::from(*weight_bits))
        }
        Reduce::Max | Reduce::Sum => (element, 0),
    };
    if weight_bits > 0 {
        let width = outputs * terms * weight_bits;
        let depth = u64::from(engine.weight_depth());
        let unsigned = u64::from(!engine.word.signed);
        total.dsp += outputs * terms * dsps(element + unsigned, weight_bits, device);
        match style(Ty::unsigned(1).by(width as u32), depth as u32) {
            MemoryStyle::Block => total.bram += block_rams(width, depth, device),
            MemoryStyle::Distributed => total.lut += rom_luts(width, depth, device),
        }
        total.ff += if depth > 1 { 2 * width } else { 0 };
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
    let accumulator = u64::from(module.signal(engine.result).ty.bits);
    total.ff += outputs * accumulator + u64::from(engine.latency()) * 3;
    total.lut += outputs * accumulator;
    total
}
