//! The observer of the command line: bars, warnings and dumps on standard error, and Ctrl-C.

use super::render::show;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use lutweave::observer::{Observer, Progress};
use lutweave::pipeline::{Pass, State};
use lutweave_ir::Diagnostic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Makes Ctrl-C and termination end the program at the next step, without leaving files.
pub fn catch_interrupts() {
    // A second handler cannot be set; the first does the same.
    let _ = ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::SeqCst) {
            // The second time, at once.
            std::process::exit(130);
        }
    });
}

/// Shows progress where standard error is a terminal, and warnings anywhere.
pub struct Bars {
    quiet: bool,
    /// Passes after which the graph is printed; `all` stands for every pass.
    dumps: Vec<String>,
    bars: Mutex<Vec<(&'static str, ProgressBar)>>,
}

impl Bars {
    /// No bars if `quiet`.
    pub fn new(quiet: bool, dumps: &[String]) -> Self {
        Self { quiet, dumps: dumps.to_vec(), bars: Mutex::default() }
    }
}

impl Observer for Bars {
    fn pass(&self, pass: &Pass, state: &State, _elapsed: Duration) {
        if self.dumps.iter().any(|name| name == pass.name || name == "all") {
            errln!("# after {}", pass.name);
            super::output::write_error(format_args!("{}", state.text()));
        }
    }

    fn progress(&self, progress: Progress) {
        if self.quiet {
            return;
        }
        let mut bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        let bar = match bars.iter().find(|(what, _)| *what == progress.what) {
            Some((_, bar)) => bar,
            None => {
                bars.push((progress.what, bar(progress)));
                &bars[bars.len() - 1].1
            }
        };
        if let Some(total) = progress.total {
            bar.set_length(total as u64);
        }
        bar.set_position(progress.done as u64);
    }

    fn finished(&self, what: &'static str) {
        let mut bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, bar) in bars.extract_if(.., |(known, _)| *known == what) {
            bar.finish_and_clear();
        }
    }

    fn warning(&self, warning: &Diagnostic) {
        show(warning);
    }

    fn cancelled(&self) -> bool {
        INTERRUPTED.load(Ordering::SeqCst)
    }
}

fn bar(progress: Progress) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(progress.total.map(|total| total as u64), ProgressDrawTarget::stderr());
    let template = match progress.total {
        Some(_) => "{prefix:>14} {bar:30.cyan/blue} {pos}/{len} {elapsed}",
        None => "{prefix:>14} {pos} steps {elapsed}",
    };
    bar.set_style(ProgressStyle::with_template(template).expect("invariant: the template is constant"));
    bar.set_prefix(progress.what);
    bar
}
