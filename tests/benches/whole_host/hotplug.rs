//! A CPU that goes offline in the middle of a capture, and comes back.

use std::path::PathBuf;
use std::time::Duration;

use pyprof_tests::{Capture, Target, capture, pythons};

/// Burns 600 ms of CPU on one CPU and then says how much its process has used.
const SOURCE: &str = "
import os, sys, time
def burn():
    end = time.process_time_ns() + 600_000_000
    while time.process_time_ns() < end:
        pass
print('ready', flush=True)
for line in sys.stdin:
    os.sched_setaffinity(0, {int(line)})
    begin = time.process_time_ns()
    burn()
    print(time.process_time_ns() - begin, flush=True)
";

/// The last CPU.
fn cpu() -> u32 {
    let cpus = std::thread::available_parallelism().expect("the number of CPUs").get() as u32;
    assert!(cpus > 1, "a machine with one CPU cannot run this test");
    cpus - 1
}

/// What switches a CPU.
pub fn switch() -> PathBuf {
    format!("/sys/devices/system/cpu/cpu{}/online", cpu()).into()
}

/// A process that worked in one of three times, and how long.
pub struct Worked {
    pub when: &'static str,
    pub target: Target,
    pub ns: u64,
}

/// One works on the CPU before it goes, one beside it while it is gone, and one on it this long after it came back.
pub fn capture_across(settled: Duration) -> (Capture, [Worked; 3]) {
    let python = pythons().pop().expect("an interpreter");
    let mut worked = ["before", "during", "after"].map(|when| Worked {
        when,
        target: Target::start(&python, "plugged.py", SOURCE, &[]),
        ns: 0,
    });
    let recording = capture::start(&["-F", "999", "--max-cpu", "400"]);
    let burn = |one: &mut Worked, cpu: u32| {
        one.target.tell(&cpu.to_string());
        one.ns = one.target.line().parse().expect("nanoseconds");
    };
    let cpu = cpu();
    burn(&mut worked[0], cpu);
    let gone = pyprof_host::set(&switch(), "0").expect("root switches it off");
    burn(&mut worked[1], 0);
    drop(gone);
    // The set of CPUs is looked at once a second.
    std::thread::sleep(settled);
    burn(&mut worked[2], cpu);
    let capture = recording.stop();
    assert_eq!(capture.code, 0, "{}", capture.stderr);
    (capture, worked)
}

#[test]
fn the_time_on_a_cpu_that_goes_and_comes_back_is_what_was_used() {
    let (capture, worked) = capture_across(Duration::from_secs(2));
    for Worked { when, target, ns: used_ns } in &worked {
        let (samples, ns) = capture.profile(target.pid()).cumulative("burn");
        println!("{when}: {samples} samples, {ns} of {used_ns} ns");
        assert!(ns * 10 >= used_ns * 9 && ns * 10 <= used_ns * 11, "{when}: {ns} of {used_ns} ns");
    }
}
