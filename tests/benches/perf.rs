//! `perf record` beside a capture: both use the same clock of the kernel, and each gets all of its ticks.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use pyprof_tests::pythons::python;
use pyprof_tests::{Scratch, Target, capture};

const SPIN: &str = "print('ready', flush=True)\nwhile True:\n    for _ in range(2000):\n        pass\n";
const PERF_HZ: u64 = 499;

fn perf_record(data: &Path, pid: u32) -> Child {
    Command::new("perf")
        .args(["record", "-q", "-e", "cpu-clock", "-F", &PERF_HZ.to_string(), "-p", &pid.to_string(), "-o"])
        .arg(data)
        .stdout(Stdio::null())
        .spawn()
        .expect("perf")
}

/// The samples in a file of perf's, as perf itself reads them.
fn samples(data: &Path) -> u64 {
    let script = Command::new("perf")
        .args(["script", "-F", "pid,event", "-i"])
        .arg(data)
        .stderr(Stdio::null())
        .output()
        .expect("perf");
    String::from_utf8_lossy(&script.stdout).lines().filter(|line| line.contains("cpu-clock")).count() as u64
}

#[test]
fn perf_and_a_capture_get_all_of_their_ticks_beside_each_other() {
    let scratch = Scratch::new("perf");
    let data = scratch.path().join("perf.data");
    let target = Target::start(&python(13), "spin.py", SPIN, &[]);
    let recording = capture::start(&["-F", "997", "--max-cpu", "400", "-p", &target.pid().to_string()]);
    let mut perf = perf_record(&data, target.pid());
    std::thread::sleep(Duration::from_millis(500));
    let before_ns = target.schedstat_ns();
    std::thread::sleep(Duration::from_secs(3));
    let charged_ns = target.schedstat_ns() - before_ns;
    // SAFETY: a child of ours that was not waited for.
    unsafe { libc::kill(perf.id() as i32, libc::SIGINT) };
    perf.wait().expect("perf ends");
    let capture = recording.stop();
    assert_eq!(capture.code, 0, "{}", capture.stderr);

    let process = capture.process(target.pid());
    let number = |key: &str| process[key].as_u64().expect("a number");
    let (ours, theirs) = (number("samples"), samples(&data));
    println!("{charged_ns} ns charged: {ours} samples of ours, {theirs} of perf's");
    // Both windows contain that of the charge. Samples of ours by count, not by weight: none is missing.
    assert!(ours as f64 >= 0.9 * 997.0 * charged_ns as f64 / 1e9, "{ours} of {charged_ns} ns");
    assert!(theirs as f64 >= 0.9 * PERF_HZ as f64 * charged_ns as f64 / 1e9, "{theirs} of {charged_ns} ns");
    assert_eq!(capture.loss("sample_ring_full") + capture.loss("sample_unaccounted"), 0);
    let complete = process["outcomes"]["complete"].as_u64().expect("a number");
    assert!(complete as f64 >= 0.99 * ours as f64, "{process}");
    let profile = capture.profile(target.pid());
    assert_eq!(profile.total(), (ours, number("cpu_ns")));
    let whole = profile.stacks().into_iter().filter(|(stack, _)| stack.contains("<module>"));
    assert_eq!(whole.map(|(_, count)| count).sum::<u64>(), complete);
}
