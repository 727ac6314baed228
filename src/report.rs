//! The closing table of `compile`, and `report.html`.

use crate::flow::Lowered;
use crate::listing::table;
use crate::summary::{Layer, Summary};
use crate::task::Metric;
use lutweave_hw::device::Device;
use std::fmt::Write;
use std::path::Path;

/// Prints what was made on standard output.
pub fn print(summary: &Summary, device: &Device, directory: &Path) {
    let mut layers = table(
        &["layer", "operator", "result", "bits", "taps x SIMD x PE", "MACs", "mult", "cycles", "share"],
        &[3, 5, 6, 7, 8],
    );
    for layer in &summary.layers {
        layers.add_row(row(layer));
    }
    println!("{layers}");
    println!();
    for (name, value) in figures(summary, device) {
        println!("{name:>22}  {value}");
    }
    if let Some(agreement) = &summary.verify {
        let verdict = if agreement.agree { "interpreter = cpu = wasm" } else { "interpreter, cpu, wasm DISAGREE" };
        println!("{:>22}  {verdict} on {} samples", "compared", agreement.samples);
    }
    println!("{:>22}  {} ({:.1} s)", "written", directory.display(), summary.compile_seconds);
}

fn row(layer: &Layer) -> [String; 9] {
    let shape: Vec<String> = layer.shape.iter().skip(1).map(ToString::to_string).collect();
    let folding = match (layer.taps, layer.outputs) {
        (Some(taps), Some(outputs)) => format!("{taps} x {} x {outputs}", layer.lanes),
        _ => layer.lanes.to_string(),
    };
    [
        short(&layer.name),
        layer.operator.to_owned(),
        shape.join("x"),
        layer.weight_bits.map(|bits| bits.to_string()).unwrap_or_default(),
        folding,
        if layer.macs == 0 { String::new() } else { layer.macs.to_string() },
        if layer.multipliers == 0 { String::new() } else { layer.multipliers.to_string() },
        layer.cycles.to_string(),
        format!("{:.0} %", 100.0 * layer.share),
    ]
}

/// Longest layer name in a table.
const NAME_WIDTH: usize = 36;

/// A name that fits a column: exporters join the names of what they fused with semicolons, the
/// result last.
fn short(name: &str) -> String {
    let last = name.rsplit(';').next().unwrap_or(name);
    let length = last.chars().count();
    if length <= NAME_WIDTH {
        return last.to_owned();
    }
    let tail: String = last.chars().skip(length - (NAME_WIDTH - 2)).collect();
    format!("..{tail}")
}

/// The figures below the table, as name and value.
fn figures(summary: &Summary, device: &Device) -> Vec<(&'static str, String)> {
    let share = |used: u64, available: u64| format!("{used} ({:.0} %)", 100.0 * used as f64 / available.max(1) as f64);
    let resources = &summary.resources;
    let mut figures = vec![
        ("device", device.title.clone()),
        ("cycles per inference", format!("{} (latency {})", summary.cycles_per_inference, summary.latency_cycles)),
        ("throughput", format!("{:.0} inferences/s at {} MHz", summary.inferences_per_second, summary.clock_mhz)),
        ("multipliers", format!("{}, busy {:.1} % of the cycles", summary.multipliers, 100.0 * summary.efficiency)),
        (
            "estimated",
            format!(
                "LUT {}, FF {}, DSP {}, BRAM {}",
                share(resources.lut, device.lut),
                share(resources.ff, device.ff),
                share(resources.dsp, device.dsp),
                share(resources.bram, device.bram)
            ),
        ),
        ("weights", format!("{} bytes, {:.1} % zeros", summary.weight_bytes, 100.0 * summary.sparsity)),
        ("on the host", if summary.host_ops.is_empty() { "nothing".to_owned() } else { summary.host_ops.join(", ") }),
    ];
    if let Some(accuracy) = &summary.accuracy {
        let metric = if accuracy.metric == Metric::Top1.name() { Metric::Top1 } else { Metric::Mse };
        figures.push((
            "accuracy",
            format!(
                "{}: float {}, integer {} on {} samples",
                accuracy.metric,
                metric.show(accuracy.float),
                metric.show(accuracy.integer),
                accuracy.samples
            ),
        ));
    }
    figures
}

/// The report as a self-contained page.
pub fn html(summary: &Summary, lowered: &Lowered, device: &Device) -> String {
    let mut page = String::new();
    let title = escape(&format!("{} on {}", summary.model, device.title));
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n\
         <h1>{title}</h1>\n<table class=\"figures\">\n"
    );
    for (name, value) in figures(summary, device) {
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
    page.push_str("<h2>Layers</h2>\n<p>Share: busy cycles of a frame against the slowest layer.</p>\n<table>\n<tr>");
    for header in ["layer", "operator", "result", "bits", "taps x SIMD x PE", "MACs", "mult", "cycles", "share"] {
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
    page.push_str("</table>\n<h2>Quantization</h2>\n<table>\n<tr><th>layer</th><th>operator</th><th>bits</th><th>SQNR (dB)</th></tr>\n");
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
    page.push_str("</table>\n<h2>Rewrites</h2>\n<table>\n<tr><th>rule</th><th>fired</th></tr>\n");
    for (rule, count) in lowered.rewrites.iter().flat_map(|report| &report.fired) {
        let _ = writeln!(page, "<tr><td>{}</td><td>{count}</td></tr>", escape(rule));
    }
    page.push_str("</table>\n");
    if lowered.rewrites.iter().any(|report| !report.saturated) {
        page.push_str("<p>The e-graph was not saturated: a limit stopped it.</p>\n");
    }
    page.push_str("</html>\n");
    page
}

const STYLE: &str = "body { font: 14px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1c2330; }\n\
    table { border-collapse: collapse; }\n\
    th, td { text-align: left; padding: 0.15rem 0.9rem 0.15rem 0; font-variant-numeric: tabular-nums; }\n\
    tr + tr td, tr + tr th { border-top: 1px solid #e3e6ec; }\n\
    .figures th { font-weight: 600; }\n\
    .bar { background: #3567d6; height: 0.7rem; border-radius: 2px; }\n\
    @media (prefers-color-scheme: dark) { body { background: #14171d; color: #dde2ea; } tr + tr td, tr + tr th { border-color: #2c323d; } }\n";

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
