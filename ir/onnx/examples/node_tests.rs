//! Runs ONNX's operator tests on the float interpreter; see `scripts/onnx-node-tests`.
//!
//! `node_tests DIRECTORY [--verbose] [FILTER]`: every folder below DIRECTORY with a `model.onnx`
//! whose operators are all supported is imported and compared with its recorded results: floats
//! within 1e-3 relative and 1e-5 absolute, as ONNX's own runner does, integers exactly.

use bytes::Bytes;
use lutweave_ir::{Data, Diagnostics, Tensor, interpret};
use lutweave_onnx::literal::Literal;
use lutweave_onnx::proto::{ModelProto, TensorProto};
use lutweave_onnx::{ImportOptions, NEWEST_OPSET, decode, import, supported_operators};
use prost::Message;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Which of a test's inputs are run-time values. The tests pass everything as graph inputs, also
/// what a compiled model must know: weights, shapes, bounds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Inputs {
    /// All.
    All,
    /// The first; the others become initializers.
    First,
    /// None; the importer computes the result itself.
    None,
}

/// Tests whose recorded results contradict the specification: QLinearMatMul saturates, and so does
/// onnxruntime, but onnx 1.19.1 recorded results that wrap around (-236 became 20). Where the
/// result here is a bound of int8, these are not compared.
const WRAPPED: [&str; 4] = [
    "test_qlinearmatmul_2D_int8_float16",
    "test_qlinearmatmul_2D_int8_float32",
    "test_qlinearmatmul_3D_int8_float16",
    "test_qlinearmatmul_3D_int8_float32",
];

enum Verdict {
    Passed(Inputs),
    Refused(Diagnostics),
    Failed(String),
}

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let verbose = arguments.iter().any(|argument| argument == "--verbose");
    arguments.retain(|argument| argument != "--verbose");
    let Some(directory) = arguments.first() else {
        eprintln!("usage: node_tests DIRECTORY [--verbose] [FILTER]");
        return ExitCode::from(2);
    };
    let filter = arguments.get(1).map_or("", String::as_str);
    let mut folders: Vec<PathBuf> = match std::fs::read_dir(directory) {
        Ok(entries) => {
            entries.flatten().map(|entry| entry.path()).filter(|path| path.join("model.onnx").is_file()).collect()
        }
        Err(error) => {
            eprintln!("{directory}: {error}");
            return ExitCode::from(2);
        }
    };
    folders.sort();

    let mut passed: BTreeMap<Inputs, usize> = BTreeMap::new();
    let mut refusals: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let (mut failed, mut unsupported) = (Vec::new(), 0);
    for folder in &folders {
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if !name.contains(filter) {
            continue;
        }
        match run(folder) {
            None => unsupported += 1,
            Some(Verdict::Passed(inputs)) => {
                *passed.entry(inputs).or_default() += 1;
                if verbose {
                    println!("passed  {name}");
                }
            }
            Some(Verdict::Refused(faults)) => {
                let first = faults.0.first().map(|fault| format!("{}: {}", fault.operator, fault.message));
                if verbose {
                    println!("refused {name}: {faults}");
                }
                refusals.entry(first.unwrap_or_default()).or_default().push(name);
            }
            Some(Verdict::Failed(reason)) => failed.push((name, reason)),
        }
    }

    let of = |inputs| passed.get(&inputs).copied().unwrap_or(0);
    println!("ONNX node tests, operators that Lutweave supports ({unsupported} tests of other operators left out)");
    println!(
        "Operator sets after {NEWEST_OPSET} changed none of these operators' meaning; their tests are read as {NEWEST_OPSET}."
    );
    println!("  {:4} with all inputs at run time", of(Inputs::All));
    println!("  {:4} with the first input at run time and the others as constants", of(Inputs::First));
    println!("  {:4} with constants only, computed by the importer", of(Inputs::None));
    println!("  Saturated elements, where the recorded result wraps against the specification, are not compared in");
    println!("  {}", WRAPPED.join(", "));
    if !refusals.is_empty() {
        println!("refused:");
        for (reason, tests) in &refusals {
            println!("  {:4} {reason} ({})", tests.len(), tests[0]);
        }
    }
    for (name, reason) in &failed {
        println!("FAILED {name}: {reason}");
    }
    let refused: usize = refusals.values().map(Vec::len).sum();
    let total: usize = passed.values().sum();
    println!("passed {total}, refused with diagnostic {refused}, failed {}", failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// `None` if an operator is not supported at all.
fn run(folder: &Path) -> Option<Verdict> {
    let read = |path: PathBuf| std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()));
    let model = match read(folder.join("model.onnx"))
        .and_then(|bytes| ModelProto::decode(Bytes::from(bytes)).map_err(|error| error.to_string()))
    {
        Ok(model) => model,
        Err(error) => return Some(Verdict::Failed(error)),
    };
    let graph = model.graph.as_ref()?;
    let supported = graph.node.iter().all(|node| {
        let domain = node.domain.as_deref().unwrap_or("");
        supported_operators().any(|known| known == (domain, node.op_type.as_deref().unwrap_or("")))
    });
    if !supported {
        return None;
    }
    let wraps = folder.file_name().is_some_and(|name| WRAPPED.iter().any(|&wrapped| name == wrapped));
    let mut verdict = None;
    for set in 0.. {
        let data = folder.join(format!("test_data_set_{set}"));
        if !data.is_dir() {
            break;
        }
        let load = |kind: &str, index: usize| -> Result<Option<TensorProto>, String> {
            let path = data.join(format!("{kind}_{index}.pb"));
            if !path.is_file() {
                return Ok(None);
            }
            let bytes = read(path)?;
            TensorProto::decode(Bytes::from(bytes)).map(Some).map_err(|error| error.to_string())
        };
        let load_all = |kind: &str, names: Vec<String>| -> Result<Vec<(String, TensorProto)>, String> {
            let mut tensors = Vec::new();
            for (index, name) in names.into_iter().enumerate() {
                if let Some(tensor) = load(kind, index)? {
                    tensors.push((name, tensor));
                }
            }
            Ok(tensors)
        };
        let names = |values: &[lutweave_onnx::proto::ValueInfoProto]| {
            values.iter().map(|value| value.name.clone().unwrap_or_default()).collect::<Vec<_>>()
        };
        let loaded = load_all("input", names(&graph.input))
            .and_then(|inputs| Ok((inputs, load_all("output", names(&graph.output))?)));
        let result = match loaded {
            Ok((inputs, outputs)) => attempt(&model, &inputs, &outputs, wraps),
            Err(error) => Verdict::Failed(error),
        };
        if !matches!(result, Verdict::Passed(_)) {
            return Some(result);
        }
        verdict = Some(result);
    }
    verdict
}

/// Imports with as many run-time inputs as can be.
fn attempt(
    model: &ModelProto,
    inputs: &[(String, TensorProto)],
    outputs: &[(String, TensorProto)],
    wraps: bool,
) -> Verdict {
    let mut refusal = None;
    for mode in [Inputs::All, Inputs::First, Inputs::None] {
        let mut model = model.clone();
        for set in &mut model.opset_import {
            if matches!(set.domain.as_deref(), None | Some("")) {
                set.version = set.version.map(|version| version.min(NEWEST_OPSET));
            }
        }
        let Some(graph) = model.graph.as_mut() else { return Verdict::Failed("no graph".to_owned()) };
        let first = match mode {
            Inputs::All => inputs.len(),
            Inputs::First => 1,
            Inputs::None => 0,
        };
        for (name, tensor) in inputs.iter().skip(first) {
            graph.initializer.push(TensorProto { name: Some(name.clone()), ..tensor.clone() });
        }
        match import(model.encode_to_vec(), &ImportOptions::default()) {
            // The refusal of the most favourable reading is the one worth telling.
            Err(faults) => refusal = Some(if mode == Inputs::None { refusal.unwrap_or(faults) } else { faults }),
            Ok(imported) => {
                let given: Result<Vec<Tensor>, String> =
                    inputs.iter().take(first).map(|(_, tensor)| value(tensor)).collect();
                let results =
                    given.and_then(|given| interpret::run(&imported.graph, &given).map_err(|fault| fault.to_string()));
                let results = match results {
                    Ok(results) => results,
                    // Inputs without elements exist as constants only.
                    Err(_) if mode != Inputs::None && inputs.iter().any(|(_, tensor)| tensor.dims.contains(&0)) => {
                        continue;
                    }
                    Err(reason) => return Verdict::Failed(reason),
                };
                return match compare(&results, outputs, wraps) {
                    Ok(()) => Verdict::Passed(mode),
                    Err(reason) => Verdict::Failed(reason),
                };
            }
        }
    }
    refusal.map_or_else(|| Verdict::Failed("not attempted".to_owned()), Verdict::Refused)
}

fn value(tensor: &TensorProto) -> Result<Tensor, String> {
    decode::decode(tensor, None)?.to_tensor().map(|(tensor, _)| tensor)
}

/// `wraps` marks the tests of [`WRAPPED`].
fn compare(results: &[Tensor], expected: &[(String, TensorProto)], wraps: bool) -> Result<(), String> {
    if results.len() != expected.len() {
        return Err(format!("{} results instead of {}", results.len(), expected.len()));
    }
    for (result, (name, tensor)) in results.iter().zip(expected) {
        let expected: Literal = decode::decode(tensor, None)?;
        if result.shape != expected.shape {
            return Err(format!("`{name}` has shape {:?} instead of {:?}", result.shape, expected.shape));
        }
        let found: Vec<f64> = match &result.data {
            Data::F32(data) => data.iter().map(|&v| v.into()).collect(),
            Data::Int(data) => data.iter().map(|&v| v.into()).collect(),
        };
        let exact = expected.as_floats().is_none();
        let wanted: Vec<f64> = match expected.as_ints() {
            Some(ints) => ints.iter().map(|&v| v as f64).collect(),
            None => expected.to_floats().into_iter().map(f64::from).collect(),
        };
        for (index, (&x, &y)) in found.iter().zip(&wanted).enumerate() {
            let equal = x == y || x.is_nan() && y.is_nan() || !exact && (x - y).abs() <= 1e-5 + 1e-3 * y.abs();
            let saturated = wraps && exact && (x == -128.0 || x == 127.0);
            if !equal && !saturated {
                return Err(format!("`{name}` element {index} is {x} instead of {y}"));
            }
        }
    }
    Ok(())
}
