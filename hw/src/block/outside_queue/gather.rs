//! Words are gathered into beats, the oldest in the low lanes.

use super::{BYTE, OutsideQueue};
use crate::rtl::build::{Builder, Level, advance, branch, set, when};
use crate::rtl::expr::{Expr, and, eq, not};
use crate::rtl::{SignalId, Statement};

/// Words that are not a beat yet.
pub struct Gather {
    /// How many there are.
    part: Level,
    /// They, in the upper of its lanes; none where a word is a beat.
    gathered: Option<SignalId>,
    /// The word that comes, of unsigned lanes.
    word: SignalId,
    /// 1 where it completes a beat.
    pub push: SignalId,
}

impl Gather {
    pub fn new(b: &mut Builder, queue: &OutsideQueue, data: SignalId, take: SignalId) -> Self {
        let (words, lanes) = (queue.words_per_beat(), queue.word.lanes);
        let part = Level::new(b, "part", words);
        let push = b.wire("push", and(take, part.at_end()));
        let word = b.wire("word", Expr::Pack(BYTE, (0..lanes).map(|lane| Expr::Lane(data, lane)).collect()));
        let gathered = (words > 1).then(|| b.data_register("gathered", BYTE.by((words - 1) * lanes)));
        Self { part, gathered, word, push }
    }

    /// How many words wait to be a beat.
    pub fn count(&self) -> Expr {
        self.part.value()
    }

    /// 1 if some words wait.
    pub fn is_part(&self) -> Expr {
        if self.gathered.is_some() { not(eq(self.count(), 0)) } else { Expr::Const(0) }
    }

    /// The beat of what waits and the word that comes. Without that, the words lie in the lanes before its last ones.
    pub fn group(&self, queue: &OutsideQueue) -> Expr {
        let unused = queue.bus.bytes - queue.used_lanes();
        let padding = (unused > 0).then(|| Expr::Pack(BYTE, vec![Expr::Const(0); unused as usize]));
        let words = self.gathered.into_iter().chain([self.word]).map(Expr::Signal);
        Expr::Join(words.chain(padding).collect())
    }

    /// Statements that take a word where `take` is 1, and let those go that wait where `flush` is, which never is
    /// where a beat is completed.
    pub fn serve(self, queue: &OutsideQueue, take: SignalId, flush: SignalId) -> Vec<Statement> {
        let (Some(gathered), Some(part)) = (self.gathered, self.part.counter) else { return Vec::new() };
        let lanes = queue.word.lanes;
        let kept = queue.used_lanes() - 2 * lanes;
        let kept = (kept > 0).then_some(Expr::Slice { signal: gathered, start: lanes, lanes: kept });
        let shifted: Vec<Expr> = kept.into_iter().chain([self.word.into()]).collect();
        vec![
            when(take, vec![set(gathered, Expr::Join(shifted))]),
            branch(flush, vec![set(part, take)], vec![when(take, advance(vec![self.part]))]),
        ]
    }
}
