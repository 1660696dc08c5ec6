//! `cargo xtask matrix`: every interpreter that there is to have, against every check, under real BPF; `xtask measure` runs
//! the same for the interpreters that it can count on.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::interpreters::{self, Interpreter, Kind, Libc};
use crate::setup::setup;
pub(crate) use crate::support::Options;
use crate::support::{self, Judge, Section};
use crate::test::of_this_machine;
use crate::util::Workspace;

/// What the test is told, and where it leaves its table: tests/benches/matrix.
pub(crate) const JUDGE: Judge = Judge { test: "matrix", list: "PYPROF_MATRIX", table: "PYPROF_MATRIX_TABLE" };

/// What every run of the tests has, fetched in seconds if it must be.
const FETCHED: [&str; 2] = ["sid-3.14", "sid-3.15"];
/// What takes minutes to build: tested if it is there.
const BUILT: [&str; 2] = ["source-3.13t", "source-3.14t"];
/// CPython of which neither symbols nor sections nor debug offsets are left.
const NAMELESS: &str = "embedded-3.11-nosections";

/// One interpreter as the test reads it.
#[derive(Serialize, Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    name: String,
    #[serde(flatten)]
    how: How,
}

#[derive(Serialize, Debug, Clone, PartialEq)]
#[serde(untagged)]
enum How {
    Run { argv: Vec<String>, env: BTreeMap<String, String>, root: Option<PathBuf>, kind: &'static str },
    Missing { missing: String },
}

impl Entry {
    fn missing(name: &str, why: impl ToString) -> Entry {
        Entry { name: name.to_owned(), how: How::Missing { missing: why.to_string() } }
    }
}

pub(crate) fn command(options: Options) -> Result<()> {
    let Options { only, write, lock } = options;
    let workspace = Workspace::find()?;
    setup(&workspace)?;
    let started = Instant::now();
    let entries = all(&only)?;
    let (text, passed) = JUDGE.run(&workspace, &entries, lock)?;
    println!("{text}\n{} interpreters in {} s", entries.len(), started.elapsed().as_secs());
    if write {
        let document = document(&text, entries.len(), started.elapsed().as_secs())?;
        support::write(&workspace, Section::Interpreters, &document)?;
    }
    passed.context("rows of the matrix failed")
}

/// What this machine has, with the newest versions and without what takes long to get.
pub(crate) fn of_every_test() -> Result<Vec<Entry>> {
    let mut entries: Vec<Entry> =
        this_machine()?.into_iter().filter(|entry| matches!(entry.how, How::Run { .. })).collect();
    entries.extend(farm(&FETCHED.map(str::to_owned), true)?);
    let built = farm(&BUILT.map(str::to_owned), false)?;
    entries.extend(built.into_iter().filter(|entry| matches!(entry.how, How::Run { .. })));
    Ok(entries)
}

/// All that there are, or those of these names. What cannot be had is an entry all the same.
fn all(only: &[String]) -> Result<Vec<Entry>> {
    let mut entries = this_machine()?;
    let (own, foreign): (Vec<String>, Vec<String>) =
        only.iter().cloned().partition(|name| entries.iter().any(|entry| entry.name == *name));
    if !only.is_empty() {
        entries.retain(|entry| own.contains(&entry.name));
    }
    if only.is_empty() || !foreign.is_empty() {
        entries.extend(farm(&foreign, true)?);
    }
    if entries.is_empty() {
        bail!("no interpreters");
    }
    Ok(entries)
}

fn this_machine() -> Result<Vec<Entry>> {
    let entry = |(name, found): (String, Result<PathBuf, String>)| match found
        .map(|path| path.into_os_string().into_string())
    {
        Ok(Ok(path)) => {
            let how = How::Run { argv: vec![path], env: BTreeMap::new(), root: None, kind: "release" };
            Entry { name, how }
        }
        Ok(Err(path)) => Entry::missing(&name, format!("{} is not UTF-8", path.display())),
        Err(why) => Entry::missing(&name, why),
    };
    Ok(of_this_machine()?.into_iter().map(entry).collect())
}

fn farm(names: &[String], may_fetch: bool) -> Result<Vec<Entry>> {
    let entry = |(name, outcome): interpreters::Outcome| match outcome {
        Ok(one) => Entry { name: name.to_owned(), how: how(one) },
        Err(why) => Entry::missing(name, format!("{why:#}")),
    };
    Ok(interpreters::look(names, may_fetch)?.into_iter().map(entry).collect())
}

fn how(interpreter: Interpreter) -> How {
    let kind = kind(&interpreter);
    let Interpreter { argv, env, root, .. } = interpreter;
    How::Run { argv, env, root, kind }
}

/// What the test may expect of it.
fn kind(interpreter: &Interpreter) -> &'static str {
    match interpreter {
        one if one.name == NAMELESS => "nameless",
        // Modules that are files of their own want symbols that such a program does not have.
        one if one.name.starts_with("embedded-") => "embedded",
        // Built without the libraries of the machine, which are for another C library.
        one if one.libc == Libc::Musl => "bare",
        Interpreter { kind: Kind::Pypy, .. } => "pypy",
        Interpreter { kind: Kind::Jit, .. } => "jit",
        Interpreter { kind: Kind::FreeThreaded, .. } => "free-threaded",
        Interpreter { kind: Kind::Debug, .. } => "debug",
        Interpreter { kind: Kind::Release, .. } => "release",
    }
}

fn document(table: &str, interpreters: usize, seconds: u64) -> Result<String> {
    let now = support::now()?;
    Ok(format!("{INTRODUCTION}\n{now}: {interpreters} interpreters in {seconds} s.\n\n{table}\n{CHECKS}"))
}

const INTRODUCTION: &str = "\
# Supported interpreters

Each row is an interpreter that ran every workload under a real capture; what the profile showed was held against what the
interpreter itself said. Written by `cargo xtask matrix --write`; nothing here is typed by hand. An interpreter that could
not be had is a failed row. `n.a.`: it has no such thing, or does not tell (the collector before 3.13; the GIL where there is
none). `named`: it is not unwound, and `capture.json` says what it is.
";

const CHECKS: &str = "\
## Checks

Every stack that is shown as whole must be one that the interpreter reported when it ran the same workload with a hook: each
caller with its name, file, first line and current line, and a line that the leaf has. Whole stacks must make up at least
95 % of the CPU time that the process itself measured for a workload, but for what the capture itself reports as unsampled: a
shared machine stands still now and then. Nothing is looked at twice.

| check | workload, and what else is asked |
|---|---|
| found | version and share of whole stacks in `capture.json`; else what it is |
| flat, deep | calls side by side; 400 frames |
| generators, coroutines | `for`, `next`, `send`, `yield from`; a chain of `async def` with an asynchronous generator, driven by `send` |
| exceptions | `raise`, `except`, `finally`, `with` |
| init | classes with an `__init__` in Python, which 3.13 and newer call through frames that must not show |
| churn | code objects that are made, run and freed at the same addresses |
| names | functions and files in ASCII, Latin-1, UCS-2 and UCS-4 (2.7: files) |
| threads | three, each with functions of its own |
| released | C code without the GIL (zlib; where it is missing, reading) |
| subinterpreters | threads with an interpreter of their own, beside the main one; with a GIL of their own and without (3.12 and newer) |
| two held, two released | one thread with frames in two interpreters, of which one runs Python, or C code without the GIL |
| made elsewhere | the main thread makes two interpreters, one with a GIL of its own (3.12 and newer), and other threads run them: what runs inside stands at the thread that runs it, 90 % of its time, and never at the maker |
| lines | C calls that take the time of a leaf: 97 % at lines that the interpreter says, and each of these seen (JIT: callers only) |
| gil | the label says held in Python code (99 %) and not held in C code without it (80 %); none where there is no GIL |
| gc | `<gc>` is the leaf in 95 % of the time of `gc.collect()`, from 3.13 on; nowhere else |
| between | what the driver does between two workloads |
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_what_the_test_reads() {
        let run = How::Run { argv: vec!["/p".into()], env: BTreeMap::new(), root: None, kind: "jit" };
        let entries = [Entry { name: "a".into(), how: run }, Entry::missing("b", "not fetched")];
        let expected = serde_json::json!([
            { "name": "a", "argv": ["/p"], "env": {}, "root": null, "kind": "jit" },
            { "name": "b", "missing": "not fetched" },
        ]);
        assert_eq!(serde_json::to_value(&entries).unwrap(), expected);
    }
}
