//! How a simulation drives a design: one definition for every simulator, so that cycle counts
//! can be compared.
//!
//! Cycle 0 is the first cycle after reset. Sources and sinks are registers, updated at each
//! clock edge:
//! * A source offers the beats of all frames, back to back. It starts without an offer. At an
//!   edge at which it holds no offer, or its offer is transferred, it offers the next beat if
//!   there is one and it does not stall.
//! * A sink starts not ready. At each edge it becomes ready unless it stalls.
//! * Beats beyond the last frame, which a circuit that starts with constants may offer, are not
//!   recorded.
//! * Each port has a random generator that steps once at each edge ([`Stall`]). Without a stall
//!   seed nothing stalls.

use super::Design;
use crate::supply::{Client, MemoryTiming};

/// What to feed to a design.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stimulus {
    /// For each frame, for each stream input, the elements in stream order
    /// (`beats * lanes` of them).
    pub frames: Vec<Vec<Vec<i32>>>,
    /// Seed of random source bubbles and sink back-pressure; 0: none.
    pub stall_seed: u32,
    /// Before the run proper, run that many cycles with the same stimulus and then reset.
    pub reset_after: Option<u64>,
}

/// What a design answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    /// For each frame, for each stream output, the elements in stream order.
    pub frames: Vec<Vec<Vec<i32>>>,
    /// For each frame, the cycle in which its last beat on any output was transferred.
    pub completions: Vec<u64>,
    /// The cycle in which the first beat of any input was transferred.
    pub first_transfer: u64,
}

impl Trace {
    /// Cycles from one frame to the next, frames back to back: the distance of the last two
    /// completions. `None` for fewer than two frames, or if the last one came before the other.
    pub fn cycles_per_inference(&self) -> Option<u64> {
        match self.completions[..] {
            [.., before, last] => last.checked_sub(before),
            _ => None,
        }
    }

    /// Cycles from the first beat in to the last beat of the first frame out: 0 if that reads nothing of the input
    /// and is out before. `None` without a frame.
    pub fn latency(&self) -> Option<u64> {
        Some(self.completions.first()?.saturating_add(1).saturating_sub(self.first_transfer))
    }
}

/// The random generator of one port: xorshift32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    /// State; 0 never stalls.
    pub state: u32,
}

impl Stall {
    /// Generator of stream input number `port`.
    pub fn of_input(seed: u32, port: u32) -> Self {
        Self::new(seed, port)
    }

    /// Generator of stream output number `port`.
    pub fn of_output(seed: u32, port: u32) -> Self {
        Self::new(seed, 0x100 + port)
    }

    fn new(seed: u32, port: u32) -> Self {
        if seed == 0 {
            return Self { state: 0 };
        }
        Self { state: (seed.wrapping_mul(0x9E37_79B9) ^ (port + 1).wrapping_mul(0x85EB_CA6B)) | 1 }
    }

    /// Steps at a clock edge and says whether the port stalls: three times of eight.
    pub fn step(&mut self) -> bool {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 17;
        self.state ^= self.state << 5;
        self.state != 0 && self.state & 7 < 3
    }
}

/// Cycles, at most, until all that a frame reads of a memory outside has come. How often a stage reads its weights is
/// not known here: for each row of its image at most.
fn outside(design: &Design, timing: &MemoryTiming) -> u64 {
    let Some(supply) = &design.supply else { return 0 };
    let latency = u64::from(timing.latency) + (1 << timing.jitter_bits);
    let burst = latency / u64::from(timing.outstanding.max(1)) + 4 * u64::from(supply.bus.burst);
    let burst = burst * u64::from(timing.refresh_every) / u64::from(timing.refresh_every - timing.refresh).max(1);
    let engines = design.modules.iter().flat_map(|module| &module.engines);
    let rows =
        engines.filter(|engine| engine.is_loaded()).map(|engine| u64::from(engine.image_rows)).max().unwrap_or(1);
    let bursts = |client: &Client| u64::from(client.bursts) * if client.asks { rows } else { 1 };
    supply.clients.iter().map(bursts).sum::<u64>() * burst
}

/// Cycles without a transfer on any port of the design, beside a memory that answers so, after which a simulator
/// reports a deadlock.
pub fn patience(design: &Design, timing: &MemoryTiming) -> u64 {
    let beats: u64 = design.inputs.iter().chain(&design.outputs).map(|port| port.beats).sum();
    let buffered: u64 = design
        .modules
        .iter()
        .flat_map(|module| {
            let memories =
                module.memories.iter().filter(|memory| memory.contents.is_none()).map(|m| u64::from(m.depth));
            let engines = module.engines.iter().map(|engine| {
                u64::from(engine.rows) * u64::from(engine.columns) * u64::from(engine.groups)
                    + u64::from(engine.weight_depth()) * u64::from(engine.image_rows) * u64::from(engine.columns)
                    + u64::from(engine.groups * engine.tap_steps())
                        * u64::from(engine.image_rows)
                        * u64::from(engine.columns)
            });
            memories.chain(engines).collect::<Vec<_>>()
        })
        .sum();
    10_000 + 4 * (beats + buffered + outside(design, timing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_go_backwards_are_no_times() {
        let trace = |completions: &[u64], first_transfer| Trace {
            completions: completions.to_vec(),
            first_transfer,
            ..Trace::default()
        };
        let sound = trace(&[10, 17], 3);
        assert_eq!((sound.latency(), sound.cycles_per_inference()), (Some(8), Some(7)));
        // What a slice leaves of a padding is out before the first pixel is in.
        assert_eq!(trace(&[4, 11], 6).latency(), Some(0));
        let damaged = trace(&[10, 4], 30);
        assert_eq!((damaged.latency(), damaged.cycles_per_inference()), (Some(0), None));
        assert_eq!(trace(&[u64::MAX], 0).latency(), Some(u64::MAX));
    }
}
