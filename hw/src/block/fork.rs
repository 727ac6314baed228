//! One stream copied to several consumers, each through its own queue. The queue of a skip
//! connection is as deep as what the other branches can hold back.

use super::fifo::Fifo;
use crate::rtl::build::Builder;
use crate::rtl::expr::{Expr, all, and};
use crate::rtl::{Module, Ty};

/// A fork with one queue of the given depth (at least 2) per branch. A single branch makes a
/// plain queue.
pub fn fork(name: &str, summary: &str, ty: Ty, depths: &[u32]) -> Module {
    let mut b = Builder::new(name, summary);
    let input = b.input("in", ty);
    let queues: Vec<Fifo> = depths
        .iter()
        .enumerate()
        .map(|(index, &depth)| {
            let port = if depths.len() == 1 { "out".to_owned() } else { format!("out{index}") };
            Fifo::new(&mut b, &port, ty, depth)
        })
        .collect();
    let ready = b.ready(input, all(queues.iter().map(Fifo::has_space)));
    let push = b.wire("push", and(input.valid, ready));
    let statements = queues.iter().flat_map(|queue| queue.serve(&Expr::Signal(push), input.data.into())).collect();
    b.finish(statements)
}

/// Takes and forgets a stream that nothing reads.
pub fn drain(name: &str, ty: Ty) -> Module {
    let mut b = Builder::new(name, "Takes a stream that nothing reads.");
    let input = b.input("in", ty);
    b.ready(input, Expr::Const(1));
    b.finish(Vec::new())
}
