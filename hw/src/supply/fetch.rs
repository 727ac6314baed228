//! Asks for bursts, one stage after the other.
//!
//! Each turn goes to the next stage that has room. What stages need of the memory may differ; as long as it is less
//! than the memory gives in sum, each gets what it needs, because turns that one does not take go to the others.

use super::{Client, Supply};
use crate::rtl::build::{Builder, add_modulo, branch, set, when};
use crate::rtl::expr::{Expr, add, and, eq, lt, mux, not, or, sub};
use crate::rtl::{Module, Ty};

/// See [`Supply::fetch`].
pub fn fetch(name: &str, supply: &Supply) -> Module {
    let count = supply.clients.len() as u32;
    let mut b = Builder::new(name, format!("Asks for the weights of {count} stage(s), burst by burst."));
    let request = b.output("request", supply.number());
    let order = b.output("order", Ty::holding(u64::from(count - 1)));
    let turn = (count > 1).then(|| b.register("turn", Ty::holding(u64::from(count - 1)), 0));
    let is_turn = |client: usize| turn.map_or(Expr::Const(1), |turn| eq(turn, client as i64));
    let mut streams = 0;
    let clients: Vec<_> = supply
        .clients
        .iter()
        .enumerate()
        .map(|(index, client)| {
            let Client { first, bursts, per_tile, ahead } = *client;
            let room = ahead.map_or(bursts, |tiles| tiles * per_tile);
            let owed = b.register(&format!("owed{index}"), Ty::holding(room.into()), room.into());
            let number = b.register(&format!("number{index}"), supply.number(), first.into());
            let used = ahead.map(|_| {
                let used = b.input(&format!("used{streams}"), Ty::BIT);
                streams += 1;
                b.ready(used, Expr::Const(1));
                used.valid
            });
            (owed, number, used)
        })
        .collect();
    let wanted = (0..clients.len()).map(|index| and(is_turn(index), not(eq(clients[index].0, 0)))).reduce(or);
    let wanted = b.wire("wanted", wanted.unwrap_or(Expr::Const(0)));
    let free = |valid, ready| or(not(valid), ready);
    let free = and(free(request.valid, request.ready), free(order.valid, order.ready));
    let send = b.wire("send", and(wanted, free));
    let numbers = clients.iter().enumerate().map(|(index, client)| (index, Expr::Signal(client.1)));
    let number = numbers.reduce(|(_, others), (index, number)| (index, mux(is_turn(index), number, others)));
    let number = number.map_or(Expr::Const(0), |(_, number)| number);
    let owner = turn.map_or(Expr::Const(0), Expr::Signal);
    let mut statements = vec![branch(
        send,
        vec![set(request.valid, 1), set(request.data, number), set(order.valid, 1), set(order.data, owner)],
        vec![when(request.ready, vec![set(request.valid, 0)]), when(order.ready, vec![set(order.valid, 0)])],
    )];
    if let Some(turn) = turn {
        statements.push(when(or(send, not(wanted)), vec![set(turn, add_modulo(turn, 1, count))]));
    }
    for (index, (&(owed, number, used), client)) in clients.iter().zip(&supply.clients).enumerate() {
        let sent = b.wire(&format!("send{index}"), and(send, is_turn(index)));
        let end = i64::from(client.first + client.bursts) - 1;
        let next = mux(lt(number, end), add(number, 1), i64::from(client.first));
        statements.push(when(sent, vec![set(number, next)]));
        let fewer = when(sent, vec![set(owed, sub(owed, 1))]);
        statements.push(match used {
            None => fewer,
            Some(used) => branch(used, vec![set(owed, sub(add(owed, i64::from(client.per_tile)), sent))], vec![fewer]),
        });
    }
    b.finish(statements)
}
