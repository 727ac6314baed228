//! Gives beats to the stages that they are for: bursts come in the order in which they were asked for.

use super::Supply;
use crate::block::skid_buffer::SkidBuffer;
use crate::rtl::build::{Builder, Level, advance, set, when};
use crate::rtl::expr::{Expr, and, eq};
use crate::rtl::{Module, Ty};

/// See [`Supply::distribute`].
pub fn distribute(name: &str, supply: &Supply) -> Module {
    let count = supply.clients.len();
    let mut b = Builder::new(name, format!("Gives weights to {count} stage(s)."));
    let order = SkidBuffer::new(&mut b, "order", Ty::holding(count as u64 - 1));
    let data = b.input("data", supply.beat());
    let ready = b.ready(data, order.valid.into());
    let take = b.wire("take", and(data.valid, ready));
    let beat = Level::new(&mut b, "beat", supply.bus.burst);
    let last = b.wire("last", and(take, beat.at_end()));
    let mut statements = vec![when(take, advance(vec![beat]))];
    statements.extend(order.serve(last));
    for index in 0..count {
        let output = b.output(&format!("out{index}"), supply.beat());
        let own = if count == 1 { Expr::Signal(take) } else { and(take, eq(order.data, index as i64)) };
        let own = b.wire(&format!("take{index}"), own);
        statements.push(set(output.valid, own));
        statements.push(when(own, vec![set(output.data, data.data)]));
    }
    b.finish(statements)
}
