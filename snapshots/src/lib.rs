//! Verification: one random or given core graph through every executor.

use lutweave_hw::elaborate::elaborate;
use lutweave_hw::plan::{Budget, fewest_multipliers, plan};
use lutweave_hw::rtl::Design;
use lutweave_hw::rtl::harness::{Stimulus, Trace};
use lutweave_ir::{Graph, Tensor, interpret};

/// The circuit of a core graph with a share (0 to 1) of the multipliers between the fewest and
/// `most`.
///
/// # Errors
/// What the planner refuses.
pub fn circuit(graph: &Graph, share: f64, most: u32) -> Result<Design, String> {
    let fewest = fewest_multipliers(graph).max(1);
    let multipliers = fewest + (share * f64::from(most.saturating_sub(fewest))) as u32;
    let budget = Budget { multipliers, multiplier_width: if share < 0.5 { 18 } else { 27 } };
    let plan = plan(graph, budget).map_err(|error| error.to_string())?;
    Ok(elaborate(graph, &plan))
}

/// A stimulus of samples, back to back.
pub fn stimulus(samples: &[Vec<Tensor>], stall_seed: u32, reset_after: Option<u64>) -> Stimulus {
    let frames = samples.iter().map(|inputs| inputs.iter().map(|tensor| tensor.ints().to_vec()).collect()).collect();
    Stimulus { frames, stall_seed, reset_after }
}

/// What the reference interpreter answers, as frames of streams.
///
/// # Errors
/// If a sample does not fit the graph.
pub fn expected(graph: &Graph, samples: &[Vec<Tensor>]) -> Result<Vec<Vec<Vec<i32>>>, String> {
    samples
        .iter()
        .map(|inputs| {
            let outputs = interpret::run(graph, inputs).map_err(|error| error.to_string())?;
            Ok(outputs.iter().map(|tensor| tensor.ints().to_vec()).collect())
        })
        .collect()
}

/// Where a trace's data first differs from what is expected.
///
/// # Errors
/// Frame, output and element of the first difference.
pub fn same_data(expected: &[Vec<Vec<i32>>], trace: &Trace) -> Result<(), String> {
    if expected.len() != trace.frames.len() {
        return Err(format!("{} frames instead of {}", trace.frames.len(), expected.len()));
    }
    for (frame, (expected, actual)) in expected.iter().zip(&trace.frames).enumerate() {
        for (output, (expected, actual)) in expected.iter().zip(actual).enumerate() {
            if let Some(element) = expected.iter().zip(actual).position(|(a, b)| a != b) {
                let (wanted, found) = (expected[element], actual[element]);
                return Err(format!("frame {frame} output {output} element {element}: {found} instead of {wanted}"));
            }
            if expected.len() != actual.len() {
                return Err(format!("frame {frame} output {output}: {} elements", actual.len()));
            }
        }
    }
    Ok(())
}
