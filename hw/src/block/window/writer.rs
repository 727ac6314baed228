//! The half of a window block that fills the ring of rows.

use super::WindowGeometry;
use crate::rtl::build::{Builder, Input, Level, add_modulo, advance, branch, set, when};
use crate::rtl::expr::{Expr, add, all, and, eq, lt, not, or, sub};
use crate::rtl::{EngineId, SignalId, Statement, Ty};

/// Counters of the pixels that come in.
pub struct Writer {
    word: Level,
    /// The column that is written.
    pub column: Level,
    ring: SignalId,
    rows: u32,
    /// Complete rows from the first row still needed on; negative while skipped rows arrive.
    pub rows_ahead: SignalId,
}

/// The writer of a window block whose input is connected.
pub struct Filling {
    writer: Writer,
    input: Input,
    fill: SignalId,
    /// The last word of a row comes in.
    pub row_done: SignalId,
}

impl Writer {
    /// For a ring of so many rows, and pixels of so many words. `least`: the fewest rows ahead.
    pub fn new(b: &mut Builder, extent: &WindowGeometry, words: u32, rows: u32, least: i64) -> Self {
        let width = extent.input[1];
        let word = Level::new(b, "write_word", words);
        let column = Level::new(b, "write_column", width);
        let ring = b.register("write_ring", Ty::holding(u64::from(rows - 1)), 0);
        let rows_ahead = b.register("rows_ahead", Ty::range(least, i64::from(rows)), 0);
        Self { word, column, ring, rows, rows_ahead }
    }

    /// Takes a word where there is a place for it.
    pub fn connect(self, b: &mut Builder, input: Input, has_place: Expr) -> Filling {
        let ready = b.ready(input, has_place);
        let fill = b.wire("fill", and(input.valid, ready));
        let row_done = b.wire("row_done", all([fill.into(), self.word.at_end(), self.column.at_end()]));
        Filling { writer: self, input, fill, row_done }
    }
}

impl Filling {
    /// 1 if the window that begins in column `left` is there, which needs so many rows beyond the first.
    pub fn available(&self, b: &mut Builder, extent: &WindowGeometry, left: SignalId, rows_needed: Expr) -> SignalId {
        let Writer { column, rows_ahead, .. } = &self.writer;
        let columns_needed = add(left, extent.span(1).1 + 1);
        let columns_needed = Expr::Clamp(Box::new(columns_needed), 0, i64::from(extent.input[1]));
        let columns_needed = b.wire("columns_needed", columns_needed);
        let rows_needed = b.wire("rows_needed", rows_needed);
        let complete = lt(rows_needed, *rows_ahead);
        let growing = and(eq(rows_needed, *rows_ahead), not(lt(column.value(), columns_needed)));
        b.wire("available", or(complete, growing))
    }

    /// Statements that fill the ring, and those that count its rows: where `given_back` is 1 so many are `freed`.
    pub fn serve(self, engine: EngineId, given_back: SignalId, freed: Expr) -> [Statement; 2] {
        let Self { writer: Writer { word, mut column, ring, rows, rows_ahead }, input, fill, row_done } = self;
        column.on_wrap.push(set(ring, add_modulo(ring, 1, rows)));
        let mut filled = vec![Statement::Fill {
            engine,
            row: ring.into(),
            column: column.value(),
            group: word.value(),
            data: input.data.into(),
        }];
        filled.extend(advance(vec![word, column]));
        let counted = branch(
            given_back,
            vec![set(rows_ahead, add(sub(rows_ahead, freed), row_done))],
            vec![when(row_done, vec![set(rows_ahead, add(rows_ahead, 1))])],
        );
        [when(fill, filled), counted]
    }
}
