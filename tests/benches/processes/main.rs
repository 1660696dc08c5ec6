//! Processes that come, change and go during a host-wide capture: each has its own file under its right name, with at
//! least 90 % of the samples that its CPU time calls for.
//!
//! Ground truth: what `wait4` says a process used, and its own `time.process_time_ns()` around the work. At 999 Hz a
//! life of 1 s is 999 samples. A timer ticks evenly, so each stretch of running is off by less than one tick, with a
//! variance of at most 1/4. The scheduler's slices are 3 ms or longer, which makes at most 333 stretches: one sigma is
//! 9 samples at most, and the 10 % allowed are 100: 11 sigma. The rest is for a virtual machine that stands still for some
//! ten milliseconds, which loses ticks that nobody can deliver afterwards.

mod ends;
mod execs;
mod forks;
mod starts;

use std::collections::HashMap;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use pyprof_tests::{Capture, Profile, Python, Scratch, Target, capture, is_emulated, pythons};

const HZ: &str = "999";
const BURN: &str = include_str!("../../targets/burn.py");

/// A process image that must have a file.
struct Image {
    pid: u32,
    /// 1 for the first image of the pid in this capture; 0 for the last, whatever its number.
    number: usize,
    name: &'static str,
    version: String,
    /// What the kernel charged it.
    cpu_ns: Option<u64>,
    /// Functions, and how long the target says they ran.
    work: Vec<(&'static str, u64)>,
    /// The work goes on after the target has said how long it took.
    goes_on: bool,
    /// Too short a life for a bound on its own ticks: those of all such images of one interpreter are added up.
    is_short: bool,
}

/// Samples there are, and samples that the CPU time calls for.
#[derive(Clone, Copy, Default)]
struct Counted {
    samples: u64,
    wanted: u64,
}

impl Counted {
    fn is_enough(self) -> bool {
        let tenths = if is_emulated() { 1 } else { 9 };
        self.samples * 10 >= self.wanted * tenths
    }
}

/// What targets print: `WHAT PID NS` per line.
#[derive(Default)]
struct Said(HashMap<String, (u32, u64)>);

impl Said {
    fn of(text: &str) -> Said {
        let mut said = Said::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            if let (Some(what), Some(pid), Some(ns)) = (words.next(), words.next(), words.next()) {
                said.0.insert(what.into(), (pid.parse().expect("a pid"), ns.parse().expect("nanoseconds")));
            }
        }
        said
    }

    fn pid(&self, what: &str) -> u32 {
        self.0.get(what).unwrap_or_else(|| panic!("the target did not say {what}: {:?}", self.0)).0
    }

    fn ns(&self, what: &str) -> u64 {
        self.pid(what);
        self.0[what].1
    }

    fn image(&self, what: &str, name: &'static str, python: &Python) -> Image {
        Image {
            pid: self.pid(what),
            number: 1,
            name,
            version: python.version.clone(),
            cpu_ns: None,
            work: vec![("burn", self.ns(what))],
            goes_on: false,
            is_short: false,
        }
    }
}

/// A script in a directory of its own.
fn script(name: &str, source: &str) -> (Scratch, String) {
    let scratch = Scratch::new("script");
    let path = scratch.path().join(name);
    std::fs::write(&path, format!("{BURN}\n{source}")).expect("the script");
    let path = path.to_str().expect("a plain path").to_owned();
    (scratch, path)
}

/// Runs a command to its end: its pid, its output, the CPU time it was charged.
#[expect(clippy::zombie_processes, reason = "wait4 waits for it, and says what it used")]
fn run(mut command: Command, kill_after_ms: Option<u64>) -> (u32, Said, u64) {
    let mut child = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().expect("the target runs");
    let pid = child.id();
    if let Some(ms) = kill_after_ms {
        let used = || {
            let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
            text.split_whitespace().next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(u64::MAX)
        };
        while used() < ms * 1_000_000 {
            std::thread::sleep(Duration::from_millis(5));
        }
        child.kill().expect("our own child");
    }
    let mut text = String::new();
    child.stdout.take().expect("a pipe").read_to_string(&mut text).expect("output");
    let mut status = 0;
    // SAFETY: plain integers, for which zero is a valid value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: our own child, not yet waited for, and valid pointers.
    let waited = unsafe { libc::wait4(pid as i32, &mut status, 0, &mut usage) };
    assert_eq!(waited, pid as i32, "{}", std::io::Error::last_os_error());
    assert!(kill_after_ms.is_some() || status == 0, "{command:?} ended with {status}: {text}");
    let ns = |time: libc::timeval| time.tv_sec as u64 * 1_000_000_000 + time.tv_usec as u64 * 1_000;
    (pid, Said::of(&text), ns(usage.ru_utime) + ns(usage.ru_stime))
}

fn python_command(python: &Python, path: &str) -> Command {
    let mut command = Command::new(&python.path);
    command.arg(path);
    command
}

/// One capture of the host; for every interpreter `before` it and `during` it.
fn check(
    scenario: &str,
    before: impl Fn(&Python) -> Option<Target>,
    during: impl Fn(&Python, Option<Target>) -> Vec<Image> + Sync,
) {
    let pythons = pythons();
    let targets: Vec<Option<Target>> = pythons.iter().map(before).collect();
    let recording = capture::start(&["-F", HZ, "--max-cpu", "400"]);
    // Two at a time: most use one CPU.
    let mut waiting: Vec<(Python, Option<Target>)> = pythons.into_iter().zip(targets).collect();
    let mut images: Vec<(Python, Vec<Image>)> = Vec::new();
    while !waiting.is_empty() {
        let pair: Vec<_> = waiting.drain(..waiting.len().min(2)).collect();
        std::thread::scope(|scope| {
            let during = &during;
            let running: Vec<_> = pair
                .into_iter()
                .map(|(python, target)| {
                    scope.spawn(move || {
                        let images = during(&python, target);
                        (python, images)
                    })
                })
                .collect();
            images.extend(running.into_iter().map(|one| one.join().expect("the scenario runs")));
        });
    }
    let capture = recording.stop();
    assert_eq!(capture.code, 0, "{scenario}: {}", capture.stderr);
    for loss in ["lifecycle_ring_full", "process_table_full", "sample_ring_full", "sample_unaccounted"] {
        assert_eq!(capture.loss(loss), 0, "{scenario}: {loss}");
    }
    let mut failures = Vec::new();
    for (python, images) in &images {
        let mut short = Counted::default();
        for image in images {
            let who = format!("{scenario}, {python}, process {}", image.pid);
            match verify(&capture, image) {
                Ok(counted) if image.is_short => {
                    short.samples += counted.samples;
                    short.wanted += counted.wanted;
                }
                Ok(counted) if counted.is_enough() => {}
                Ok(counted) => {
                    failures.push(format!("{who}: {} samples of {}", counted.samples, counted.wanted))
                }
                Err(what) => failures.push(format!("{who}: {what}")),
            }
        }
        if !short.is_enough() {
            failures
                .push(format!("{scenario}, {python}: {} samples of {} in all", short.samples, short.wanted));
        }
    }
    assert!(failures.is_empty(), "{}\n{}", failures.join("\n"), capture.stderr);
}

macro_rules! ensure {
    ($condition:expr, $($what:tt)+) => { if !$condition { return Err(format!($($what)+)); } };
}

fn verify(capture: &Capture, image: &Image) -> Result<Counted, String> {
    let all = capture.processes(image.pid);
    let number = if image.number == 0 { all.len() } else { image.number };
    ensure!(number > 0 && all.len() >= number, "{} images, number {number} is wanted", all.len());
    let entry = all[number - 1];
    let suffix = if number > 1 { format!(".{number}") } else { String::new() };
    let file = format!("{}-{}{suffix}.pb.gz", image.name, image.pid);
    ensure!(entry["name"] == image.name, "called {}, not {}", entry["name"], image.name);
    ensure!(entry["file"] == *file, "file {}, not {file}", entry["file"]);
    ensure!(entry["python_version"] == *image.version, "{}, not {}", entry["python_version"], image.version);
    let profile: Profile = capture.profile_of(entry);
    let (samples, ns) = profile.total();
    let hz: u64 = HZ.parse().expect("a number");
    let mut report = format!("{file} {}: {samples} samples {:.1} ms", image.version, ns as f64 / 1e6);
    let mut counted = Counted { samples, wanted: 0 };
    // Time without ticks, as the capture tells, is in no process.
    let unsampled_ns = if is_emulated() { capture.loss("unsampled_ns") } else { 0 };
    let stolen_ns = capture.stolen_ns;
    if let Some(cpu_ns) = image.cpu_ns {
        counted.wanted = cpu_ns * hz / 1_000_000_000;
        report += &format!(", {:.1} % of the CPU time", 100.0 * ns as f64 / cpu_ns as f64);
        ensure!(
            (ns + unsampled_ns) * 10 >= cpu_ns * 9 && ns * 10 <= cpu_ns * 11 + stolen_ns * 10,
            "{ns} ns of {cpu_ns} ns: {entry}"
        );
    }
    for (function, work_ns) in &image.work {
        let (_, seen_ns) = profile.cumulative(function);
        report += &format!(", {function} {:.1} %", 100.0 * seen_ns as f64 / *work_ns as f64);
        ensure!(
            (seen_ns + unsampled_ns) * 10 >= work_ns * 9
                && (image.goes_on || seen_ns * 10 <= work_ns * 11 + stolen_ns * 10),
            "{function} has {seen_ns} ns of {work_ns} ns: {entry}"
        );
    }
    let pid = i64::from(image.pid);
    ensure!(profile.samples.iter().all(|sample| sample.numbers["pid"] == pid), "a sample of another process");
    eprintln!("  {report}");
    Ok(counted)
}
