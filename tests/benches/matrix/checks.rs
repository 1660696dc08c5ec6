//! The checks, one column each, and what an interpreter may lack.

use pyprof_tests::is_emulated;
use serde_json::Value;

use crate::rows::{Kind, Row};
use crate::run::Measured;
use crate::{elsewhere, labels, lines, stacks};

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cell {
    Ok,
    Failed(String),
    /// The interpreter has nothing to check there.
    Lacks,
    /// Not looked at, since the row failed before.
    Unknown,
    /// Not unwound, and the product says what it is.
    Named,
}

impl Cell {
    pub fn of(result: Result<(), String>) -> Cell {
        result.map_or_else(Cell::Failed, |()| Cell::Ok)
    }

    /// The first that is not right.
    pub fn and_then(self, next: impl FnOnce() -> Cell) -> Cell {
        if self == Cell::Ok { next() } else { self }
    }
}

/// An interpreter and its minor version, counted from 3.0; that of 2.7 is below all.
pub struct Subject<'a> {
    pub row: &'a Row,
    pub minor: i32,
    pub measured: &'a Measured,
}

type Check = fn(&Subject<'_>, &str) -> Cell;

/// In the order of the table.
pub const CHECKS: [(&str, Check); 19] = [
    ("found", found),
    ("flat", stacks::check),
    ("deep", stacks::check),
    ("generators", stacks::check),
    ("coroutines", stacks::check),
    ("exceptions", stacks::check),
    ("init", stacks::check),
    ("churn", stacks::check),
    ("names", stacks::check),
    ("threads", stacks::check),
    ("released", stacks::check),
    ("subinterpreters", stacks::check),
    ("two_held", stacks::check),
    ("two_released", stacks::check),
    ("made_elsewhere", elsewhere::check),
    ("lines", lines::check),
    ("gil", labels::gil),
    ("gc", labels::collector),
    ("between", stacks::between),
];

/// The version is the interpreter's own, and enough of what it did gave whole stacks.
fn found(subject: &Subject<'_>, _: &str) -> Cell {
    let version = &subject.measured.truth.version;
    let check = |process: &Value| {
        let count = |value: &Value| value.as_u64().unwrap_or(0);
        let (complete, samples) = (count(&process["outcomes"]["complete"]), count(&process["samples"]));
        if process["python_version"] != **version {
            Err(format!("it is {version}, not {}", process["python_version"]))
        } else if process["verified"] != true {
            Err("not marked as verified".to_owned())
        } else if complete * 100 < samples * stacks::WHOLE_PERCENT || count(&process["dropped"]) != 0 {
            Err(format!("{complete} complete stacks of {samples}: {}", process["outcomes"]))
        } else {
            Ok(())
        }
    };
    Cell::of(subject.measured.processes.iter().try_for_each(check))
}

/// Whether `some` are so many percent of `all`. An emulated processor takes so few samples that chance alone may make it
/// fewer: three standard errors.
pub fn is_share(some: u64, all: u64, percent: u64) -> bool {
    let chance = if is_emulated() { 3 * (all * percent * (100 - percent) / 10_000 + 1).isqrt() } else { 0 };
    (some + chance) * 100 >= all * percent
}

/// Whether this kind of interpreter may say that it has no such thing.
pub fn may_lack(subject: &Subject<'_>, phase: &str) -> bool {
    match phase {
        "coroutines" => subject.minor < 6,
        // The module is for CPython's own tests before 3.14, and not everywhere.
        "subinterpreters" | "two_held" | "two_released" | "made_elsewhere" => {
            subject.minor < 8 || matches!(subject.row.kind, Kind::Embedded | Kind::Bare)
        }
        _ => false,
    }
}
