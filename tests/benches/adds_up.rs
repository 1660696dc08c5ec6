//! The weights of a profile are the CPU time that the scheduler charged, and the outcomes are all ticks there were.

use std::collections::HashMap;
use std::time::Duration;

use pyprof_tests::charged::{
    FREQUENCY, Ran, SOURCE, balanced, check_loads, error_ns, loads, unsampled_ns, window,
};
use pyprof_tests::{Profile, Target, capture, is_emulated, pythons};

#[test]
fn a_process_shows_the_cpu_time_it_was_charged() {
    for &percent in loads() {
        check_loads(percent, None);
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
