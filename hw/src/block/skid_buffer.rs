//! Input registers for blocks that wait for several streams: `tready` of each stream must not
//! depend on the others.

use crate::rtl::build::{Builder, Input, branch, set, when};
use crate::rtl::expr::{Expr, and, not};
use crate::rtl::{SignalId, Statement, Ty};

/// A stream input with two places, so that it can take one beat per cycle.
#[derive(Clone, Copy, Debug)]
pub struct SkidBuffer {
    input: Input,
    ready: SignalId,
    /// 1 if [`SkidBuffer::data`] holds a beat.
    pub valid: SignalId,
    /// The oldest beat.
    pub data: SignalId,
    second_valid: SignalId,
    second_data: SignalId,
}

impl SkidBuffer {
    /// An input `name` with its places.
    pub fn new(builder: &mut Builder, name: &str, ty: Ty) -> Self {
        let input = builder.input(name, ty);
        let valid = builder.register(&format!("{name}_held"), Ty::BIT, 0);
        let data = builder.data_register(&format!("{name}_data"), ty);
        let second_valid = builder.register(&format!("{name}_second_held"), Ty::BIT, 0);
        let second_data = builder.data_register(&format!("{name}_second_data"), ty);
        let ready = builder.ready(input, not(second_valid));
        Self { input, ready, valid, data, second_valid, second_data }
    }

    /// Statements that take beats in, and give the oldest away where `take` is 1 (only while it
    /// is valid).
    pub fn serve(&self, take: impl Into<Expr>) -> Vec<Statement> {
        let arrives = and(self.input.valid, self.ready);
        vec![branch(
            take,
            vec![branch(
                self.second_valid,
                vec![set(self.data, self.second_data), set(self.second_valid, 0)],
                vec![set(self.valid, self.input.valid), when(self.input.valid, vec![set(self.data, self.input.data)])],
            )],
            vec![when(
                arrives,
                vec![branch(
                    self.valid,
                    vec![set(self.second_data, self.input.data), set(self.second_valid, 1)],
                    vec![set(self.data, self.input.data), set(self.valid, 1)],
                )],
            )],
        )]
    }
}
