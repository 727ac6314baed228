//! Times the solver on made-up networks of 30 stages like a MobileNet.
//!
//! `cargo run --release -p lutweave-solve --example solve -- [SEEDS] [chain|edges] [DISTORTION_PERCENT]`
//!
//! The cost formulas are plausible and not calibrated: they are here to rank and time searches.

use std::time::Instant;

use lutweave_solve::{
    Alternative, Budget, Edge, Limits, Outcome, Problem, Stage, check, check_bound, check_infeasible, minimise_cycles,
};

struct Numbers(u64);

impl Numbers {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

const NAMES: [&str; 7] = ["multipliers", "lut", "ff", "dsp", "bram", "weight bytes", "distortion"];
const FOLDS: [u64; 17] = [1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48];
const KEPT: [(u64, u64); 7] = [(8, 8), (6, 8), (4, 8), (3, 8), (2, 8), (1, 8), (5, 8)];

fn mobilenet(seed: u64, edges: bool, percent: u64) -> Problem {
    let mut numbers = Numbers(seed);
    let mut problem = Problem::default();
    let (mut channels, mut pixels) = (16u64, 96 * 96u64);
    for index in 0..30u64 {
        let depthwise = index % 2 == 1;
        let outputs = if depthwise || !index.is_multiple_of(4) { channels } else { (channels * 3 / 2).min(256) };
        if index % 6 == 5 {
            pixels = (pixels / 4).max(9);
        }
        let (inputs, taps) = if depthwise { (1, 9) } else { (channels, 1) };
        let weights = outputs * inputs * taps;
        let sensitivity = 40.0 * (0.3 + 2.0 * numbers.unit());
        let mut options = Vec::new();
        for &pe in FOLDS.iter().filter(|&&pe| pe <= outputs) {
            for &simd in FOLDS.iter().filter(|&&simd| simd <= inputs * taps) {
                for bits in [4u64, 8] {
                    for (kept, of) in KEPT {
                        for dsp in [false, true] {
                            for bram in [false, true] {
                                let steps = (inputs * taps * kept).div_ceil(of * simd);
                                let cycles = pixels * outputs.div_ceil(pe) * steps;
                                let lanes = pe * simd;
                                let multipliers = if bits == 4 { lanes.div_ceil(2) } else { lanes };
                                let gather = if kept == of { 0 } else { 6 * lanes };
                                let logic = if dsp { 4 * lanes } else { lanes * bits * 8 };
                                let bytes = (weights * kept / of * bits).div_ceil(8) + weights * kept / (of * 4);
                                let blocks = (bytes.div_ceil(2048)).max((lanes * bits).div_ceil(36));
                                let memory = if bram { 0 } else { bytes.div_ceil(4) + lanes };
                                let lost = (1.0 - kept as f64 / of as f64).powi(2) * 60.0;
                                let noise = if bits == 4 { 6.0 } else { 0.05 };
                                let uses = vec![
                                    multipliers,
                                    300 + logic + gather + memory,
                                    400 + lanes * 20,
                                    if dsp { multipliers } else { 0 },
                                    if bram { blocks } else { 0 },
                                    bytes,
                                    (sensitivity * (lost + noise)) as u64,
                                ];
                                options.push(Alternative { cycles, uses, input: simd as u32, output: pe as u32 });
                            }
                        }
                    }
                }
            }
        }
        problem.stages.push(Stage { name: format!("stage {index}"), options });
        channels = outputs;
    }
    let limits = [600, 40_000, 60_000, 300, 120, 150_000, 30_000 * percent / 100];
    problem.budgets = NAMES.iter().zip(limits).map(|(name, limit)| Budget { name: (*name).into(), limit }).collect();
    if edges {
        for to in 1..problem.stages.len() {
            let price = |written: u32, read: u32| {
                let wide = u64::from(written.max(read));
                Some(vec![0, 20 + 10 * wide, 16 * wide, 0, 0, 0, 0])
            };
            let edge = Edge::priced(&problem.stages, to - 1, to, price);
            problem.edges.push(edge);
            if to % 5 == 4 {
                let edge = Edge::priced(&problem.stages, to - 3, to, price);
                problem.edges.push(edge);
            }
        }
    }
    problem
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let seeds = arguments.first().and_then(|text| text.parse().ok()).unwrap_or(4u64);
    let edges = arguments.get(1).is_some_and(|text| text == "edges");
    let percent = arguments.get(2).and_then(|text| text.parse().ok()).unwrap_or(100u64);
    let mut gaps = Vec::new();
    for seed in 0..seeds {
        let problem = mobilenet(seed, edges, percent);
        let options: usize = problem.stages.iter().map(|stage| stage.options.len()).sum();
        let started = Instant::now();
        let limits = Limits { secondary: Some(6), ..Limits::default() };
        let outcome = minimise_cycles(&problem, &limits);
        let solved = started.elapsed();
        let started = Instant::now();
        let line = match outcome {
            Ok(Outcome::Solved(solution)) => {
                gaps.push(solution.gap);
                let verdict = check(&problem, &solution);
                let shares: Vec<String> =
                    solution.prices.iter().map(|p| format!("{} {:.2}", NAMES[p.budget], p.share)).collect();
                format!(
                    "{} cycles, bound {}, gap {:.2} %, proof of {} steps, check {verdict:?}; uses {:?}; {}",
                    solution.cycles,
                    solution.lower_bound,
                    100.0 * solution.gap,
                    solution.certificate.steps(),
                    solution.uses,
                    shares.join(", ")
                )
            }
            Ok(Outcome::Infeasible { certificate }) => {
                format!("infeasible, check {:?}", check_infeasible(&problem, &certificate))
            }
            Ok(Outcome::Unknown { lower_bound, certificate }) => {
                format!("unknown above {lower_bound}, check {:?}", check_bound(&problem, lower_bound, &certificate))
            }
            Err(diagnostic) => diagnostic.to_string(),
        };
        println!("seed {seed}: {options} options, {solved:.2?} + {:.2?}: {line}", started.elapsed());
    }
    println!("mean gap {:.2} %", 100.0 * gaps.iter().sum::<f64>() / gaps.len().max(1) as f64);
}
