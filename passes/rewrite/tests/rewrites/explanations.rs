//! Explanations name the rules, and every expression on the way has the same value.

use crate::composed;
use crate::random::{Maker, Random};
use crate::soundness::{Tolerance, difference};
use lutweave_ir::op::{BatchNorm, Binary, Unary};
use lutweave_ir::{Op, Tensor};
use lutweave_rewrite::cleanup::simplify;
use lutweave_rewrite::explain::{Proof, explain, prove};

fn checked(proof: &Proof, seed: u64, name: &str) {
    let mut random = Random(seed);
    let inputs: Vec<Tensor> = proof.inputs.iter().map(|(_, ty)| random.tensor(ty)).collect();
    let values = proof.values(&inputs).unwrap_or_else(|error| panic!("{name}: {error}"));
    for pair in values.windows(2) {
        if let Some(difference) = difference(&pair[0], &pair[1], Tolerance::Rounding) {
            panic!("{name}: an expression of the proof {difference}");
        }
    }
}

#[test]
fn a_folded_batch_norm_is_explained() {
    let mut m = Maker::new(1);
    let x = m.input(&[1, 4, 4, 2]);
    let x = m.conv(x);
    let c = m.channels(x);
    let (scale, bias, mean) = (m.constant(&[c]), m.constant(&[c]), m.constant(&[c]));
    let variance = m.floats(&[c], vec![0.5; c]);
    let y = m.graph.add("norm", Op::BatchNorm(BatchNorm { epsilon: 1e-3 }), &[x, scale, bias, mean, variance]).unwrap();
    let y = m.graph.add("relu", Op::Unary(Unary::Relu), &[y]).unwrap();
    let graph = m.finish(&[y]);
    let proof = prove(&graph, "norm").unwrap_or_else(|error| panic!("{error}"));
    let rules: Vec<&str> = proof.steps.iter().map(|step| step.rule).collect();
    assert!(rules.starts_with(&["batch-norm-affine"]), "{rules:?}");
    assert!(rules.contains(&"conv-scale-out") && rules.contains(&"conv-bias-out"), "{rules:?}");
    assert!(proof.steps.iter().all(|step| !step.why.is_empty()));
    checked(&proof, 1, "norm");
    assert_eq!(explain(&graph, "relu").unwrap(), [], "the clamp is as it was");
    assert_eq!(explain(&graph, "absent").unwrap_err().0[0].code, "unknown-node");
}

#[test]
fn a_hard_swish_in_parts_is_explained() {
    let mut m = Maker::new(4);
    let x = m.input(&[1, 3, 4, 2]);
    let (three, six) = (m.scalar(3.0), m.scalar(6.0));
    let y = m.binary(Binary::Add, x, three);
    let y = m.unary(Unary::Clip { lo: 0.0, hi: 6.0 }, y);
    let y = m.binary(Binary::Mul, y, x);
    let y = m.graph.add("activation", Op::Binary(Binary::Div), &[y, six]).unwrap();
    let graph = m.finish(&[y]);
    let proof = prove(&graph, "activation").unwrap_or_else(|error| panic!("{error}"));
    let rules: Vec<&str> = proof.steps.iter().map(|step| step.rule).collect();
    for rule in ["add-constant", "hard-sigmoid-scaled", "hard-swish"] {
        assert!(rules.contains(&rule), "{rule} is not in {rules:?}");
    }
    checked(&proof, 4, "activation");
}

#[test]
fn proofs_of_random_graphs_check() {
    let mut steps = 0;
    for seed in 0..150 {
        let graph = composed::graph(seed);
        let clean = simplify(&graph).unwrap().graph;
        for node in clean.nodes() {
            if matches!(node.op, Op::Input | Op::Constant(_)) || !graph.nodes().iter().any(|own| own.name == node.name)
            {
                continue;
            }
            let name = format!("graph {seed} `{}`", node.name);
            let proof = prove(&graph, &node.name).unwrap_or_else(|error| panic!("{name}: {error}"));
            checked(&proof, seed, &name);
            steps += proof.steps.len();
        }
    }
    assert!(steps > 100, "{steps} steps are too few to tell");
}
