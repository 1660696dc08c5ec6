//! One file: SIGUSR1 writes it as it is so far, and at the end it has everything.

use std::path::Path;
use std::time::{Duration, Instant};

use pyprof_tests::pythons::python;
use pyprof_tests::running::{list, start};
use pyprof_tests::target::SPIN;
use pyprof_tests::{Profile, Target, stolen_ns};

const WAITS: &str = "
import threading, time
def forever():
    time.sleep(1000)
def spins():
    while True:
        for _ in range(1000):
            pass
threading.Thread(target=forever, daemon=True).start()
time.sleep(0.2)
print('ready', flush=True)
spins()
";

const STEP: Duration = Duration::from_millis(600);
/// What passes between the first sample and what is said of it.
const SLACK_NS: u64 = 120_000_000;

/// What the scheduler charged since the beginning, and what passed on the wall.
type Passed = (u64, u64);

/// Files of what came since the beginning hold no less than had come before they were asked for, and no more than had after.
fn holds(directory: &Path, before: Passed, after: Passed, stolen_ns: u64) -> u64 {
    let cpu = Profile::read(&directory.join("one.pb.gz"));
    let waits = Profile::read_foreign(&directory.join("one.off_cpu.pb.gz"), "off_cpu_events");
    let (on_ns, off_ns) = (cpu.cumulative("spins").1, waits.cumulative("forever").1);
    let all_ns = cpu.duration_ns as u64;
    println!("{on_ns} ns on the CPU, {off_ns} off it, {all_ns} in all: {before:?} to {after:?}");
    let most = (after.0 + SLACK_NS + stolen_ns, after.1 + SLACK_NS);
    assert!(on_ns + 15_000_000 >= before.0 && on_ns <= most.0, "{on_ns}: {before:?} to {after:?}");
    assert!(off_ns + 15_000_000 >= before.1 && off_ns <= most.1, "{off_ns}: {before:?} to {after:?}");
    assert!(all_ns >= before.1 && all_ns <= most.1, "{all_ns}: {before:?} to {after:?}");
    on_ns
}

#[test]
fn a_signal_writes_one_file_as_it_is_so_far() {
    let target = Target::start(&python(12), "waits.py", WAITS, &[]);
    let pid = target.pid().to_string();
    let mut running = start(&["-F", "997", "--off-cpu", "-p", &pid, "-o", "one.pb.gz"]);
    running.wait_for("Sampling ");
    let (began, before_ns, stolen) = (Instant::now(), target.schedstat_ns(), stolen_ns());
    let passed = || (target.schedstat_ns() - before_ns, began.elapsed().as_nanos() as u64);
    let stolen = || (stolen_ns() - stolen) as u64;
    let directory = running.scratch.path().to_owned();
    let mut held = Vec::new();
    for _ in 0..2 {
        std::thread::sleep(STEP);
        let before = passed();
        running.signal(libc::SIGUSR1);
        running.wait_for("wrote one.pb.gz so far: 1 process, ");
        held.push(holds(&directory, before, passed(), stolen()));
    }
    // It cannot be written now; sampling goes on, and later it can.
    let path = directory.join("one.pb.gz");
    std::fs::remove_file(&path).and_then(|()| std::fs::create_dir(&path)).expect("our own directory");
    running.signal(libc::SIGUSR1);
    running.wait_for("SIGUSR1: ");
    assert!(running.said.ends_with("; sampling goes on\n"), "{}", running.said);
    assert_eq!(list(&directory), ["one.off_cpu.pb.gz", "one.pb.gz"], "{}", running.said);
    std::fs::remove_dir(&path).expect("it is empty");
    std::thread::sleep(STEP);
    let before = passed();
    running.signal(libc::SIGINT);
    let ran = running.finish();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    held.push(holds(&directory, before, passed(), stolen()));
    assert!(held.is_sorted(), "{held:?}");
}

#[test]
fn standard_output_is_written_once() {
    let target = Target::start(&python(12), "spin.py", SPIN, &[]);
    let pid = target.pid().to_string();
    let mut running = start(&["-p", &pid, "-f", "collapsed", "-o", "-"]);
    running.wait_for("Sampling ");
    std::thread::sleep(STEP);
    running.signal(libc::SIGUSR1);
    running.wait_for("SIGUSR1: standard output is written once");
    running.signal(libc::SIGINT);
    let ran = running.finish();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    // Of one thread in one loop there is one line, or two.
    let lines = ran.stdout.lines().count();
    assert!((1..=9).contains(&lines) && ran.stdout.contains("spin"), "{}", ran.stdout);
}
