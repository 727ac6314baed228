//! Rules as data, and their translation to egg.

use super::pattern::{MATCHES_PER_CLASS, Match, Pattern, candidates};
use super::term::Term;
use super::typing::{EGraph, Typing};
use egg::{Applier, Id, PatternAst, Rewrite, SearchMatches, Searcher, Subst, Symbol, Var};

/// In which arithmetic a rule is an equality.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RuleClass {
    /// Over the reals; floating-point results differ by rounding.
    Real,
    /// Bit-exact, on integers and floats.
    Integer,
}

/// A condition without which a rule would be wrong.
#[derive(Clone, Copy, Debug)]
pub struct Guard {
    /// What must hold, in a few words.
    pub name: &'static str,
    /// Decides it for a match.
    pub holds: fn(&EGraph, &Match) -> bool,
}

/// A rewrite rule. Applying it to a match adds a term that equals the matched class.
#[derive(Clone, Copy, Debug)]
pub struct RuleSpec {
    /// Unique, kebab-case.
    pub name: &'static str,
    /// In which arithmetic it holds.
    pub class: RuleClass,
    /// Pattern of the left-hand side, see [`super::pattern`].
    pub lhs: &'static str,
    /// The right-hand side for readers; `apply` builds it.
    pub rhs: &'static str,
    /// What must hold for it to be true.
    pub guards: &'static [Guard],
    /// Why it is true, or what it is for.
    pub why: &'static str,
    /// Builds the right-hand side; `None` if it does not exist for this match or gains nothing.
    pub apply: fn(&mut EGraph, &Match) -> Option<Id>,
    /// Rewrites constant expressions instead of values that depend on inputs.
    pub constants: bool,
    /// Makes terms that no directed rule consumes: applied in bursts, with fuel for each class,
    /// between saturations with the directed rules.
    pub generative: bool,
}

impl RuleSpec {
    /// A rule without guards, on values that depend on inputs, that makes nothing new: what a rule does not say
    /// otherwise.
    pub const PLAIN: Self = Self {
        name: "",
        class: RuleClass::Real,
        lhs: "",
        rhs: "",
        guards: &[],
        why: "",
        apply: |_, _| None,
        constants: false,
        generative: false,
    };
}

/// A rule with some of its guards ignored: tests delete guards to see that they are needed.
#[derive(Clone)]
struct Engine {
    spec: RuleSpec,
    pattern: Pattern,
    ignored: Option<&'static str>,
    fuel: usize,
}

/// What a generative rule may add to one class in one burst.
pub const FUEL: usize = 8;

impl Engine {
    fn holds(&self, egraph: &EGraph, found: &Match) -> bool {
        self.spec.guards.iter().all(|guard| self.ignored == Some(guard.name) || (guard.holds)(egraph, found))
    }
}

impl Engine {
    /// What the rule builds depends on the match alone, not on what else its classes hold.
    fn is_local(&self) -> bool {
        !self.spec.generative && !self.pattern.has_free_operands()
    }

    /// The id of what was matched: where equalities are explained, of the very terms, so that the
    /// explanation names the rules that made them.
    fn instance(&self, egraph: &mut EGraph, found: &Match) -> Id {
        if !egraph.are_explanations_enabled() {
            return found.root;
        }
        let mut terms = found.terms.iter();
        instance(egraph, &self.pattern, &mut terms, found.root)
    }

    /// The same match was applied before: building its right-hand side again adds nothing.
    fn is_done(&self, egraph: &EGraph, found: &Match) -> bool {
        self.is_local() && egraph.analysis.remembers(self.spec.name, found)
    }
}

/// The id of the matched terms under a pattern, which take their turn in the pattern's order.
fn instance(egraph: &mut EGraph, pattern: &Pattern, terms: &mut std::slice::Iter<Term>, class: Id) -> Id {
    let Pattern::Term { operands, .. } = pattern else { return class };
    let Some(matched) = terms.next() else { return class };
    let mut term = matched.clone();
    for (operand, child) in operands.iter().flatten().zip(&mut term.children) {
        *child = instance(egraph, operand, terms, *child);
    }
    // Operands of commutative terms were matched in the other order.
    if egraph.lookup(matched.clone()).is_none() {
        term.children.reverse();
    }
    if egraph.lookup(term.clone()).is_some() { egraph.add_uncanonical(term) } else { class }
}

impl Searcher<Term, Typing> for Engine {
    fn search_eclass_with_limit(&self, egraph: &EGraph, eclass: Id, _: usize) -> Option<SearchMatches<'_, Term>> {
        if !self.pattern.matches(egraph, eclass).iter().any(|found| self.holds(egraph, found)) {
            return None;
        }
        // The applier matches again, since a substitution cannot carry attributes.
        Some(SearchMatches { eclass, substs: vec![Subst::default()], ast: None })
    }

    fn search_with_limit(&self, egraph: &EGraph, limit: usize) -> Vec<SearchMatches<'_, Term>> {
        candidates(egraph, self.pattern.root_names(), self.spec.constants)
            .into_iter()
            .filter_map(|class| self.search_eclass_with_limit(egraph, class, limit))
            .take(limit)
            .collect()
    }

    fn vars(&self) -> Vec<Var> {
        Vec::new()
    }
}

impl Applier<Term, Typing> for Engine {
    fn apply_one(
        &self,
        egraph: &mut EGraph,
        eclass: Id,
        _: &Subst,
        _: Option<&PatternAst<Term>>,
        rule: Symbol,
    ) -> Vec<Id> {
        let mut changed = Vec::new();
        let mut matches = self.pattern.matches(egraph, eclass);
        if matches.len() >= MATCHES_PER_CLASS {
            egraph.analysis.stop_for_fuel();
        }
        matches.retain(|found| self.holds(egraph, found));
        for found in matches {
            if self.is_done(egraph, &found) {
                continue;
            }
            let Some(new) = (self.spec.apply)(egraph, &found) else { continue };
            if self.is_local() {
                egraph.analysis.remember(self.spec.name, &found);
            }
            let types = [eclass, new].map(|id| egraph[id].data.ty.clone());
            if types[0] != types[1] {
                let [old, new] = types.map(|ty| ty.map_or_else(|| "nothing".to_owned(), |ty| ty.to_string()));
                egraph.analysis.conflict(format!("rule `{rule}` replaces {old} by {new}"));
            } else {
                let matched = self.instance(egraph, &found);
                if egraph.union_trusted(matched, new, rule) {
                    changed.push(new);
                    if changed.len() >= self.fuel {
                        egraph.analysis.stop_for_fuel();
                        break;
                    }
                }
            }
        }
        changed
    }
}

impl RuleSpec {
    /// The rule as an egg rewrite.
    pub fn rewrite(&self) -> Rewrite<Term, Typing> {
        self.rewrite_without(None)
    }

    /// The rule as an egg rewrite that ignores the guard of a name. For tests of guards only:
    /// such a rule is wrong.
    pub fn rewrite_without(&self, guard: Option<&'static str>) -> Rewrite<Term, Typing> {
        let fuel = if self.generative { FUEL } else { usize::MAX };
        let engine = Engine { spec: *self, pattern: Pattern::parse(self.lhs), ignored: guard, fuel };
        Rewrite::new(self.name, engine.clone(), engine).expect("invariant: no variables to bind")
    }
}
