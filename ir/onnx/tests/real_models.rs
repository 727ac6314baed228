//! Other people's models: which are imported, and what is said about the others.

use lutweave_ir::{Op, validate};
use lutweave_onnx::{ImportOptions, import};
use std::path::PathBuf;

/// Folder, model, and the code of the refusal, if it is one.
const MODELS: &[(&str, &str, Option<&str>)] = &[
    ("mlperf_tiny", "ad_autoencoder_fp32", None),
    ("mlperf_tiny", "ad_autoencoder_int8_qdq", None),
    ("mlperf_tiny", "ic_resnet8_fp32", None),
    ("mlperf_tiny", "ic_resnet8_int8_qdq", None),
    ("mlperf_tiny", "kws_dscnn_fp32", None),
    ("mlperf_tiny", "kws_dscnn_hybrid_w8", None),
    ("mlperf_tiny", "kws_dscnn_int8_qdq", None),
    ("mlperf_tiny", "sww_dscnn1d_fp32", None),
    ("mlperf_tiny", "sww_dscnn1d_int8_qdq", None),
    ("mlperf_tiny", "vww_mobilenetv1_025_fp32", None),
    ("mlperf_tiny", "vww_mobilenetv1_025_int8_qdq", None),
    ("third_party", "alibaba_ad", None),
    ("third_party", "alibaba_ic", None),
    ("third_party", "alibaba_vww", None),
    ("third_party", "centerface_256x320", None),
    ("third_party", "fastestdet_352", None),
    ("third_party", "finn_tfc_2w2a_qonnx", Some("unsupported-operator")),
    ("third_party", "frontnet_160x16", None),
    ("third_party", "frontnet_160x32", None),
    ("third_party", "frontnet_80x32", None),
    ("third_party", "mnist_cntk", None),
    ("third_party", "mobilenetv2_int8_224_qdq", None),
    ("third_party", "nanodet_320", None),
    ("third_party", "ppocr_cls_48x192", None),
    ("third_party", "ppocr_v4_det_320", None),
    ("third_party", "resnet8_a4w4_int4_qdq", None),
    ("third_party", "resnet8_a4w4_qonnx", Some("unsupported-operator")),
    ("third_party", "resnet8_a8w8_int8_qdq", None),
    ("third_party", "tflm_person_detect_int8_qdq", None),
    ("third_party", "ultraface_rfb_320", None),
    ("third_party", "ultraface_slim_320_unsimplified", None),
    ("third_party", "yolox_nano_416", None),
];

#[test]
fn real_models_import_or_are_refused_for_the_right_reason() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/models");
    for &(folder, model, refusal) in MODELS {
        let Ok(bytes) = std::fs::read(root.join(folder).join(format!("{model}.onnx"))) else {
            println!("skipped: {model} is not here");
            continue;
        };
        match (import(bytes, &ImportOptions { name: model.to_owned(), base: None }), refusal) {
            (Ok(imported), None) => {
                let faults = validate::validate(&imported.graph);
                assert!(faults.is_ok(), "{model}: {faults:?}");
                // Only a boundary of the network, or a permutation of channels, may move data.
                let nodes = imported.graph.nodes();
                let transposes = nodes.iter().filter(|node| matches!(node.op, Op::Transpose(_))).count();
                println!("{model}: {} nodes, {transposes} transposes", nodes.len());
            }
            (Err(faults), Some(code)) => {
                assert!(faults.0.iter().any(|fault| fault.code == code), "{model}: {faults}");
                assert!(faults.0.iter().all(|fault| !fault.help.is_empty()), "{model}: {faults}");
                println!("{model}: refused, {faults}");
            }
            (Ok(_), Some(code)) => panic!("{model} should be refused with {code}"),
            (Err(faults), None) => panic!("{model}: {faults}"),
        }
    }
}
