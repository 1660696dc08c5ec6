//! What the program as a whole costs: it is started as a user starts it, and looked at from outside.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pyprof_tests::{Python, Scratch, Target, capture};
use serde_json::Value;

use crate::figures::Figure;
use crate::workload::Workload;

const THREADS: &str = include_str!("targets/threads.py");
pub const PROCESSES: usize = 20;
pub const THREADS_EACH: usize = 200;
/// Of the sampling frequency in [`all_in`].
const MANY_HZ: &str = "1000";

/// One capture, from exec to its end.
pub struct Run {
    child: Child,
    stderr: BufReader<std::process::ChildStderr>,
    output: PathBuf,
    attached: Duration,
    /// Of that, since its `main` began: before that the scheduler and the loader have their turn.
    of_its_own: Option<Duration>,
    _scratch: Scratch,
}

impl Run {
    pub fn start(args: &[&str]) -> Result<Run> {
        let scratch = Scratch::new("bench");
        let output = scratch.path().join("out");
        let mut command = Command::new(capture::binary());
        command.args(args).arg("-o").arg(&output).stdin(Stdio::null()).stderr(Stdio::piped());
        let begin = Instant::now();
        let mut child = command.spawn().context("failed to start pyprof-bpf")?;
        let mut stderr = BufReader::new(child.stderr.take().context("no pipe")?);
        let mut line = String::new();
        let mut of_its_own = None;
        while !line.starts_with("Sampling ") {
            line.clear();
            ensure!(stderr.read_line(&mut line)? != 0, "pyprof-bpf ended early");
            if let Some(ms) = line.strip_prefix("attached ").and_then(|rest| rest.split(' ').next()) {
                of_its_own = Some(Duration::from_millis(ms.parse()?));
            }
        }
        let attached = begin.elapsed();
        Ok(Run { child, stderr, output, attached, of_its_own, _scratch: scratch })
    }

    /// Waits for the end; what `capture.json` says.
    pub fn finish(mut self) -> Result<Value> {
        std::io::copy(&mut self.stderr, &mut std::io::sink())?;
        let status = self.child.wait()?;
        ensure!(status.success(), "pyprof-bpf ended with {status}");
        let json = std::fs::read(self.output.join("capture.json")).context("failed to read capture.json")?;
        serde_json::from_slice(&json).context("failed to parse capture.json")
    }

    /// The scheduler's account of the process (`schedstat`, first field) and the kernel's of its programs (`fdinfo`,
    /// `kernel/bpf/syscall.c`, `bpf_prog_show_fdinfo`).
    pub fn used(&self) -> Result<Used> {
        let proc = PathBuf::from(format!("/proc/{}", self.child.id()));
        let at = Instant::now();
        let schedstat = std::fs::read_to_string(proc.join("schedstat"))?;
        let process_ns = schedstat.split_whitespace().next().context("an empty schedstat")?.parse()?;
        let mut programs = BTreeMap::new();
        for entry in std::fs::read_dir(proc.join("fdinfo"))? {
            let Ok(info) = std::fs::read_to_string(entry?.path()) else { continue };
            let field = |name: &str| {
                let value = info.lines().find_map(|line| line.strip_prefix(name))?;
                value.trim().parse::<u64>().ok()
            };
            if let (Some(id), Some(ns)) = (field("prog_id:"), field("run_time_ns:")) {
                programs.insert(id, ns);
            }
        }
        ensure!(!programs.is_empty(), "the capture holds no BPF program");
        Ok(Used { at, process_ns, programs_ns: programs.values().sum::<u64>() as f64 })
    }

    fn memory_bytes(&self, field: &str) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let value = status.lines().find_map(|line| line.strip_prefix(field))?;
        Some(value.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
    }
}

/// A reading of what a running capture has used so far.
#[derive(Clone, Copy)]
pub struct Used {
    at: Instant,
    pub process_ns: f64,
    pub programs_ns: f64,
}

/// CPU per sample, ns.
pub struct AllIn {
    /// The process itself, user and system time.
    pub process_ns: f64,
    /// Its programs, the ticks that were no samples included.
    pub programs_ns: f64,
    pub samples: f64,
    /// By the account that the capture gives of itself: with starting and writing.
    pub own_account_ns: f64,
}

impl AllIn {
    pub fn total_ns(&self) -> f64 {
        self.process_ns + self.programs_ns
    }
}

/// What a capture uses in its steady state: two readings, both well after its start and before its end.
pub fn all_in(workload: &Workload, duration: Duration) -> Result<AllIn> {
    const MARGIN: Duration = Duration::from_secs(1);
    let pid = workload.pid().to_string();
    let whole = (duration + 2 * MARGIN).as_secs_f64();
    let run = Run::start(&["-d", &whole.to_string(), "-F", MANY_HZ, "-p", &pid, "--max-cpu", "1000"])?;
    std::thread::sleep(MARGIN);
    let before = run.used()?;
    std::thread::sleep(duration);
    let after = run.used()?;
    let json = run.finish()?;
    let number = |path: &str| json.pointer(path).and_then(Value::as_f64).with_context(|| path.to_owned());
    let all = number("/processes/0/samples")?;
    // The target never rests, so that its samples are spread evenly over the capture.
    let samples = all * after.at.duration_since(before.at).as_secs_f64() / number("/duration_seconds")?;
    ensure!(samples > 100.0, "{samples} samples are too few");
    Ok(AllIn {
        process_ns: (after.process_ns - before.process_ns) / samples,
        programs_ns: (after.programs_ns - before.programs_ns) / samples,
        samples,
        own_account_ns: number("/own_cost/cpu_ns")? / all,
    })
}

/// Processes with threads that all work.
pub struct Crowd(#[expect(dead_code, reason = "they end with it")] Vec<Target>);

impl Crowd {
    /// Each thread rests `rest_ms` after each turn of work, which takes a few ms.
    pub fn start(pythons: &[Python], rest_ms: u32) -> Crowd {
        let (threads, rest_ms) = (THREADS_EACH.to_string(), rest_ms.to_string());
        let one = |index: usize| {
            let name = format!("crowd{index}.py");
            Target::start(&pythons[index % pythons.len()], &name, THREADS, &[&threads, &rest_ms])
        };
        Crowd((0..PROCESSES).map(one).collect())
    }
}

/// Seconds until the first tick that can be sampled: since exec, and since `main`.
pub struct Attached {
    pub since_exec: Figure,
    pub since_main: Figure,
}

pub fn attach_times(times: u32) -> Result<Attached> {
    let mut figures = Attached { since_exec: Figure::default(), since_main: Figure::default() };
    for _ in 0..times {
        let mut run = Run::start(&["-v", "-d", "60"])?;
        figures.since_exec.push(run.attached.as_secs_f64());
        figures.since_main.push(run.of_its_own.context("it does not say when it attached")?.as_secs_f64());
        // How it ends is not the question here, and on an idle host there would be nothing to write.
        run.child.kill()?;
        run.child.wait()?;
    }
    Ok(figures)
}

pub struct Memory {
    /// Resident in the second half of the capture.
    pub steady: Figure,
    pub peak_bytes: f64,
    pub maps_bytes: f64,
    pub samples: f64,
}

/// Memory of a capture of the whole host at its default frequency.
pub fn memory(duration: Duration) -> Result<Memory> {
    let seconds = duration.as_secs_f64();
    let mut run = Run::start(&["-d", &seconds.to_string()])?;
    let (begin, mut steady, mut peak) = (Instant::now(), Figure::default(), 0);
    while run.child.try_wait()?.is_none() {
        peak = peak.max(run.memory_bytes("VmHWM:").unwrap_or(0));
        let second_half = begin.elapsed() > duration / 2 && begin.elapsed() < duration;
        if let Some(bytes) = run.memory_bytes("VmRSS:").filter(|_| second_half) {
            steady.push(bytes as f64);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    let json = run.finish()?;
    let number = |path: &str| json.pointer(path).and_then(Value::as_f64).unwrap_or(f64::NAN);
    let processes = json["processes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let samples = processes.iter().filter_map(|process| process["samples"].as_f64()).sum();
    Ok(Memory {
        steady,
        peak_bytes: number("/own_cost/peak_rss_bytes").max(peak as f64),
        maps_bytes: number("/own_cost/kernel_bytes"),
        samples,
    })
}
