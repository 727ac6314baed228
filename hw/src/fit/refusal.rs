//! What is said of a circuit that does not fit: how much there is too much, where most of it is, and what would fit.

use super::{Fitted, smallest};
use crate::cost::{MemoryShares, Part, Resources, memory_shares};
use crate::device::{Device, devices};
use crate::plan::{Fold, WeightForm, form_of, price};
use lutweave_ir::{Diagnostic, Graph};

/// Layers that are named as the largest.
const NAMED: usize = 3;

/// A circuit that is larger than its device, as an error or a warning.
pub(super) fn overflow(fitted: &Fitted, device: &Device, level: fn(&'static str, String) -> Diagnostic) -> Diagnostic {
    let (used, available) = (fitted.resources.shown(device), device.parts().shown(device));
    let exceeded = |part: &Part| used[*part] > available[*part];
    let over: Vec<String> = Part::ALL
        .into_iter()
        .filter(exceeded)
        .map(|part| format!("{} of {} {}", used[part], available[part], part.plural()))
        .collect();
    let mut message = format!("the circuit is estimated at {}", over.join(", "));
    if exceeded(&Part::Bram) {
        message += &format!("; of the block RAMs {}", largest(fitted, device));
    }
    level("does-not-fit", message).at(&device.name)
}

/// What block RAMs are used for, and the layers that use most.
fn largest(fitted: &Fitted, device: &Device) -> String {
    let blocks = |bram: u64| bram as f64 / device.family.bram_per_tile as f64;
    let mut layers = by_node(fitted, device);
    let mut all = MemoryShares::default();
    layers.iter().for_each(|(_, shares)| all += *shares);
    layers.sort_by_key(|(_, shares)| std::cmp::Reverse(shares.bram()));
    let named: Vec<String> =
        layers.iter().take(NAMED).map(|(name, shares)| format!("`{name}` {}", blocks(shares.bram()))).collect();
    format!(
        "{} hold weights, {} line buffers, {} queues; the most take {}",
        blocks(all.weights.bram),
        blocks(all.line_buffer.bram),
        blocks(all.queue.bram),
        named.join(", ")
    )
}

/// What the memories of each node are used for, in the order of the circuit's modules.
pub fn by_node(fitted: &Fitted, device: &Device) -> Vec<(String, MemoryShares)> {
    let device = &fitted.device(device);
    let mut nodes: Vec<(String, MemoryShares)> = Vec::new();
    for module in &fitted.design.modules {
        let shares = memory_shares(module, device);
        match nodes.iter_mut().find(|(name, _)| *name == module.node) {
            Some((_, sum)) => *sum += shares,
            None => nodes.push((module.node.clone(), shares)),
        }
    }
    nodes
}

/// What a user may do about the smallest circuit of a graph that does not fit.
pub(super) fn remedy(graph: &Graph, device: &Device, fitted: &Fitted) -> String {
    let mut remedies = Vec::new();
    if narrower(graph, device, fitted, 4).is_some_and(|resources| resources.share(device) <= 1.0) {
        remedies.push("with weights of 4 bits (--weights 4) it would fit".to_owned());
    }
    let larger = |other: &Device| {
        let (there, here) = (other.parts(), device.parts());
        Part::ALL.into_iter().any(|part| fitted.resources[part] > here[part] && there[part] > here[part])
    };
    let fits = |other: &Device| smallest(graph, other).is_ok_and(|fitted| fitted.resources.share(other) <= 1.0);
    let named: Vec<String> = devices()
        .into_iter()
        .filter(|other| larger(other) && fits(other))
        .map(|other| format!("--device {}", other.name))
        .collect();
    if !named.is_empty() {
        remedies.push(format!("it fits another device ({})", named.join(", ")));
    }
    if remedies.is_empty() {
        remedies.push("choose a larger device".to_owned());
    }
    format!("{}; --multipliers plans it for estimation even so", remedies.join(", or "))
}

/// The estimate with dense weights of so many bits in every layer that has wider ones; `None` if none has.
fn narrower(graph: &Graph, device: &Device, fitted: &Fitted, bits: u32) -> Option<Resources> {
    let mut resources = fitted.resources;
    let mut found = false;
    for kernel in &fitted.network.kernels {
        let form = form_of(graph, kernel.node, &kernel.kernel);
        if form.bits <= bits {
            continue;
        }
        found = true;
        let fold = Fold::from(kernel);
        let priced = |form: &WeightForm| price(graph, kernel.node, &kernel.kernel, form, device, &fold);
        let (now, then) = (priced(&form), priced(&WeightForm::dense(bits)));
        resources = Resources::of_each(|part| (resources[part] + then[part]).saturating_sub(now[part]));
    }
    found.then_some(resources)
}
