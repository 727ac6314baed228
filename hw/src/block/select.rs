//! Channels of each pixel in another order: the pixel is kept, and read where the order says.
//!
//! Every lane of the result has a memory of its own with the lanes of the input that it ever
//! takes, so that any order can be read at one word per cycle. Two pixels fit: one is written while
//! the other is read.

use super::fifo::{CreditFifo, Fifo};
use super::requantize::lane;
use crate::rtl::build::{Builder, Level, add_modulo, advance, branch, set, when};
use crate::rtl::expr::{Expr, add, and, eq, lt, mux, not, sub};
use crate::rtl::{MemoryId, Module, SignalId, Statement, Ty};

/// A selection to generate.
#[derive(Clone, Copy, Debug)]
pub struct Select<'a> {
    /// Lane type of both streams.
    pub element: Ty,
    /// Lanes of both streams; divides the channels of both.
    pub lanes: u32,
    /// Channels of the input.
    pub inputs: u32,
    /// The input's channel for each of the result.
    pub channels: &'a [u32],
}

/// Constants that come word by word, a number for each lane.
struct Sequence {
    /// Memory and the register into which its next word is read; none if no lane varies.
    rom: Option<(MemoryId, SignalId)>,
    /// For every lane its constant, or its place in the memory's words.
    lanes: Vec<Result<i64, u32>>,
}

impl Sequence {
    /// `numbers[lane][word]`, none negative.
    fn new(b: &mut Builder, name: &str, numbers: &[Vec<u32>]) -> Self {
        let varies = |lane: &[u32]| lane.iter().any(|number| *number != lane[0]);
        let varying: Vec<&Vec<u32>> = numbers.iter().filter(|lane| varies(lane)).collect();
        let mut places = 0..;
        let lanes = numbers
            .iter()
            .map(|lane| if varies(lane) { Err(places.next().unwrap_or(0)) } else { Ok(i64::from(lane[0])) })
            .collect();
        let most = varying.iter().flat_map(|lane| lane.iter()).copied().max();
        let rom = most.map(|most| {
            let ty = Ty::holding(u64::from(most)).by(varying.len() as u32);
            let words = 0..varying[0].len();
            let contents = words.flat_map(|word| varying.iter().map(move |lane| i64::from(lane[word]))).collect();
            (b.rom(name, ty, contents), b.data_register(&format!("{name}_next"), ty))
        });
        Self { rom, lanes }
    }

    /// The number of a lane, where `held` holds a word of the memory.
    fn number(&self, b: &Builder, index: u32, held: Option<SignalId>) -> Expr {
        match (self.lanes[index as usize], held) {
            (Err(place), Some(held)) => lane(b, held, place),
            (Ok(constant), _) => Expr::Const(constant),
            (Err(_), None) => unreachable!("a lane that varies is in the memory"),
        }
    }

    fn read(&self, address: &Expr) -> Option<Statement> {
        self.rom.map(|(memory, into)| Statement::Read { memory, address: address.clone(), into })
    }
}

/// What a lane of the result reads.
struct Source {
    memory: MemoryId,
    word: SignalId,
    /// Lanes of the input that the memory keeps.
    kept: Vec<u32>,
}

impl Select<'_> {
    /// The module.
    pub fn generate(&self, name: &str) -> Module {
        let Self { element, lanes, inputs, channels } = *self;
        let mut b = Builder::new(name, format!("{} of {inputs} channels, in another order.", channels.len()));
        if inputs == lanes && channels.len() as u32 == lanes {
            return self.wires(b);
        }
        let words = inputs / lanes;
        let ty = element.by(lanes);
        let input = b.input("in", ty);
        let queue = CreditFifo::new(&mut b, "out", ty, 8);

        // Whole pixels that are not yet read, and the place of the next write.
        let waiting = b.register("pixels_waiting", Ty::unsigned(2), 0);
        let ready = b.ready(input, lt(waiting, 2));
        let fill = b.wire("fill", and(input.valid, ready));
        let place = b.register("write_place", Ty::holding(u64::from(2 * words - 1)), 0);
        let written = Level::new(&mut b, "written", words);
        let complete = b.wire("complete", and(fill, written.at_end()));

        let of_lane = |index: u32| channels.iter().skip(index as usize).step_by(lanes as usize).copied();
        let sources: Vec<Source> = (0..lanes)
            .map(|index| {
                let mut kept: Vec<u32> = of_lane(index).map(|channel| channel % lanes).collect();
                kept.sort_unstable();
                kept.dedup();
                let ty = element.by(kept.len() as u32);
                let memory = b.memory(&format!("pixels_{index}"), ty, 2 * words);
                Source { memory, word: b.data_register(&format!("word_{index}"), ty), kept }
            })
            .collect();
        let places: Vec<Vec<u32>> =
            (0..lanes).map(|index| of_lane(index).map(|channel| channel / lanes).collect()).collect();
        let picks: Vec<Vec<u32>> = (0..lanes)
            .zip(&sources)
            .map(|(index, source)| {
                let position = |channel: u32| source.kept.partition_point(|&kept| kept < channel % lanes) as u32;
                of_lane(index).map(position).collect()
            })
            .collect();
        let places = Sequence::new(&mut b, "places", &places);
        let picks = Sequence::new(&mut b, "picks", &picks);
        let picked = picks.rom.map(|(_, next)| b.data_register("picked", b.ty(&next.into())));

        let count = channels.len() as u32 / lanes;
        let mut word = Level::new(&mut b, "word", count);
        let issue = b.wire("issue", and(not(eq(waiting, 0)), queue.has_free(2)));
        let done = b.wire("done", and(issue, word.at_end()));
        // First word of the pixel being read.
        let base = b.register("base", Ty::holding(u64::from(words)), 0);
        word.on_wrap.push(set(base, mux(eq(base, 0), i64::from(words), 0)));
        let reading = b.register("reading", Ty::BIT, 0);

        // The numbers of the next word are read ahead: at every step, and before the first one
        // while a pixel comes in.
        let (here, next) = (word.value(), add_modulo(word.value(), 1, count));
        let ahead = |address: Expr| [&places, &picks].into_iter().filter_map(move |table| table.read(&address));
        let mut issued = vec![set(reading, 1)];
        for (index, source) in (0..lanes).zip(&sources) {
            let place = places.number(&b, index, places.rom.map(|(_, next)| next));
            issued.push(Statement::Read { memory: source.memory, address: add(base, place), into: source.word });
        }
        issued.extend(picked.zip(picks.rom).map(|(picked, (_, next))| set(picked, next)));
        issued.extend(ahead(next));
        issued.extend(advance(vec![word]));
        let mut idle = vec![set(reading, 0)];
        let first: Vec<Statement> = ahead(here).collect();
        if !first.is_empty() {
            idle.push(when(fill, first));
        }

        let mut filled = vec![set(place, add_modulo(place, 1, 2 * words))];
        for source in &sources {
            let kept = source.kept.iter().map(|&index| lane(&b, input.data, index)).collect();
            filled.push(Statement::Write { memory: source.memory, address: place.into(), data: pack(element, kept) });
        }
        filled.extend(advance(vec![written]));

        let taken = (0..lanes)
            .zip(&sources)
            .map(|(index, source)| match (&source.kept[..], picks.number(&b, index, picked)) {
                ([_], _) => source.word.into(),
                (_, Expr::Const(pick)) => Expr::Lane(source.word, pick as u32),
                (_, pick) => Expr::LaneAt(source.word, Box::new(pick)),
            })
            .collect();
        let mut statements = vec![
            when(fill, filled),
            branch(issue, issued, idle),
            branch(
                done,
                vec![when(not(complete), vec![set(waiting, sub(waiting, 1))])],
                vec![when(complete, vec![set(waiting, add(waiting, 1))])],
            ),
        ];
        statements.extend(queue.serve(issue.into(), 1, &reading.into(), pack(element, taken)));
        b.finish(statements)
    }

    /// One pixel per beat: nothing but wires before the queue.
    fn wires(&self, mut b: Builder) -> Module {
        let ty = self.element.by(self.lanes);
        let input = b.input("in", ty);
        let queue = Fifo::new(&mut b, "out", ty, 4);
        let ready = b.ready(input, queue.has_space());
        let take = b.wire("take", and(input.valid, ready));
        let lanes = self.channels.iter().map(|&channel| lane(&b, input.data, channel)).collect();
        b.finish(queue.serve(&take.into(), pack(self.element, lanes)))
    }
}

/// A vector of lanes of a type, or the scalar itself for one lane.
pub(super) fn pack(element: Ty, mut lanes: Vec<Expr>) -> Expr {
    match lanes.len() {
        1 => lanes.remove(0),
        _ => Expr::Pack(element, lanes),
    }
}
