//! The pass from the integer core to the circuit.

use super::State;
use crate::failure::Failure;
use lutweave_hw::fit::{Fitted, fit, fit_loaded, realize};
use lutweave_hw::rtl::validate::validate;
use lutweave_ir::{Diagnostic, Diagnostics};

pub(super) fn fold(state: &mut State) -> Result<(), Failure> {
    let lowered = state.lowered.as_ref().expect("invariant: `partition` runs first");
    let core = &lowered.split.core;
    let fitted = match &state.foldings {
        Some(foldings) => {
            let named = core.ids().filter_map(|id| Some((id, *foldings.get(&core.node(id).name)?)));
            realize(core, &state.device, &named.collect())?
        }
        None if state.options.load_weights => {
            if state.device.bus().is_none() {
                let message =
                    "--load-weights has no effect: the device has neither large RAMs nor a memory on its board";
                let warning = Diagnostic::warning("no-effect", message).at(&state.device.name);
                state.context.warn(warning.help("leave it out, or choose another device"));
            }
            fit_loaded(core, &state.device)?
        }
        None => fit(core, &state.device, state.options.multipliers)?,
    };
    check(&fitted)?;
    state.fitted = Some(fitted);
    Ok(())
}

/// An elaborated design that is not sound is a fault of the compiler, not of the model.
fn check(fitted: &Fitted) -> Result<(), Failure> {
    validate(&fitted.design).map_err(|faults| {
        let faults = faults.into_iter().map(|fault| {
            Diagnostic::error("internal", fault)
                .help("this is a fault of the compiler: please report it with the model")
        });
        Failure::Refused(Diagnostics(faults.collect()))
    })
}
