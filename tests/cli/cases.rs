//! Files: each folder of `tests/cases` is a model with inputs and what onnxruntime gives for them. The
//! model as it came gives the same, and so does its circuit, within what 8 bits can hold. A folder that
//! `scripts/differential --keep` wrote becomes a test by being copied here.
//!
//! Where a model is refused, the file `refused.txt` holds the diagnostic's code.

use crate::support::{Array, arrays, object, run, text};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Largest root mean square error of a circuit, in standard deviations of an output, without a warning.
const FAITHFUL: f64 = 0.05;

/// The same of a model as it came.
const EXACT: f64 = 1e-4;

/// Root mean square error over the standard deviation of what is expected; over a tenth of the largest
/// magnitude where that hardly varies.
fn error(expected: &Array, actual: &Array) -> f64 {
    let count = expected.values.len() as f64;
    let mean = expected.values.iter().sum::<f64>() / count;
    let deviation = (expected.values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
    let largest = expected.values.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    let signal = if deviation > 0.01 * largest { deviation } else { 0.1 * largest };
    let pairs = expected.values.iter().zip(&actual.values);
    let noise = pairs.map(|(a, b)| if a == b { 0.0 } else { (a - b).powi(2) }).sum::<f64>() / count;
    if noise == 0.0 { 0.0 } else { noise.sqrt() / signal.max(f64::MIN_POSITIVE) }
}

/// Names, shapes and kinds of numbers are equal, and errors at most `bound`; otherwise what is not.
fn compare(case: &Path, answer: &Path, bound: f64) -> Result<(), String> {
    let (expected, actual) = (arrays(&case.join("expected.npz")), arrays(answer));
    let names = |arrays: &BTreeMap<String, Array>| arrays.keys().cloned().collect::<Vec<_>>();
    if names(&expected) != names(&actual) {
        return Err(format!("outputs {:?} and not {:?}", names(&actual), names(&expected)));
    }
    for (name, expected) in &expected {
        let actual = &actual[name];
        if (&expected.shape, expected.real) != (&actual.shape, actual.real) {
            return Err(format!("output {name} has shape {:?} and not {:?}", actual.shape, expected.shape));
        }
        let error = error(expected, actual);
        if error > bound {
            return Err(format!("output {name} is off by {error} standard deviations"));
        }
    }
    Ok(())
}

/// Runs a command of a case that succeeds; its object.
fn done(arguments: &[&str]) -> Result<Value, String> {
    let ended = run(&[arguments, &["--json"]].concat());
    if ended.code == Some(0) { Ok(object(&ended.out)) } else { Err(ended.err) }
}

fn check(case: &Path) -> Result<(), String> {
    let folder = tempfile::tempdir().expect("a directory can be made");
    let [model, inputs] = ["model.onnx", "inputs.npz"].map(|name| text(&case.join(name)));
    let [answer, target] = ["y.npz", "target"].map(|name| folder.path().join(name));
    let compile = ["compile", &model, "--calibration", &inputs, "-o", &text(&target)];
    if let Ok(code) = std::fs::read_to_string(case.join("refused.txt")) {
        let ended = run(&[&compile[..], &["--json"]].concat());
        let found = object(&ended.out)["errors"][0]["code"].clone();
        return if found == code.trim() { Ok(()) } else { Err(format!("refused as {found}, and not as {code}")) };
    }
    done(&["run", &model, "--input", &inputs, "-o", &text(&answer)])?;
    compare(case, &answer, EXACT).map_err(|error| format!("the model as it came: {error}"))?;
    let summary = done(&compile)?;
    if summary["verify"]["agree"] != true {
        return Err("executors disagree".to_owned());
    }
    let warnings = summary["warnings"].as_array();
    let said = warnings.is_some_and(|warnings| warnings.iter().any(|warning| doubt(&warning["code"])));
    done(&["run", &text(&target), "--executor", "interpreter", "--input", &inputs, "-o", &text(&answer)])?;
    compare(case, &answer, if said { f64::INFINITY } else { FAITHFUL }).map_err(|error| format!("the circuit: {error}"))
}

/// True for the code of a warning that the circuit may not mean what the model does.
fn doubt(code: &Value) -> bool {
    ["low-fidelity", "near-pole", "non-finite", "rounding-near-steps"].iter().any(|known| code == known)
}

#[test]
fn models_mean_what_onnxruntime_says() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let entries = std::fs::read_dir(&folder).expect("there are cases");
    let mut cases: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    cases.sort();
    assert!(!cases.is_empty());
    let failed: Vec<String> =
        cases.iter().filter_map(|case| Some(format!("{}: {}", case.display(), check(case).err()?))).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
