//! Programs that run Python and are no Pythons: servers, debuggers, packers, containers. Each gets the same work, and what
//! the profile shows of it is held against what the interpreter inside says, with the host started before the capture
//! and during it.
//!
//! `PYPROF_HOSTS` names the list of hosts (else those of Debian), `PYPROF_HOSTS_TABLE` a file for the table.

mod checks;
mod container;
mod host;
mod packed;
mod rows;
mod run;
mod servers;
mod table;
mod truth;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use checks::CHECKS;
use pyprof_tests::table::{publish, why};
use rows::{Row, rows};
use run::When;
use table::{Cell, Line};

const TABLE: &str = "PYPROF_HOSTS_TABLE";

#[test]
fn every_host_shows_what_the_python_inside_says() {
    let rows = rows();
    assert!(!rows.is_empty(), "no hosts");
    let lines: Vec<Line> = rows.iter().map(judge).collect();
    publish(TABLE, &table::text(&lines));
    let failed = lines.iter().filter(|line| line.has_failed()).count();
    assert_eq!(failed, 0, "rows that failed");
}

fn judge(row: &Row) -> Line {
    let started = Instant::now();
    let mut line = Line::new(row);
    for when in [When::Before, When::During] {
        // A host that the harness gives up on is a failed row, and no reason not to look at the others.
        let outcome = catch_unwind(AssertUnwindSafe(|| look(row, when, &mut line.python)));
        let cells = outcome.unwrap_or_else(|panic| Err(why(panic)));
        line.add(when, cells);
        if line.is_over() {
            break;
        }
    }
    let verdict = if line.has_failed() { "FAILED" } else { "ok" };
    eprintln!("  {:<12} {:<20} {verdict} in {:.1?}", line.name, line.version, started.elapsed());
    line.failures().for_each(|why| eprintln!("    {why}"));
    line
}

/// One cell per check, or why there is nothing to check.
fn look(row: &Row, when: When, python: &mut String) -> Result<Vec<Cell>, String> {
    if let Some(why) = &row.missing {
        return Err(format!("not to be had: {why}"));
    }
    let measured = run::measure(row, when)?;
    *python = measured.reports.first().map(|report| report.version.clone()).unwrap_or_default();
    Ok(CHECKS.iter().map(|(_, check)| check(&measured)).collect())
}
