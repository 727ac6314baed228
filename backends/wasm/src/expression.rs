//! Expressions as wasm.

use crate::code::Place;
use crate::emitter::{Emitter, Rep};
use crate::layout::{lane_bytes, value_bytes};
use lutweave_hw::rtl::{Expr, SignalKind, Ty};
use wasm_encoder::{BlockType, ValType};

/// Expressions of at most this many nodes are computed even where they may not be needed.
const SELECT_COST: u32 = 8;

impl Emitter<'_> {
    /// Pushes the exact value of a scalar expression.
    pub fn scalar(&mut self, expr: &Expr) -> Rep {
        let ty = self.ty(expr);
        let rep = Rep::of(ty);
        match expr {
            Expr::Const(value) => self.constant(*value, rep),
            Expr::Signal(id) => self.read_lane(*id, 0),
            Expr::Lane(id, lane) => self.read_lane(*id, *lane),
            Expr::LaneAt(id, index) => {
                let lane = self.module.signal(*id).ty.lane();
                let place = self.signal_place(*id);
                let place = self.indexed(place, index, self.module.signal(*id).ty.lanes, lane_bytes(lane));
                self.load(lane, place);
            }
            Expr::Add(a, b) => self.binary(a, b, rep, Operator::Add),
            Expr::Sub(a, b) => self.binary(a, b, rep, Operator::Sub),
            Expr::Mul(a, b) => self.binary(a, b, rep, Operator::Mul),
            Expr::Shl(a, by) => {
                self.scalar_as(a, rep);
                match rep {
                    Rep::I32 if *by < 32 => self.code.op().i32_const(*by as i32).i32_shl(),
                    Rep::I64 if *by < 64 => self.code.op().i64_const(i64::from(*by)).i64_shl(),
                    Rep::I32 => self.code.op().drop().i32_const(0),
                    Rep::I64 => self.code.op().drop().i64_const(0),
                };
            }
            Expr::Shr(a, by) => {
                let from = self.scalar(a);
                let unsigned = self.ty(a) == Ty::unsigned(64) && *by > 0;
                let mut op = self.code.op();
                match from {
                    Rep::I32 => op.i32_const((*by).min(31) as i32).i32_shr_s(),
                    Rep::I64 if unsigned => op.i64_const(i64::from((*by).min(63))).i64_shr_u(),
                    Rep::I64 => op.i64_const(i64::from((*by).min(63))).i64_shr_s(),
                };
                self.convert(from, rep);
            }
            Expr::ShrBy(a, by) => {
                let wide = self.ty(by).bits > 5;
                let work = if wide { Rep::I64 } else { rep };
                self.scalar_as(a, work);
                self.scalar_as(by, work);
                match work {
                    Rep::I32 => self.code.op().i32_shr_s(),
                    Rep::I64 => self.code.op().i64_shr_s(),
                };
                self.convert(work, rep);
            }
            Expr::Low(a, _) => {
                let from = self.scalar(a);
                self.wrap(from, self.ty(a), ty);
            }
            Expr::And(a, b) => {
                self.scalar(a);
                self.scalar(b);
                self.code.op().i32_and();
            }
            Expr::Or(a, b) => {
                self.scalar(a);
                self.scalar(b);
                self.code.op().i32_or();
            }
            Expr::Not(a) => {
                self.scalar(a);
                self.code.op().i32_eqz();
            }
            Expr::Eq(a, b) => self.compare(a, b, false),
            Expr::Lt(a, b) => self.compare(a, b, true),
            Expr::Mux(condition, a, b) => self.mux(condition, a, b, rep),
            Expr::Clamp(a, lo, hi) => self.clamp(a, *lo, *hi, rep),
            Expr::Pack(..) | Expr::Slice { .. } | Expr::SliceAt { .. } | Expr::Join(_) => self.lane(expr, 0),
            Expr::Rom(memory, address) => {
                let place = self.word(self.layout.memories[memory.0 as usize], ty, address);
                self.load(ty, place);
            }
        }
        rep
    }

    /// Pushes a scalar in a representation that holds it.
    pub fn scalar_as(&mut self, expr: &Expr, rep: Rep) {
        if let Expr::Const(value) = expr {
            self.constant(*value, rep);
            return;
        }
        let from = self.scalar(expr);
        self.convert(from, rep);
    }

    /// Pushes a scalar wrapped to a type, in the type's representation.
    pub fn scalar_to(&mut self, expr: &Expr, ty: Ty) {
        let from = self.scalar(expr);
        self.wrap(from, self.ty(expr), ty);
    }

    /// Pushes a scalar wrapped to a type, or more than that where a store drops the rest.
    fn scalar_to_stored(&mut self, expr: &Expr, ty: Ty) -> Rep {
        let from = self.scalar(expr);
        if ty.bits == 8 * lane_bytes(ty) {
            return from;
        }
        self.wrap(from, self.ty(expr), ty);
        Rep::of(ty)
    }

    fn constant(&mut self, value: i64, rep: Rep) {
        match rep {
            Rep::I32 => self.code.op().i32_const(value as i32),
            Rep::I64 => self.code.op().i64_const(value),
        };
    }

    fn convert(&mut self, from: Rep, to: Rep) {
        match (from, to) {
            (Rep::I32, Rep::I64) => {
                self.code.op().i64_extend_i32_s();
            }
            (Rep::I64, Rep::I32) => {
                self.code.op().i32_wrap_i64();
            }
            (Rep::I32, Rep::I32) | (Rep::I64, Rep::I64) => {}
        }
    }

    /// Wraps the value on the stack, of type `from_ty`, to a type.
    pub fn wrap(&mut self, from: Rep, from_ty: Ty, ty: Ty) {
        let to = Rep::of(ty);
        if fits(from_ty, ty) {
            self.convert(from, to);
            return;
        }
        self.convert(from, to);
        let mut op = self.code.op();
        match (to, ty.signed, ty.bits) {
            (Rep::I32, false, bits) => op.i32_const(((1u64 << bits) - 1) as i32).i32_and(),
            (Rep::I32, true, 32) => return,
            (Rep::I32, true, 8) => op.i32_extend8_s(),
            (Rep::I32, true, 16) => op.i32_extend16_s(),
            (Rep::I32, true, bits) => op.i32_const(32 - bits as i32).i32_shl().i32_const(32 - bits as i32).i32_shr_s(),
            (Rep::I64, _, 64) => return,
            (Rep::I64, false, bits) => op.i64_const(((1u64 << bits) - 1) as i64).i64_and(),
            (Rep::I64, true, bits) => {
                op.i64_const(64 - i64::from(bits)).i64_shl().i64_const(64 - i64::from(bits)).i64_shr_s()
            }
        };
    }

    fn binary(&mut self, a: &Expr, b: &Expr, rep: Rep, operator: Operator) {
        self.scalar_as(a, rep);
        self.scalar_as(b, rep);
        let mut op = self.code.op();
        match (operator, rep) {
            (Operator::Add, Rep::I32) => op.i32_add(),
            (Operator::Add, Rep::I64) => op.i64_add(),
            (Operator::Sub, Rep::I32) => op.i32_sub(),
            (Operator::Sub, Rep::I64) => op.i64_sub(),
            (Operator::Mul, Rep::I32) => op.i32_mul(),
            (Operator::Mul, Rep::I64) => op.i64_mul(),
        };
    }

    fn compare(&mut self, a: &Expr, b: &Expr, less: bool) {
        let narrow = Rep::of(self.ty(a)) == Rep::I32 && Rep::of(self.ty(b)) == Rep::I32;
        let rep = if narrow { Rep::I32 } else { Rep::I64 };
        self.scalar_as(a, rep);
        if let (Expr::Const(0), false) = (b, less) {
            match rep {
                Rep::I32 => self.code.op().i32_eqz(),
                Rep::I64 => self.code.op().i64_eqz(),
            };
            return;
        }
        self.scalar_as(b, rep);
        match (less, rep) {
            (false, Rep::I32) => self.code.op().i32_eq(),
            (false, Rep::I64) => self.code.op().i64_eq(),
            (true, Rep::I32) => self.code.op().i32_lt_s(),
            (true, Rep::I64) => self.code.op().i64_lt_s(),
        };
    }

    fn mux(&mut self, condition: &Expr, a: &Expr, b: &Expr, rep: Rep) {
        if self.cost(a) + self.cost(b) <= SELECT_COST {
            self.scalar_as(a, rep);
            self.scalar_as(b, rep);
            self.scalar(condition);
            self.code.op().select();
            return;
        }
        self.scalar(condition);
        self.if_else(
            BlockType::Result(rep.val()),
            |this| this.scalar_as(a, rep),
            Some(Box::new(|this| this.scalar_as(b, rep))),
        );
    }

    /// Nodes to compute; more than [`SELECT_COST`] where computing in vain may trap or is dear.
    fn cost(&self, expr: &Expr) -> u32 {
        match expr {
            Expr::Const(_) => 0,
            Expr::Signal(id) => self.read_cost(*id, 0),
            Expr::Lane(id, lane) => self.read_cost(*id, *lane),
            Expr::Add(a, b) | Expr::Sub(a, b) | Expr::And(a, b) | Expr::Or(a, b) | Expr::Eq(a, b) | Expr::Lt(a, b) => {
                1 + self.cost(a) + self.cost(b)
            }
            Expr::Mul(a, b) | Expr::ShrBy(a, b) => 3 + self.cost(a) + self.cost(b),
            Expr::Shl(a, _) | Expr::Shr(a, _) | Expr::Low(a, _) | Expr::Not(a) => 1 + self.cost(a),
            Expr::Clamp(a, ..) => 4 + self.cost(a),
            Expr::Mux(condition, a, b) => 1 + self.cost(condition) + self.cost(a) + self.cost(b),
            Expr::LaneAt(..)
            | Expr::Pack(..)
            | Expr::Slice { .. }
            | Expr::SliceAt { .. }
            | Expr::Join(_)
            | Expr::Rom(..) => SELECT_COST + 1,
        }
    }

    fn read_cost(&self, id: lutweave_hw::rtl::SignalId, lane: u32) -> u32 {
        if self.bound_lane(id, lane).is_some() {
            return 0;
        }
        let signal = self.module.signal(id);
        match &signal.kind {
            SignalKind::Wire(expr) if signal.ty.lanes == 1 => self.cost(expr),
            SignalKind::Wire(_) => SELECT_COST + 1,
            SignalKind::Register { .. }
            | SignalKind::InputValid
            | SignalKind::InputData
            | SignalKind::OutputReady
            | SignalKind::Parameter(_)
            | SignalKind::Stage { .. } => 1,
            SignalKind::PipelineValid(_) | SignalKind::EngineValid(_) => 2,
            SignalKind::EngineResult(_) => 3,
        }
    }

    fn clamp(&mut self, a: &Expr, lo: i64, hi: i64, rep: Rep) {
        let ty = self.ty(a);
        let (least, most) = ty.bounds();
        let narrow = Rep::of(ty) == Rep::I32 && i32::try_from(lo).is_ok() && i32::try_from(hi).is_ok();
        let work = if narrow { Rep::I32 } else { Rep::I64 };
        self.scalar_as(a, work);
        for (bound, needed, maximum) in [(lo, least < lo, true), (hi, most > hi, false)] {
            if !needed {
                continue;
            }
            let value = self.code.local(work.val());
            self.code.op().local_tee(value);
            self.constant(bound, work);
            self.code.op().local_get(value);
            self.constant(bound, work);
            let mut op = self.code.op();
            match (work, maximum) {
                (Rep::I32, true) => op.i32_gt_s(),
                (Rep::I32, false) => op.i32_lt_s(),
                (Rep::I64, true) => op.i64_gt_s(),
                (Rep::I64, false) => op.i64_lt_s(),
            };
            op.select();
        }
        self.convert(work, rep);
    }

    /// Pushes a lane of a vector (or scalar) expression.
    pub fn lane(&mut self, expr: &Expr, lane: u32) {
        match expr {
            Expr::Signal(id) => self.read_lane(*id, lane),
            Expr::Slice { signal, start, .. } => self.read_lane(*signal, start + lane),
            Expr::SliceAt { .. } => {
                let ty = self.ty(expr).lane();
                let place = self.place(expr).plus(lane * lane_bytes(ty));
                self.load(ty, place);
            }
            Expr::Pack(ty, lanes) => self.scalar_to(&lanes[lane as usize], ty.lane()),
            Expr::Join(parts) => {
                let mut lane = lane;
                for part in parts {
                    let lanes = self.ty(part).lanes;
                    if lane < lanes {
                        self.lane(part, lane);
                        return;
                    }
                    lane -= lanes;
                }
                unreachable!("invariant: the lane is one of the expression's");
            }
            Expr::Mux(condition, a, b) if self.ty(expr).lanes > 1 => {
                self.scalar(condition);
                let rep = Rep::of(self.ty(expr));
                self.if_else(
                    BlockType::Result(rep.val()),
                    |this| this.lane(a, lane),
                    Some(Box::new(|this| this.lane(b, lane))),
                );
            }
            Expr::Rom(..) => {
                let ty = self.ty(expr).lane();
                let place = self.place(expr).plus(lane * lane_bytes(ty));
                self.load(ty, place);
            }
            Expr::Const(_)
            | Expr::Lane(..)
            | Expr::LaneAt(..)
            | Expr::Add(..)
            | Expr::Sub(..)
            | Expr::Mul(..)
            | Expr::Shl(..)
            | Expr::Shr(..)
            | Expr::ShrBy(..)
            | Expr::Low(..)
            | Expr::And(..)
            | Expr::Or(..)
            | Expr::Not(_)
            | Expr::Eq(..)
            | Expr::Lt(..)
            | Expr::Mux(..)
            | Expr::Clamp(..) => {
                self.scalar(expr);
            }
        }
    }

    /// Where the value of an expression lies, in its type's layout.
    pub fn place(&mut self, expr: &Expr) -> Place {
        let ty = self.ty(expr);
        match expr {
            Expr::Signal(id) if ty.lanes > 1 => self.signal_place(*id),
            Expr::Slice { signal, start, .. } => self.signal_place(*signal).plus(start * lane_bytes(ty)),
            Expr::SliceAt { signal, index, lanes } => {
                let whole = self.module.signal(*signal).ty;
                let place = self.signal_place(*signal);
                self.indexed(place, index, whole.lanes / lanes, lanes * lane_bytes(whole))
            }
            Expr::Rom(memory, address) => self.word(self.layout.memories[memory.0 as usize], ty, address),
            _ => {
                let scratch = Place::fixed(self.image.reserve(value_bytes(ty)));
                self.store_value(expr, ty, scratch);
                scratch
            }
        }
    }

    /// The place of a word of a memory.
    pub fn word(&mut self, base: u32, ty: Ty, address: &Expr) -> Place {
        self.indexed(Place::fixed(base), address, u32::MAX, value_bytes(ty))
    }

    /// The place of element `index` (below `count`) behind a place. Indices far out of range,
    /// in values that nothing uses, are brought back so that they cannot trap.
    fn indexed(&mut self, place: Place, index: &Expr, count: u32, bytes: u32) -> Place {
        if let Expr::Const(index) = index {
            return place.plus(*index as u32 * bytes);
        }
        let ty = self.ty(index);
        let from = self.scalar(index);
        self.convert(from, Rep::I32);
        if count != u32::MAX && (ty.signed || ty.bits > 32 - count.leading_zeros()) {
            let index = self.code.keep(ValType::I32);
            self.code.op().local_get(index).i32_const(0).local_get(index).i32_const(count as i32).i32_lt_u().select();
        }
        if bytes > 1 {
            self.code.op().i32_const(bytes as i32).i32_mul();
        }
        if let Some(base) = place.base {
            self.code.op().local_get(base).i32_add();
        }
        let base = self.code.keep(ValType::I32);
        Place { base: Some(base), offset: place.offset }
    }

    /// Stores a value, each lane wrapped to the type, into a place that the expression does not
    /// read.
    pub fn store_value(&mut self, expr: &Expr, ty: Ty, place: Place) {
        let bytes = lane_bytes(ty);
        if ty.lanes == 1 && self.ty(expr).lanes == 1 {
            self.store_lane(ty, place, |this| this.scalar_to_stored(expr, ty));
            return;
        }
        match expr {
            Expr::Signal(id) if self.is_split(*id) => {
                for lane in 0..ty.lanes {
                    self.store_lane(ty, place.plus(lane * bytes), |this| {
                        this.read_lane(*id, lane);
                        Rep::of(ty)
                    });
                }
            }
            Expr::Mux(condition, a, b) => {
                self.scalar(condition);
                self.if_else(
                    BlockType::Empty,
                    |this| this.store_value(a, ty, place),
                    Some(Box::new(|this| this.store_value(b, ty, place))),
                );
            }
            Expr::Pack(_, lanes) => {
                for (lane, value) in lanes.iter().enumerate() {
                    let place = place.plus(lane as u32 * bytes);
                    self.store_lane(ty, place, |this| this.scalar_to_stored(value, ty.lane()));
                }
            }
            Expr::Join(parts) => {
                let mut place = place;
                for part in parts {
                    let part_ty = self.ty(part);
                    self.store_value(part, part_ty, place);
                    place = place.plus(value_bytes(part_ty));
                }
            }
            _ => {
                let from = self.place(expr);
                self.copy(from, place, value_bytes(ty));
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Operator {
    Add,
    Sub,
    Mul,
}

/// Whether every value of one lane type is one of another.
pub fn fits(value: Ty, ty: Ty) -> bool {
    match (value.signed, ty.signed) {
        (true, false) => false,
        (false, true) => value.bits < ty.bits,
        (true, true) | (false, false) => value.bits <= ty.bits,
    }
}
