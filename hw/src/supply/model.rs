//! A memory outside the chip, for simulation: one module for the simulator and for the Verilog test bench.

use super::Supply;
use crate::rtl::build::{self, Builder, Level, add_modulo, advance, branch, set, when};
use crate::rtl::expr::{Expr, add, all, and, eq, lt, mul, not, or, sub};
use crate::rtl::{Channel, Design, Endpoint, Module, ModuleId, Statement, Ty};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// How a memory outside answers. Times in cycles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryTiming {
    /// From a request to the first beat, at least; up to 16,000.
    pub latency: u32,
    /// Bits of a random number that is added to the latency, up to 13.
    pub jitter_bits: u32,
    /// Seed of that number.
    pub seed: u16,
    /// From one refresh to the next, up to 2^20.
    pub refresh_every: u32,
    /// What a refresh takes, less than `refresh_every`; 0 for none.
    pub refresh: u32,
    /// Bursts that may be asked for and not yet have come, at least 1, a power of two.
    pub outstanding: u32,
}

impl MemoryTiming {
    /// A memory on the board behind a short path.
    pub const FAST: Self =
        Self { latency: 16, jitter_bits: 0, seed: 1, refresh_every: 4096, refresh: 0, outstanding: 16 };
    /// A memory that is far away and shared with others.
    pub const SLOW: Self =
        Self { latency: 120, jitter_bits: 6, seed: 0x2F6B, refresh_every: 1950, refresh: 90, outstanding: 8 };

    /// What the text of a TOML file describes.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let timing: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        timing.fault().map_or(Ok(timing), Err)
    }

    fn fault(&self) -> Option<String> {
        let Self { latency, jitter_bits, refresh_every, refresh, outstanding, .. } = *self;
        let within = |name: &str, value: u32, lo: u32, hi: u32| {
            (value < lo || value > hi).then(|| format!("`{name}` is {value}, and should be {lo} to {hi}"))
        };
        within("latency", latency, 1, 16_000)
            .or_else(|| within("jitter_bits", jitter_bits, 0, 13))
            .or_else(|| within("refresh_every", refresh_every, 1, 1 << 20))
            .or_else(|| within("refresh", refresh, 0, refresh_every - 1))
            .or_else(|| within("outstanding", outstanding, 1, 1024))
            .or_else(|| (!outstanding.is_power_of_two()).then(|| "`outstanding` should be a power of two".to_owned()))
    }
}

/// Bits of a time: differences below half of what they count tell before from after.
const TIME_BITS: u32 = 16;

impl Default for MemoryTiming {
    fn default() -> Self {
        Self::FAST
    }
}

impl Supply {
    /// The memory with these contents: ports `request` and `data`.
    pub fn model(&self, name: &str, timing: &MemoryTiming) -> Module {
        let (beat, number) = (self.beat(), self.number());
        let MemoryTiming { latency, jitter_bits, seed, refresh_every, refresh, outstanding } = *timing;
        let time = Ty::unsigned(TIME_BITS);
        let mut b = Builder::new(name, "A memory outside the chip: a model for simulation.");
        let request = b.input("request", number);
        let output = b.output("data", beat);
        let now = b.register("now", time, 0);
        let noise = b.register("noise", time, i64::from(seed | 1));

        // Requests that wait, each with the time at which its answer may begin.
        let numbers = b.queue("numbers", number, outstanding);
        let dues = b.queue("dues", time, outstanding);
        let pointer = Ty::holding(u64::from(outstanding - 1));
        let [head, tail] = ["head", "tail"].map(|name| b.register(name, pointer, 0));
        let count = b.register("count", Ty::holding(outstanding.into()), 0);
        let current = b.register("current", Ty::BIT, 0);
        let current_number = b.data_register("current_number", number);
        let due = b.data_register("due", time);
        let begun = b.register("begun", Ty::BIT, 0);
        let ready = b.ready(request, lt(count, i64::from(outstanding)));
        let accept = b.wire("accept", and(request.valid, ready));
        let answer_at = add(add(now, i64::from(latency)), Expr::Low(Box::new(noise.into()), jitter_bits.max(1)));
        let answer_at = if jitter_bits == 0 { add(now, i64::from(latency)) } else { answer_at };

        let tick = Level::new(&mut b, "tick", refresh_every);
        let awake = not(lt(tick.value(), i64::from(refresh)));
        let passed = Expr::Low(Box::new(sub(now, due)), TIME_BITS);
        let is_due = lt(passed, 1 << (TIME_BITS - 1));
        let beat_level = Level::new(&mut b, "beat", self.bus.burst);
        let free = or(not(output.valid), output.ready);
        let give = b.wire("give", all([current.into(), or(begun, is_due), awake, free]));
        let last = b.wire("last", and(give, beat_level.at_end()));
        let next = b.wire("next", and(not(eq(count, 0)), or(not(current), last)));

        let words = self.image.iter().map(|&byte| i64::from(byte)).collect();
        let contents = b.outside("contents", beat, words);
        let address = add(mul(current_number, i64::from(self.bus.burst)), beat_level.value());
        let bit = |by: u32| Expr::Low(Box::new(Expr::Shr(Box::new(noise.into()), by)), 1);
        let differs = |a: Expr, b: Expr| not(eq(a, b));
        // Taps of a maximal 16-bit linear feedback shift register: 16, 15, 13, 4.
        let fed = differs(differs(bit(15), bit(14)), differs(bit(12), bit(3)));
        let step = |pointer| set(pointer, add_modulo(pointer, 1, outstanding));
        let mut given = vec![
            Statement::Read { memory: contents, address, into: output.data },
            set(output.valid, 1),
            set(begun, not(last)),
        ];
        given.extend(advance(vec![beat_level]));
        let mut statements = advance(vec![tick]);
        statements.extend([
            set(now, add(now, 1)),
            set(noise, add(Expr::Shl(Box::new(Expr::Low(Box::new(noise.into()), TIME_BITS - 1)), 1), fed)),
            branch(give, given, vec![when(output.ready, vec![set(output.valid, 0)])]),
            branch(
                next,
                vec![
                    Statement::Read { memory: numbers, address: head.into(), into: current_number },
                    Statement::Read { memory: dues, address: head.into(), into: due },
                    step(head),
                    set(current, 1),
                ],
                vec![when(last, vec![set(current, 0)])],
            ),
            when(
                accept,
                vec![
                    Statement::Write { memory: numbers, address: tail.into(), data: request.data.into() },
                    Statement::Write { memory: dues, address: tail.into(), data: answer_at },
                    step(tail),
                ],
            ),
            build::count(count, accept, next),
        ]);
        b.finish(statements)
    }
}

/// Name of the module that stands for the memory outside.
pub const MODEL: &str = "memory_model";

/// The design with its memory: what a simulator runs. A design without supply is the same.
pub fn closed<'a>(design: &'a Design, timing: &MemoryTiming) -> Cow<'a, Design> {
    let Some(supply) = &design.supply else { return Cow::Borrowed(design) };
    let mut closed = Design { supply: None, ..design.clone() };
    let at = design.channels.iter().find_map(|channel| match (channel.from, channel.to) {
        (Endpoint::Supply, Endpoint::Port(reader, _)) => Some(reader.0),
        _ => None,
    });
    let at = at.expect("invariant: a design with a supply reads it");
    closed.modules.insert(at as usize, supply.model(MODEL, timing));
    let moved = |endpoint: Endpoint| match endpoint {
        Endpoint::Port(ModuleId(module), port) if module >= at => Endpoint::Port(ModuleId(module + 1), port),
        Endpoint::Supply => Endpoint::Port(ModuleId(at), 0),
        other => other,
    };
    for Channel { from, to, .. } in &mut closed.channels {
        (*from, *to) = (moved(*from), moved(*to));
    }
    Cow::Owned(closed)
}
