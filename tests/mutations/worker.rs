//! A process that runs cases, and tells how each ended.

use crate::change;
use crate::corpus::{Corpus, Seed};
use crate::kind::Kind;
use crate::random::Random;
use std::ffi::OsString;
use std::io::{Cursor, Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

/// Runs `KIND FOLDER SEED FIRST LAST STEP`. Standard output, a file, is read by the process itself
/// after each case; what it tells goes to the file `told` in the folder, a line when a case begins and one
/// when it ends.
pub fn run(arguments: &[String]) -> ExitCode {
    let [kind, folder, numbers @ ..] = arguments else { return ExitCode::FAILURE };
    let numbers: Vec<u64> = numbers.iter().filter_map(|number| number.parse().ok()).collect();
    let (Some(kind), &[seed, first, last, step]) = (Kind::of(kind), &numbers[..]) else { return ExitCode::FAILURE };
    let folder = Path::new(folder);
    let work = folder.join("work");
    // What an earlier worker left would be taken for what a case leaves.
    let _ = std::fs::remove_dir_all(&work);
    std::fs::create_dir_all(&work).expect("a folder can be made");
    let corpus = Corpus::new(kind, &work);
    let mut told =
        std::fs::File::options().append(true).create(true).open(folder.join("told")).expect("a file can be made");
    let mut case = first;
    while case < last {
        writeln!(told, "begin {case}").expect("the file can be written");
        forget_peak();
        let started = Instant::now();
        let ending = one(kind, &corpus, seed, case, &folder.join("out"));
        let millis = started.elapsed().as_millis();
        writeln!(told, "end {case} {ending} {millis} {}", peak()).expect("the file can be written");
        case += step;
    }
    ExitCode::SUCCESS
}

/// Runs a case; how it ended, in one word.
fn one(kind: Kind, corpus: &Corpus, seed: u64, case: u64, said: &Path) -> String {
    let mut random = Random::new(seed, case);
    let original = random.pick(&corpus.seeds).clone();
    let other = random.pick(&corpus.seeds).data.clone();
    let folder = &corpus.folder;
    let target = folder.join("target");
    let changed = folder.join(match kind {
        Kind::Model => "changed.onnx",
        Kind::Task => "changed.toml",
        Kind::Device => "device.toml",
        Kind::Arrays => "changed.npz",
        Kind::Build => "build",
    });
    let changed = if kind == Kind::Build { changed.join(&original.beside) } else { changed };
    let data = damaged(kind, &mut random, &original, &other);
    std::fs::write(&changed, data).expect("the file can be written");
    let arguments = command(kind, &mut random, corpus, &original, &changed, &target);
    // What earlier cases said is not this one's. Standard output appends to it.
    let _ = std::fs::File::options().write(true).open(said).and_then(|file| file.set_len(0));
    let code = crate::cli::run(arguments);
    let half = leftovers(folder, &target, code);
    let _ = std::fs::remove_dir_all(&target);
    let _ = std::fs::remove_file(&target);
    if kind == Kind::Build {
        std::fs::write(&changed, &original.data).expect("the file can be written");
    }
    match (half, code) {
        (Some(what), _) => format!("half-written:{what}"),
        (None, 0) => "accepted".to_owned(),
        (None, 1 | 2) => match fault_of_ours(said) {
            Some(code) => format!("own-fault:{code}"),
            None => "refused".to_owned(),
        },
        (None, 101) => "panic".to_owned(),
        (None, code) => format!("exit:{code}"),
    }
}

fn damaged(kind: Kind, random: &mut Random, original: &Seed, other: &[u8]) -> Vec<u8> {
    match kind {
        Kind::Model => change::model(random, &original.data, other),
        Kind::Task | Kind::Device => change::text(random, &original.data),
        Kind::Arrays => arrays(random, &original.data),
        Kind::Build => match original.beside.extension().and_then(|extension| extension.to_str()) {
            Some("txt" | "json") => change::text(random, &original.data),
            _ => change::bytes(random, original.data.clone(), other),
        },
    }
}

/// An archive with damaged bytes, or a sound archive of damaged arrays.
fn arrays(random: &mut Random, data: &[u8]) -> Vec<u8> {
    if random.once_in(3) {
        return change::bytes(random, data.to_vec(), &[]);
    }
    let mut archive = zip::ZipArchive::new(Cursor::new(data)).expect("the samples are an archive");
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).expect("there is an array");
        let name = entry.name().to_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("the array can be read");
        if random.once_in(2) {
            // Headers are where the meaning is.
            let header = content.len().min(128);
            let rest = content.split_off(header);
            content =
                if random.once_in(2) { change::text(random, &content) } else { change::bytes(random, content, &[]) };
            content.extend(rest);
        }
        writer.start_file(name, zip::write::SimpleFileOptions::default()).expect("memory can be written");
        writer.write_all(&content).expect("memory can be written");
    }
    writer.finish().expect("memory can be written").into_inner()
}

/// The command line that reads a damaged file.
fn command(
    kind: Kind,
    random: &mut Random,
    corpus: &Corpus,
    original: &Seed,
    changed: &Path,
    target: &Path,
) -> Vec<OsString> {
    let mut line: Vec<OsString> = vec!["lutweave".into()];
    let mut add =
        |parts: &[&dyn AsRef<std::ffi::OsStr>]| line.extend(parts.iter().map(|part| part.as_ref().to_owned()));
    let build = corpus.folder.join("build");
    match kind {
        Kind::Model => add(&[&"compile", &changed, &"--calibration", &original.beside, &"-o", &target]),
        Kind::Task => add(&[&"eval", &"mnist", &"--samples", &"4", &"--task", &changed]),
        Kind::Device => add(&[&"compile", &"mnist", &"--no-verify", &"--device", &changed, &"-o", &target]),
        Kind::Arrays if random.once_in(2) => {
            std::fs::copy(changed, corpus.folder.join("samples.npz")).expect("the file can be copied");
            let task = corpus.folder.join("task.toml");
            add(&[&"eval", &"--samples", &"4", &"--task", &task]);
        }
        Kind::Arrays => add(&[&"run", &"mnist", &"--input", &changed, &"-o", &target]),
        Kind::Build => match original.beside.extension().and_then(|extension| extension.to_str()) {
            Some("wasm") => add(&[&"verify", &build, &"--samples", &"1", &"--executors", &"wasm"]),
            Some("o") => add(&[&"verify", &build, &"--samples", &"1", &"--executors", &"cpu"]),
            _ if random.once_in(3) => add(&[&"inspect", &build]),
            _ if random.once_in(2) => add(&[&"verify", &build, &"--samples", &"1", &"--executors", &"wasm"]),
            _ => add(&[&"verify", &build, &"--samples", &"1", &"--executors", &"interpreter,cpu"]),
        },
    }
    line.push("--json".into());
    line
}

/// What a command left that is neither whole nor gone.
fn leftovers(folder: &Path, target: &Path, code: u8) -> Option<String> {
    let whole = target.is_file() || target.join("manifest.json").is_file() && target.join("report.html").is_file();
    if target.exists() && (code != 0 || !whole) {
        return Some("target".to_owned());
    }
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let left: Vec<String> = names.filter(|name| name.starts_with(".lutweave")).collect();
    left.first().cloned()
}

/// The code of a diagnostic that blames the file for what is the compiler's fault.
fn fault_of_ours(said: &Path) -> Option<String> {
    let text = std::fs::read_to_string(said).ok()?;
    let Ok(value) = serde_json::from_str::<serde_json::Value>(text.trim()) else { return Some("no-object".to_owned()) };
    // A verification that finds a difference says so in figures.
    let Some(errors) = value["errors"].as_array() else {
        return (value["agree"] != false).then(|| "no-errors".to_owned());
    };
    let codes = errors.iter().filter_map(|error| error["code"].as_str());
    codes.into_iter().find(|code| code.starts_with("internal")).map(str::to_owned)
}

/// Bytes of memory that the process held at most since [`forget_peak`].
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) << 10
}

fn forget_peak() {
    // Elsewhere than on Linux no peak is known.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}
