//! The table: as Markdown, so that it can be kept, and with columns that a terminal shows as such.

use std::fmt::Write as _;

use crate::checks::{CHECKS, Cell};

pub struct Line {
    pub name: String,
    pub version: String,
    /// One per check.
    pub cells: Vec<Cell>,
}

impl Line {
    pub fn has_failed(&self) -> bool {
        self.failures().next().is_some()
    }

    /// `NAME, CHECK: why`.
    pub fn failures(&self) -> impl Iterator<Item = String> {
        CHECKS.iter().zip(&self.cells).filter_map(|((check, _), cell)| match cell {
            Cell::Failed(why) => Some(format!("{}, {check}: {why}", self.name)),
            Cell::Ok | Cell::Lacks | Cell::Unknown | Cell::Named => None,
        })
    }
}

pub fn text(lines: &[Line]) -> String {
    let head = ["interpreter", "version"].into_iter().chain(CHECKS.iter().map(|(name, _)| *name));
    let mut grid = vec![head.map(|name| name.replace('_', " ")).collect::<Vec<_>>()];
    for Line { name, version, cells } in lines {
        let cells = cells.iter().map(|cell| match cell {
            Cell::Ok => "ok",
            Cell::Failed(_) => "FAIL",
            Cell::Lacks => "n.a.",
            Cell::Unknown => "-",
            Cell::Named => "named",
        });
        let words = [name.as_str(), version.as_str()].into_iter().chain(cells);
        grid.push(words.map(str::to_owned).collect());
    }
    let widths: Vec<usize> = (0..grid[0].len())
        .map(|column| grid.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for (at, row) in grid.iter().enumerate() {
        for (word, width) in row.iter().zip(&widths) {
            let _ = write!(text, "| {word:<width$} ");
        }
        text.push_str("|\n");
        if at == 0 {
            for width in &widths {
                let _ = write!(text, "|{}", "-".repeat(width + 2));
            }
            text.push_str("|\n");
        }
    }
    let failures: Vec<String> = lines.iter().flat_map(Line::failures).collect();
    if !failures.is_empty() {
        text.push('\n');
    }
    for why in failures {
        let _ = writeln!(text, "- {}", why.replace(['\n', '|'], " "));
    }
    text
}
