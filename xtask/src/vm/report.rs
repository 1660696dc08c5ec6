//! What was seen under each kernel, as tables.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::arch::Arch;
use super::boot::said;
use super::guest::Said;
use super::kernels::SERIES;
use super::plan::CHECKS;
use crate::util::{Workspace, command, output};

const DOCUMENT: &str = "docs/kernels.md";

pub(super) struct Report {
    pub(super) series: &'static str,
    /// As `uname -r` there.
    pub(super) release: String,
    /// Instructions that the verifier went through, by program.
    pub(super) counts: BTreeMap<String, u64>,
    steps: Vec<Step>,
    /// Why the rest is not known.
    pub(super) broken: Option<String>,
    pub(super) seconds: u64,
}

struct Step {
    name: String,
    /// Not known until it ended.
    failure: Option<Option<String>>,
    /// What its tests said: how many passed and how many there are.
    passed: Option<(u64, u64)>,
}

impl Report {
    pub(super) fn new(series: &'static str) -> Self {
        let (release, counts) = (String::new(), BTreeMap::new());
        Self { series, release, counts, steps: Vec::new(), broken: None, seconds: 0 }
    }

    /// That of the last run of each check, from its logs.
    pub(super) fn of_logs(series: &'static str, release: &str, logs: &Path) -> Result<Self> {
        let mut report = Self { release: release.to_owned(), ..Self::new(series) };
        for check in CHECKS {
            let Ok(log) = fs::read_to_string(logs.join(format!("{check}.log"))) else { continue };
            for line in log.lines() {
                report.hear(line, said(line)?);
            }
        }
        Ok(report)
    }

    /// A line, and what it means for us.
    pub(super) fn hear(&mut self, line: &str, said: Option<Said>) {
        match said {
            Some(said) => self.add(said),
            None => self.summary(line),
        }
    }

    fn add(&mut self, said: Said) {
        match said {
            Said::Step { name } => {
                self.steps.push(Step { name, failure: None, passed: None });
            }
            Said::Verified { program, instructions } => {
                self.counts.insert(program, instructions);
            }
            Said::Done { name, failure, seconds } => {
                self.seconds += seconds.round() as u64;
                if let Some(step) = self.steps.iter_mut().find(|step| step.name == name) {
                    step.failure = Some(failure);
                }
            }
            Said::End => {}
        }
    }

    /// A line of what a step prints: `test result: ok. 3 passed; 0 failed; ...` is the summary of a test binary.
    fn summary(&mut self, line: &str) {
        let number = |text: &str| text.trim().rsplit(' ').nth(1).and_then(|word| word.parse::<u64>().ok());
        if let (Some((_, rest)), Some(step)) = (line.split_once("test result: "), self.steps.last_mut()) {
            let mut parts = rest.split(';');
            if let (Some(passed), Some(failed)) =
                (parts.next().and_then(number), parts.next().and_then(number))
            {
                step.passed = Some((passed, passed + failed));
            }
        }
    }

    pub(super) fn failures(&self) -> impl Iterator<Item = String> {
        let of_step = |step: &Step| match &step.failure {
            Some(None) if step.passed == Some((0, 0)) => Some(format!("{}: no test ran", step.name)),
            Some(None) => None,
            Some(Some(why)) => Some(format!("{}: {why}", step.name)),
            None => Some(format!("{}: did not end", step.name)),
        };
        let nothing = self.steps.is_empty().then(|| "nothing ran".to_owned());
        self.broken.clone().into_iter().chain(nothing).chain(self.steps.iter().filter_map(of_step))
    }

    /// Whether any check has.
    pub(super) fn has_begun(&self) -> bool {
        !self.steps.is_empty()
    }

    pub(super) fn failed_checks(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().filter(|step| step.failure != Some(None)).map(|step| step.name.as_str())
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failures().next().is_some()
    }

    fn cell(&self, name: &str) -> String {
        let Some(step) = self.steps.iter().find(|step| step.name == name) else { return "-".to_owned() };
        match (&step.failure, step.passed) {
            (Some(None), Some((passed, all))) => format!("ok ({passed} of {all})"),
            (Some(None), None) => "ok".to_owned(),
            (_, Some((passed, all))) => format!("FAIL ({passed} of {all})"),
            _ => "FAIL".to_owned(),
        }
    }
}

fn table(head: &[String], rows: &[Vec<String>]) -> String {
    let mut text = String::new();
    let mut line = |cells: &[String]| {
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    };
    line(head);
    line(&vec!["---".to_owned(); head.len()]);
    rows.iter().for_each(|row| line(row));
    text
}

/// Kernel by step.
pub(super) fn checks(reports: &[Report]) -> String {
    let ran =
        |check: &&&str| reports.iter().flat_map(|report| &report.steps).any(|step| step.name == ***check);
    let names: Vec<&str> = CHECKS.iter().filter(ran).copied().collect();
    let mut head = vec!["kernel".to_owned()];
    head.extend(names.iter().map(|name| (*name).to_owned()));
    head.push("seconds".to_owned());
    let row = |report: &Report| {
        let mut row = vec![report.title()];
        row.extend(names.iter().map(|name| report.cell(name)));
        row.push(report.seconds.to_string());
        row
    };
    table(&head, &reports.iter().map(row).collect::<Vec<_>>())
}

/// Program by kernel.
pub(super) fn counts(reports: &[Report]) -> String {
    let programs: BTreeSet<&String> = reports.iter().flat_map(|report| report.counts.keys()).collect();
    let mut head = vec!["program".to_owned()];
    head.extend(reports.iter().map(|report| report.series.to_owned()));
    let row = |program: &&String| {
        let count = |report: &Report| report.counts.get(*program).map_or("-".to_owned(), u64::to_string);
        let mut row = vec![format!("`{program}`")];
        row.extend(reports.iter().map(count));
        row
    };
    table(&head, &programs.iter().map(row).collect::<Vec<_>>())
}

impl Report {
    fn title(&self) -> String {
        if self.release.is_empty() { self.series.to_owned() } else { self.release.clone() }
    }
}

/// The document has a part for each kind of machine; that of another one stays as it is.
pub(super) fn write(workspace: &Workspace, arch: &Arch, reports: &[Report]) -> Result<()> {
    let date = output(command("date").args(["-u", "+%Y-%m-%d %H:%M UTC"]))?;
    let file = workspace.root.join(DOCUMENT);
    let old = fs::read_to_string(&file).with_context(|| format!("failed to read {}", file.display()))?;
    let (ours, other) = old.split_once(AARCH64).unwrap_or((&old, ""));
    let (date, checks, counts) = (date.trim(), checks(reports), counts(reports));
    let text = if arch.name == "aarch64" {
        let left = not_run(reports);
        format!("{ours}{AARCH64}{ON_AARCH64}\n{date}:\n\n{checks}\n{counts}\n{MISSING}{left}")
    } else {
        format!("{INTRODUCTION}\n{date}:\n\n{checks}\n{STEPS}\n{counts}\n{COUNTS}\n{AARCH64}{other}")
    };
    fs::write(&file, text).with_context(|| format!("failed to write {}", file.display()))
}

/// A line each for the kernels and the checks of which there is no last run.
fn not_run(reports: &[Report]) -> String {
    let has_kernel = |series: &&str| reports.iter().any(|report| report.series == *series);
    let has_check =
        |check: &&str| reports.iter().flat_map(|report| &report.steps).any(|step| step.name == **check);
    let kernels: Vec<&str> =
        SERIES.iter().map(|series| series.name).filter(|name| !has_kernel(name)).collect();
    let checks: Vec<&str> = CHECKS.into_iter().filter(|name| !has_check(name)).collect();
    let line = |what: &str, names: &[&str]| match names {
        [] => String::new(),
        names => format!("* {what}: {};\n", names.join(", ")),
    };
    line("kernels of these series", &kernels) + &line("these checks", &checks)
}

const INTRODUCTION: &str = "\
# Kernels

Each row is a kernel of Debian, booted under qemu, in which the tests of this repository ran as they do on a host, on CPython
3.9, 3.11, 3.13 and 3.15. Written by `cargo xtask vm --write`; nothing here is typed by hand. The processors are emulated
(two, `-accel tcg`): ticks come late or not at all, by as much as the machine below is busy. So a process may show less time
than it was charged, by as much as the capture itself reports as unsampled; shares are judged with three standard errors of
their few samples; workloads of short bursts are not judged by time; and of threads that hand the GIL over all the time 85 % of
what they were charged is enough instead of 95 % (of the emulated x86-64's 5 to 7 % have no tick, seen on 5.10). Stacks, outcomes
and sums are held to the same as everywhere.
";

const STEPS: &str = "\
| check | what is asked |
|---|---|
| load | every program that this kernel gets passes its verifier and is attached; a capture of the host ends well |
| off-cpu | the same with `--off-cpu` |
| stacks | every workload of [support.md](support.md), each stack held against what the interpreter itself says, with labels and lines |
| waits | sleep, a socket, a lock and the GIL stand at their lines with the time that the threads measured, and all of it adds up, within 15 % on these processors |
| accounting | outcomes are all ticks; weights are the CPU time that the scheduler charged |
| throttled | the same weights where the kernel throttles sampling |
| processes | a fork, a double fork, an exec into another version, a leader that ends before its threads: those tests of processes that do not race a clock; a tenth of the samples that a real processor would take is enough |
| clock | the real-time clock is set forth and back while a capture runs: no sum, duration or start is different |

Which programs a kernel gets is asked of the kernel, not of its version: where there is no `bpf_loop` (5.17) `pyprof_bounded`
samples and `pyprof_switch_b` follows threads off their CPUs, `pyprof_sample` and `pyprof_switch` everywhere else.

## Instructions that the verifier goes through, by program
";

const COUNTS: &str = "\
The kernel's limit is 1,000,000. More than a tenth above `xtask/src/vm/budget.json` fails. The verifier's own search for
states that it has seen before differs from kernel to kernel; the program is the same.
";

const AARCH64: &str = "## aarch64\n";

const ON_AARCH64: &str = "
The same on Debian's kernels for arm64, under `qemu-system-aarch64` (`-machine virt -cpu max`, two processors, `-accel tcg`), by
`cargo xtask vm --arch aarch64 --write`: 20 minutes for three checks, so on demand and not in CI. The programs come from a cross compiler
(`gcc-aarch64-linux-gnu`, `libc6-dev-arm64-cross`, rustup's standard library), the interpreters are Debian's for arm64: 3.9 of
bullseye, 3.11 of bookworm, 3.13 of trixie, 3.15 of sid, whose modules `qemu-user-static` compiles.
Of threads that hand the GIL over all the time, from 6.12 on 7 to 10 % have no tick (4,000 switches in 4 s). It seems that a
switch takes some 90 us on this emulated processor, in which none can come.
";

const MISSING: &str = "\
What has not been run on aarch64:

* a real processor, and KVM. The emulator takes interrupts between blocks of instructions that it has translated, so that ticks
  seldom fall between two stores of the interpreter: which registers hold its frame then (`profiler-ebpf/src/arch.rs`) is an
  assumption there;
* CPython 2.7, 3.6-3.8, 3.10, 3.12 and 3.14, and every build that is not Debian's: shared, debug, free-threaded, JIT;
* musl: on 3.7-3.11 samples would not tell who holds the GIL, since the offset in `pyunwind/src/host/versions.rs` is that of
  glibc, whose mutexes are longer;
* kernels with pages of 16 or 64 KiB: Debian's have 4 KiB;
* a process with more threads than the kernel walks (`MAX_THREAD_STEPS`) in which none of the newest has ever run: the distance of
  thread ids from thread pointers is learned from the first thread that is found, and hints need it;
* `cargo xtask dist`, which makes the binary of the machine that it runs on;
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_fails_or_does_not_end_or_ran_nothing_is_a_failure() {
        let check = |end: Option<Option<&str>>, line: &str, cell: &str, failures: usize| {
            let mut report = Report::new("6.1");
            report.add(Said::Step { name: "a".to_owned() });
            report.hear(line, None);
            if let Some(failure) = end {
                let failure = failure.map(str::to_owned);
                report.add(Said::Done { name: "a".to_owned(), failure, seconds: 1.0 });
            }
            assert_eq!((report.cell("a").as_str(), report.failures().count()), (cell, failures), "{line}");
        };
        check(Some(None), "", "ok", 0);
        let summary = "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out";
        check(Some(None), summary, "ok (3 of 3)", 0);
        check(Some(None), "test result: ok. 0 passed; 0 failed; 0 ignored", "ok (0 of 0)", 1);
        check(
            Some(Some("exit status: 101")),
            "test result: FAILED. 2 passed; 1 failed; 0 ig",
            "FAIL (2 of 3)",
            1,
        );
        check(None, "", "FAIL", 1);
        assert!(Report::new("6.1").has_failed());
    }
}
