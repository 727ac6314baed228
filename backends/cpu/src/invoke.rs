//! All unsafe code of this crate: the call into generated code, and what it needs to be sound.

use crate::program::ALIGNMENT;
use cranelift_jit::JITModule;
use cranelift_module::FuncId;

/// The entry point: inputs, outputs, arena, ROM.
type EntryPoint = unsafe extern "C" fn(*const *const u8, *const *mut u8, *mut u8, *const u8);

/// A cache line; arrays of it give the arena and the ROM their alignment.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([u8; ALIGNMENT]);

/// Memory that generated code works in, aligned as it needs.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    lines: Vec<Line>,
}

impl Lines {
    /// At least `size` zeros.
    pub fn zeros(size: usize) -> Self {
        Self { lines: vec![Line([0; ALIGNMENT]); size.div_ceil(ALIGNMENT)] }
    }

    /// A copy of bytes, followed by zeros.
    pub fn copy_of(bytes: &[u8]) -> Self {
        let mut lines = Self::zeros(bytes.len());
        for (line, bytes) in lines.lines.iter_mut().zip(bytes.chunks(ALIGNMENT)) {
            line.0[..bytes.len()].copy_from_slice(bytes);
        }
        lines
    }

    /// Bytes in all.
    pub fn size(&self) -> usize {
        self.lines.len() * ALIGNMENT
    }
}

/// Sizes of the arrays that an entry point reads and writes.
#[derive(Clone, Debug)]
pub(crate) struct Extents {
    pub inputs: Vec<usize>,
    pub outputs: Vec<usize>,
    pub arena: usize,
}

/// Executable code with its constants.
pub(crate) struct Code {
    /// Taken when dropped; until then only kept.
    module: Option<JITModule>,
    entry: EntryPoint,
    rom: Lines,
    extents: Extents,
}

// SAFETY: the module is not used between construction and drop, which needs exclusive access. The
// code and the ROM are not written after construction, and a call writes only to its arguments.
unsafe impl Send for Code {}
// SAFETY: as above.
unsafe impl Sync for Code {}

impl Code {
    /// Takes over a finalized module.
    ///
    /// `entry` must have been defined with [`crate::assemble::Interface::Tables`] from a program
    /// with these constants, and touch no byte outside arrays of these extents.
    pub fn new(module: JITModule, entry: FuncId, rom: &[u8], extents: Extents) -> Self {
        let pointer = module.get_finalized_function(entry);
        // SAFETY: the function was defined with four pointer parameters, no result, and the
        // default calling convention of the host, which `extern "C"` is.
        let entry = unsafe { std::mem::transmute::<*const u8, EntryPoint>(pointer) };
        Self { module: Some(module), entry, rom: Lines::copy_of(rom), extents }
    }

    pub fn extents(&self) -> &Extents {
        &self.extents
    }

    /// Runs the code once.
    ///
    /// # Panics
    /// If the number or size of the arrays is not what the code was compiled for.
    pub fn call(&self, inputs: &[&[u8]], outputs: &mut [&mut [u8]], arena: &mut Lines) {
        assert!(inputs.iter().map(|input| input.len()).eq(self.extents.inputs.iter().copied()));
        assert!(outputs.iter().map(|output| output.len()).eq(self.extents.outputs.iter().copied()));
        assert!(arena.size() >= self.extents.arena);
        let inputs: Vec<*const u8> = inputs.iter().map(|input| input.as_ptr()).collect();
        let outputs: Vec<*mut u8> = outputs.iter_mut().map(|output| output.as_mut_ptr()).collect();
        let arena = arena.lines.as_mut_ptr().cast::<u8>();
        let rom = self.rom.lines.as_ptr().cast::<u8>();
        // SAFETY: the code belongs to `self.module`, which is alive. It reads exactly the inputs'
        // bytes, writes exactly the outputs' bytes, and stays inside the arena and the ROM, whose
        // sizes were checked or come from the same program. The arrays do not overlap: outputs
        // and arena are exclusive borrows.
        unsafe { (self.entry)(inputs.as_ptr(), outputs.as_ptr(), arena, rom) }
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        if let Some(module) = self.module.take() {
            // SAFETY: calls borrow `self`, so none is running and none can follow.
            unsafe { module.free_memory() }
        }
    }
}
