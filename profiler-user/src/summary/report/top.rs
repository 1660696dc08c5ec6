//! The table of rows by own time.

use super::super::columns::{Align, pad, percent};
use super::units::unit;
use super::{Names, fit, more, place};
use crate::profile::{Measure, Total};
use crate::report::{By, Row};
use unicode_width::UnicodeWidthStr;

fn rows_of(rows: &[Row], by: By) -> impl Iterator<Item = (&str, String)> {
    rows.iter().map(move |row| (name_of(row, by), place(&row.file, row.line)))
}

fn name_of(row: &Row, by: By) -> &str {
    match row.name.as_str() {
        "" if by == By::File => "(no file)",
        "" if by == By::Wait => "(not known)",
        "" => "(no name)",
        name => name,
    }
}

/// At most `limit` rows; shares are those of `all`.
pub fn top(rows: &[Row], by: By, measure: &Measure, all: Total, limit: usize, width: usize) -> String {
    let unit = unit(&measure.weight.unit, all.weight_ns);
    let shown = &rows[..rows.len().min(limit)];
    // Of a process or a thread, own is total; and so it is of what is waited for.
    let is_owner = matches!(by, By::Process | By::Thread);
    let is_whole = is_owner || by == By::Wait;
    let mut columns: Vec<(String, Vec<String>)> = Vec::new();
    let mut column = |head: &str, cell: &dyn Fn(&Row) -> String| {
        columns.push((head.into(), shown.iter().map(cell).collect()));
    };
    if is_owner {
        column("PID", &|row| if row.pid == 0 { "-".into() } else { row.pid.to_string() });
    }
    if by == By::Thread {
        column("TID", &|row| if row.tid == 0 { "-".into() } else { row.tid.to_string() });
    }
    if !is_whole {
        column(&unit.head("OWN"), &|row| unit.number(row.own.weight_ns));
        column("OWN %", &|row| percent(row.own.weight_ns, all.weight_ns));
    }
    column(&unit.head("TOTAL"), &|row| unit.number(row.total.weight_ns));
    column("TOTAL %", &|row| percent(row.total.weight_ns, all.weight_ns));
    let widths: Vec<usize> = columns
        .iter()
        .map(|(head, cells)| cells.iter().map(|cell| cell.width()).max().unwrap_or(0).max(head.width()))
        .collect();
    let used = widths.iter().map(|width| width + 2).sum();
    let (name, where_from) = match by {
        By::Function => ("FUNCTION", "WHERE"),
        By::Line => ("FUNCTION", "LINE"),
        By::File => ("FILE", ""),
        By::Process => ("PROCESS", "EXECUTABLE"),
        By::Thread => ("THREAD", "PROCESS"),
        By::Wait => ("WAITS FOR", ""),
    };
    let names = Names::fit(rows_of(shown, by).chain([(name, where_from.into())]), width, used);
    let line = |cells: Vec<&str>, name: &str, place: &str| {
        let cells: String =
            cells.iter().zip(&widths).map(|(cell, width)| pad(cell, *width, Align::Right) + "  ").collect();
        // A file is all there is in its row, and of a path the end says most.
        let last = if by == By::File {
            super::cut_start(&super::escape(name), width.saturating_sub(used))
        } else {
            names.show(name, place)
        };
        fit(&format!("{cells}{last}"), width)
    };
    let mut text = line(columns.iter().map(|(head, _)| head.as_str()).collect(), name, where_from);
    for (at, row) in shown.iter().enumerate() {
        let cells = columns.iter().map(|(_, cells)| cells[at].as_str()).collect();
        text.push_str(&line(cells, name_of(row, by), &place(&row.file, row.line)));
    }
    text + &more(rows.len() - shown.len(), width)
}
