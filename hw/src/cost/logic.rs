//! Logic of expressions and statements.

use super::Resources;
use crate::device::Device;
use crate::rtl::{Expr, Module, Statement};

fn luts(count: u64) -> Resources {
    Resources { lut: count, ..Resources::default() }
}

/// Resources of an expression with all its parts.
pub fn expression(module: &Module, value: &Expr, device: &Device) -> Resources {
    let mut total = match value {
        Expr::Const(_) | Expr::Signal(_) | Expr::Lane(..) | Expr::Slice { .. } => return Resources::default(),
        Expr::Shl(..) | Expr::Shr(..) | Expr::Low(..) | Expr::Pack(..) | Expr::Join(_) | Expr::Rom(..) => {
            Resources::default()
        }
        Expr::LaneAt(signal, _) => {
            let ty = module.signal(*signal).ty;
            luts(select(u64::from(ty.bits), u64::from(ty.lanes), device))
        }
        Expr::SliceAt { signal, lanes, .. } => {
            let ty = module.signal(*signal).ty;
            luts(select(u64::from(ty.bits * lanes), u64::from(ty.lanes / lanes), device))
        }
        Expr::Add(..) | Expr::Sub(..) => luts(u64::from(value.ty(module).bits)),
        Expr::Mul(a, b) => product(module, a, b, device),
        Expr::ShrBy(a, amount) => {
            let stages = u64::from(amount.ty(module).bits.min(4));
            luts(u64::from(a.ty(module).bits) * stages / 2)
        }
        Expr::And(..) | Expr::Or(..) => luts(1),
        Expr::Not(_) => Resources::default(),
        Expr::Eq(a, b) | Expr::Lt(a, b) => {
            let bits = u64::from(a.ty(module).bits.max(b.ty(module).bits));
            luts(bits.div_ceil(if matches!(**b, Expr::Const(_)) { u64::from(device.family.lut_inputs) } else { 2 }))
        }
        Expr::Mux(_, a, _) => luts(u64::from(a.ty(module).width()).div_ceil(2)),
        Expr::Clamp(a, ..) => luts(u64::from(value.ty(module).bits) + u64::from(a.ty(module).bits) / 2),
    };
    value.for_each_operand(|part| total += expression(module, part, device));
    total
}

/// Resources of a product.
fn product(module: &Module, a: &Expr, b: &Expr, device: &Device) -> Resources {
    let (a_ty, b_ty) = (a.ty(module), b.ty(module));
    for (constant, other) in [(a, b_ty), (b, a_ty)] {
        if let Expr::Const(value) = constant {
            // One adder for each non-zero digit after the first in canonical signed digits.
            let magnitude = value.unsigned_abs();
            let digits = u64::from((magnitude ^ (3 * magnitude)).count_ones());
            return luts(digits.saturating_sub(1) * u64::from(other.bits + 8));
        }
    }
    let signed = |ty: crate::rtl::Ty| u64::from(ty.bits + u32::from(!ty.signed));
    Resources { dsp: dsps(signed(a_ty), signed(b_ty), device), ..Resources::default() }
}

/// Hardware multipliers of a signed product.
pub fn dsps(a: u64, b: u64, device: &Device) -> u64 {
    let tiles = |a: u64, b: u64| {
        // Parts below the top one are unsigned and lose a bit.
        let parts =
            |bits: u64, wide: u32| if bits <= u64::from(wide) { 1 } else { (bits - 1).div_ceil(u64::from(wide) - 1) };
        parts(a, device.family.multiplier[0]) * parts(b, device.family.multiplier[1])
    };
    tiles(a, b).min(tiles(b, a))
}

/// LUTs of a multiplexer of `ways` words.
pub fn select(width: u64, ways: u64, device: &Device) -> u64 {
    if ways <= 1 {
        return 0;
    }
    width * (ways - 1).div_ceil(device.family.select_ways)
}

/// Resources of the logic of a statement; a register set in several places has a multiplexer.
pub fn statement(module: &Module, statement: &Statement, device: &Device) -> Resources {
    match statement {
        Statement::Set(register, value) => {
            let mut total = expression(module, value, device);
            total.lut += u64::from(module.signal(*register).ty.bits) / 4;
            total
        }
        Statement::If { condition, then, otherwise } => {
            let mut total = expression(module, condition, device);
            for inner in then.iter().chain(otherwise) {
                total += self::statement(module, inner, device);
            }
            total.lut += 1;
            total
        }
        Statement::Read { address, .. } => expression(module, address, device),
        Statement::Write { address, data, .. } => {
            let mut total = expression(module, address, device);
            total += expression(module, data, device);
            total
        }
        Statement::Launch { arguments, .. } => {
            let mut total = Resources::default();
            for argument in arguments {
                total += expression(module, argument, device);
            }
            total
        }
        Statement::Fill { row, column, group, data, .. } => {
            let mut total = Resources::default();
            for part in [row, column, group, data] {
                total += expression(module, part, device);
            }
            total
        }
        Statement::Load { address, part, data, .. } => {
            let mut total = Resources::default();
            for part in [address, part, data] {
                total += expression(module, part, device);
            }
            total
        }
        Statement::Issue { step, .. } => {
            let mut total = Resources::default();
            for part in
                [&step.ring, &step.row, &step.column, &step.group, &step.tap, &step.address, &step.first, &step.last]
            {
                total += expression(module, part, device);
            }
            total
        }
    }
}
