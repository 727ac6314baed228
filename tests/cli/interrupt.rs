//! Interrupts leave nothing half-written.
#![cfg(unix)]

use crate::support::{command, names, text};
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn an_interrupt_leaves_all_or_nothing() {
    let mut interrupted = 0;
    for delay in [1, 5, 10, 20, 30, 45, 60, 80, 100, 120, 150, 180, 220, 300, 400] {
        let folder = tempfile::tempdir().expect("a directory can be made");
        let target = folder.path().join("out");
        let mut child = command(&["compile", "mnist", "-o", &text(&target)])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        std::thread::sleep(Duration::from_millis(delay));
        let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
        assert!(sent.is_ok(), "kill starts");
        let status = child.wait().expect("the program ends");
        // Before the handler is set, the signal itself ends the program.
        assert!(matches!(status.code(), Some(0 | 130) | None), "after {delay} ms: {status}");
        if status.code() == Some(0) {
            assert_eq!(names(folder.path()), ["out"], "after {delay} ms");
            assert!(target.join("manifest.json").is_file() && target.join("report.html").is_file());
        } else {
            interrupted += 1;
            assert!(names(folder.path()).is_empty(), "after {delay} ms: {:?}", names(folder.path()));
        }
    }
    println!("{interrupted} of 15 were interrupted");
}

#[test]
fn an_interrupt_keeps_the_earlier_result() {
    let folder = tempfile::tempdir().expect("a directory can be made");
    let target = folder.path().join("out");
    let compile = || command(&["compile", "mnist", "--no-verify", "-o", &text(&target)]);
    assert!(compile().output().expect("the program starts").status.success());
    for delay in [40, 90, 140] {
        let mut child = compile().stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts");
        std::thread::sleep(Duration::from_millis(delay));
        let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
        assert!(sent.is_ok(), "kill starts");
        child.wait().expect("the program ends");
        assert_eq!(names(folder.path()), ["out"], "after {delay} ms");
        assert!(target.join("report.html").is_file(), "after {delay} ms");
    }
}
