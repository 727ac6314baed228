//! State of the translation of one module into one function, and access to signals.
//!
//! All expressions of a cycle read old values. A scalar that was read, or that a later
//! statement may still read after it changes, is kept in a local; the scopes say which locals
//! are defined at the current point of the code.

use crate::code::{Code, Place, at, copy};
use crate::layout::{Cell, Image, ModuleLayout, lane_bytes, value_bytes};
use lutweave_hw::rtl::{EngineId, Expr, Module, PipelineId, SignalId, SignalKind, Ty};
use std::collections::{BTreeMap, BTreeSet};
use wasm_encoder::{BlockType, ValType};

/// How a scalar is held on the stack: sign- or zero-extended to this width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rep {
    /// Types within the signed 32-bit range.
    I32,
    /// All others.
    I64,
}

impl Rep {
    /// The representation of a lane of a type.
    pub fn of(ty: Ty) -> Self {
        if ty.bits + u32::from(!ty.signed) <= 32 { Self::I32 } else { Self::I64 }
    }

    /// The wasm type.
    pub fn val(self) -> ValType {
        match self {
            Self::I32 => ValType::I32,
            Self::I64 => ValType::I64,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum CellId {
    Pipeline(PipelineId),
    Engine(EngineId),
}

#[derive(Default)]
struct Scope {
    scalars: BTreeMap<(SignalId, u32), u32>,
    places: BTreeMap<SignalId, Place>,
    slots: BTreeMap<CellId, u32>,
    /// Vectors of which each lane is in a local.
    split: BTreeSet<SignalId>,
}

/// Emits a branch.
pub type Branch<'b, 'a> = Box<dyn FnOnce(&mut Emitter<'a>) + 'b>;

/// Local of the cycle number's low bits: the parameter of a module's function.
pub const NOW: u32 = 0;

/// Translates one module.
pub struct Emitter<'a> {
    /// The module.
    pub module: &'a Module,
    /// Its addresses.
    pub layout: &'a ModuleLayout,
    /// For scratch space and constants.
    pub image: &'a mut Image,
    /// The function.
    pub code: Code,
    /// Per flight word: locals of the old and the next value.
    pub flight: Vec<(u32, u32)>,
    /// Local that becomes nonzero when the module's state changes; `None`: always awake.
    pub active: Option<u32>,
    /// Per output: the flag that wakes the module that reads it.
    pub readers: Vec<Option<u32>>,
    scopes: Vec<Scope>,
}

impl<'a> Emitter<'a> {
    /// An empty function of one parameter.
    pub fn new(module: &'a Module, layout: &'a ModuleLayout, image: &'a mut Image) -> Self {
        Self {
            module,
            layout,
            image,
            code: Code::new(1),
            flight: Vec::new(),
            active: None,
            readers: Vec::new(),
            scopes: vec![Scope::default()],
        }
    }

    /// Type of an expression.
    pub fn ty(&self, expr: &Expr) -> Ty {
        expr.ty(self.module)
    }

    /// Runs `body` in code that may not be executed: what it makes available is forgotten.
    pub fn scoped<T>(&mut self, body: impl FnOnce(&mut Self) -> T) -> T {
        self.scopes.push(Scope::default());
        let result = body(self);
        self.scopes.pop();
        result
    }

    fn scope(&mut self) -> &mut Scope {
        self.scopes.last_mut().expect("invariant: the outermost scope stays")
    }

    /// Binds a lane to a local.
    pub fn bind_lane(&mut self, id: SignalId, lane: u32, local: u32) {
        self.scope().scalars.insert((id, lane), local);
    }

    /// Says that all lanes of a vector are bound to locals.
    pub fn bind_split(&mut self, id: SignalId) {
        self.scope().split.insert(id);
    }

    /// Binds a vector to a place.
    pub fn bind_place(&mut self, id: SignalId, place: Place) {
        self.scope().places.insert(id, place);
    }

    /// The local that holds a lane, if one does.
    pub fn bound_lane(&self, id: SignalId, lane: u32) -> Option<u32> {
        for scope in self.scopes.iter().rev() {
            if let Some(local) = scope.scalars.get(&(id, lane)) {
                return Some(*local);
            }
            if scope.places.contains_key(&id) {
                return None;
            }
        }
        None
    }

    /// Whether a vector is held in locals only.
    pub fn is_split(&self, id: SignalId) -> bool {
        for scope in self.scopes.iter().rev() {
            if scope.places.contains_key(&id) {
                return false;
            }
            if scope.split.contains(&id) {
                return true;
            }
        }
        false
    }

    fn bound_place(&self, id: SignalId) -> Option<Place> {
        for scope in self.scopes.iter().rev() {
            if let Some(place) = scope.places.get(&id) {
                return Some(*place);
            }
            if scope.split.contains(&id) {
                return None;
            }
        }
        None
    }

    /// Pushes a lane of a signal.
    pub fn read_lane(&mut self, id: SignalId, lane: u32) {
        if let Some(local) = self.bound_lane(id, lane) {
            self.code.op().local_get(local);
            return;
        }
        let module = self.module;
        let signal = module.signal(id);
        match &signal.kind {
            SignalKind::Wire(expr) if signal.ty.lanes == 1 => self.scalar_to(expr, signal.ty),
            SignalKind::Wire(Expr::Pack(_, lanes)) => self.scalar_to(&lanes[lane as usize], signal.ty.lane()),
            SignalKind::PipelineValid(pipeline) => self.flight_bit(&self.layout.pipelines[pipeline.0 as usize]),
            SignalKind::EngineValid(engine) => self.flight_bit(&self.layout.engines[engine.0 as usize]),
            SignalKind::Wire(_)
            | SignalKind::Register { .. }
            | SignalKind::InputValid
            | SignalKind::InputData
            | SignalKind::OutputReady
            | SignalKind::Parameter(_)
            | SignalKind::Stage { .. }
            | SignalKind::EngineResult(_) => {
                let place = self.signal_place(id).plus(lane * lane_bytes(signal.ty));
                self.load(signal.ty.lane(), place);
            }
        }
        let local = self.code.local(Rep::of(signal.ty).val());
        self.code.op().local_tee(local);
        self.bind_lane(id, lane, local);
    }

    /// Makes sure that later reads of a register in this scope give its present value.
    pub fn capture(&mut self, id: SignalId) {
        let ty = self.module.signal(id).ty;
        if ty.lanes == 1 {
            if self.bound_lane(id, 0).is_none() {
                self.read_lane(id, 0);
                self.code.op().drop();
            }
        } else if self.bound_place(id).is_none() {
            let copy = Place::fixed(self.image.reserve(value_bytes(ty)));
            let place = self.signal_place(id);
            self.copy(place, copy, value_bytes(ty));
            self.bind_place(id, copy);
        }
    }

    /// Where the lanes of a signal lie.
    pub fn signal_place(&mut self, id: SignalId) -> Place {
        if let Some(place) = self.bound_place(id) {
            return place;
        }
        let module = self.module;
        let signal = module.signal(id);
        let address = self.layout.signals[id.0 as usize];
        let place = match &signal.kind {
            SignalKind::Register { .. } | SignalKind::InputValid | SignalKind::InputData | SignalKind::OutputReady => {
                return Place::fixed(address);
            }
            SignalKind::Wire(expr) => match expr {
                // Not remembered: the place moves when the register it lies in is captured.
                Expr::Signal(_) | Expr::Slice { .. } | Expr::SliceAt { .. } => return self.place(expr),
                _ => {
                    self.store_value(expr, signal.ty, Place::fixed(address));
                    Place::fixed(address)
                }
            },
            SignalKind::EngineResult(engine) => Place { base: Some(self.slot(CellId::Engine(*engine))), offset: 0 },
            SignalKind::Stage { pipeline, .. } if !self.is_split(id) => {
                Place { base: Some(self.slot(CellId::Pipeline(*pipeline))), offset: address }
            }
            SignalKind::Parameter(_)
            | SignalKind::Stage { .. }
            | SignalKind::PipelineValid(_)
            | SignalKind::EngineValid(_) => {
                let scratch = Place::fixed(self.image.reserve(value_bytes(signal.ty)));
                for lane in 0..signal.ty.lanes {
                    self.store_lane(signal.ty, scratch.plus(lane * lane_bytes(signal.ty)), |this| {
                        this.read_lane(id, lane);
                        Rep::of(signal.ty)
                    });
                }
                scratch
            }
        };
        self.bind_place(id, place);
        place
    }

    /// Local with the address of the slot whose result is due in this cycle.
    fn slot(&mut self, id: CellId) -> u32 {
        if let Some(local) = self.scopes.iter().rev().find_map(|scope| scope.slots.get(&id).copied()) {
            return local;
        }
        let cell = self.cell(id).clone();
        let local = self.slot_of(&cell, cell.latency);
        self.scope().slots.insert(id, local);
        local
    }

    /// Local with the address of the slot of a launch so many cycles ago.
    pub fn slot_of(&mut self, cell: &Cell, ago: u32) -> u32 {
        self.code.op().local_get(NOW);
        if ago > 0 {
            self.code.op().i32_const(ago as i32).i32_sub();
        }
        self.code
            .op()
            .i32_const(cell.slots as i32 - 1)
            .i32_and()
            .i32_const(cell.slot_bytes as i32)
            .i32_mul()
            .i32_const(cell.ring as i32)
            .i32_add();
        self.code.keep(ValType::I32)
    }

    fn cell(&self, id: CellId) -> &'a Cell {
        match id {
            CellId::Pipeline(pipeline) => &self.layout.pipelines[pipeline.0 as usize],
            CellId::Engine(engine) => &self.layout.engines[engine.0 as usize],
        }
    }

    /// Pushes whether a result is due in this cycle.
    fn flight_bit(&mut self, cell: &Cell) {
        let bit = cell.first_bit + cell.latency - 1;
        let (word, _) = self.flight[bit as usize / 64];
        let mut op = self.code.op();
        op.local_get(word);
        if !bit.is_multiple_of(64) {
            op.i64_const(i64::from(bit % 64)).i64_shr_u();
        }
        op.i32_wrap_i64();
        if bit % 64 != 63 {
            op.i32_const(1).i32_and();
        }
    }

    /// Records a launch in this cycle.
    pub fn launched(&mut self, cell: &Cell) {
        let (_, next) = self.flight[cell.first_bit as usize / 64];
        let bit = 1u64 << (cell.first_bit % 64);
        self.code.op().local_get(next).i64_const(bit as i64).i64_or().local_set(next);
    }

    /// Loads the flight words and shifts them by one cycle.
    pub fn begin_flight(&mut self) {
        let flight = &self.layout.flight;
        for (number, &keep) in flight.keep.iter().enumerate() {
            let mut op = self.code.op();
            op.i32_const(0).i64_load(at(flight.address + 8 * number as u32));
            let old = self.code.keep(ValType::I64);
            let mut op = self.code.op();
            op.local_get(old).i64_const(1).i64_shl();
            if number > 0 && keep & 1 == 1 {
                let (before, _) = self.flight[number - 1];
                op.local_get(before).i64_const(63).i64_shr_u().i64_or();
            }
            op.i64_const(keep as i64).i64_and();
            let next = self.code.keep(ValType::I64);
            self.flight.push((old, next));
        }
    }

    /// Stores the flight words.
    pub fn end_flight(&mut self) {
        for (number, &(_, next)) in self.flight.iter().enumerate() {
            let address = self.layout.flight.address + 8 * number as u32;
            self.code.op().i32_const(0).local_get(next).i64_store(at(address));
        }
    }

    /// Pushes the base of a place.
    pub fn push_base(&mut self, place: Place) {
        self.code.push_base(place);
    }

    /// Pushes the scalar at a place.
    pub fn load(&mut self, ty: Ty, place: Place) {
        self.push_base(place);
        let m = at(place.offset);
        let mut op = self.code.op();
        match (lane_bytes(ty), ty.signed) {
            (1, false) => op.i32_load8_u(m),
            (1, true) => op.i32_load8_s(m),
            (2, false) => op.i32_load16_u(m),
            (2, true) => op.i32_load16_s(m),
            (4, false) if ty.bits == 32 => op.i64_load32_u(m),
            (4, _) => op.i32_load(m),
            _ => op.i64_load(m),
        };
    }

    /// Stores the scalar that `value` pushes, which is in the range of the lane.
    pub fn store_lane(&mut self, ty: Ty, place: Place, value: impl FnOnce(&mut Self) -> Rep) {
        self.push_base(place);
        let rep = value(self);
        let m = at(place.offset);
        let mut op = self.code.op();
        match (lane_bytes(ty), rep) {
            (1, Rep::I32) => op.i32_store8(m),
            (1, Rep::I64) => op.i64_store8(m),
            (2, Rep::I32) => op.i32_store16(m),
            (2, Rep::I64) => op.i64_store16(m),
            (4, Rep::I32) => op.i32_store(m),
            (4, Rep::I64) => op.i64_store32(m),
            (_, Rep::I32) => op.i64_extend_i32_s().i64_store(m),
            (_, Rep::I64) => op.i64_store(m),
        };
    }

    /// Copies bytes between places that do not overlap (or are equal).
    pub fn copy(&mut self, from: Place, to: Place, bytes: u32) {
        copy(&mut self.code, from, to, bytes);
    }

    /// `if` on the bit on the stack, with a branch for each case; empty branches cost nothing.
    pub fn if_else(&mut self, ty: BlockType, then: impl FnOnce(&mut Self), otherwise: Option<Branch<'_, 'a>>) {
        self.code.op().if_(ty);
        self.scoped(then);
        if let Some(otherwise) = otherwise {
            self.code.op().else_();
            self.scoped(otherwise);
        }
        self.code.op().end();
    }
}
