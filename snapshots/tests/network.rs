//! Dataflow networks as text: what is printed reads back to the same circuit, and what is not the graph's is
//! refused.

use lutweave_hw::block::window::{Bus, WeightSource};
use lutweave_hw::dataflow::{KernelNode, parse, print};
use lutweave_hw::elaborate::elaborate;
use lutweave_ir::random::SplitMix64;
use lutweave_ir::{Graph, text};
use lutweave_snapshots::cases::{all_pass, seeds};
use lutweave_snapshots::executors::{Circuit, circuit};
use lutweave_testing::random::{RandomOptions, random_graph};

fn random(seed: u64) -> Graph {
    random_graph(seed, &RandomOptions::default())
}

#[test]
fn networks_read_back() {
    let read_back = |&seed: &u64| -> Result<(), String> {
        let graph = random(seed);
        let Circuit { network, design, .. } = circuit(&graph, 0.3, 80)?;
        network.validate(&graph).map_err(|faults| faults.to_string())?;
        let text = print(&graph, &network);
        let again = parse(&text, &graph, &network.family).map_err(|faults| faults.to_string())?;
        if again != network || elaborate(&graph, &again) != design {
            return Err(format!("another network reads back from\n{text}"));
        }
        Ok(())
    };
    all_pass(seeds(100, 1000), read_back, |seed| text::print_summary(&random(*seed)));
}

#[test]
fn lanes_that_do_not_divide_a_frame_are_refused() {
    let graph = random(1);
    let network = circuit(&graph, 0.3, 80).expect("it has a circuit").network;
    for lanes in [0, 1_000_003] {
        let mut wrong = network.clone();
        wrong.kernels[0].lanes = [lanes; 2];
        let faults = wrong.validate(&graph).expect_err("no frame has so many elements").to_string();
        assert!(faults.contains("do not divide"), "{faults}");
    }
}

#[test]
fn a_line_buffer_of_other_rows_is_refused() {
    let windows = |seed: u64| {
        let graph = random(seed);
        let network = circuit(&graph, 0.3, 80).expect("it has a circuit").network;
        let rows = network.kernels.iter().find_map(KernelNode::rows)?;
        Some((graph, network, rows))
    };
    let (graph, network, rows) = (0..20).find_map(windows).expect("some graph has a window");
    let text = print(&graph, &network).replace(&format!("rows {rows}"), &format!("rows {}", rows + 1));
    let faults = parse(&text, &graph, &network.family).expect_err("its geometry says how many").to_string();
    assert!(faults.contains("line buffer"), "{faults}");
}

#[test]
fn weights_from_nowhere_are_refused() {
    let anywhere = WeightSource::Streamed { bus: Bus::memory(8, 4), rows: 1 };
    let convolution = |seed: u64| {
        let graph = random(seed);
        let network = circuit(&graph, 0.3, 80).expect("it has a circuit").network;
        let streamed = |kernel: &&KernelNode| kernel.kernel.takes_weights(anywhere, kernel.pattern()).is_ok();
        let node = network.kernels.iter().filter(|kernel| kernel.multipliers > 0).find(streamed)?.node;
        Some((graph, network, node))
    };
    let (graph, network, node) = (0..20).find_map(convolution).expect("some graph has a convolution");
    let text = print(&graph, &network);
    let line = text.lines().find(|line| line.starts_with(&format!("kernel {node} "))).expect("it has a line");
    for (source, fault) in
        [("streamed 4x8, under 0", "blocks of 0 rows do not divide"), ("loaded 0x0", "bursts of 0 beats")]
    {
        let wrong = text.replace(line, &format!("{line}, {source}"));
        let faults = parse(&wrong, &graph, &network.family).expect_err("they cannot come").to_string();
        assert!(faults.contains(fault), "{faults}");
    }
}

/// A line less, twice, or with a number more.
fn damaged(lines: &[&str], random: &mut SplitMix64) -> String {
    let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
    let at = random.between(1, lines.len() - 1);
    match random.below(3) {
        0 => drop(lines.remove(at)),
        1 => lines.insert(at, lines[at].clone()),
        _ => {
            let at = lines.iter().position(|line| line.starts_with("stream")).unwrap_or(at);
            lines[at] = lines[at].replace("lanes ", "lanes 1");
        }
    }
    lines.join("\n")
}

#[test]
fn damaged_networks_are_refused() {
    let refused = |&seed: &u64| -> Result<(), String> {
        let graph = random(seed);
        let network = circuit(&graph, 0.3, 80)?.network;
        let text = print(&graph, &network);
        let damaged = damaged(&text.lines().collect::<Vec<_>>(), &mut SplitMix64::new(seed));
        match parse(&damaged, &graph, &network.family) {
            Err(_) => Ok(()),
            Ok(_) => Err(format!("this is accepted:\n{damaged}")),
        }
    };
    all_pass(seeds(100, 1000), refused, |seed| text::print_summary(&random(*seed)));
}
