//! Addresses and selection of the taps of a step.

use super::{Geometry, Interface, repeated};
use crate::lower::times_constant;
use crate::memory::address_bits;
use crate::syntax::{self, Declaration, Expr, Item, Statement, any, assign, concat, name, number, when};
use lutweave_hw::rtl::{ParallelTaps, Ty};

/// What the address stage leaves for the selection.
pub struct Addresses {
    /// Read address of each column bank; `None` where banks hold one word.
    pub read: Option<Expr>,
    /// Whether each tap row lies outside the image, where that can be.
    rows_outside: Vec<Option<Expr>>,
    /// The same for tap columns.
    columns_outside: Vec<Option<Expr>>,
    /// Ring row of the top taps, with several row banks.
    ring: Option<Expr>,
    /// Bank of the left taps, with several column banks.
    rotation: Option<Expr>,
}

/// Distance of a tap from the window's corner.
enum Offset {
    Fixed(u32),
    /// By the step number: a wire, and its largest value.
    Stepped(Expr, u32),
}

/// Column number within its bank, of the bank of column 0 modulo the banks; `None` if always 0.
pub fn within_bank(geometry: &Geometry<'_>, column: &Expr, signed: bool) -> Option<Expr> {
    if geometry.bank_columns == 1 {
        return None;
    }
    let (low, bits) = (geometry.bank_bits(), address_bits(geometry.bank_columns));
    if column.width >= low + bits {
        return Some(column.bits(low, bits));
    }
    let sign = if signed { column.bits(column.width - 1, 1) } else { number(0, 1) };
    let kept = column.width.saturating_sub(low);
    let above = sign.repeat(bits - kept);
    Some(if kept == 0 { above } else { concat(vec![above, column.bits(low, kept)]) })
}

/// The address of a word in its bank; parts that are `None` are 0.
pub fn address(geometry: &Geometry<'_>, row: Option<Expr>, column: Option<Expr>, group: Option<Expr>) -> Expr {
    let bits = geometry.address_bits;
    let groups = geometry.engine.groups;
    let row_words = geometry.bank_columns * groups;
    let mut terms = Vec::new();
    if let Some(row) = row {
        let rows = geometry.engine.rows;
        if rows <= 8 {
            let base = |row: u32| number(i64::from(row * row_words), bits);
            let chosen = (0..rows - 1).rev().fold(base(rows - 1), |rest, at| {
                row.clone().equals(number(i64::from(at), row.width)).choose(base(at), rest)
            });
            terms.push(chosen);
        } else {
            terms.push(times_constant(&row, row_words, bits));
        }
    }
    terms.extend(column.map(|column| times_constant(&column, groups, bits)));
    terms.extend(group.map(|group| group.bits(0, group.width.min(bits)).zero_extended(bits)));
    terms.into_iter().reduce(Expr::plus).unwrap_or_else(|| number(0, bits))
}

/// Registers the addresses of all banks and what is known of the taps.
pub fn address_stage(geometry: &Geometry<'_>, interface: &Interface, body: &mut syntax::Module) -> Addresses {
    let engine = geometry.engine;
    let port =
        |wanted: &str| interface.port(wanted).map(|ty| (Expr { signed: ty.signed, ..name(wanted, ty.width()) }, ty));
    body.comment("Addresses of the taps.");
    let [height, width] = engine.kernel;
    let [down, right] = engine.dilations;
    let (row_offset, column_offset) = stepped_offsets(geometry, body);
    let mut issued = Vec::new();
    let mut register = |body: &mut syntax::Module, name: &str, value: Expr| {
        let register = body.reg(name, value.width);
        issued.push(assign(register.clone(), value));
        register
    };

    let ring = port("ring").map(|(ring, _)| ring);
    let ring_row = match (&ring, &row_offset) {
        (Some(ring), Some(offset)) => {
            let row = wrapped(body, "tap_ring", ring, offset, engine.rows);
            Some(row)
        }
        (ring, _) => ring.clone(),
    };
    let row_offsets: Vec<Offset> = (0..geometry.rows)
        .map(|row| match &row_offset {
            Some(offset) => Offset::Stepped(offset.clone(), (height - 1) * down),
            None => Offset::Fixed(row * down),
        })
        .collect();
    let column_offsets: Vec<Offset> = (0..geometry.columns)
        .map(|column| match &column_offset {
            Some(offset) => Offset::Stepped(offset.clone(), (width - 1) * right),
            None => Offset::Fixed(column * right),
        })
        .collect();
    let mut outside = |axis: usize, offsets: &[Offset], limit: u32| -> Vec<Option<Expr>> {
        let may = engine.leaves[axis];
        let axis = ["row", "column"][axis];
        let base = port(axis).filter(|_| may);
        let tap = |(position, offset): (usize, &Offset)| {
            let (base, ty) = base.clone()?;
            let value = leaves(body, &format!("tap_{axis}_{position}"), &base, ty, offset, limit)?;
            Some(register(body, &format!("{axis}_{position}_outside"), value))
        };
        offsets.iter().enumerate().map(tap).collect()
    };
    let rows_outside = outside(0, &row_offsets, engine.image_rows);
    let columns_outside = outside(1, &column_offsets, engine.columns);

    let group = port("group").map(|(group, _)| group);
    let column = port("column");
    let read = (geometry.depth > 1).then(|| {
        let row = if geometry.row_banks > 1 { None } else { ring_row.clone() };
        let (position, low) = match (&column, &column_offset) {
            (Some((column, ty)), Some(offset)) => {
                let bits = address_bits(engine.columns).max(column.width.min(offset.width));
                let sum = resized(column, *ty, bits).plus(resized(offset, Ty::unsigned(offset.width), bits));
                let sum = body.wire("tap_column", sum);
                (Some((sum, Ty::unsigned(bits))), None)
            }
            (Some((column, ty)), None) => {
                let low = (geometry.column_banks > 1).then(|| resized(column, *ty, geometry.bank_bits()));
                (Some((column.clone(), *ty)), low)
            }
            (None, _) => (None, None),
        };
        let within = position.and_then(|(column, ty)| within_bank(geometry, &column, ty.signed));
        let within = within.map(|value| body.wire("bank_column", value));
        let here = body.wire("read_here", address(geometry, row.clone(), within.clone(), group.clone()));
        let (Some(low), Some(within)) = (low, within) else {
            return register(body, "read_address", here.repeat(geometry.column_banks));
        };
        // Left of the image the column is -1 modulo its width; one more must give 0.
        let within = within.clone().plus(number(1, within.width));
        let within = body.wire("next_bank_column", within);
        let next = body.wire("read_next", address(geometry, row, Some(within), group));
        let low = body.wire("left_bank", low);
        let addresses = (0..geometry.column_banks).rev().map(|bank| {
            if bank + 1 == geometry.column_banks {
                return here.clone();
            }
            low.clone().greater(number(i64::from(bank), low.width)).choose(next.clone(), here.clone())
        });
        register(body, "read_address", concat(addresses.collect()))
    });
    let ring = (geometry.row_banks > 1).then(|| register(body, "top_ring", name("ring", address_bits(engine.rows))));
    let rotation = column
        .filter(|_| geometry.column_banks > 1)
        .map(|(column, ty)| register(body, "rotation", resized(&column, ty, geometry.bank_bits())));
    if !issued.is_empty() {
        body.clocked(vec![when(name("issue", 1), issued)]);
    }
    Addresses { read, rows_outside, columns_outside, ring, rotation }
}

/// Selects the taps from the bus of read words; the register of all taps. `lane_major`: the taps
/// of lane 0 come first, else the lanes of tap 0.
pub fn selection_stage(
    geometry: &Geometry<'_>,
    body: &mut syntax::Module,
    addresses: &Addresses,
    data: &Expr,
    valid: &Expr,
    lane_major: bool,
) -> Expr {
    let engine = geometry.engine;
    body.comment("While the memory reads: where each tap will be found.");
    let mut reading = Vec::new();
    let mut register = |body: &mut syntax::Module, name: &str, value: Expr| {
        let register = body.reg(name, value.width);
        reading.push(assign(register.clone(), value));
        register
    };
    let mut outside = Vec::new();
    for (i, row) in addresses.rows_outside.iter().enumerate() {
        for (j, column) in addresses.columns_outside.iter().enumerate() {
            let tap = i * geometry.columns as usize + j;
            let parts: Vec<Expr> = row.iter().chain(column).cloned().collect();
            outside.push((!parts.is_empty()).then(|| register(body, &format!("tap_{tap}_outside"), any(parts))));
        }
    }
    let row_selects: Vec<Option<Expr>> = (0..geometry.rows)
        .map(|row| {
            let ring = addresses.ring.as_ref()?;
            let offset = row * engine.dilations[0];
            let value = if offset == 0 {
                ring.clone()
            } else {
                let offset = number(i64::from(offset), address_bits(offset + 1));
                wrapped(body, &format!("row_{row}_bank"), ring, &offset, engine.rows)
            };
            Some(register(body, &format!("row_{row}_select"), value))
        })
        .collect();
    let column_selects: Vec<Option<Expr>> = (0..geometry.columns)
        .map(|column| {
            let bits = geometry.bank_bits();
            if bits == 0 {
                return None;
            }
            let offset = number(i64::from(column * engine.dilations[1]), bits);
            let value = match &addresses.rotation {
                Some(rotation) if column == 0 => rotation.clone(),
                Some(rotation) => rotation.clone().plus(offset),
                None => offset,
            };
            Some(register(body, &format!("column_{column}_select"), value))
        })
        .collect();
    if !reading.is_empty() {
        body.clocked(vec![when(valid.bits(0, 1), reading)]);
    }

    body.comment("The selected taps.");
    let (width, bits) = (engine.word.width(), engine.word.bits);
    let taps = body.reg("taps", engine.taps() * width);
    let mut statements = Vec::new();
    for (tap, outside) in outside.iter().enumerate() {
        let (row, column) = (tap / geometry.columns as usize, tap % geometry.columns as usize);
        let mut select: Vec<Expr> = row_selects[row].iter().chain(&column_selects[column]).cloned().collect();
        let word = if select.is_empty() {
            data.clone()
        } else {
            select.push(number(0, geometry.stride.trailing_zeros()));
            data.part(concat(select), width)
        };
        let word = match outside {
            Some(outside) => {
                let pad = number(engine.pad_value, bits).repeat(engine.word.lanes);
                outside.clone().choose(pad, word)
            }
            None => word,
        };
        let tap = tap as u32;
        if lane_major && engine.word.lanes > 1 {
            let word = body.wire(&format!("tap_{tap}"), word);
            let step = engine.taps() * bits;
            statements.extend(repeated(body, &format!("lane_{tap}"), engine.word.lanes, |lane| {
                assign(taps.element(lane, step, tap * bits, bits), word.element(lane, bits, 0, bits))
            }));
        } else {
            statements.push(assign(taps.bits(tap * width, width), word));
        }
    }
    body.clocked(vec![when(valid.bits(1, 1), statements)]);
    taps
}

/// Offsets of the tap that the step number tells: wires, where there are several.
fn stepped_offsets(geometry: &Geometry<'_>, body: &mut syntax::Module) -> (Option<Expr>, Option<Expr>) {
    let engine = geometry.engine;
    let ([height, width], [down, right]) = (engine.kernel, engine.dilations);
    let steps = engine.tap_steps();
    let tap = name("tap", address_bits(steps));
    let scaled = |body: &mut syntax::Module, wire: &str, largest: u32, by: u32| {
        let bits = address_bits(largest * by + 1);
        let value = times_constant(&tap, by, bits);
        Some(body.wire(wire, value))
    };
    match engine.parallel {
        ParallelTaps::All => (None, None),
        ParallelTaps::Row if height == 1 => (None, None),
        ParallelTaps::Row => (scaled(body, "row_offset", height - 1, down), None),
        ParallelTaps::One => match (height, width) {
            (1, 1) => (None, None),
            (1, _) => (None, scaled(body, "column_offset", width - 1, right)),
            (_, 1) => (scaled(body, "row_offset", height - 1, down), None),
            _ => {
                let row = body.reg("row_offset", address_bits((height - 1) * down + 1));
                let column = body.reg("column_offset", address_bits((width - 1) * right + 1));
                let mut case = |target: &Expr, count: u32, by: u32, steps_of: &dyn Fn(u32) -> Vec<u32>| {
                    let arms = (1..count).map(|value| {
                        let labels = steps_of(value).into_iter().map(|step| number(i64::from(step), tap.width));
                        let set = Statement::Block(target.clone(), number(i64::from(value * by), target.width));
                        (labels.collect(), vec![set])
                    });
                    let zero = Statement::Block(target.clone(), number(0, target.width));
                    let case = Statement::Case(tap.clone(), arms.collect(), vec![zero]);
                    body.items.push(Item::Combinational(vec![case]));
                };
                case(&row, height, down, &|i| (0..width).map(|j| i * width + j).collect());
                case(&column, width, right, &|j| (0..height).map(|i| i * width + j).collect());
                (Some(row), Some(column))
            }
        },
    }
}

/// `(base + offset) mod rows`, both below `rows`, as a wire.
fn wrapped(body: &mut syntax::Module, wire: &str, base: &Expr, offset: &Expr, rows: u32) -> Expr {
    let bits = address_bits(2 * rows);
    let sum = base.clone().zero_extended(bits).plus(offset.clone().zero_extended(bits));
    let sum = body.wire(&format!("{wire}_sum"), sum);
    let kept = base.width;
    if rows == 1 << kept {
        // The sum wraps by itself; its carry is not needed.
        let value = sum.bits(0, kept);
        let carry = sum.bits(kept, bits - kept);
        body.wire(&format!("{wire}_unused"), carry);
        return body.wire(wire, value);
    }
    let beyond = sum.clone().greater(number(i64::from(rows) - 1, bits));
    let less = body.wire(&format!("{wire}_less"), sum.bits(0, kept).minus(number(i64::from(rows), kept)));
    body.wire(wire, beyond.choose(less, sum.bits(0, kept)))
}

/// Whether `base + offset` lies outside `0..limit`; `None` if it cannot.
fn leaves(body: &mut syntax::Module, wire: &str, base: &Expr, ty: Ty, offset: &Offset, limit: u32) -> Option<Expr> {
    let (least, most) = match offset {
        Offset::Fixed(offset) => (*offset, *offset),
        Offset::Stepped(_, most) => (0, *most),
    };
    let (lo, hi) = ty.bounds();
    let (lo, hi) = (lo + i64::from(least), hi + i64::from(most));
    if lo >= 0 && hi < i64::from(limit) {
        return None;
    }
    let sum_ty = Ty::range(lo, hi);
    let base = resized(base, ty, sum_ty.bits);
    let sum = match offset {
        Offset::Fixed(0) => base,
        Offset::Fixed(offset) => base.plus(number(i64::from(*offset), sum_ty.bits)),
        Offset::Stepped(offset, _) => base.plus(resized(offset, Ty::unsigned(offset.width), sum_ty.bits)),
    };
    let declaration = Declaration::wire(wire, sum_ty.bits).sign(sum_ty.signed);
    let sum = body.declare(declaration, Some(sum));
    let mut tests = Vec::new();
    if lo < 0 {
        tests.push(sum.bits(sum_ty.bits - 1, 1));
    }
    if hi >= i64::from(limit) {
        let last = Expr { signed: sum_ty.signed, ..number(i64::from(limit) - 1, sum_ty.bits) };
        tests.push(sum.greater(last));
    }
    Some(any(tests))
}

/// A declared name of some type in another width.
fn resized(value: &Expr, ty: Ty, width: u32) -> Expr {
    if width <= value.width {
        return value.bits(0, width);
    }
    let above = if ty.signed {
        value.bits(value.width - 1, 1).repeat(width - value.width)
    } else {
        number(0, width - value.width)
    };
    concat(vec![above, value.clone()])
}
