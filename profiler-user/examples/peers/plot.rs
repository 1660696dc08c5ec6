//! Plots as SVG, written by hand: bars on a logarithmic scale for the profilers, lines for the growth. No script, no font
//! of its own, and colours that are readable on white and on black.

use std::fmt::Write;

use crate::figures::grouped;
use crate::growth::Curve;
use crate::measure::{Cell, Group};

const INK: &str = "#808080";
const OURS: &str = "#2e7d32";
const OTHER: &str = "#5b7fb0";
const WIDTH: f64 = 720.0;
const LABEL: f64 = 230.0;
const BAR: f64 = 16.0;

/// A plot of these, one over the other: what its file is called, its title, its unit, and the value of a cell.
type Metric = (&'static str, &'static str, &'static str, fn(&Cell) -> f64);

const METRICS: [Metric; 3] = [
    ("slow-down", "What the target loses", "%", |cell| cell.slow_percent.median()),
    ("impossible", "Stacks that cannot be", "% of samples", |cell| cell.of_all(cell.judged.impossible)),
    ("cpu-per-sample", "CPU of the profiler for a sample", "us", |cell| cell.sample_us.median()),
];

/// One plot per metric, of all kinds of targets at the highest frequency.
pub fn of_groups(groups: &[Group]) -> Vec<(String, String)> {
    let hz = groups.iter().map(|group| group.hz).max().unwrap_or(0);
    let of_hz: Vec<&Group> = groups.iter().filter(|group| group.hz == hz).collect();
    if of_hz.is_empty() {
        return Vec::new();
    }
    let one = |(name, title, unit, value): &Metric| (name.to_string(), bars(title, unit, hz, *value, &of_hz));
    METRICS.iter().map(one).collect()
}

fn bars(title: &str, unit: &str, hz: u32, value: fn(&Cell) -> f64, groups: &[&Group]) -> String {
    let values = groups.iter().flat_map(|group| &group.cells).map(value).filter(|value| value.is_finite());
    let top = values.fold(1.0, f64::max);
    let floor = 0.1;
    // What is below a tenth is drawn as nothing.
    let length = |value: f64| {
        let share = (value.max(floor) / floor).ln() / (top / floor).ln();
        share * (WIDTH - LABEL - 90.0)
    };
    let mut body = String::new();
    let mut y = 50.0;
    for group in groups {
        y += 22.0;
        text(&mut body, 10.0, y - 6.0, &format!("{}, CPython {}", group.kind.name, group.python), "bold");
        for cell in &group.cells {
            let value = value(cell);
            text(&mut body, 24.0, y + 12.0, cell.tool.name, "normal");
            let (width, said) = match value.is_finite() {
                true => (length(value), grouped(value, 1)),
                false => (0.0, "-".to_owned()),
            };
            let colour = if cell.tool.is_ours() { OURS } else { OTHER };
            let _ = writeln!(
                body,
                "<rect x=\"{LABEL}\" y=\"{y:.0}\" width=\"{width:.1}\" height=\"{:.0}\" fill=\"{colour}\"/>",
                BAR - 4.0
            );
            text(&mut body, LABEL + width + 6.0, y + 11.0, &said, "normal");
            y += BAR;
        }
    }
    let head = format!("{title}, {unit}, asked for {hz} Hz (logarithmic; less is better)");
    document(&head, y + 20.0, &body)
}

/// CPU and memory over what grows.
pub fn of_curve(curve: &Curve) -> Vec<(String, String)> {
    type Value = fn(&crate::growth::Point) -> f64;
    let wholes: [(&str, &str, Value); 3] = [
        ("cpu", "CPU, % of a core", |point| point.process_percent.median() + point.programs_percent.median()),
        ("sample", "CPU for a sample, us", |point| point.sample_us.median()),
        ("memory", "Memory, MB", |point| point.memory_bytes.median() / 1e6),
    ];
    let one = |(name, title, value): &(&str, &str, Value)| {
        let points: Vec<(f64, f64)> =
            curve.points.iter().map(|point| (f64::from(point.at), value(point))).collect();
        (format!("growth-{}-{name}", curve.name), line(&format!("{title}, over {}", curve.axis), &points))
    };
    wholes.iter().map(one).collect()
}

fn line(title: &str, points: &[(f64, f64)]) -> String {
    const HEIGHT: f64 = 260.0;
    let points: Vec<(f64, f64)> = points.iter().copied().filter(|(_, y)| y.is_finite()).collect();
    let (left, right, top, bottom) = (60.0, WIDTH - 30.0, 60.0, HEIGHT - 40.0);
    let low = points.first().map_or(1.0, |point| point.0.ln());
    let high = points.last().map_or(2.0, |point| point.0.ln()).max(low + 1e-9);
    let most = points.iter().map(|point| point.1).fold(1e-9, f64::max);
    let place = |(x, y): (f64, f64)| {
        (left + (x.ln() - low) / (high - low) * (right - left), bottom - y / most * (bottom - top))
    };
    let mut body = String::new();
    let _ = writeln!(
        body,
        "<path d=\"M{left} {top}V{bottom}H{right}\" fill=\"none\" stroke=\"{INK}\" stroke-width=\"1\"/>"
    );
    let way: Vec<String> =
        points.iter().map(|point| place(*point)).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let _ = writeln!(
        body,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{OURS}\" stroke-width=\"2\"/>",
        way.join(" ")
    );
    for point in &points {
        let (x, y) = place(*point);
        let _ = writeln!(body, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{OURS}\"/>");
        text(&mut body, x - 12.0, y - 8.0, &grouped(point.1, 2), "normal");
        text(&mut body, x - 12.0, bottom + 18.0, &grouped(point.0, 0), "normal");
    }
    document(title, HEIGHT, &body)
}

fn text(body: &mut String, x: f64, y: f64, what: &str, weight: &str) {
    let what = what.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(
        body,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" fill=\"{INK}\" font-size=\"12\" font-weight=\"{weight}\">{what}</text>"
    );
}

fn document(title: &str, height: f64, body: &str) -> String {
    let mut head = String::new();
    text(&mut head, 10.0, 24.0, title, "bold");
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" font-family=\"sans-serif\" \
         role=\"img\">\n<title>{title}</title>\n{head}{body}</svg>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_from_corner_to_corner() {
        let svg = line("a & b", &[(1.0, 0.0), (10.0, 5.0), (100.0, f64::NAN)]);
        assert!(svg.contains("60.0,220.0 690.0,60.0\""), "{svg}");
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
    }
}
