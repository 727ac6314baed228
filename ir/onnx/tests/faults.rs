//! What is refused, and that the refusals say what, where and what to do.

mod build;

use build::{Model, int, ints, text};
use lutweave_ir::Diagnostics;
use lutweave_onnx::proto::{AttributeProto, StringStringEntryProto, TensorProto, attribute_type, data_type};
use lutweave_onnx::{ImportOptions, import};

fn faults(model: &Model) -> Diagnostics {
    import(model.bytes(), &ImportOptions::default()).expect_err("the model should be refused")
}

fn only(model: &Model, code: &str, part: &str) {
    let faults = faults(model);
    let [fault] = &faults.0[..] else { panic!("one fault expected: {faults}") };
    assert_eq!(fault.code, code, "{fault}");
    assert!(fault.to_string().contains(part), "`{part}` is not in: {fault}");
    assert!(!fault.help.is_empty(), "no help: {fault}");
}

fn one(opset: i64, operator: &str, shape: &[i64], attributes: Vec<AttributeProto>) -> Model {
    Model::new(opset).input("x", shape).node(operator, &["x"], &["y"], attributes).output("y")
}

#[test]
fn operator_sets() {
    only(&one(6, "Relu", &[1, 4], vec![]), "unsupported-opset", "older than 7");
    only(&one(23, "Relu", &[1, 4], vec![]), "unsupported-opset", "newer than 22");
    let mut model = one(13, "Relu", &[1, 4], vec![]);
    model.proto.opset_import.clear();
    only(&model, "malformed-file", "no version");
}

#[test]
fn files_that_are_none() {
    let fault = import(b"hello".to_vec(), &ImportOptions::default()).unwrap_err();
    assert_eq!(fault.0[0].code, "malformed-file");
    let fault = import(Vec::new(), &ImportOptions::default()).unwrap_err();
    assert_eq!(fault.0[0].code, "malformed-file");
}

#[test]
fn operators() {
    only(&one(13, "Einsum", &[1, 4], vec![]), "unsupported-operator", "`Einsum` is not supported");
    only(&one(13, "If", &[1, 4], vec![]), "unsupported-operator", "subgraphs");
    only(&one(13, "LSTM", &[1, 4], vec![]), "unsupported-operator", "recurrent");
    let model = Model::new(13).input("x", &[1, 4]);
    let foreign = model.node_of("my.domain", "Relu", &["x"], &["y"], vec![]).output("y");
    only(&foreign, "unsupported-operator", "`my.domain`");
    let model = Model::new(13).input("x", &[1, 4]);
    let quant = model.node_of("qonnx.custom_op.general", "Quant", &["x"], &["y"], vec![]).output("y");
    only(&quant, "unsupported-operator", "QONNX");
}

#[test]
fn all_faults_of_a_file_in_one_go() {
    let model = Model::new(13)
        .input("x", &[1, 3, 8, 8])
        .node("Einsum", &["x"], &["a"], vec![])
        .node("Relu", &["a"], &["b"], vec![])
        .node("Det", &["b"], &["c"], vec![])
        .node("MaxPool", &["x"], &["d"], vec![])
        .node("Relu", &["nowhere"], &["e"], vec![])
        .output("c")
        .output("e")
        .output("absent");
    let faults = faults(&model);
    let codes: Vec<&str> = faults.0.iter().map(|fault| fault.code).collect();
    // The Relu behind Einsum is silent: its operand was refused already.
    assert_eq!(
        codes,
        ["unsupported-operator", "unsupported-operator", "invalid-node", "missing-value", "missing-value"],
        "{faults}"
    );
    assert!(faults.0[2].to_string().contains("kernel_shape"), "{faults}");
}

#[test]
fn equal_faults_are_told_once() {
    let model = Model::new(13)
        .input("x", &[1, 4])
        .node("Einsum", &["x"], &["a"], vec![])
        .node("Einsum", &["x"], &["b"], vec![])
        .node("Einsum", &["x"], &["c"], vec![])
        .output("c");
    only(&model, "unsupported-operator", "and at 2 other nodes: `b`, `c`");
}

#[test]
fn shapes_of_inputs() {
    only(&one(13, "Relu", &[1, 3, 0, 8], vec![]), "symbolic-shape", "axis 2");
    only(&one(13, "Relu", &[1, -5], vec![]), "invalid-input", "-5");
    only(&one(13, "Relu", &[1, 1 << 40, 1 << 40], vec![]), "invalid-input", "too many elements");
    let mut model = one(13, "Relu", &[1, 4], vec![]);
    model.graph().input[0].r#type.as_mut().unwrap().tensor_type.as_mut().unwrap().shape = None;
    only(&model, "invalid-input", "no shape");
    let model =
        Model::new(13).typed_input("x", data_type::STRING, &[1]).node("Relu", &["x"], &["y"], vec![]).output("y");
    only(&model, "invalid-input", "string");
}

#[test]
fn a_symbolic_batch_becomes_one_with_a_warning() {
    let imported = import(one(13, "Relu", &[0, 4], vec![]).bytes(), &ImportOptions::default()).unwrap();
    assert_eq!(imported.warnings[0].code, "batch-fixed");
    assert_eq!(imported.graph.node(imported.graph.inputs()[0]).ty.shape, [1, 4]);
}

#[test]
fn cycles_and_clashes() {
    let model = Model::new(13)
        .input("x", &[1, 4])
        .node("Add", &["x", "b"], &["a"], vec![])
        .node("Relu", &["a"], &["b"], vec![])
        .output("b");
    let found = faults(&model);
    assert!(found.0.iter().any(|fault| fault.code == "cyclic-graph"), "{found}");
    let model = Model::new(13)
        .input("x", &[1, 4])
        .node("Relu", &["x"], &["y"], vec![])
        .node("Exp", &["x"], &["y"], vec![])
        .output("y");
    only(&model, "duplicate-value", "two values");
}

#[test]
fn constants() {
    let short = TensorProto {
        name: Some("w".into()),
        dims: vec![4, 4],
        data_type: Some(data_type::FLOAT),
        raw_data: Some(vec![0; 60].into()),
        ..TensorProto::default()
    };
    let with = |tensor: TensorProto| {
        Model::new(13).input("x", &[1, 4]).tensor(tensor).node("MatMul", &["x", "w"], &["y"], vec![]).output("y")
    };
    only(&with(short.clone()), "invalid-constant", "60 bytes");
    let entry = StringStringEntryProto { key: Some("location".into()), value: Some("../w.bin".into()) };
    let outside = TensorProto { raw_data: None, data_location: Some(1), external_data: vec![entry], ..short.clone() };
    only(&with(outside.clone()), "invalid-constant", "another file");
    let options = ImportOptions { base: Some(std::env::temp_dir()), ..ImportOptions::default() };
    let fault = import(with(outside).bytes(), &options).unwrap_err();
    assert!(fault.to_string().contains("outside the model's directory"), "{fault}");
    only(&with(TensorProto { data_type: Some(17), ..short }), "invalid-constant", "float8e4m3fn");
}

#[test]
fn quantization_that_hardware_has_not() {
    let scales = |dims: Vec<i64>, count: usize| TensorProto {
        name: Some("s".into()),
        dims,
        data_type: Some(data_type::FLOAT),
        float_data: (0..count).map(|index| 0.1 + index as f32).collect(),
        ..TensorProto::default()
    };
    let quantize = |scale: TensorProto, attributes| {
        let model = Model::new(21).input("x", &[1, 4, 2, 2]).tensor(scale);
        model
            .node("QuantizeLinear", &["x", "s"], &["q"], attributes)
            .node("DequantizeLinear", &["q", "s"], &["y"], vec![])
            .output("y")
    };
    only(&quantize(scales(vec![4], 4), vec![]), "unsupported-node", "one scale per channel");
    let blocked = quantize(scales(vec![1, 2, 2, 2], 8), vec![int("block_size", 2)]);
    only(&blocked, "unsupported-node", "blocked");
    only(&quantize(scales(vec![], 1), vec![int("output_dtype", 17)]), "unsupported-node", "element type");
}

#[test]
fn attributes_that_cannot_be_met() {
    let image: &[i64] = &[1, 3, 8, 8];
    let resize = |mode: &'static str, factor: f32| {
        let scales = TensorProto {
            name: Some("s".into()),
            dims: vec![4],
            data_type: Some(data_type::FLOAT),
            float_data: vec![1.0, 1.0, factor, factor],
            ..TensorProto::default()
        };
        let model = Model::new(13).input("x", image).tensor(scales);
        model.node("Resize", &["x", "", "s"], &["y"], vec![text("mode", mode)]).output("y")
    };
    only(&resize("cubic", 2.0), "unsupported-node", "`cubic`");
    only(&resize("nearest", 1.5), "unsupported-node", "irregular");
    only(&resize("linear", 1.5), "unsupported-node", "irregular");
    only(&resize("linear", 17.0), "unsupported-node", "irregular");
    let pad = Model::new(13).input("x", image).ints("p", &[0, 0, 1, 1, 0, 0, 1, 1]);
    only(
        &pad.node("Pad", &["x", "p"], &["y"], vec![text("mode", "reflect")]).output("y"),
        "unsupported-node",
        "reflect",
    );
    let pool = vec![ints("kernel_shape", &[2, 2, 2])];
    only(&one(13, "MaxPool", &[1, 3, 8, 8, 8], pool), "unsupported-node", "spatial");
    let huge = vec![ints("kernel_shape", &[2, 2]), ints("strides", &[1 << 40, 1])];
    only(&one(13, "MaxPool", image, huge), "invalid-node", "65535");
    let model = Model::new(13).input("x", &[1, 4]).input("w", &[4, 4]);
    only(&model.node("MatMul", &["x", "w"], &["y"], vec![]).output("y"), "unsupported-node", "run time");
}

#[test]
fn sizes_are_bounded() {
    let model = Model::new(13).ints("s", &[1 << 30, 1 << 30]);
    only(&model.node("ConstantOfShape", &["s"], &["y"], vec![]).output("y"), "too-large", "2^24");
    let model = Model::new(13).input("x", &[1, 4]).ints("p", &[0, 1 << 40, 0, 1 << 40]);
    only(&model.node("Pad", &["x", "p"], &["y"], vec![]).output("y"), "invalid-node", "2^24");
}

#[test]
fn attributes_that_are_no_numbers() {
    let alpha = || AttributeProto {
        name: Some("alpha".into()),
        r#type: Some(attribute_type::FLOAT),
        f: Some(f32::NAN),
        ..AttributeProto::default()
    };
    let model = Model::new(16).input("x", &[1, 4]).node("LeakyRelu", &["x"], &["y"], vec![alpha()]).output("y");
    only(&model, "invalid-operands", "not a number");
    let model = Model::new(16).input("x", &[1, 4]).node("Elu", &["x"], &["y"], vec![alpha()]).output("y");
    only(&model, "invalid-operands", "not a number");
}

/// A deformable convolution of four channels by `[6,4,3,3]` weights.
fn deformable(offsets: &[i64], attributes: Vec<AttributeProto>) -> Model {
    Model::new(19)
        .input("x", &[1, 4, 6, 6])
        .floats("w", &[6, 4, 3, 3])
        .input("o", offsets)
        .node("DeformConv", &["x", "w", "o"], &["y"], attributes)
        .output("y")
}

#[test]
fn deformable_convolutions() {
    only(&deformable(&[1, 17, 4, 4], vec![]), "invalid-node", "must be [1,18,height,width]");
    only(&deformable(&[1, 18, 5, 4], vec![]), "invalid-operands", "offsets");
    only(&deformable(&[1, 54, 4, 4], vec![int("offset_group", 3)]), "invalid-node", "does not divide the 4 channels");
    only(&deformable(&[1, 18, 4, 4], vec![int("offset_group", 0)]), "invalid-node", "is not positive");
    only(&deformable(&[1, 18, 4, 4], vec![int("group", -1)]), "invalid-node", "is not positive");
    only(&deformable(&[1, 18, 4, 4], vec![ints("kernel_shape", &[3, 2])]), "invalid-node", "contradicts the weights");
    let model = Model::new(19).input("x", &[1, 4, 6, 6]).input("w", &[6, 4, 3, 3]).input("o", &[1, 18, 4, 4]);
    let dynamic = model.node("DeformConv", &["x", "w", "o"], &["y"], vec![]).output("y");
    only(&dynamic, "not-constant", "weights");
    let model = Model::new(19).input("x", &[1, 4, 6]).floats("w", &[6, 4, 3]).input("o", &[1, 6, 4]);
    let flat = model.node("DeformConv", &["x", "w", "o"], &["y"], vec![]).output("y");
    only(&flat, "unsupported-node", "two-dimensional");
    let masked = deformable(&[1, 18, 4, 4], vec![]).input("m", &[1, 8, 4, 4]);
    let mut masked = masked;
    masked.graph().node[0].input.extend([String::new(), "m".to_owned()]);
    only(&masked, "invalid-node", "the mask of shape [1, 8, 4, 4] must be [1,9,height,width]");
}
