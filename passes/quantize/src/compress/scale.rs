//! Scales of an output channel's weights, with each weight rounded to the nearest.

use super::ScaleMethod;
use super::row::Problem;

/// Smallest and largest integer of a width. Eight bits leave out the lowest value, so that the
/// range is symmetric; with fewer bits every value counts.
pub(super) fn limits(bits: u8) -> (f64, f64) {
    let highest = f64::from((1u32 << (bits.clamp(2, 8) - 1)) - 1);
    (if bits >= 8 { -highest } else { -highest - 1.0 }, highest)
}

/// Shares of the largest scale that are tried for fewer than 8 bits.
const SHARES: [f64; 10] = [0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.5, 0.4];
/// Times that rounding and least squares alternate.
const ALTERNATIONS: usize = 3;

/// Integers and a scale for one channel's weights.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    /// Integers of the weights that stay.
    pub integers: Vec<f64>,
    /// The products times the integers.
    pub image: Vec<f64>,
    /// Positive.
    pub scale: f64,
    /// The error against the weights that stay.
    pub error: f64,
    /// The scale that suits the integers best, if it is positive.
    pub refined: Option<f64>,
    /// The scale is that of the largest weight.
    pub abs_max: bool,
}

/// Nearest integers within limits.
pub(super) fn nearest(w: &[f64], scale: f64, (lowest, highest): (f64, f64)) -> Vec<f64> {
    let inverse = 1.0 / scale;
    w.iter().map(|w| (w * inverse).round_ties_even().clamp(lowest, highest)).collect()
}

/// The best scale by a method. The weights are not all 0; `least` bounds the scale.
pub(super) fn choose(problem: &Problem, method: ScaleMethod, bits: u8, least: f64) -> Candidate {
    let limits = limits(bits);
    let plain = (problem.w.iter().fold(0.0f64, |most, w| most.max(w.abs())) / limits.1).max(least);
    let mut best = problem.candidate(nearest(&problem.w, plain, limits), plain, true);
    match method {
        ScaleMethod::AbsMax => return best,
        ScaleMethod::WeightError => {
            let scale = least_weight_error(&problem.w, plain, limits).max(least);
            return problem.candidate(nearest(&problem.w, scale, limits), scale, scale == plain);
        }
        ScaleMethod::OutputError => {}
    }
    let mut scales = vec![least_weight_error(&problem.w, plain, limits)];
    if bits < 8 {
        scales.extend(SHARES.map(|share| plain * share));
    }
    scales.iter_mut().for_each(|scale| *scale = scale.max(least));
    for candidate in problem.candidates(&scales, plain, |scale| nearest(&problem.w, scale, limits)) {
        if candidate.error < best.error {
            best = candidate;
        }
    }
    // The integers of a scale are worth more with the scale that suits them best.
    for _ in 0..ALTERNATIONS {
        let Some(scale) = best.refined else { break };
        let scale = scale.max(least);
        let candidate = problem.candidate(nearest(&problem.w, scale, limits), scale, false);
        if candidate.error >= best.error {
            break;
        }
        best = candidate;
    }
    best
}

/// The scale of weights of whose outputs nothing is known but how much each counts, and whether it
/// is that of the largest weight.
pub(super) fn by_weights(w: &[f64], method: ScaleMethod, limits: (f64, f64), least: f64) -> (f64, bool) {
    let plain = (w.iter().fold(0.0f64, |most, w| most.max(w.abs())) / limits.1).max(least);
    let scale = match method {
        ScaleMethod::AbsMax => plain,
        ScaleMethod::WeightError | ScaleMethod::OutputError => least_weight_error(w, plain, limits).max(least),
    };
    (scale, scale == plain)
}

/// The scale, at most the plain one, with the least sum of errors to the power of 2.4.
fn least_weight_error(w: &[f64], plain: f64, (lowest, highest): (f64, f64)) -> f64 {
    let mut best = (f64::INFINITY, plain);
    let largest = w.iter().copied().max_by(|a, b| a.abs().total_cmp(&b.abs()));
    for step in 0..64 {
        let scale = plain * (1.0 - f64::from(step) / 80.0);
        let inverse = 1.0 / scale;
        let error_of = |w: f64| ((w * inverse).round_ties_even().clamp(lowest, highest) * scale - w).abs().powf(2.4);
        // A sum of errors is no smaller than one of them: where the largest weight is clipped, that one decides.
        if largest.is_some_and(|w| error_of(w) >= best.0) {
            continue;
        }
        let mut error = 0.0;
        for &w in w {
            error += error_of(w);
            // A sum of errors does not fall again.
            if error >= best.0 {
                break;
            }
        }
        if error < best.0 {
            best = (error, scale);
        }
    }
    best.1
}
