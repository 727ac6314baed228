//! Who watches the compiler: told of passes, progress and warnings as they come, asked whether to go on.

use crate::failure::Failure;
use crate::pipeline::{Pass, State};
use lutweave_ir::{Diagnostic, Diagnostics, Severity};
use serde::Serialize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How far a piece of long work is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is going on, in a word.
    pub what: &'static str,
    /// Steps done.
    pub done: usize,
    /// All steps, where that is known.
    pub total: Option<usize>,
}

/// Who watches. Every method has a default that does nothing; `()` is an observer that does not look.
///
/// Methods may be called from several threads.
pub trait Observer: Sync {
    /// A pass of [`crate::pipeline::PIPELINE`] has run on the network that is compiled. (Candidates that are
    /// only measured are part of the pass that measures them.)
    fn pass(&self, _pass: &Pass, _state: &State, _elapsed: Duration) {}

    /// A step of long work is done.
    fn progress(&self, _progress: Progress) {}

    /// Long work has ended, well or not.
    fn finished(&self, _what: &'static str) {}

    /// Something that the user should know. Each is said once.
    fn warning(&self, _warning: &Diagnostic) {}

    /// Asked between steps: true ends the work with [`Failure::Cancelled`].
    fn cancelled(&self) -> bool {
        false
    }
}

impl Observer for () {}

/// Time that a pass took, over all its runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Timing {
    /// Name of the pass.
    pub pass: &'static str,
    /// How often it ran.
    pub runs: usize,
    /// Wall-clock seconds.
    pub seconds: f64,
}

/// One piece of work with its observer: what was said and how long passes took.
pub struct Context<'a> {
    observer: &'a dyn Observer,
    said: Mutex<Vec<Diagnostic>>,
    timings: Mutex<Vec<Timing>>,
}

impl<'a> Context<'a> {
    /// Nothing said yet.
    pub fn new(observer: &'a dyn Observer) -> Self {
        Self { observer, said: Mutex::default(), timings: Mutex::default() }
    }

    /// Another piece of work for the same observer: nothing said, no time taken.
    pub(crate) fn begin(&self) {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.timings.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Tells the observer, unless it was told the same before.
    pub fn warn(&self, warning: Diagnostic) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if !said.contains(&warning) {
            self.observer.warning(&warning);
            said.push(warning);
        }
    }

    /// Tells the observer each, unless it was told the same before.
    pub fn warn_all<'w>(&self, warnings: impl IntoIterator<Item = &'w Diagnostic>) {
        warnings.into_iter().for_each(|warning| self.warn(warning.clone()));
    }

    /// All warnings so far, in order.
    pub fn warnings(&self) -> Vec<Diagnostic> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Fails if anything worse than a note was said.
    ///
    /// # Errors
    /// The warnings, as errors.
    pub fn refuse_warnings(&self) -> Result<(), Failure> {
        let mut warnings = self.warnings();
        warnings.retain(|warning| warning.severity == Severity::Warning);
        for warning in &mut warnings {
            warning.severity = Severity::Error;
        }
        if warnings.is_empty() { Ok(()) } else { Err(Failure::Refused(Diagnostics(warnings))) }
    }

    /// Fails if the observer wants no more.
    ///
    /// # Errors
    /// [`Diagnostic::cancelled`], which becomes [`Failure::Cancelled`].
    pub fn check(&self) -> Result<(), Diagnostic> {
        if self.observer.cancelled() { Err(Diagnostic::cancelled()) } else { Ok(()) }
    }

    /// Long work of so many steps, or of a number that is not known.
    pub fn work(&self, what: &'static str, total: Option<usize>) -> Work<'_> {
        Work { context: self, what, total, done: AtomicUsize::new(0) }
    }

    /// A pass has run.
    pub(crate) fn passed(&self, pass: &'static Pass, state: &State, elapsed: Duration) {
        let mut timings = self.timings.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = elapsed.as_secs_f64();
        match timings.iter_mut().find(|timing| timing.pass == pass.name) {
            Some(timing) => {
                timing.runs += 1;
                timing.seconds += seconds;
            }
            None => timings.push(Timing { pass: pass.name, runs: 1, seconds }),
        }
        drop(timings);
        self.observer.pass(pass, state, elapsed);
    }

    /// Time of each pass so far, in the order of their first runs.
    pub fn timings(&self) -> Vec<Timing> {
        self.timings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Long work under way. The observer is told when it is dropped.
pub struct Work<'a> {
    context: &'a Context<'a>,
    what: &'static str,
    total: Option<usize>,
    done: AtomicUsize,
}

impl Work<'_> {
    /// One more step is done.
    ///
    /// # Errors
    /// [`Diagnostic::cancelled`] if the observer wants no more.
    pub fn step(&self) -> Result<(), Diagnostic> {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        self.tell(done, self.total)
    }

    /// So many steps are done.
    ///
    /// # Errors
    /// As [`Work::step`].
    pub fn at(&self, done: usize) -> Result<(), Diagnostic> {
        self.tell(done, self.total)
    }

    /// So many steps of so many are done.
    ///
    /// # Errors
    /// As [`Work::step`].
    pub fn of(&self, done: usize, total: usize) -> Result<(), Diagnostic> {
        self.tell(done, Some(total))
    }

    fn tell(&self, done: usize, total: Option<usize>) -> Result<(), Diagnostic> {
        self.context.observer.progress(Progress { what: self.what, done, total });
        self.context.check()
    }
}

impl Drop for Work<'_> {
    fn drop(&mut self) {
        self.context.observer.finished(self.what);
    }
}
