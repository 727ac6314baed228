//! Gives what a stream brings after a reset to the clients that it is for, one after the other. It never waits; what comes after all of it
//! is dropped.

use super::Supply;
use crate::rtl::build::{Builder, set, when};
use crate::rtl::expr::{Expr, add, all, and, lt, not};
use crate::rtl::{Module, Ty};

/// See [`Supply::reader`].
pub fn loader(name: &str, supply: &Supply) -> Module {
    let clients = &supply.clients;
    let mut b = Builder::new(name, format!("Gives what is loaded after a reset to {} layer(s).", clients.len()));
    let data = b.input("data", supply.beat());
    let beat = b.register("beat", Ty::holding(supply.bursts.into()), 0);
    b.ready(data, Expr::Const(1));
    let take = b.wire("take", and(data.valid, lt(beat, i64::from(supply.bursts))));
    let mut statements = vec![when(take, vec![set(beat, add(beat, 1))])];
    for (index, client) in clients.iter().enumerate() {
        let output = b.output(&format!("out{index}"), supply.beat());
        let mut own: Vec<Expr> = vec![take.into()];
        if index > 0 {
            own.push(not(lt(beat, i64::from(client.first))));
        }
        if index + 1 < clients.len() {
            own.push(lt(beat, i64::from(client.first + client.bursts)));
        }
        let own = b.wire(&format!("take{index}"), all(own));
        statements.push(set(output.valid, own));
        statements.push(when(own, vec![set(output.data, data.data)]));
    }
    b.finish(statements)
}
