//! `cargo xtask hosts`: every program that runs Python inside, against every check, under real BPF; `xtask measure` runs the
//! same for those that apt installs.

mod pip;
mod rows;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use serde::Serialize;

use crate::interpreters;
use crate::setup::{apt_install, apt_version, setup};
pub(crate) use crate::support::Options;
use crate::support::{self, Judge, Section};
use crate::test::of_this_machine;
use crate::util::{Workspace, is_executable};
use rows::{How, ROWS, Row};

/// What the test is told, and where it leaves its table: tests/benches/hosts.
pub(crate) const JUDGE: Judge = Judge { test: "hosts", list: "PYPROF_HOSTS", table: "PYPROF_HOSTS_TABLE" };

/// How the test starts a host.
#[derive(Serialize, Debug, Clone, PartialEq)]
pub(crate) struct Place {
    version: String,
    argv: Vec<String>,
    env: BTreeMap<String, String>,
    root: Option<PathBuf>,
}

/// One host as the test reads it.
#[derive(Serialize, Debug)]
pub(crate) struct Entry {
    name: &'static str,
    #[serde(flatten)]
    found: Found,
}

#[derive(Serialize, Debug)]
#[serde(untagged)]
enum Found {
    There(Place),
    Missing { missing: String },
}

pub(crate) fn command(options: Options) -> Result<()> {
    let Options { only, write, lock } = options;
    let workspace = Workspace::find()?;
    setup(&workspace)?;
    let started = Instant::now();
    let entries = look(|row| only.is_empty() || only.iter().any(|name| name == row.name));
    if let Some(unknown) = only.iter().find(|name| entries.iter().all(|entry| entry.name != **name)) {
        bail!("no host is called {unknown}");
    }
    let (text, passed) = JUDGE.run(&workspace, &entries, lock)?;
    let seconds = started.elapsed().as_secs();
    println!("{text}\n{} hosts in {seconds} s", entries.len());
    if write {
        let summary = format!("{} hosts in {seconds} s", entries.len());
        support::write(&workspace, Section::Hosts, &document(&summary, &text)?)?;
    }
    passed.context("rows of the table failed")
}

/// What takes seconds to install.
pub(crate) fn of_every_test() -> Vec<Entry> {
    look(Row::is_of_every_test)
}

/// Those of the rows that are wanted, installed or made if they must be. What cannot be had is an entry all the same.
fn look(wanted: impl Fn(&Row) -> bool) -> Vec<Entry> {
    let entry = |row: &Row| {
        let found =
            place(row).map_or_else(|why| Found::Missing { missing: format!("{why:#}") }, Found::There);
        Entry { name: row.name, found }
    };
    ROWS.iter().filter(|row| wanted(row)).map(entry).collect()
}

fn place(row: &Row) -> Result<Place> {
    match row.how {
        How::Apt { packages, program } => {
            Ok(Place { argv: vec![program.to_owned()], ..installed(packages, program)? })
        }
        How::Container { packages, program, interpreter } => {
            let place = installed(packages, program)?;
            let found = interpreters::look(&[interpreter.to_owned()], true)?;
            let (_, found) = found.into_iter().next().with_context(|| format!("no {interpreter}"))?;
            let found = found.with_context(|| format!("failed to get {interpreter}"))?;
            let inside = found.argv.last().context("an interpreter without a program")?.clone();
            Ok(Place { argv: vec![program.to_owned(), inside], root: found.root, ..place })
        }
        How::Pip { python, .. } | How::Packer { python, .. } => pip::place(row, &interpreter(python)?),
    }
}

fn installed(packages: &[&str], program: &str) -> Result<Place> {
    apt_install(packages)?;
    if !is_executable(Path::new(program)) {
        bail!("{packages:?} brought no {program}");
    }
    let version = packages.first().map(|package| apt_version(package)).transpose()?.unwrap_or_default();
    Ok(Place { version, argv: Vec::new(), env: BTreeMap::new(), root: None })
}

fn interpreter(name: &str) -> Result<PathBuf> {
    let mut all = of_this_machine()?.into_iter();
    let (_, found) = all.find(|(known, _)| known == name).with_context(|| format!("no {name}"))?;
    found.map_err(|why| anyhow!("{name}: {why}"))
}

fn document(summary: &str, table: &str) -> Result<String> {
    Ok(format!("{INTRODUCTION}\n{}: {summary}.\n\n{table}\n{CHECKS}", support::now()?))
}

const INTRODUCTION: &str = "\
Programs that run Python and are no Pythons themselves. Each does the same work (a loop, a generator, 30 calls deep, a thread
beside) while a capture of the whole host runs, once started before it and once during it, and each of its processes says
what it did: every caller with its name, file, first line and current line, and the time on the clock of the thread. Written
by `cargo xtask hosts --write`; nothing here is typed by hand. A host that could not be had is a failed row. `n.a.`: it has
no such processes.
";

const CHECKS: &str = "\
| check | what is asked |
|---|---|
| found | each process that answered has a profile, with the name of the program and the version of the Python inside |
| stacks | no stack that shows the work is one that the interpreter did not tell |
| time | 90 % to 110 % of the CPU time that the threads measured are in exactly these stacks |
| labels | threads by number and by Python's name; container and pod where there are any, and nowhere else |
| others | processes of the host that map a libpython, or nothing, and run no Python have no profile, however busy they are |
";
