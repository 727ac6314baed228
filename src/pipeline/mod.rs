//! The passes of the compiler, in order: the one list that every command, test and experiment runs.
//!
//! A [`State`] goes through [`PIPELINE`] from the imported graph to the circuit. Passes that choose
//! (settings, variants, foldings) measure candidates by running the passes of [`Stage::Lower`] on copies of
//! the state; nothing assembles a flow of its own.

mod circuit;
mod float;
mod lower;
mod state;

pub use state::{Cleaned, Lowered, Quantized, State, gives_weights};

use crate::codesign;
use crate::failure::Failure;
use crate::options::{Deform, Weights};
use crate::{prune, reshape};
use lutweave_codesign::deform::is_deformable;
use lutweave_ir::Diagnostic;
use std::time::{Duration, Instant};

/// What a pass works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The float graph.
    Float,
    /// What is lossy: pruning, and the choice of settings and foldings.
    Choice,
    /// From the float graph to integers.
    Lower,
    /// From the integer core to the circuit.
    Circuit,
}

/// One step of the compiler.
pub struct Pass {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it does, in a sentence.
    pub summary: &'static str,
    /// What it works on.
    pub stage: Stage,
    /// It reads the calibration samples.
    pub reads_samples: bool,
    /// True if it has anything to do.
    applies: fn(&State) -> bool,
    run: fn(&mut State) -> Result<(), Failure>,
}

/// All passes, in order.
pub static PIPELINE: [Pass; 14] = [
    Pass {
        name: "simplify",
        summary: "Cleans the float graph by exact rewrites, in an e-graph.",
        stage: Stage::Float,
        reads_samples: false,
        applies: |_| true,
        run: float::simplify,
    },
    Pass {
        name: "choose-deformable",
        summary: "Takes the cheapest variant of deformable layers that keeps the metric.",
        stage: Stage::Float,
        reads_samples: true,
        applies: |state| state.options.deform == Some(Deform::Auto) && is_deformable(&state.model.graph),
        run: reshape::choose,
    },
    Pass {
        name: "reshape-deformable",
        summary: "Bounds the offsets of deformable layers, splits these layers, and makes offsets whole pixels.",
        stage: Stage::Float,
        reads_samples: true,
        applies: |state| is_deformable(state.cleaned.graph()),
        run: float::reshape_deformable,
    },
    Pass {
        name: "remove-dead-channels",
        summary: "Removes channels that never fire, and weights that are zero but for rounding.",
        stage: Stage::Float,
        reads_samples: true,
        applies: |state| !state.options.keep_dead_channels && !gives_weights(state.cleaned.graph()),
        run: float::remove_dead_channels,
    },
    Pass {
        name: "simplify-sites",
        summary: "Rewrites around the places where lossy choices are made, by rules that hold for every choice.",
        stage: Stage::Float,
        reads_samples: false,
        applies: |state| !state.options.no_egraph,
        run: float::simplify_sites,
    },
    Pass {
        name: "split-channels",
        summary: "Splits layers whose channels no one scale fits, by the ranges of the channels.",
        stage: Stage::Float,
        reads_samples: true,
        applies: |state| !gives_weights(state.cleaned.graph()),
        run: float::split_channels,
    },
    Pass {
        name: "prune-channels",
        summary: "Gives up whole channels until a target is met.",
        stage: Stage::Choice,
        reads_samples: true,
        applies: |state| state.options.prunes_channels() && prune::target(state.options).is_some(),
        run: prune::channels_to_target,
    },
    Pass {
        name: "choose",
        summary: "Chooses bits, patterns of zeros and foldings of all layers together, by measured prices.",
        stage: Stage::Choice,
        reads_samples: true,
        applies: |state| state.options.width() == Weights::Auto,
        run: codesign::choose_with_channels,
    },
    Pass {
        name: "prune-weights",
        summary: "Chooses the share of weights that each layer keeps.",
        stage: Stage::Choice,
        reads_samples: true,
        applies: |state| !state.options.prunes_channels() && prune::target(state.options).is_some(),
        run: prune::weights,
    },
    Pass {
        name: "quantize",
        summary: "Calibrates ranges, rounds weights on what the layers before them give, and makes integers of reals.",
        stage: Stage::Lower,
        reads_samples: true,
        applies: |_| true,
        run: lower::quantize,
    },
    Pass {
        name: "simplify-integer",
        summary: "Cleans the integer graph by rewrites that hold bit for bit.",
        stage: Stage::Lower,
        reads_samples: false,
        applies: |_| true,
        run: lower::simplify_integer,
    },
    Pass {
        name: "attach-head",
        summary: "Puts a detector's peak picking on the chip.",
        stage: Stage::Lower,
        reads_samples: false,
        applies: |state| state.cleaned.head.is_some(),
        run: lower::attach_head,
    },
    Pass {
        name: "partition",
        summary: "Cuts the graph into what the host does before, the core, and what the host does after.",
        stage: Stage::Lower,
        reads_samples: false,
        applies: |_| true,
        run: lower::partition,
    },
    Pass {
        name: "fold",
        summary: "Folds every layer so that the circuit fits the device, sizes the FIFOs, and elaborates it.",
        stage: Stage::Circuit,
        reads_samples: false,
        applies: |_| true,
        run: circuit::fold,
    },
];

/// The pass of a name.
///
/// # Errors
/// [`Failure::Usage`] with all names, if there is none.
pub fn find(name: &str) -> Result<&'static Pass, Failure> {
    PIPELINE.iter().find(|pass| pass.name == name).ok_or_else(|| {
        let names: Vec<&str> = PIPELINE.iter().map(|pass| pass.name).collect();
        let near =
            crate::task::nearest(name, &names).map_or_else(String::new, |near| format!("did you mean `{near}`? "));
        Failure::Usage(
            Diagnostic::error("no-pass", "there is no such pass")
                .at(name)
                .help(format!("{near}passes: {}", names.join(", "))),
        )
    })
}

/// Runs the passes that `select` takes on the network that is compiled, and tells the observer.
///
/// # Errors
/// What a pass refuses, or [`Failure::Cancelled`].
pub fn run(state: &mut State, select: impl FnMut(&Pass) -> bool) -> Result<(), Failure> {
    run_each(state, select, |pass, state, took| state.context.passed(pass, state, took))
}

/// Runs passes on a candidate, of which nobody is told.
///
/// # Errors
/// As [`run`].
pub(crate) fn run_quietly(state: &mut State, select: impl FnMut(&Pass) -> bool) -> Result<(), Failure> {
    run_each(state, select, |_, _, _| {})
}

fn run_each(
    state: &mut State,
    mut select: impl FnMut(&Pass) -> bool,
    mut done: impl FnMut(&'static Pass, &State, Duration),
) -> Result<(), Failure> {
    for pass in &PIPELINE {
        state.context.check()?;
        if !select(pass) || !(pass.applies)(state) {
            continue;
        }
        let started = Instant::now();
        (pass.run)(state)?;
        done(pass, state, started.elapsed());
    }
    Ok(())
}

/// Selects all passes up to one of a name, and that one.
pub fn through(name: &str) -> impl FnMut(&Pass) -> bool + '_ {
    let mut reached = false;
    move |pass| {
        let takes = !reached;
        reached |= pass.name == name;
        takes
    }
}

/// Selects the passes after one of a name that are of its stage.
pub(crate) fn rest_of_stage(name: &str) -> impl FnMut(&Pass) -> bool + '_ {
    let mut stage = None;
    move |pass| {
        if pass.name == name {
            stage = Some(pass.stage);
            return false;
        }
        stage == Some(pass.stage)
    }
}
