//! The command line: arguments, and what is shown of the library's work.

#[macro_use]
mod output;

mod arguments;
mod bars;
mod compile;
mod eval;
mod explain;
mod explore;
mod inspect;
mod listing;
mod passes;
mod render;
mod run;
mod table;
mod variants;
mod verify;

use arguments::{Cli, Command};
use bars::Bars;
use clap::Parser;
use render::Ending;
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
    bars::catch_interrupts();
    let json = cli.command.json();
    let result = std::panic::catch_unwind(|| execute(&cli.command));
    match result {
        Ok(Ok(())) => 0,
        Ok(Err(ending)) => {
            ending.show(json);
            ending.exit_code()
        }
        // The panic's own message is on standard error already.
        Err(_) => FAULT,
    }
}

fn execute(command: &Command) -> Result<(), Ending> {
    let bars = &Bars::new(command.json(), command.dumps());
    let result = match command {
        Command::Compile(arguments) => compile::command(arguments, bars),
        Command::Explore(arguments) => explore::command(arguments, bars),
        Command::Variants(arguments) => variants::command(arguments, bars),
        Command::Explain(arguments) => explain::command(arguments, bars),
        Command::Verify(arguments) => verify::command(arguments, bars),
        Command::Run(arguments) => run::command(arguments, bars),
        Command::Eval(arguments) => eval::command(arguments, bars),
        Command::Inspect(arguments) => inspect::command(arguments, bars),
        Command::Models(arguments) => listing::models(arguments),
        Command::Devices(arguments) => listing::devices(arguments),
        Command::Passes(arguments) => listing::passes(arguments),
    };
    result.and_then(|()| Ok(output::finish()?))
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
        render::print_errors(&[diagnostic]);
    }
    code
}
