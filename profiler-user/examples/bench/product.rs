//! What the program as a whole costs: it is started as a user starts it, and looked at from outside.

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
pub const THREADS_EACH: usize = 10;
/// Of the sampling frequency in [`all_in`].
const MANY_HZ: &str = "1000";

/// One capture, from exec to its end.
struct Run {
    child: Child,
    stderr: BufReader<std::process::ChildStderr>,
    output: PathBuf,
    attached: Duration,
    _scratch: Scratch,
}

impl Run {
    fn start(args: &[&str]) -> Result<Run> {
        let scratch = Scratch::new("bench");
        let output = scratch.path().join("out");
        let mut command = Command::new(capture::binary());
        command.args(args).arg("-o").arg(&output).stdin(Stdio::null()).stderr(Stdio::piped());
        let begin = Instant::now();
        let mut child = command.spawn().context("failed to start pyprof-bpf")?;
        let mut stderr = BufReader::new(child.stderr.take().context("no pipe")?);
        let mut line = String::new();
        while !line.starts_with("Sampling ") {
            line.clear();
            ensure!(stderr.read_line(&mut line)? != 0, "pyprof-bpf ended early");
        }
        Ok(Run { child, stderr, output, attached: begin.elapsed(), _scratch: scratch })
    }

    /// Waits for the end; what `capture.json` says, and the CPU time of the process, ns.
    fn finish(mut self) -> Result<(Value, f64)> {
        std::io::copy(&mut self.stderr, &mut std::io::sink())?;
        let before = ended_children_ns();
        let status = self.child.wait()?;
        let cpu_ns = ended_children_ns() - before;
        ensure!(status.success(), "pyprof-bpf ended with {status}");
        let json = std::fs::read(self.output.join("capture.json")).context("failed to read capture.json")?;
        Ok((serde_json::from_slice(&json).context("failed to parse capture.json")?, cpu_ns))
    }

    fn memory_bytes(&self, field: &str) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let value = status.lines().find_map(|line| line.strip_prefix(field))?;
        Some(value.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
    }
}

/// CPU time of all children that were waited for, ns.
fn ended_children_ns() -> f64 {
    // SAFETY: plain integers, which the call fills.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: a valid pointer; the call cannot fail with it.
    unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &mut usage) };
    let ns = |time: libc::timeval| time.tv_sec as f64 * 1e9 + time.tv_usec as f64 * 1e3;
    ns(usage.ru_utime) + ns(usage.ru_stime)
}

/// CPU per sample, ns.
pub struct AllIn {
    /// The process itself, user and system time.
    pub user_ns: f64,
    /// Its programs.
    pub kernel_ns: f64,
    pub samples: f64,
}

impl AllIn {
    pub fn total_ns(&self) -> f64 {
        self.user_ns + self.kernel_ns
    }
}

#[derive(Clone, Copy)]
struct Cost {
    /// The process, and the sampling program.
    own_ns: f64,
    process_ns: f64,
    ticks: f64,
    samples: f64,
}

/// A long capture less a short one: what starting and writing cost is in both. `empty_ns` is what the counting program
/// takes of each tick, which the account of the sampling program does not hold.
pub fn all_in(workload: &Workload, long: Duration, empty_ns: f64) -> Result<AllIn> {
    let pid = workload.pid().to_string();
    let cost = |seconds: f64| -> Result<Cost> {
        let duration = seconds.to_string();
        let args = ["-d", &duration, "-F", MANY_HZ, "-p", &pid, "--max-cpu", "1000"];
        let (json, process_ns) = Run::start(&args)?.finish()?;
        let number = |path: &str| json.pointer(path).and_then(Value::as_f64).with_context(|| path.to_owned());
        Ok(Cost {
            own_ns: number("/own_cost/cpu_ns")?,
            process_ns,
            ticks: number("/ticks/delivered")?,
            samples: number("/processes/0/samples")?,
        })
    };
    let short = cost(1.0)?;
    let long = cost(1.0 + long.as_secs_f64())?;
    let samples = long.samples - short.samples;
    ensure!(samples > 100.0, "{samples} samples are too few");
    let own = long.own_ns - short.own_ns;
    let user_ns = long.process_ns - short.process_ns;
    let counting = (long.ticks - short.ticks) * empty_ns;
    Ok(AllIn { user_ns: user_ns / samples, kernel_ns: (own - user_ns + counting) / samples, samples })
}

/// Processes with threads that all work.
pub struct Crowd(#[expect(dead_code, reason = "they end with it")] Vec<Target>);

impl Crowd {
    pub fn start(pythons: &[Python]) -> Crowd {
        let threads = THREADS_EACH.to_string();
        let one = |index: usize| {
            let name = format!("crowd{index}.py");
            Target::start(&pythons[index % pythons.len()], &name, THREADS, &[&threads])
        };
        Crowd((0..PROCESSES).map(one).collect())
    }
}

/// From exec to the first tick that can be sampled, seconds.
pub fn attach_times(times: u32) -> Result<Figure> {
    let mut figure = Figure::default();
    for _ in 0..times {
        let mut run = Run::start(&["-d", "60"])?;
        figure.push(run.attached.as_secs_f64());
        // How it ends is not the question here, and on an idle host there would be nothing to write.
        run.child.kill()?;
        run.child.wait()?;
    }
    Ok(figure)
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
    let (json, _) = run.finish()?;
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
