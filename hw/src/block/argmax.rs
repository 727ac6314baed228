//! The place of the largest channel of each pixel.
//!
//! Lanes of a beat meet in a tree of comparisons, a stage for each level; what wins is compared with
//! the best of the beats before. One beat leaves per pixel.

use super::fifo::CreditFifo;
use super::requantize::lane;
use super::select::pack;
use crate::rtl::build::{Builder, branch, set, when};
use crate::rtl::expr::{Expr, add, and, eq, lt, mux, not, or};
use crate::rtl::{Module, Statement, Ty};

/// A search to generate.
#[derive(Clone, Copy, Debug)]
pub struct ArgMax {
    /// Lane type of the input.
    pub element: Ty,
    /// Lanes of the input; divides the channels.
    pub lanes: u32,
    /// Channels of a pixel.
    pub channels: u32,
    /// Type of the output: the bytes of a channel's number, low byte first.
    pub number: Ty,
    /// The last of equals instead of the first.
    pub last: bool,
}

impl ArgMax {
    /// The module.
    pub fn generate(&self, name: &str) -> Module {
        let Self { element, lanes, channels, number, .. } = *self;
        let mut b = Builder::new(name, format!("The place of the largest of {channels} channels."));
        let stream = b.input("in", element.by(lanes));
        let place = Ty::holding(u64::from(channels - 1));
        let base = b.register("base", Ty::holding(u64::from(channels - lanes)), 0);
        let ends = b.wire("ends", eq(base, i64::from(channels - lanes)));
        let parameters = [("x", element.by(lanes)), ("base", b.ty(&base.into()))];
        let (tree, arguments) = b.pipeline("tree", &parameters);

        // What is left of the lanes: value and lane, in order.
        let mut left: Vec<(Expr, Expr)> =
            (0..lanes).map(|index| (lane(&b, arguments[0], index), Expr::Const(index.into()))).collect();
        let mut first_lane: Expr = arguments[1].into();
        for level in 0.. {
            b.next_stage(tree);
            let kept = |b: &mut Builder, what: &str, value: Expr| match value {
                Expr::Const(_) => value,
                value => b.stage(tree, &format!("{what}_{level}"), value).into(),
            };
            first_lane = kept(&mut b, "base", first_lane);
            let pairs = std::mem::take(&mut left);
            for (index, pair) in pairs.chunks(2).enumerate() {
                let (value, lane) = match pair {
                    [(first, at), (second, after)] => {
                        let wins = self.replaces(second, first);
                        (mux(wins.clone(), second.clone(), first.clone()), mux(wins, after.clone(), at.clone()))
                    }
                    single => single[0].clone(),
                };
                let value = kept(&mut b, &format!("value_{index}"), value);
                left.push((value, kept(&mut b, &format!("lane_{index}"), lane)));
            }
            if left.len() == 1 {
                break;
            }
        }
        let (value, lane) = left.remove(0);
        b.next_stage(tree);
        let value = b.stage(tree, "value", value);
        let at = b.stage_typed(tree, "at", place, add(first_lane.clone(), lane));
        let first = b.stage(tree, "first", eq(first_lane.clone(), 0));
        let complete = b.stage(tree, "complete", eq(first_lane, i64::from(channels - lanes)));

        let best = b.data_register("best", element);
        let best_at = b.data_register("best_at", place);
        let better = or(first, self.replaces(&value.into(), &best.into()));
        let now = mux(better.clone(), value, best);
        let now_at = mux(better, at, best_at);
        let valid = b.valid_of(tree);
        let push = and(valid, complete);

        // A pixel may leave in each cycle: as many are on their way as the tree has stages.
        let depth = (b.stages_of(tree) + 4).next_power_of_two();
        let queue = CreditFifo::new(&mut b, "out", number, depth);
        let ready = b.ready(stream, queue.has_free(1));
        let take = b.wire("take", and(stream.valid, ready));
        let step = branch(ends, vec![set(base, 0)], vec![set(base, add(base, i64::from(lanes)))]);
        let arguments = vec![stream.data.into(), base.into()];
        let mut taken = vec![Statement::Launch { pipeline: tree, arguments }];
        if lanes < channels {
            taken.push(step);
        }
        let digits = (0..number.lanes).map(|byte| Expr::Shr(Box::new(now_at.clone()), 8 * byte)).collect();
        let mut statements = vec![when(take, taken), when(valid, vec![set(best, now), set(best_at, now_at)])];
        statements.extend(queue.serve(and(take, ends), 1, &push, pack(number.lane(), digits)));
        b.finish(statements)
    }

    /// 1 if a later value takes the place of an earlier one.
    fn replaces(&self, later: &Expr, earlier: &Expr) -> Expr {
        if self.last { not(lt(later.clone(), earlier.clone())) } else { lt(earlier.clone(), later.clone()) }
    }
}
