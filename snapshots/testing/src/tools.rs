//! Programs that tests need.

use std::process::{Command, Stdio};

/// Set to 1, tests whose tools are missing are skipped, and say so; otherwise they fail.
pub const VARIABLE: &str = "LUTWEAVE_SKIP_TOOLS";

/// True if a program can be run; `flag` makes it end at once.
///
/// # Panics
/// If it cannot, unless the environment says that such tests are skipped.
pub fn installed(program: &str, flag: &str) -> bool {
    let status = Command::new(program).arg(flag).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if status.is_ok_and(|status| status.success()) {
        return true;
    }
    let skips = std::env::var(VARIABLE).is_ok_and(|value| value == "1");
    assert!(skips, "{program} is not installed; {VARIABLE}=1 skips the tests that need it");
    println!("skipped: {program} is not installed");
    false
}

/// [`installed`] for Icarus Verilog.
///
/// # Panics
/// As [`installed`].
pub fn icarus() -> bool {
    installed("iverilog", "-V")
}

/// [`installed`] for Verilator.
///
/// # Panics
/// As [`installed`].
pub fn verilator() -> bool {
    installed("verilator", "--version")
}

/// [`installed`] for Yosys.
///
/// # Panics
/// As [`installed`].
pub fn yosys() -> bool {
    installed("yosys", "-V")
}
