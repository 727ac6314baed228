use super::{LOWERING, cost, simplify, simplify_integer};
use crate::rules::rule_table;
use lutweave_ir::interpret::run;
use lutweave_ir::op::{BatchNorm, Conv, Geometry, Reshape, Transpose, Unary};
use lutweave_ir::{Element, Graph, Op, Tensor, TensorType};
use lutweave_testing::channels::{Recipe, random_graph, random_inputs};
use lutweave_testing::property::cases;
use proptest::prelude::*;

/// A convolution in the model's layout, batch normalization, and ReLU.
fn channels_first() -> Graph {
    let mut graph = Graph::new("channels first");
    let x = graph.input("x", TensorType::f32([1, 3, 4, 4]));
    let mut constant = |shape: &[usize]| {
        let elements: Vec<f32> = (0..shape.iter().product()).map(|index: usize| 0.5 + index as f32 / 8.0).collect();
        graph.constant("constant", Tensor::f32(shape, elements), TensorType::f32(shape))
    };
    let weights = constant(&[2, 1, 1, 3]);
    let parameters: Vec<_> = (0..4).map(|_| constant(&[2])).collect();
    let mut add = |name: &str, op: Op, operands: &[_]| graph.add(name, op, operands).expect("fits");
    let first = add("first", Op::Transpose(Transpose { permutation: vec![0, 2, 3, 1] }), &[x]);
    let conv = add("conv", Op::Conv(Conv { geometry: Geometry::PLAIN }), &[first, weights]);
    let back = add("back", Op::Transpose(Transpose { permutation: vec![0, 3, 1, 2] }), &[conv]);
    let again = add("again", Op::Transpose(Transpose { permutation: vec![0, 2, 3, 1] }), &[back]);
    let norm = add("norm", Op::BatchNorm(BatchNorm { epsilon: 1e-5 }), &[&[again][..], &parameters].concat());
    let y = add("y", Op::Unary(Unary::Relu), &[norm]);
    graph.set_outputs(vec![y]);
    graph
}

fn operators(graph: &Graph) -> Vec<&'static str> {
    graph.nodes().iter().filter(|node| !matches!(node.op, Op::Constant(_))).map(|node| node.op.name()).collect()
}

#[test]
fn batch_normalization_goes_into_the_layer_and_transposes_cancel() {
    let graph = channels_first();
    let simplified = simplify(&graph).expect("simplifies");
    assert_eq!(operators(&simplified.graph), ["input", "transpose", "conv", "relu"]);
    assert_eq!(simplified.graph.nodes().last().expect("an output").name, "y");
    assert!(simplified.report.saturated && simplified.report.cost_after < simplified.report.cost_before);
    assert!(simplified.report.fired.iter().any(|(name, count)| *name == "transpose-transpose" && *count == 1));
}

#[test]
fn rules_that_come_last_are_rules() {
    let known = |name: &&str| rule_table().iter().any(|rule| rule.name == *name);
    assert!(LOWERING.iter().all(known));
}

#[test]
fn integer_rules_apply_to_integer_graphs() {
    let mut graph = Graph::new("integers");
    let x = graph.input("x", TensorType::int([1, 2, 3], Element::I8));
    let a = graph.add("a", Op::Transpose(Transpose { permutation: vec![0, 2, 1] }), &[x]).expect("fits");
    let b = graph.add("b", Op::Transpose(Transpose { permutation: vec![0, 2, 1] }), &[a]).expect("fits");
    let y = graph.add("y", Op::Reshape(Reshape { shape: vec![6] }), &[b]).expect("fits");
    graph.set_outputs(vec![y]);
    let simplified = simplify_integer(&graph).expect("simplifies");
    assert_eq!(operators(&simplified.graph), ["input", "reshape"]);
}

proptest! {
    #![proptest_config(cases(150))]

    /// The function stays, the interface stays, and the cost does not rise.
    #[test]
    fn fixed_order_keeps_the_function(steps in prop::collection::vec((any::<u8>(), any::<u64>()), 1..12), seed: u64) {
        let graph = random_graph(&steps, Recipe { dead: 20, live: false });
        let fixed = simplify(&graph).expect("simplifies");
        prop_assert!(lutweave_ir::validate::validate(&fixed.graph).is_ok());
        prop_assert!(fixed.report.cost_after <= fixed.report.cost_before);
        let names = |graph: &Graph| graph.outputs().iter().map(|&id| graph.node(id).name.clone()).collect::<Vec<_>>();
        prop_assert_eq!(names(&graph), names(&fixed.graph));
        let inputs = random_inputs(&graph, seed);
        let (before, after) = (run(&graph, &inputs).expect("runs"), run(&fixed.graph, &inputs).expect("runs"));
        for (a, b) in before.iter().zip(&after) {
            let magnitude = a.f32s().iter().fold(1f32, |most, a| most.max(a.abs()));
            for (a, b) in a.f32s().iter().zip(b.f32s()) {
                prop_assert!((a - b).abs() <= 1e-4 * magnitude, "{a} and {b}");
            }
        }
        prop_assert_eq!(fixed.report.cost_after, cost(&fixed.graph).expect("costs"));
    }
}
