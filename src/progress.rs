//! Progress on standard error: a bar where that is a terminal, nothing otherwise.

use crate::failure::Failure;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::sync::atomic::{AtomicBool, Ordering};

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

/// Fails if the user interrupted.
///
/// # Errors
/// [`Failure::Interrupted`].
pub fn check_interrupt() -> Result<(), Failure> {
    if INTERRUPTED.load(Ordering::SeqCst) { Err(Failure::Interrupted) } else { Ok(()) }
}

/// True once the user interrupted.
fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Ends the program if the user interrupted, inside work that cannot return a failure. Nothing may
/// have been written yet.
pub fn exit_if_interrupted() {
    if interrupted() {
        std::process::exit(130);
    }
}

/// A bar of `length` steps; `quiet` shows nothing.
pub fn bar(what: &str, length: usize, quiet: bool) -> ProgressBar {
    let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    // A length of 0 is set when it is known.
    let bar = ProgressBar::with_draw_target((length > 0).then_some(length as u64), target);
    let style = ProgressStyle::with_template("{prefix:>14} {bar:30.cyan/blue} {pos}/{len} {elapsed}")
        .expect("invariant: the template is constant");
    bar.set_style(style);
    bar.set_prefix(what.to_owned());
    bar
}

/// A count of steps whose number is not known; `quiet` shows nothing.
pub fn count(what: &str, quiet: bool) -> ProgressBar {
    let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(None, target);
    bar.set_style(
        ProgressStyle::with_template("{prefix:>14} {pos} steps {elapsed}")
            .expect("invariant: the template is constant"),
    );
    bar.set_prefix(what.to_owned());
    bar
}
