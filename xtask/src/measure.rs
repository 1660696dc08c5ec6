//! `cargo xtask measure`: what is decided by quantities (times, shares, memory), which a busy host can put out of bounds. It
//! says what was measured, as a table; of that it refuses nothing unless it is told to. Exact claims that can only be tried here,
//! since they change the whole host, decide.

mod table;

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use self::table::{Outcome, Row, Table};
use crate::hosts;
use crate::matrix;
use crate::test::{Prepared, build, prepare};
use crate::util::display;
use crate::vm::{SETS_THE_CLOCK, WHOLE_HOST};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only the measurements whose name, or the name of whose file, contains this; where a file has this name, only that.
    filter: Option<String>,
    /// Leave out half of them, so that it takes some eight minutes.
    #[arg(long, conflicts_with = "filter")]
    quick: bool,
    /// Fail where something is out of bounds.
    #[arg(long)]
    strict: bool,
}

/// Not `--quick`: with these it takes twice the time.
const LONG: [&str; 8] = ["hostile", "hosts", "matrix", "periods", "soak", "stall", "top", "top_soak"];

pub(crate) fn command(options: Options) -> Result<()> {
    let Options { filter, quick, strict } = options;
    let prepared = prepare()?;
    build(&prepared.workspace)?;
    let started = Instant::now();
    let mut table = Table::default();
    let names = names(&prepared)?;
    let is_file = filter.as_ref().is_some_and(|filter| names.contains(filter));
    for name in names {
        if quick && LONG.contains(&name.as_str()) || is_file && filter.as_ref() != Some(&name) {
            continue;
        }
        let whole = filter.as_ref().is_none_or(|filter| name.contains(filter.as_str()));
        let filter = if whole { None } else { filter.as_deref() };
        table.add(measure(&prepared, &name, filter)?);
    }
    if table.is_empty() {
        bail!("no measurement has {:?} in its name", filter.unwrap_or_default());
    }
    println!("\n{table}\nmeasure: {} ({} s after the build)", table.sum(), started.elapsed().as_secs());
    if !table.is_exact() {
        bail!("an exact claim does not hold");
    }
    if strict && !table.is_in_bounds() {
        bail!("not everything is in bounds");
    }
    Ok(())
}

/// What cargo finds by itself in `tests/benches`: files, and folders with a `main.rs`. What changes the whole host comes last.
fn names(prepared: &Prepared) -> Result<Vec<String>> {
    let folder = prepared.workspace.root.join("tests/benches");
    let entries =
        std::fs::read_dir(&folder).with_context(|| format!("failed to read {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("failed to read {}", folder.display()))?.path();
        if path.extension().is_some_and(|kind| kind == "rs") || path.join("main.rs").exists() {
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            names.push(stem.context("a name is not UTF-8")?.to_owned());
        }
    }
    names.sort_by_key(|name| (name == WHOLE_HOST, name.clone()));
    Ok(names)
}

/// Runs one binary of measurements. All that it says goes to our own output, and what became of each test into rows.
fn measure(prepared: &Prepared, name: &str, filter: Option<&str>) -> Result<Vec<Row>> {
    let mut command = prepared.end_to_end();
    command.args(["--bench", name]).args(filter).args(["--", "--test-threads=1"]);
    match name {
        "matrix" => matrix::JUDGE.hand_over(&mut command, &prepared.workspace, &matrix::of_every_test()?)?,
        WHOLE_HOST => {
            command.args(["--skip", SETS_THE_CLOCK]);
        }
        "hosts" => hosts::JUDGE.hand_over(&mut command, &prepared.workspace, &hosts::of_every_test())?,
        _ => {}
    }
    eprintln!("$ {}", display(&command));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("failed to start {}", display(&command)))?;
    let stdout = BufReader::new(child.stdout.take().context("standard output is a pipe")?);
    let mut report = Report::new(name);
    for line in stdout.lines() {
        let line = line.with_context(|| format!("failed to read what {name} says"))?;
        println!("{line}");
        report.hear(&line, Instant::now());
    }
    let status = child.wait().with_context(|| format!("failed to wait for {name}"))?;
    let rows = report.end();
    if !status.success() && rows.iter().all(|row| row.outcome == Outcome::InBounds) {
        // It was not built, or ended before its first test.
        bail!("{} ended with {status}, and no test of it failed", display(&command));
    }
    Ok(rows)
}

/// The lines of libtest: `running N tests`, and per test `test NAME ... ok`, of which all up to the dots comes first.
struct Report {
    binary: String,
    rows: Vec<Row>,
    announced: usize,
    since: Instant,
}

impl Report {
    fn new(binary: &str) -> Report {
        Report { binary: binary.to_owned(), rows: Vec::new(), announced: 0, since: Instant::now() }
    }

    fn hear(&mut self, line: &str, now: Instant) {
        if let Some(rest) = line.strip_prefix("running ") {
            self.announced += rest.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0);
            self.since = now;
            return;
        }
        let Some((name, outcome)) = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... "))
        else {
            return;
        };
        let outcome = match outcome {
            "ok" => Outcome::InBounds,
            "FAILED" => Outcome::OutOfBounds,
            _ => return,
        };
        self.push(name, outcome, now - self.since);
        self.since = now;
    }

    fn push(&mut self, test: &str, outcome: Outcome, took: Duration) {
        self.rows.push(Row { name: format!("{}::{test}", self.binary), outcome, took });
    }

    /// A binary that was killed has said less than it announced.
    fn end(mut self) -> Vec<Row> {
        for _ in self.rows.len()..self.announced {
            self.push("(unknown)", Outcome::NotFinished, Duration::ZERO);
        }
        self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_a_run_become_rows() {
        let said = "\nrunning 4 tests\ntest a::one ... ok\ntest two ... FAILED\ntest two of the output ... odd\n\
                    test result: FAILED. 1 passed; 1 failed\n";
        let mut report = Report::new("storm");
        let begun = Instant::now();
        for line in said.lines() {
            report.hear(line, begun + Duration::from_secs(1));
        }
        let rows: Vec<(String, Outcome)> =
            report.end().into_iter().map(|row| (row.name, row.outcome)).collect();
        let expected = [
            ("storm::a::one", Outcome::InBounds),
            ("storm::two", Outcome::OutOfBounds),
            ("storm::(unknown)", Outcome::NotFinished),
            ("storm::(unknown)", Outcome::NotFinished),
        ];
        assert_eq!(rows, expected.map(|(name, outcome)| (name.to_owned(), outcome)));
    }
}
