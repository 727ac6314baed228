//! One function body under construction.

use wasm_encoder::{Function, InstructionSink, MemArg, ValType};

/// Instructions with locals that are declared as they are needed.
pub struct Code {
    bytes: Vec<u8>,
    locals: Vec<ValType>,
    parameters: u32,
}

impl Code {
    /// An empty body of a function with so many parameters.
    pub fn new(parameters: u32) -> Self {
        Self { bytes: Vec::new(), locals: Vec::new(), parameters }
    }

    /// Appends instructions.
    pub fn op(&mut self) -> InstructionSink<'_> {
        InstructionSink::new(&mut self.bytes)
    }

    /// A fresh local.
    pub fn local(&mut self, ty: ValType) -> u32 {
        self.locals.push(ty);
        self.parameters + self.locals.len() as u32 - 1
    }

    /// Pops the top of the stack into a fresh local.
    pub fn keep(&mut self, ty: ValType) -> u32 {
        let local = self.local(ty);
        self.op().local_set(local);
        local
    }

    /// Pushes the base of a place.
    pub fn push_base(&mut self, place: Place) {
        match place.base {
            Some(local) => self.op().local_get(local),
            None => self.op().i32_const(0),
        };
    }

    /// The function, closed.
    pub fn finish(mut self) -> Function {
        self.op().end();
        let mut function = Function::new_with_locals_types(self.locals);
        function.raw(self.bytes);
        function
    }
}

/// A memory operand at a constant distance from the address on the stack.
pub fn at(offset: u32) -> MemArg {
    MemArg { offset: u64::from(offset), align: 0, memory_index: 0 }
}

/// An address: a local (or 0) and an offset.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Local of type i32.
    pub base: Option<u32>,
    /// Constant part.
    pub offset: u32,
}

impl Place {
    /// A constant address.
    pub fn fixed(offset: u32) -> Self {
        Self { base: None, offset }
    }

    /// A place behind this one.
    #[must_use]
    pub fn plus(self, bytes: u32) -> Self {
        Self { offset: self.offset + bytes, ..self }
    }
}

/// Copies bytes between places that do not overlap (or are equal).
pub fn copy(code: &mut Code, from: Place, to: Place, bytes: u32) {
    if bytes > 1024 {
        for place in [to, from] {
            code.push_base(place);
            code.op().i32_const(place.offset as i32).i32_add();
        }
        code.op().i32_const(bytes as i32).memory_copy(0, 0);
        return;
    }
    let mut done = 0;
    while done < bytes {
        let size = match bytes - done {
            16.. => 16,
            8.. => 8,
            4.. => 4,
            2.. => 2,
            _ => 1,
        };
        code.push_base(to);
        code.push_base(from);
        let (f, t) = (at(from.offset + done), at(to.offset + done));
        let mut op = code.op();
        match size {
            16 => op.v128_load(f).v128_store(t),
            8 => op.i64_load(f).i64_store(t),
            4 => op.i32_load(f).i32_store(t),
            2 => op.i32_load16_u(f).i32_store16(t),
            _ => op.i32_load8_u(f).i32_store8(t),
        };
        done += size;
    }
}
