//! Checks of a design: everything that the documentation of [`super`] promises to backends and
//! that can be seen without running it.

mod expression;
mod statements;
#[cfg(test)]
mod tests;

use super::{
    Design, Endpoint, Engine, Expr, Module, ModuleId, Multiplier, NofM, Products, Reduce, SignalId, SignalKind, Ty,
};
use crate::supply::{READ, WRITE, WRITE_DATA};
use expression::Checker;
use std::collections::{BTreeMap, BTreeSet};

/// Checks a design; every violation in words.
pub fn validate(design: &Design) -> Result<(), Vec<String>> {
    let mut errors = Vec::new();
    unique("module", design.modules.iter().map(|module| module.name.as_str()), &mut errors);
    unique("channel", design.channels.iter().map(|channel| channel.name.as_str()), &mut errors);
    let ports = design.inputs.iter().chain(&design.outputs);
    unique("stream of the design", ports.clone().map(|port| port.name.as_str()), &mut errors);
    for port in ports {
        if port.beats == 0 {
            errors.push(format!("stream `{}` has frames without beats", port.name));
        }
        check_type(&format!("stream `{}`", port.name), port.ty, &mut errors);
    }
    for module in &design.modules {
        let mut found = Vec::new();
        check_module(module, &mut found);
        errors.extend(found.into_iter().map(|error| format!("module `{}`: {error}", module.name)));
    }
    channels(design, &mut errors);
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

fn unique<'a>(what: &str, names: impl Iterator<Item = &'a str>, errors: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            errors.push(format!("two of kind {what} are called `{name}`"));
        }
    }
}

fn check_type(what: &str, ty: Ty, errors: &mut Vec<String>) {
    if ty.lanes == 0 || ty.bits == 0 || ty.bits > 64 {
        errors.push(format!("{what} has the impossible type {ty}"));
    }
}

/// Type of an endpoint, if it exists; `source`: as the start of a channel.
fn endpoint_type(design: &Design, endpoint: Endpoint, source: bool) -> Option<Ty> {
    match endpoint {
        Endpoint::Top(port) => {
            let ports = if source { &design.inputs } else { &design.outputs };
            ports.get(port as usize).map(|port| port.ty)
        }
        Endpoint::Supply(port) => design.supply.as_ref()?.port(port, source),
        Endpoint::Port(ModuleId(id), port) => {
            let module = design.modules.get(id as usize)?;
            let data = if source {
                module.outputs.get(port as usize).map(|output| output.data)
            } else {
                module.inputs.get(port as usize).map(|input| input.data)
            };
            module.signals.get(data?.0 as usize).map(|signal| signal.ty)
        }
    }
}

fn channels(design: &Design, errors: &mut Vec<String>) {
    let key = |endpoint: Endpoint| match endpoint {
        Endpoint::Top(port) => (u32::MAX, port),
        Endpoint::Supply(port) => (u32::MAX - 1, port),
        Endpoint::Port(ModuleId(id), port) => (id, port),
    };
    let (mut sources, mut sinks) = (BTreeMap::new(), BTreeMap::new());
    for channel in &design.channels {
        let name = &channel.name;
        for (source, endpoint) in [(true, channel.from), (false, channel.to)] {
            match endpoint_type(design, endpoint, source) {
                None => errors.push(format!("channel `{name}` ends at {endpoint:?}, which does not exist")),
                Some(ty) if ty != channel.ty => {
                    errors.push(format!("channel `{name}` carries {}, but {endpoint:?} has {ty}", channel.ty));
                }
                Some(_) => {}
            }
            *(if source { &mut sources } else { &mut sinks }).entry(key(endpoint)).or_insert(0) += 1;
        }
        if design.is_feedback(channel) && !always_ready(design, channel.to) {
            errors.push(format!("channel `{name}` runs against the order of the modules, to an input that may wait"));
        }
    }
    let mut once = |ends: &BTreeMap<(u32, u32), u32>, at: (u32, u32), what: String| match ends.get(&at) {
        Some(1) => {}
        Some(count) => errors.push(format!("{what} is the end of {count} channels")),
        None => errors.push(format!("{what} is the end of no channel")),
    };
    for (port, input) in design.inputs.iter().enumerate() {
        once(&sources, (u32::MAX, port as u32), format!("input `{}`", input.name));
    }
    for (port, output) in design.outputs.iter().enumerate() {
        once(&sinks, (u32::MAX, port as u32), format!("output `{}`", output.name));
    }
    if let Some(supply) = &design.supply {
        for port in [READ, WRITE, WRITE_DATA] {
            for (source, ends) in [(true, &sources), (false, &sinks)] {
                if supply.port(port, source).is_some() {
                    once(ends, (u32::MAX - 1, port), format!("port {port} of the memory outside"));
                }
            }
        }
    }
    for (id, module) in design.modules.iter().enumerate() {
        for (port, output) in module.outputs.iter().enumerate() {
            once(&sources, (id as u32, port as u32), format!("output `{}` of `{}`", output.name, module.name));
        }
        for (port, input) in module.inputs.iter().enumerate() {
            once(&sinks, (id as u32, port as u32), format!("input `{}` of `{}`", input.name, module.name));
        }
    }
}

/// Whether an input takes a beat in every cycle.
fn always_ready(design: &Design, endpoint: Endpoint) -> bool {
    let Endpoint::Port(id, port) = endpoint else { return true };
    let module = design.modules.get(id.0 as usize);
    let ready = module.and_then(|module| Some(kind(module, module.inputs.get(port as usize)?.ready)?.0));
    matches!(ready, Some(SignalKind::Wire(Expr::Const(1))))
}

fn check_module(module: &Module, errors: &mut Vec<String>) {
    let names = module
        .signals
        .iter()
        .map(|signal| signal.name.as_str())
        .chain(module.memories.iter().map(|memory| memory.name.as_str()))
        .chain(module.pipelines.iter().map(|pipeline| pipeline.name.as_str()))
        .chain(module.engines.iter().map(|engine| engine.name.as_str()));
    unique("name", names, errors);
    let inputs = module.inputs.iter().map(|input| input.name.as_str());
    unique("port", inputs.chain(module.outputs.iter().map(|output| output.name.as_str())), errors);
    for signal in &module.signals {
        check_type(&format!("`{}`", signal.name), signal.ty, errors);
    }
    ports(module, errors);
    memories(module, errors);
    cells(module, errors);
    if !errors.is_empty() {
        // Expressions over signals that are not there cannot be typed.
        return;
    }
    let mut checker = Checker::new(module);
    checker.signals();
    statements::check(module, &mut checker);
    errors.extend(checker.errors);
}

/// Kind and type of a signal, if there is such.
fn kind(module: &Module, id: SignalId) -> Option<(&SignalKind, Ty)> {
    module.signals.get(id.0 as usize).map(|signal| (&signal.kind, signal.ty))
}

fn ports(module: &Module, errors: &mut Vec<String>) {
    let mut owners: BTreeMap<SignalId, u32> = BTreeMap::new();
    for input in &module.inputs {
        let name = &input.name;
        if !matches!(kind(module, input.valid), Some((SignalKind::InputValid, Ty::BIT))) {
            errors.push(format!("`tvalid` of input `{name}` is not a bit of kind InputValid"));
        }
        if !matches!(kind(module, input.data), Some((SignalKind::InputData, _))) {
            errors.push(format!("`tdata` of input `{name}` is not of kind InputData"));
        }
        if !matches!(kind(module, input.ready), Some((SignalKind::Wire(_), Ty::BIT))) {
            errors.push(format!("`tready` of input `{name}` is not a wire of one bit"));
        }
        *owners.entry(input.valid).or_default() += 1;
        *owners.entry(input.data).or_default() += 1;
    }
    for output in &module.outputs {
        let name = &output.name;
        if !matches!(kind(module, output.valid), Some((SignalKind::Register { reset: Some(0) }, Ty::BIT))) {
            errors.push(format!("`tvalid` of output `{name}` is not a bit register that resets to 0"));
        }
        if !matches!(kind(module, output.data), Some((SignalKind::Register { .. }, _))) {
            errors.push(format!("`tdata` of output `{name}` is not a register"));
        }
        if !matches!(kind(module, output.ready), Some((SignalKind::OutputReady, Ty::BIT))) {
            errors.push(format!("`tready` of output `{name}` is not a bit of kind OutputReady"));
        }
        *owners.entry(output.ready).or_default() += 1;
    }
    for (id, signal) in module.signals.iter().enumerate() {
        let is_port = matches!(signal.kind, SignalKind::InputValid | SignalKind::InputData | SignalKind::OutputReady);
        if is_port && owners.get(&SignalId(id as u32)) != Some(&1) {
            errors.push(format!("`{}` belongs to no port, or to several", signal.name));
        }
    }
}

fn memories(module: &Module, errors: &mut Vec<String>) {
    for memory in &module.memories {
        let name = &memory.name;
        check_type(&format!("a word of `{name}`"), memory.word, errors);
        if memory.depth == 0 {
            errors.push(format!("memory `{name}` has no words"));
        }
        let Some(contents) = &memory.contents else { continue };
        if contents.len() as u64 != u64::from(memory.depth) * u64::from(memory.word.lanes) {
            errors.push(format!("ROM `{name}` has {} values for {} words", contents.len(), memory.depth));
        }
        let (lo, hi) = memory.word.lane().bounds();
        if let Some(value) = contents.iter().find(|&&value| value < lo || value > hi) {
            errors.push(format!("ROM `{name}` holds {value}, which is no {}", memory.word.lane()));
        }
    }
}

fn cells(module: &Module, errors: &mut Vec<String>) {
    for (id, signal) in module.signals.iter().enumerate() {
        let (id, name) = (SignalId(id as u32), &signal.name);
        let claimed = match &signal.kind {
            SignalKind::Parameter(pipeline) => {
                let pipeline = module.pipelines.get(pipeline.0 as usize);
                pipeline.is_some_and(|pipeline| pipeline.parameters.iter().filter(|other| **other == id).count() == 1)
            }
            SignalKind::PipelineValid(pipeline) => {
                signal.ty == Ty::BIT && module.pipelines.get(pipeline.0 as usize).is_some_and(|p| p.valid == id)
            }
            SignalKind::EngineValid(engine) => {
                signal.ty == Ty::BIT && module.engines.get(engine.0 as usize).is_some_and(|e| e.valid == id)
            }
            SignalKind::EngineResult(engine) => module.engines.get(engine.0 as usize).is_some_and(|e| e.result == id),
            SignalKind::Stage { pipeline, stage, .. } => {
                module.pipelines.get(pipeline.0 as usize).is_some_and(|pipeline| *stage < pipeline.stages)
            }
            SignalKind::Register { reset } => {
                let (lo, hi) = signal.ty.bounds();
                reset.is_none_or(|reset| signal.ty.lanes == 1 && reset >= lo && reset <= hi)
            }
            SignalKind::Wire(_) | SignalKind::InputValid | SignalKind::InputData | SignalKind::OutputReady => true,
        };
        if !claimed {
            errors.push(format!("`{name}` does not agree with what it says it belongs to, or its reset value"));
        }
    }
    for pipeline in &module.pipelines {
        let name = &pipeline.name;
        if pipeline.stages == 0 {
            errors.push(format!("pipeline `{name}` has no stages"));
        }
        let parameters = pipeline.parameters.iter().map(|id| kind(module, *id));
        let valid = kind(module, pipeline.valid);
        if !matches!(valid, Some((SignalKind::PipelineValid(_), _)))
            || parameters.clone().any(|kind| !matches!(kind, Some((SignalKind::Parameter(_), _))))
        {
            errors.push(format!("pipeline `{name}` has parameters or a `valid` of another kind"));
        }
    }
    for engine in &module.engines {
        let mut found = Vec::new();
        geometry(module, engine, &mut found);
        errors.extend(found.into_iter().map(|error| format!("engine `{}`: {error}", engine.name)));
    }
}

fn geometry(module: &Module, engine: &Engine, errors: &mut Vec<String>) {
    check_type("a word", engine.word, errors);
    let sizes = [engine.rows, engine.columns, engine.groups, engine.image_rows];
    let kernel = engine.kernel.iter().chain(&engine.dilations);
    if sizes.iter().chain(kernel).any(|&size| size == 0) {
        errors.push("a size is 0".to_owned());
        return;
    }
    if u64::from(engine.kernel[0] - 1) * u64::from(engine.dilations[0]) >= u64::from(engine.rows) {
        errors.push(format!("its ring of {} rows is too small for its window", engine.rows));
    }
    let (lo, hi) = engine.word.lane().bounds();
    if engine.pad_value < lo || engine.pad_value > hi {
        errors.push(format!("pad value {} is no {}", engine.pad_value, engine.word.lane()));
    }
    if !matches!(kind(module, engine.valid), Some((SignalKind::EngineValid(_), _))) {
        errors.push("its `valid` is of another kind".to_owned());
    }
    let result = match kind(module, engine.result) {
        Some((SignalKind::EngineResult(_), ty)) => ty,
        _ => {
            errors.push("its `result` is of another kind".to_owned());
            return;
        }
    };
    if result.lane() != engine.accumulator.lane() {
        errors.push(format!("its result has lanes of {} for accumulators of {}", result.lane(), engine.accumulator));
    }
    let outputs = engine.outputs();
    if outputs == 0 || result.lanes != outputs {
        errors.push(format!("its result has {} lanes for {outputs} accumulators", result.lanes));
        return;
    }
    match engine.products() {
        Some(formed) => products(engine, formed, result, errors),
        None => {
            let (result_lo, result_hi) = result.lane().bounds();
            if lo < result_lo || hi > result_hi {
                errors.push(format!("an accumulator of {} cannot hold one element of {}", result.lane(), engine.word));
            }
        }
    }
}

fn products(engine: &Engine, formed: Products, result: Ty, errors: &mut Vec<String>) {
    let Products { weight_bits, addresses, multiplier, pairing, .. } = formed;
    let weights = &engine.weights;
    let word = engine.weights_per_address();
    let constant = if engine.is_loaded() { 0 } else { u64::from(word) * u64::from(addresses) };
    if addresses == 0 || weights.len() as u64 != constant {
        errors.push(format!("{} weights do not fill {addresses} words of {word}", weights.len()));
        return;
    }
    if !(1..=16).contains(&weight_bits) {
        errors.push(format!("weights of {weight_bits} bits"));
        return;
    }
    let (lo, hi) = Ty::signed(weight_bits).bounds();
    if let Some(weight) = weights.iter().find(|&&weight| i64::from(weight) < lo || i64::from(weight) > hi) {
        errors.push(format!("weight {weight} needs more than {weight_bits} bits"));
    }
    let dense = matches!(engine.reduce, Reduce::Dense { .. });
    if multiplier == Multiplier::Paired && !(dense && engine.outputs().is_multiple_of(2)) {
        errors.push("its outputs cannot share multipliers in pairs".to_owned());
        return;
    }
    if multiplier == Multiplier::Paired {
        let (lo, hi) = engine.word.lane().bounds();
        let added = i64::from(engine.terms()).min(i64::from(engine.chain()) * 3i64.pow(pairing.levels));
        // What is loaded is not known here; where several are added, the least weight does not come.
        let weight = if engine.is_loaded() {
            (1 << (weight_bits - 1)) - i64::from(added > 1)
        } else {
            weights.iter().map(|&weight| i64::from(weight).abs()).max().unwrap_or(0)
        };
        let (least, most) = Ty::signed(pairing.gap).bounds();
        let sum = added * hi.max(-lo) * weight;
        if pairing.levels > engine.tree_levels() || -sum < least || sum > most {
            errors.push(format!("{added} products that are added in pairs do not keep to {} bits", pairing.gap));
        }
    }
    if engine.is_loaded() && (engine.weights_per_load() == 0 || engine.pattern().is_some() || !result.signed) {
        errors.push("its weights cannot be loaded: too wide, in a pattern, or for sums without a sign".to_owned());
        return;
    }
    if let Some(pattern) = engine.pattern() {
        if !NofM::ALL.contains(&pattern) || !engine.word.lanes.is_multiple_of(u32::from(pattern.of)) {
            errors.push(format!("there is no pattern {pattern} for words of {}", engine.word));
        } else if (0..addresses * engine.outputs() / engine.outputs_per_element()).any(|element| {
            let runs = engine.elements() / u32::from(pattern.of);
            (0..runs).any(|run| engine.kept_positions(element, run).is_none())
        }) {
            errors.push(format!("its weights do not keep to the pattern {pattern}"));
        }
    }
    single_step(engine, weights, word as usize, result, errors);
}

/// An accumulator must at least be signed if a step can sum to something negative.
fn single_step(engine: &Engine, weights: &[i16], word: usize, result: Ty, errors: &mut Vec<String>) {
    let negative = engine.word.signed || weights.iter().any(|&weight| weight < 0);
    if negative && !result.signed && weights.iter().any(|&weight| weight != 0) {
        errors.push(format!("accumulators of {} for {word} signed products a step", result.lane()));
    }
}
