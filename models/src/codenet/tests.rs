use super::*;
use lutweave_ir::op::Unary;
use lutweave_ir::{Graph, Op, Tensor, interpret};
use lutweave_onnx::ImportOptions;

#[test]
fn counts_are_the_published_ones() {
    // Parameters in thousands, multiply-accumulates in millions, of the authors' code.
    let published = [(1588.0, 280.0), (1588.0, 288.0), (1588.0, 1119.0), (6082.0, 3507.0), (6082.0, 3539.0)];
    for (configuration, (parameters, macs)) in Configuration::ALL.into_iter().zip(published) {
        let counts = configuration.counts();
        let near = |count: u64, unit: f64, wanted: f64| (count as f64 / unit / wanted - 1.0).abs() < 0.02;
        assert!(near(counts.0, 1e3, parameters), "{}: {counts:?}", configuration.name());
        assert!(near(counts.1, 1e6, macs), "{}: {counts:?}", configuration.name());
    }
}

#[test]
fn classes_are_free() {
    let one = NonZeroUsize::MIN;
    let [few, many] = [one, CLASSES].map(|classes| Configuration::ALL[0].with_classes(classes).counts().0);
    assert_eq!(many - few, 19 * 65);
}

#[test]
fn the_same_configuration_gives_the_same_bytes() {
    let configuration = Configuration::ALL[1];
    assert_eq!(configuration.onnx(), configuration.onnx());
    assert_eq!(configuration.samples(), configuration.samples());
    assert_ne!(configuration.onnx(), Configuration::ALL[0].onnx());
}

#[test]
fn scenes_hold_objects_of_all_classes() {
    let configuration = Configuration::ALL[0];
    let mut seen = [false; 20];
    for index in 0..60 {
        let scene = configuration.scene(64, index);
        assert_eq!(scene.pixels.len(), 64 * 64 * 3);
        assert!((1..=8).contains(&scene.objects.len()));
        for (bounds, class) in scene.objects {
            seen[class] = true;
            assert!(bounds.iter().all(|bound| (0.0..=64.0).contains(bound)), "{bounds:?}");
            assert!(bounds[0] < bounds[2] && bounds[1] < bounds[3], "{bounds:?}");
        }
    }
    assert!(seen.iter().all(|&seen| seen));
}

/// The graph's own count is the builder's.
fn macs_are_counted(graph: &Graph, expected: u64) -> bool {
    graph.ids().map(|id| graph.macs(id)).sum::<u64>() == expected
}

/// Every value of a configuration's graph on some of its scenes.
fn values(configuration: &Configuration, scenes: u64) -> (Graph, Vec<Vec<Tensor>>) {
    let options = ImportOptions { name: configuration.name().to_owned(), base: None };
    let graph = lutweave_onnx::import(configuration.onnx(), &options).expect("the file is a model").graph;
    lutweave_ir::validate::validate(&graph).expect("the graph is valid");
    let size = configuration.size();
    let values = (0..scenes).map(|index| {
        let scene = configuration.scene(size, index);
        let pixel = |position: usize| f32::from(scene.pixels[position % (size * size) * 3 + position / (size * size)]);
        let image = Tensor::f32([1, 3, size, size], (0..3 * size * size).map(pixel).collect::<Vec<_>>());
        interpret::run_all(&graph, &[image]).expect("the image fits")
    });
    let values = values.collect();
    (graph, values)
}

#[test]
fn channels_are_neither_dead_nor_exploded() {
    for configuration in [Configuration::ALL[0], Configuration::ALL[1]] {
        let (graph, values) = values(&configuration, 4);
        assert!(macs_are_counted(&graph, configuration.counts().1), "{}", configuration.name());
        let mut layers = 0;
        for id in graph.ids() {
            let node = graph.node(id);
            let relu = matches!(node.op, Op::Unary(Unary::Relu));
            if !relu && !matches!(node.op, Op::Conv(_) | Op::DeformConv(_)) {
                continue;
            }
            layers += usize::from(!relu);
            let channels = *node.ty.shape.last().expect("an image has channels");
            let (mut sums, mut squares) = (vec![0.0f64; channels], vec![0.0f64; channels]);
            let mut count = 0.0;
            for pixel in values.iter().flat_map(|values| values[id.index()].f32s().chunks_exact(channels)) {
                count += 1.0;
                for (channel, &value) in pixel.iter().enumerate() {
                    sums[channel] += f64::from(value);
                    squares[channel] += f64::from(value).powi(2);
                }
            }
            let spread = |channel: usize| (squares[channel] / count - (sums[channel] / count).powi(2)).max(0.0).sqrt();
            let (least, most) = (0..channels).map(spread).fold((f64::MAX, 0.0f64), |(a, b), s| (a.min(s), b.max(s)));
            assert!(least > 0.2 && most < 4.0, "{} {}: {least} to {most}", configuration.name(), node.name);
        }
        assert_eq!(layers, 1 + 5 * 3 + 3 * 13 + 1 + 9 + 9, "{}", configuration.name());
    }
}
