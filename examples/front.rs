//! Sweeps the front of cycles against accuracy, with progress on standard error.
//!
//! `cargo run --release --example front`

use lutweave::explore::explore;
use lutweave::observer::{Context, Observer, Progress};
use lutweave::{Failure, Model, Options};
use lutweave_ir::Diagnostic;

/// Tells what goes on.
struct Told;

impl Observer for Told {
    fn progress(&self, Progress { what, done, total }: Progress) {
        match total {
            Some(total) => eprint!("\r{what} {done}/{total}   "),
            None => eprint!("\r{what} {done}   "),
        }
    }

    fn finished(&self, _what: &'static str) {
        eprintln!();
    }

    fn warning(&self, warning: &Diagnostic) {
        eprintln!("{warning}");
    }
}

fn main() -> Result<(), Failure> {
    let model = Model::load(Some("mnist"), None)?;
    let options = Options { multipliers: Some(64), ..Options::default() };
    let front = explore(&model, &options, 6, 200, &Context::new(&Told))?;
    println!("{:>8} {:>8} {:>8}", "cycles", "proven", front.metric);
    for point in &front.points {
        println!("{:>8} {:>8} {:>8.4}", point.cycles_per_inference, point.lower_bound, point.value);
    }
    Ok(())
}
