//! `eval`: a task's metric for a model or a compiled model.

use super::arguments::Eval;
use super::bars::Bars;
use super::render::Ending;
use lutweave::artefact::Build;
use lutweave::eval::{self, Judged};
use lutweave::executor::Kind;
use lutweave::failure::{Failure, object};
use lutweave::model::Model;
use lutweave::observer::Context;
use lutweave::options::Choices;
use lutweave_ir::Diagnostic;
use serde_json::json;
use std::path::Path;

/// Runs the command.
///
/// # Errors
/// If the model, the task or its data cannot be used.
pub fn command(arguments: &Eval, bars: &Bars) -> Result<(), Ending> {
    let limit = arguments.samples.map_or(usize::MAX, |samples| samples as usize);
    let directory = arguments.model.as_deref().map(Path::new).filter(|path| Build::is_at(path));
    let context = Context::new(bars);
    let task = arguments.task.as_deref();
    let judged = match directory {
        Some(directory) => {
            eval::compiled(&Build::read(directory)?, task, arguments.executor.unwrap_or(Kind::Cpu), limit, &context)?
        }
        None => {
            refuse_executor(arguments.executor)?;
            eval::model_as_it_came(&Model::load(arguments.model.as_deref(), task)?, limit, &context)?
        }
    };
    print(&judged, &context, arguments.format.json)
}

/// A model runs as it came in the interpreter alone.
fn refuse_executor(executor: Option<Kind>) -> Result<(), Failure> {
    match executor.filter(|kind| *kind != Kind::Interpreter) {
        None => Ok(()),
        Some(executor) => {
            let message = format!("a model is judged as it came in the interpreter, not in {}", executor.name());
            Err(Failure::Usage(
                Diagnostic::error("invalid-option", message).help("compile it first, or leave --executor out"),
            ))
        }
    }
}

fn print(judged: &Judged, context: &Context, as_json: bool) -> Result<(), Ending> {
    let Judged { name, task, verdicts, float_value, executor } = judged;
    let metric = task.required_metric()?;
    let count = verdicts.len();
    let value = metric.value(verdicts);
    let classes = metric.by_class(verdicts).into_iter().map(|(class, value)| (task.class_name(class), value));
    if as_json {
        let mut report = json!({
            "model": name, "executor": executor, "metric": metric.name(), "value": value, "samples": count,
            "float_value": float_value, "warnings": context.warnings().iter().map(object).collect::<Vec<_>>(),
        });
        if metric.rules().is_some() {
            report["classes"] = classes.map(|(class, value)| json!({ "name": class, "value": value })).collect();
        }
        outln!("{report}");
    } else {
        let float = match float_value {
            Some(float) if *executor != "float" => format!("; the model as it came: {}", metric.show(*float)),
            _ => String::new(),
        };
        outln!("{name}: {} {} on {count} samples ({executor}{float})", metric.name(), metric.show(value));
        for (class, value) in classes {
            outln!("  {class}: {}", metric.show(value));
        }
    }
    Ok(())
}
