//! Crowds: 300 processes with 2,000 threads on one host, and 5,000 threads in one process. What is lost is said and small,
//! and what it costs is printed.
//!
//! Ground truth: what `wait4` and the threads' own clocks say they used. The kernel itself walks 128 thread states; for
//! threads farther down it needs user space, which comes within 100 ms. So a crowd is given a second in which one thread works
//! far down the list; after it, at most 1 % of the time may be of threads that were not found.

use std::collections::BTreeMap;
use std::time::Instant;

use pyprof_tests::pythons::python;
use pyprof_tests::{Capture, Profile, Python, Target, capture, limits::Limits, pythons};

const SOURCE: &str = include_str!("../targets/crowd.py");
const HZ: &str = "999";
const NOT_FOUND: &str = "<thread not found>";

fn print_cost(what: &str, capture: &Capture) {
    let cost = |name: &str| capture.json["own_cost"][name].as_u64().expect("a cost") as f64;
    let seconds = capture.json["duration_seconds"].as_f64().expect("a duration");
    println!(
        "{what}: own CPU {:.2} % of one core at {HZ} Hz over {seconds:.1} s, peak RSS {:.1} MB, kernel memory {:.1} MB",
        cost("cpu_ns") / seconds / 1e7,
        cost("peak_rss_bytes") / 1e6,
        cost("kernel_bytes") / 1e6,
    );
}

fn no_losses(what: &str, capture: &Capture) {
    assert_eq!(capture.code, 0, "{what}: {}", capture.stderr);
    for loss in [
        "lifecycle_ring_full",
        "process_table_full",
        "sample_ring_full",
        "sample_unaccounted",
        "no_scratch",
        "hint_failed",
    ] {
        assert_eq!(capture.loss(loss), 0, "{what}: {loss}");
    }
}

/// `WORD NS`, the word being the one expected.
fn said(target: &mut Target, word: &str) -> u64 {
    let line = target.line();
    let ns = line.strip_prefix(word).and_then(|rest| rest.trim().parse().ok());
    ns.unwrap_or_else(|| panic!("{word} was expected, not {line:?}"))
}

/// Time of the threads of this name: all of it, and that of samples with `function`.
fn time(profile: &Profile, thread: &str, function: &str) -> (u64, u64) {
    let mut sums = (0, 0);
    for sample in &profile.samples {
        if [sample.labels.get("thread_name"), sample.labels.get("os_thread_name")]
            .iter()
            .any(|name| name.is_some_and(|name| name == thread))
        {
            sums.0 += sample.ns;
            if sample.frames.iter().any(|frame| frame.name == function) {
                sums.1 += sample.ns;
            }
        }
    }
    sums
}

/// `count` threads stand; then each works for `ns`, others come and go, and one works that is no Python's.
fn check_threads(python: &Python, count: u32, ns: u64) {
    let limits = Limits::new("threads", count + 500, 2 << 30);
    let mut target = Target::start(python, "crowd.py", SOURCE, &["threads", &count.to_string()]);
    limits.add(target.pid());
    target.tell("go");
    said(&mut target, "ready");
    let recording = capture::start(&["-F", HZ, "--max-cpu", "400", "-p", &target.pid().to_string()]);
    target.tell("first");
    said(&mut target, "first");
    target.tell(&format!("crowd {ns}"));
    let crowd_ns = said(&mut target, "crowd");
    target.tell("short 200 2000000");
    let short_ns = said(&mut target, "short");
    target.tell("foreign 64");
    let foreign_ns = said(&mut target, "foreign");
    let capture = recording.stop();
    no_losses(&python.to_string(), &capture);
    let process = capture.process(target.pid());
    let profile = capture.profile(target.pid());
    println!("{python}: {} {}", process["outcomes"], capture.json["losses"]);
    print_cost(&format!("{python}, {count} threads"), &capture);
    drop(target);
    drop(limits);

    // A thread that ends has no state any more for some 0.1 ms of its 2 ms; only a walk of all the list could tell.
    for (thread, function, work_ns, lost_percent) in
        [("crowd", "crowd_work", crowd_ns, 1), ("short", "short_work", short_ns, 15)]
    {
        let (all_ns, work_seen_ns) = time(&profile, thread, function);
        let (_, lost_ns) = time(&profile, thread, NOT_FOUND);
        println!("{python}: {thread}: {work_ns} ns worked, {work_seen_ns} ns seen, {lost_ns} ns not found");
        assert!(
            lost_ns * 100 <= all_ns * lost_percent,
            "{python}: {thread}: {lost_ns} of {all_ns} ns not found"
        );
        assert!(
            work_seen_ns * 10 >= work_ns * 9 && work_seen_ns * 10 <= work_ns * 11 + capture.stolen_ns * 10,
            "{python}: {thread}: {work_seen_ns} ns of {work_ns} ns"
        );
    }
    // Not found until it is asked for, and from then on known to be none of Python's.
    let (all_ns, lost_ns) = time(&profile, "foreign", NOT_FOUND);
    println!("{python}: foreign: {foreign_ns} ns worked, {all_ns} ns seen, {lost_ns} ns not found");
    assert!(all_ns * 10 >= foreign_ns * 9, "{python}: foreign: {all_ns} of {foreign_ns} ns");
    assert!(lost_ns < 400_000_000 && lost_ns * 2 < all_ns, "{python}: foreign: {lost_ns} of {all_ns} ns");
}

#[test]
fn five_thousand_threads_in_one_process() {
    for minor in [8, 13] {
        check_threads(&python(minor), 5000, 500_000);
    }
}

#[test]
fn three_hundred_processes_with_two_thousand_threads() {
    /// With the threads that stand and those that work there are 13 in each.
    const THREADS: u32 = 6;
    const WORK_NS: u64 = 3_000_000;
    let pythons = pythons();
    let count = 300usize.div_ceil(pythons.len()).to_string();
    let limits = Limits::new("processes", 6000, 8 << 30);
    let args = ["processes", &count, &THREADS.to_string(), &WORK_NS.to_string()];
    let mut targets: Vec<Target> =
        pythons.iter().map(|python| Target::start(python, "crowd.py", SOURCE, &args)).collect();
    for target in &mut targets {
        limits.add(target.pid());
        target.tell("fork");
    }
    for target in &mut targets {
        said(target, "ready");
    }
    let since = Instant::now();
    let recording = capture::start(&["-F", HZ, "--max-cpu", "400"]);
    println!("{:.2} s until the first sample", since.elapsed().as_secs_f64());
    for target in &mut targets {
        target.tell("go");
    }
    let children: Vec<(Python, BTreeMap<u32, i64>)> = pythons
        .iter()
        .zip(targets)
        .map(|(python, target)| {
            // What a child had used before it was told to go, negative, and what it used in all.
            let mut used = BTreeMap::new();
            for line in target.wait().lines() {
                let (pid, ns) = line.split_once(' ').expect("PID NS");
                let ns: i64 = ns.parse().expect("nanoseconds");
                *used.entry(pid.parse().expect("a pid")).or_insert(0) += ns;
            }
            (python.clone(), used)
        })
        .collect();
    let children: Vec<(&Python, u32, u64)> = children
        .iter()
        .flat_map(|(python, used)| used.iter().map(move |(pid, ns)| (python, *pid, *ns as u64)))
        .collect();
    let capture = recording.stop();
    drop(limits);
    no_losses("processes", &capture);
    print_cost("300 processes", &capture);
    assert!(children.len() >= 300, "{} children", children.len());
    let (mut shown_ns, mut used_ns, mut lost, mut samples) = (0, 0, 0, 0);
    for (python, pid, ns) in &children {
        let process = capture.process(*pid);
        assert_eq!(process["name"], "crowd", "{python}: {process}");
        assert_eq!(process["file"], format!("crowd-{pid}.pb.gz"), "{python}");
        assert_eq!(process["python_version"], *python.version, "{process}");
        shown_ns += process["cpu_ns"].as_u64().expect("a time");
        used_ns += ns;
        samples += process["samples"].as_u64().expect("a count");
        let outcome = |name: &str| process["outcomes"][name].as_u64().expect("a count");
        lost += outcome("thread_not_found") + outcome("unknown") + outcome("unreadable") + outcome("torn");
    }
    println!(
        "{} children used {used_ns} ns, {shown_ns} ns shown; {lost} of {samples} samples lost",
        children.len()
    );
    assert!(lost * 100 <= samples, "{lost} of {samples} samples without a stack");
    assert!(
        shown_ns * 100 >= used_ns * 93 && shown_ns * 100 <= used_ns * 107 + capture.stolen_ns * 100,
        "{shown_ns} of {used_ns} ns"
    );
}
