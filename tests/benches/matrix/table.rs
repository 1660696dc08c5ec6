//! The table: an interpreter a row, and below it why a check failed.

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
    pyprof_tests::table::with_failures(&grid, lines.iter().flat_map(Line::failures))
}
