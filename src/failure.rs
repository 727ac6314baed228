//! Why a command ends without success, what the user should know besides, and how both are shown.

use lutweave_ir::{Diagnostic, Diagnostics, Severity};
use miette::{LabeledSpan, MietteDiagnostic};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

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

    /// Shows it on standard error, and with `json` as an object on standard output.
    pub fn show(&self, json: bool) {
        let errors = match self {
            Self::Refused(diagnostics) => &diagnostics.0[..],
            Self::Usage(diagnostic) => std::slice::from_ref(diagnostic),
            Self::Disagreement => return,
            Self::Interrupted => {
                errln!("interrupted");
                return;
            }
        };
        errors.iter().for_each(show);
        if json {
            print_errors(errors);
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

/// What the user should know about a command that goes on: each said once, shown as it comes.
#[derive(Debug, Default)]
pub struct Warnings(Mutex<Vec<Diagnostic>>);

impl Warnings {
    /// Shows a warning on standard error and keeps it, unless it was said before.
    pub fn add(&self, warning: Diagnostic) {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !said.contains(&warning) {
            show(&warning);
            said.push(warning);
        }
    }

    /// All so far, in order.
    pub fn list(&self) -> Vec<Diagnostic> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// With `strict`, fails if anything worse than a note was said.
    ///
    /// # Errors
    /// The warnings, as errors.
    pub fn check(&self, strict: bool) -> Result<(), Failure> {
        let mut warnings = self.list();
        warnings.retain(|warning| warning.severity == Severity::Warning);
        if !strict || warnings.is_empty() {
            return Ok(());
        }
        for warning in &mut warnings {
            warning.severity = Severity::Error;
        }
        Err(Failure::Refused(Diagnostics(warnings)))
    }
}

/// A diagnostic as `--json` gives it.
pub fn object(diagnostic: &Diagnostic) -> Value {
    let severity = match diagnostic.severity {
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Error => "error",
    };
    json!({
        "code": diagnostic.code, "severity": severity, "node": diagnostic.node, "operator": diagnostic.operator,
        "cause": diagnostic.message, "remedy": diagnostic.help,
    })
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

/// A text from a file without the characters that would steer a terminal.
pub fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            printable.extend(character.escape_default());
        } else {
            printable.push(character);
        }
    }
    printable
}
