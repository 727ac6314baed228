//! The reference and the comparison with it.

use crate::reference::{Reference, wrap};
use lutweave_hw::rtl::harness::Stimulus;
use lutweave_hw::rtl::{Channel, Design, Endpoint, Module, ModuleId, SignalId, TopPort, Ty};
use lutweave_wasm::{Options, Simulator};

/// Cycles for which every register is compared.
const LOCKSTEP: u64 = 400;

/// Modules in a chain, each with one input and one output.
pub fn chain(modules: Vec<Module>, beats_in: u64, beats_out: u64) -> Design {
    let input = |module: &Module| module.signal(module.inputs[0].data).ty;
    let output = |module: &Module| module.signal(module.outputs[0].data).ty;
    let ends = (input(&modules[0]), output(modules.last().unwrap()));
    let port = |name: &str, ty: Ty, beats: u64| TopPort { name: name.to_owned(), ty, beats };
    let mut channels = vec![];
    for number in 0..=modules.len() {
        let from = if number == 0 { Endpoint::Top(0) } else { Endpoint::Port(ModuleId(number as u32 - 1), 0) };
        let to = if number == modules.len() { Endpoint::Top(0) } else { Endpoint::Port(ModuleId(number as u32), 0) };
        let ty = if number == 0 { ends.0 } else { output(&modules[number - 1]) };
        channels.push(Channel { name: format!("channel_{number}"), ty, from, to });
    }
    Design {
        name: "chain".to_owned(),
        modules,
        channels,
        inputs: vec![port("in", ends.0, beats_in)],
        outputs: vec![port("out", ends.1, beats_out)],
        ..Design::default()
    }
}

/// Frames of pseudo-random elements.
pub fn frames(design: &Design, count: usize, seed: u64) -> Vec<Vec<Vec<i32>>> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 16
    };
    (0..count)
        .map(|_| {
            let ports = design.inputs.iter();
            ports
                .map(|port| {
                    let elements = port.beats * u64::from(port.ty.lanes);
                    (0..elements).map(|_| wrap(next().into(), port.ty.lane()) as i32).collect()
                })
                .collect()
        })
        .collect()
}

/// Runs a design in the simulator and the reference: equal traces with and without stalls and
/// with a reset in mid-run, equal registers in each of the first cycles, equal stall counts.
pub fn compare(design: &Design, count: usize, seed: u64) {
    for (stall_seed, reset_after) in [(0, None), (seed as u32 | 1, None), (3, Some(37))] {
        let stimulus = Stimulus { frames: frames(design, count, seed), stall_seed, reset_after };
        let mut reference = Reference::new(design);
        let expected = reference.run(&stimulus).expect("the reference ends");
        // Registers without a reset value keep theirs from run to run, hence a fresh simulator.
        let actual = Simulator::new(design).unwrap().run(&stimulus).unwrap();
        assert_eq!(expected, actual, "stall seed {stall_seed}");
        if reset_after.is_none() {
            let mut counting =
                Simulator::with_options(design, Options { count_stalls: true, ..Options::default() }).unwrap();
            assert_eq!(expected, counting.run(&stimulus).unwrap());
            let stalls = counting.stalls().expect("built in");
            let stalls: Vec<_> =
                stalls.iter().map(|stalls| [stalls.transfers, stalls.blocked, stalls.starved]).collect();
            assert_eq!(reference.counters, stalls);
        }
        lockstep(design, &stimulus);
    }
}

fn lockstep(design: &Design, stimulus: &Stimulus) {
    let mut reference = Reference::new(design);
    let mut simulator = Simulator::new(design).unwrap();
    reference.begin(stimulus);
    simulator.begin(stimulus).unwrap();
    for cycle in 0..LOCKSTEP {
        if reference.done() {
            break;
        }
        reference.step();
        simulator.step(1).unwrap();
        for (register, value) in simulator.registers() {
            let number = design.modules.iter().position(|module| module.name == register.module).unwrap();
            let signals = &design.modules[number].signals;
            let id = signals.iter().position(|signal| signal.name == register.name).unwrap();
            let expected = reference.register(number, SignalId(id as u32));
            assert_eq!(*expected, value, "{}.{} after cycle {cycle}", register.module, register.name);
        }
    }
}
