//! Weights that come as a stream: into the engine's weight memory, tile by tile.
//!
//! A tile is what one pass over pixels needs. Tiles come in whole bursts of the memory outside; what is left of the
//! last burst is not used. The stream never waits: a tile is sent only when its half of the weight memory is free, and
//! that is what the beats of the `used` stream say, one for every tile that is no longer needed.

use super::outside::Tiles;
use crate::rtl::build::{Builder, Level, Output, advance, count, set, when};
use crate::rtl::engine::EngineShape;
use crate::rtl::expr::{Expr, and, eq, lt, not};
use crate::rtl::{EngineId, SignalId, Statement, Ty};

/// The stream of weights of an engine.
pub struct Loader {
    /// Tiles that are loaded and still needed.
    tiles: SignalId,
    /// Says that a tile is no longer needed; none where all weights stay.
    used: Option<Output>,
    load: SignalId,
    loaded: Vec<Statement>,
    complete: SignalId,
}

impl Loader {
    /// For an engine that has room for one tile or more. `reused`: tiles give way to others.
    pub fn new(b: &mut Builder, engine: EngineId, shape: &EngineShape, tiles: &Tiles, reused: bool) -> Self {
        let bytes = shape.products().and_then(|products| products.loaded).unwrap_or(1);
        let input = b.input("weights", Ty::unsigned(8).by(bytes));
        b.ready(input, Expr::Const(1));
        let used = reused.then(|| b.output("used", Ty::BIT));
        let &Tiles { beats, addresses, loads: useful, .. } = tiles;
        let room = shape.weight_depth() / addresses;
        let tiles = b.register("tiles", Ty::holding(u64::from(room)), 0);
        let part = Level::new(b, "load_part", shape.loads_per_address());
        let address = Level::new(b, "load_address", shape.weight_banks().depth);
        let beat = Level::new(b, "load_beat", beats);
        let complete = b.wire("load_complete", and(input.valid, beat.at_end()));
        let beat_value = beat.value();
        let load = Statement::Load { engine, address: address.value(), part: part.value(), data: input.data.into() };
        let mut kept = vec![load];
        kept.extend(advance(vec![part, address]));
        let mut loaded = if useful == beats { kept } else { vec![when(lt(beat_value, i64::from(useful)), kept)] };
        loaded.extend(advance(vec![beat]));
        Self { tiles, used, load: input.valid, loaded, complete }
    }

    /// 1 if the weights that come next in use are there.
    pub fn is_loaded(&self) -> Expr {
        not(eq(self.tiles, 0))
    }

    /// Statements that take weights in; `done` is 1 where a tile is no longer needed, if tiles give way.
    pub fn serve(self, done: Option<SignalId>) -> Vec<Statement> {
        let Self { tiles, used, load, loaded, complete } = self;
        let mut statements = vec![when(load, loaded)];
        match used.zip(done) {
            None => statements.push(when(complete, vec![set(tiles, 1)])),
            Some((used, done)) => {
                statements.extend([count(tiles, complete, done), set(used.valid, done), set(used.data, 1)]);
            }
        }
        statements
    }
}
