//! Runs one fuzz target: seeds first, then libFuzzer for a while, then what it says.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::build::Build;
use super::targets::Target;
use crate::util::{command, output};

/// An input that takes longer is a finding: everything here takes milliseconds, and half a second where it takes all reads that
/// there are; five run at a time, and others may be there.
pub(super) const TIMEOUT_SECONDS: u32 = 20;
/// Beside what targets themselves count: a runaway that is not theirs.
const RSS_LIMIT_MB: u32 = 1024;

/// Where the files of one run are.
pub(super) struct Run<'t> {
    target: &'t Target,
    seeds: PathBuf,
    corpus: PathBuf,
    findings: PathBuf,
    log: PathBuf,
}

pub(super) struct Report {
    pub(super) executions: u64,
    pub(super) seconds: u64,
    /// Of the seeds and what was kept of earlier runs, and in the end.
    pub(super) coverage: (u64, u64),
    /// What was said, and the file with the input.
    pub(super) finding: Option<String>,
}

impl<'t> Run<'t> {
    /// What is learnt is kept for the next run, and so are findings, which are tried first.
    pub(super) fn lasting(base: &Path, target: &'t Target) -> Result<Run<'t>> {
        let place = |kind: &str| base.join(kind).join(target.name);
        let run = Run {
            target,
            seeds: place("seeds"),
            corpus: place("corpus"),
            findings: place("findings"),
            log: base.join(format!("{}.log", target.name)),
        };
        if run.seeds.exists() {
            fs::remove_dir_all(&run.seeds).context("failed to clear the seeds")?;
        }
        for folder in [&run.seeds, &run.corpus, &run.findings] {
            fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
        }
        Ok(run)
    }

    pub(super) fn fuzz(&self, build: &Build, time: Duration) -> Result<Report> {
        let program = build.program(self.target);
        output(command(&program).env("PYPROF_FUZZ_SEEDS", &self.seeds))?;
        let log = File::create(&self.log).context("failed to create the log")?;
        let mut fuzzer = command(&program);
        // Its own folder, should it leave anything behind.
        fuzzer.current_dir(&self.findings).arg(&self.corpus).arg(&self.seeds).arg(&self.findings);
        fuzzer.arg(format!("-artifact_prefix={}/", self.findings.display()));
        fuzzer.arg(format!("-max_total_time={}", time.as_secs()));
        fuzzer.arg(format!("-max_len={}", self.target.max_len));
        fuzzer.arg(format!("-timeout={TIMEOUT_SECONDS}")).arg(format!("-rss_limit_mb={RSS_LIMIT_MB}"));
        fuzzer.args(["-print_final_stats=1", "-use_value_profile=0"]);
        fuzzer.env("RUST_BACKTRACE", "1").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let began = Instant::now();
        let status =
            fuzzer.status().with_context(|| format!("failed to start the fuzzer {}", self.target.name))?;
        let said = String::from_utf8_lossy(&fs::read(&self.log)?).into_owned();
        let mut report = parse(&said);
        report.seconds = began.elapsed().as_secs();
        if !status.success() && report.finding.is_none() {
            bail!("the fuzzer ended with {status}: see {}", self.log.display());
        }
        Ok(report)
    }
}

fn parse(said: &str) -> Report {
    let number = |line: &str, before: &str| -> Option<u64> {
        line.split_once(before)?.1.split_whitespace().next()?.parse().ok()
    };
    let all = |before| said.lines().filter_map(move |line| number(line, before));
    let inited = said.lines().find(|line| line.contains("INITED")).and_then(|line| number(line, " cov: "));
    let coverage = all(" cov: ").next_back().unwrap_or(0);
    let input = said.lines().find_map(|line| line.split_once("Test unit written to ").map(|(_, path)| path));
    Report {
        executions: all("stat::number_of_executed_units: ").next_back().unwrap_or(0),
        seconds: 0,
        coverage: (inited.unwrap_or(coverage), coverage),
        finding: input.map(|input| format!("{}: {input}", message(said))),
    }
}

/// What a panic says stands on the line after it; anything else libFuzzer says itself.
fn message(said: &str) -> &str {
    let mut lines = said.lines();
    let panic = lines.find(|line| line.contains(" panicked at ")).and_then(|_| lines.next());
    let own = || said.lines().find_map(|line| line.split_once(" ERROR: libFuzzer: ").map(|(_, what)| what));
    panic.or_else(own).unwrap_or("a finding")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libfuzzer_says_becomes_a_row() {
        let check = |said: &str, executions, coverage, finding: Option<&str>| {
            let report = parse(said);
            assert_eq!((report.executions, report.coverage), (executions, coverage), "{said}");
            assert_eq!(report.finding.as_deref(), finding, "{said}");
        };
        let inited = "#9\tINITED cov: 10 ft: 20 corp: 5/3Kb exec/s: 0 rss: 1Mb\n";
        let new = "#99\tNEW    cov: 14 ft: 21 corp: 6/3Kb lim: 4096 exec/s: 0 rss: 1Mb\n";
        let stats = "stat::number_of_executed_units: 1234\nstat::new_units_added:          6\n";
        check(&format!("{inited}{new}{stats}"), 1234, (10, 14), None);
        let panic = "thread '<unnamed>' (7) panicked at src/alloc.rs:53:5:\n9 bytes held\nstack backtrace:\n";
        let deadly = "==7== ERROR: libFuzzer: deadly signal\n";
        let written = "artifact_prefix='/f/'; Test unit written to /f/crash-1\n";
        check(
            &format!("{inited}{panic}{deadly}{written}{stats}"),
            1234,
            (10, 10),
            Some("9 bytes held: /f/crash-1"),
        );
        let slow = "==7== ERROR: libFuzzer: timeout after 6 seconds\n";
        let written = "artifact_prefix='/f/'; Test unit written to /f/timeout-1\n";
        check(&format!("{slow}{written}"), 0, (0, 0), Some("timeout after 6 seconds: /f/timeout-1"));
        check("", 0, (0, 0), None);
    }
}
