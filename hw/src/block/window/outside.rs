//! Weights from outside: how they lie there, and what comes for a frame.

use super::{Blocks, Bus, Nest, WeightSource, Window};

/// Weights from outside, in tiles that are used at once.
pub(super) struct Tiles {
    /// How many there are.
    pub count: u32,
    /// Beats of a tile that bring weights.
    pub loads: u32,
    /// Beats of a tile, in whole bursts.
    pub beats: u32,
    /// Weight addresses of a tile.
    pub addresses: u32,
}

/// Weights in the memory outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightSupply {
    /// How they come.
    pub bus: Bus,
    /// Bursts of all of them.
    pub bursts: u32,
    /// Bursts of a tile.
    pub per_tile: u32,
    /// Tiles for which there is room: more come only when one is no longer needed, and after the last one the first one
    /// again. `None`: all come once.
    pub ahead: Option<u32>,
    /// The bytes.
    pub image: Vec<u8>,
}

impl Window<'_> {
    /// Weights from outside, and the addresses of a tile of them; `None` if they are constants.
    pub(super) fn tiles(&self) -> Option<Tiles> {
        let bus = self.folding.source.bus()?;
        let shape = self.engine_shape();
        let nest = self.nest();
        let all = nest.groups * nest.results;
        let (count, addresses) = match self.folding.source {
            WeightSource::Streamed { .. } => (all, self.tile_addresses(&nest)),
            WeightSource::Constant | WeightSource::Loaded(_) => (1, all * nest.steps()),
        };
        let loads = addresses.div_ceil(shape.addresses_per_load()) * shape.loads_per_address();
        Some(Tiles { count, loads, beats: loads.next_multiple_of(bus.burst), addresses })
    }

    /// Weight addresses of a tile: the steps of a result, and so many more that loads bring tiles apart.
    pub(super) fn tile_addresses(&self, nest: &Nest) -> u32 {
        // What a load brings does not depend on the number of addresses.
        let shape = self.shape_with(self.reduce_with(1));
        nest.steps().next_multiple_of(shape.addresses_per_load())
    }

    /// Bytes that its weights take outside.
    pub fn stored(&self) -> u64 {
        let bytes = self.folding.source.bus().map_or(0, |bus| u64::from(bus.bytes));
        self.tiles().map_or(0, |tiles| u64::from(tiles.count) * u64::from(tiles.beats) * bytes)
    }

    /// Bytes that come from outside for every frame.
    pub fn traffic(&self) -> u64 {
        match (self.folding.source, self.tiles()) {
            (WeightSource::Streamed { rows, .. }, Some(_)) => {
                self.stored() * u64::from(Blocks::new(self.extent.output[0], rows).count)
            }
            _ => 0,
        }
    }

    /// What weights from outside look like in the memory there.
    pub fn supply(&self) -> Option<WeightSupply> {
        let (bus, tiles, shape) = (self.folding.source.bus()?, self.tiles()?, self.engine_shape());
        let weights = self.ordered_weights(&self.nest());
        let per_tile = (weights.len() / tiles.count.max(1) as usize).max(1);
        let tile_bytes = (tiles.beats * bus.bytes) as usize;
        let mut image = Vec::with_capacity(tiles.count as usize * tile_bytes);
        for tile in weights.chunks(per_tile) {
            let end = image.len() + tile_bytes;
            image.extend(shape.load_image(tile));
            image.resize(end, 0);
        }
        let ahead = if matches!(self.folding.source, WeightSource::Streamed { .. }) { Some(2) } else { None };
        Some(WeightSupply {
            bus,
            bursts: tiles.count * tiles.beats / bus.burst,
            per_tile: tiles.beats / bus.burst,
            ahead,
            image,
        })
    }
}
