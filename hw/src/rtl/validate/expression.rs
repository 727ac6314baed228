//! Checks of expressions.

use crate::rtl::expr::{Expr, union};
use crate::rtl::{Module, PipelineId, SignalId, SignalKind, Ty};

/// Who reads: it decides which signals may be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// The wire of that id.
    Wire(SignalId),
    /// A definition in that stage.
    Stage(PipelineId, u32),
    /// A statement.
    Statement,
}

/// Collects the errors of one module.
pub struct Checker<'a> {
    module: &'a Module,
    /// Errors so far.
    pub errors: Vec<String>,
    /// For each wire, whether it is over registers only.
    registered: Vec<bool>,
}

impl<'a> Checker<'a> {
    /// For a module whose ids are in range.
    pub fn new(module: &'a Module) -> Self {
        Self { module, errors: Vec::new(), registered: vec![true; module.signals.len()] }
    }

    /// Checks the definitions of all signals.
    pub fn signals(&mut self) {
        for (id, signal) in self.module.signals.iter().enumerate() {
            let id = SignalId(id as u32);
            match &signal.kind {
                SignalKind::Wire(value) => {
                    self.registered[id.0 as usize] = self.over_registers(value);
                    self.stored(value, signal.ty, Reader::Wire(id), &signal.name);
                }
                SignalKind::Stage { pipeline, stage, value } => {
                    self.definition(value, signal.ty, Reader::Stage(*pipeline, *stage), &signal.name);
                }
                SignalKind::InputValid | SignalKind::InputData | SignalKind::OutputReady => {
                    self.registered[id.0 as usize] = false;
                }
                SignalKind::Register { .. }
                | SignalKind::Parameter(_)
                | SignalKind::PipelineValid(_)
                | SignalKind::EngineValid(_)
                | SignalKind::EngineResult(_) => {}
            }
        }
        for input in &self.module.inputs {
            if !self.registered[input.ready.0 as usize] {
                self.errors.push(format!("`tready` of input `{}` depends on more than registers", input.name));
            }
        }
    }

    fn over_registers(&self, value: &Expr) -> bool {
        let mut registered = true;
        visit(value, &mut |id| registered &= self.registered.get(id.0 as usize).copied().unwrap_or(false));
        registered
    }

    /// A stage's definition, where a ROM may stand at the root.
    fn definition(&mut self, value: &Expr, ty: Ty, reader: Reader, what: &str) {
        let Expr::Rom(memory, address) = value else {
            self.stored(value, ty, reader, what);
            return;
        };
        match self.module.memories.get(memory.0 as usize) {
            Some(rom) if rom.contents.is_some() && rom.word == ty => {}
            _ => self.errors.push(format!("`{what}` is not the word of a ROM of its type")),
        }
        self.scalar(address, reader, what);
    }

    /// A value stored in something of type `ty`: a scalar wraps, and so do packed lanes; another
    /// vector is of that very type.
    pub fn stored(&mut self, value: &Expr, ty: Ty, reader: Reader, what: &str) {
        match self.typed(value, reader) {
            Ok(found) if found == ty || (found.lanes == 1 && ty.lanes == 1) => {}
            Ok(found) if found.lanes == ty.lanes && matches!(value, Expr::Pack(..)) => {}
            Ok(found) => self.errors.push(format!("`{what}` of {ty} takes a value of {found}")),
            Err(error) => self.errors.push(format!("`{what}`: {error}")),
        }
    }

    /// A scalar of any type.
    pub fn scalar(&mut self, value: &Expr, reader: Reader, what: &str) {
        match self.typed(value, reader) {
            Ok(ty) if ty.lanes == 1 => {}
            Ok(ty) => self.errors.push(format!("`{what}` needs a scalar, not {ty}")),
            Err(error) => self.errors.push(format!("`{what}`: {error}")),
        }
    }

    /// A condition.
    pub fn bit(&mut self, value: &Expr, reader: Reader, what: &str) {
        match self.typed(value, reader) {
            Ok(Ty::BIT) => {}
            Ok(ty) => self.errors.push(format!("`{what}` needs one bit, not {ty}")),
            Err(error) => self.errors.push(format!("`{what}`: {error}")),
        }
    }

    /// The type of a signal that the reader may read.
    fn readable(&self, id: SignalId, reader: Reader) -> Result<Ty, String> {
        let Some(signal) = self.module.signals.get(id.0 as usize) else {
            return Err(format!("signal {} does not exist", id.0));
        };
        let allowed = match (&signal.kind, reader) {
            (SignalKind::Parameter(own), Reader::Stage(pipeline, stage)) => *own == pipeline && stage == 0,
            (SignalKind::Stage { pipeline: own, stage: defined, .. }, Reader::Stage(pipeline, stage)) => {
                *own == pipeline && defined + 1 == stage
            }
            (SignalKind::Stage { pipeline, stage, .. }, Reader::Statement) => {
                self.module.pipelines.get(pipeline.0 as usize).is_some_and(|pipeline| stage + 1 == pipeline.stages)
            }
            (SignalKind::Parameter(_), Reader::Statement | Reader::Wire(_))
            | (SignalKind::Stage { .. }, Reader::Wire(_)) => false,
            (SignalKind::Wire(_), Reader::Wire(wire)) => id < wire,
            (
                SignalKind::Register { .. }
                | SignalKind::Wire(_)
                | SignalKind::InputValid
                | SignalKind::InputData
                | SignalKind::OutputReady
                | SignalKind::PipelineValid(_)
                | SignalKind::EngineValid(_)
                | SignalKind::EngineResult(_),
                reader,
            ) => matches!(reader, Reader::Wire(_) | Reader::Statement),
        };
        if allowed { Ok(signal.ty) } else { Err(format!("`{}` cannot be read here", signal.name)) }
    }

    /// The type of an expression, or what is wrong with it.
    fn typed(&self, value: &Expr, reader: Reader) -> Result<Ty, String> {
        let of = |value: &Expr| self.typed(value, reader);
        let scalar = |value: &Expr| match of(value)? {
            ty if ty.lanes == 1 => Ok(ty),
            ty => Err(format!("a vector of {ty} in arithmetic")),
        };
        let bit = |value: &Expr| match of(value)? {
            Ty::BIT => Ok(()),
            ty => Err(format!("{ty} where one bit is needed")),
        };
        let vector = |id: SignalId, end: u32| match self.readable(id, reader)? {
            ty if end <= ty.lanes => Ok(ty),
            ty => Err(format!("lane {} of a signal of {ty}", end - 1)),
        };
        match value {
            Expr::Const(_) => {}
            Expr::Signal(id) => {
                self.readable(*id, reader)?;
            }
            Expr::Lane(id, lane) => {
                vector(*id, lane + 1)?;
            }
            Expr::LaneAt(id, index) => {
                vector(*id, 1)?;
                scalar(index)?;
            }
            Expr::Add(a, b) | Expr::Sub(a, b) => fits(raw_union(scalar(a)?, scalar(b)?) + 1)?,
            Expr::Mul(a, b) => fits(scalar(a)?.bits + scalar(b)?.bits)?,
            Expr::Shl(a, by) => fits(scalar(a)?.bits.saturating_add(*by))?,
            Expr::Shr(a, _) => {
                scalar(a)?;
            }
            Expr::ShrBy(a, by) => {
                scalar(a)?;
                let by = scalar(by)?;
                if by.signed || by.bits > 6 {
                    return Err(format!("a shift by {by}"));
                }
            }
            Expr::Low(a, bits) => {
                scalar(a)?;
                if *bits == 0 || *bits > 64 {
                    return Err(format!("the low {bits} bits"));
                }
            }
            Expr::And(a, b) | Expr::Or(a, b) => {
                bit(a)?;
                bit(b)?;
            }
            Expr::Not(a) => bit(a)?,
            Expr::Eq(a, b) | Expr::Lt(a, b) => fits(raw_union(scalar(a)?, scalar(b)?))?,
            Expr::Mux(condition, a, b) => {
                bit(condition)?;
                let (a, b) = (of(a)?, of(b)?);
                if a.lanes == 1 && b.lanes == 1 {
                    fits(raw_union(a, b))?;
                } else if a != b {
                    return Err(format!("a choice between {a} and {b}"));
                }
            }
            Expr::Clamp(a, lo, hi) => {
                scalar(a)?;
                if lo > hi {
                    return Err(format!("a clamp to the empty range {lo} to {hi}"));
                }
            }
            Expr::Pack(ty, lanes) => {
                if lanes.is_empty() || ty.bits == 0 || ty.bits > 64 {
                    return Err(format!("a vector of {} lanes of {ty}", lanes.len()));
                }
                for lane in lanes {
                    scalar(lane)?;
                }
            }
            Expr::Slice { signal, start, lanes } => {
                if *lanes == 0 {
                    return Err("an empty slice".to_owned());
                }
                vector(*signal, start + lanes)?;
            }
            Expr::SliceAt { signal, index, lanes } => {
                scalar(index)?;
                let ty = vector(*signal, 1)?;
                if *lanes == 0 || ty.lanes % lanes != 0 {
                    return Err(format!("slices of {lanes} lanes of {ty}"));
                }
            }
            Expr::Join(parts) => {
                let types: Vec<Ty> = parts.iter().map(of).collect::<Result<_, _>>()?;
                if types.is_empty() || types.iter().any(|ty| ty.lane() != types[0].lane()) {
                    return Err("joined parts of different lanes".to_owned());
                }
            }
            Expr::Rom(..) => return Err("a ROM is read inside an expression".to_owned()),
        }
        Ok(value.ty(self.module))
    }
}

fn fits(bits: u32) -> Result<(), String> {
    if bits <= 64 { Ok(()) } else { Err(format!("a value of {bits} bits")) }
}

/// Bits of [`union`] without its limit.
fn raw_union(a: Ty, b: Ty) -> u32 {
    let (signed, unsigned) = if a.signed { (a, b) } else { (b, a) };
    if signed.signed && !unsigned.signed { signed.bits.max(unsigned.bits + 1) } else { union(a, b).bits }
}

/// Calls `see` for each signal in an expression.
fn visit(value: &Expr, see: &mut dyn FnMut(SignalId)) {
    value.signal().into_iter().for_each(&mut *see);
    value.for_each_operand(|operand| visit(operand, see));
}
