//! Passes from the float graph to the integer core.

use super::{Lowered, Quantized, State};
use crate::failure::Failure;
use crate::options::Ranges;
use lutweave_ir::split::split;
use lutweave_ir::validate::validate;
use lutweave_quantize::compress::Pattern;
use lutweave_quantize::{Calibrated, QuantizeOptions, RangeMethod, Stage, head};
use lutweave_rewrite::cleanup::{self, RewriteReport};
use lutweave_rewrite::fixed;

/// The share of values that the ranges of `percentile` hold.
const PERCENTILE: f64 = 0.999;

pub(super) fn quantize(state: &mut State) -> Result<(), Failure> {
    let calibrating = state.context.work("calibrate", None);
    let rounding = state.context.work("quantize", None);
    let progress = |stage: Stage, done: usize, total: usize| match stage {
        Stage::Calibrate => calibrating.of(done, total),
        Stage::Lower => rounding.of(done, total),
    };
    let settings = state.settings.as_ref();
    let pruned = settings.is_some_and(|settings| settings.values().any(|setting| setting.pattern != Pattern::Dense));
    let options = QuantizeOptions {
        weight_bits: state.weight_bits,
        activation_range: match state.options.range_method() {
            Ranges::MinMax => RangeMethod::MinMax,
            Ranges::Percentile => RangeMethod::Percentile(PERCENTILE),
            Ranges::Mse => RangeMethod::Mse,
        },
        bias_correction: true,
        // What pruning loses in early layers is large enough for later ones to make up for it.
        asymmetric: pruned,
        samples: state.options.calibration_limit(),
        progress: Some(&progress),
        ..QuantizeOptions::default()
    };
    let calibrated = state.cleaned.calibrated(|graph| Calibrated::new(graph, &state.calibration, &options))?;
    let lower = || calibrated.lower(&QuantizeOptions { settings, ..options });
    let quantized = state.cleaned.quantized(state.weight_bits, settings, lower)?;
    drop((calibrating, rounding));
    let (graph, layers, warnings) = (quantized.graph, quantized.layers, quantized.warnings);
    state.quantized = Some(Quantized { graph, layers, rewrites: RewriteReport::default(), warnings });
    Ok(())
}

/// The graph that `quantize` left.
fn quantized<'s>(state: &'s mut State) -> &'s mut Quantized {
    state.quantized.as_mut().expect("invariant: `quantize` runs first")
}

pub(super) fn simplify_integer(state: &mut State) -> Result<(), Failure> {
    let rewrite = if state.options.no_egraph { fixed::simplify_integer } else { cleanup::simplify_integer };
    let quantized = quantized(state);
    let clean = rewrite(&quantized.graph)?;
    (quantized.graph, quantized.rewrites) = (clean.graph, clean.report);
    Ok(())
}

pub(super) fn attach_head(state: &mut State) -> Result<(), Failure> {
    if let Some(request) = state.cleaned.head.clone() {
        let quantized = quantized(state);
        quantized.graph = head::attach(&quantized.graph, &request)?;
    }
    Ok(())
}

pub(super) fn partition(state: &mut State) -> Result<(), Failure> {
    let quantized = state.quantized.take().expect("invariant: `quantize` runs first");
    let Quantized { graph: integer, layers, rewrites, warnings } = quantized;
    validate(&integer)?;
    let split = split(&integer)?;
    validate(&split.core)?;
    state.lowered = Some(Lowered { integer, split, layers, rewrites, warnings });
    Ok(())
}
