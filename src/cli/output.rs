//! What the program says: results on standard output, the rest on standard error.
//!
//! Whoever reads may stop reading (`lutweave eval .. | head -1`): what is left is then dropped, and
//! the command ends as it would have. `println!` would panic.

use lutweave::failure::Failure;
use lutweave_ir::Diagnostic;
use std::fmt::Arguments;
use std::io::{ErrorKind, Write};
use std::sync::Mutex;

/// Why standard output could not be written to.
static FAULT: Mutex<Option<String>> = Mutex::new(None);

/// Prints on standard output, as `print!`.
macro_rules! out {
    ($($argument:tt)*) => { $crate::cli::output::write(format_args!($($argument)*)) };
}

/// Prints a line on standard output, as `println!`.
macro_rules! outln {
    () => { $crate::cli::output::write(format_args!("\n")) };
    ($($argument:tt)*) => { $crate::cli::output::write(format_args!("{}\n", format_args!($($argument)*))) };
}

/// Prints a line on standard error, as `eprintln!`.
macro_rules! errln {
    ($($argument:tt)*) => { $crate::cli::output::write_error(format_args!("{}\n", format_args!($($argument)*))) };
}

/// See [`out!`].
pub fn write(text: Arguments) {
    note(std::io::stdout().lock().write_fmt(text));
}

/// See [`errln!`]. There is nowhere to tell that standard error cannot be written to.
pub fn write_error(text: Arguments) {
    let _ = std::io::stderr().lock().write_fmt(text);
}

/// Writes what is still in the buffer.
///
/// # Errors
/// Standard output could not be written to, at any time, though its reader had not gone.
pub fn finish() -> Result<(), Failure> {
    note(std::io::stdout().lock().flush());
    let fault = FAULT.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    fault.map_or(Ok(()), |fault| {
        Err(Diagnostic::error("output", format!("cannot write to standard output: {fault}"))
            .help("make room, or send it somewhere else")
            .into())
    })
}

fn note(result: std::io::Result<()>) {
    if let Err(error) = result
        && error.kind() != ErrorKind::BrokenPipe
    {
        FAULT.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get_or_insert(error.to_string());
    }
}
