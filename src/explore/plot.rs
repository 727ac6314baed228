//! Circuits as an SVG drawing: cycles against another number, with what is proven of each point.

use crate::report::escape;
use std::fmt::Write;

/// One point of the plot.
#[derive(Clone, Debug)]
pub struct Mark {
    /// Cycles of an inference.
    pub cycles: u64,
    /// Cycles below which nothing within the same budgets can go.
    pub bound: u64,
    /// The other number, in the direction of the axis.
    pub value: f64,
    /// It is on the line that is drawn.
    pub on_front: bool,
    /// What the pointer shows.
    pub label: String,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 440.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 58.0;

/// The vertical axis.
#[derive(Clone, Copy, Debug)]
pub struct Vertical<'a> {
    /// What it shows.
    pub name: &'a str,
    /// A line across, with its name.
    pub reference: Option<(f64, &'a str)>,
    /// Its logarithm is shown.
    pub logarithmic: bool,
}

/// Draws marks.
pub fn svg(title: &str, shown: Vertical, marks: &[Mark]) -> String {
    let horizontal = Axis::logarithmic(marks.iter().flat_map(|mark| [mark.bound as f64, mark.cycles as f64]));
    let values = marks.iter().map(|mark| mark.value).chain(shown.reference.map(|(value, _)| value));
    let vertical = if shown.logarithmic { Axis::logarithmic(values) } else { Axis::linear(values) };
    let x = |cycles: f64| LEFT + horizontal.place(cycles) * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| HEIGHT - BOTTOM - vertical.place(value) * (HEIGHT - TOP - BOTTOM);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n<style>{STYLE}</style>\n\
         <rect class=\"ground\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\n<text class=\"title\" x=\"{LEFT}\" y=\"24\">{}</text>\n",
        escape(title)
    );
    for tick in horizontal.ticks() {
        let at = x(tick);
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{}\"/>",
            HEIGHT - BOTTOM
        );
        let _ = writeln!(
            svg,
            "<text class=\"tick\" text-anchor=\"middle\" x=\"{at:.1}\" y=\"{}\">{}</text>",
            HEIGHT - BOTTOM + 18.0,
            thousands(tick)
        );
    }
    for tick in vertical.ticks() {
        let at = y(tick);
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{}\" y2=\"{at:.1}\"/>",
            WIDTH - RIGHT
        );
        let _ = writeln!(
            svg,
            "<text class=\"tick\" text-anchor=\"end\" x=\"{}\" y=\"{:.1}\">{}</text>",
            LEFT - 8.0,
            at + 4.0,
            vertical.show(tick)
        );
    }
    let middle = (HEIGHT - TOP - BOTTOM) / 2.0 + TOP;
    let _ = writeln!(
        svg,
        "<text class=\"axis\" text-anchor=\"middle\" x=\"{}\" y=\"{}\">cycles per inference (logarithmic; the line to the left of a point ends at its proven bound)</text>\n\
         <text class=\"axis\" text-anchor=\"middle\" transform=\"translate(18 {middle}) rotate(-90)\">{}</text>",
        (WIDTH - LEFT - RIGHT) / 2.0 + LEFT,
        HEIGHT - 16.0,
        escape(shown.name)
    );
    if let Some((reference, name)) = shown.reference {
        let at = y(reference);
        let _ = writeln!(
            svg,
            "<line class=\"float\" x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{}\" y2=\"{at:.1}\"/>\n<text class=\"tick\" text-anchor=\"end\" x=\"{}\" y=\"{:.1}\">{}</text>",
            WIDTH - RIGHT,
            WIDTH - RIGHT,
            at - 5.0,
            escape(name)
        );
    }
    let mut front: Vec<&Mark> = marks.iter().filter(|mark| mark.on_front).collect();
    front.sort_by(|a, b| a.cycles.cmp(&b.cycles).then(a.value.total_cmp(&b.value)));
    let path: Vec<String> =
        front.iter().map(|mark| format!("{:.1},{:.1}", x(mark.cycles as f64), y(mark.value))).collect();
    let _ = writeln!(svg, "<polyline class=\"front\" points=\"{}\"/>", path.join(" "));
    for mark in marks {
        let (at_x, at_y) = (x(mark.cycles as f64), y(mark.value));
        let class = if mark.on_front { "point" } else { "beside" };
        let _ = writeln!(
            svg,
            "<g><title>{}</title><line class=\"gap\" x1=\"{:.1}\" y1=\"{at_y:.1}\" x2=\"{at_x:.1}\" y2=\"{at_y:.1}\"/><circle class=\"{class}\" cx=\"{at_x:.1}\" cy=\"{at_y:.1}\" r=\"5\"/></g>",
            escape(&mark.label),
            x(mark.bound as f64)
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// Values along an axis, from 0 to 1.
struct Axis {
    low: f64,
    high: f64,
    logarithmic: bool,
}

impl Axis {
    fn linear(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = extent(values.filter(|value| value.is_finite()));
        let margin = ((high - low) * 0.08).max(high.abs() * 1e-3).max(1e-6);
        Self { low: low - margin, high: high + margin, logarithmic: false }
    }

    fn logarithmic(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = extent(values);
        Self { low: low.max(1.0) / 1.15, high: high.max(1.0) * 1.15, logarithmic: true }
    }

    fn place(&self, value: f64) -> f64 {
        if self.logarithmic {
            (value.max(1.0) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        }
    }

    fn step(&self) -> f64 {
        let rough = (self.high - self.low) / 5.0;
        let power = 10f64.powf(rough.log10().floor());
        power * [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| factor * power >= rough).unwrap_or(10.0)
    }

    fn ticks(&self) -> Vec<f64> {
        if self.logarithmic {
            let mut ticks = Vec::new();
            let mut power = 10f64.powf(self.low.log10().floor());
            while power <= self.high {
                ticks.extend([1.0, 2.0, 5.0].map(|factor| factor * power));
                power *= 10.0;
            }
            ticks.retain(|tick| (self.low..=self.high).contains(tick));
            return ticks;
        }
        let step = self.step();
        let first = (self.low / step).ceil() as i64;
        let last = (self.high / step).floor() as i64;
        (first..=last).map(|index| index as f64 * step).collect()
    }

    fn show(&self, value: f64) -> String {
        if self.logarithmic {
            return thousands(value);
        }
        let decimals = (-self.step().log10().floor()).clamp(0.0, 6.0) as usize;
        format!("{value:.decimals$}")
    }
}

/// Least and greatest of some values; 0 and 1 of none.
fn extent(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    if low <= high { (low, high) } else { (0.0, 1.0) }
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let grouped: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|chunk| std::str::from_utf8(chunk).unwrap_or("")).collect();
    grouped.join(",")
}

const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#1c2330}.title{font-size:15px;font-weight:600}\
    .ground{fill:#fff}.grid{stroke:#e3e6ec}.float{stroke:#8a93a3;stroke-dasharray:4 4}.front{fill:none;stroke:#3567d6;stroke-width:1.5}\
    .gap{stroke:#3567d6;stroke-opacity:.45;stroke-width:3}.point{fill:#3567d6}.beside{fill:#b9c2d0}\
    @media(prefers-color-scheme:dark){text{fill:#dde2ea}.ground{fill:#14171d}.grid{stroke:#2c323d}}";

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(cycles: u64, value: f64) -> Mark {
        Mark { cycles, bound: cycles * 9 / 10, value, on_front: true, label: format!("<{cycles}>") }
    }

    #[test]
    fn every_mark_lies_inside_the_frame() {
        let marks = [mark(1_000, 0.5), mark(49_152, 0.93), mark(98_304, 0.935)];
        let drawing =
            svg("a & b", Vertical { name: "top1", reference: Some((0.94, "float")), logarithmic: false }, &marks);
        let positions: Vec<(f64, f64)> = drawing
            .lines()
            .filter_map(|line| {
                let number = |key: &str| line.split(key).nth(1)?.split('"').next()?.parse().ok();
                Some((number("cx=\"")?, number("cy=\"")?))
            })
            .collect();
        assert_eq!(positions.len(), 3);
        assert!(
            positions.iter().all(|(x, y)| (LEFT..=WIDTH - RIGHT).contains(x) && (TOP..=HEIGHT - BOTTOM).contains(y))
        );
        // Fewer cycles are further left, a larger value is higher.
        assert!(positions[0].0 < positions[1].0 && positions[0].1 > positions[1].1);
        assert!(drawing.contains("a &amp; b") && drawing.contains("&lt;1000&gt;") && !drawing.contains("NaN"));
    }

    #[test]
    fn one_mark_and_none_can_be_drawn() {
        for marks in [vec![], vec![mark(7, 0.0)]] {
            let shown = Vertical { name: "mse", reference: None, logarithmic: true };
            let drawing = svg("t", shown, &marks);
            assert!(["NaN", "\"inf", "\"-inf", ">inf"].iter().all(|text| !drawing.contains(text)), "{drawing}");
        }
    }

    #[test]
    fn ticks_are_round() {
        let axis = Axis::linear([0.87, 0.94].into_iter());
        assert_eq!(
            axis.ticks().iter().map(|&tick| axis.show(tick)).collect::<Vec<_>>(),
            ["0.88", "0.90", "0.92", "0.94"]
        );
        assert_eq!(thousands(49152.0), "49,152");
    }
}
