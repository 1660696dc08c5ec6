//! The list of processes as plain text or as JSON, for scripts and for what is no terminal.

use super::draw::{Status, window_text};
use super::history::Window;
use super::pages::Page;
use super::table::{Cell, Kind};
use crate::summary::columns::grouped;
use serde_json::{Map, Value, json};

/// As wide as the longest names need, within reason.
const WIDTH: usize = 200;

/// One table: a line about the capture, one of heads, one per process, and an empty one.
pub fn table(page: &Page, status: &Status, window: Window) -> String {
    let Status { elapsed, frequency_hz, own_cpu_percent, own_bytes, lost, .. } = status;
    let mut text = format!(
        "{:.1} s, window {}, {} {}, {:.1} % {}, {:.1} % of it without a stack, {frequency_hz} Hz, \
         lost {}, own {own_cpu_percent:.1} % {} MB\n",
        elapsed.as_secs_f64(),
        window_text(window, page.window_ns),
        page.processes,
        if page.processes == 1 { "process" } else { "processes" },
        page.percent,
        page.shown.name().0,
        page.lost_percent,
        grouped(*lost),
        own_bytes.div_ceil(1 << 20),
    );
    let shown = page.table.shown("", None);
    let widths = page.table.widths(&shown, WIDTH);
    let rows = shown.iter().map(|row| page.table.row(*row, &widths));
    for line in [page.table.head(&widths, None)].into_iter().chain(rows) {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.push('\n');
    text
}

/// The same as one JSON object on one line. Names are as a terminal shows them.
pub fn json(page: &Page, status: &Status, _window: Window) -> String {
    let columns = page.table.columns;
    let processes = page.table.rows.iter().map(|row| {
        let cells = row.cells.iter().zip(columns);
        let fields = cells.map(|(cell, column)| (key(column.head), value(cell, column.kind)));
        Value::Object(fields.collect::<Map<String, Value>>())
    });
    let object = json!({
        "elapsed_s": rounded(status.elapsed.as_secs_f64()),
        "window_s": rounded(page.window_ns as f64 / 1e9),
        "frequency_hz": status.frequency_hz,
        "own_cpu_percent": rounded(status.own_cpu_percent),
        "own_bytes": status.own_bytes,
        "samples_lost": status.lost,
        "not_profiled": status.unsupported,
        page.shown.name().1: rounded(page.percent),
        "lost_percent": rounded(page.lost_percent),
        "processes": processes.collect::<Vec<Value>>(),
    });
    format!("{object}\n")
}

/// `CPU%` becomes `cpu_percent`.
fn key(head: &str) -> String {
    if head == "THR" {
        return "threads".into();
    }
    head.to_lowercase().replace('%', "_percent").replace(' ', "_")
}

fn value(cell: &Cell, kind: Kind) -> Value {
    match kind {
        Kind::Number if cell.is_none() => Value::Null,
        Kind::Number if cell.value.fract() == 0.0 => json!(cell.value as u64),
        Kind::Number => json!(rounded(cell.value)),
        Kind::Text(_) | Kind::Path => json!(cell.text),
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
