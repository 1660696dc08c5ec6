//! The report: text for people, JSON for programs. Names of processes come from targets, and are escaped.

use serde::Serialize;
use unicode_width::UnicodeWidthStr;

use super::facts::{Facts, Python, Refused, Source, State};
use super::finding::{Finding, Level};
use crate::escape::{escape, escape_json};
use crate::talk::Verbosity;

/// Rows of processes; JSON has all of them.
const MAX_ROWS: usize = 100;
/// A name may be as long as a target likes.
const MAX_NAME_CHARS: usize = 40;
const SCHEMA: u32 = 1;

/// ```text
/// ok       kernel        Linux 6.1.0, x86_64
/// problem  capabilities  missing CAP_BPF
///                        fix: run with sudo
/// ```
///
/// `verbosity`: quiet leaves out what is well, verbose has all that the kernel said.
pub fn text(title: &str, facts: &Facts, findings: &[Finding], verbosity: Verbosity) -> String {
    let quiet = verbosity == Verbosity::Quiet;
    let mut text = if quiet { String::new() } else { format!("{title}\n\n") };
    let about_width = findings.iter().map(|finding| finding.about.len()).max().unwrap_or(0);
    for Finding { about, level, what, fix, detail } in findings {
        if quiet && *level == Level::Ok {
            continue;
        }
        text.push_str(&format!("{:<7}  {about:<about_width$}  {}\n", level.name(), escape(what)));
        if let Some(fix) = fix {
            text.push_str(&format!("{:<7}  {:<about_width$}  fix: {}\n", "", "", escape(fix)));
        }
        for line in
            detail.iter().flat_map(|detail| detail.lines()).filter(|_| verbosity == Verbosity::Verbose)
        {
            text.push_str(&format!("{:<7}  {:<about_width$}  | {}\n", "", "", escape(line)));
        }
    }
    if quiet {
        return text;
    }
    text.push_str(&table(&facts.pythons.found));
    if verbosity == Verbosity::Verbose && !facts.pythons.refused.is_empty() {
        text.push_str("\nCould not be looked at:\n");
        for Refused { pid, name, why } in &facts.pythons.refused {
            text.push_str(&format!("{pid}  {}  {why}\n", escape(name)));
        }
    }
    text.push_str(&format!("\n{}\n", verdict(findings)));
    text
}

fn verdict(findings: &[Finding]) -> String {
    let count = |level: Level| findings.iter().filter(|finding| finding.level == level).count();
    let plural = |number: usize, noun: &str| match number {
        0 => format!("no {noun}s"),
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    };
    let (problems, warnings) = (count(Level::Problem), count(Level::Warning));
    let told = format!("{}, {}", plural(problems, "problem"), plural(warnings, "warning"));
    match problems {
        0 => format!("A capture can begin here: {told}."),
        _ => format!("No capture can begin here: {told}."),
    }
}

/// A process in words: its version, what it has, and what follows from that.
fn row(python: &Python) -> [String; 4] {
    let Python { pid, name, version, state } = python;
    let mut name = escape(name).into_owned();
    if name.chars().count() > MAX_NAME_CHARS {
        name = name.chars().take(MAX_NAME_CHARS - 1).chain(['\u{2026}']).collect();
    }
    let told = match state {
        State::Ready { threads, layout, verified } => {
            let noun = if *threads == 1 { "thread" } else { "threads" };
            let layout = match layout {
                Source::Table => "layout from our table",
                Source::Own => "layout from the interpreter",
            };
            let doubt = if *verified { "" } else { ", a version that was not tested" };
            format!("can be unwound: {threads} {noun}, {layout}{doubt}")
        }
        State::Dormant => "waits: it has no Python threads yet".into(),
        State::Not(why) => format!("cannot be unwound: {}", escape(why)),
    };
    let version = if version.is_empty() { "-".into() } else { escape(version).into_owned() };
    [pid.to_string(), name, version, told]
}

fn table(pythons: &[Python]) -> String {
    if pythons.is_empty() {
        return String::new();
    }
    let head = ["PID", "NAME", "PYTHON", ""].map(str::to_owned);
    let rows: Vec<[String; 4]> =
        std::iter::once(head).chain(pythons.iter().take(MAX_ROWS).map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].width()).max().unwrap_or(0);
    let (pids, names, versions) = (width(0), width(1), width(2));
    let fill = |text: &str, width: usize| " ".repeat(width.saturating_sub(text.width()));
    let mut text = "\n".to_owned();
    for [pid, name, version, told] in &rows {
        let row = format!(
            "{}{pid}  {name}{}  {version}{}  {told}",
            fill(pid, pids),
            fill(name, names),
            fill(version, versions)
        );
        text.push_str(row.trim_end());
        text.push('\n');
    }
    if pythons.len() > MAX_ROWS {
        text.push_str(&format!("\u{2026} and {} more; --json has all of them\n", pythons.len() - MAX_ROWS));
    }
    text
}

#[derive(Serialize)]
struct Report<'a> {
    schema: u32,
    tool_version: &'a str,
    kernel: &'a str,
    machine: &'a str,
    /// The worst level of a finding.
    verdict: &'a str,
    findings: &'a [Finding],
    pythons: Vec<Process<'a>>,
    /// Processes that could not be looked at.
    refused: &'a [Refused],
}

#[derive(Serialize)]
struct Process<'a> {
    pid: u32,
    name: &'a str,
    /// Null where it is no CPython.
    version: Option<&'a str>,
    state: &'static str,
    threads: Option<usize>,
    layout: Option<&'static str>,
    verified: Option<bool>,
    reason: Option<&'a str>,
}

pub fn json(facts: &Facts, findings: &[Finding]) -> String {
    let worst = findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok);
    let report = Report {
        schema: SCHEMA,
        tool_version: env!("CARGO_PKG_VERSION"),
        kernel: &facts.release,
        machine: &facts.machine,
        verdict: worst.name(),
        findings,
        pythons: facts.pythons.found.iter().map(process).collect(),
        refused: &facts.pythons.refused,
    };
    // Strings and numbers only: nothing in it can fail to be written.
    let text = serde_json::to_string_pretty(&report).unwrap_or_default();
    format!("{}\n", escape_json(&text))
}

fn process(python: &Python) -> Process<'_> {
    let Python { pid, name, version, state } = python;
    let version = (!version.is_empty()).then_some(version.as_str());
    let of = |state, reason| Process {
        pid: *pid,
        name,
        version,
        state,
        threads: None,
        layout: None,
        verified: None,
        reason,
    };
    match state {
        State::Ready { threads, layout, verified } => Process {
            threads: Some(*threads),
            layout: Some(match layout {
                Source::Table => "table",
                Source::Own => "interpreter",
            }),
            verified: Some(*verified),
            ..of("ready", None)
        },
        State::Dormant => of("dormant", None),
        State::Not(why) => of("not", Some(why)),
    }
}
