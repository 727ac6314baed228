//! The command line of Lutweave: arguments, files and rendering. The work is in the libraries.

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
mod flow;
mod inspect;
mod listing;
mod metric;
mod model;
mod progress;
mod prune;
mod report;
mod run;
mod samples;
mod summary;
mod task;
mod variants;
mod verify;

use clap::Parser;
use cli::{Cli, Command};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    progress::catch_interrupts();
    let result = match &cli.command {
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
    match result.and_then(|()| output::finish()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.show();
            ExitCode::from(failure.exit_code())
        }
    }
}
