//! Random expressions and statements against the reference, register by register.

use crate::support::{chain, compare};
use lutweave_hw::rtl::build::{Builder, set, when};
use lutweave_hw::rtl::expr::{Expr, add, and, eq, lt, mul, mux, not, or, sub};
use lutweave_hw::rtl::{Module, SignalId, Statement, Ty};
use proptest::prelude::*;

/// Wider intermediate values are not built.
const WIDEST: u32 = 44;

struct Generator {
    b: Builder,
    state: u64,
    scalars: Vec<(SignalId, Ty)>,
    /// Vectors of 4 or 8 lanes.
    vectors: Vec<(SignalId, Ty)>,
}

impl Generator {
    fn below(&mut self, count: u64) -> u64 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % count
    }

    fn ty(&mut self) -> Ty {
        let bits = [1, 3, 4, 7, 8, 9, 13, 16, 17, 24, 31, 32, 33, 40][self.below(14) as usize];
        Ty { lanes: 1, bits, signed: self.below(2) == 0 }
    }

    fn pick(&mut self, from: &[(SignalId, Ty)]) -> (SignalId, Ty) {
        from[self.below(from.len() as u64) as usize]
    }

    fn scalar(&mut self, depth: u32) -> Expr {
        loop {
            let expr = self.any_scalar(depth);
            if self.b.ty(&expr).bits <= WIDEST {
                return expr;
            }
        }
    }

    fn any_scalar(&mut self, depth: u32) -> Expr {
        if depth == 0 {
            let (vector, ty) = self.pick(&self.vectors.clone());
            let (scalar, _) = self.pick(&self.scalars.clone());
            return match self.below(6) {
                0 => Expr::Const(self.below(1 << 20) as i64 - (1 << 19)),
                1 => Expr::Const(self.below(5) as i64 - 2),
                2 => Expr::Lane(vector, self.below(ty.lanes.into()) as u32),
                _ => scalar.into(),
            };
        }
        let a = self.scalar(depth - 1);
        let boxed = |expr: Expr| Box::new(expr);
        match self.below(13) {
            0 => add(a, self.scalar(depth - 1)),
            1 => sub(a, self.scalar(depth - 1)),
            2 => mul(a, self.scalar(depth - 1)),
            3 => Expr::Shl(boxed(a), self.below(9) as u32),
            4 => Expr::Shr(boxed(a), self.below(40) as u32),
            5 => Expr::ShrBy(boxed(a), boxed(self.low(depth - 1, 6))),
            6 => Expr::ShrBy(boxed(a), boxed(self.low(depth - 1, 3))),
            7 => self.low(depth - 1, 1 + (self.state >> 60) as u32 * 2),
            8 => self.bit(depth - 1),
            9 | 10 => mux(self.bit(depth - 1), a, self.scalar(depth - 1)),
            11 => {
                let lo = self.below(1 << 12) as i64 - (1 << 11);
                Expr::Clamp(boxed(a), lo, lo + (1 << self.below(34)))
            }
            _ => {
                let (vector, ty) = self.pick(&self.vectors.clone());
                Expr::LaneAt(vector, boxed(self.low(depth - 1, ty.lanes.trailing_zeros())))
            }
        }
    }

    fn low(&mut self, depth: u32, bits: u32) -> Expr {
        Expr::Low(Box::new(self.scalar(depth)), bits)
    }

    fn bit(&mut self, depth: u32) -> Expr {
        let (a, b) = (self.scalar(depth), self.scalar(depth));
        let deeper = depth.saturating_sub(1);
        match self.below(6) {
            0 => eq(self.low(deeper, 1), 1),
            1 => eq(a, b),
            2 if depth > 0 => and(self.bit(deeper), self.bit(deeper)),
            3 if depth > 0 => or(self.bit(deeper), self.bit(deeper)),
            4 if depth > 0 => not(self.bit(deeper)),
            _ => lt(a, b),
        }
    }

    fn vector(&mut self, ty: Ty, depth: u32) -> Expr {
        let same: Vec<_> = self.vectors.iter().copied().filter(|(_, other)| *other == ty).collect();
        let half = Ty { lanes: ty.lanes / 2, ..ty };
        match self.below(6) {
            0 | 1 if !same.is_empty() => self.pick(&same).0.into(),
            2 if depth > 0 => {
                let condition = self.bit(1);
                Expr::Mux(
                    Box::new(condition),
                    Box::new(self.vector(ty, depth - 1)),
                    Box::new(self.vector(ty, depth - 1)),
                )
            }
            3 if depth > 0 && !same.is_empty() => {
                let (vector, _) = self.pick(&same);
                let slice = if self.below(2) == 0 {
                    Expr::Slice {
                        signal: vector,
                        start: self.below(u64::from(half.lanes) + 1) as u32,
                        lanes: half.lanes,
                    }
                } else {
                    Expr::SliceAt { signal: vector, index: Box::new(self.low(1, 1)), lanes: half.lanes }
                };
                let other = self.vector(half, depth - 1);
                Expr::Join(if self.below(2) == 0 { vec![slice, other] } else { vec![other, slice] })
            }
            _ => Expr::Pack(ty.lane(), (0..ty.lanes).map(|_| self.scalar(2)).collect()),
        }
    }

    /// Statements that set some of the registers, each at most once on a path.
    fn block(&mut self, registers: &[(SignalId, Ty)], depth: u32) -> Vec<Statement> {
        let mut inner = vec![];
        let mut statements = vec![];
        for &(register, ty) in registers {
            match self.below(3) {
                0 if depth > 0 => inner.push((register, ty)),
                1 => {}
                _ => {
                    let value = if ty.lanes > 1 { self.vector(ty, 2) } else { self.scalar(3) };
                    statements.push(set(register, value));
                }
            }
        }
        if !inner.is_empty() {
            let condition = self.bit(2);
            let (then, otherwise) = (self.block(&inner, depth - 1), self.block(&inner, depth - 1));
            let position = self.below(statements.len() as u64 + 1) as usize;
            statements.insert(position, Statement::If { condition, then, otherwise });
        }
        statements
    }
}

fn module(seed: u64) -> Module {
    let mut g = Generator { b: Builder::new("random", "random"), state: seed, scalars: vec![], vectors: vec![] };
    let word = Ty::signed(8).by(4);
    let input = g.b.input("in", word);
    let out_ty = Ty { lanes: 4, ..g.ty() };
    let output = g.b.output("out", out_ty);
    let other_ty = Ty { lanes: 8, ..g.ty() };
    let mut registers = vec![];
    for number in 0..6 {
        let ty = g.ty();
        let reset = if ty.signed { -1 } else { 1 };
        registers.push((g.b.register(&format!("r{number}"), ty, reset), ty));
    }
    g.scalars = registers.clone();
    g.scalars.extend([(input.valid, Ty::BIT), (output.valid, Ty::BIT), (output.ready, Ty::BIT)]);
    for (number, ty) in [out_ty, out_ty, other_ty, other_ty].into_iter().enumerate() {
        let register = (g.b.data_register(&format!("v{number}"), ty), ty);
        g.vectors.push(register);
        registers.push(register);
    }
    for number in 0..3 {
        let value = g.scalar(3);
        let ty = g.b.ty(&value);
        let wire = g.b.wire(&format!("w{number}"), value);
        g.scalars.push((wire, ty));
        let ty = if number == 0 { other_ty } else { out_ty };
        let value = g.vector(ty, 2);
        let wire = g.b.wire(&format!("x{number}"), value);
        g.vectors.push((wire, ty));
    }
    let ready = g.b.ready(input, not(output.valid));
    let take = g.b.wire("take", and(input.valid, ready));
    let mut statements = g.block(&registers, 3);
    let outside = (g.scalars.clone(), g.vectors.clone());

    // A pipeline of random stages, launched by each beat.
    let (pipe, p) = g.b.pipeline("pipe", &[("s", Ty::signed(12)), ("v", out_ty)]);
    (g.scalars, g.vectors) = (vec![(p[0], Ty::signed(12))], vec![(p[1], out_ty)]);
    for _ in 0..1 + seed % 5 {
        g.b.next_stage(pipe);
        let values: Vec<Expr> = (0..2).map(|_| g.scalar(2)).collect();
        let vector = g.vector(out_ty, 2);
        g.scalars.clear();
        for value in values {
            let ty = g.b.ty(&value);
            let signal = g.b.stage(pipe, "s", value);
            g.scalars.push((signal, ty));
        }
        g.vectors = vec![(g.b.stage(pipe, "v", vector), out_ty)];
    }
    let results = (g.scalars.clone(), g.vectors.clone());
    (g.scalars, g.vectors) = outside.clone();
    g.vectors.push((input.data, word));
    let launch = Statement::Launch {
        pipeline: pipe,
        arguments: vec![Expr::Low(Box::new(g.scalar(2)), 11), g.vector(out_ty, 2)],
    };
    let scalar = g.b.data_register("launched", Ty::signed(20));
    let taken = vec![launch, set(scalar, g.scalar(3))];
    g.scalars.extend(results.0);
    g.vectors = outside.1;
    g.vectors.extend(results.1);
    let delivered = vec![set(output.data, g.vector(out_ty, 2)), set(output.valid, 1)];
    let busy = g.b.register("busy", Ty::BIT, 0);
    let valid = g.b.valid_of(pipe);
    statements.push(when(and(take, not(busy)), [taken, vec![set(busy, 1)]].concat()));
    statements.push(when(valid, delivered));
    statements.push(when(and(output.valid, output.ready), vec![set(output.valid, 0), set(busy, 0)]));
    let mut module = g.b.finish(statements);
    // The input is ready while nothing is under way.
    let ready = module.inputs[0].ready;
    module.signals[ready.0 as usize].kind = lutweave_hw::rtl::SignalKind::Wire(and(not(output.valid), not(busy)));
    module
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn random_modules_agree_with_the_reference(seed in any::<u64>()) {
        compare(&chain(vec![module(seed)], 12, 12), 2, seed);
    }
}
