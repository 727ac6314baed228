//! What every stage of the compiler makes of small networks.

use insta::assert_snapshot;
use lutweave::options::Weights;
use lutweave_hw::elaborate::elaborate;
use lutweave_hw::plan::{fewest_multipliers, plan};
use lutweave_hw::rtl::{Design, print};
use lutweave_hw::{dataflow, device};
use lutweave_ir::{Graph, text};
use lutweave_rewrite::cleanup::RewriteReport;
use lutweave_snapshots::network::{Network, Shape};
use lutweave_snapshots::stages::{Stages, cases, float_samples, lower, mnist};
use std::fmt::Write;

/// The stages of every case, by name, with the multipliers allowed.
fn all() -> Vec<(&'static str, Stages, u32)> {
    let (graph, samples) = mnist().expect("the built-in model is sound");
    let mnist = lower(graph, &samples, Weights::Eight).expect("the passes take the built-in model");
    let cases = cases().into_iter().map(|case| {
        let samples = float_samples(&case.graph, 8);
        let stages = lower(case.graph, &samples, case.weights);
        (case.name, stages.unwrap_or_else(|error| panic!("{}: {error}", case.name)), case.multipliers)
    });
    [("mnist", mnist, 40)].into_iter().chain(cases).collect()
}

#[test]
fn text_form() {
    for (name, stages, _) in all() {
        assert_snapshot!(format!("{name}_1_float"), text::print_summary(&stages.float));
        assert_snapshot!(format!("{name}_2_clean"), text::print_summary(&stages.clean));
        assert_snapshot!(format!("{name}_3_integer"), text::print_summary(&stages.lowered.integer));
    }
}

fn rules(stage: &str, report: &RewriteReport) -> String {
    let mut text = format!(
        "{stage}: cost {} -> {}, {} e-nodes in {} classes, {} rounds, {}\n",
        report.cost_before,
        report.cost_after,
        report.e_nodes,
        report.e_classes,
        report.iterations,
        if report.saturated { "saturated" } else { "stopped by a limit" }
    );
    for (rule, count) in &report.fired {
        let _ = writeln!(text, "{count:>6} {rule}");
    }
    text
}

#[test]
fn rules_fired() {
    for (name, stages, _) in all() {
        let text = rules("float", &stages.clean_rewrites) + &rules("integer", &stages.lowered.rewrites);
        assert_snapshot!(format!("{name}_rules"), text);
    }
}

fn device() -> device::Device {
    device::find("ulx3s-85f").expect("the device is built in")
}

#[test]
fn networks() {
    for (name, stages, most) in all() {
        let core = &stages.lowered.split.core;
        let mut text = String::new();
        // The smallest, the one of the case, and one without a bound that matters.
        for multipliers in [fewest_multipliers(core), most, 4096] {
            let network = plan(core, multipliers, &device()).expect("there is hardware for all of it");
            let (slowest, used, macs) = (network.bottleneck(), network.multipliers(), network.macs(core));
            let _ = writeln!(
                text,
                "at most {multipliers} multipliers: the slowest kernel takes {slowest} cycles, {used} multipliers, \
                 {macs} multiply-accumulates\n{}",
                dataflow::print(core, &network)
            );
        }
        assert_snapshot!(format!("{name}_4_network"), text);
    }
}

/// A network of one layer, folded so that both loops over channels remain.
fn one_layer(name: &str, build: impl Fn(&mut Network, lutweave_ir::NodeId) -> lutweave_ir::NodeId) -> Graph {
    let mut network = Network::new(name);
    let x = network.input(4, 4, 2);
    let y = build(&mut network, x);
    let float = network.finish(&[y]);
    let samples = float_samples(&float, 4);
    lower(float, &samples, Weights::Eight).expect("the passes take one layer").lowered.split.core
}

fn convolution() -> Graph {
    one_layer("convolution", |network, x| network.conv_relu(x, 4, Shape::square(3).stride(2)))
}

fn joined() -> Graph {
    one_layer("joined", |network, x| {
        let y = network.conv(x, 2, Shape::square(1));
        network.sum(y, x)
    })
}

fn pooled() -> Graph {
    one_layer("pooled", |network, x| network.max_pool(x, Shape::valid(2, 2).stride(2)))
}

fn design(graph: &Graph) -> Design {
    elaborate(graph, &plan(graph, 2, &device()).expect("there is hardware for it"))
}

/// One deformable layer with one distance per pixel.
fn deformable() -> Graph {
    let text = r#"graph "deformable"
%0 "x" = input : i8[1,4,4,2]
%1 "d" = input : u2[1,4,4,1]
%2 "w" = constant [1, -2, 3, -4, 5, -6, 7, -8, 9, -9, 8, -7, 6, -5, 4, -3, 2, -1] : i8[2,3,3,1]
%3 "b" = constant [10, -10] : i32[2]
%4 "deform" = qdeform_conv %0, %2, %3, %1 {strides=[1, 1], dilations=[1, 1], pads=[1, 1, 1, 1], groups=2, sampling=square, reach=3, pad_value=-3, multipliers=[40000], shifts=[20], zero_point=-3, lo=-128, hi=127, element=i8} : i8[1,4,4,2]
outputs %4
"#;
    text::parse(text).expect("the text is a graph")
}

/// The three largest peaks of two channels, with what a map of one channel holds there.
fn top_peaks() -> Graph {
    let text = r#"graph "top_peaks"
%0 "heatmap" = input : i8[1,4,5,2]
%1 "size" = input : u8[1,4,5,1]
%2 "peaks" = top_peaks %0, %1 {count=3} : u8[1,1,3,3]
outputs %2
"#;
    text::parse(text).expect("the text is a graph")
}

#[test]
fn circuits() {
    for graph in [convolution(), pooled(), deformable(), top_peaks()] {
        assert_snapshot!(format!("{}_circuit", graph.name), print::print(&design(&graph)));
    }
    let joined = design(&joined());
    for name in ["input0_quantize_fork", "add4"] {
        let module = joined.modules.iter().find(|module| module.name == name).expect("there is such a module");
        assert_snapshot!(format!("joined_circuit_{name}"), print::print_module(module));
    }
}

/// A snapshot a file of Verilog; of memories their number of words and a hash.
#[test]
fn verilog() {
    let artefacts = lutweave_verilog::emit(&design(&convolution()));
    let mut memories = String::new();
    for (name, content) in &artefacts.files {
        if let Some(name) = name.strip_suffix(".v") {
            assert_snapshot!(format!("convolution_verilog_{name}"), content);
        } else {
            let hash = content
                .bytes()
                .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
            let _ = writeln!(memories, "{name}: {} words #{hash:016x}", content.lines().count());
        }
    }
    assert_snapshot!("convolution_verilog_memories", memories);
}
