//! Why the compiler ends without success, and diagnostics as JSON objects and as printable text.

use lutweave_ir::{Diagnostic, Diagnostics, Severity};
use serde_json::{Value, json};
use std::path::Path;

/// Why the compiler ends without success.
#[derive(Debug)]
pub enum Failure {
    /// The compiler refused, or a file cannot be read or written.
    Refused(Diagnostics),
    /// What is asked makes no sense.
    Usage(Diagnostic),
    /// The observer wanted no more.
    Cancelled,
}

impl Failure {
    /// A file that cannot be used.
    pub fn file(path: &Path, action: &str, error: impl std::fmt::Display) -> Self {
        Diagnostic::error("file", format!("cannot {action}: {error}")).at(path.display().to_string()).into()
    }

    /// What is wrong; nothing where the work was cancelled.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        match self {
            Self::Refused(diagnostics) => &diagnostics.0,
            Self::Usage(diagnostic) => std::slice::from_ref(diagnostic),
            Self::Cancelled => &[],
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(diagnostics) => diagnostics.fmt(f),
            Self::Usage(diagnostic) => diagnostic.fmt(f),
            Self::Cancelled => f.write_str("cancelled"),
        }
    }
}

impl std::error::Error for Failure {}

impl From<Diagnostics> for Failure {
    fn from(diagnostics: Diagnostics) -> Self {
        let cancelled = diagnostics.0.iter().any(Diagnostic::is_cancelled);
        if cancelled { Self::Cancelled } else { Self::Refused(diagnostics) }
    }
}

impl From<Diagnostic> for Failure {
    fn from(diagnostic: Diagnostic) -> Self {
        Diagnostics::from(diagnostic).into()
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
