//! Asks for bursts, for one client after the other, and gives their beats to the clients that they are for: bursts come
//! in the order in which they were asked for.
//!
//! Each turn goes to the next client that has room. What clients need of the memory may differ; as long as it is less
//! than the memory gives in sum, each gets what it needs, because turns that one does not take go to the others.

use super::places::Places;
use super::{Client, Supply};
use crate::block::ring::Ring;
use crate::rtl::build::{Builder, Level, advance, branch, count, set, when};
use crate::rtl::expr::{Expr, all, and, eq, not, or};
use crate::rtl::{Module, SignalId, Statement, Ty};

/// Bursts that are asked for and whose beats have not come, at most, as far as the reader can tell whose they are.
const OUTSTANDING: u32 = 32;

/// See [`Supply::reader`].
pub fn reader(name: &str, supply: &Supply) -> Module {
    let clients = &supply.clients;
    let of = clients.len();
    let mut b = Builder::new(name, format!("Reads the memory outside for {of} client(s), burst by burst."));
    let data = b.input("data", supply.beat());
    b.ready(data, Expr::Const(1));
    let request = b.output("request", supply.number());
    let places = Places::new(&mut b, supply.number(), clients);
    let owed: Vec<SignalId> = (0..of).map(|index| owed(&mut b, index, &clients[index])).collect();
    let more: Vec<Option<SignalId>> = (0..of).map(|index| more(&mut b, index, &clients[index])).collect();
    let has_room = places.turn.has(owed.iter().map(|&owed| not(eq(owed, 0))));
    let wanted = b.wire("wanted", and(places.is_ready(), has_room));
    let owners = Owners::new(&mut b, places.turn.ty(), places.turn.number);
    let send = all([wanted.into(), owners.asked.has_room(), or(not(request.valid), request.ready)]);
    let send = b.wire("send", send);
    let mut statements = vec![branch(
        send,
        vec![set(request.valid, 1), set(request.data, places.number)],
        vec![when(request.ready, vec![set(request.valid, 0)])],
    )];
    let tile_ends = b.wire("tile_ends", and(send, places.tile_ends()));
    statements.extend(places.serve(&mut b, send, or(send, not(wanted))));
    for (index, (&owed, more)) in owed.iter().zip(more).enumerate() {
        let fewer = b.wire(&format!("fewer{index}"), and(tile_ends, places.turn.is(index)));
        statements.push(match more {
            None => when(fewer, vec![set(owed, 0)]),
            Some(more) => count(owed, more, fewer),
        });
    }
    let beat = Level::new(&mut b, "beat", supply.bus.burst);
    let last = b.wire("last", and(data.valid, beat.at_end()));
    statements.push(when(data.valid, advance(vec![beat])));
    for index in 0..of {
        let output = b.output(&format!("out{index}"), supply.beat());
        let own = b.wire(&format!("take{index}"), and(data.valid, eq(owners.current, index as i64)));
        statements.push(set(output.valid, own));
        statements.push(when(own, vec![set(output.data, data.data)]));
    }
    statements.extend(owners.serve(&mut b, send, last));
    b.finish(statements)
}

/// The register of the tiles for which a client has room.
fn owed(b: &mut Builder, index: usize, client: &Client) -> SignalId {
    b.register(&format!("owed{index}"), Ty::holding(client.most.into()), client.at_start.into())
}

/// Says that a client has room for one more.
fn more(b: &mut Builder, index: usize, client: &Client) -> Option<SignalId> {
    client.asks.then(|| {
        let more = b.input(&format!("more{index}"), Ty::BIT);
        b.ready(more, Expr::Const(1));
        more.valid
    })
}

/// Whose bursts come, in order.
struct Owners {
    /// Those of bursts that were asked for, but for the one that comes.
    asked: Ring,
    /// 1 while `current` is the owner of the burst that comes.
    is_known: SignalId,
    current: SignalId,
    turn: SignalId,
}

impl Owners {
    fn new(b: &mut Builder, client: Ty, turn: SignalId) -> Self {
        Self {
            asked: Ring::new(b, "asked", client, OUTSTANDING),
            is_known: b.register("is_known", Ty::BIT, 0),
            current: b.data_register("current", client),
            turn,
        }
    }

    /// A request shows a cycle after its owner is in the queue, so that the owner is known before the first beat.
    fn serve(self, b: &mut Builder, send: SignalId, last: SignalId) -> Vec<Statement> {
        let Self { asked, is_known, current, turn } = self;
        let next = b.wire("next", and(asked.holds_some(), or(not(is_known), last)));
        let mut statements = asked.serve(send, turn.into(), next.into());
        statements.push(branch(
            next,
            vec![asked.read(current), set(is_known, 1)],
            vec![when(last, vec![set(is_known, 0)])],
        ));
        statements
    }
}
