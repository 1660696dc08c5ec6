//! docs/fuzzing.md: what came of the last long run.

use std::fs;

use anyhow::{Context, Result};

use super::Reports;
use super::run::TIMEOUT_SECONDS;
use crate::support::now;
use crate::util::Workspace;

pub(super) fn write(workspace: &Workspace, reports: &Reports, seconds: u64) -> Result<()> {
    let mut rows = String::new();
    for (target, report) in reports {
        let file = workspace.root.join("fuzz/fuzz_targets").join(format!("{}.rs", target.name));
        let source =
            fs::read_to_string(&file).with_context(|| format!("failed to read {}", file.display()))?;
        let (before, after) = report.coverage;
        rows.push_str(&format!(
            "| `{}` | {} | {} | {} | {before} + {} | {} |\n",
            target.name,
            about(&source),
            report.executions,
            report.executions / report.seconds.max(1),
            after.saturating_sub(before),
            if report.finding.is_some() { "**found something**" } else { "none" }
        ));
    }
    let path = workspace.root.join("docs/fuzzing.md");
    fs::write(&path, page(&now()?, seconds, &rows)).context("failed to write docs/fuzzing.md")
}

/// What a target says of itself: the first paragraph of its documentation.
fn about(source: &str) -> String {
    let lines = source.lines().map_while(|line| line.strip_prefix("//! "));
    lines.collect::<Vec<_>>().join(" ")
}

fn page(date: &str, seconds: u64, rows: &str) -> String {
    format!(
        "# Fuzzing

Everything that reads what a target wrote, under libFuzzer with coverage of edges, for {seconds} seconds each: {date}, by
`cargo xtask fuzz --seconds {seconds} --write`. `.ci/nightly` does 600 seconds of each, `cargo xtask fuzz --seconds 3600` an hour.
Seeds are snapshots of real interpreters and files; what a run learns is kept for the next one in
`target/fuzz/corpus`. A finding is a panic, a wrong result (most targets hold one decoder against a second one), more memory or
more reads than the bound allows, or an input that takes longer than {TIMEOUT_SECONDS} seconds. `cargo xtask fuzz --bite` takes one bound out for each
target and shows that its fuzzer finds that within 60 seconds.

*Executions* in all and per second; *edges* that the seeds and earlier runs reach, and what this run added.

| target | what it holds to account | executions | per s | edges | findings |
|---|---|---|---|---|---|
{rows}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_says_what_it_is_about() {
        let source = "//! Line tables, held against\n//! decoders.\n//!\n//! More.\n#![no_main]\n";
        assert_eq!(about(source), "Line tables, held against decoders.");
        assert_eq!(about("#![no_main]\n//! no\n"), "");
    }
}
