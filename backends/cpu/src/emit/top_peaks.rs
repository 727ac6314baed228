//! Peaks of a heatmap, kept in order as they are found.

use super::{Emitter, memory};
use crate::program::TopPeaks;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I8;
use cranelift_codegen::ir::{BlockArg, InstBuilder, Value};

/// The neighbours of a pixel in row order, by row and column.
const NEIGHBOURS: [(isize, isize); 8] = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)];

/// Where the search is.
struct Search {
    heatmap: Value,
    target: Value,
    maps: Vec<Value>,
}

/// An element of the heatmap: where it is, and whether its neighbours lie in the image.
struct Element {
    at: Value,
    pixel: Value,
    /// By row above and below, column left and right.
    inside: [[Value; 2]; 2],
}

impl Emitter<'_, '_> {
    pub(super) fn top_peaks(&mut self, peaks: &TopPeaks) {
        let [height, width, channels] = peaks.image;
        let search = Search {
            heatmap: self.address(peaks.heatmap),
            target: self.address(peaks.target),
            maps: peaks.maps.iter().map(|&(location, _)| self.address(location)).collect(),
        };
        let zero = self.builder.ins().iconst(self.pointer, 0);
        let rows = [(zero, 1), (zero, width), (search.heatmap, width * channels)];
        self.carry(height, &rows, vec![zero], &mut |emitter, row, held| {
            let vertical = emitter.inside(row[0], height);
            let columns = [(zero, 1), (row[1], 1), (row[2], channels)];
            emitter.carry(width, &columns, held, &mut |emitter, column, held| {
                let horizontal = emitter.inside(column[0], width);
                emitter.carry(channels, &[(column[2], 1)], held, &mut |emitter, at, held| {
                    let element = Element { at: at[0], pixel: column[1], inside: [vertical, horizontal] };
                    vec![emitter.search(peaks, &search, &element, held[0])]
                })
            })
        });
    }

    /// Whether there is something before and after a place of an axis.
    fn inside(&mut self, place: Value, extent: usize) -> [Value; 2] {
        let ins = self.builder.ins();
        let before = ins.icmp_imm_s(IntCC::NotEqual, place, 0);
        let after = self.builder.ins().icmp_imm_s(IntCC::NotEqual, place, extent as i64 - 1);
        [before, after]
    }

    /// Keeps an element if it is a peak among the largest; how many are held then.
    fn search(&mut self, peaks: &TopPeaks, search: &Search, element: &Element, held: Value) -> Value {
        let own = self.load(I8, element.at, 0);
        let last = self.load(I8, search.target, (peaks.count - 1) * peaks.fields());
        let larger = self.builder.ins().icmp(IntCC::UnsignedLessThan, last, own);
        let room = self.builder.ins().icmp_imm_s(IntCC::UnsignedLessThan, held, peaks.count as i64);
        let enters = self.builder.ins().bor(larger, room);
        let [compare, insert, done] = [0; 3].map(|_| self.builder.create_block());
        let result = self.builder.append_block_param(done, self.pointer);
        self.builder.ins().brif(enters, compare, &[], done, &[BlockArg::Value(held)]);

        self.builder.switch_to_block(compare);
        let is_peak = self.is_peak(peaks, element, own);
        self.builder.ins().brif(is_peak, insert, &[], done, &[BlockArg::Value(held)]);

        self.builder.switch_to_block(insert);
        let most = self.builder.ins().iconst(self.pointer, peaks.count as i64);
        let grown = self.builder.ins().iadd_imm_s(held, 1);
        let grown = self.builder.ins().select(room, grown, most);
        let record = self.make_room(peaks, search.target, grown, own);
        self.write_record(peaks, search, element, own, record);
        self.jump(done, &[grown]);

        self.builder.switch_to_block(done);
        result
    }

    fn is_peak(&mut self, peaks: &TopPeaks, element: &Element, own: Value) -> Value {
        let [_, width, channels] = peaks.image;
        let mut all: Option<Value> = None;
        for (down, right) in NEIGHBOURS {
            let flags = [(down, element.inside[0]), (right, element.inside[1])];
            let needed = flags.iter().filter(|(step, _)| *step != 0).map(|(step, flags)| flags[usize::from(*step > 0)]);
            let needed: Vec<Value> = needed.collect();
            let inside = needed.iter().copied().reduce(|a, b| self.builder.ins().band(a, b));
            let inside = inside.expect("invariant: a neighbour is in another row or column");
            let distance = (down * width as isize + right) * channels as isize;
            let there = self.builder.ins().iadd_imm_s(element.at, distance as i64);
            let there = self.builder.ins().select(inside, there, element.at);
            let other = self.builder.ins().load(I8, memory(), there, 0);
            // An element outside reads as the element itself.
            let passes = if (down, right) < (0, 0) {
                let smaller = self.builder.ins().icmp(IntCC::UnsignedLessThan, other, own);
                let outside = self.builder.ins().bxor_imm_s(inside, 1);
                self.builder.ins().bor(smaller, outside)
            } else {
                self.builder.ins().icmp(IntCC::UnsignedLessThanOrEqual, other, own)
            };
            all = Some(all.map_or(passes, |all| self.builder.ins().band(all, passes)));
        }
        all.expect("invariant: there are neighbours")
    }

    /// Moves smaller records on until there is room for a value among the first so many; where.
    fn make_room(&mut self, peaks: &TopPeaks, target: Value, count: Value, own: Value) -> Value {
        let fields = peaks.fields();
        let [header, look, shift, found] = [0; 4].map(|_| self.builder.create_block());
        let record = self.builder.append_block_param(header, self.pointer);
        let bytes = self.builder.ins().imul_imm_s(count, fields as i64);
        let end = self.builder.ins().iadd(target, bytes);
        let start = self.builder.ins().iadd_imm_s(end, -(fields as i64));
        self.jump(header, &[start]);

        self.builder.switch_to_block(header);
        let first = self.builder.ins().icmp(IntCC::Equal, record, target);
        self.builder.ins().brif(first, found, &[], look, &[]);

        self.builder.switch_to_block(look);
        let before = self.builder.ins().iadd_imm_s(record, -(fields as i64));
        let value = self.load(I8, before, 0);
        let smaller = self.builder.ins().icmp(IntCC::UnsignedLessThan, value, own);
        self.builder.ins().brif(smaller, shift, &[], found, &[]);

        self.builder.switch_to_block(shift);
        self.copy_run(fields, 0, before, record);
        self.jump(header, &[before]);

        self.builder.switch_to_block(found);
        record
    }

    fn write_record(&mut self, peaks: &TopPeaks, search: &Search, element: &Element, own: Value, record: Value) {
        self.store(own, record, 0);
        let index = self.builder.ins().isub(element.at, search.heatmap);
        for byte in 0..peaks.index_bytes {
            let digit = self.builder.ins().ushr_imm_u(index, 8 * byte as i64);
            let digit = self.builder.ins().ireduce(I8, digit);
            self.store(digit, record, 1 + byte);
        }
        let mut at = 1 + peaks.index_bytes;
        for (&map, &(_, channels)) in search.maps.iter().zip(&peaks.maps) {
            let offset = self.builder.ins().imul_imm_s(element.pixel, channels as i64);
            let source = self.builder.ins().iadd(map, offset);
            let target = self.plus(record, at);
            self.copy_run(channels, 0, source, target);
            at += channels;
        }
    }
}
