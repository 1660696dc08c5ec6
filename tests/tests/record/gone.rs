//! Processes that were asked for by their numbers, and end.

use std::time::{Duration, Instant};

use pyprof_tests::Target;
use pyprof_tests::pythons::python;
use pyprof_tests::running::start;
use serde_json::Value;

const FOR_A_WHILE: &str = "
import sys, time
print('ready', flush=True)
def work():
    while time.process_time() < float(sys.argv[1]):
        pass
work()
";

#[test]
fn a_capture_of_processes_ends_with_the_last_of_them() {
    let [mut brief, mut longer] =
        ["0.5", "1.2"].map(|seconds| Target::spawn(&python(12), "work.py", FOR_A_WHILE, &[seconds]));
    let pids = [brief.pid().to_string(), longer.pid().to_string()];
    let mut running = start(&["-F", "199", "-p", &pids[0], "-p", &pids[1], "-o", "out"]);
    running.wait_for("Sampling ");
    let began = Instant::now();
    // Neither is waited for: a process that nobody has asked about has ended all the same.
    running.wait_for("what was asked for has ended");
    let took = began.elapsed();
    let ran = running.finish();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(longer.ended().success() && brief.ended().success());
    assert!(took < Duration::from_secs(20), "{took:?}");
    let json = std::fs::read(ran.scratch.path().join("out/capture.json")).expect("a set of files");
    let json: Value = serde_json::from_slice(&json).expect("JSON");
    assert_eq!(json["processes"].as_array().map(Vec::len), Some(2), "{json}");
}

/// The first one ends at once; one that it left behind works for a second.
#[test]
fn a_capture_of_a_tree_ends_with_the_last_of_it() {
    let leaves = "import os, sys, time
print('ready', flush=True)
sys.stdin.readline()
if os.fork():
    os._exit(0)
def works():
    end = time.monotonic() + 1.5
    while time.monotonic() < end: pass
works()
";
    let mut target = Target::start(&python(12), "leaves.py", leaves, &[]);
    let mut running = start(&["-F", "199", "--tree", &target.pid().to_string(), "-o", "out"]);
    running.wait_for("Sampling ");
    let began = Instant::now();
    target.tell("go");
    running.wait_for("what was asked for has ended");
    let took = began.elapsed();
    let ran = running.finish();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(
        (Duration::from_millis(1500)..Duration::from_secs(20)).contains(&took),
        "{took:?}: {}",
        ran.stderr
    );
    let json = std::fs::read(ran.scratch.path().join("out/capture.json")).expect("a set of files");
    let json: Value = serde_json::from_slice(&json).expect("JSON");
    let worked: u64 =
        json["processes"].as_array().into_iter().flatten().filter_map(|one| one["cpu_ns"].as_u64()).sum();
    assert!(worked > 500_000_000, "{json}");
}

#[test]
fn what_a_process_makes_of_itself_or_leaves_behind_goes_on() {
    // An exec is no end; and of a tree somebody is left.
    let exec = "import os, sys
print('ready', flush=True)
sys.stdin.readline()
os.execv(sys.executable, [sys.executable, '-c', 'while True: pass'])
";
    let leaves = "import os, sys, time
print('ready', flush=True)
sys.stdin.readline()
if os.fork():
    os._exit(0)
end = time.monotonic() + 6
while time.monotonic() < end: pass
";
    for (source, option) in [(exec, "-p"), (leaves, "--tree")] {
        let mut target = Target::start(&python(12), "turns.py", source, &[]);
        let mut running = start(&["-F", "199", option, &target.pid().to_string(), "-d", "3", "-o", "out"]);
        running.wait_for("Sampling ");
        let began = Instant::now();
        target.tell("go");
        let ran = running.finish();
        assert!(began.elapsed() >= Duration::from_millis(2800), "{option}: {}", ran.stderr);
        assert!(!ran.stderr.contains("has ended"), "{option}: {}", ran.stderr);
    }
}
