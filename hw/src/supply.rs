//! What is between the circuit and a memory outside the chip: weights come from there, and long queues wait there. Or
//! between it and a stream that brings weights once after each reset.
//!
//! ```text
//! reader ── numbers of bursts ──> memory ── beats ──> reader ──> clients: stages with weights, queues
//! queues ── bursts ──> writer ── numbers, beats ──> memory ── bursts that are written ──> writer ──> queues
//! ```
//!
//! A burst is asked for only when its client has room for all of it: a stage has so many tiles at the start, and each
//! that it no longer needs lets the reader ask for one more; a queue asks for bursts that were written, as many as it
//! has room for. So a beat never waits for a client, whatever the order in which bursts are asked for, and a client
//! that waits for beats waits for the memory alone. A queue offers a burst only when it has all of its beats, so a burst
//! that is written does not wait for the queue either. Nothing that the data do can stop the memory, so it cannot be
//! part of a deadlock; and a queue outside takes and gives as one on the chip does ([`crate::block::outside_queue`]).

mod loader;
mod model;
mod places;
mod reader;
mod turn;
mod writer;

pub use model::{MODEL, MemoryTiming, closed};

use crate::block::outside_queue::OutsideQueue;
use crate::block::window::{Bus, Port, WeightSupply};
use crate::rtl::{Module, Ty};
use std::sync::Arc;

/// The memory outside, as a design sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Supply {
    /// How bursts go and come.
    pub bus: Bus,
    /// Bursts that the memory holds: weights first, then what waits in queues.
    pub bursts: u32,
    /// Contents of the first bursts; the others have none.
    pub image: Arc<[u8]>,
    /// The clients, in the order of their bursts: stages with weights, then queues.
    pub clients: Vec<Client>,
}

/// What reads the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// First burst.
    pub first: u32,
    /// Bursts, after which the first comes again.
    pub bursts: u32,
    /// Bursts that it has room for together, or for none of them.
    pub tile: u32,
    /// Tiles for which there is room after a reset.
    pub at_start: u32,
    /// Tiles for which there is room at most.
    pub most: u32,
    /// Each beat of the client says that there is room for one more tile; if not, all come once.
    pub asks: bool,
    /// It is a queue, which writes them first.
    pub is_queue: bool,
}

/// Ports of the memory. As the end of a channel: numbers of bursts that are asked for; as the start: their beats.
pub const READ: u32 = 0;
/// As the end of a channel: numbers of bursts that are written; as the start: a beat for each that is.
pub const WRITE: u32 = 1;
/// As the end of a channel: the beats that are written.
pub const WRITE_DATA: u32 = 2;

impl Supply {
    /// The memory of some stages' weights and some queues; `None` without any. All have the same bus.
    pub fn new(stages: &[WeightSupply], queues: &[OutsideQueue]) -> Option<Self> {
        let bus = stages.first().map(|stage| stage.bus).or(queues.first().map(|queue| queue.bus))?;
        let mut supply = Self { bus, bursts: 0, image: Arc::default(), clients: Vec::new() };
        for &WeightSupply { bursts, per_tile, ahead, .. } in stages {
            let tile = if ahead.is_some() { per_tile } else { bursts };
            let room = ahead.unwrap_or(1);
            supply.add(Client {
                first: 0,
                bursts,
                tile,
                at_start: room,
                most: room,
                asks: ahead.is_some(),
                is_queue: false,
            });
        }
        for queue in queues {
            let bursts = queue.bursts;
            supply.add(Client {
                first: 0,
                bursts,
                tile: 1,
                at_start: 0,
                most: queue.ahead(),
                asks: true,
                is_queue: true,
            });
        }
        supply.image = stages.iter().flat_map(|stage| &stage.image).copied().collect();
        Some(supply)
    }

    fn add(&mut self, client: Client) {
        self.clients.push(Client { first: self.bursts, ..client });
        self.bursts += client.bursts;
    }

    /// Its queues.
    pub fn queues(&self) -> impl Iterator<Item = &Client> {
        self.clients.iter().filter(|client| client.is_queue)
    }

    /// Whether the memory is written, and not only read.
    pub fn is_written(&self) -> bool {
        self.queues().next().is_some()
    }

    /// Whether it is no memory, but a stream that brings all of it once after each reset.
    pub fn is_stream(&self) -> bool {
        self.bus.port == Port::Stream
    }

    /// Bytes that the memory holds.
    pub fn bytes(&self) -> u64 {
        u64::from(self.bursts) * u64::from(self.bus.burst_bytes())
    }

    /// Type of a beat.
    pub fn beat(&self) -> Ty {
        Ty::unsigned(8).by(self.bus.bytes)
    }

    /// Type of a burst's number.
    pub fn number(&self) -> Ty {
        Ty::holding(u64::from(self.bursts - 1))
    }

    /// The type of a port of the memory, if there is one; `source`: as the start of a channel.
    pub fn port(&self, port: u32, source: bool) -> Option<Ty> {
        let writes = self.is_written();
        match (port, source) {
            (READ, true) => Some(self.beat()),
            (READ, false) if !self.is_stream() => Some(self.number()),
            (WRITE, true) if writes => Some(Ty::BIT),
            (WRITE, false) if writes => Some(self.number()),
            (WRITE_DATA, false) if writes => Some(self.beat()),
            _ => None,
        }
    }

    /// The module that reads: inputs `data`, and for the clients that say for what they have room `more0` and so on;
    /// outputs `request` (not of a stream), and `out0` and so on for the clients.
    pub fn reader(&self, name: &str) -> Module {
        if self.is_stream() { loader::loader(name, self) } else { reader::reader(name, self) }
    }

    /// The module that writes what waits in queues: inputs `done`, and `in0` and so on for the queues; outputs
    /// `request`, `data`, and `written0` and so on.
    pub fn writer(&self, name: &str) -> Module {
        writer::writer(name, self)
    }
}
