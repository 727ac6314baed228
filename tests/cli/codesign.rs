//! Choosing settings and foldings on the built-in model.

use crate::support::{files, json, refused, run, text};
use serde_json::Value;
use std::path::Path;

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is not a number"))
}

#[test]
fn auto_chooses_within_the_drop_and_proves_its_bound() {
    let folder = tempfile::tempdir().expect("a directory can be made");
    let target = text(&folder.path().join("auto"));
    let arguments =
        ["compile", "mnist", "--weights", "auto", "--max-drop", "1.0", "--multipliers", "20", "-o", &target];
    let summary = json(&arguments);
    assert_eq!(summary["weights"], "auto");
    assert_eq!(summary["verify"]["agree"], true);
    assert!(summary["multipliers"].as_u64() <= Some(20));
    let choice = &summary["codesign"];
    assert_eq!(choice["cycles"], summary["cycles_per_inference"], "the simulator counts what was planned");
    assert!(number(&choice["lower_bound"]) <= number(&choice["cycles"]));
    assert!(number(&choice["measured"]["drop"]) <= 1.0);
    assert!(number(&choice["compress_first_cycles"]) >= number(&choice["cycles"]), "{choice}");

    // Dense 8-bit weights with as many multipliers are slower: what was given up pays.
    let dense =
        json(&["compile", "mnist", "--multipliers", "20", "--no-verify", "-o", &text(&folder.path().join("8"))]);
    assert!(number(&dense["cycles_per_inference"]) > number(&choice["cycles"]), "{dense}");

    // The directory holds the circuit that was chosen: simulators build it again from plan.json.
    assert_eq!(json(&["verify", &target, "--samples", "2"])["agree"], true);

    let record = Path::new(&target).join("codesign.json");
    let record: Value = serde_json::from_slice(&std::fs::read(record).expect("it is there")).expect("it is JSON");
    let decisions = record["decisions"].as_array().expect("a list");
    assert!(!decisions.is_empty());
    let page = std::fs::read_to_string(Path::new(&target).join("report.html")).expect("it is there");
    assert!(page.contains("<h2>Decisions</h2>") && page.contains("<h2>Budgets</h2>"));

    // Every layer can be explained, and every setting of it has an answer.
    let layer = decisions[0]["layer"].as_str().expect("a name");
    let answer = json(&["explain", &target, layer]);
    let settings = answer["settings"].as_array().expect("a list");
    assert!(settings.len() >= 2, "{answer}");
    let chosen = settings.iter().filter(|setting| setting["reason"] == "it is the choice").count();
    assert_eq!(chosen, 1, "{answer}");
    assert_eq!(json(&["explain", &target])["decisions"].as_array().map(Vec::len), Some(decisions.len()));
    refused(&["explain", &target, "no such layer"], 1, "there is no such layer");
}

#[test]
fn the_same_question_gives_the_same_bytes_with_and_without_a_cache() {
    let folder = tempfile::tempdir().expect("a directory can be made");
    let compile = |name: &str, cache: &Path| {
        let target = folder.path().join(name);
        let target_text = text(&target);
        let arguments =
            ["compile", "mnist", "--weights", "auto", "--multipliers", "20", "--no-verify", "-o", &target_text];
        let mut command = crate::support::command(&arguments);
        let status = command.env("LUTWEAVE_CACHE", cache).output().expect("it runs").status;
        assert!(status.success());
        ["graph.txt", "plan.json", "codesign.json"].map(|file| std::fs::read(target.join(file)).expect("it is there"))
    };
    let cache = folder.path().join("cache");
    let cold = compile("cold", &cache);
    assert!(cache.join("tables").is_dir() && cache.join("drops").is_dir());
    assert!(cold == compile("warm", &cache));
    assert!(cold == compile("none", Path::new("")));
}

#[test]
fn pruning_keeps_the_share_that_was_asked_for() {
    let folder = tempfile::tempdir().expect("a directory can be made");
    let target = text(&folder.path().join("pruned"));
    for method in ["rd", "uniform", "magnitude", "lamp", "erk"] {
        let summary =
            json(&["compile", "mnist", "--keep-macs", "0.5", "--method", method, "--no-verify", "-o", &target]);
        let kept = number(&summary["macs_kept"]) / number(&summary["model_macs"]);
        assert!(kept <= 0.5 && kept > 0.35, "{method}: {kept}");
    }
    let summary = json(&["compile", "mnist", "--sparsity", "0.5", "-o", &target]);
    assert!(number(&summary["sparsity"]) >= 0.45, "{}", summary["sparsity"]);
    assert_eq!(summary["verify"]["agree"], true);
    assert!(number(&summary["accuracy"]["integer"]) >= 0.95, "{}", summary["accuracy"]);
    assert!(summary["pruning"]["rounds"].as_array().is_some_and(|rounds| !rounds.is_empty()));
}

#[test]
fn whole_channels_leave_the_network() {
    let folder = tempfile::tempdir().expect("a directory can be made");
    let target = text(&folder.path().join("shrunk"));
    let whole = json(&["compile", "mnist", "--no-verify", "-o", &target]);
    let summary = json(&["compile", "mnist", "--keep-macs", "0.6", "--pattern", "channels", "-o", &target]);
    assert_eq!(summary["verify"]["agree"], true);
    let last = &summary["channels"].as_array().expect("a list")[summary["channels"].as_array().map_or(0, Vec::len) - 1];
    assert_eq!(last["macs"], summary["macs"], "the circuit has what is left");
    assert!(number(&summary["macs"]) <= 0.6 * number(&whole["macs"]), "{}", summary["macs"]);
    assert!(number(&summary["weight_bytes"]) < number(&whole["weight_bytes"]));
    assert!(number(&summary["accuracy"]["integer"]) >= 0.9, "{}", summary["accuracy"]);
    refused(&["compile", "mnist", "--keep-macs", "0.0001", "--pattern", "channels", "-o", &target], 1, "no channel");
}

#[test]
fn contradicting_or_senseless_wishes_are_refused() {
    let folder = tempfile::tempdir().expect("a directory can be made");
    let target = text(&folder.path().join("out"));
    refused(&["compile", "mnist", "--sparsity", "1.5", "-o", &target], 2, "from 0 to 1");
    refused(&["compile", "mnist", "--sparsity", "0.5", "--keep-macs", "0.5", "-o", &target], 2, "cannot be used");
    refused(&["compile", "mnist", "--weights", "auto", "--sparsity", "0.5", "-o", &target], 2, "itself");
    refused(&["compile", "mnist", "--keep-macs", "0", "-o", &target], 1, "not a share to keep");
    refused(&["compile", "mnist", "--weights", "auto", "--multipliers", "1", "-o", &target], 1, "stays within");
    refused(&["compile", "mnist", "--weights", "auto", "--max-drop", "-50", "-o", &target], 1, "are allowed");
    let files = files();
    let model = text(&files.path().join("model.onnx"));
    refused(&["compile", &model, "--weights", "auto", "-o", &target], 2, "needs a task");
    refused(&["explore", &model, "-o", &target], 2, "needs a task");
    assert!(!Path::new(&target).exists(), "nothing is written");
    assert_eq!(run(&["compile", "mnist", "--no-verify", "-o", &target]).code, Some(0));
    refused(&["explain", &target, "conv"], 1, "given, not chosen");
    refused(&["explore", "mnist", "-o", &target], 1, "not of an earlier run");
}

#[test]
fn explore_writes_a_front_with_proven_gaps() {
    let folder = tempfile::tempdir().expect("a directory can be made");
    let target = folder.path().join("front");
    let front = json(&["explore", "mnist", "--points", "4", "--samples", "100", "-o", &text(&target)]);
    let points = front["points"].as_array().expect("a list");
    assert!(points.len() >= 2, "{front}");
    for point in points {
        assert!(number(&point["lower_bound"]) <= number(&point["cycles_per_inference"]), "{point}");
        assert!(number(&point["gap"]) <= 0.05, "{point}");
        assert!(point["kappa"].is_number());
    }
    let cycles: Vec<f64> = points.iter().map(|point| number(&point["cycles_per_inference"])).collect();
    assert!(cycles.windows(2).all(|pair| pair[0] >= pair[1]), "a larger error budget is no slower: {cycles:?}");
    assert!(points.iter().any(|point| point["on_front"] == true));
    let lines = std::fs::read_to_string(target.join("front.csv")).expect("it is there").lines().count();
    assert_eq!(lines, points.len() + 1);
    assert!(std::fs::read_to_string(target.join("front.svg")).expect("it is there").starts_with("<svg"));
    // An earlier exploration is replaced.
    json(&["explore", "mnist", "--points", "2", "--samples", "20", "-o", &text(&target)]);
}

#[test]
fn the_fixed_order_compiles_too() {
    let folder = tempfile::tempdir().expect("a directory can be made");
    let target = text(&folder.path().join("fixed"));
    let summary = json(&["compile", "mnist", "--no-egraph", "--keep-dead-channels", "-o", &target]);
    assert_eq!(summary["verify"]["agree"], true);
    assert!(number(&summary["accuracy"]["integer"]) >= 0.95);
}
