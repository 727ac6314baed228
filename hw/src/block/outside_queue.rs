//! A queue whose words wait in a memory outside the chip.
//!
//! ```text
//! in -> gathered -> waiting ── bursts ──> memory ──> returned ── held -> out
//!           └─────────┴──── while nothing is outside ─────────────┘
//! ```
//!
//! Words are gathered into beats. While nothing of the queue is outside, beats go straight on, also those that are not
//! full, so the oldest word never waits for younger ones. When a burst of beats has to wait, it is sent; it is asked
//! for again once it is written and there is room for all of it, and what is younger follows it the same way until
//! nothing is outside. So the queue gives and takes as one on the chip would, later by the time that a burst takes to
//! come back: it may be part of a network wherever a queue may.

mod gather;
mod spread;

use super::fifo::Fifo;
use super::ring::Ring;
use super::window::Bus;
use crate::rtl::build::{Builder, Level, advance, branch, count, set, when};
use crate::rtl::expr::{Expr, all, and, eq, lt, not, or};
use crate::rtl::{Module, Ty};
use gather::Gather;
use spread::Spread;

/// Cycles in which the words of the bursts that may come back before the first of them is used can be given on, at least,
/// if there are no more than [`MOST_AHEAD`] bursts.
const CYCLES_AHEAD: u32 = 256;

/// Bursts that may come back before the first of them is used: at least two, at most so many.
const MOST_AHEAD: u32 = 4;

/// Depth of the queue behind it.
const DEPTH: u32 = 4;

/// A queue outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutsideQueue {
    /// Its words: lanes of 8 bits, at most as many as a beat has bytes.
    pub word: Ty,
    /// How they go and come.
    pub bus: Bus,
    /// Bursts that the memory holds.
    pub bursts: u32,
}

impl OutsideQueue {
    /// For so many elements of 8 bits, which are written in so many lanes.
    pub fn new(element: Ty, lanes: u32, elements: u64, bus: Bus) -> Self {
        let divides = |part: &u32| lanes.is_multiple_of(*part);
        let word = element.by((1..=lanes.min(bus.bytes)).rev().find(divides).unwrap_or(1));
        let queue = Self { word, bus, bursts: 0 };
        // A place is free again only when its burst has come back and is used.
        Self { bursts: elements.div_ceil(queue.elements_per_burst()) as u32 + queue.ahead(), ..queue }
    }

    /// Bursts that may come back before the first of them is used.
    pub fn ahead(&self) -> u32 {
        let bursts = CYCLES_AHEAD.div_ceil(self.bus.burst * self.words_per_beat());
        bursts.clamp(2, MOST_AHEAD).next_power_of_two()
    }

    /// Words of a beat.
    fn words_per_beat(&self) -> u32 {
        self.bus.bytes / self.word.lanes
    }

    /// Lanes of a beat that are used.
    fn used_lanes(&self) -> u32 {
        self.words_per_beat() * self.word.lanes
    }

    /// Type of a beat.
    fn beat(&self) -> Ty {
        BYTE.by(self.bus.bytes)
    }

    fn elements_per_burst(&self) -> u64 {
        u64::from(self.used_lanes() * self.bus.burst)
    }

    /// Bytes that are written and read for a frame of so many elements, at most.
    pub fn traffic(&self, elements: u64) -> u64 {
        2 * elements.div_ceil(self.elements_per_burst()) * u64::from(self.bus.burst_bytes())
    }

    /// Its module: inputs `in`, `returned` (beats) and `written` (a beat for each burst that the memory has got),
    /// outputs `out`, `leaving` (beats of whole bursts) and `more` (a beat for each burst that may come back).
    pub fn module(&self, name: &str) -> Module {
        let Self { word, bus: Bus { burst, .. }, bursts } = *self;
        let mut b = Builder::new(name, format!("A queue of {word} that waits outside, in up to {bursts} bursts."));
        let input = b.input("in", word);
        let [returned, written] = [("returned", self.beat()), ("written", Ty::BIT)].map(|(name, ty)| {
            let input = b.input(name, ty);
            b.ready(input, Expr::Const(1));
            input
        });
        let ahead = self.ahead();
        let out = Fifo::new(&mut b, "out", word, DEPTH);
        let leaving = b.output("leaving", self.beat());
        let more = b.output("more", Ty::BIT);
        let waiting = Ring::new(&mut b, "waiting", self.beat(), 2 * burst);
        let came = Ring::new(&mut b, "came", self.beat(), ahead * burst);
        // Bursts that have left and are not used again; that may be asked for; for which there is room.
        let away = b.register("away", Ty::holding(bursts.into()), 0);
        let stored = b.register("stored", Ty::holding(bursts.into()), 0);
        let room = b.register("room", Ty::holding(ahead.into()), ahead.into());

        let ready = b.ready(input, waiting.has_room());
        let take = b.wire("take", and(input.valid, ready));
        let gather = Gather::new(&mut b, self, input.data, take);
        let spread = Spread::new(&mut b, self, out.has_space());
        let pop_came = b.wire("pop_came", and(spread.free, came.holds_some()));
        // What waits goes on while nothing older is away, and so does what is gathered, by way of the queue.
        let here = b.wire("here", and(spread.free, eq(away, 0)));
        let pop_waiting = b.wire("pop_waiting", and(here, waiting.holds_some()));
        let flush = all([here.into(), eq(waiting.count, 0), gather.is_part(), not(gather.push)]);
        let flush = b.wire("flush", flush);
        let store = b.wire("store", or(gather.push, flush));

        let sending = b.register("sending", Ty::BIT, 0);
        let outgoing = Level::new(&mut b, "outgoing", burst);
        let enough = not(lt(waiting.count, i64::from(burst)));
        let begin = all([not(sending), enough, lt(away, i64::from(bursts)), not(pop_waiting)]);
        let begin = b.wire("begin", begin);
        let send = b.wire("send", and(sending, or(not(leaving.valid), leaving.ready)));
        let sent = b.wire("sent", and(send, outgoing.at_end()));
        let used = Level::new(&mut b, "used", burst);
        let whole = b.wire("whole", and(pop_came, used.at_end()));
        let ask = b.wire("ask", and(not(eq(stored, 0)), not(eq(room, 0))));

        let mut statements = waiting.serve(store, gather.group(self), or(pop_waiting, send));
        statements.extend(came.serve(returned.valid, returned.data.into(), pop_came.into()));
        statements.extend(spread.serve(&mut b, self, [&waiting, &came], [pop_waiting, pop_came], &gather, flush));
        statements.extend(gather.serve(self, take, flush));
        statements.extend(out.serve(&spread.give.into(), spread.word(self)));
        statements.extend([
            branch(begin, vec![set(sending, 1)], vec![when(sent, vec![set(sending, 0)])]),
            branch(
                send,
                vec![waiting.read(leaving.data), set(leaving.valid, 1)],
                vec![when(leaving.ready, vec![set(leaving.valid, 0)])],
            ),
            when(send, advance(vec![outgoing])),
            when(pop_came, advance(vec![used])),
            count(away, begin, whole),
            count(stored, written.valid, ask),
            count(room, whole, ask),
            set(more.valid, ask),
            set(more.data, 1),
        ]);
        b.finish(statements)
    }
}

/// Type of a beat's lanes.
const BYTE: Ty = Ty { bits: 8, signed: false, lanes: 1 };
