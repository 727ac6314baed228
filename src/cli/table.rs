//! Tables on the terminal.

use comfy_table::{CellAlignment, Table, presets};

/// A table with the house style: no lines, right-aligned columns where asked.
pub fn table(header: &[&str], right: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header.iter().copied());
    for &column in right {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}
