//! What the simulator says when something is wrong.

use crate::support::{chain, frames};
use lutweave_hw::rtl::build::{Builder, set, when};
use lutweave_hw::rtl::expr::{and, eq, lt, not};
use lutweave_hw::rtl::harness::{Stimulus, patience};
use lutweave_hw::rtl::{Design, Ty};
use lutweave_hw::supply::MemoryTiming;
use lutweave_wasm::{ChannelState, SimulationError, Simulator, emit};
use proptest::prelude::*;

/// Passes beats on, up to so many.
fn tired(beats: i64) -> Design {
    let ty = Ty::unsigned(8).by(2);
    let mut b = Builder::new("tired", "stops after some beats");
    let input = b.input("in", ty);
    let output = b.output("out", ty);
    let count = b.register("count", Ty::unsigned(16), 0);
    let ready = b.ready(input, and(not(output.valid), lt(count, beats)));
    let take = and(input.valid, ready);
    let module = b.finish(vec![
        when(
            take,
            vec![set(output.data, input.data), set(output.valid, 1), set(count, lutweave_hw::rtl::expr::add(count, 1))],
        ),
        when(and(output.valid, eq(output.ready, 1)), vec![set(output.valid, 0)]),
    ]);
    chain(vec![module], 10, 10)
}

#[test]
fn a_deadlock_names_the_channels() {
    let design = tired(7);
    let mut simulator = Simulator::new(&design).unwrap();
    let stimulus = Stimulus { frames: frames(&design, 1, 3), ..Stimulus::default() };
    let error = simulator.run(&stimulus).unwrap_err();
    let SimulationError::Deadlock { since, cycle, channels } = error else { panic!("{error}") };
    assert_eq!(cycle, since + patience(&design, &MemoryTiming::default()) + 1);
    let state = |name: &str, valid: bool, ready: bool| ChannelState { name: name.to_owned(), valid, ready };
    assert_eq!(channels, [state("channel_0", true, false), state("channel_1", false, true)]);
}

#[test]
fn a_run_can_be_stopped() {
    let design = tired(7);
    let mut simulator = Simulator::new(&design).unwrap();
    let stimulus = Stimulus { frames: frames(&design, 1, 3), reset_after: Some(1 << 20), ..Stimulus::default() };
    let patience = patience(&design, &MemoryTiming::default());
    let error = simulator.run_watched(&stimulus, &mut |_| false).unwrap_err();
    assert!(
        matches!(error, SimulationError::Interrupted { .. } | SimulationError::Deadlock { .. }) && patience > 0,
        "{error}"
    );
}

#[test]
fn a_stimulus_of_the_wrong_shape_is_refused() {
    let design = tired(100);
    let mut simulator = Simulator::new(&design).unwrap();
    for frames in [vec![vec![]], vec![vec![vec![1, 2, 3]]]] {
        let error = simulator.run(&Stimulus { frames, ..Stimulus::default() }).unwrap_err();
        assert!(matches!(error, SimulationError::Stimulus(_)), "{error}");
    }
    let none = simulator.run(&Stimulus::default()).unwrap();
    assert!(none.frames.is_empty());
}

#[test]
fn a_module_survives_a_file_and_many_runs() {
    let design = tired(20_000);
    let wasm = emit(&design);
    assert_eq!(wasm, emit(&design));
    let mut simulator = Simulator::from_wasm(&wasm).unwrap();
    for (count, seed) in [(1, 1), (900, 2), (3, 3)] {
        let stimulus = Stimulus { frames: frames(&design, count, seed), stall_seed: seed as u32, reset_after: None };
        let trace = simulator.run(&stimulus).unwrap();
        assert_eq!(trace.frames, stimulus.frames);
        assert!(simulator.cycles() > 20 * count as u64 && simulator.stalls().is_none());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn damaged_files_do_no_harm(position in any::<prop::sample::Index>(), bit in 0u8..8, cut in any::<bool>()) {
        let mut wasm = emit(&tired(3));
        let position = position.index(wasm.len());
        if cut {
            wasm.truncate(position);
            prop_assert!(Simulator::from_wasm(&wasm).is_err());
        } else {
            wasm[position] ^= 1 << bit;
            let _ = Simulator::from_wasm(&wasm).map(|simulator| simulator.registers().count());
        }
    }
}
