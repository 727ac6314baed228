//! Weights from a memory outside the chip.
//!
//! ```text
//! fetch ── numbers of bursts ──> memory ── beats ──> distribute ──> stages
//!   └───── whose burst it is, in order ────────────────┘
//!   <───── tiles that are no longer needed ──────────────────────────┘
//! ```
//!
//! A burst is asked for only when its stage has room for all of it: a stage has so many tiles at the start, and each
//! that it no longer needs lets `fetch` ask for one more. So a beat never waits for a stage, whatever the order in
//! which bursts are asked for, and a stage that waits for weights waits for the memory alone. Nothing that the data do
//! can stop the weights, so they cannot be part of a deadlock.

mod distribute;
mod fetch;
mod model;

pub use model::{MODEL, MemoryTiming, closed};

use crate::block::window::{Bus, WeightSupply};
use crate::rtl::{Module, Ty};
use std::sync::Arc;

/// The memory outside, as a design sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Supply {
    /// How weights come.
    pub bus: Bus,
    /// Bursts that the memory holds.
    pub bursts: u32,
    /// Its contents: that many bursts.
    pub image: Arc<[u8]>,
    /// The clients, in the order of their weights.
    pub clients: Vec<Client>,
}

/// A stage whose weights come from the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// First burst.
    pub first: u32,
    /// Bursts of all its weights.
    pub bursts: u32,
    /// Bursts of a tile.
    pub per_tile: u32,
    /// Tiles for which it has room, where tiles give way to others; `None`: all weights come once.
    pub ahead: Option<u32>,
}

impl Supply {
    /// The memory of some stages' weights; `None` without any. All have the same bus.
    pub fn new(stages: &[WeightSupply]) -> Option<Self> {
        let bus = stages.first()?.bus;
        let (mut image, mut clients, mut first) = (Vec::new(), Vec::new(), 0);
        for stage in stages {
            let &WeightSupply { bursts, per_tile, ahead, .. } = stage;
            clients.push(Client { first, bursts, per_tile, ahead });
            first += bursts;
            image.extend_from_slice(&stage.image);
        }
        Some(Self { bus, bursts: first, image: image.into(), clients })
    }

    /// Type of a beat.
    pub fn beat(&self) -> Ty {
        Ty::unsigned(8).by(self.bus.bytes)
    }

    /// Type of a burst's number.
    pub fn number(&self) -> Ty {
        Ty::holding(u64::from(self.bursts - 1))
    }

    /// The module that asks for bursts: a port `request`, one `order`, and `used0` and so on for the clients whose
    /// tiles give way.
    pub fn fetch(&self, name: &str) -> Module {
        fetch::fetch(name, self)
    }

    /// The module that gives beats to the stages: ports `order`, `data`, and `out0` and so on.
    pub fn distribute(&self, name: &str) -> Module {
        distribute::distribute(name, self)
    }
}
