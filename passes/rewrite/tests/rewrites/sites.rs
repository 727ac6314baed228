//! Sites: charges, names, and that unsound rules about them are found out.

use crate::affine_cases::plain;
use crate::composed;
use crate::random::{Maker, Random};
use crate::site_cases::{activation, weights};
use crate::soundness::{Tolerance, check};
use crate::{same_function, same_interface};
use lutweave_ir::op::{Binary, Concat, Conv, Dequantize, Geometry, MaxPool, Site, SiteKind, Unary, Window};
use lutweave_ir::{Graph, Op};
use lutweave_quantize::{QuantizeOptions, quantize};
use lutweave_rewrite::cleanup::{Rewrites, simplify, simplify_sites};
use lutweave_rewrite::egraph::{Build, Facts, RuleClass, RuleSpec};
use lutweave_rewrite::rules::site_rules;
use lutweave_rewrite::sites::{self, place, resolve};

/// A rule that holds for the identity only.
fn wrong(name: &'static str, lhs: &'static str, apply: Apply) -> RuleSpec {
    let (class, guards) = (RuleClass::Integer, &[]);
    RuleSpec { name, class, lhs, rhs: "", guards, why: "", apply, constants: false, generative: false }
}

type Apply = fn(&mut lutweave_rewrite::egraph::EGraph, &lutweave_rewrite::egraph::Match) -> Option<egg::Id>;

/// The check refuses the rule on some of the graphs.
fn refuted(rule: RuleSpec, build: fn(u64) -> Graph) {
    let passes = |rules: &[RuleSpec]| {
        (0..20).all(|seed| check(&build(seed), &Rewrites::new(rules), Tolerance::Exact, seed).is_ok())
    };
    let mut rules: Vec<RuleSpec> = site_rules().into_iter().filter(|rule| rule.class == RuleClass::Integer).collect();
    assert!(passes(&rules), "{}: the graphs are wrong without the rule", rule.name);
    rules.push(rule);
    assert!(!passes(&rules), "{} is not found out", rule.name);
}

#[test]
fn nothing_moves_into_a_weight_site() {
    let into_site: Apply = |egraph, found| {
        let [w] = found.vars();
        let (transpose, site) = (egraph.op(&found.terms[0])?.clone(), egraph.op(&found.terms[1])?.clone());
        let w = egraph.add_op(transpose, &[w])?;
        egraph.add_op(site, &[w])
    };
    refuted(wrong("transpose-into-site", "(transpose (weight_site ?w))", into_site), |seed| {
        let mut m = Maker::new(seed);
        let x = m.input(&[1, 2, 2, 3]);
        let w = m.constant(&[3, 1, 1, 4]);
        let w = weights(&mut m, w, 0);
        let w = m.transpose(w, &[3, 1, 2, 0]);
        let y = m.add(Op::Conv(Conv { geometry: plain(1) }), &[x, w]);
        m.finish(&[y])
    });
}

fn two_sites(seed: u64) -> Graph {
    let mut m = Maker::new(seed);
    let x = m.input(&[1, 2, 2, 3]);
    let (a, b) = (activation(&mut m, x, 0), activation(&mut m, x, 1));
    let y = m.binary(Binary::Sub, a, b);
    m.finish(&[y])
}

#[test]
fn two_sites_do_not_merge() {
    let renumbered: Apply = |egraph, found| {
        let Some(Op::Site(Site { number: 1, kind })) = egraph.op(&found.terms[0]).cloned() else { return None };
        egraph.add_op(Op::Site(Site { number: 0, kind }), &found.vars::<1>())
    };
    refuted(wrong("one-site-for-another", "(activation_site ?x)", renumbered), two_sites);
}

#[test]
fn a_site_is_not_what_it_rounds() {
    let dropped: Apply = |_, found| Some(found.vars::<1>()[0]);
    refuted(wrong("site-is-identity", "(activation_site ?x)", dropped), two_sites);
}

/// A small network: two branches, a pool, a join, and a classifier.
fn network() -> Graph {
    let mut m = Maker::new(3);
    let x = m.input(&[1, 8, 8, 3]);
    let geometry = Geometry { pads: [1; 4], ..plain(1) };
    let a = m.graph.add("noise", Op::Unary(Unary::Tanh), &[x]).unwrap();
    let stem = m.conv_of(a, [3, 3], 4, geometry);
    let stem = m.unary(Unary::Relu, stem);
    let window = Window { kernel: [2, 2], strides: [2, 2], dilations: [1, 1], pads: [0; 4] };
    let pooled = m.add(Op::MaxPool(MaxPool { window }), &[stem]);
    // One constant for two layers.
    let shared = m.constant(&[4, 3, 3, 4]);
    let left = m.add(Op::Conv(Conv { geometry }), &[pooled, shared]);
    let left = m.unary(Unary::Relu, left);
    let right = m.add(Op::Conv(Conv { geometry }), &[left, shared]);
    let right = m.unary(Unary::Relu, right);
    let sum = m.binary(Binary::Add, left, right);
    let joined = m.add(Op::Concat(Concat { axis: 3 }), &[sum, pooled]);
    let y = m.conv_of(joined, [4, 4], 5, plain(1));
    m.finish(&[y])
}

#[test]
fn shared_weights_are_one_site_and_named_after_their_layer() {
    let graph = simplify(&network()).unwrap().graph;
    let placed = place(&graph).unwrap();
    same_interface(&graph, &placed.graph, "placed");
    same_function(&graph, &placed.graph, Tolerance::Exact, 1, "placed");
    let layers: Vec<_> = placed.sites.iter().filter(|site| site.kind == SiteKind::Weights).collect();
    assert_eq!(layers.iter().map(|site| site.nodes.len()).collect::<Vec<_>>(), [1, 2, 1]);
    for (index, site) in placed.sites.iter().enumerate() {
        assert_eq!(site.number as usize, index);
        assert!(site.nodes.contains(&site.name));
    }
    let clean = simplify_sites(&placed.graph).unwrap().graph;
    let all = sites::used(&placed.graph);
    assert_eq!(all.len(), placed.sites.len(), "two uses of a site are one charge");
    assert_eq!(sites::used(&clean), all, "rewriting neither joins, splits nor drops sites");
    let resolved = resolve(&clean).unwrap();
    assert!(sites::used(&resolved.graph).is_empty());
    same_function(&graph, &resolved.graph, Tolerance::Exact, 2, "resolved");

    // Names are those that quantization reports.
    let mut random = Random(5);
    let sample = |random: &mut Random| {
        resolved.graph.inputs().iter().map(|&id| random.tensor(&resolved.graph.node(id).ty)).collect()
    };
    let samples: Vec<Vec<_>> = (0..4).map(|_| sample(&mut random)).collect();
    let quantized = quantize(&resolved.graph, &samples, &QuantizeOptions::default()).unwrap();
    let reported: Vec<&str> =
        quantized.layers.iter().filter(|layer| layer.weight_bits.is_some()).map(|layer| &layer.name[..]).collect();
    let named: Vec<&str> = layers.iter().flat_map(|site| &site.nodes).map(|name| &name[..]).collect();
    assert_eq!(named, reported);
    let resolved_names: Vec<&str> = resolved.weights.iter().map(|(layer, _)| &layer[..]).collect();
    assert_eq!(resolved_names, reported);
    for (layer, number) in &resolved.weights {
        assert!(placed.sites[*number as usize].nodes.contains(layer), "{layer} is not of site {number}");
    }
}

#[test]
fn a_site_without_a_setting_is_refused() {
    let placed = place(&simplify(&network()).unwrap().graph).unwrap();
    let faults = quantize(&placed.graph, &[], &QuantizeOptions::default()).unwrap_err();
    assert!(faults.0.iter().all(|fault| fault.code == "unresolved-site" && !fault.node.is_empty()), "{faults}");
}

#[test]
fn given_integers_have_no_sites() {
    let mut m = Maker::new(9);
    let q = m.integers(&[1, 4, 4, 2], lutweave_ir::Element::I8, 0);
    let x = m.add(Op::Dequantize(Dequantize), &[q]);
    let window = Window { kernel: [2, 2], strides: [2, 2], dilations: [1, 1], pads: [0; 4] };
    let x = m.add(Op::MaxPool(MaxPool { window }), &[x]);
    let ty = lutweave_ir::TensorType::int([3, 1, 1, 2], lutweave_ir::Element::I8);
    let w = m.random.tensor(&ty);
    let w = m.graph.constant("w", w, ty);
    let given = lutweave_ir::op::DequantizeWeights { axis: 0, scales: vec![0.1; 3], zero_points: vec![0; 3] };
    let w = m.add(Op::DequantizeWeights(given), &[w]);
    let y = m.add(Op::Conv(Conv { geometry: plain(1) }), &[x, w]);
    assert_eq!(place(&m.finish(&[y])).unwrap().sites, []);
}

#[test]
fn rules_hold_for_random_settings_of_placed_sites() {
    let all = site_rules();
    let exact: Vec<RuleSpec> = all.iter().copied().filter(|rule| rule.class == RuleClass::Integer).collect();
    let mut placed_sites = 0;
    for seed in 0..150 {
        let graph = place(&simplify(&composed::graph(seed)).unwrap().graph).unwrap();
        placed_sites += graph.sites.len();
        for (rules, tolerance) in [(&all, Tolerance::Rounding), (&exact, Tolerance::Exact)] {
            if let Err(message) = check(&graph.graph, &Rewrites::new(rules), tolerance, seed) {
                panic!("graph {seed}: {message}");
            }
        }
        let clean = simplify_sites(&graph.graph).unwrap().graph;
        assert!(sites::used(&clean).is_subset(&sites::used(&graph.graph)), "graph {seed}: a site appeared");
        let resolved = resolve(&clean).unwrap().graph;
        same_interface(&graph.graph, &resolved, &format!("graph {seed}"));
        same_function(&graph.graph, &resolved, Tolerance::Rounding, seed, &format!("graph {seed}"));
    }
    assert!(placed_sites > 300, "{placed_sites} sites are too few to tell");
}
