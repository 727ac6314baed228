//! The program `lutweave`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(lutweave::run(std::env::args_os()))
}
