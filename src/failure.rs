//! Why a command ends without success, and how that is shown.

use lutweave_ir::{Diagnostic, Diagnostics, Severity};
use miette::{LabeledSpan, MietteDiagnostic};
use std::path::Path;

/// Why a command ends without success.
#[derive(Debug)]
pub enum Failure {
    /// The compiler refused, or a file cannot be read or written: exit 1.
    Refused(Diagnostics),
    /// A verification found differences, already reported: exit 1.
    Disagreement,
    /// The command line makes no sense: exit 2.
    Usage(Diagnostic),
    /// The user interrupted: exit 130.
    Interrupted,
}

impl Failure {
    /// Exit status of the program.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(_) | Self::Disagreement => 1,
            Self::Usage(_) => 2,
            Self::Interrupted => 130,
        }
    }

    /// A file that cannot be used.
    pub fn file(path: &Path, action: &str, error: impl std::fmt::Display) -> Self {
        Diagnostic::error("file", format!("cannot {action}: {error}")).at(path.display().to_string()).into()
    }

    /// Shows it on standard error.
    pub fn show(&self) {
        match self {
            Self::Refused(diagnostics) => diagnostics.0.iter().for_each(show),
            Self::Usage(diagnostic) => show(diagnostic),
            Self::Disagreement => {}
            Self::Interrupted => errln!("interrupted"),
        }
    }
}

impl From<Diagnostics> for Failure {
    fn from(diagnostics: Diagnostics) -> Self {
        Self::Refused(diagnostics)
    }
}

impl From<Diagnostic> for Failure {
    fn from(diagnostic: Diagnostic) -> Self {
        Self::Refused(diagnostic.into())
    }
}

/// Renders a diagnostic on standard error, in colour where that is a terminal.
pub fn show(diagnostic: &Diagnostic) {
    let mut place = String::new();
    if !diagnostic.node.is_empty() {
        place = format!("`{}`", diagnostic.node);
    }
    if !diagnostic.operator.is_empty() {
        place = format!("{place} ({})", diagnostic.operator);
    }
    let message =
        if place.is_empty() { diagnostic.message.clone() } else { format!("{place}: {}", diagnostic.message) };
    let severity = match diagnostic.severity {
        Severity::Warning => miette::Severity::Warning,
        Severity::Error => miette::Severity::Error,
    };
    let mut report = MietteDiagnostic::new(message).with_code(diagnostic.code).with_severity(severity);
    if !diagnostic.help.is_empty() {
        report = report.with_help(diagnostic.help.clone());
    }
    report.labels = None::<Vec<LabeledSpan>>;
    errln!("{:?}", miette::Report::new(report));
}
