//! Whoever reads the output may stop, or have no room for it.
#![cfg(unix)]

use crate::support::{command, ended, mnist};
use std::process::Stdio;

/// Runs the program with a standard output that nobody reads.
fn unread(arguments: &[&str]) -> crate::support::Ended {
    let (reader, writer) = std::io::pipe().expect("a pipe can be made");
    let mut command = command(arguments);
    let child = command.stdout(writer).stderr(Stdio::piped()).spawn().expect("the program starts");
    // The program holds the other end alone.
    drop((reader, command));
    ended(&child.wait_with_output().expect("the program ends"))
}

#[test]
fn a_reader_that_has_gone_is_no_failure() {
    let folder = tempfile::tempdir().expect("a directory can be made");
    let target = crate::support::text(&folder.path().join("mnist"));
    for arguments in [
        &["devices"][..],
        &["devices", "--json"],
        &["models"],
        &["eval", "mnist"],
        &["inspect", "mnist", "--view", "full"],
        &["inspect", mnist(), "--view", "text"],
        &["verify", mnist(), "--samples", "1", "--executors", "interpreter,cpu"],
        &["compile", "mnist", "-o", &target],
    ] {
        let ended = unread(arguments);
        assert_eq!((ended.code, &ended.err[..]), (Some(0), ""), "{arguments:?}");
    }
    // What it was asked to do is done all the same.
    assert!(folder.path().join("mnist/report.html").is_file());
    let ended = unread(&["eval", "nowhere"]);
    assert_eq!(ended.code, Some(1), "{}", ended.err);
}

#[test]
fn an_unread_standard_error_is_no_panic() {
    let (reader, writer) = std::io::pipe().expect("a pipe can be made");
    let mut command = command(&["eval", "nowhere"]);
    let child = command.stdout(Stdio::null()).stderr(writer).spawn().expect("the program starts");
    drop((reader, command));
    assert_eq!(child.wait_with_output().expect("the program ends").status.code(), Some(1));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_device_is_a_failure() {
    let full = std::fs::File::options().write(true).open("/dev/full").expect("Linux has it");
    let ended = ended(&command(&["devices"]).stdout(full).output().expect("the program starts"));
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains("cannot write to standard output"), "{}", ended.err);
}
