//! Vector idioms that Cranelift matches to single instructions.

use super::{Emitter, memory, offset};
use cranelift_codegen::ir::immediates::Ieee64;
use cranelift_codegen::ir::types::{F64X2, I8, I8X16, I16, I16X8, I32, I32X4, I64, I64X2};
use cranelift_codegen::ir::{ConstantData, Endianness, InstBuilder, MemFlagsData, Type, Value};

impl Emitter<'_, '_> {
    pub(super) fn load(&mut self, ty: Type, pointer: Value, at: usize) -> Value {
        self.builder.ins().load(ty, memory(), pointer, offset(at))
    }

    pub(super) fn store(&mut self, value: Value, pointer: Value, at: usize) {
        self.builder.ins().store(memory(), value, pointer, offset(at));
    }

    /// The same bits as another vector type.
    pub(super) fn cast(&mut self, ty: Type, value: Value) -> Value {
        if self.builder.func.dfg.value_type(value) == ty {
            return value;
        }
        self.builder.ins().bitcast(ty, MemFlagsData::new().with_endianness(Endianness::Little), value)
    }

    pub(super) fn shuffle(&mut self, a: Value, b: Value, mask: [u8; 16]) -> Value {
        let ty = self.builder.func.dfg.value_type(a);
        let (a, b) = (self.cast(I8X16, a), self.cast(I8X16, b));
        let mask = self.builder.func.dfg.immediates.push(ConstantData::from(mask.as_slice()));
        let shuffled = self.builder.ins().shuffle(a, b, mask);
        self.cast(ty, shuffled)
    }

    /// Shuffles lanes of `width` bytes; lanes of `b` count from the end of those of `a`.
    pub(super) fn lanes(&mut self, a: Value, b: Value, width: usize, lanes: &[u8]) -> Value {
        let byte = |index: usize| lanes[index / width] * width as u8 + (index % width) as u8;
        self.shuffle(a, b, std::array::from_fn(byte))
    }

    pub(super) fn bytes(&mut self, value: u8) -> Value {
        self.constant(I8X16, [value; 16])
    }

    pub(super) fn words(&mut self, value: i16) -> Value {
        let bytes = value.to_le_bytes();
        self.constant(I16X8, std::array::from_fn(|index| bytes[index % 2]))
    }

    pub(super) fn integers(&mut self, value: i32) -> Value {
        let bytes = value.to_le_bytes();
        self.constant(I32X4, std::array::from_fn(|index| bytes[index % 4]))
    }

    pub(super) fn doubles(&mut self, value: f64) -> Value {
        let bytes = Ieee64::with_float(value).bits().to_le_bytes();
        self.constant(F64X2, std::array::from_fn(|index| bytes[index % 8]))
    }

    fn constant(&mut self, ty: Type, bytes: [u8; 16]) -> Value {
        let constant = self.builder.func.dfg.constants.insert(ConstantData::from(bytes.as_slice()));
        self.builder.ins().vconst(ty, constant)
    }

    /// Adds to every 32-bit lane the dot product of four signed bytes of `a` and four unsigned
    /// bytes of `b`. Only where [`crate::target::Capabilities::dot4`] says so.
    pub(super) fn dot4(&mut self, sum: Value, a: Value, b: Value) -> Value {
        let ins = |emitter: &mut Self, high: bool| {
            let (a, b) = if high {
                (emitter.builder.ins().swiden_high(a), emitter.builder.ins().uwiden_high(b))
            } else {
                (emitter.builder.ins().swiden_low(a), emitter.builder.ins().uwiden_low(b))
            };
            let products = emitter.builder.ins().imul(a, b);
            let low = emitter.builder.ins().swiden_low(products);
            let high = emitter.builder.ins().swiden_high(products);
            emitter.builder.ins().iadd_pairwise(low, high)
        };
        let low = ins(self, false);
        let high = ins(self, true);
        let sums = self.builder.ins().iadd_pairwise(low, high);
        self.builder.ins().iadd(sums, sum)
    }

    /// Adds to every 32-bit lane the dot product of two 16-bit lanes.
    pub(super) fn dot2(&mut self, sum: Value, a: Value, b: Value) -> Value {
        let (a, b) = (self.cast(I16X8, a), self.cast(I16X8, b));
        let (a_low, b_low) = (self.builder.ins().swiden_low(a), self.builder.ins().swiden_low(b));
        let low = self.builder.ins().imul(a_low, b_low);
        let (a_high, b_high) = (self.builder.ins().swiden_high(a), self.builder.ins().swiden_high(b));
        let high = self.builder.ins().imul(a_high, b_high);
        let sums = self.builder.ins().iadd_pairwise(low, high);
        self.builder.ins().iadd(sums, sum)
    }

    /// Four vectors of 32-bit lanes from 16 unsigned bytes.
    pub(super) fn widen_bytes(&mut self, bytes: Value) -> [Value; 4] {
        let low = self.builder.ins().uwiden_low(bytes);
        let high = self.builder.ins().uwiden_high(bytes);
        [
            self.builder.ins().uwiden_low(low),
            self.builder.ins().uwiden_high(low),
            self.builder.ins().uwiden_low(high),
            self.builder.ins().uwiden_high(high),
        ]
    }

    /// 16 bytes from up to four vectors of 32-bit lanes, saturated to 0 to 255 and confined to
    /// `lo` to `hi`. Bytes without a vector are arbitrary.
    pub(super) fn narrow(&mut self, lanes: &[Value], lo: u8, hi: u8) -> Value {
        let last = lanes[lanes.len() - 1];
        let lane = |index: usize| lanes.get(index).copied().unwrap_or(last);
        let low = self.builder.ins().snarrow(lane(0), lane(1));
        let high = if lanes.len() > 2 { self.builder.ins().snarrow(lane(2), lane(3)) } else { low };
        let mut bytes = self.builder.ins().unarrow(low, high);
        if lo > 0 {
            let lo = self.bytes(lo);
            bytes = self.builder.ins().umax(bytes, lo);
        }
        if hi < 255 {
            let hi = self.bytes(hi);
            bytes = self.builder.ins().umin(bytes, hi);
        }
        bytes
    }

    /// Stores the first `count` bytes of a vector, and no others.
    pub(super) fn store_first(&mut self, value: Value, pointer: Value, at: usize, count: usize) {
        if count >= 16 {
            return self.store(value, pointer, at);
        }
        let mut done = 0;
        for (size, ty, vector) in [(8, I64, I64X2), (4, I32, I32X4), (2, I16, I16X8), (1, I8, I8X16)] {
            if count - done >= size {
                let lanes = self.cast(vector, value);
                let lane = self.builder.ins().extractlane(lanes, (done / size) as u8);
                debug_assert_eq!(self.builder.func.dfg.value_type(lane), ty, "invariant: lane type of the vector");
                self.store(lane, pointer, at + done);
                done += size;
            }
        }
    }
}
