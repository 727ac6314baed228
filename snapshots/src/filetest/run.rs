//! Running a file's test.

use super::directive::{Check, FileTest, Relation};
use crate::executors::{Circuit, agree, samples, verilog_agrees};
use crate::stages::float_samples;
use lutweave::executor::Kind;
use lutweave::observer::Context;
use lutweave::pipeline::{self, State};
use lutweave::{Failure, Model};
use lutweave_hw::cost::Part;
use lutweave_hw::device::Device;
use lutweave_hw::fit::{Fitted, fit};
use lutweave_hw::rtl;
use lutweave_hw::supply::MemoryTiming;
use lutweave_ir::validate::validate;
use lutweave_ir::{Diagnostic, Element, Graph, Tensor, interpret, text};
use lutweave_verilog::Simulator;

/// Calibration samples of a graph that passes run on.
const CALIBRATION: usize = 8;

/// What surrounds a test.
pub struct Bench {
    /// Verilog simulators that are installed; tests that ask for others are run without them.
    pub simulators: Vec<Simulator>,
    /// Expected texts are written anew.
    pub bless: bool,
}

/// Runs a file's test; the file's new text, where it is blessed with one.
///
/// # Errors
/// What is not as the file says.
pub fn run(test: &FileTest, bench: &Bench) -> Result<Option<String>, String> {
    match (attempt(test, bench), &test.error) {
        (Ok(new), None) => Ok(new),
        (Ok(_), Some(code)) => Err(format!("it passes, and `{code}` should refuse it")),
        (Err(Fault::Refused(diagnostics)), Some(code)) => {
            let found: Vec<&str> = diagnostics.iter().map(|diagnostic| diagnostic.code).collect();
            if found.contains(&code.as_str()) { Ok(None) } else { Err(format!("refused with {found:?}, not `{code}`")) }
        }
        (Err(Fault::Refused(diagnostics)), None) => {
            Err(diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        }
        (Err(Fault::Differs(message)), _) => Err(message),
    }
}

enum Fault {
    Refused(Vec<Diagnostic>),
    Differs(String),
}

impl<T: Into<Failure>> From<T> for Fault {
    fn from(failure: T) -> Self {
        Self::Refused(failure.into().diagnostics().to_vec())
    }
}

fn differs(message: impl Into<String>) -> Fault {
    Fault::Differs(message.into())
}

fn attempt(test: &FileTest, bench: &Bench) -> Result<Option<String>, Fault> {
    let graph = text::parse(&test.text)?;
    validate(&graph)?;
    let again = text::parse(&text::print(&graph))?;
    if again != graph {
        return Err(differs("what is printed is another graph"));
    }
    let device = lutweave::device::find(&test.options.device)?;
    let mut blessed = None;
    if let Some(pass) = &test.pass {
        blessed = after_pass(test, &graph, pass, device.clone(), bench)?;
    }
    if !test.executors.is_empty() || (test.error.is_some() && test.pass.is_none()) {
        executors(test, &graph, &device, bench)?;
    }
    Ok(blessed)
}

/// The pipeline through a pass, and its graph beside the expected text.
fn after_pass(
    test: &FileTest,
    graph: &Graph,
    pass: &str,
    device: Device,
    bench: &Bench,
) -> Result<Option<String>, Fault> {
    let pass = pipeline::find(pass)?;
    let model = Model::of(graph.clone());
    let context = Context::new(&());
    let calibration = if real_inputs(graph) { float_samples(graph, CALIBRATION) } else { Vec::new() };
    let mut state = State::new(&model, &test.options, &context, device, calibration)?;
    pipeline::run(&mut state, pipeline::through(pass.name))?;
    let found = state.text();
    if found == test.expected {
        return Ok(None);
    }
    if bench.bless {
        return Ok(Some(test.blessed(&found)));
    }
    Err(differs(format!("after {} there is\n{found}LUTWEAVE_BLESS=1 takes it", pass.name)))
}

fn real_inputs(graph: &Graph) -> bool {
    graph.inputs().iter().all(|&input| graph.node(input).ty.element == Element::F32)
}

/// The samples that the file gives, what they must give, and random ones; then all executors.
fn executors(test: &FileTest, graph: &Graph, device: &Device, bench: &Bench) -> Result<(), Fault> {
    let mut all = Vec::new();
    if !test.inputs.is_empty() {
        let given = given(test, graph)?;
        expected(test, graph, &given)?;
        all.push(given);
    }
    if let Some((count, seed)) = test.random {
        all.extend(if real_inputs(graph) { float_samples(graph, count as usize) } else { samples(graph, count, seed) });
    }
    for sample in &all {
        interpret::run(graph, sample)?;
    }
    let circuits = test.executors.iter().any(|kind| *kind != Kind::Interpreter);
    if !circuits && test.checks.is_empty() && test.error.is_none() {
        return Ok(());
    }
    let fitted = fit(graph, device, test.options.multipliers)?;
    rtl::validate::validate(&fitted.design).map_err(|faults| differs(faults.join("; ")))?;
    for check in &test.checks {
        holds(check, &fitted, device).map_err(differs)?;
    }
    if !circuits || all.is_empty() {
        return Ok(());
    }
    let circuit = Circuit { network: fitted.network, design: fitted.design, memory: MemoryTiming::default() };
    let driven = agree(graph, &circuit, &all, 7).map_err(differs)?;
    for (kind, simulator) in [(Kind::Icarus, Simulator::Icarus), (Kind::Verilator, Simulator::Verilator)] {
        if test.executors.contains(&kind) && bench.simulators.contains(&simulator) {
            verilog_agrees(&circuit, simulator, &driven).map_err(differs)?;
        }
    }
    Ok(())
}

fn given(test: &FileTest, graph: &Graph) -> Result<Vec<Tensor>, Fault> {
    let tensor = |id: &lutweave_ir::NodeId| {
        let node = graph.node(*id);
        let found = test.inputs.iter().find(|(name, _)| *name == node.name);
        let (_, elements) = found.ok_or_else(|| differs(format!("input `{}` is not given", node.name)))?;
        if elements.len() != node.ty.count() {
            return Err(differs(format!("input `{}` takes {} elements", node.name, node.ty.count())));
        }
        Ok(match node.ty.element {
            Element::F32 => {
                Tensor::f32(node.ty.shape.clone(), elements.iter().map(|&real| real as f32).collect::<Vec<_>>())
            }
            _ => Tensor::int(node.ty.shape.clone(), elements.iter().map(|&int| int as i32).collect::<Vec<_>>()),
        })
    };
    graph.inputs().iter().map(tensor).collect()
}

fn expected(test: &FileTest, graph: &Graph, inputs: &[Tensor]) -> Result<(), Fault> {
    let outputs = interpret::run(graph, inputs)?;
    for (name, expected) in &test.expects {
        let named = |(id, _): &(&lutweave_ir::NodeId, &Tensor)| graph.node(**id).name == *name;
        let Some((_, found)) = graph.outputs().iter().zip(&outputs).find(named) else {
            return Err(differs(format!("there is no output `{name}`")));
        };
        let found = found.reals();
        let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-6 * a.abs().max(1.0);
        if found.len() != expected.len() || !found.iter().zip(expected).all(near) {
            return Err(differs(format!("`{name}` is {found:?}")));
        }
    }
    Ok(())
}

/// A figure is what the file says.
fn holds(check: &Check, fitted: &Fitted, device: &Device) -> Result<(), String> {
    let shown = fitted.resources.shown(device);
    let found = match check.figure.as_str() {
        "cycles" => fitted.network.bottleneck(),
        "multipliers" => fitted.network.multipliers(),
        other => match Part::ALL.into_iter().find(|part| part.key() == other) {
            Some(part) => shown[part],
            None => return Err(format!("there is no figure `{other}`")),
        },
    };
    let right = match check.relation {
        Relation::Equal => found == check.value,
        Relation::AtMost => found <= check.value,
        Relation::AtLeast => found >= check.value,
    };
    if right { Ok(()) } else { Err(format!("{} is {found}", check.figure)) }
}
