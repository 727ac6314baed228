//! Against brute force, against the checker, and against mutated answers.

use proptest::prelude::*;

use super::*;

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
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn small_chains_are_solved_to_proven_optimality(seed: u64, edges: bool) {
        let problem = small(seed, edges);
        prop_assert!(agree(&problem, &Limits::default())?, "not settled");
    }

    #[test]
    fn bounds_hold_without_branching(seed: u64, edges: bool) {
        let limits = Limits { nodes: 1, total_nodes: 0, secondary: Some(0), prices: true };
        agree(&small(seed, edges), &limits)?;
    }

    #[test]
    fn secondary_budget_is_never_raised(seed: u64, edges: bool) {
        let problem = small(seed, edges);
        let plain = minimise_cycles(&problem, &Limits { prices: false, ..Limits::default() }).unwrap();
        let limits = Limits { prices: false, secondary: Some(0), ..Limits::default() };
        let lowered = minimise_cycles(&problem, &limits).unwrap();
        if let (Some(plain), Some(lowered)) = (plain.solution(), lowered.solution()) {
            prop_assert_eq!(plain.cycles, lowered.cycles);
            prop_assert!(lowered.uses[0] <= plain.uses[0]);
            prop_assert_eq!(check(&problem, lowered), Ok(()));
        }
    }

    #[test]
    fn a_front_equals_separate_solutions(seed: u64, edges: bool) {
        let problem = small(seed, edges);
        let limit = problem.budgets[0].limit;
        let points = [limit / 2, limit, limit * 2];
        for (point, outcome) in front(&problem, 0, &points, &Limits::default()).unwrap() {
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
                let answer = why_not(&problem, &solution, stage, option, &Limits::default()).unwrap();
                let best = brute_force(&explain::pinned(&problem, stage, &[option]).unwrap());
                prop_assert_eq!(answer.outcome.solution().map(|solution| solution.cycles), best);
                prop_assert!(!answer.reason.is_empty());
            }
        }
    }
}
