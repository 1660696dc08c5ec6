//! A storm of short-lived interpreters during a capture of the host: each is seen from its exec, and what it used adds up.
//!
//! Ground truth: `wait4` says what each used in all; each says itself how much it had used before its first line of Python,
//! which is more than it used before it had a thread state.
//!
//! Every process lives for some 30 ticks, so that all sums have thousands: a sum's standard error is half a tick per stretch of
//! running, less than half a percent over the storm.

use std::collections::BTreeMap;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pyprof_tests::limits::Limits;
use pyprof_tests::{Capture, Python, capture, pythons};
use serde_json::Value;

const HZ: &str = "999";
const PROCESSES: u32 = 200;
const STORM: Duration = Duration::from_secs(10);

/// As in the code below.
const WORK_NS: u64 = 10_000_000;

/// Says what had been used before it, works for 10 ms, and ends as any program does.
const CODE: &str = "
import time
begin = time.process_time_ns()
def work():
    while time.process_time_ns() < begin + 10000000:
        sum(range(100))
work()
print(begin)
";

struct Started {
    python: usize,
    child: Child,
}

/// What one interpreter's processes used, and what was shown of them.
#[derive(Default)]
struct Sums {
    processes: u64,
    unseen: u64,
    used_ns: u64,
    shown_ns: u64,
    before_ns: u64,
    outcomes: BTreeMap<String, u64>,
    samples: u64,
    /// In the function that works for `WORK_NS`.
    work_ns: u64,
}

fn storm(pythons: &[Python], limits: &Limits) -> Vec<Started> {
    let begin = Instant::now();
    (0..PROCESSES)
        .map(|number| {
            let at = STORM * number / PROCESSES;
            std::thread::sleep(at.saturating_sub(begin.elapsed()));
            let python = number as usize % pythons.len();
            let mut command = Command::new(&pythons[python].path);
            command.args(["-c", CODE]).stdin(Stdio::null()).stdout(Stdio::piped());
            limits.enter(&mut command);
            Started { python, child: command.spawn().expect("it runs") }
        })
        .collect()
}

/// What a process said, and the CPU time that it was charged.
fn end(child: &mut Child) -> (u64, u64) {
    let mut text = String::new();
    child.stdout.take().expect("a pipe").read_to_string(&mut text).expect("output");
    let mut status = 0;
    // SAFETY: plain integers, for which zero is a valid value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: our own child, not yet waited for, and valid pointers.
    let waited = unsafe { libc::wait4(child.id() as i32, &mut status, 0, &mut usage) };
    assert_eq!((waited, status), (child.id() as i32, 0), "{}", std::io::Error::last_os_error());
    let ns = |time: libc::timeval| time.tv_sec as u64 * 1_000_000_000 + time.tv_usec as u64 * 1_000;
    (text.trim().parse().expect("nanoseconds"), ns(usage.ru_utime) + ns(usage.ru_stime))
}

fn count(value: &Value) -> u64 {
    value.as_u64().expect("a count")
}

fn add(sums: &mut Sums, capture: &Capture, python: &Python, pid: u32) {
    sums.processes += 1;
    let all = capture.processes(pid);
    assert!(all.len() <= 1, "{python}: {} images of process {pid}", all.len());
    let Some(process) = all.first() else {
        sums.unseen += 1;
        return;
    };
    let name = python.path.file_name().and_then(|name| name.to_str()).expect("a plain name");
    assert_eq!(process["name"], name, "{python}: {process}");
    assert_eq!(process["file"], format!("{name}-{pid}.pb.gz"), "{python}");
    assert_eq!(process["python_version"], *python.version, "{process}");
    sums.work_ns += capture.profile_of(process).cumulative("work").1;
    sums.samples += count(&process["samples"]);
    sums.shown_ns += count(&process["cpu_ns"]);
    for (outcome, number) in process["outcomes"].as_object().expect("outcomes") {
        *sums.outcomes.entry(outcome.clone()).or_default() += count(number);
    }
}

#[test]
fn two_hundred_short_lives_in_ten_seconds() {
    let pythons = pythons();
    let recording = capture::start(&["-F", HZ, "--max-cpu", "400"]);
    let limits = Limits::new("storm", PROCESSES + 50, 4 << 30);
    let mut started = storm(&pythons, &limits);
    let ends: Vec<(u64, u64)> = started.iter_mut().map(|one| end(&mut one.child)).collect();
    let capture = recording.stop();
    assert_eq!(capture.code, 0, "{}", capture.stderr);
    for loss in ["lifecycle_ring_full", "process_table_full", "sample_ring_full", "sample_unaccounted"] {
        assert_eq!(capture.loss(loss), 0, "{loss}");
    }

    let mut by_python: Vec<Sums> = pythons.iter().map(|_| Sums::default()).collect();
    for (Started { python, child }, (before_ns, used_ns)) in started.iter().zip(ends) {
        let sums = &mut by_python[*python];
        add(sums, &capture, &pythons[*python], child.id());
        sums.before_ns += before_ns;
        sums.used_ns += used_ns;
    }
    let mut all = Sums::default();
    for (python, sums) in pythons.iter().zip(by_python) {
        report(&python.to_string(), &sums);
        all.processes += sums.processes;
        all.unseen += sums.unseen;
        all.used_ns += sums.used_ns;
        all.shown_ns += sums.shown_ns;
        all.before_ns += sums.before_ns;
        all.samples += sums.samples;
        all.work_ns += sums.work_ns;
        for (outcome, number) in sums.outcomes {
            *all.outcomes.entry(outcome).or_default() += number;
        }
    }
    report("all", &all);
    println!("vanished: {}; other losses: {}", capture.loss("process_vanished"), capture.json["losses"]);

    assert_eq!((all.processes, all.unseen), (u64::from(PROCESSES), 0), "every process has a file");
    assert_eq!(all.outcomes.values().sum::<u64>(), all.samples, "one outcome per sample");
    let outcome = |name: &str| all.outcomes[name];
    // What came before the first thread state cannot be more than what came before the first line.
    let starting_ns = outcome("starting") * 1_000_000_000 / HZ.parse::<u64>().expect("a number");
    assert!(starting_ns < all.before_ns, "starting: {starting_ns} ns of {} ns", all.before_ns);
    // Threads without frames are told from those whose frames were not seen.
    let later = all.samples - outcome("starting");
    let lost = outcome("unknown") + outcome("unreadable") + outcome("torn") + outcome("thread_not_found");
    assert!(lost * 100 <= later * 5, "{lost} of {later} ticks after the first thread state are lost");
    within_5_percent("wait4", all.shown_ns, all.used_ns, capture.stolen_ns);
    // All of it is Python frames, whatever came before and after.
    within_5_percent("work", all.work_ns, WORK_NS * u64::from(PROCESSES), capture.stolen_ns);
}

/// Or more by what was stolen meanwhile.
fn within_5_percent(what: &str, shown_ns: u64, true_ns: u64, stolen_ns: u64) {
    let range = true_ns - true_ns / 20..=true_ns + true_ns / 20 + stolen_ns;
    assert!(range.contains(&shown_ns), "{what}: {shown_ns} ns shown of {true_ns} ns, {stolen_ns} stolen");
}

fn report(what: &str, sums: &Sums) {
    let percent = |ns: u64| 100.0 * ns as f64 / sums.used_ns as f64;
    println!(
        "{what}: {} processes, {} unseen; {:.1} ms used, {:.1} % of it shown, {:.1} % before the first line; {} samples: {:?}",
        sums.processes,
        sums.unseen,
        sums.used_ns as f64 / 1e6,
        percent(sums.shown_ns),
        percent(sums.before_ns),
        sums.samples,
        sums.outcomes.iter().filter(|(_, number)| **number > 0).collect::<Vec<_>>(),
    );
}
