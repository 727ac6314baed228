//! A compiled model in words: the figures of the closing table, and `report.html`.

use crate::codesign::record::{Record, choice_text, setting_text};
use crate::compiler::Compiled;
use crate::failure::printable;
use crate::memory::{block_rams, largest};
use crate::observer::Timing;
use crate::reshape::{Reshaping, prices, step_name, variant_name};
use crate::summary::{StageSummary, Summary};
use lutweave_hw::cost::Part;
use lutweave_hw::device::Device;
use lutweave_ir::Diagnostic;
use lutweave_ir::op::SiteKind;
use lutweave_quantize::channels::Removed;
use std::collections::BTreeSet;
use std::fmt::Write;

/// Titles of the columns of the table of layers.
pub const COLUMNS: [&str; 9] =
    ["layer", "operator", "result", "bits", "taps x SIMD x PE", "MACs", "mult", "cycles", "share"];

/// A layer as a row of the table [`COLUMNS`].
pub fn row(layer: &StageSummary) -> [String; 9] {
    let shape: Vec<String> = layer.shape.iter().skip(1).map(ToString::to_string).collect();
    let folding = match (layer.taps, layer.outputs) {
        (Some(taps), Some(outputs)) => format!("{taps} x {} x {outputs}", layer.lanes),
        _ => layer.lanes.to_string(),
    };
    [
        short(&layer.name),
        layer.operator.to_owned(),
        shape.join("x"),
        weights(layer),
        folding,
        if layer.macs == 0 { String::new() } else { layer.macs.to_string() },
        if layer.multipliers == 0 { String::new() } else { layer.multipliers.to_string() },
        layer.cycles.to_string(),
        format!("{:.0} %", 100.0 * layer.share),
    ]
}

/// Width and pattern of a layer's weights.
fn weights(layer: &StageSummary) -> String {
    let bits = layer.weight_bits.map(|bits| bits.to_string()).unwrap_or_default();
    layer.pattern.as_ref().map_or(bits.clone(), |pattern| format!("{bits}, {pattern}"))
}

/// What is to be said of a co-design in short, as name and value.
pub fn choice_figures(record: &Record) -> Vec<(&'static str, String)> {
    let proof = if record.optimal {
        "proven to be the fewest".to_owned()
    } else {
        format!("at least {} are proven, gap {:.1} %", record.lower_bound, 100.0 * record.gap)
    };
    let measured = &record.measured;
    let mut figures = vec![
        ("slowest stage", format!("{} cycles, {proof}", record.cycles)),
        (
            "drop on calibration",
            format!(
                "{:.2} points (standard error {:.2}, {} samples){}, {} allowed",
                measured.drop,
                measured.standard_error,
                measured.samples,
                measured.expected.map_or_else(String::new, |(drop, error)| format!(
                    ", {drop:.2} (standard error {error:.2}) expected of others"
                )),
                record.max_drop
            ),
        ),
        (
            "distortion",
            format!(
                "{:.4} predicted, {} measured",
                record.predicted_distortion,
                measured.distortion.map_or("not".to_owned(), |distortion| format!("{distortion:.4}"))
            ),
        ),
    ];
    if let Some(cycles) = record.compress_first_cycles {
        figures.push(("compress, then fold", format!("{cycles} cycles within the same budgets")));
    }
    let dear = record.budgets.iter().filter(|budget| budget.cycles_per_percent > 0.0);
    figures.extend(dear.map(|budget| {
        ("price", format!("one more percent of {} is worth {:.0} cycles", budget.name, budget.cycles_per_percent))
    }));
    figures
}

/// Longest layer name in a table.
const NAME_WIDTH: usize = 36;

/// A name that fits a column: exporters join the names of what they fused with semicolons, the
/// result last.
pub fn short(name: &str) -> String {
    let name = printable(name);
    let last = name.rsplit(';').next().unwrap_or(&name);
    let length = last.chars().count();
    if length <= NAME_WIDTH {
        return last.to_owned();
    }
    let tail: String = last.chars().skip(length - (NAME_WIDTH - 2)).collect();
    format!("..{tail}")
}

/// The figures below the table, as name and value.
pub fn figures(summary: &Summary, device: &Device) -> Vec<(&'static str, String)> {
    let share = |used: u64, available: u64| format!("{used} ({:.0} %)", 100.0 * used as f64 / available.max(1) as f64);
    let (resources, parts) = (&summary.resources, device.parts().shown(device));
    let mut figures = vec![
        ("device", device.title.clone()),
        ("cycles per inference", format!("{} (latency {})", summary.cycles_per_inference, summary.latency_cycles)),
        ("throughput", format!("{:.0} inferences/s at {} MHz", summary.inferences_per_second, summary.clock_mhz)),
        ("multipliers", format!("{}, busy {:.1} % of the cycles", summary.multipliers, 100.0 * summary.efficiency)),
        (
            "estimated",
            Part::ALL
                .into_iter()
                .filter(|part| parts[*part] > 0 || *part != Part::Uram)
                .map(|part| format!("{} {}", part.label(), share(resources[part], parts[part])))
                .collect::<Vec<_>>()
                .join(", "),
        ),
        ("block RAMs", block_rams(&summary.memory)),
        ("fits", if summary.fits { "yes, by the estimate".to_owned() } else { format!("NO: {}", exceeded(summary)) }),
        ("weights", format!("{} bytes, {:.1} % zeros", summary.weight_bytes, 100.0 * summary.sparsity)),
        ("on the host", if summary.host_ops.is_empty() { "nothing".to_owned() } else { summary.host_ops.join(", ") }),
    ];
    if let Some(outside) = &summary.outside {
        figures.push(("from outside", outside.line(device, summary.cycles_per_inference)));
    }
    figures.extend(summary.faster.map(|faster| ("could be faster", faster.text())));
    if let Some(reshaping) = &summary.deform {
        let variant = variant_name(reshaping.report.variant);
        figures.push(("deformable layers", format!("{variant}; distortion after each step: {}", prices(reshaping))));
    }
    if let Some(last) = summary.channels.last() {
        let kept = 100.0 * last.macs as f64 / summary.model_macs.max(1) as f64;
        let layers = summary.channels.iter().flat_map(|step| &step.layers).collect::<BTreeSet<_>>().len();
        figures.push((
            "channels given up",
            format!("of {layers} layers, {kept:.1} % of the MACs left, distortion {:.4}", last.distortion),
        ));
    }
    if let Some(accuracy) = &summary.accuracy {
        let metric = accuracy.metric;
        let of = match accuracy.available {
            available if available > accuracy.samples => format!(" of {available}"),
            _ => String::new(),
        };
        figures.push((
            "accuracy",
            format!(
                "{}: float {}, integer {} on {}{of} samples",
                metric.name(),
                metric.show(accuracy.float),
                metric.show(accuracy.integer),
                accuracy.samples
            ),
        ));
    }
    figures
}

/// The kinds of parts of which there are too few.
fn exceeded(summary: &Summary) -> String {
    let over = summary.budgets.iter().filter(|budget| budget.used > budget.limit);
    let texts = over.map(|budget| format!("{} of {} {}", budget.used, budget.limit, budget.name.to_uppercase()));
    texts.collect::<Vec<_>>().join(", ")
}

/// The report as a self-contained page.
///
/// With `timings` it tells the time of passes, and is another one each time.
pub fn html(compiled: &Compiled, timings: bool) -> String {
    let Compiled { summary, cleaned, lowered, device, .. } = compiled;
    let record = compiled.record.as_ref();
    let mut page = String::new();
    let title = escape(&format!("{} on {}", summary.model, device.title));
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n\
         <h1>{title}</h1>\n<table class=\"figures\">\n"
    );
    let choice = record.map(choice_figures).unwrap_or_default();
    for (name, value) in figures(summary, device).into_iter().chain(choice) {
        let _ = writeln!(page, "<tr><th>{}</th><td>{}</td></tr>", escape(name), escape(&value));
    }
    let verdict = match &summary.verify {
        Some(agreement) if agreement.agree => {
            format!("interpreter = cpu = wasm on {} samples", agreement.samples)
        }
        Some(_) => "interpreter, cpu and wasm disagree".to_owned(),
        None => "not compared".to_owned(),
    };
    let _ = writeln!(page, "<tr><th>compared</th><td>{verdict}</td></tr>\n</table>");
    resources(&mut page, summary);
    warnings(&mut page, &summary.warnings);
    page.push_str("<h2>Layers</h2>\n<p>Share: busy cycles of a frame against the slowest layer.</p>\n<table>\n<tr>");
    for header in COLUMNS {
        let _ = write!(page, "<th>{header}</th>");
    }
    page.push_str("</tr>\n");
    for layer in &summary.layers {
        page.push_str("<tr>");
        for cell in row(layer) {
            let _ = write!(page, "<td>{}</td>", escape(&cell));
        }
        let _ = writeln!(page, "<td><div class=\"bar\" style=\"width:{:.1}px\"></div></td></tr>", 160.0 * layer.share);
    }
    page.push_str("</table>\n");
    memory(&mut page, summary);
    page.push_str(
        "<h2>Quantization</h2>\n<table>\n<tr><th>layer</th><th>operator</th><th>bits</th><th>SQNR (dB)</th></tr>\n",
    );
    for layer in &lowered.layers {
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(&layer.name),
            layer.operator,
            layer.weight_bits.map(|bits| bits.to_string()).unwrap_or_default(),
            layer.sqnr_db.map(|sqnr| format!("{sqnr:.1}")).unwrap_or_default()
        );
    }
    page.push_str("</table>\n");
    if let Some(record) = record {
        decisions(&mut page, record);
    }
    if let Some(reshaping) = &cleaned.reshaping {
        deformable(&mut page, reshaping);
    }
    if let Some(removed) = &cleaned.removed {
        channels(&mut page, removed);
    }
    let of_kind = |kind: SiteKind| cleaned.sites.iter().filter(|site| site.kind == kind).count();
    let _ = writeln!(
        page,
        "<h2>Sites</h2>\n<p>{} weight sites and {} activation sites: rules move them and hold for every setting.</p>",
        of_kind(SiteKind::Weights),
        of_kind(SiteKind::Activation)
    );
    page.push_str("<h2>Rewrites</h2>\n<table>\n<tr><th>rule</th><th>fired</th></tr>\n");
    for (rule, count) in [&cleaned.rewrites, &lowered.rewrites].into_iter().flat_map(|report| &report.fired) {
        let _ = writeln!(page, "<tr><td>{}</td><td>{count}</td></tr>", escape(rule));
    }
    page.push_str("</table>\n");
    if [&cleaned.rewrites, &lowered.rewrites].into_iter().any(|report| !report.saturated) {
        page.push_str("<p>The e-graph was not saturated: a limit stopped it.</p>\n");
    }
    if [&cleaned.rewrites, &lowered.rewrites].into_iter().any(|report| report.fuel_limited) {
        page.push_str("<p>A generative rule ran out of fuel: there may be cheaper graphs.</p>\n");
    }
    if timings {
        passes(&mut page, &compiled.timings);
    }
    page.push_str("</html>\n");
    page
}

/// The layers with the most memory.
fn memory(page: &mut String, summary: &Summary) {
    let _ = write!(
        page,
        "<h2>Memory</h2>\n<p>The largest: block RAMs, and the bits that they and smaller memories hold.</p>\n<table>\n\
         <tr><th>layer</th><th>weights</th><th>line buffer</th><th>queue</th><th>block RAMs</th></tr>\n"
    );
    for layer in largest(&summary.memory, LARGEST) {
        let _ = write!(page, "<tr><td>{}</td>", escape(&short(&layer.layer)));
        for (_, amount) in layer.parts() {
            let _ = write!(page, "<td>{} ({} bits)</td>", amount.bram, amount.bits);
        }
        let _ = writeln!(page, "<td>{}</td></tr>", layer.bram());
    }
    page.push_str("</table>\n");
}

/// Layers that the table of memories shows.
const LARGEST: usize = 10;

/// Time of each pass.
fn passes(page: &mut String, timings: &[Timing]) {
    page.push_str("<h2>Passes</h2>\n<table>\n<tr><th>pass</th><th>runs</th><th>seconds</th></tr>\n");
    for Timing { pass, runs, seconds } in timings {
        let _ = writeln!(page, "<tr><td>{pass}</td><td>{runs}</td><td>{seconds:.3}</td></tr>");
    }
    page.push_str("</table>\n");
}

/// What the circuit takes beside what there is.
fn resources(page: &mut String, summary: &Summary) {
    page.push_str(
        "<h2>Resources</h2>\n<table>\n<tr><th>kind</th><th>estimated</th><th>limit</th><th>share</th></tr>\n",
    );
    for budget in &summary.budgets {
        let share = 100.0 * budget.used as f64 / budget.limit.max(1) as f64;
        let class = if budget.used > budget.limit { " class=\"over\"" } else { "" };
        let _ = writeln!(
            page,
            "<tr{class}><td>{}</td><td>{}</td><td>{}</td><td>{share:.0} %</td></tr>",
            budget.name, budget.used, budget.limit
        );
    }
    page.push_str("</table>\n");
}

/// What the user should know.
fn warnings(page: &mut String, warnings: &[Diagnostic]) {
    if warnings.is_empty() {
        return;
    }
    page.push_str("<h2>Warnings</h2>\n<table>\n<tr><th>code</th><th>where</th><th>cause</th><th>remedy</th></tr>\n");
    for warning in warnings {
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            warning.code,
            escape(&warning.node),
            escape(&warning.message),
            escape(&warning.help)
        );
    }
    page.push_str("</table>\n");
}

/// The decision table, the budgets with their prices, and the choices that were tried.
fn decisions(page: &mut String, record: &Record) {
    page.push_str(
        "<h2>Decisions</h2>\n<table>\n<tr><th>layer</th><th>setting</th><th>folding</th><th>cycles</th><th>slack</th>\
         <th>distortion</th><th>runner-up</th></tr>\n",
    );
    for decision in &record.decisions {
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{:.5}</td><td>{}</td></tr>",
            escape(&decision.layer),
            setting_text(decision.setting),
            choice_text(&decision.choice),
            decision.choice.cycles(),
            decision.slack,
            decision.distortion,
            escape(decision.runner_up.as_deref().unwrap_or(""))
        );
    }
    page.push_str(
        "</table>\n<h2>Budgets</h2>\n<table>\n<tr><th>budget</th><th>limit</th><th>used</th>\
         <th>cycles that one more percent is worth</th><th>cycles with more</th></tr>\n",
    );
    for budget in &record.budgets {
        let more: Vec<String> =
            budget.with_more.iter().map(|(percent, cycles)| format!("+{percent} %: {cycles}")).collect();
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{:.0}</td><td>{}</td></tr>",
            budget.name,
            budget.limit.map_or_else(|| "none".to_owned(), amount),
            amount(budget.used),
            budget.cycles_per_percent,
            more.join(", ")
        );
    }
    page.push_str(
        "</table>\n<h2>Choices tried</h2>\n<table>\n<tr><th>allowed distortion</th><th>predicted</th><th>measured</th>\
         <th>cycles</th><th>drop (points)</th><th>standard error</th><th>expected of others</th><th>accepted</th></tr>\n",
    );
    for round in &record.rounds {
        let _ = writeln!(
            page,
            "<tr><td>{:.5}</td><td>{:.5}</td><td>{}</td><td>{}</td><td>{:.2}</td><td>{:.2}</td><td>{}</td><td>{}</td></tr>",
            round.allowed,
            round.predicted,
            round.measured.distortion.map_or_else(String::new, |distortion| format!("{distortion:.5}")),
            round.cycles,
            round.measured.drop,
            round.measured.standard_error,
            round.measured.expected.map_or_else(String::new, |(drop, error)| format!("{drop:.2} ± {error:.2}")),
            if round.accepted { "yes" } else { "no" }
        );
    }
    page.push_str("</table>\n");
}

/// An amount of a budget: a whole number, or a small share.
fn amount(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.5}") }
}

/// What became of deformable layers, what each step cost, and which variants were tried.
fn deformable(page: &mut String, reshaping: &Reshaping) {
    page.push_str(
        "<h2>Deformable layers</h2>\n<table>\n<tr><th>layer</th><th>taps</th><th>reach</th><th>seen</th><th></th></tr>\n",
    );
    for layer in &reshaping.report.layers {
        let depth = if layer.depthwise { ", depthwise" } else { "" };
        let bounds = layer.bounds.map_or_else(|| "the image".to_owned(), |[lo, hi]| format!("{lo} to {hi}"));
        let seen = layer.seen.map_or_else(String::new, |[lo, hi]| format!("{lo:.2} to {hi:.2}"));
        let note = layer.note.as_deref().map_or_else(String::new, |note| format!("stays free: {note}"));
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{}{depth}</td><td>{bounds}</td><td>{seen}</td><td>{}</td></tr>",
            escape(&layer.name),
            layer.sampling,
            escape(&note)
        );
    }
    page.push_str("</table>\n<table>\n<tr><th>step</th><th>distortion of the outputs after it</th></tr>\n");
    for price in &reshaping.report.prices {
        let distortion = price.distortion.map_or_else(|| "not measured".to_owned(), |value| format!("{value:.6}"));
        let _ = writeln!(page, "<tr><td>{}</td><td>{distortion}</td></tr>", step_name(price.step));
    }
    page.push_str("</table>\n");
    if reshaping.tried.is_empty() {
        return;
    }
    page.push_str("<table>\n<tr><th>variant</th><th>drop (points)</th><th>standard error</th><th>accepted</th></tr>\n");
    for tried in &reshaping.tried {
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{:.2}</td><td>{:.2}</td><td>{}</td></tr>",
            variant_name(tried.variant),
            tried.drop,
            tried.standard_error,
            if tried.accepted { "yes" } else { "no" }
        );
    }
    page.push_str("</table>\n");
}

/// What was removed because nobody needs it.
fn channels(page: &mut String, removed: &Removed) {
    let shrunk: Vec<_> = removed.layers.iter().filter(|layer| layer.macs[0] != layer.macs[1]).collect();
    if shrunk.is_empty() {
        return;
    }
    let _ = writeln!(
        page,
        "<h2>Removed channels</h2>\n<p>{} of {} multiply-accumulates are left; {} channels never fire on the calibration samples.</p>\n\
         <table>\n<tr><th>layer</th><th>outputs</th><th>inputs</th><th>MACs</th></tr>",
        removed.macs[1], removed.macs[0], removed.never_firing
    );
    for layer in shrunk {
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{} of {}</td><td>{} of {}</td><td>{} of {}</td></tr>",
            escape(&layer.name),
            layer.outputs.indices.len(),
            layer.outputs.before,
            layer.inputs.indices.len(),
            layer.inputs.before,
            layer.macs[1],
            layer.macs[0]
        );
    }
    page.push_str("</table>\n");
}

const STYLE: &str = "body { font: 14px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1c2330; }\n\
    table { border-collapse: collapse; }\n\
    th, td { text-align: left; padding: 0.15rem 0.9rem 0.15rem 0; font-variant-numeric: tabular-nums; }\n\
    tr + tr td, tr + tr th { border-top: 1px solid #e3e6ec; }\n\
    .figures th { font-weight: 600; }\n\
    .over td { color: #c0392b; font-weight: 600; }\n\
    .bar { background: #3567d6; height: 0.7rem; border-radius: 2px; }\n\
    @media (prefers-color-scheme: dark) { body { background: #14171d; color: #dde2ea; } tr + tr td, tr + tr th { border-color: #2c323d; } }\n";

/// Text inside markup.
pub fn escape(text: &str) -> String {
    printable(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
