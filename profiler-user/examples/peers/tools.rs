//! The profilers, as data: how each is started on a process, and how what it wrote is read. Every one is asked for the same
//! thing, stacks of what is on the CPU, by the options that its manual gives for it.

mod austin;
mod collapsed;
mod ddtrace;
mod ours;
mod perf;
mod py_spy;
mod tachyon;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::machine::{SAMPLER_CPU, family, pinned, signal};
use crate::truth::Stack;
use crate::workload::{Launch, Workload};

pub use ours::{TOOL as OURS, programs_ns};

/// What a second of its samples is a second of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Every process gets a tick at each interval.
    Wall,
    /// Ticks follow the CPU time of the targets.
    Cpu,
}

/// What a profiler is to do.
pub struct Job<'a> {
    pub kit: &'a Kit,
    pub pids: &'a [u32],
    pub hz: u32,
    pub seconds: u32,
    /// The processes below the target are meant, too.
    pub with_children: bool,
    /// Empty, for what it writes.
    pub directory: &'a Path,
}

/// Where the peers are, as `cargo xtask bench --peers` set them up.
#[derive(Clone, Debug)]
pub struct Kit {
    /// A `pip install --target` for each part.
    pub directory: PathBuf,
    /// The CPython that brings Tachyon.
    pub newest_python: PathBuf,
    /// Parts that could not be had, and why.
    pub missing: Vec<(String, String)>,
}

impl Kit {
    pub fn why_missing(&self, part: &str) -> Option<&str> {
        self.missing.iter().find(|(name, _)| name == part).map(|(_, why)| &**why)
    }

    /// What the targets of a minor version import.
    pub fn target_packages(&self, minor: u8) -> PathBuf {
        self.directory.join(format!("targets-3.{minor}"))
    }
}

/// The version that [`Kit::newest_python`] is of.
pub const NEWEST_MINOR: u8 = 15;

/// What a profiler reported.
#[derive(Debug, Default)]
pub struct Collected {
    pub stacks: Vec<Stack>,
    /// Samples that it threw away, or could not take, by its own account.
    pub rejected: u64,
    /// Memory that is on nobody's resident set.
    pub kernel_bytes: u64,
}

/// A profiler that looks from outside.
pub struct Outside {
    /// Its exit status when its time is over.
    pub ends_with: i32,
    /// One process of it serves all targets; otherwise each target has one of its own.
    pub serves_all: bool,
    /// `None`: it has no way to do this.
    pub command: fn(&Job, pid: u32) -> Option<Command>,
    pub read: fn(&Job, said: &str) -> Result<Collected>,
    /// What the target has to be started with, if a plain one will not do.
    pub launch: fn(&Kit) -> Launch,
}

pub enum How {
    Outside(Outside),
    /// Part of the target's process, switched on and off there.
    Inside(fn(&Kit, &Path) -> Launch, fn(&Job) -> Result<Collected>),
}

pub struct Tool {
    pub name: &'static str,
    /// Of the kit.
    pub part: &'static str,
    /// Its frequency, if it cannot be told.
    pub fixed_hz: Option<u32>,
    /// Minor versions of CPython that it is run on here.
    pub minors: &'static [u8],
    pub clock: Clock,
    pub how: How,
}

pub const TOOLS: &[&Tool] = &[
    &ours::TOOL,
    &py_spy::TOOL,
    &py_spy::NONBLOCKING,
    &austin::TOOL,
    &tachyon::TOOL,
    &ddtrace::TOOL,
    &perf::TOOL,
];

impl Tool {
    pub fn is_ours(&self) -> bool {
        // By its name: a constant is at as many addresses as the compiler likes.
        self.name == ours::TOOL.name
    }

    pub fn is_inside(&self) -> bool {
        matches!(self.how, How::Inside(..))
    }

    /// How a target is started for it; `None` if any will do.
    pub fn launch(&self, kit: &Kit, directory: &Path) -> Option<Launch> {
        match &self.how {
            How::Outside(outside) => {
                let launch = (outside.launch)(kit);
                (!launch.options.is_empty() || !launch.environment.is_empty()).then_some(launch)
            }
            How::Inside(launch, _) => Some(launch(kit, directory)),
        }
    }
}

const INSIDE_PATIENCE: Duration = Duration::from_secs(10);

/// Processes of a profiler that look at a workload.
pub struct Attached {
    ends_with: i32,
    children: Vec<std::process::Child>,
    said: Vec<PathBuf>,
}

/// How long a profiler may go on after the time it was given: py-spy counts samples, not seconds.
const GRACE: Duration = Duration::from_millis(2500);
/// And after it was asked to end.
const PATIENCE: Duration = Duration::from_secs(20);

impl Attached {
    /// `wrap` makes the command that is run of the profiler's: strace, or nothing.
    pub fn start(
        outside: &Outside,
        job: &Job,
        wrap: fn(Command, &Path, u32) -> Command,
    ) -> Result<Option<Attached>> {
        let targets = if outside.serves_all { &job.pids[..1] } else { job.pids };
        let mut attached = Attached { ends_with: outside.ends_with, children: Vec::new(), said: Vec::new() };
        for &pid in targets {
            let Some(command) = (outside.command)(job, pid) else { return Ok(None) };
            let mut command = wrap(command, job.directory, pid);
            let said = job.directory.join(format!("said.{pid}"));
            let file = File::create(&said)?;
            pinned(&mut command, SAMPLER_CPU);
            command.current_dir(job.directory).stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
            let child =
                command.spawn().with_context(|| format!("failed to start {:?}", command.get_program()))?;
            attached.children.push(child);
            attached.said.push(said);
        }
        Ok(Some(attached))
    }

    pub fn pids(&self) -> Vec<u32> {
        self.children.iter().map(std::process::Child::id).collect()
    }

    /// Waits for the end, which should come after this time; one that goes on is asked to end, as with Ctrl-C. What they
    /// said.
    pub fn finish(mut self, left: Duration) -> Result<String> {
        let asked_at = Instant::now() + left + GRACE;
        let deadline = asked_at + PATIENCE;
        let mut is_asked = false;
        let mut all = String::new();
        let (children, texts) = (&mut self.children, &self.said);
        let mut statuses = vec![None; children.len()];
        while statuses.iter().any(Option::is_none) {
            for (child, status) in
                children.iter_mut().zip(&mut statuses).filter(|(_, status)| status.is_none())
            {
                *status = child.try_wait()?;
            }
            if !is_asked && Instant::now() > asked_at {
                is_asked = true;
                let running = children.iter().zip(&statuses).filter(|(_, status)| status.is_none());
                // The last ones of each family are the profilers: strace would only let go of them.
                running.for_each(|(child, _)| {
                    signal(family(child.id()).pop().unwrap_or(child.id()), libc::SIGINT)
                });
            }
            if Instant::now() > deadline {
                bail!("did not end within {} s after its time", (GRACE + PATIENCE).as_secs());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        for (status, said) in statuses.iter().flatten().zip(texts) {
            let text = String::from_utf8_lossy(&std::fs::read(said)?).into_owned();
            // One that was interrupted may say so by its status.
            if status.code() != Some(self.ends_with) && !is_asked {
                let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
                bail!("ended with {status}: {last}");
            }
            all.push_str(&text);
        }
        Ok(all)
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        for child in &mut self.children {
            // Already gone is fine. What is below it (a sampler under strace) first: it would go on without it.
            for pid in family(child.id()).into_iter().skip(1) {
                signal(pid, libc::SIGKILL);
            }
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Switches a profiler that is inside the target on or off, and waits until it says that it did: its threads and those of
/// the target want the same lock.
pub fn switch_inside(workload: &Workload, on: bool) -> Result<()> {
    let (number, word) = if on { (libc::SIGUSR1, 1) } else { (libc::SIGUSR2, 2) };
    let begin = Instant::now();
    signal(workload.pids[0], number);
    while workload.inside() != word {
        if begin.elapsed() > INSIDE_PATIENCE {
            let what = if on { "start" } else { "stop" };
            bail!("did not {what} within {} s", INSIDE_PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// The number after the last `label`, which may have a decimal part.
fn number_after(text: &str, label: &str) -> Option<f64> {
    let rest = &text[text.rfind(label)? + label.len()..];
    let rest = rest.trim_start();
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    rest[..end].trim_end_matches('.').parse().ok()
}

/// What all files of the job that begin with this contribute.
pub fn files(job: &Job, prefix: &str) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(job.directory)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            all.push(entry.path());
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_all_is_ours() {
        assert_eq!(TOOLS.iter().filter(|tool| tool.is_ours()).count(), 1);
    }
}
