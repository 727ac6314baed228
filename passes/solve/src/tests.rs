//! Against brute force, against the checker, and against mutated answers.

use proptest::prelude::*;

use super::*;
use lutweave_testing::property::cases;

/// A deterministic stream of numbers (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// A small random problem: up to 6 stages of up to 6 options, where fast options tend to be large.
fn small(seed: u64, edges: bool) -> Problem {
    let mut numbers = Numbers(seed);
    let stages = 1 + numbers.below(6) as usize;
    let budgets = 1 + numbers.below(4) as usize;
    let mut problem = Problem::default();
    for index in 0..stages {
        let options = (0..1 + numbers.below(6))
            .map(|_| {
                let work = 1 + numbers.below(8);
                let uses = (0..budgets).map(|_| work * numbers.below(6) + numbers.below(8)).collect();
                let cycles = 60 / work + numbers.below(5);
                Alternative { cycles, uses, input: numbers.below(3) as u32, output: numbers.below(3) as u32 }
            })
            .collect();
        problem.stages.push(Stage { name: format!("stage {index}"), options });
    }
    if edges {
        for to in 1..stages {
            for from in 0..to {
                if from + 1 == to || numbers.below(5) == 0 {
                    let mut prices = Vec::new();
                    for _ in 0..9 {
                        let uses: Vec<u64> = (0..budgets).map(|_| numbers.below(10)).collect();
                        prices.push((numbers.below(5) > 0).then_some(uses));
                    }
                    let price = |written: u32, read: u32| prices[(written * 3 + read) as usize].clone();
                    let edge = Edge::priced(&problem.stages, from, to, price);
                    problem.edges.push(edge);
                }
            }
        }
    }
    for k in 0..budgets {
        let average: u64 = problem
            .stages
            .iter()
            .map(|stage| stage.options.iter().map(|o| o.uses[k]).sum::<u64>() / stage.options.len() as u64)
            .sum();
        let limit = average * (30 + numbers.below(90)) / 100;
        problem.budgets.push(Budget { name: format!("budget {k}"), limit });
    }
    problem
}

/// The fewest cycles by enumeration.
fn brute_force(problem: &Problem) -> Option<u64> {
    let mut best = None;
    let mut selection = vec![0; problem.stages.len()];
    loop {
        if problem.fits(&selection) {
            let cycles = problem.cycles(&selection);
            best = if best.is_none() { cycles } else { best.min(cycles) };
        }
        let next = (0..selection.len()).find(|&stage| selection[stage] + 1 < problem.stages[stage].options.len());
        let Some(stage) = next else { return best };
        selection[stage] += 1;
        selection[..stage].fill(0);
    }
}

fn agree(problem: &Problem, limits: &Limits) -> Result<bool, TestCaseError> {
    let best = brute_force(problem);
    match minimise_cycles(problem, limits).unwrap() {
        Outcome::Solved(solution) => {
            prop_assert_eq!(check(problem, &solution), Ok(()));
            let best = best.expect("a checked solution exists");
            prop_assert!(solution.lower_bound <= best && best <= solution.cycles);
            Ok(solution.optimal)
        }
        Outcome::Infeasible { certificate } => {
            prop_assert_eq!(best, None);
            prop_assert_eq!(check_infeasible(problem, &certificate), Ok(()));
            Ok(true)
        }
        Outcome::Unknown { lower_bound, certificate } => {
            prop_assert_eq!(check_bound(problem, lower_bound, &certificate), Ok(()));
            prop_assert!(best.is_none_or(|best| lower_bound <= best));
            Ok(false)
        }
    }
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn small_chains_are_solved_to_proven_optimality(seed: u64, edges: bool) {
        let problem = small(seed, edges);
        prop_assert!(agree(&problem, &Limits::default())?, "not settled");
    }

    #[test]
    fn bounds_hold_without_branching(seed: u64, edges: bool) {
        let limits = Limits { nodes: 1, total_nodes: 0, secondary: Some(0), report: true };
        agree(&small(seed, edges), &limits)?;
    }

    #[test]
    fn secondary_budget_is_never_raised(seed: u64, edges: bool) {
        let problem = small(seed, edges);
        let plain = minimise_cycles(&problem, &Limits { report: false, ..Limits::default() }).unwrap();
        let limits = Limits { report: false, secondary: Some(0), ..Limits::default() };
        let lowered = minimise_cycles(&problem, &limits).unwrap();
        if let (Some(plain), Some(lowered)) = (plain.solution(), lowered.solution()) {
            prop_assert_eq!(plain.cycles, lowered.cycles);
            prop_assert!(lowered.uses[0] <= plain.uses[0]);
            prop_assert_eq!(check(&problem, lowered), Ok(()));
        }
    }

    #[test]
    fn a_sweep_equals_separate_solutions(seed: u64, edges: bool) {
        let problem = small(seed, edges);
        let limit = problem.budgets[0].limit;
        let mut sweep = Sweep::new(&problem, 0, limit * 2, &Limits::default()).unwrap();
        for limit in [limit / 2, limit * 2, limit] {
            let (point, outcome) = sweep.at(limit);
            let best = brute_force(&point);
            prop_assert_eq!(outcome.solution().map(|solution| solution.cycles), best);
            match outcome {
                Outcome::Solved(solution) => prop_assert_eq!(check(&point, &solution), Ok(())),
                Outcome::Infeasible { certificate } => {
                    prop_assert_eq!(check_infeasible(&point, &certificate), Ok(()));
                }
                Outcome::Unknown { .. } => prop_assert!(false, "not settled"),
            }
        }
    }

    #[test]
    fn pinned_options_are_answered(seed: u64, edges: bool) {
        let problem = small(seed, edges);
        if let Outcome::Solved(solution) = minimise_cycles(&problem, &Limits::default()).unwrap() {
            for (stage, option) in [(0, 0), (problem.stages.len() - 1, 0)] {
                let answer = why_not(&problem, solution.cycles, stage, &[option], &Limits::default()).unwrap();
                let best = brute_force(&explain::pinned(&problem, stage, &[option]).unwrap());
                prop_assert_eq!(answer.outcome.solution().map(|solution| solution.cycles), best);
                prop_assert!(!answer.reason.is_empty());
            }
        }
    }
}

/// A problem with an optimum that the tests below tamper with: proven by branching, at a bound that is not trivial.
fn settled() -> (Problem, Solution) {
    let candidates = (0..4000).map(|seed| small(seed, true));
    for problem in candidates.filter(|problem| problem.stages.len() >= 4 && problem.budgets.len() >= 2) {
        if let Outcome::Solved(solution) = minimise_cycles(&problem, &Limits::default()).unwrap() {
            let branched = |proof: &Refutation| matches!(proof, Refutation::Split { .. });
            let deep = match &solution.certificate {
                Refutation::Reduce { rest, .. } => match &**rest {
                    Refutation::Undominated { rest, .. } => branched(rest),
                    other => branched(other),
                },
                Refutation::Undominated { rest, .. } => branched(rest),
                other => branched(other),
            };
            if solution.optimal && deep {
                return (problem, *solution);
            }
        }
    }
    panic!("no candidate needs branching");
}

/// Every proof that differs from `proof` in one place.
fn mutants(proof: &Refutation) -> Vec<Refutation> {
    let mut mutants = Vec::new();
    let none = |multipliers: &[u64]| vec![0; multipliers.len()];
    match proof {
        Refutation::Exhausted { stage } => mutants.push(Refutation::Exhausted { stage: stage + 1000 }),
        Refutation::Unjoinable { edge } => mutants.push(Refutation::Unjoinable { edge: edge + 1000 }),
        Refutation::Weighted { multipliers } => {
            mutants.push(Refutation::Weighted { multipliers: none(multipliers) });
            mutants.push(Refutation::Weighted { multipliers: multipliers[1..].to_vec() });
        }
        Refutation::Reduce { multipliers, rest } => {
            mutants.push(Refutation::Reduce { multipliers: multipliers[1..].to_vec(), rest: rest.clone() });
            mutants.extend(
                self::mutants(rest)
                    .into_iter()
                    .map(|rest| Refutation::Reduce { multipliers: multipliers.clone(), rest: Box::new(rest) }),
            );
        }
        Refutation::Undominated { kept, rest } => {
            for stage in 0..kept.len() {
                let mut fewer = kept.clone();
                fewer[stage].pop();
                mutants.push(Refutation::Undominated { kept: fewer, rest: rest.clone() });
            }
            mutants.extend(
                self::mutants(rest)
                    .into_iter()
                    .map(|rest| Refutation::Undominated { kept: kept.clone(), rest: Box::new(rest) }),
            );
        }
        Refutation::Split { stage, axis, threshold, low, high } => {
            let with = |low: Refutation, high: Refutation| Refutation::Split {
                stage: *stage,
                axis: *axis,
                threshold: *threshold,
                low: Box::new(low),
                high: Box::new(high),
            };
            mutants.extend(self::mutants(low).into_iter().map(|low| with(low, (**high).clone())));
            mutants.extend(self::mutants(high).into_iter().map(|high| with((**low).clone(), high)));
        }
    }
    mutants
}

#[test]
fn the_checker_refuses_mutated_answers() {
    let (problem, solution) = settled();
    assert_eq!(check(&problem, &solution), Ok(()));
    let refused = |change: &dyn Fn(&mut Solution)| {
        let mut mutant = solution.clone();
        change(&mut mutant);
        assert_ne!(mutant, solution);
        assert!(check(&problem, &mutant).is_err(), "{mutant:?}");
    };
    refused(&|s| s.cycles -= 1);
    refused(&|s| s.lower_bound += 1);
    refused(&|s| s.optimal = false);
    refused(&|s| s.gap = 0.5);
    refused(&|s| s.uses[0] += 1);
    refused(&|s| s.slack[0] += 1);
    refused(&|s| s.selection[0] = usize::MAX);
    refused(&|s| s.selection.truncate(1));
    for stage in 0..problem.stages.len() {
        for option in (0..problem.stages[stage].options.len()).filter(|&option| option != solution.selection[stage]) {
            // Another option with the same numbers is as good; every other one is refused.
            let (now, then) =
                (&problem.stages[stage].options[option], &problem.stages[stage].options[solution.selection[stage]]);
            if now != then {
                refused(&|s| s.selection[stage] = option);
            }
        }
    }
    // A bound above the optimum cannot be proven, and a proof with one flaw is none.
    assert!(check_bound(&problem, solution.cycles + 1, &solution.certificate).is_err());
    assert!(check_infeasible(&problem, &solution.certificate).is_err());
    let mutants = mutants(&solution.certificate);
    assert!(mutants.len() >= 4);
    for mutant in mutants {
        assert!(check_bound(&problem, solution.lower_bound, &mutant).is_err(), "{mutant:?}");
    }
}

fn option(cycles: u64, uses: &[u64]) -> Alternative {
    Alternative { cycles, uses: uses.to_vec(), input: 0, output: 0 }
}

fn chain(stages: Vec<Vec<Alternative>>, limits: &[u64]) -> Problem {
    let stages = stages.into_iter().enumerate();
    Problem {
        stages: stages.map(|(index, options)| Stage { name: format!("s{index}"), options }).collect(),
        edges: Vec::new(),
        budgets: limits.iter().enumerate().map(|(k, &limit)| Budget { name: format!("b{k}"), limit }).collect(),
    }
}

#[test]
fn shortage_is_said_in_words() {
    let stage = vec![option(10, &[53, 1]), option(40, &[20, 1])];
    let problem = chain(vec![stage.clone(), stage], &[100, 10]);
    let Outcome::Solved(solution) = minimise_cycles(&problem, &Limits::default()).unwrap() else { panic!("it fits") };
    assert_eq!((solution.cycles, solution.optimal), (40, true));
    let tight = chain(vec![vec![option(10, &[53, 1])]; 2], &[100, 10]);
    let Outcome::Infeasible { certificate } = minimise_cycles(&tight, &Limits::default()).unwrap() else {
        panic!("it cannot fit")
    };
    assert_eq!(check_infeasible(&tight, &certificate), Ok(()));
    let mut pinned = problem.clone();
    pinned.stages[1].options.remove(1);
    pinned.stages[0].options.push(option(9, &[60, 1]));
    let Outcome::Solved(solution) = minimise_cycles(&pinned, &Limits::default()).unwrap() else { panic!("it fits") };
    let why_not = |option| why_not(&pinned, solution.cycles, 0, &[option], &Limits::default());
    let answer = why_not(2).unwrap();
    assert_eq!(answer.reason, "nothing fits with it: even ignoring everything else, b0 is 13.0 % short");
    assert!(why_not(1).unwrap().reason.starts_with("it does as well"));
    assert_eq!(why_not(9).unwrap_err().code, "no-such-option");
}

#[test]
fn prices_name_the_budget_that_binds() {
    // Only the first budget binds, and 5 % more of it admits the fast pair.
    let stage = vec![option(10, &[52, 1]), option(40, &[20, 1])];
    let problem = chain(vec![stage.clone(), stage], &[100, 1000]);
    let Outcome::Solved(solution) = minimise_cycles(&problem, &Limits::default()).unwrap() else { panic!("it fits") };
    assert_eq!(solution.prices[0].measured, [(2, 40), (5, 10), (10, 10)]);
    assert_eq!((solution.prices[0].share, solution.prices[1].share), (1.0, 0.0));
    assert_eq!(solution.prices[0].per_percent, 3.0);
    assert!(solution.prices[1].measured.is_empty());
    let runner_up = solution.runner_up[0].clone().unwrap();
    assert_eq!((runner_up.option, runner_up.cycles, runner_up.breaks), (0, 40, None));
}

#[test]
fn extreme_limits_do_not_overflow() {
    let unlimited = chain(vec![vec![option(5, &[1 << 40]), option(7, &[0])]; 3], &[u64::MAX]);
    let Outcome::Solved(solution) = minimise_cycles(&unlimited, &Limits::default()).unwrap() else { panic!("it fits") };
    assert_eq!((solution.cycles, solution.optimal), (5, true));
    assert_eq!(check(&unlimited, &solution), Ok(()));
    let large = chain(vec![vec![option(5, &[1 << 59, 3]), option(7, &[1 << 57, 1])]; 3], &[1 << 60, 5]);
    let Outcome::Solved(solution) = minimise_cycles(&large, &Limits::default()).unwrap() else { panic!("it fits") };
    assert_eq!((solution.cycles, solution.optimal), (7, true));
    assert_eq!(check(&large, &solution), Ok(()));
    let none = chain(vec![vec![option(5, &[1])]; 2], &[0]);
    let Outcome::Infeasible { certificate } = minimise_cycles(&none, &Limits::default()).unwrap() else {
        panic!("nothing fits a limit of 0")
    };
    assert_eq!(check_infeasible(&none, &certificate), Ok(()));
    let empty = minimise_cycles(&Problem::default(), &Limits::default()).unwrap();
    assert_eq!(empty.solution().map(|solution| (solution.cycles, solution.optimal)), Some((0, true)));
}

#[test]
fn malformed_problems_are_refused() {
    let code = |problem: &Problem| minimise_cycles(problem, &Limits::default()).unwrap_err().code;
    assert_eq!(code(&chain(vec![vec![]], &[1])), "stage-without-options");
    assert_eq!(code(&chain(vec![vec![option(1, &[1, 2])]], &[1])), "budget-count-mismatch");
    assert_eq!(code(&chain(vec![vec![option(1, &[u64::MAX])]; 2], &[u64::MAX])), "amounts-too-large");
    let mut problem = chain(vec![vec![option(1, &[1])]; 2], &[5]);
    problem.edges.push(Edge { from: 1, to: 0, conversion: Default::default() });
    assert_eq!(code(&problem), "edge-not-forward");
    problem.edges[0] = Edge { from: 0, to: 1, conversion: [((0, 1), vec![])].into_iter().collect() };
    assert_eq!(code(&problem), "budget-count-mismatch");
    let limits = Limits { secondary: Some(3), ..Limits::default() };
    assert_eq!(minimise_cycles(&chain(vec![], &[1]), &limits).unwrap_err().code, "no-such-budget");
}
