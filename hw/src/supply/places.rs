//! Where clients are in their bursts, and whose turn it is.

use super::Client;
use super::turn::Turn;
use crate::rtl::build::{Builder, set, when};
use crate::rtl::expr::{Expr, add, and, eq, mux, not, or, sub};
use crate::rtl::{MemoryId, SignalId, Statement, Ty};

/// Where clients are in their bursts: those of the client whose turn it is in registers, those of all in memories, from
/// which they are read a turn ahead. After a reset, the first turn of each writes where it begins.
pub struct Places {
    /// The client whose place is known.
    pub turn: Turn,
    ahead: Turn,
    clients: u32,
    is_known: SignalId,
    starting: SignalId,
    /// The burst that comes next.
    pub number: SignalId,
    /// Bursts of its tile behind it.
    left: SignalId,
    /// First and last burst.
    ends: SignalId,
    /// Bursts of a tile but one.
    tile: SignalId,
    memories: [MemoryId; 4],
}

impl Places {
    /// Of at least one; `number`: the type of a burst's number.
    pub fn new<'a>(b: &mut Builder, number: Ty, clients: impl IntoIterator<Item = &'a Client>) -> Self {
        let clients: Vec<&Client> = clients.into_iter().collect();
        let [ahead, turn] = ["ahead", "turn"].map(|name| Turn::new(b, name, clients.len()));
        let of = turn.of as usize;
        let left = Ty::holding(clients.iter().map(|client| u64::from(client.tile - 1)).max().unwrap_or(0));
        let padded = |values: Vec<i64>, lanes: usize| [values, vec![0; lanes * (of - clients.len())]].concat();
        let ends = clients.iter().flat_map(|client| [client.first, client.first + client.bursts - 1]);
        let ends = padded(ends.map(i64::from).collect(), 2);
        let tiles = padded(clients.iter().map(|client| i64::from(client.tile - 1)).collect(), 1);
        let memories = [
            b.memory("numbers", number, turn.of),
            b.memory("lefts", left, turn.of),
            b.rom("all_ends", number.by(2), ends),
            b.rom("tiles", left, tiles),
        ];
        Self {
            turn,
            ahead,
            clients: clients.len() as u32,
            is_known: b.register("is_turn_known", Ty::BIT, 0),
            starting: b.register("starting", Ty::BIT, 1),
            number: b.data_register("number", number),
            left: b.data_register("left", left),
            ends: b.data_register("ends", number.by(2)),
            tile: b.data_register("tile", left),
            memories,
        }
    }

    /// 1 if the place of the client whose turn it is is known, and that of all is written.
    pub fn is_ready(&self) -> Expr {
        and(self.is_known, not(self.starting))
    }

    /// 1 if the next burst ends a tile.
    pub fn tile_ends(&self) -> Expr {
        eq(self.left, 0)
    }

    /// `step`: the next burst is one further; `go`: the next client has its turn. It has it, too, while the places are not
    /// ready.
    pub fn serve(&self, b: &mut Builder, step: SignalId, go: Expr) -> Vec<Statement> {
        let &Self { starting, is_known, number, left, ends, tile, memories, .. } = self;
        let [turn, ahead] = [self.turn.number, self.ahead.number];
        let end = |lane: u32| Expr::Slice { signal: ends, start: lane, lanes: 1 };
        let start = b.wire("start", and(starting, is_known));
        let is_last = b.wire("is_last", or(starting, eq(number, end(1))));
        let is_next_tile = b.wire("is_next_tile", or(starting, self.tile_ends()));
        let [numbers, lefts, _, _] = memories;
        let write = |memory, data| Statement::Write { memory, address: turn.into(), data };
        let mut next: Vec<Statement> = memories
            .into_iter()
            .zip([number, left, ends, tile])
            .map(|(memory, into)| Statement::Read { memory, address: ahead.into(), into })
            .collect();
        next.extend([set(turn, ahead), set(is_known, 1)]);
        let go = b.wire("go", or(go, not(self.is_ready())));
        vec![
            when(
                or(step, start),
                vec![
                    write(numbers, mux(is_last, end(0), add(number, 1))),
                    write(lefts, mux(is_next_tile, Expr::Signal(tile), sub(left, 1))),
                ],
            ),
            when(and(start, eq(turn, i64::from(self.clients) - 1)), vec![set(starting, 0)]),
            when(go, next),
            self.ahead.serve(go.into()),
        ]
    }
}
