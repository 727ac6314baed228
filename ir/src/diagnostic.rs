//! Structured diagnostics: what is wrong, where, why, and what to do about it.
//!
//! Libraries build and return them; only the command line renders them.

use std::fmt;

const CANCELLED: &str = "cancelled";

/// Called by long work after each step, with the steps done; an error cancels the work, which returns it.
pub type OnStep<'a> = &'a (dyn Fn(usize) -> Result<(), Diagnostic> + Sync);

/// As [`OnStep`], with the steps done and all of them.
pub type OnProgress<'a> = &'a (dyn Fn(usize, usize) -> Result<(), Diagnostic> + Sync);

/// How bad a diagnostic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing is in doubt; the user may like to know.
    Note,
    /// Compilation goes on, and its result may not be what the user wants.
    Warning,
    /// Compilation stops.
    Error,
}

/// One finding about a model, a file or a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable kebab-case identifier, such as `unsupported-operator`.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong and why, in one sentence.
    pub message: String,
    /// Name of the node (or tensor, file, option) it is about; empty if about the whole.
    pub node: String,
    /// Operator of that node as the model's file spells it; empty if none.
    pub operator: String,
    /// What the user can do; empty if nothing useful is known.
    pub help: String,
}

impl Diagnostic {
    /// An error with a code and a message.
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            message: message.into(),
            node: String::new(),
            operator: String::new(),
            help: String::new(),
        }
    }

    /// A warning with a code and a message.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message) }
    }

    /// A note with a code and a message.
    pub fn note(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Note, ..Self::error(code, message) }
    }

    /// Work ended early because whoever asked for it no longer wants it.
    pub fn cancelled() -> Self {
        Self::error(CANCELLED, "the work was cancelled")
    }

    /// True of [`Diagnostic::cancelled`].
    pub fn is_cancelled(&self) -> bool {
        self.code == CANCELLED
    }

    /// Names the node it is about.
    #[must_use]
    pub fn at(mut self, node: impl Into<String>) -> Self {
        self.node = node.into();
        self
    }

    /// Names the operator of that node.
    #[must_use]
    pub fn operator(mut self, operator: impl Into<String>) -> Self {
        self.operator = operator.into();
        self
    }

    /// Says what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, "{severity}[{}]", self.code)?;
        if !self.node.is_empty() {
            write!(f, " at `{}`", self.node)?;
        }
        if !self.operator.is_empty() {
            write!(f, " ({})", self.operator)?;
        }
        write!(f, ": {}", self.message)?;
        if !self.help.is_empty() {
            write!(f, "; {}", self.help)?;
        }
        Ok(())
    }
}

/// One or more diagnostics, returned as an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        Self(vec![diagnostic])
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}
impl std::error::Error for Diagnostic {}
