//! Diagnostics on the terminal, and as the one object of a command that failed.

use lutweave::failure::{Failure, object, printable};
use lutweave_ir::{Diagnostic, Diagnostics, Severity};
use miette::{LabeledSpan, MietteDiagnostic};
use serde_json::json;

/// Why a command ends without success.
#[derive(Debug)]
pub enum Ending {
    /// The compiler says so.
    Failure(Failure),
    /// A comparison found differences, already reported.
    Disagreement,
}

impl From<Failure> for Ending {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<Diagnostic> for Ending {
    fn from(diagnostic: Diagnostic) -> Self {
        Self::Failure(diagnostic.into())
    }
}

impl From<Diagnostics> for Ending {
    fn from(diagnostics: Diagnostics) -> Self {
        Self::Failure(diagnostics.into())
    }
}

impl Ending {
    /// Exit status of the program.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Failure(Failure::Refused(_)) | Self::Disagreement => 1,
            Self::Failure(Failure::Usage(_)) => 2,
            Self::Failure(Failure::Cancelled) => 130,
        }
    }

    /// Shows it on standard error, and with `json` as an object on standard output.
    pub fn show(&self, json: bool) {
        let Self::Failure(failure) = self else { return };
        if matches!(failure, Failure::Cancelled) {
            errln!("interrupted");
            return;
        }
        failure.diagnostics().iter().for_each(show);
        if json {
            print_errors(failure.diagnostics());
        }
    }
}

/// Prints errors as the one object of a command that failed.
pub fn print_errors(errors: &[Diagnostic]) {
    outln!("{}", json!({ "errors": errors.iter().map(object).collect::<Vec<_>>() }));
}

/// Renders a diagnostic on standard error, in colour where that is a terminal.
pub fn show(diagnostic: &Diagnostic) {
    let mut place = String::new();
    if !diagnostic.node.is_empty() {
        place = format!("`{}`", printable(&diagnostic.node));
    }
    if !diagnostic.operator.is_empty() {
        place = format!("{place} ({})", diagnostic.operator);
    }
    let message =
        if place.is_empty() { diagnostic.message.clone() } else { format!("{place}: {}", diagnostic.message) };
    let severity = match diagnostic.severity {
        Severity::Note => miette::Severity::Advice,
        Severity::Warning => miette::Severity::Warning,
        Severity::Error => miette::Severity::Error,
    };
    let mut report = MietteDiagnostic::new(lines(&message)).with_code(diagnostic.code).with_severity(severity);
    if !diagnostic.help.is_empty() {
        report = report.with_help(lines(&diagnostic.help));
    }
    report.labels = None::<Vec<LabeledSpan>>;
    errln!("{:?}", miette::Report::new(report));
}

/// A text of several lines, each printable.
fn lines(text: &str) -> String {
    text.lines().map(printable).collect::<Vec<_>>().join("\n")
}
