//! The command line of Lutweave as a library: arguments, files and rendering. The compiler's work
//! is in the crates below it.
//!
//! [`run`] is the whole program; the binary and the checks that feed it damaged files call it.

#![deny(clippy::print_stdout, clippy::print_stderr)]

#[macro_use]
mod output;

mod artefact;
mod cache;
mod cli;
mod codesign;
mod compile;
mod deform;
mod detect;
mod eval;
mod executor;
mod explain;
mod explore;
mod failure;
mod file;
mod flow;
mod inputs;
mod inspect;
mod listing;
mod metric;
mod model;
mod options;
mod plausible;
mod progress;
mod prune;
#[doc(hidden)]
pub mod readers;
mod report;
mod run;
mod samples;
mod summary;
mod task;
mod variants;
mod verify;

use clap::Parser;
use cli::{Cli, Command};
use failure::Failure;
use std::ffi::OsString;

/// Exit status after a panic: a fault of the compiler.
const FAULT: u8 = 101;

/// Runs a command line, whose first argument is the program's name, and returns the exit status.
///
/// Under `--json` standard output gets one object, also where the command fails: then with the list
/// `errors`.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return refuse_arguments(&error, arguments.iter().any(|argument| argument == "--json")),
    };
    progress::catch_interrupts();
    let json = cli.command.json();
    let result = std::panic::catch_unwind(|| execute(&cli.command));
    match result {
        Ok(Ok(())) => 0,
        Ok(Err(failure)) => {
            failure.show(json);
            failure.exit_code()
        }
        // The panic's own message is on standard error already.
        Err(_) => FAULT,
    }
}

fn execute(command: &Command) -> Result<(), Failure> {
    let result = match command {
        Command::Compile(arguments) => compile::command(arguments),
        Command::Explore(arguments) => explore::command(arguments),
        Command::Variants(arguments) => variants::command(arguments),
        Command::Explain(arguments) => explain::command(arguments),
        Command::Verify(arguments) => verify::command(arguments),
        Command::Run(arguments) => run::command(arguments),
        Command::Eval(arguments) => eval::command(arguments),
        Command::Inspect(arguments) => inspect::command(arguments),
        Command::Models(arguments) => listing::models(arguments),
        Command::Devices(arguments) => listing::devices(arguments),
    };
    result.and_then(|()| output::finish())
}

/// Help and version, or arguments that make no sense.
fn refuse_arguments(error: &clap::Error, json: bool) -> u8 {
    // There is nowhere to tell that this cannot be written.
    let _ = error.print();
    let code = u8::try_from(error.exit_code()).unwrap_or(2);
    if json && error.use_stderr() {
        let text = error.render().to_string();
        let cause = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        let diagnostic = lutweave_ir::Diagnostic::error("usage", cause).help("see `lutweave --help`");
        failure::print_errors(&[diagnostic]);
    }
    code
}
