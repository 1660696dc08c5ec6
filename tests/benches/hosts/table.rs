//! The table: a host a row, and below it why a check failed.

use crate::checks::CHECKS;
use crate::rows::Row;
use crate::run::When;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cell {
    Ok,
    Failed(String),
    /// The host has nothing to check there.
    Lacks,
    /// Not looked at, since the row failed before.
    Unknown,
}

impl Cell {
    pub fn of(result: Result<(), String>) -> Cell {
        result.map_or_else(Cell::Failed, |()| Cell::Ok)
    }
}

pub struct Line {
    pub name: String,
    pub version: String,
    /// The version of the Python inside.
    pub python: String,
    /// One per check: the worse of before and during.
    cells: Vec<Cell>,
    /// Why there is nothing to check.
    given_up: Option<String>,
}

impl Line {
    pub fn new(row: &Row) -> Line {
        let cells = vec![Cell::Unknown; CHECKS.len()];
        Line {
            name: row.name.clone(),
            version: row.version.clone(),
            python: String::new(),
            cells,
            given_up: None,
        }
    }

    pub fn add(&mut self, when: When, cells: Result<Vec<Cell>, String>) {
        let words = match when {
            When::Before => "from before the capture",
            When::During => "started during the capture",
        };
        match cells {
            Err(why) => self.given_up = Some(format!("{words}: {why}")),
            Ok(cells) => {
                for (known, cell) in self.cells.iter_mut().zip(cells) {
                    match (&known, cell) {
                        (Cell::Failed(_), _) => {}
                        (_, Cell::Failed(why)) => *known = Cell::Failed(format!("{words}: {why}")),
                        (_, cell) => *known = cell,
                    }
                }
            }
        }
    }

    /// Whether there is no point in looking again.
    pub fn is_over(&self) -> bool {
        self.given_up.is_some()
    }

    pub fn has_failed(&self) -> bool {
        self.failures().next().is_some()
    }

    /// `NAME, CHECK: why`.
    pub fn failures(&self) -> impl Iterator<Item = String> {
        let given_up = self.given_up.iter().map(|why| format!("{}, {why}", self.name));
        let cells = CHECKS.iter().zip(&self.cells).filter_map(|((check, _), cell)| match cell {
            Cell::Failed(why) => Some(format!("{}, {check}, {why}", self.name)),
            Cell::Ok | Cell::Lacks | Cell::Unknown => None,
        });
        given_up.chain(cells)
    }
}

pub fn text(lines: &[Line]) -> String {
    let head = ["host", "version", "python"].into_iter().chain(CHECKS.iter().map(|(name, _)| *name));
    let mut grid = vec![head.map(str::to_owned).collect::<Vec<_>>()];
    for line in lines {
        let cells = line.cells.iter().map(|cell| match cell {
            // Half of it was not looked at.
            _ if line.is_over() => "FAIL",
            Cell::Ok => "ok",
            Cell::Failed(_) => "FAIL",
            Cell::Lacks => "n.a.",
            Cell::Unknown => "-",
        });
        let words =
            [line.name.as_str(), line.version.as_str(), line.python.as_str()].into_iter().chain(cells);
        grid.push(words.map(str::to_owned).collect());
    }
    pyprof_tests::table::with_failures(&grid, lines.iter().flat_map(Line::failures))
}
