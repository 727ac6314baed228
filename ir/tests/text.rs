//! The text form: what is printed parses back, and nothing that is parsed panics.

mod every_operator;

use lutweave_ir::op::{Dense, Transpose};
use lutweave_ir::text::{dot, parse, print, print_summary};
use lutweave_ir::{Element, Graph, Op, Quantization, Tensor, TensorType};
use proptest::prelude::*;

#[test]
fn every_operator_survives_a_round_trip() {
    let graph = every_operator::graph();
    let text = print(&graph);
    let back = parse(&text).unwrap_or_else(|diagnostic| panic!("{diagnostic}\n{text}"));
    assert_eq!(back, graph);
    assert_eq!(print(&back), text);
}

#[test]
fn the_summary_has_a_line_a_node_and_no_large_constant() {
    let graph = every_operator::graph();
    let summary = print_summary(&graph);
    assert_eq!(summary.lines().count(), graph.nodes().len() + 2);
    assert!(summary.contains(" = constant #"), "{summary}");
    let refused = parse(&summary).unwrap_err();
    assert!(refused.message.contains("left out"), "{refused}");
}

#[test]
fn lines_look_as_documented() {
    let mut graph = Graph::new("g");
    let q = Quantization { scale: 0.05, zero_point: -128 };
    let x = graph.input("x \"1\"", TensorType::int([1, 2, 2, 1], Element::I8).quantized(q));
    let y = graph.add("y", Op::Transpose(Transpose { permutation: vec![0, 3, 1, 2] }), &[x]).unwrap();
    graph.set_outputs(vec![y, x]);
    let expected = "graph \"g\"\n\
        %0 \"x \\\"1\\\"\" = input : i8[1,2,2,1]@(0.05,-128)\n\
        %1 \"y\" = transpose %0 {permutation=[0, 3, 1, 2]} : i8[1,1,2,2]@(0.05,-128)\n\
        outputs %1, %0\n";
    assert_eq!(print(&graph), expected);
}

#[test]
fn faults_name_their_line() {
    let cases = [
        ("", "line 1", "no graph"),
        ("graph \"g\"\n", "line 1", "outputs is missing"),
        ("graph \"g\"\n%0 \"x\" = input : f32[0]\noutputs %0\n", "line 2", "extent of 0"),
        ("graph \"g\"\n%1 \"x\" = input : f32[1]\noutputs %0\n", "line 2", "%0 is expected"),
        ("graph \"g\"\n%0 \"x\" = input : f32[1]\n%1 \"x\" = relu %0 : f32[1]\noutputs %0\n", "line 3", "earlier node"),
        ("graph \"g\"\n%0 \"x\" = input : f32[1]\n%1 \"y\" = relux %0 : f32[1]\noutputs %0\n", "line 3", "no operator"),
        ("graph \"g\"\n%0 \"x\" = input : f32[1]\n%1 \"y\" = relu %1 : f32[1]\noutputs %0\n", "line 3", "come before"),
        (
            "graph \"g\"\n%0 \"x\" = input : f32[1]\n%1 \"y\" = relu %0 {lo=1} : f32[1]\noutputs %0\n",
            "line 3",
            "no attribute",
        ),
        (
            "graph \"g\"\n%0 \"x\" = input : f32[1]\n%1 \"y\" = clip %0 {lo=1} : f32[1]\noutputs %0\n",
            "line 3",
            "`hi` is missing",
        ),
        ("graph \"g\"\n%0 \"x\" = input : f32[1]\n%1 \"y\" = relu %0 : f32[2]\noutputs %0\n", "line 3", "inferred"),
        ("graph \"g\"\n%0 \"x\" = constant @ : i8[20]\noutputs %0\nconstants:\n%0\n  0011\n", "line 2", "2 bytes"),
        ("graph \"g\"\n%0 \"x\" = constant [1, 300] : i8[2]\noutputs %0\n", "line 2", "outside i8"),
        ("graph \"g\"\n%0 \"x\" = input : f32[1]\noutputs %0\nconstants:\n%0\n  0g\n", "line 6", "hexadecimal"),
        ("graph \"g\"\n%0 \"x\" = input : f32[1]\noutputs %7\n", "line 3", "come before"),
        ("graph \"g\"\n%0 \"x\" = input : i33[1]\noutputs %0\n", "line 2", "not an element type"),
        ("graph \"g\"\n%0 \"x\" = input : f32[99999999999,99999999999]\noutputs %0\n", "line 2", "2^31"),
    ];
    for (text, line, message) in cases {
        let diagnostic = parse(text).unwrap_err();
        assert_eq!(diagnostic.node, line, "{diagnostic}");
        assert!(diagnostic.message.contains(message), "{diagnostic} lacks {message}");
    }
}

#[test]
fn graphviz_has_a_box_a_node_and_an_arrow_an_operand() {
    let mut graph = Graph::new("g");
    let x = graph.input("in\"put", TensorType::f32([1, 4]));
    let w = graph.constant("w", Tensor::f32([2, 4], vec![0.0; 8]), TensorType::f32([2, 4]));
    let y = graph.add("y", Op::Dense(Dense), &[x, w]).unwrap();
    graph.set_outputs(vec![y]);
    let text = dot(&graph);
    assert!(text.contains("n0 [label=\"in\\\"put\\ninput\\nf32[1,4]\", style=bold];"), "{text}");
    assert!(text.contains("n2 [label=\"y\\ndense f32[2,4]\\nf32[1,2]\", style=bold];"), "{text}");
    assert_eq!(text.matches("->").count(), 1);
}

/// An element type and values of it.
fn constant() -> impl Strategy<Value = (TensorType, Tensor)> {
    let floats = prop::collection::vec(
        prop::num::f32::NORMAL | prop::num::f32::SUBNORMAL | prop::num::f32::ZERO | prop::num::f32::INFINITE,
        1..60,
    )
    .prop_map(|data| (TensorType::f32([data.len()]), Tensor::f32([data.len()], data)));
    let ints =
        (1u8..=32, any::<bool>(), prop::collection::vec(any::<i32>(), 1..300)).prop_map(|(bits, signed, data)| {
            let element = Element::Int { bits: if signed { bits } else { bits.min(31) }, signed };
            let (lo, hi) = element.range().unwrap();
            let data: Vec<i32> = data.into_iter().map(|v| (lo + i64::from(v).rem_euclid(hi - lo + 1)) as i32).collect();
            (TensorType::int([data.len()], element), Tensor::int([data.len()], data))
        });
    prop_oneof![floats, ints]
}

proptest! {
    #[test]
    fn constants_and_names_survive(constants in prop::collection::vec((any::<String>(), constant()), 1..5), name in any::<String>()) {
        let mut graph = Graph::new(name);
        let ids = constants.into_iter().map(|(name, (ty, value))| graph.constant(&name, value, ty)).collect();
        graph.set_outputs(ids);
        let text = print(&graph);
        let back = parse(&text).map_err(|diagnostic| TestCaseError::fail(format!("{diagnostic}\n{text}")))?;
        prop_assert_eq!(back, graph);
    }

    #[test]
    fn mutated_text_does_not_panic(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4), 1..6)) {
        let mut bytes = print(&every_operator::graph()).into_bytes();
        for (at, byte, kind) in edits {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => { bytes.remove(at); }
                2 => bytes.insert(at, byte),
                // A digit makes another number more often than garbage.
                _ => bytes[at] = b'0' + byte % 10,
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        if let Ok(graph) = parse(&text) {
            // Whatever is a graph prints and parses back, and the validator has an opinion.
            prop_assert_eq!(print(&parse(&print(&graph)).unwrap()), print(&graph));
            let _ = lutweave_ir::validate::validate(&graph);
        }
    }

    #[test]
    fn garbage_does_not_panic(text in any::<String>()) {
        let _ = parse(&text);
        let _ = parse(&format!("graph \"g\"\n{text}\noutputs\n"));
    }
}
