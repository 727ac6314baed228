//! Nearest-neighbour upsampling: rows are kept in a ring of two and read several times.

use super::fifo::CreditFifo;
use crate::rtl::build::{Builder, Level, add_modulo, advance, branch, set, when};
use crate::rtl::expr::{Expr, add, all, and, eq, lt, not, or, sub};
use crate::rtl::{Module, Statement, Ty};

/// An upsampling to generate.
#[derive(Clone, Copy, Debug)]
pub struct Upsample {
    /// Type of both streams.
    pub ty: Ty,
    /// Columns of the input.
    pub columns: u32,
    /// Beats a pixel.
    pub words: u32,
    /// Vertical and horizontal factor.
    pub factors: [u32; 2],
}

impl Upsample {
    /// The module.
    pub fn generate(&self, name: &str) -> Module {
        let Self { ty, columns, words, factors } = *self;
        let mut b = Builder::new(name, format!("Repeats rows {} and columns {} times.", factors[0], factors[1]));
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
        let mut repeat_column = Level::new(&mut b, "repeat_column", factors[1]);
        let column = Level::new(&mut b, "column", columns);
        let mut repeat_row = Level::new(&mut b, "repeat_row", factors[0]);
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
        issued.extend(advance(vec![word, repeat_column, column, repeat_row]));
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
