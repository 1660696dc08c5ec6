//! The weights of a profile are the CPU time that the scheduler charged, and the outcomes are all ticks there were.
//!
//! Sampling bounds are those of a Poisson count: a standard error is the root of the count. Real ticks come at even
//! distances, and the bursts of work are random and several ticks long. A burst then errs by at most a quarter of a squared
//! tick instead of its own length in ticks, so that three such errors are more than eight true ones, or more than five where
//! a busy host cuts each burst in three: far below one false alarm in 10,000.

mod throttle;

use std::collections::HashMap;
use std::time::Duration;

use pyprof_tests::{Capture, Profile, Python, Target, capture, is_emulated, pythons, stolen_ns};
use throttle::Throttle;

const SOURCE: &str = include_str!("../targets/adds_up.py");

/// No multiple of the kernel's own timer frequency.
const FREQUENCY: &str = "997";
/// With this, `DIV_ROUND_UP(rate, CONFIG_HZ)` (`kernel/events/core.c`) is one tick per timer interrupt: 250 Hz or less
/// on all usual kernels but those with `CONFIG_HZ=1000`, where nothing of 997 Hz would be throttled.
const THROTTLED_HZ: u32 = 100;

/// Short bursts are what an emulated processor is late for.
fn loads() -> &'static [u32] {
    if is_emulated() { &[100] } else { &[5, 30, 100] }
}

/// Time without ticks, as the capture itself tells: that much of it may be missing where the processor is emulated.
fn unsampled_ns(capture: &Capture) -> f64 {
    if is_emulated() { capture.loss("unsampled_ns") as f64 } else { 0.0 }
}

/// A process, what the scheduler charged it in the window, and what it said at the end.
struct Ran<'a> {
    python: &'a Python,
    target: Target,
    charged_ns: f64,
    said: String,
}

/// Runs targets in a window within one capture.
fn window<'a>(pythons: &'a [Python], args: &[&str], frequency: &[&str]) -> (Capture, Vec<Ran<'a>>, f64) {
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

fn count(capture: &Capture, name: &str) -> u64 {
    capture.json["ticks"][name].as_u64().unwrap_or_else(|| panic!("no tick count is called {name}"))
}

/// Every tick that the counting program saw has exactly one outcome, and every nanosecond in a profile is one that the
/// sampling program weighed: nothing was added from elsewhere.
fn balanced(capture: &Capture) {
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
fn error_ns(ns: f64, samples: f64) -> f64 {
    ns / samples.max(1.0).sqrt()
}

/// The processes of one window against the scheduler, each by itself and all together.
fn check_loads(percent: u32, throttled: bool) {
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
        let throttle = throttled.then(|| Throttle::to(THROTTLED_HZ));
        let args = ["load", &percent.to_string(), seconds];
        let (capture, ran, stolen_ns) = window(group, &args, &["-F", FREQUENCY, "--max-cpu", "200"]);
        drop(throttle);
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

#[test]
fn a_process_shows_the_cpu_time_it_was_charged() {
    for &percent in loads() {
        check_loads(percent, false);
    }
}

#[test]
fn a_throttled_capture_shows_the_same_time() {
    for &percent in loads() {
        check_loads(percent, true);
    }
}

#[test]
fn three_to_one_shows_three_to_one() {
    let pythons = pythons();
    let (capture, ran, _) = window(&pythons, &["ratio", "1.5"], &["-F", FREQUENCY, "--max-cpu", "200"]);
    for Ran { python, target, said, .. } in &ran {
        let profile = capture.profile(target.pid());
        let ((heavy, heavy_ns), (light, light_ns)) =
            (profile.cumulative("heavy"), profile.cumulative("light"));
        let spent: Vec<f64> = said.split_whitespace().skip(1).map(|word| word.parse().expect("ns")).collect();
        let (n, shown) = ((heavy + light) as f64, heavy_ns as f64 / (heavy_ns + light_ns) as f64);
        let truth = spent[0] / (spent[0] + spent[1]);
        println!("{python}: {heavy}:{light} samples, {:.2} % against {:.2} %", 100.0 * shown, 100.0 * truth);
        let error = (truth * (1.0 - truth) / n).sqrt();
        assert!((truth - 0.75).abs() < 0.02, "{python}: the target itself ran {truth}");
        // Interrupts that are late fall out of the short bursts, and into the long ones.
        assert!(
            is_emulated() || (shown - truth).abs() <= 3.0 * error,
            "{python}: {shown} of {n} samples on heavy"
        );
    }
}

fn of_thread(profile: &Profile, tid: u32) -> (f64, f64) {
    let those = profile.samples.iter().filter(|sample| sample.numbers["thread_id"] == i64::from(tid));
    those.fold((0.0, 0.0), |(count, ns), sample| (count + sample.count as f64, ns + sample.ns as f64))
}

/// Threads with the GIL, and workers in zlib and hashlib that have released it, each and together. The window is found by
/// the process's own threads, so that each thread began in it.
#[test]
fn threads_add_up_with_and_without_the_gil() {
    let pythons = pythons();
    let (capture, ran, stolen_ns) =
        window(&pythons, &["threads", "0.4"], &["-F", FREQUENCY, "--max-cpu", "200"]);
    for Ran { python, target, charged_ns, .. } in &ran {
        let process = capture.process(target.pid());
        let profile = capture.profile(target.pid());
        let shown = process["cpu_ns"].as_u64().expect("a time") as f64;
        let samples = process["samples"].as_u64().expect("a count") as f64;
        let bound = 3.0 * error_ns(*charged_ns, samples);
        println!(
            "{python}: {:.1} ms shown, {:.1} charged: {:+.2} % (bound {:.2})",
            shown / 1e6,
            charged_ns / 1e6,
            100.0 * (shown - charged_ns) / charged_ns,
            100.0 * bound / charged_ns
        );
        assert!(
            (-bound - unsampled_ns(&capture)..=bound + stolen_ns).contains(&(shown - charged_ns)),
            "{python}"
        );
        for (tid, charged_ns) in thread_times(target.pid()) {
            let (samples, shown) = of_thread(&profile, tid);
            // The main thread has done next to nothing: two ticks are what it may show by chance.
            let bound = (3.0 * error_ns(charged_ns, samples)).max(2.5e6);
            let main = tid == target.pid();
            println!("  thread {tid}: {:.1} ms shown, {:.1} charged", shown / 1e6, charged_ns / 1e6);
            if !main {
                assert!(
                    (-bound - unsampled_ns(&capture)..=bound + stolen_ns).contains(&(shown - charged_ns)),
                    "{python}: thread {tid}: {shown} of {charged_ns} ns"
                );
            }
        }
        for worker in ["deflate", "digest"] {
            let (_, ns) = profile.cumulative(worker);
            assert!(ns as f64 > 0.3e9, "{python}: {ns} ns in {worker}");
        }
    }
}

/// CPU time of each thread of a process so far, ns.
fn thread_times(pid: u32) -> HashMap<u32, f64> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("the target lives");
    tasks
        .flatten()
        .filter_map(|task| {
            let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            let ns = text.split_whitespace().next()?.parse().ok()?;
            Some((task.file_name().to_str()?.parse().ok()?, ns))
        })
        .collect()
}

/// On the whole host, at the default frequency. A sleeper wakes once; three samples would take 30 ms of it, or chance:
/// with 0.2 ms of CPU time a sample comes once in 50, and three once in 700,000.
#[test]
fn a_sleeper_is_hardly_seen_and_every_tick_of_the_host_is_accounted_for() {
    let pythons = pythons();
    let mut targets: Vec<Target> =
        pythons.iter().map(|python| Target::start(python, "adds_up.py", SOURCE, &["sleeper", "5"])).collect();
    // Ten or twenty bursts, each after half a second or so without any: none may be charged with the idle time before it.
    let mut rare = Target::start(&pythons[0], "adds_up.py", SOURCE, &["load", "2", "0.15"]);
    std::thread::sleep(Duration::from_millis(50));
    let recording = capture::start(&["-d", "10"]);
    let charged_before_ns = rare.schedstat_ns() as f64;
    for target in targets.iter_mut().chain([&mut rare]) {
        target.tell("go");
    }
    rare.line();
    std::thread::sleep(Duration::from_millis(50));
    let charged_ns = rare.schedstat_ns() as f64 - charged_before_ns;
    let capture = recording.finish();
    assert_eq!(capture.code, 0, "{}", capture.stderr);
    balanced(&capture);
    println!("{} {}", capture.json["ticks"], capture.json["losses"]);
    if is_emulated() {
        return;
    }
    for (python, target) in pythons.iter().zip(&targets) {
        let samples: u64 = capture
            .processes(target.pid())
            .iter()
            .map(|process| process["samples"].as_u64().expect("a count"))
            .sum();
        println!("{python}: {samples} samples of a sleeper");
        assert!(samples <= 2, "{python}: {samples} samples of a sleeper");
    }
    let shown_ns = capture.process(rare.pid())["cpu_ns"].as_u64().expect("a time") as f64;
    let bound_ns = 3.0 * error_ns(charged_ns, charged_ns / 1e9 * 99.0);
    println!(
        "rare bursts: {:.0} ms shown, {:.0} charged (bound {:.0})",
        shown_ns / 1e6,
        charged_ns / 1e6,
        bound_ns / 1e6
    );
    assert!(
        (shown_ns - charged_ns).abs() <= bound_ns,
        "{shown_ns} of {charged_ns} ns of a process that seldom runs"
    );
}
