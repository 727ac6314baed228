//! Damaged and absurd models.

use crate::support::{files, names, run, text, write};
use lutweave_onnx::proto::{GraphProto, ModelProto};
use prost::Message;

/// Compiles changed models one after the other; none leaves anything behind unless it is taken.
fn attempt(models: impl Iterator<Item = (String, Vec<u8>)>) -> [usize; 2] {
    let files = files();
    let model = files.path().join("model.onnx");
    let task = text(&files.path().join("task.toml"));
    let target = files.path().join("out");
    let before = names(files.path());
    let mut counts = [0; 2];
    for (what, bytes) in models {
        write(&model, bytes);
        let arguments = ["compile", "--task", &task, "--calibration-samples", "2", "--no-verify", "-o", &text(&target)];
        let ended = run(&arguments);
        match ended.code {
            Some(0) => {
                assert!(target.join("manifest.json").is_file(), "{what}");
                std::fs::remove_dir_all(&target).expect("the result can be removed");
                counts[0] += 1;
            }
            Some(1) => {
                assert!(ended.err.contains('×') || ended.err.contains("Error"), "{what}: {}", ended.err);
                counts[1] += 1;
            }
            code => panic!("{what}: {code:?} {}", ended.err),
        }
        assert_eq!(names(files.path()), before, "{what}");
    }
    counts
}

fn original() -> Vec<u8> {
    lutweave_models::find("mnist").expect("there is a built-in model mnist").onnx().into_owned()
}

#[test]
fn truncated_models_are_refused() {
    let bytes = original();
    let cuts = (0..30).map(|part| bytes.len() * part / 30);
    let [taken, refused] = attempt(cuts.map(|length| (format!("cut at {length}"), bytes[..length].to_vec())));
    assert_eq!((taken, refused), (0, 30));
}

#[test]
fn flipped_bits_do_no_harm() {
    let bytes = original();
    // Most of the file is weights; the rest is where structure can break.
    let structure = (0..50).map(|step| step * 29 + 3);
    let anywhere = (0..20).map(|step| (step * 7_919 + 11) % bytes.len());
    let flips = structure.chain(anywhere).enumerate().map(|(number, position)| {
        let mut damaged = bytes.to_vec();
        damaged[position] ^= 1 << (number % 8);
        (format!("bit {} of byte {position}", number % 8), damaged)
    });
    let [taken, refused] = attempt(flips);
    assert!(refused >= 10, "{taken} taken, {refused} refused");
}

#[test]
fn absurd_shapes_are_refused() {
    let change = |change: &dyn Fn(&mut GraphProto)| {
        let mut model = ModelProto::decode(&original()[..]).expect("the built-in model is sound");
        change(model.graph.as_mut().expect("it has a graph"));
        model.encode_to_vec()
    };
    let mut models = Vec::new();
    for extent in [0, -1, i64::MIN, i64::MAX, 1 << 31, 1 << 40] {
        for axis in 0..4 {
            models.push((
                format!("extent {extent} of input axis {axis}"),
                change(&|graph| {
                    let ty = graph.input[0].r#type.as_mut().and_then(|ty| ty.tensor_type.as_mut());
                    let shape = ty.and_then(|ty| ty.shape.as_mut()).expect("the input has a shape");
                    shape.dim[axis].dim_value = Some(extent);
                }),
            ));
        }
        models.push((
            format!("extent {extent} of a weight"),
            change(&|graph| {
                let weights = graph.initializer.iter_mut().find(|tensor| tensor.dims.len() == 4);
                weights.expect("there is a convolution").dims[0] = extent;
            }),
        ));
        for attribute in ["strides", "pads", "dilations", "kernel_shape"] {
            models.push((
                format!("{attribute} {extent}"),
                change(&|graph| {
                    for attribute in graph
                        .node
                        .iter_mut()
                        .flat_map(|node| &mut node.attribute)
                        .filter(|found| found.name.as_deref() == Some(attribute))
                    {
                        attribute.ints.iter_mut().for_each(|value| *value = extent);
                    }
                }),
            ));
        }
    }
    // Nodes in a circle, nodes without operands, and nothing at all.
    models.push((
        "a circle".to_owned(),
        change(&|graph| {
            let last = graph.node.last().expect("there are nodes").output[0].clone();
            graph.node[0].input[0] = last;
        }),
    ));
    models.push(("no operands".to_owned(), change(&|graph| graph.node.iter_mut().for_each(|node| node.input.clear()))));
    models.push(("no nodes".to_owned(), change(&|graph| graph.node.clear())));
    models.push(("no outputs".to_owned(), change(&|graph| graph.output.clear())));
    models.push(("no inputs".to_owned(), change(&|graph| graph.input.clear())));
    models.push(("no graph".to_owned(), ModelProto::default().encode_to_vec()));
    let [_, refused] = attempt(models.into_iter());
    assert!(refused >= 30, "{refused} refused");
}
