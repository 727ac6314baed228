use super::*;

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
