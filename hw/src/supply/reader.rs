//! Asks for bursts, for one client after the other, and gives their beats to the clients that they are for: bursts come
//! in the order in which they were asked for.
//!
//! Each turn goes to the next client that has room. What clients need of the memory may differ; as long as it is less
//! than the memory gives in sum, each gets what it needs, because turns that one does not take go to the others.

use super::turn::Turn;
use super::{Client, Supply};
use crate::block::ring::Ring;
use crate::rtl::build::{Builder, Level, advance, branch, set, when};
use crate::rtl::expr::{Expr, add, all, and, eq, not, or, sub};
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
    let turn = Turn::new(&mut b, of);
    let states: Vec<State> =
        clients.iter().enumerate().map(|(index, client)| State::new(&mut b, index, client)).collect();
    let wanted = b.wire("wanted", turn.has(states.iter().map(|state| not(eq(state.owed, 0)))));
    let owners = turn.number.map(|number| Owners::new(&mut b, turn.ty(), number));
    let room = owners.as_ref().map_or(Expr::Const(1), |owners| owners.asked.has_room());
    let send = b.wire("send", all([wanted.into(), room, or(not(request.valid), request.ready)]));
    let number = turn.choose(states.iter().map(|state| state.number.into()));
    let mut statements = vec![branch(
        send,
        vec![set(request.valid, 1), set(request.data, number)],
        vec![when(request.ready, vec![set(request.valid, 0)])],
    )];
    statements.extend(turn.serve(or(send, not(wanted))));
    for (index, (state, client)) in states.iter().zip(clients).enumerate() {
        let sent = b.wire(&format!("send{index}"), and(send, turn.is(index)));
        statements.extend(state.serve(sent, client));
    }
    let beat = Level::new(&mut b, "beat", supply.bus.burst);
    let last = b.wire("last", and(data.valid, beat.at_end()));
    statements.push(when(data.valid, advance(vec![beat])));
    for index in 0..clients.len() {
        let output = b.output(&format!("out{index}"), supply.beat());
        let own = match &owners {
            None => Expr::Signal(data.valid),
            Some(owners) => and(data.valid, eq(owners.current, index as i64)),
        };
        let own = b.wire(&format!("take{index}"), own);
        statements.push(set(output.valid, own));
        statements.push(when(own, vec![set(output.data, data.data)]));
    }
    if let Some(owners) = owners {
        statements.extend(owners.serve(&mut b, send, last));
    }
    b.finish(statements)
}

/// What is known of a client.
struct State {
    /// Bursts for which it has room.
    owed: SignalId,
    /// The burst that comes next.
    number: SignalId,
    /// Says that it has room for more.
    more: Option<SignalId>,
}

impl State {
    fn new(b: &mut Builder, index: usize, client: &Client) -> Self {
        let owed = b.register(&format!("owed{index}"), Ty::holding(client.most.into()), client.at_start.into());
        let end = u64::from(client.first + client.bursts) - 1;
        let number = b.register(&format!("number{index}"), Ty::holding(end), client.first.into());
        let more = client.per_beat.map(|_| {
            let more = b.input(&format!("more{index}"), Ty::BIT);
            b.ready(more, Expr::Const(1));
            more.valid
        });
        Self { owed, number, more }
    }

    fn serve(&self, sent: SignalId, client: &Client) -> Vec<Statement> {
        let &Self { owed, number, more } = self;
        let mut statements = vec![when(sent, vec![set(number, client.after(number))])];
        let fewer = when(sent, vec![set(owed, sub(owed, 1))]);
        statements.push(match more.zip(client.per_beat) {
            None => fewer,
            Some((more, bursts)) => branch(more, vec![set(owed, sub(add(owed, i64::from(bursts)), sent))], vec![fewer]),
        });
        statements
    }
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
