//! Damaged files: models, task and device files, arrays, and compiled models are changed at random and
//! given to the program. Whatever comes, it must end with success or a diagnostic, within a time and
//! a memory, and leave nothing half written.
//!
//! Without arguments a small campaign runs, as a test. `scripts/mutations` runs the large one:
//! `--models N --files N --jobs J --seed S`, and `--kind NAME` for one kind only. Cases run in processes of their own, which are watched:
//! one that dies, hangs, or takes too much memory is counted and started anew behind the case.

mod change;
#[path = "../../src/cli/mod.rs"]
mod cli;
mod corpus;
mod kind;
mod random;
mod watch;
mod worker;

use kind::Kind;
use std::collections::BTreeMap;
use std::process::ExitCode;
use watch::{Ending, Report};

/// Cases of the small campaign: models, and files of each other kind.
const FEW: [u64; 2] = [400, 60];

/// What the command line asks for.
pub struct Arguments {
    models: u64,
    files: u64,
    jobs: u64,
    seed: u64,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("--worker", rest)) = arguments.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return worker::run(rest);
    }
    // The test runner's own arguments, such as a filter or --nocapture, mean nothing here.
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    let number = |name: &str, default: u64| value(name).and_then(|value| value.parse().ok()).unwrap_or(default);
    let asked = Arguments {
        models: number("--models", FEW[0]),
        files: number("--files", FEW[1]),
        jobs: number("--jobs", std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64)),
        seed: number("--seed", 1),
    };
    let started = std::time::Instant::now();
    let mut faults = 0;
    println!(
        "{:>8}  {:>7} {:>8} {:>8} {:>7} {:>9} {:>9}",
        "kind", "cases", "accepted", "refused", "faults", "longest", "largest"
    );
    let wanted = value("--kind").and_then(|name| Kind::of(&name));
    for kind in Kind::ALL.into_iter().filter(|kind| wanted.is_none_or(|wanted| wanted == *kind)) {
        let cases = if kind == Kind::Model { asked.models } else { asked.files };
        let report = watch::campaign(kind, cases, &asked);
        faults += print(kind, &report);
    }
    println!("mutations: {faults} faults in {:.0} s", started.elapsed().as_secs_f64());
    let passed = if faults == 0 { "1 passed, 0 failed" } else { "0 passed, 1 failed" };
    println!("{passed}");
    if faults == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints a line of figures and every fault; how many there are.
fn print(kind: Kind, report: &Report) -> u64 {
    let count = |wanted: fn(&Ending) -> bool| report.endings.iter().filter(|(_, ending)| wanted(ending)).count();
    let faults = count(Ending::is_fault) as u64;
    println!(
        "{:>8}  {:>7} {:>8} {:>8} {:>7} {:>7.1} s {:>6} MB",
        kind.name(),
        report.endings.len(),
        count(|ending| *ending == Ending::Accepted),
        count(|ending| matches!(ending, Ending::Refused)),
        faults,
        report.longest.as_secs_f64(),
        report.largest >> 20
    );
    let mut by_cause: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (case, ending) in report.endings.iter().filter(|(_, ending)| ending.is_fault()) {
        by_cause.entry(ending.to_string()).or_default().push(*case);
    }
    for (cause, cases) in by_cause {
        let some: Vec<String> = cases.iter().take(5).map(ToString::to_string).collect();
        println!("          {} times {cause}: cases {}", cases.len(), some.join(", "));
    }
    faults
}
