//! From kernels to Cranelift functions.
//!
//! Kernels are written in the order in which their instructions should run: nothing optimizes
//! them afterwards. Every kernel function takes the arena, the ROM and, for kernels at the
//! boundary, the caller's array.

mod argmax;
mod copy;
mod dense;
mod depthwise;
mod gather;
mod pointwise;
mod pool;
pub(crate) mod requantize;
mod top_peaks;
mod vector;

use crate::program::{Kernel, Location, Space, Step};
use crate::target::Capabilities;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{BlockArg, InstBuilder, MemFlagsData, Type, Value, types};
use cranelift_frontend::FunctionBuilder;
use requantize::Tables;

/// Parameters of a kernel function.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parameters {
    pub arena: Value,
    pub rom: Value,
    /// The caller's array, where the step has one.
    pub external: Value,
}

/// Writes the instructions of one function.
pub(crate) struct Emitter<'a, 'b> {
    builder: &'a mut FunctionBuilder<'b>,
    capabilities: Capabilities,
    pointer: Type,
    parameters: Parameters,
    /// Offset of every buffer in the arena.
    offsets: &'a [usize],
}

/// Where the data of a block of output channels is.
#[derive(Clone, Copy)]
struct Pointers {
    source: Value,
    target: Value,
    weights: Value,
    biases: Value,
    tables: Tables,
}

/// The body of a loop: gets the pointers and the carried values, returns the next carried values.
type CarryBody<'f, E> = dyn FnMut(&mut E, &[Value], Vec<Value>) -> Vec<Value> + 'f;

/// Emits the kernels of a step into the current block.
pub(crate) fn emit(
    builder: &mut FunctionBuilder,
    capabilities: Capabilities,
    pointer: Type,
    parameters: Parameters,
    offsets: &[usize],
    step: &Step,
) {
    let mut emitter = Emitter { builder, capabilities, pointer, parameters, offsets };
    for kernel in &step.kernels {
        match kernel {
            Kernel::Copy(copy) => emitter.copy(copy),
            Kernel::Fill(fill) => emitter.fill(fill),
            Kernel::Gather(gather) => emitter.gather(gather),
            Kernel::Dense(dense) => emitter.dense(dense),
            Kernel::Depthwise(depthwise) => emitter.depthwise(depthwise),
            Kernel::Pool(pool) => emitter.pool(pool),
            Kernel::Pointwise(pointwise) => emitter.pointwise(pointwise),
            Kernel::Lookup(lookup) => emitter.lookup(lookup),
            Kernel::ArgMax(argmax) => emitter.argmax(argmax),
            Kernel::TopPeaks(peaks) => emitter.top_peaks(peaks),
        }
    }
}

/// Every access stays inside the arena, the ROM or the caller's arrays.
fn memory() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

fn offset(value: usize) -> i32 {
    i32::try_from(value).expect("invariant: sizes are checked to be below 2 GiB")
}

impl Emitter<'_, '_> {
    fn address(&mut self, location: Location) -> Value {
        let (base, start) = match location.space {
            Space::Buffer(buffer) => (self.parameters.arena, self.offsets[buffer]),
            Space::Rom => (self.parameters.rom, 0),
            Space::Input(_) | Space::Output(_) => (self.parameters.external, 0),
        };
        self.plus(base, start + location.offset)
    }

    fn rom(&mut self, offset: usize) -> Value {
        self.address(Location::rom(offset))
    }

    fn plus(&mut self, pointer: Value, bytes: usize) -> Value {
        if bytes == 0 { pointer } else { self.builder.ins().iadd_imm_s(pointer, bytes as i64) }
    }

    /// Runs `body` `count` times. It gets the pointers, each advanced by its stride after every
    /// turn, and the carried values, and returns the next carried values.
    fn carry(
        &mut self,
        count: usize,
        pointers: &[(Value, usize)],
        carried: Vec<Value>,
        body: &mut CarryBody<Self>,
    ) -> Vec<Value> {
        let starts: Vec<Value> = pointers.iter().map(|&(pointer, _)| pointer).collect();
        match count {
            0 => return carried,
            1 => return body(self, &starts, carried),
            _ => {}
        }
        let turns = self.builder.ins().iconst(types::I64, count as i64);
        let header = self.builder.create_block();
        let exit = self.builder.create_block();
        let moving: Vec<bool> = pointers.iter().map(|&(_, stride)| stride != 0).collect();
        let mut entry = vec![turns];
        entry.extend(starts.iter().zip(&moving).filter(|(_, moving)| **moving).map(|(start, _)| *start));
        entry.extend(&carried);
        self.jump(header, &entry);
        self.builder.switch_to_block(header);
        let parameters: Vec<Value> = entry
            .iter()
            .map(|&value| {
                let ty = self.builder.func.dfg.value_type(value);
                self.builder.append_block_param(header, ty)
            })
            .collect();
        let mut next_parameter = parameters[1..].iter().copied();
        let current: Vec<Value> = starts
            .iter()
            .zip(&moving)
            .map(|(&start, &moving)| if moving { next_parameter.next().unwrap_or(start) } else { start })
            .collect();
        let carried = body(self, &current, next_parameter.collect());
        let left = self.builder.ins().iadd_imm_s(parameters[0], -1);
        let mut again = vec![left];
        for (&value, &(_, stride)) in current.iter().zip(pointers) {
            if stride != 0 {
                again.push(self.plus(value, stride));
            }
        }
        again.extend(&carried);
        let types: Vec<Type> = carried.iter().map(|&value| self.builder.func.dfg.value_type(value)).collect();
        let results: Vec<Value> = types.into_iter().map(|ty| self.builder.append_block_param(exit, ty)).collect();
        let arguments = |values: &[Value]| values.iter().map(|&value| BlockArg::Value(value)).collect::<Vec<_>>();
        let (again, done) = (arguments(&again), arguments(&carried));
        self.builder.ins().brif(left, header, &again, exit, &done);
        self.builder.switch_to_block(exit);
        results
    }

    /// Runs `body` `count` times with pointers that advance.
    fn repeat(&mut self, count: usize, pointers: &[(Value, usize)], body: &mut dyn FnMut(&mut Self, &[Value])) {
        self.carry(count, pointers, Vec::new(), &mut |emitter, pointers, carried| {
            body(emitter, pointers);
            carried
        });
    }

    /// Walks over `columns` pixels in tiles of `tile`, which is at most `columns`. The last tile
    /// starts early enough to end at the last pixel, so pixels may be computed twice.
    fn tiles(
        &mut self,
        columns: usize,
        tile: usize,
        pointers: [(Value, usize); 2],
        body: &mut dyn FnMut(&mut Self, [Value; 2]),
    ) {
        if columns.is_multiple_of(tile) {
            let strided = pointers.map(|(pointer, stride)| (pointer, stride * tile));
            return self.repeat(columns / tile, &strided, &mut |emitter, current| {
                body(emitter, [current[0], current[1]]);
            });
        }
        let zero = self.builder.ins().iconst(self.pointer, 0);
        self.repeat(columns.div_ceil(tile), &[(zero, tile)], &mut |emitter, current| {
            let last = emitter.builder.ins().iconst(emitter.pointer, (columns - tile) as i64);
            let early = emitter.builder.ins().icmp(IntCC::UnsignedLessThan, current[0], last);
            let start = emitter.builder.ins().select(early, current[0], last);
            let moved = pointers.map(|(pointer, stride)| {
                let distance = emitter.builder.ins().imul_imm_s(start, stride as i64);
                emitter.builder.ins().iadd(pointer, distance)
            });
            body(emitter, moved);
        });
    }

    fn jump(&mut self, block: cranelift_codegen::ir::Block, values: &[Value]) {
        let arguments: Vec<BlockArg> = values.iter().map(|&value| BlockArg::Value(value)).collect();
        self.builder.ins().jump(block, &arguments);
    }
}
