//! Targets that are told when to work, and what the scheduler charged them while a capture ran.
//!
//! Sampling bounds are those of a Poisson count: a standard error is the root of the count. Real ticks come at even
//! distances, and the bursts of work are random and several ticks long. A burst then errs by at most a quarter of a squared
//! tick instead of its own length in ticks, so that three such errors are more than eight true ones, or more than five where
//! a busy host cuts each burst in three: far below one false alarm in 10,000.

use std::time::Duration;

use pyprof_host::Held;

use crate::{Capture, Python, Target, capture, is_emulated, pythons, stolen_ns};

pub const SOURCE: &str = include_str!("../targets/adds_up.py");

/// No multiple of the kernel's own timer frequency.
pub const FREQUENCY: &str = "997";
/// Short bursts are what an emulated processor is late for.
pub fn loads() -> &'static [u32] {
    if is_emulated() { &[100] } else { &[5, 30, 100] }
}

/// Time without ticks, as the capture itself tells: that much of it may be missing where the processor is emulated.
pub fn unsampled_ns(capture: &Capture) -> f64 {
    if is_emulated() { capture.loss("unsampled_ns") as f64 } else { 0.0 }
}

/// A process, what the scheduler charged it in the window, and what it said at the end.
pub struct Ran<'a> {
    pub python: &'a Python,
    pub target: Target,
    pub charged_ns: f64,
    pub said: String,
}

/// Runs targets in a window within one capture.
pub fn window<'a>(pythons: &'a [Python], args: &[&str], frequency: &[&str]) -> (Capture, Vec<Ran<'a>>, f64) {
    let start = |python| Target::start(python, "adds_up.py", SOURCE, args);
    let mut ran: Vec<Ran<'a>> = pythons
        .iter()
        .map(|python| Ran { python, target: start(python), charged_ns: 0.0, said: String::new() })
        .collect();
    // From printing to blocking.
    std::thread::sleep(Duration::from_millis(50));
    let pids: Vec<String> = ran.iter().flat_map(|one| ["-p".into(), one.target.pid().to_string()]).collect();
    let mut all: Vec<&str> = frequency.to_vec();
    all.extend(pids.iter().map(String::as_str));
    let recording = capture::start(&all);
    let stolen = stolen_ns();
    for one in &mut ran {
        one.charged_ns = -(one.target.schedstat_ns() as f64);
        one.target.tell("go");
    }
    for one in &mut ran {
        one.said = one.target.line();
    }
    std::thread::sleep(Duration::from_millis(50));
    for one in &mut ran {
        one.charged_ns += one.target.schedstat_ns() as f64;
    }
    let stolen = stolen_ns() - stolen;
    let capture = recording.stop();
    assert_eq!(capture.code, 0, "{}", capture.stderr);
    balanced(&capture);
    (capture, ran, stolen)
}

pub fn count(capture: &Capture, name: &str) -> u64 {
    capture.json["ticks"][name].as_u64().unwrap_or_else(|| panic!("no tick count is called {name}"))
}

/// Every tick that the counting program saw has exactly one outcome, and every nanosecond in a profile is one that the
/// sampling program weighed: nothing was added from elsewhere.
pub fn balanced(capture: &Capture) {
    let processes = capture.json["processes"].as_array().expect("processes");
    let number = |value: &serde_json::Value| value.as_u64().expect("a count");
    let (mut outcomes, mut dropped, mut cpu_ns) = (0, 0, 0);
    for process in processes {
        let those: u64 = process["outcomes"].as_object().expect("outcomes").values().map(number).sum();
        assert_eq!(those, number(&process["samples"]), "outcomes of {}", process["pid"]);
        outcomes += those;
        dropped += number(&process["dropped"]);
        cpu_ns += number(&process["cpu_ns"]);
        let (samples, ns) = capture.profile_of(process).total();
        assert_eq!(samples, number(&process["samples"]), "samples in the file of {}", process["pid"]);
        assert_eq!(ns, number(&process["cpu_ns"]), "time in the file of {}", process["pid"]);
    }
    let ring_full = capture.loss("sample_ring_full");
    assert_eq!(outcomes + dropped + ring_full, count(capture, "on_python"), "samples on Pythons");
    assert_eq!(
        count(capture, "idle")
            + count(capture, "other")
            + outcomes
            + dropped
            + ring_full
            + capture.loss("not_chained")
            + capture.loss("no_scratch"),
        count(capture, "delivered"),
        "ticks: {} {}",
        capture.json["ticks"],
        capture.json["losses"]
    );
    assert_eq!(capture.loss("sample_unaccounted"), 0);
    assert_eq!(capture.loss("record_malformed"), 0);
    let missing_ns = capture.loss("sample_ring_full_ns");
    if dropped == 0 {
        assert_eq!(cpu_ns + missing_ns, count(capture, "on_python_ns"), "weights");
    }
}

/// One standard error of the time that `samples` ticks show.
pub fn error_ns(ns: f64, samples: f64) -> f64 {
    ns / samples.max(1.0).sqrt()
}

/// The processes of one window against the scheduler, each by itself and all together; while the clock is throttled by this,
/// or is not.
pub fn check_loads(percent: u32, throttle: Option<fn() -> Held>) {
    let throttled = throttle.is_some();
    let mut pythons = pythons();
    if throttled {
        // Which interpreter runs is nothing to the clock: the oldest, the newest, and one in between.
        let last = pythons.len() - 1;
        pythons = [0, last / 2, last].map(|index| pythons[index].clone()).into();
        pythons.dedup();
    }
    let (seconds, at_once) = match percent {
        5 => ("0.4", pythons.len()),
        30 => ("1.2", pythons.len().div_ceil(2)),
        // It takes a CPU for itself; the others are left to the host.
        _ => ("2", 1),
    };
    let (mut all_shown, mut all_charged, mut all_samples) = (0.0, 0.0, 0.0);
    let mut all_unsampled = 0.0;
    for group in pythons.chunks(at_once) {
        let held = throttle.map(|throttle| throttle());
        let args = ["load", &percent.to_string(), seconds];
        let (capture, ran, stolen_ns) = window(group, &args, &["-F", FREQUENCY, "--max-cpu", "200"]);
        drop(held);
        let (expected, delivered) = (count(&capture, "expected"), count(&capture, "delivered"));
        if throttled {
            assert!(delivered * 2 < expected, "not throttled: {delivered} of {expected} ticks");
            assert!(capture.loss("ticks_missed") * 2 > expected, "missed ticks are not told of");
        }
        for Ran { python, target, charged_ns, .. } in &ran {
            let process = capture.process(target.pid());
            let shown = process["cpu_ns"].as_u64().expect("a time") as f64;
            let samples = process["samples"].as_u64().expect("a count") as f64;
            let bound = if percent == 100 { 0.03 * charged_ns } else { 3.0 * error_ns(*charged_ns, samples) };
            let least = -bound - unsampled_ns(&capture);
            let off = shown - charged_ns;
            println!(
                "{python} at {percent} %{}: {samples} samples, {:.1} ms shown, {:.1} charged: {:+.2} % (bound {:.2})",
                if throttled { ", throttled" } else { "" },
                shown / 1e6,
                charged_ns / 1e6,
                100.0 * off / charged_ns,
                100.0 * bound / charged_ns,
            );
            assert!(least <= off && off <= bound + stolen_ns, "{python} at {percent} %");
            all_unsampled += unsampled_ns(&capture);
            all_shown += shown - stolen_ns.min(off.max(0.0));
            all_charged += charged_ns;
            all_samples += samples;
        }
    }
    let off = all_shown - all_charged;
    println!("all at {percent} %: {:+.2} %", 100.0 * off / all_charged);
    // What a throttled clock does not see of one process, it shows with another one on the same CPU: with strangers on the
    // host only their sum is right.
    assert!(
        throttled || off.abs() <= 3.0 * error_ns(all_charged, all_samples) + all_unsampled,
        "all at {percent} %: {all_shown} of {all_charged} ns"
    );
}
