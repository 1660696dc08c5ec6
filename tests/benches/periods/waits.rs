//! Time off the CPU in periods: a wait that lasts through several is in each with its part.

use pyprof_tests::pythons::python;
use pyprof_tests::running::{list, start};
use pyprof_tests::{Profile, Target};

use super::{number, sets};

const WAITS: &str = "
import sys, threading, time
def forever():
    time.sleep(1000)
def naps():
    while True:
        time.sleep(0.35)
def blinks():
    while True:
        time.sleep(0.002)
def spins():
    while True:
        for _ in range(1000):
            pass
for function in (forever, naps, blinks, spins):
    threading.Thread(target=function, daemon=True).start()
time.sleep(0.2)
print('ready', flush=True)
def main():
    sys.stdin.readline()
main()
";
const THREADS: f64 = 5.0;
/// What the whole account may be off, and what the clocks at both ends of a period may be.
const SHARE: f64 = 0.02;
const SLACK_S: f64 = 0.01;

#[test]
fn waits_are_in_the_periods_that_they_are_in() {
    let target = Target::start(&python(12), "waits.py", WAITS, &[]);
    let pid = target.pid().to_string();
    let args = ["--off-cpu", "-F", "997", "--max-cpu", "200", "-p", &pid, "--every", "1", "-o", "out"];
    let mut running = start(&args);
    running.wait_for("Sampling ");
    for _ in 0..3 {
        running.wait_for("wrote ");
    }
    running.signal(libc::SIGUSR1);
    running.wait_for("wrote ");
    running.signal(libc::SIGINT);
    let ran = running.finish();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let out = ran.scratch.path().join("out");
    let sets = sets(&out);
    assert!(sets.len() >= 4, "{}", ran.stderr);
    let mut account = [0.0; 4];
    for (set, name) in sets.iter().zip(list(&out)) {
        let seconds = set["duration_seconds"].as_f64().expect("seconds");
        let process = &set["processes"][0];
        let off_cpu = &process["off_cpu"];
        let file = out.join(&name).join(off_cpu["file"].as_str().expect("a file"));
        let profile = Profile::read_foreign(&file, "off_cpu_events");
        let shown = |function: &str| profile.cumulative(function).1 as f64 / 1e9;
        let parts = ["forever", "main", "naps", "blinks"].map(shown);
        println!("{name}: {seconds:.3} s: {parts:.3?} {off_cpu}");
        for (part, function) in parts.into_iter().zip(["forever", "main", "naps"]) {
            let off = (part - seconds).abs();
            assert!(off <= SHARE * seconds + SLACK_S, "{function}: {part} of {seconds} s in {name}");
        }
        // It takes turns with who spins.
        assert!(parts[3] >= 0.5 * seconds && parts[3] <= seconds + SLACK_S, "{parts:?} of {seconds} s");
        assert_eq!(profile.cumulative("<stack lost>").0, 0, "{:?}", profile.stacks());
        let part = |name: &str| number(&off_cpu[name]) as f64 / 1e9;
        let sums = [part("off_cpu_ns"), part("runnable_ns"), number(&process["cpu_ns"]) as f64 / 1e9];
        let all: f64 = sums.iter().sum();
        // A thread that waits, and whoever runs while it does: at a boundary the wait for a CPU is not known yet.
        let expected = THREADS * seconds;
        assert!(
            (all - expected).abs() <= SHARE * expected + 3.0 * SLACK_S,
            "{name}: {sums:?} of {expected} s"
        );
        assert!((part("profile_ns") - part("off_cpu_ns")).abs() <= 2.0 * SLACK_S, "{name}: {off_cpu}");
        for (sum, more) in account.iter_mut().zip(sums.into_iter().chain([seconds])) {
            *sum += more;
        }
    }
    let [blocked, runnable, cpu, seconds] = account;
    let (all, expected) = (blocked + runnable + cpu, THREADS * seconds);
    println!(
        "{blocked:.3} s blocked, {runnable:.3} ready to run, {cpu:.3} running: {all:.3} of {expected:.3}"
    );
    assert!((all - expected).abs() <= SHARE * expected, "{account:?}");
}
