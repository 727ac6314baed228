//! Nearest-neighbour upsampling and copies of the border: rows are kept in a ring of two and read several times.

use super::fifo::CreditFifo;
use crate::rtl::build::{Builder, Level, add_modulo, advance, branch, set, when};
use crate::rtl::expr::{Expr, add, all, and, eq, lt, mux, not, or, sub};
use crate::rtl::{Module, Statement, Ty};

/// An upsampling to generate.
#[derive(Clone, Copy, Debug)]
pub struct Upsample {
    /// Type of both streams.
    pub ty: Ty,
    /// Rows and columns of the input.
    pub image: [u32; 2],
    /// Beats a pixel.
    pub words: u32,
    /// Vertical and horizontal factor.
    pub factors: [u32; 2],
    /// Further copies of the outermost rows and columns: top, left, bottom, right.
    pub borders: [u32; 4],
}

impl Upsample {
    /// The module.
    pub fn generate(&self, name: &str) -> Module {
        let Self { ty, image: [rows, columns], words, factors, borders: [top, left, bottom, right] } = *self;
        let mut summary = format!("Repeats rows {} and columns {} times.", factors[0], factors[1]);
        if self.borders != [0; 4] {
            summary += " Outermost ones more often.";
        }
        let mut b = Builder::new(name, summary);
        let input = b.input("in", ty);
        let queue = CreditFifo::new(&mut b, "out", ty, 8);
        let size = columns * words;
        let memory = b.memory("rows", ty, 2 * size);
        // Complete rows ahead of the reader, and the place of the next write.
        let ahead = b.register("rows_ahead", Ty::unsigned(2), 0);
        let ready = b.ready(input, lt(ahead, 2));
        let fill = b.wire("fill", and(input.valid, ready));
        let place = b.register("write_place", Ty::holding(u64::from(2 * size - 1)), 0);
        let written = Level::new(&mut b, "written", size);
        let written_value = written.value();
        let row_done = b.wire("row_done", and(fill, written.at_end()));

        let word = Level::new(&mut b, "word", words);
        let repeat_column = Level::new(&mut b, "repeat_column", left + factors[1] + right);
        let column = Level::new(&mut b, "column", columns);
        let mut repeat_column = repeated(repeat_column, [left, factors[1], right], &column);
        let repeat_row = Level::new(&mut b, "repeat_row", top + factors[0] + bottom);
        let row = if top + bottom > 0 { Level::new(&mut b, "row", rows) } else { Level::single() };
        let mut repeat_row = repeated(repeat_row, [top, factors[0], bottom], &row);
        let half = b.register("half", Ty::BIT, 0);
        // First beat of the pixel being read, within its row.
        let offset = b.register("offset", Ty::holding(u64::from(size)), 0);
        let read_place =
            add(add(offset, word.value()), Expr::Mul(Box::new(half.into()), Box::new(Expr::Const(i64::from(size)))));
        let here = or(not(eq(ahead, 0)), lt(add(offset, word.value()), written_value));
        let issue = b.wire("issue", and(here, queue.has_free(2)));
        let row_freed = b.wire(
            "row_freed",
            all([issue.into(), word.at_end(), repeat_column.at_end(), column.at_end(), repeat_row.at_end()]),
        );
        repeat_row.on_wrap.push(set(half, not(half)));
        repeat_column.on_wrap.push(branch(
            column.at_end(),
            vec![set(offset, 0)],
            vec![set(offset, add(offset, i64::from(words)))],
        ));
        let reading = b.register("reading", Ty::BIT, 0);
        let beat = b.data_register("beat", ty);
        let mut issued = vec![Statement::Read { memory, address: read_place, into: beat }, set(reading, 1)];
        issued.extend(advance(vec![word, repeat_column, column, repeat_row, row]));
        let mut filled = vec![
            Statement::Write { memory, address: place.into(), data: input.data.into() },
            set(place, add_modulo(place, 1, 2 * size)),
        ];
        filled.extend(advance(vec![written]));
        let mut statements = vec![
            when(fill, filled),
            branch(issue, issued, vec![set(reading, 0)]),
            branch(
                row_freed,
                vec![when(not(row_done), vec![set(ahead, sub(ahead, 1))])],
                vec![when(row_done, vec![set(ahead, add(ahead, 1))])],
            ),
        ];
        statements.extend(queue.serve(issue.into(), 1, &reading.into(), beat.into()));
        b.finish(statements)
    }
}

/// A level that counts how often a row or column was read: `factor` times, the first of the axis `before` times more,
/// and the last `after` times more.
fn repeated(level: Level, [before, factor, after]: [u32; 3], axis: &Level) -> Level {
    // The first counts from 0, others from where its own turn would begin.
    let at_end = |there: u32, elsewhere: u32| match axis.at_end() {
        _ if there == elsewhere => Expr::Const(there.into()),
        Expr::Const(_) => Expr::Const(there.into()),
        end => mux(end, i64::from(there), i64::from(elsewhere)),
    };
    let last = before + factor - 1;
    level.wrapping(at_end(0, before), at_end(last + after, last))
}
