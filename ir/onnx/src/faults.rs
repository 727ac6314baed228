//! Deduplicates import errors, and sees that each has a remedy.

use lutweave_ir::Diagnostic;
use std::collections::HashMap;

/// What to do about a fault that brings no advice of its own.
fn usual_help(code: &str) -> &'static str {
    match code {
        "invalid-node" | "invalid-operands" | "invalid-input" => {
            "`onnx.checker.check_model(model, full_check=True)` tells whether the file is valid ONNX; export it again"
        }
        "too-large" => "reduce the extent; nothing of this size fits a device",
        "unsupported-constant" => "use float32, int8 or uint8 where the value is needed at run time",
        _ => "replace the node by supported operators, or cut the model before it (`onnx.utils.extract_model`)",
    }
}

/// The faults, those that differ only in the node as one that names the first nodes.
pub fn merged(faults: Vec<Diagnostic>) -> Vec<Diagnostic> {
    const NAMED: usize = 4;
    let mut places: HashMap<(&'static str, String, String, String), usize> = HashMap::new();
    let mut result: Vec<(Diagnostic, Vec<String>)> = Vec::new();
    for fault in faults {
        let key = (fault.code, fault.operator.clone(), fault.message.clone(), fault.help.clone());
        match places.get(&key) {
            Some(&place) => result[place].1.push(fault.node),
            None => {
                places.insert(key, result.len());
                result.push((fault, Vec::new()));
            }
        }
    }
    let merge = |(mut fault, others): (Diagnostic, Vec<String>)| {
        if !others.is_empty() {
            let named: Vec<String> = others.iter().take(NAMED).map(|name| format!("`{name}`")).collect();
            let more = if others.len() > NAMED { ", .." } else { "" };
            fault.message.push_str(&format!(" (and at {} other nodes: {}{more})", others.len(), named.join(", ")));
        }
        if fault.help.is_empty() {
            fault.help = usual_help(fault.code).to_owned();
        }
        fault
    };
    result.into_iter().map(merge).collect()
}
