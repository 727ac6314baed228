//! Deformable convolutions from an ONNX file to agreeing executors, in every variant.

use crate::support::{elements, json, npz, refused, run, text, write};
use lutweave_ir::Tensor;
use lutweave_onnx::proto::{
    AttributeProto, DimensionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto, attribute_type, data_type,
};
use lutweave_onnx::{ImportOptions, import};
use prost::Message;
use serde_json::Value;
use std::path::Path;
use tempfile::TempDir;

const SIDE: usize = 10;
const SAMPLES: usize = 120;

/// Numbers that look random, by position.
fn reals(seed: usize, count: usize, scale: f32) -> Vec<f32> {
    (0..count).map(|i| (((i + 11) * (seed * 53 + 101) % 211) as f32 / 105.5 - 1.0) * scale).collect()
}

fn floats(name: &str, dims: &[i64], float_data: Vec<f32>) -> TensorProto {
    let (name, data_type) = (Some(name.to_owned()), Some(data_type::FLOAT));
    TensorProto { name, dims: dims.to_vec(), data_type, float_data, ..TensorProto::default() }
}

fn node(operator: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        input: inputs.iter().map(|&name| name.to_owned()).collect(),
        output: vec![output.to_owned()],
        op_type: Some(operator.to_owned()),
        attribute,
        ..NodeProto::default()
    }
}

fn pads() -> AttributeProto {
    let (name, kind) = (Some("pads".to_owned()), Some(attribute_type::INTS));
    AttributeProto { name, r#type: kind, ints: vec![1; 4], ..AttributeProto::default() }
}

fn value(name: &str, shape: &[i64]) -> ValueInfoProto {
    let dim = |&extent: &i64| DimensionProto { dim_value: Some(extent), dim_param: None };
    let shape = TensorShapeProto { dim: shape.iter().map(dim).collect() };
    let tensor_type = TensorTypeProto { elem_type: Some(data_type::FLOAT), shape: Some(shape) };
    ValueInfoProto { name: Some(name.to_owned()), r#type: Some(TypeProto { tensor_type: Some(tensor_type) }) }
}

/// A classifier of five classes with one dense deformable layer, as exporters write it. `bias` is
/// added to the scores.
fn model(masked: bool, bias: Vec<f32>) -> Vec<u8> {
    let mut nodes = vec![
        node("Conv", &["x", "w0", "b0"], "c0", vec![pads()]),
        node("Relu", &["c0"], "f", vec![]),
        node("Conv", &["f", "wo", "bo"], "offsets", vec![]),
    ];
    let mut operands = vec!["f", "w", "offsets", "b"];
    if masked {
        nodes.push(node("Conv", &["f", "wm"], "logits", vec![]));
        nodes.push(node("Sigmoid", &["logits"], "mask", vec![]));
        operands.push("mask");
    }
    nodes.extend([
        node("DeformConv", &operands, "deformed", vec![pads()]),
        node("Relu", &["deformed"], "g", vec![]),
        node("Conv", &["g", "w1", "b1"], "scores", vec![]),
        node("GlobalAveragePool", &["scores"], "mean", vec![]),
        node("Flatten", &["mean"], "y", vec![]),
    ]);
    let initializer = vec![
        floats("w0", &[6, 1, 3, 3], reals(1, 54, 0.6)),
        floats("b0", &[6], reals(2, 6, 0.1)),
        floats("wo", &[18, 6, 1, 1], reals(3, 108, 0.9)),
        floats("bo", &[18], reals(4, 18, 1.0)),
        floats("wm", &[9, 6, 1, 1], reals(5, 54, 0.5)),
        floats("w", &[6, 6, 3, 3], reals(6, 324, 0.25)),
        floats("b", &[6], reals(7, 6, 0.1)),
        floats("w1", &[5, 6, 1, 1], reals(8, 30, 0.8)),
        floats("b1", &[5], bias),
    ];
    let side = SIDE as i64;
    let graph = GraphProto {
        name: Some("deformable".to_owned()),
        node: nodes,
        initializer,
        input: vec![value("x", &[1, 1, side, side])],
        output: vec![value("y", &[1, 5])],
        ..GraphProto::default()
    };
    let set = OperatorSetIdProto { domain: None, version: Some(19) };
    let model =
        ModelProto { ir_version: Some(9), opset_import: vec![set], graph: Some(graph), ..ModelProto::default() };
    model.encode_to_vec()
}

const TASK: &str = r#"
model = "model.onnx"
metric = "top1"
[calibration]
file = "samples.npz"
start = 0
count = 60
[evaluation]
file = "samples.npz"
start = 60
count = 60
[input]
array = "images"
layout = "NHWC"
channels = "GRAY"
mean = [128.0]
std = [64.0]
model_layout = "NCHW"
[labels]
array = "labels"
"#;

/// A folder with the model, and a task whose labels are what the float model says.
fn folder(masked: bool) -> TempDir {
    let folder = tempfile::tempdir().expect("a directory can be made");
    write(&folder.path().join("task.toml"), TASK);
    let pixel = |sample: usize, y: usize, x: usize| -> u8 {
        let phase = sample as f32 * 0.7;
        let wave = (y as f32 * (0.3 + 0.01 * sample as f32) + phase).sin() * (x as f32 * 0.5 - phase).cos();
        (128.0 + 100.0 * wave + ((sample * 31 + y * 17 + x * 29) % 23) as f32) as u8
    };
    let images = elements([SAMPLES, SIDE, SIDE, 1], |[sample, y, x, _]| pixel(sample, y, x));
    let scores = |model: &[u8]| -> Vec<Vec<f32>> {
        let graph = import(model.to_vec(), &ImportOptions::default()).expect("the model can be read").graph;
        let scores = |sample: usize| {
            let pixels = (0..SIDE * SIDE).map(|index| pixel(sample, index / SIDE, index % SIDE));
            let input: Vec<f32> = pixels.map(|pixel| (f32::from(pixel) - 128.0) / 64.0).collect();
            let input = Tensor::f32([1, 1, SIDE, SIDE], input);
            lutweave_ir::interpret::run(&graph, &[input]).expect("the model runs").remove(0).f32s().to_vec()
        };
        (0..SAMPLES).map(scores).collect()
    };
    // Scores around 0, so that every class wins somewhere.
    let raw = scores(&model(masked, vec![0.0; 5]));
    let mean = |class: usize| raw.iter().map(|scores| scores[class]).sum::<f32>() / SAMPLES as f32;
    let bytes = model(masked, (0..5).map(|class| -mean(class)).collect());
    write(&folder.path().join("model.onnx"), &bytes);
    let label = |scores: &Vec<f32>| {
        (0..5).fold(0, |best, class| if scores[class] > scores[best] { class } else { best }) as i64
    };
    let labels: Vec<i64> = scores(&bytes).iter().map(label).collect();
    let classes: std::collections::BTreeSet<i64> = labels.iter().copied().collect();
    assert!(classes.len() > 1, "the samples are not all of one class");
    let mut writer = npz(&folder.path().join("samples.npz"));
    writer.add("images", &[SAMPLES, SIDE, SIDE, 1], &images).expect("an array can be written");
    writer.add("labels", &[SAMPLES], &labels).expect("an array can be written");
    writer.finish().expect("the file can be finished");
    folder
}

fn compile(folder: &TempDir, options: &[&str]) -> (Value, String) {
    let target = text(&folder.path().join("out"));
    let task = text(&folder.path().join("task.toml"));
    let summary = json(&[&["compile", "--task", &task, "-o", &target], options].concat());
    assert_eq!(summary["verify"]["agree"], true, "{options:?}");
    (summary, target)
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is not a number"))
}

#[test]
fn every_variant_agrees_and_says_what_it_cost() {
    let folder = folder(false);
    let steps = |summary: &Value| -> Vec<String> {
        let prices = summary["deform"]["prices"].as_array().expect("a list");
        prices.iter().map(|price| price["step"].as_str().expect("a name").to_owned()).collect()
    };
    let cost = |summary: &Value| {
        let prices = summary["deform"]["prices"].as_array().expect("a list");
        number(&prices.last().expect("a price")["distortion"])
    };
    let (full, _) = compile(&folder, &[]);
    assert_eq!((steps(&full), &full["deform"]["variant"]), (vec!["bounded".into(), "whole".into()], &"full".into()));
    let seen = &full["deform"]["layers"][0]["seen"];
    let reach = number(&seen[0]).abs().max(number(&seen[1])).round();
    assert_eq!(number(&full["deform"]["layers"][0]["bounds"][1]), reach, "{seen}");

    let (bounded, _) = compile(&folder, &["--deform", "bounded", "--deform-reach", "1"]);
    assert_eq!(number(&bounded["deform"]["layers"][0]["bounds"][0]), -1.0);
    assert!(cost(&bounded) > cost(&full));

    let (square, target) = compile(&folder, &["--deform", "square", "--deform-reach", "3"]);
    assert_eq!(steps(&square), ["bounded", "square", "whole"]);
    assert_eq!(square["deform"]["layers"][0]["sampling"], "square");
    assert_eq!(number(&square["deform"]["layers"][0]["bounds"][1]), 3.0);
    let graph = std::fs::read_to_string(Path::new(&target).join("graph.txt")).expect("it is there");
    assert!(graph.contains("qdeform_conv") && graph.contains("sampling=square"), "{graph}");
    let page = std::fs::read_to_string(Path::new(&target).join("report.html")).expect("it is there");
    assert!(page.contains("<h2>Deformable layers</h2>") && page.contains("one distance per pixel"));
    // One offset a pixel in place of eighteen.
    assert!(number(&square["macs"]) < number(&full["macs"]));

    let (depthwise, _) = compile(&folder, &["--deform", "square", "--deform-depthwise"]);
    assert_eq!(steps(&depthwise)[0], "depthwise");
    assert!(number(&depthwise["macs"]) < number(&square["macs"]));
}

#[test]
fn auto_takes_the_cheapest_variant_within_the_drop() {
    let folder = folder(false);
    let tried = |max_drop: f64| -> Vec<(String, f64, bool)> {
        let drop = format!("{max_drop}");
        let (summary, _) = compile(&folder, &["--deform", "auto", "--max-drop", &drop]);
        let tried = summary["deform"]["tried"].as_array().expect("a list").clone();
        let last = tried.last().expect("something was tried")["variant"].clone();
        assert_eq!(summary["deform"]["variant"], last);
        let entry = |entry: &Value| {
            let name = entry["variant"].as_str().expect("a name").to_owned();
            (name, number(&entry["drop"]), entry["accepted"].as_bool().expect("a verdict"))
        };
        tried.iter().map(entry).collect()
    };
    let lenient = tried(100.0);
    assert_eq!(lenient.len(), 1);
    assert_eq!((&lenient[0].0[..], lenient[0].2), ("square", true));
    assert!(lenient[0].1 > 0.0, "the square costs nothing here: {lenient:?}");
    let strict = tried(lenient[0].1 - 0.5);
    assert_eq!((&strict[0].0[..], strict[0].2), ("square", false), "{strict:?}");
    assert!(strict.len() > 1 && strict.last().expect("an entry").2);
    let names: Vec<&str> = strict.iter().map(|(name, ..)| &name[..]).collect();
    assert_eq!(names, ["square", "bounded", "full"][..names.len()]);
}

#[test]
fn variants_are_a_row_each_with_what_compile_says_of_them() {
    let folder = folder(false);
    let task = text(&folder.path().join("task.toml"));
    let options = ["--task", &task, "--multipliers", "64", "--deform-reach", "2", "--samples", "20"];
    let table = json(&[&["variants"], &options[..]].concat());
    let rows = table["variants"].as_array().expect("a list");
    let names: Vec<(&str, bool)> = rows
        .iter()
        .map(|row| (row["variant"].as_str().expect("a name"), row["depthwise"].as_bool().expect("a verdict")))
        .collect();
    assert_eq!(names, [("full", false), ("full", true), ("bounded", true), ("square", true)]);
    for row in rows {
        let builds = row["integer"].as_array().expect("a list");
        let bits: Vec<u64> = builds.iter().map(|built| built["weight_bits"].as_u64().expect("a width")).collect();
        assert_eq!((bits, row["line_buffer_rows"].as_array().map(Vec::len)), (vec![8, 4], Some(1)), "{row}");
        for built in builds {
            assert!((0.0..=1.0).contains(&number(&built["value"])), "{row}");
            assert!(number(&built["circuit"]["multipliers"]) <= 64.0, "{row}");
        }
    }
    // The float network answers as its labels were made, until something is taken from it.
    assert_eq!(number(&rows[0]["float"]), 1.0);
    assert!(number(&rows[3]["line_buffer_rows"][0]) <= number(&rows[0]["line_buffer_rows"][0]));
    let circuit = &rows[3]["integer"][0]["circuit"];
    let options = ["--multipliers", "64", "--deform", "square", "--deform-depthwise", "--deform-reach", "2"];
    let (square, _) = compile(&folder, &options);
    assert_eq!(circuit["cycles_per_inference"], square["cycles_per_inference"]);
    assert_eq!(circuit["multipliers"], square["multipliers"]);

    let printed = run(&["variants", "--task", &task, "--multipliers", "64", "--samples", "4"]);
    assert_eq!((printed.code, printed.out.lines().count()), (Some(0), 6), "{}{}", printed.out, printed.err);
    let model = text(&folder.path().join("model.onnx"));
    refused(&["variants", &model], 2, "variants are compared by a metric");
}

#[test]
fn what_cannot_be_built_is_refused() {
    let files = folder(true);
    let target = text(&files.path().join("out"));
    let task = text(&files.path().join("task.toml"));
    refused(&["compile", "--task", &task, "-o", &target], 1, "unsupported-mask");
    let model = text(&files.path().join("model.onnx"));
    refused(&["compile", &model, "--deform", "auto", "-o", &target], 2, "needs a task");
    assert_eq!(run(&["compile", "--task", &task, "--deform", "round", "-o", &target]).code, Some(2));
    assert_eq!(run(&["compile", "--task", &task, "--deform-reach", "128", "-o", &target]).code, Some(2));
    let plain = folder(false);
    let task = text(&plain.path().join("task.toml"));
    refused(&["explore", "--task", &task, "--deform", "auto", "-o", &target], 2, "--deform auto chooses by the drop");
    assert!(!files.path().join("out").exists());
}
