//! Extraction: one term per class, without cycles, at the least total cost.
//!
//! A term is chosen per class, so that a shared class is paid once. Bottom-up greedy choice over
//! sets of classes, then single exchanges as long as they pay; never costlier than the graph
//! that was encoded, which is itself a candidate.

use super::build::Encoded;
use super::cost::cost;
use super::term::{Term, name};
use super::typing::Facts;
use egg::{Id, Language};
use std::collections::HashMap;

/// Rounds of exchanges after the greedy choice.
const EXCHANGE_ROUNDS: usize = 4;

/// A term per class that depends on inputs, from the root down.
#[derive(Clone, Debug)]
pub struct Choice {
    /// The chosen term of every class that the root needs.
    pub terms: HashMap<Id, Term>,
    /// Total cost of the chosen terms.
    pub cost: u64,
    /// Total cost of the terms of the encoded graph, equal ones counted once.
    pub cost_before: u64,
}

struct Alternative {
    term: Term,
    cost: u64,
    /// Operands that depend on inputs, as positions in the problem.
    operands: Vec<usize>,
    /// A change of layout of an input.
    at_input: bool,
}

struct Problem {
    classes: Vec<Id>,
    alternatives: Vec<Vec<Alternative>>,
    /// Per class, the alternatives of other classes that have it as an operand.
    users: Vec<Vec<(usize, usize)>>,
    root: usize,
}

type Selection = Vec<Option<usize>>;

/// Chooses.
pub fn extract(encoded: &Encoded) -> Choice {
    let problem = Problem::new(encoded);
    let original = problem.original(encoded);
    let cost_before = problem.total(&original).unwrap_or(u64::MAX);
    let (cost, selection) = problem.best(original, cost_before);
    problem.choice(&selection, cost, cost_before)
}

/// Chooses at random, for tests: any choice without cycles computes the same. `pick(n)` is a
/// number below `n`.
pub fn arbitrary(encoded: &Encoded, pick: &mut dyn FnMut(usize) -> usize) -> Choice {
    let problem = Problem::new(encoded);
    let cost_before = problem.total(&problem.original(encoded)).unwrap_or(u64::MAX);
    let selection = problem.arbitrary(pick);
    let cost = problem.total(&selection).unwrap_or(u64::MAX);
    problem.choice(&selection, cost, cost_before)
}

impl Problem {
    /// The least cost found, never more than the original's.
    fn best(&self, original: Selection, cost: u64) -> (u64, Selection) {
        // Greedy choice sees a shared operand as often as it is used. What everything shares, a
        // change of layout at an input, is taken as paid in a second start.
        let starts = [self.greedy(|_| false), self.greedy(|alternative| alternative.at_input)];
        let mut best = (cost, original);
        for start in starts {
            match self.total(&start) {
                // On a tie the original stays, so that a second run changes nothing.
                Some(cost) if cost < best.0 => best = (cost, start),
                // Classes that the original has no term for get one, for exchanges.
                Some(_) | None => best.1.iter_mut().zip(start).for_each(|(own, other)| *own = own.or(other)),
            }
        }
        for _ in 0..EXCHANGE_ROUNDS {
            if !self.exchange(&mut best) {
                break;
            }
        }
        best
    }

    /// Decides the classes in an arbitrary order in which operands come first.
    fn arbitrary(&self, pick: &mut dyn FnMut(usize) -> usize) -> Selection {
        let mut selection: Selection = vec![None; self.classes.len()];
        loop {
            let ready = |&(class, index): &(usize, usize)| {
                let alternative: &Alternative = &self.alternatives[class][index];
                alternative.operands.iter().all(|&operand| selection[operand].is_some())
            };
            let open = (0..self.classes.len()).filter(|&class| selection[class].is_none());
            let all = open.flat_map(|class| (0..self.alternatives[class].len()).map(move |index| (class, index)));
            let candidates: Vec<(usize, usize)> = all.filter(ready).collect();
            if candidates.is_empty() {
                return selection;
            }
            let (class, index) = candidates[pick(candidates.len())];
            selection[class] = Some(index);
        }
    }

    fn choice(&self, selection: &Selection, cost: u64, cost_before: u64) -> Choice {
        let mut terms = HashMap::new();
        for class in self.reachable(selection).unwrap_or_default() {
            if let Some(alternative) = self.chosen(selection, class) {
                terms.insert(self.classes[class], alternative.term.clone());
            }
        }
        Choice { terms, cost, cost_before }
    }

    fn new(encoded: &Encoded) -> Self {
        let egraph = &encoded.egraph;
        let mut classes: Vec<Id> =
            egraph.classes().map(|class| class.id).filter(|&id| !egraph.is_constant(id)).collect();
        classes.sort_unstable();
        let index: HashMap<Id, usize> = classes.iter().enumerate().map(|(index, &id)| (id, index)).collect();
        let alternatives = classes.iter().map(|&class| {
            let terms = egraph[class].nodes.iter().filter(|term| !term.children().contains(&class));
            let alternative = |term: &Term| {
                let mut operands: Vec<usize> =
                    term.children.iter().filter_map(|&child| index.get(&egraph.find(child)).copied()).collect();
                operands.sort_unstable();
                operands.dedup();
                let layout = matches!(term.name, "transpose" | "reshape");
                let at_input = layout && egraph.terms(term.children[0], name::INPUT).next().is_some();
                Alternative { cost: cost(egraph, term), term: term.clone(), operands, at_input }
            };
            terms.map(alternative).collect()
        });
        let alternatives: Vec<Vec<Alternative>> = alternatives.collect();
        Self::of(classes.clone(), alternatives, index[&egraph.find(encoded.root)])
    }

    fn of(classes: Vec<Id>, alternatives: Vec<Vec<Alternative>>, root: usize) -> Self {
        let mut users = vec![Vec::new(); classes.len()];
        for (class, own) in alternatives.iter().enumerate() {
            for (position, alternative) in own.iter().enumerate() {
                alternative.operands.iter().for_each(|&operand| users[operand].push((class, position)));
            }
        }
        Self { alternatives, users, root, classes }
    }

    fn chosen(&self, selection: &Selection, class: usize) -> Option<&Alternative> {
        self.alternatives[class].get(selection[class]?)
    }

    /// The terms of the encoded graph: per class the first one, which cannot form a cycle since
    /// its operands come before it.
    fn original(&self, encoded: &Encoded) -> Selection {
        let egraph = &encoded.egraph;
        let mut selection = vec![None; self.classes.len()];
        let root = Term { name: name::OUTPUTS, payload: 0, children: Vec::new() };
        for (term, &class) in encoded.terms.iter().zip(&encoded.classes).chain([(&root, &encoded.root)]) {
            let Ok(class) = self.classes.binary_search(&egraph.find(class)) else { continue };
            if selection[class].is_none() {
                let term = term.clone().map_children(|child| egraph.find(child));
                let same = |alternative: &Alternative| {
                    alternative.term == term || class == self.root && alternative.term.name == root.name
                };
                selection[class] = self.alternatives[class].iter().position(same);
            }
        }
        selection
    }

    /// Bottom-up: the cost of a term is the cost of the set of classes it needs.
    fn greedy(&self, paid: fn(&Alternative) -> bool) -> Selection {
        let count = self.classes.len();
        let words = count.div_ceil(64);
        let mut selection: Selection = vec![None; count];
        let mut sets: Vec<Option<(u64, Vec<u64>)>> = vec![None; count];
        let mut own = vec![0u64; count];
        let mut changed = true;
        let mut rounds = 0;
        while changed && rounds <= count {
            changed = false;
            rounds += 1;
            for class in 0..count {
                for (index, alternative) in self.alternatives[class].iter().enumerate() {
                    let mut set = vec![0u64; words];
                    let ready = alternative.operands.iter().all(|&operand| {
                        sets[operand].as_ref().is_some_and(|(_, other)| {
                            set.iter_mut().zip(other).for_each(|(word, other)| *word |= other);
                            true
                        })
                    });
                    if !ready || set[class / 64] >> (class % 64) & 1 == 1 {
                        continue;
                    }
                    let cost = if paid(alternative) { 0 } else { alternative.cost };
                    let total = members(&set).map(|member| own[member]).sum::<u64>() + cost;
                    if sets[class].as_ref().is_none_or(|(best, _)| total < *best) {
                        set[class / 64] |= 1 << (class % 64);
                        sets[class] = Some((total, set));
                        own[class] = cost;
                        selection[class] = Some(index);
                        changed = true;
                    }
                }
            }
        }
        selection
    }

    /// The classes that the root needs, operands first; `None` if the choice has a cycle or a gap.
    fn reachable(&self, selection: &Selection) -> Option<Vec<usize>> {
        #[derive(Clone, Copy, PartialEq)]
        enum Mark {
            New,
            Open,
            Done,
        }
        let mut marks = vec![Mark::New; self.classes.len()];
        let mut order = Vec::new();
        let mut stack = vec![(self.root, 0)];
        marks[self.root] = Mark::Open;
        while let Some((class, next)) = stack.pop() {
            let alternative = self.chosen(selection, class)?;
            match alternative.operands.get(next) {
                Some(&operand) => {
                    stack.push((class, next + 1));
                    match marks[operand] {
                        Mark::New => {
                            marks[operand] = Mark::Open;
                            stack.push((operand, 0));
                        }
                        Mark::Open => return None,
                        Mark::Done => {}
                    }
                }
                None => {
                    marks[class] = Mark::Done;
                    order.push(class);
                }
            }
        }
        Some(order)
    }

    fn total(&self, selection: &Selection) -> Option<u64> {
        let reachable = self.reachable(selection)?;
        reachable.into_iter().map(|class| self.chosen(selection, class).map(|chosen| chosen.cost)).sum()
    }

    /// One pass of exchanges, of one class or of two that share an operand; true if one paid.
    fn exchange(&self, best: &mut (u64, Selection)) -> bool {
        let mut improved = false;
        let reachable = self.reachable(&best.1).unwrap_or_default();
        for &class in &reachable {
            for index in 0..self.alternatives[class].len() {
                let before = best.1[class];
                if before == Some(index) {
                    continue;
                }
                let lost = self.lost(&best.1, class, index);
                let gained = self.gained(&best.1, class, index);
                best.1[class] = Some(index);
                let paid = self.keep_if_cheaper(best)
                    || self.exchange_users(best, class, &lost, &reachable)
                    || self.exchange_sharers(best, class, &gained);
                if paid {
                    improved = true;
                } else {
                    best.1[class] = before;
                }
            }
        }
        improved
    }

    /// Operands that a class would no longer have with another alternative.
    fn lost(&self, selection: &Selection, class: usize, index: usize) -> Vec<usize> {
        let kept = &self.alternatives[class][index].operands;
        let chosen = self.chosen(selection, class).map_or(&[][..], |chosen| &chosen.operands);
        chosen.iter().copied().filter(|operand| !kept.contains(operand)).collect()
    }

    /// Operands that only another alternative of a class would need.
    fn gained(&self, selection: &Selection, class: usize, index: usize) -> Vec<usize> {
        let chosen = self.chosen(selection, class).map_or(&[][..], |chosen| &chosen.operands);
        let operands = self.alternatives[class][index].operands.iter().copied();
        operands.filter(|operand| !chosen.contains(operand)).collect()
    }

    /// Exchanges all other classes that could share the operands that a first exchange brought
    /// in, one by one as long as none makes it worse.
    fn exchange_sharers(&self, best: &mut (u64, Selection), first: usize, gained: &[usize]) -> bool {
        let Some(mut total) = self.total(&best.1) else { return false };
        let mut trial = best.1.clone();
        for &(class, index) in gained.iter().flat_map(|&operand| &self.users[operand]) {
            let before = trial[class];
            if class == first || before.is_none() || before == Some(index) {
                continue;
            }
            trial[class] = Some(index);
            match self.total(&trial) {
                Some(with) if with <= total => total = with,
                Some(_) | None => trial[class] = before,
            }
        }
        if total < best.0 {
            *best = (total, trial);
            return true;
        }
        false
    }

    /// Exchanges one more user of the operands that a first exchange gave up, so that they need
    /// not be computed at all.
    fn exchange_users(&self, best: &mut (u64, Selection), first: usize, lost: &[usize], users: &[usize]) -> bool {
        for &user in users.iter().filter(|&&user| user != first) {
            let uses = |alternative: &Alternative| lost.iter().any(|operand| alternative.operands.contains(operand));
            if !self.chosen(&best.1, user).is_some_and(uses) {
                continue;
            }
            let before = best.1[user];
            for (index, alternative) in self.alternatives[user].iter().enumerate() {
                if uses(alternative) {
                    continue;
                }
                best.1[user] = Some(index);
                if self.keep_if_cheaper(best) {
                    return true;
                }
            }
            best.1[user] = before;
        }
        false
    }

    fn keep_if_cheaper(&self, best: &mut (u64, Selection)) -> bool {
        match self.total(&best.1) {
            Some(total) if total < best.0 => {
                best.0 = total;
                true
            }
            Some(_) | None => false,
        }
    }
}

fn members(set: &[u64]) -> impl Iterator<Item = usize> + '_ {
    set.iter().enumerate().flat_map(|(word, &bits)| {
        let mut rest = bits;
        std::iter::from_fn(move || {
            let bit = rest.trailing_zeros() as usize;
            (rest != 0).then(|| {
                rest &= rest - 1;
                word * 64 + bit
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lutweave_testing::property::cases;
    use proptest::prelude::*;

    /// Costs and operands of the alternatives of each class; the last class is the root.
    type Plan = Vec<Vec<(u64, Vec<usize>)>>;

    fn problem(plan: &Plan) -> Problem {
        let term = Term { name: name::OUTPUTS, payload: 0, children: Vec::new() };
        let alternative = |(cost, operands): &(u64, Vec<usize>)| {
            let mut operands = operands.clone();
            operands.sort_unstable();
            operands.dedup();
            Alternative { term: term.clone(), cost: *cost, operands, at_input: false }
        };
        let alternatives = plan.iter().map(|own| own.iter().map(alternative).collect()).collect();
        Problem::of((0..plan.len()).map(Id::from).collect(), alternatives, plan.len() - 1)
    }

    /// The least cost over all choices without cycles.
    fn exhaustive(problem: &Problem) -> Option<u64> {
        let count = problem.classes.len();
        let mut selection: Selection = vec![Some(0); count];
        let mut least = None;
        loop {
            if let Some(total) = problem.total(&selection) {
                least = Some(least.map_or(total, |other: u64| other.min(total)));
            }
            let mut class = 0;
            loop {
                if class == count {
                    return least;
                }
                let next = selection[class].map_or(0, |index| index + 1);
                if next < problem.alternatives[class].len() {
                    selection[class] = Some(next);
                    break;
                }
                selection[class] = Some(0);
                class += 1;
            }
        }
    }

    /// Small e-graphs with shared operands and cycles. The first class is a leaf.
    fn plans() -> impl Strategy<Value = Plan> {
        (3usize..7).prop_flat_map(|count| {
            let alternative = (1u64..20, prop::collection::vec(0..count, 0..3));
            let class = prop::collection::vec(alternative, 1..4);
            prop::collection::vec(class, count).prop_map(|mut plan| {
                plan[0] = vec![(1, Vec::new())];
                plan
            })
        })
    }

    proptest! {
        #![proptest_config(cases(2000))]

        #[test]
        fn a_choice_is_a_choice_and_close_to_the_best(plan in plans()) {
            let problem = problem(&plan);
            let mut turn = 0;
            let mut pick = |count: usize| {
                turn += 7;
                turn % count
            };
            let original = problem.arbitrary(&mut pick);
            let before = problem.total(&original);
            let best = exhaustive(&problem);
            // Any order of decisions finds a choice if there is one.
            prop_assert_eq!(before.is_some(), best.is_some());
            if let (Some(before), Some(best)) = (before, best) {
                let (cost, selection) = problem.best(original, before);
                prop_assert_eq!(problem.total(&selection), Some(cost));
                prop_assert!(best <= cost && cost <= before, "{best} <= {cost} <= {before}");
                prop_assert!(cost <= 2 * best, "{cost} is far from {best}");
            }
        }
    }

    #[test]
    fn most_choices_are_the_best_ones() {
        use proptest::strategy::ValueTree;
        use proptest::test_runner::TestRunner;
        let mut runner = TestRunner::deterministic();
        let (mut optimal, mut solvable) = (0, 0);
        for _ in 0..2000 {
            let problem = problem(&plans().new_tree(&mut runner).expect("a plan").current());
            let original = problem.arbitrary(&mut |count| count - 1);
            if let (Some(before), Some(best)) = (problem.total(&original), exhaustive(&problem)) {
                solvable += 1;
                optimal += usize::from(problem.best(original, before).0 == best);
            }
        }
        assert!(solvable > 1000 && optimal * 100 >= solvable * 99, "{optimal} of {solvable}");
    }
}
