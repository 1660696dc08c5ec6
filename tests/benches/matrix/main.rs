//! Every interpreter against every check: one process per interpreter runs all workloads under one capture, and what the
//! profile shows is held against what the interpreter itself says.
//!
//! `PYPROF_MATRIX` names the list of interpreters (else those of the other tests), `PYPROF_MATRIX_TABLE` a file for the table.

mod checks;
mod elsewhere;
mod labels;
mod lines;
mod rows;
mod run;
mod stacks;
mod table;
mod truth;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use checks::{CHECKS, Cell, Subject};
use pyprof_tests::table::{publish, why};
use rows::{Kind, Row, rows};
use table::Line;

const TABLE: &str = "PYPROF_MATRIX_TABLE";

#[test]
fn every_interpreter_passes_every_check() {
    let rows = rows();
    assert!(!rows.is_empty(), "no interpreters");
    let lines: Vec<Line> = rows.iter().map(judge).collect();
    publish(TABLE, &table::text(&lines));
    let failed = lines.iter().filter(|line| line.has_failed()).count();
    assert_eq!(failed, 0, "rows that failed");
}

fn judge(row: &Row) -> Line {
    let started = Instant::now();
    let line = look(row);
    let verdict = if line.has_failed() { "FAILED" } else { "ok" };
    eprintln!("  {:<26} {:<9} {verdict} in {:.1?}", line.name, line.version, started.elapsed());
    line.failures().for_each(|why| eprintln!("    {why}"));
    line
}

fn look(row: &Row) -> Line {
    // A row that the harness gives up on is a failed row, and no reason not to look at the others.
    let outcome = catch_unwind(AssertUnwindSafe(|| check(row)));
    let outcome = outcome.unwrap_or_else(|panic| (String::new(), vec![Cell::Failed(why(panic))]));
    let (version, mut cells) = outcome;
    let rest = if cells.first() == Some(&Cell::Named) { Cell::Lacks } else { Cell::Unknown };
    cells.resize(CHECKS.len(), rest);
    Line { name: row.name.clone(), version, cells }
}

fn check(row: &Row) -> (String, Vec<Cell>) {
    if let Some(why) = &row.missing {
        return (String::new(), vec![Cell::Failed(format!("not to be had: {why}"))]);
    }
    if !row.is_unwound() {
        return match run::named(row) {
            Ok(reason) if reason.contains(if row.kind == Kind::Pypy { "PyPy" } else { "CPython" }) => {
                (reason, vec![Cell::Named])
            }
            Ok(reason) => (String::new(), vec![Cell::Failed(format!("named as {reason:?}"))]),
            Err(why) => (String::new(), vec![Cell::Failed(why)]),
        };
    }
    match run::measure(row) {
        Ok(measured) => {
            let version = measured.truth.version.clone();
            let minor = version.strip_prefix("3.").and_then(|rest| rest.split('.').next()?.parse().ok());
            let subject = Subject { row, minor: minor.unwrap_or(-1), measured: &measured };
            let cells = CHECKS.iter().map(|(name, check)| check(&subject, name)).collect();
            (version, cells)
        }
        Err(why) => (String::new(), vec![Cell::Failed(why)]),
    }
}
