//! Windows whose taps a second stream moves.
//!
//! Offsets are taken one beat ahead of the output pixel that they belong to. A step is decided
//! like one of an ordinary window; where its tap lies is then computed in a pipeline, and the
//! engine reads one pixel there. Rows are given back behind the pipeline, so that none is
//! refilled before a step that was decided earlier has read it.

use super::{Displacement, WindowGeometry};
use crate::rtl::build::{Builder, Input, Level, advance, branch, by_counter, set, when};
use crate::rtl::engine::Step;
use crate::rtl::expr::{Expr, add, and, eq, lt, mul, mux, not, or, sub};
use crate::rtl::{SignalId, Statement, Ty};
use lutweave_ir::op::Sampling;

/// Cycles from the decision on a step to its issue.
pub const STAGES: u32 = 3;

/// The registers that hold offsets, and the counters of taps.
pub struct Displacer {
    displacement: Displacement,
    extent: WindowGeometry,
    input: Input,
    /// Offsets of the pixel that is read, and whether they are there.
    current: [SignalId; 2],
    /// The same of the next pixel.
    next: [SignalId; 2],
    /// Column and row of the tap.
    taps: [Level; 2],
    /// Number of the tap, where each has offsets of its own.
    number: Option<Level>,
}

/// What a decided step is, beside how far its tap is moved.
pub struct Decision {
    /// Image row of the window's start.
    pub top: SignalId,
    /// Image column of the window's start.
    pub left: SignalId,
    /// First image row that the ring keeps for the window, from 0 to the height.
    pub base: SignalId,
    /// Where in the ring that row is.
    pub ring: SignalId,
    /// Channel group.
    pub group: Expr,
    /// Weight address.
    pub address: Expr,
    /// 1: it ends a result.
    pub last: Expr,
    /// Rows that are not needed any more after it.
    pub freed: Expr,
}

/// A step on its way from the decision to the engine.
pub struct Placement {
    /// In the cycle of the decision.
    pub launch: Statement,
    /// 1 in the cycle of issue.
    pub valid: SignalId,
    /// What to issue then.
    pub step: Step,
    /// Rows that are not needed any more after it.
    pub freed: Expr,
}

impl Displacer {
    /// Declares the stream input and the registers.
    pub fn new(b: &mut Builder, extent: &WindowGeometry, displacement: Displacement, lane: Ty) -> Self {
        let ty = lane.by(extent.offset_lanes());
        let input = b.input("offsets", ty);
        let mut place = |name: &str| {
            let offsets = b.data_register(&format!("{name}_offsets"), ty);
            [offsets, b.register(&format!("{name}_known"), Ty::BIT, 0)]
        };
        let (current, next) = (place("current"), place("next"));
        b.ready(input, not(next[1]));
        let [height, width] = extent.kernel;
        let taps = [Level::new(b, "tap_column", width), Level::new(b, "tap_row", height)];
        let own = matches!(displacement.sampling, Sampling::Free { .. });
        let number = own.then(|| Level::new(b, "tap", height * width));
        Self { displacement, extent: *extent, input, current, next, taps, number }
    }

    /// 1 if the offsets of the pixel to read are there.
    pub fn is_known(&self) -> Expr {
        self.current[1].into()
    }

    /// 1 if the tap is the window's last.
    pub fn at_end(&self) -> Expr {
        and(self.taps[0].at_end(), self.taps[1].at_end())
    }

    /// Declares the pipeline that finds the tap of a decided step in a ring of so many rows.
    pub fn place(&self, b: &mut Builder, rows: u32, decision: Decision) -> Placement {
        let Decision { top, left, base, ring, group, address, last, freed } = decision;
        let [down, right] = [0, 1].map(|axis| {
            let (first, last) = self.displacement.span[axis];
            (Ty::range(first.min(0), last.max(0)), self.moved(axis))
        });
        let mut parameters = vec![("down", down.0), ("right", right.0)];
        let mut arguments = vec![down.1, right.1];
        for (name, signal) in [("top", top), ("left", left), ("base", base), ("ring", ring)] {
            parameters.push((name, b.ty(&signal.into())));
            arguments.push(signal.into());
        }
        // What is handed on as it is, unless it is constant.
        let handed = [("group", group), ("address", address), ("last", last), ("freed", freed)];
        for (name, value) in &handed {
            if !matches!(value, Expr::Const(_)) {
                parameters.push((name, b.ty(value)));
                arguments.push(value.clone());
            }
        }

        let (pipeline, inputs) = b.pipeline("place", &parameters);
        let mut carried: Vec<(&str, SignalId)> =
            parameters[5..].iter().map(|(name, _)| *name).zip(inputs[5..].iter().copied()).collect();
        let carry = |b: &mut Builder, stage: u32, carried: &mut [(&str, SignalId)]| {
            for (name, signal) in carried {
                *signal = b.stage(pipeline, &format!("{name}_{stage}"), (*signal).into());
            }
        };
        let sum = |offset: usize, start: usize| {
            let (offset, start) = (parameters[offset].1.bounds(), parameters[start].1.bounds());
            Ty::range(offset.0 + start.0, offset.1 + start.1)
        };

        b.next_stage(pipeline);
        let row = b.stage_typed(pipeline, "row_0", sum(0, 2), add(inputs[0], inputs[2]));
        let column = b.stage_typed(pipeline, "column_0", sum(1, 3), add(inputs[1], inputs[3]));
        let base = b.stage(pipeline, "base_0", inputs[4].into());
        carry(b, 0, &mut carried);

        b.next_stage(pipeline);
        // Rows outside the image are not read: any place of the ring will do.
        let ahead = Expr::Clamp(Box::new(sub(row, base)), 0, i64::from(rows) - 1);
        let ahead = b.stage(pipeline, "ahead", ahead);
        carried.extend([("row", row), ("column", column)]);
        carry(b, 1, &mut carried);

        b.next_stage(pipeline);
        let (_, ring) = carried.remove(0);
        let place = wrapped(add(ahead, ring), rows);
        let place = b.stage_typed(pipeline, "place", Ty::holding(u64::from(rows - 1)), place);
        carry(b, 2, &mut carried);

        let of =
            |wanted: &str| carried.iter().find(|(name, _)| *name == wanted).map(|(_, signal)| Expr::Signal(*signal));
        let [group, address, last, freed] = handed.map(|(name, value)| of(name).unwrap_or(value));
        let [row, column] = ["row", "column"].map(|name| of(name).expect("invariant: both are carried"));
        let step = Step { ring: place.into(), row, column, group, tap: Expr::Const(0), address, last };
        let launch = Statement::Launch { pipeline, arguments };
        Placement { launch, valid: b.valid_of(pipeline), step, freed }
    }

    /// How far from the window's start the tap reads along an axis.
    fn moved(&self, axis: usize) -> Expr {
        let counter = self.taps[1 - axis].value();
        let count = self.extent.kernel[axis];
        let offsets = self.current[0];
        if let Some(number) = &self.number {
            let dilation = i64::from(self.extent.dilations[axis]);
            let places: Vec<i64> = (0..i64::from(count)).map(|tap| tap * dilation).collect();
            let lane = add(mul(number.value(), 2), axis as i64);
            return add(by_counter(&counter, &places), Expr::LaneAt(offsets, Box::new(lane)));
        }
        let centre = i64::from(count / 2);
        let distance = (0..i64::from(count)).fold(Expr::Const(0), |others, tap| {
            let times = match tap - centre {
                0 => return others,
                1 => offsets.into(),
                -1 => sub(0, offsets),
                steps => mul(offsets, steps),
            };
            mux(eq(counter.clone(), tap), times, others)
        });
        add(distance, centre)
    }

    /// What happens to the offsets at the end of a cycle; `pixel_end` is 1 if the last step of a
    /// pixel is decided in it.
    pub fn serve(&self, b: &mut Builder, pixel_end: SignalId) -> Vec<Statement> {
        let [next, next_known] = self.next;
        let [current, known] = self.current;
        let taken = b.wire("offsets_taken", and(self.input.valid, not(next_known)));
        let moved = b.wire("offsets_moved", and(next_known, or(not(known), pixel_end)));
        vec![
            branch(
                taken,
                vec![set(next, self.input.data), set(next_known, 1)],
                vec![when(moved, vec![set(next_known, 0)])],
            ),
            branch(moved, vec![set(current, next), set(known, 1)], vec![when(pixel_end, vec![set(known, 0)])]),
        ]
    }

    /// The counters of taps, innermost first.
    pub fn levels(self) -> Vec<Level> {
        let [mut column, row] = self.taps;
        if let Some(number) = self.number {
            // It counts along with them.
            let counted = advance(vec![number]);
            column.on_step.extend(counted.clone());
            column.on_wrap.extend(counted);
        }
        vec![column, row]
    }
}

/// A sum below twice the modulus, less the modulus where it is not below it.
pub fn wrapped(sum: Expr, modulus: u32) -> Expr {
    let modulus = i64::from(modulus);
    mux(lt(sum.clone(), modulus), sum.clone(), sub(sum, modulus))
}
