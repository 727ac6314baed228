//! Starts workers, and watches them: a case may take a time and a memory, and no more.

use crate::Arguments;
use crate::kind::Kind;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What a case may take.
const MOST_TIME: Duration = Duration::from_secs(30);

/// Bytes that a case may hold.
const MOST_MEMORY: u64 = 1 << 30;

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The file was good enough.
    Accepted,
    /// With a diagnostic.
    Refused,
    /// In another way, which is a fault.
    Fault(String),
}

impl Ending {
    /// True if no file may end so.
    pub fn is_fault(&self) -> bool {
        matches!(self, Self::Fault(_))
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted => write!(f, "accepted"),
            Self::Refused => write!(f, "refused"),
            Self::Fault(what) => write!(f, "{what}"),
        }
    }
}

/// How the cases of a kind ended.
#[derive(Default)]
pub struct Report {
    /// By case.
    pub endings: BTreeMap<u64, Ending>,
    /// The longest that one took.
    pub longest: Duration,
    /// The most bytes that a process held during one.
    pub largest: u64,
}

/// Runs the cases of a kind, shared out among workers.
pub fn campaign(kind: Kind, cases: u64, arguments: &Arguments) -> Report {
    let jobs = arguments.jobs.clamp(1, cases.max(1));
    let parts: Vec<Report> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..jobs).map(|job| scope.spawn(move || part(kind, cases, job, jobs, arguments.seed))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a watcher does not panic")).collect()
    });
    let mut whole = Report::default();
    for part in parts {
        whole.endings.extend(part.endings);
        whole.longest = whole.longest.max(part.longest);
        whole.largest = whole.largest.max(part.largest);
    }
    whole
}

/// The cases `job`, `job + jobs`, and so on.
fn part(kind: Kind, cases: u64, job: u64, jobs: u64, seed: u64) -> Report {
    let folder = tempfile::Builder::new().prefix("mutations-").tempdir_in(scratch()).expect("a folder can be made");
    let mut report = Report::default();
    let mut first = job;
    while first < cases {
        let told = folder.path().join("told");
        let _ = std::fs::remove_file(&told);
        let mut worker = start(kind, folder.path(), [seed, first, cases, jobs]);
        let cause = watch(&mut worker, &told);
        let running = read(&told, &mut report);
        match (running, cause) {
            (Some(case), cause) => {
                report.endings.insert(case, Ending::Fault(cause.unwrap_or_else(|| "the process died".to_owned())));
                first = case + jobs;
            }
            (None, None) => break,
            (None, Some(cause)) => {
                report.endings.insert(first, Ending::Fault(format!("no case began: {cause}")));
                break;
            }
        }
    }
    report
}

/// Memory where there is some, so that thousands of files cost no disk.
fn scratch() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() }
}

fn start(kind: Kind, folder: &Path, numbers: [u64; 4]) -> Child {
    let append = |name: &str| -> File {
        let file = File::options().append(true).create(true).open(folder.join(name));
        file.expect("a file can be made")
    };
    Command::new(std::env::current_exe().expect("the program knows where it is"))
        .args(["--worker", kind.name()])
        .arg(folder)
        .args(numbers.map(|number| number.to_string()))
        .env("RAYON_NUM_THREADS", "1")
        .env("LUTWEAVE_CACHE", "")
        .stdin(Stdio::null())
        .stdout(append("out"))
        .stderr(append("err"))
        .spawn()
        .expect("the program starts itself")
}

/// Waits for a worker. Why it ended before its work, if it did.
fn watch(worker: &mut Child, told: &Path) -> Option<String> {
    const PAUSE: Duration = Duration::from_millis(50);
    let mut length = 0;
    let mut since = Instant::now();
    loop {
        if let Ok(Some(status)) = worker.try_wait() {
            return (!status.success()).then(|| format!("the process ended with {status}"));
        }
        let now = std::fs::metadata(told).map_or(0, |metadata| metadata.len());
        if now != length {
            (length, since) = (now, Instant::now());
        }
        let cause = if since.elapsed() > 2 * MOST_TIME {
            format!("more than {} s", 2 * MOST_TIME.as_secs())
        } else if held(worker.id()) > 2 * MOST_MEMORY {
            format!("more than {} MB", (2 * MOST_MEMORY) >> 20)
        } else {
            std::thread::sleep(PAUSE);
            continue;
        };
        // It may have ended by itself.
        let _ = worker.kill();
        let _ = worker.wait();
        return Some(cause);
    }
}

/// Bytes that a process holds.
fn held(process: u32) -> u64 {
    let pages = std::fs::read_to_string(format!("/proc/{process}/statm")).unwrap_or_default();
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

/// Adds what a worker told; the case that had begun and did not end.
fn read(told: &Path, report: &mut Report) -> Option<u64> {
    let text = std::fs::read_to_string(told).unwrap_or_default();
    let mut running = None;
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["begin", case] => running = case.parse().ok(),
            ["end", case, ending, millis, peak] => {
                running = None;
                let time = Duration::from_millis(millis.parse().unwrap_or(0));
                let memory: u64 = peak.parse().unwrap_or(0);
                report.longest = report.longest.max(time);
                report.largest = report.largest.max(memory);
                let ending = match ending {
                    _ if time > MOST_TIME => Ending::Fault(format!("more than {} s", MOST_TIME.as_secs())),
                    _ if memory > MOST_MEMORY => Ending::Fault(format!("more than {} MB", MOST_MEMORY >> 20)),
                    "accepted" => Ending::Accepted,
                    "refused" => Ending::Refused,
                    other => Ending::Fault(other.to_owned()),
                };
                if let Ok(case) = case.parse() {
                    report.endings.insert(case, ending);
                }
            }
            _ => {}
        }
    }
    running
}
