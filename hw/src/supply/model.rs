//! A memory outside the chip, for simulation: one module for the simulator and for the Verilog test bench.

use super::Supply;
use crate::device::Device;
use crate::rtl::build::{self, Builder, Level, add_modulo, advance, branch, set, when};
use crate::rtl::expr::{Expr, add, all, and, eq, lt, mul, not, or, sub};
use crate::rtl::{Channel, Design, Endpoint, MemoryId, Module, ModuleId, SignalId, Statement, Ty};
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

    /// The memory on a device's board: as fast, but where it gives less than its port carries, it pauses.
    pub fn of(device: &Device) -> Self {
        /// Cycles in which it gives beats, and then pauses.
        const PERIOD: u32 = 256;
        let Some(memory) = &device.memory else { return Self::FAST };
        let beats_per_cycle = memory.megabytes_per_second / (f64::from(memory.beat_bytes) * device.clock_mhz);
        if beats_per_cycle >= 1.0 {
            return Self::FAST;
        }
        let given = (beats_per_cycle * f64::from(PERIOD)).floor().max(1.0) as u32;
        Self { refresh_every: PERIOD, refresh: PERIOD - given, ..Self::FAST }
    }

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

impl Default for MemoryTiming {
    fn default() -> Self {
        Self::FAST
    }
}

impl Supply {
    /// What stands for the outside in simulation: the memory, or what brings the stream.
    pub fn outside(&self, name: &str, timing: &MemoryTiming) -> Module {
        if self.is_stream() { self.bringer(name, timing) } else { self.model(name, timing) }
    }

    /// Brings its contents, but for pauses: output `data`.
    fn bringer(&self, name: &str, timing: &MemoryTiming) -> Module {
        let mut b = Builder::new(name, "Brings what is loaded: a model for simulation.");
        let output = b.output("data", self.beat());
        let tick = Level::new(&mut b, "tick", timing.refresh_every);
        let words = self.image.iter().map(|&byte| i64::from(byte)).collect();
        let contents = b.outside("contents", self.beat(), words);
        let beat = b.register("beat", Ty::holding(self.bursts.into()), 0);
        let awake = not(lt(tick.value(), i64::from(timing.refresh)));
        let free = or(not(output.valid), output.ready);
        let give = b.wire("give", all([lt(beat, i64::from(self.bursts)), awake, free]));
        let given = vec![
            Statement::Read { memory: contents, address: beat.into(), into: output.data },
            set(output.valid, 1),
            set(beat, add(beat, 1)),
        ];
        let mut statements = vec![branch(give, given, vec![when(output.ready, vec![set(output.valid, 0)])])];
        statements.extend(advance(vec![tick]));
        b.finish(statements)
    }

    /// The memory with its contents: inputs `request`, `write` and `write_data`, outputs `data` and `written`; those
    /// of writes only where something is written. It does one burst at a time.
    fn model(&self, name: &str, timing: &MemoryTiming) -> Module {
        let (beat, number, burst) = (self.beat(), self.number(), self.bus.burst);
        let MemoryTiming { seed, refresh_every, refresh, .. } = *timing;
        let mut b = Builder::new(name, "A memory outside the chip: a model for simulation.");
        let request = b.input("request", number);
        let write = self.is_written().then(|| (b.input("write", number), b.input("write_data", beat)));
        let output = b.output("data", beat);
        let clock = Clock { now: b.register("now", TIME, 0), noise: b.register("noise", TIME, i64::from(seed | 1)) };
        let tick = Level::new(&mut b, "tick", refresh_every);
        let awake = b.wire("awake", not(lt(tick.value(), i64::from(refresh))));
        let mut words: Vec<i64> = self.image.iter().map(|&byte| i64::from(byte)).collect();
        words.resize(self.bytes() as usize, 0);
        let contents = b.outside("contents", beat, words);
        let place = |number: SignalId, beat: &Level| add(mul(number, i64::from(burst)), beat.value());
        let mut statements = advance(vec![tick]);
        statements.extend(clock.run());

        let answers = Answers::new(&mut b, "", number, timing);
        let ready = b.ready(request, answers.has_room());
        let accept = b.wire("accept", and(request.valid, ready));
        let writing = write.map(|_| b.register("writing", Ty::BIT, 0));
        let begun = b.register("begun", Ty::BIT, 0);
        let read = Level::new(&mut b, "beat", burst);
        let free = or(not(output.valid), output.ready);
        let idle = writing.map_or(Expr::Const(1), not);
        let may = or(begun, and(answers.is_due(&clock), idle));
        let give = b.wire("give", all([answers.current.into(), may, awake.into(), free]));
        let last = b.wire("last", and(give, read.at_end()));
        let address = place(answers.value, &read);
        let mut given = vec![
            Statement::Read { memory: contents, address, into: output.data },
            set(output.valid, 1),
            set(begun, not(last)),
        ];
        given.extend(advance(vec![read]));
        statements.push(branch(give, given, vec![when(output.ready, vec![set(output.valid, 0)])]));
        statements.extend(answers.serve(&mut b, accept, request.data.into(), last, &clock));

        if let (Some((number_in, data)), Some(writing)) = (write, writing) {
            let written = b.output("written", Ty::BIT);
            let answers = Answers::new(&mut b, "write_", Ty::BIT, timing);
            let ready = b.ready(number_in, all([not(writing), not(begun), answers.has_room()]));
            let accept = b.wire("write_accept", and(number_in.valid, ready));
            let beats = Level::new(&mut b, "write_beat", burst);
            let ready = b.ready(data, all([writing.into(), not(begun), awake.into()]));
            let take = b.wire("write_take", and(data.valid, ready));
            let end = b.wire("write_end", and(take, beats.at_end()));
            let target = b.data_register("write_number", number);
            let say = and(answers.current, answers.is_due(&clock));
            let say = b.wire("say", say);
            let address = place(target, &beats);
            let mut taken = vec![Statement::Write { memory: contents, address, data: data.data.into() }];
            taken.extend(advance(vec![beats]));
            statements.extend([
                branch(
                    accept,
                    vec![set(writing, 1), set(target, number_in.data)],
                    vec![when(end, vec![set(writing, 0)])],
                ),
                when(take, taken),
                set(written.valid, say),
                set(written.data, 1),
            ]);
            statements.extend(answers.serve(&mut b, end, Expr::Const(1), say, &clock));
        }
        b.finish(statements)
    }
}

/// Type of a time: differences below half of what it counts tell before from after.
const TIME: Ty = Ty { lanes: 1, bits: TIME_BITS, signed: false };

const TIME_BITS: u32 = 16;

/// What time it is, and a random number.
struct Clock {
    now: SignalId,
    noise: SignalId,
}

impl Clock {
    fn run(&self) -> [Statement; 2] {
        let &Self { now, noise } = self;
        let bit = |by: u32| Expr::Low(Box::new(Expr::Shr(Box::new(noise.into()), by)), 1);
        let differs = |a: Expr, b: Expr| not(eq(a, b));
        // Taps of a maximal 16-bit linear feedback shift register: 16, 15, 13, 4.
        let fed = differs(differs(bit(15), bit(14)), differs(bit(12), bit(3)));
        let shifted = Expr::Shl(Box::new(Expr::Low(Box::new(noise.into()), TIME_BITS - 1)), 1);
        [set(now, add(now, 1)), set(noise, add(shifted, fed))]
    }
}

/// Answers that are to be given in order, each not before its time.
struct Answers {
    timing: MemoryTiming,
    values: MemoryId,
    dues: MemoryId,
    head: SignalId,
    tail: SignalId,
    count: SignalId,
    /// 1 while the next answer is known: its value, and when it is due.
    current: SignalId,
    value: SignalId,
    due: SignalId,
    prefix: &'static str,
}

impl Answers {
    fn new(b: &mut Builder, prefix: &'static str, value: Ty, timing: &MemoryTiming) -> Self {
        let outstanding = timing.outstanding;
        let pointer = Ty::holding(u64::from(outstanding - 1));
        let name = |name: &str| format!("{prefix}{name}");
        Self {
            timing: *timing,
            values: b.queue(&name("values"), value, outstanding),
            dues: b.queue(&name("dues"), TIME, outstanding),
            head: b.register(&name("head"), pointer, 0),
            tail: b.register(&name("tail"), pointer, 0),
            count: b.register(&name("count"), Ty::holding(outstanding.into()), 0),
            current: b.register(&name("current"), Ty::BIT, 0),
            value: b.data_register(&name("value"), value),
            due: b.data_register(&name("due"), TIME),
            prefix,
        }
    }

    fn has_room(&self) -> Expr {
        lt(self.count, i64::from(self.timing.outstanding))
    }

    fn is_due(&self, clock: &Clock) -> Expr {
        let passed = Expr::Low(Box::new(sub(clock.now, self.due)), TIME_BITS);
        lt(passed, 1 << (TIME_BITS - 1))
    }

    /// Statements that remember an answer where `accept` is 1, and go on to the next where `done` is.
    fn serve(self, b: &mut Builder, accept: SignalId, data: Expr, done: SignalId, clock: &Clock) -> Vec<Statement> {
        let Self { timing, values, dues, head, tail, count, current, value, due, prefix } = self;
        let MemoryTiming { latency, jitter_bits, outstanding, .. } = timing;
        let next = and(not(eq(count, 0)), or(not(current), done));
        let next = b.wire(&format!("{prefix}next"), next);
        let jitter = Expr::Low(Box::new(clock.noise.into()), jitter_bits.max(1));
        let soonest = add(clock.now, i64::from(latency));
        let at = if jitter_bits == 0 { soonest } else { add(soonest, jitter) };
        let step = |pointer| set(pointer, add_modulo(pointer, 1, outstanding));
        vec![
            branch(
                next,
                vec![
                    Statement::Read { memory: values, address: head.into(), into: value },
                    Statement::Read { memory: dues, address: head.into(), into: due },
                    step(head),
                    set(current, 1),
                ],
                vec![when(done, vec![set(current, 0)])],
            ),
            when(
                accept,
                vec![
                    Statement::Write { memory: values, address: tail.into(), data },
                    Statement::Write { memory: dues, address: tail.into(), data: at },
                    step(tail),
                ],
            ),
            build::count(count, accept, next),
        ]
    }
}

/// Name of the module that stands for the memory outside.
pub const MODEL: &str = "memory_model";

/// The design with its memory, its last module: what a simulator runs. A design without supply is the same.
pub fn closed<'a>(design: &'a Design, timing: &MemoryTiming) -> Cow<'a, Design> {
    let Some(supply) = &design.supply else { return Cow::Borrowed(design) };
    let mut closed = Design { supply: None, ..design.clone() };
    let id = ModuleId(closed.modules.len() as u32);
    closed.modules.push(supply.outside(MODEL, timing));
    let moved = |endpoint: Endpoint| match endpoint {
        Endpoint::Supply(port) => Endpoint::Port(id, port),
        other => other,
    };
    for Channel { from, to, .. } in &mut closed.channels {
        (*from, *to) = (moved(*from), moved(*to));
    }
    Cow::Owned(closed)
}
