//! The head of a detector: peaks of a heatmap, picked and ranked as they stream by.
//!
//! The heatmap comes one element per beat. Of each channel's row three neighbours are compared as
//! they come; what remains is the comparison with the largest three of the row above, which are
//! kept in a memory of one row, and with those of the row below, for which the element itself
//! waits there. A step beyond the last column and a pass beyond the last row complete the windows
//! at the edges; they read nothing. So a step a cycle decides whether the element above and left
//! of it is a peak.
//!
//! A peak enters a `list` of the largest ones in the cycle in which it is found, whatever is in
//! there, so that the time of a frame does not depend on its contents. At the end of a frame the
//! list leaves as records; the next frame's first row, which decides nothing, comes meanwhile.

mod list;

use super::requantize::lane;
use super::select::pack;
use crate::rtl::build::{Builder, Input, Level, advance, branch, set, when};
use crate::rtl::expr::{Expr, all, and, eq, lt, mux, not, or, sub};
use crate::rtl::{Module, SignalId, Statement, Ty};
pub use list::turnaround;
use list::{Candidate, List};
use lutweave_ir::op;

/// A search for peaks to generate.
#[derive(Clone, Debug)]
pub struct TopPeaks<'a> {
    /// Element type of the heatmap's stream, which has one lane.
    pub heatmap: Ty,
    /// Rows, columns and channels of the heatmap.
    pub image: [u32; 3],
    /// Types of the maps' streams, one pixel per beat.
    pub maps: &'a [Ty],
    /// Records of a frame.
    pub count: u32,
}

/// Cycles that a frame of an image keeps the block busy, records of the frame before included.
pub fn cycles([height, width, channels]: [u32; 3], maps: usize, count: u32) -> u64 {
    let [height, width, channels] = [height, width, channels].map(u64::from);
    let row = (width + 1) * channels;
    // Maps come every second cycle at most.
    let awaited = if maps > 0 && channels == 1 { height * (width - 1) } else { 0 };
    (height + 1) * row + awaited + turnaround(count).saturating_sub(row + channels)
}

/// Two pixels of a map: the next one, if it is there, and the one being decided on.
struct Held {
    input: Input,
    next: SignalId,
    known: SignalId,
    current: SignalId,
}

impl Held {
    fn new(b: &mut Builder, name: &str, ty: Ty) -> Self {
        let input = b.input(name, ty);
        let next = b.data_register(&format!("{name}_next"), ty);
        let known = b.register(&format!("{name}_known"), Ty::BIT, 0);
        let current = b.data_register(&format!("{name}_current"), ty);
        b.ready(input, not(known));
        Self { input, next, known, current }
    }

    /// Takes pixels. `begins`: the first step of a pixel, whose map is then the next one.
    fn serve(&self, begins: SignalId) -> Statement {
        branch(
            and(self.input.valid, not(self.known)),
            vec![set(self.next, self.input.data), set(self.known, 1)],
            vec![when(begins, vec![set(self.current, self.next), set(self.known, 0)])],
        )
    }
}

/// What is kept of a channel's last pixels in the row being read, as lanes of one word.
#[derive(Clone, Copy)]
enum Left {
    /// The larger of the last two.
    Largest,
    /// The last one.
    Last,
    /// The last one if it is larger than the one before, else nothing.
    Standing,
}

/// What is kept of a pixel of the row above, as lanes of one word.
#[derive(Clone, Copy)]
enum Above {
    /// The largest of it and its neighbours in that row.
    Largest,
    /// Its element if that is larger than all neighbours so far, else nothing.
    Standing,
}

/// A step on its way: what was read in the cycle before.
struct Step {
    valid: SignalId,
    value: SignalId,
    /// It is the first of its row.
    first_column: SignalId,
    /// It decides on the element above and left of it.
    decides: SignalId,
    /// It is the last of a frame.
    ends: SignalId,
    channel: Option<SignalId>,
    place: Option<SignalId>,
}

impl TopPeaks<'_> {
    /// The module.
    pub fn generate(&self, name: &str) -> Module {
        let [height, width, channels] = self.image;
        let (least, most) = self.heatmap.bounds();
        // One more value, smaller than all, stands for nothing.
        let (none, value_ty) = (least - 1, Ty::range(least - 1, most));
        let summary = format!("The {} largest peaks of {height}x{width}x{channels}.", self.count);
        let mut b = Builder::new(name, summary);
        let heatmap = b.input("heatmap", self.heatmap);
        let held: Vec<Held> =
            self.maps.iter().enumerate().map(|(index, ty)| Held::new(&mut b, &format!("map{index}"), *ty)).collect();

        // Steps: a column and a row more than the image has.
        let channel = Level::new(&mut b, "channel", channels);
        let column = Level::new(&mut b, "column", width + 1);
        let row = Level::new(&mut b, "row", height + 1);
        let place = Level::new(&mut b, "place", width * channels);
        let full = b.register("list_full", Ty::BIT, 0);
        let inside = b.wire("inside", and(not(row.at_end()), not(column.at_end())));
        let first_column = b.wire("first_column", eq(column.value(), 0));
        let decides = b.wire("decides", and(not(eq(row.value(), 0)), not(first_column)));
        let first_channel = b.wire("first_channel", channel.counter.map_or(Expr::Const(1), |counter| eq(counter, 0)));
        let maps_known = all(held.iter().map(|map| map.known.into()));
        let may_decide = and(not(full), or(not(first_channel), maps_known));
        let allowed = b.wire("allowed", or(not(decides), may_decide));
        b.ready(heatmap, and(inside, allowed));
        let step = b.wire("step", and(allowed, or(not(inside), heatmap.valid)));
        let begins = b.wire("begins", all([step.into(), decides.into(), first_channel.into()]));
        let last = all([step.into(), row.at_end(), column.at_end(), channel.at_end()]);
        let last = b.wire("last_step", last);

        // What a step needs of what came before.
        let left_ty = value_ty.by(3);
        let left = b.data_register("left", left_ty);
        let left_memory = (channels > 1).then(|| b.memory("lefts", left_ty, channels));
        let above_ty = value_ty.by(2);
        let above = b.data_register("above", above_ty);
        let above_memory = b.memory("row_above", above_ty, width * channels);

        let now = Step {
            valid: b.register("stepped", Ty::BIT, 0),
            value: b.data_register("value", value_ty),
            first_column: b.data_register("stepped_first", Ty::BIT),
            decides: b.data_register("stepped_decides", Ty::BIT),
            ends: b.data_register("stepped_ends", Ty::BIT),
            channel: channel.counter.map(|counter| b.data_register("stepped_channel", b.ty(&counter.into()))),
            place: place.counter.map(|counter| b.data_register("stepped_place", b.ty(&counter.into()))),
        };
        let mut stepped = vec![
            set(now.valid, 1),
            set(now.value, mux(inside, heatmap.data, none)),
            set(now.first_column, first_column),
            set(now.decides, decides),
            set(now.ends, last),
        ];
        stepped.extend(now.channel.map(|register| set(register, channel.value())));
        stepped.extend(now.place.map(|register| set(register, place.value())));
        if let Some(memory) = left_memory {
            let read = Statement::Read { memory, address: channel.value(), into: left };
            stepped.push(when(not(first_column), vec![read]));
        }
        let read = Statement::Read { memory: above_memory, address: place.value(), into: above };
        stepped.push(when(decides, vec![read]));
        stepped.push(when(not(first_column), advance(vec![place])));
        stepped.extend(advance(vec![channel, column, row]));

        // What a step finds out.
        let of_left = |part: Left| mux(now.first_column, none, Expr::Lane(left, part as u32));
        let [largest_left, last_left, standing_left] =
            [("largest_left", Left::Largest), ("last_left", Left::Last), ("standing_left", Left::Standing)]
                .map(|(name, part)| b.wire_typed(name, value_ty, of_left(part)));
        let rises = b.wire("rises", lt(last_left, now.value));
        let next_left =
            Expr::Pack(value_ty, vec![mux(rises, now.value, last_left), now.value.into(), mux(rises, now.value, none)]);
        let above_largest = mux(now.decides, Expr::Lane(above, Above::Largest as u32), none);
        let stands = and(lt(above_largest, standing_left), not(lt(standing_left, now.value)));
        let next_above = Expr::Pack(
            value_ty,
            vec![mux(lt(largest_left, now.value), now.value, largest_left), mux(stands, standing_left, none)],
        );
        let waiting = Expr::Lane(above, Above::Standing as u32);
        let is_peak = all([
            now.valid.into(),
            now.decides.into(),
            not(eq(waiting.clone(), none)),
            not(lt(waiting.clone(), largest_left)),
            not(lt(waiting.clone(), now.value)),
        ]);

        // Peaks that were found, and their records.
        let index = Level::new(&mut b, "index", height * width * channels);
        let index_bytes = op::TopPeaks::index_bytes((height * width * channels) as usize) as u32;
        let fields = 1 + index_bytes + self.maps.iter().map(|map| map.lanes).sum::<u32>();
        let record_ty = Ty::unsigned(8).by(fields);
        let found = Candidate {
            found: b.register("found", Ty::BIT, 0),
            value: b.data_register("found_value", value_ty),
            record: b.data_register("found_record", record_ty),
        };
        let ended = b.register("ended", Ty::BIT, 0);
        let digits = (0..index_bytes).map(|byte| Expr::Shr(Box::new(index.value()), 8 * byte));
        let gathered = held.iter().zip(self.maps).flat_map(|(map, ty)| {
            let (b, least) = (&b, ty.bounds().0);
            (0..ty.lanes).map(move |index| {
                let value = lane(b, map.current, index);
                if least == 0 { value } else { sub(value, least) }
            })
        });
        let found_value = std::iter::once(sub(waiting.clone(), least));
        let record = pack(Ty::unsigned(8), found_value.chain(digits).chain(gathered).collect());
        let place_of = |place: Option<SignalId>| place.map_or(Expr::Const(0), Expr::Signal);
        let keep_left = match left_memory {
            Some(memory) => Statement::Write { memory, address: place_of(now.channel), data: next_left },
            None => set(left, next_left),
        };
        let keep_above = Statement::Write { memory: above_memory, address: place_of(now.place), data: next_above };
        let compared = vec![
            keep_left,
            when(not(now.first_column), vec![keep_above]),
            set(ended, now.ends),
            set(found.value, waiting),
            set(found.record, record),
            when(now.decides, advance(vec![index])),
        ];

        let list = List::new(&mut b, self.count, value_ty, none, record_ty);
        let done = b.wire("list_done", list.is_done());
        let mut statements = vec![
            branch(step, stepped, vec![set(now.valid, 0)]),
            branch(now.valid, compared, vec![set(ended, 0)]),
            set(found.found, is_peak),
            branch(last, vec![set(full, 1)], vec![when(done, vec![set(full, 0)])]),
        ];
        statements.extend(held.iter().map(|map| map.serve(begins)));
        statements.extend(list.serve(&mut b, &found, ended, index_bytes));
        b.finish(statements)
    }
}
