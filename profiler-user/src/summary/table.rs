//! The table at the end: one row per process image, by CPU time.

use super::columns::{Align, cut, grouped, pad};
use crate::escape::escape;
use crate::profile::{ProcessMeta, Profile};
use pyunwind::Outcome;
use unicode_width::UnicodeWidthStr;

/// Widest name of a process; the top function gets what is left.
const MAX_NAME_WIDTH: usize = 28;
const GAP: &str = "  ";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    pub pid: u32,
    pub name: String,
    pub container: String,
    pub python: String,
    pub samples: u64,
    pub cpu_ns: u64,
    pub truncated: u64,
    pub lost: u64,
    pub top: String,
}

impl Row {
    pub fn of(profile: &Profile) -> Self {
        let process = profile.process();
        let total = profile.total();
        Self {
            pid: process.pid,
            name: title(process),
            container: process.labels.container_id.clone().unwrap_or_default(),
            python: {
                let note = |is: bool, note: &'static str| if is { note } else { "" };
                let unverified = note(process.is_unverified, " unverified");
                let unresponsive = note(process.is_unresponsive, " unresponsive");
                format!("{}{unverified}{unresponsive}", process.python_version)
            },
            samples: total.samples,
            cpu_ns: total.weight_ns,
            truncated: profile.outcome(Outcome::Truncated).samples,
            lost: profile.lost().samples,
            top: profile.hottest_function().unwrap_or_default().into(),
        }
    }
}

/// The service if it was given, and what runs for it: `checkout (gunicorn)`.
pub(crate) fn title(process: &ProcessMeta) -> String {
    let ProcessMeta { name, .. } = process;
    let service = process.service();
    if service == name { name.clone() } else { format!("{service} ({name})") }
}

const HEADS: [(&str, Align); 9] = [
    ("PID", Align::Right),
    ("NAME", Align::Left),
    ("CONTAINER", Align::Left),
    ("PYTHON", Align::Left),
    ("SAMPLES", Align::Right),
    ("CPU s", Align::Right),
    ("TRUNCATED", Align::Right),
    ("LOST", Align::Right),
    ("TOP FUNCTION", Align::Left),
];
const NAME: usize = 1;
const CONTAINER: usize = 2;
/// As `docker ps` shows ids.
const CONTAINER_CHARS: usize = 12;
const LAST: usize = HEADS.len() - 1;

/// `rows` by CPU time, the most first; beyond `max_rows` they are only counted, with `more` that are not
/// here. No line is wider than `width`.
pub fn table(mut rows: Vec<Row>, width: usize, (max_rows, more): (usize, usize)) -> String {
    rows.sort_by_key(|row| std::cmp::Reverse((row.cpu_ns, row.samples)));
    let hidden = rows.len().saturating_sub(max_rows) + more;
    rows.truncate(max_rows);
    let rows: Vec<_> = rows.iter().map(cells).collect();

    let mut widths = HEADS.map(|(head, _)| head.width());
    for cells in &rows {
        for (width, cell) in widths.iter_mut().zip(cells) {
            *width = (*width).max(cell.width());
        }
    }
    widths[NAME] = widths[NAME].min(MAX_NAME_WIDTH);
    if rows.iter().all(|cells| cells[CONTAINER].is_empty()) {
        widths[CONTAINER] = 0;
    }
    let is_shown = |column: &usize| *column != CONTAINER || widths[CONTAINER] > 0;
    let before_last: usize = (0..LAST).filter(is_shown).map(|column| widths[column] + GAP.len()).sum();
    widths[LAST] = widths[LAST].min(width.saturating_sub(before_last));

    let mut text = line(&HEADS.map(|(head, _)| head.into()), &widths, width);
    for cells in &rows {
        text.push_str(&line(cells, &widths, width));
    }
    if hidden > 0 {
        text.push_str(&format!("{}\n", cut(&format!("\u{2026} and {hidden} more"), width)));
    }
    text
}

fn cells(row: &Row) -> [String; HEADS.len()] {
    let Row { pid, name, container, python, samples, cpu_ns, truncated, lost, top } = row;
    [
        pid.to_string(),
        escape(name).into_owned(),
        escape(&container.chars().take(CONTAINER_CHARS).collect::<String>()).into_owned(),
        if python.is_empty() { "?".into() } else { escape(python).into_owned() },
        grouped(*samples),
        format!("{:.2}", *cpu_ns as f64 / 1e9),
        grouped(*truncated),
        grouped(*lost),
        escape(top).into_owned(),
    ]
}

fn line(cells: &[String; HEADS.len()], widths: &[usize; HEADS.len()], max_width: usize) -> String {
    let columns = cells.iter().zip(widths).zip(HEADS).enumerate();
    // No process is in a container: no column says so.
    let shown = columns.filter(|(column, ((_, width), _))| *column != CONTAINER || **width > 0);
    let shown = shown.map(|(_, ((cell, &width), (_, align)))| pad(&cut(cell, width), width, align));
    let line = shown.collect::<Vec<_>>().join(GAP);
    format!("{}\n", cut(line.trim_end(), max_width))
}
