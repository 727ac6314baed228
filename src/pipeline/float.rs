//! Passes on the float graph.

use super::State;
use crate::failure::Failure;
use crate::prune;
use crate::reshape::Reshaping;
use lutweave_codesign::deform::{is_deformable, reshape};
use lutweave_codesign::prune::Totals;
use lutweave_ir::validate::validate;
use lutweave_ir::{Diagnostics, Graph};
use lutweave_quantize::channels::{self, remove_dead};
use lutweave_quantize::normalized_network;
use lutweave_quantize::split_channels::split_channels_by_range;
use lutweave_rewrite::cleanup::{self, Simplified};
use lutweave_rewrite::{fixed, sites};

/// Exact rewrites, as the options ask.
fn rewrite(state: &State, graph: &Graph) -> Result<Simplified, Diagnostics> {
    if state.options.no_egraph { fixed::simplify(graph) } else { cleanup::simplify(graph) }
}

pub(super) fn simplify(state: &mut State) -> Result<(), Failure> {
    let Simplified { graph, report } = rewrite(state, state.cleaned.graph())?;
    validate(&graph)?;
    let cleaned = &mut state.cleaned;
    cleaned.set_graph(graph);
    cleaned.rewrites = report;
    // Deformable layers have no totals before they are reshaped.
    if !is_deformable(cleaned.graph()) {
        cleaned.totals = Totals::of(&normalized_network(cleaned.graph())?);
    }
    Ok(())
}

pub(super) fn reshape_deformable(state: &mut State) -> Result<(), Failure> {
    let reshaped = reshape(state.cleaned.graph(), &state.calibration, prune::loss(state.model), &state.deform)?;
    let again = rewrite(state, &reshaped.graph)?;
    validate(&again.graph)?;
    let cleaned = &mut state.cleaned;
    cleaned.set_graph(again.graph);
    cleaned.rewrites.cost_after = again.report.cost_after;
    cleaned.unrounded = Some(reshaped.unrounded);
    cleaned.reshaping = Some(Reshaping { report: reshaped.report, tried: state.tried.clone() });
    cleaned.totals = Totals::of(&normalized_network(cleaned.graph())?);
    Ok(())
}

pub(super) fn remove_dead_channels(state: &mut State) -> Result<(), Failure> {
    let smaller = remove_dead(state.cleaned.graph(), &state.calibration, &channels::Options::default())?;
    let again = rewrite(state, &smaller.graph)?;
    let cleaned = &mut state.cleaned;
    cleaned.set_graph(again.graph);
    cleaned.rewrites.cost_after = again.report.cost_after;
    cleaned.removed = Some(smaller);
    Ok(())
}

pub(super) fn simplify_sites(state: &mut State) -> Result<(), Failure> {
    let cleaned = &mut state.cleaned;
    let placed = sites::place(cleaned.graph())?;
    let moved = cleanup::simplify_sites(&placed.graph)?;
    let resolved = sites::resolve(&moved.graph)?.graph;
    // A graph that is no cheaper would only lose the model's names.
    if fixed::cost(&resolved)? < fixed::cost(cleaned.graph())? {
        cleaned.set_graph(resolved);
    }
    cleaned.rewrites.fired.extend(moved.report.fired);
    cleaned.rewrites.saturated &= moved.report.saturated;
    cleaned.sites = placed.sites;
    Ok(validate(cleaned.graph())?)
}

pub(super) fn split_channels(state: &mut State) -> Result<(), Failure> {
    let (split, _) = split_channels_by_range(state.cleaned.graph(), &state.calibration)?;
    state.cleaned.set_graph(split);
    Ok(validate(state.cleaned.graph())?)
}
