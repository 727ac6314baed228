use super::*;

#[test]
fn counts_are_the_published_ones() {
    // Parameters in thousands, multiply-accumulates in millions.
    let published = [(3505.0, 301.0), (11690.0, 1814.0), (25557.0, 4100.0), (3157.0, 4350.0)];
    for (model, (parameters, macs)) in Published::ALL.into_iter().zip(published) {
        let counts = model.counts();
        let near = |count: u64, unit: f64, wanted: f64| (count as f64 / unit / wanted - 1.0).abs() < 0.01;
        assert!(near(counts.0, 1e3, parameters), "{}: {counts:?}", model.name());
        assert!(near(counts.1, 1e6, macs), "{}: {counts:?}", model.name());
    }
}

#[test]
fn the_same_model_has_the_same_bytes() {
    assert_eq!(Published::MobileNetV2.onnx(), Published::MobileNetV2.onnx());
}

#[test]
fn graphs_are_valid_and_their_macs_counted() {
    for model in Published::ALL {
        let options = lutweave_onnx::ImportOptions { name: model.name().to_owned(), base: None };
        let graph = lutweave_onnx::import(model.onnx(), &options).expect("the file is a model").graph;
        lutweave_ir::validate::validate(&graph).expect("the graph is valid");
        assert_eq!(graph.ids().map(|id| graph.macs(id)).sum::<u64>(), model.counts().1, "{}", model.name());
    }
}
