//! A CPU that goes offline in the middle of a capture, and comes back: the capture goes on, and samples it again.

use std::path::PathBuf;
use std::time::Duration;

use pyprof_tests::{Target, capture, pythons};

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

/// The last CPU, which comes back whatever happens.
struct Switch {
    cpu: u32,
}

impl Switch {
    fn file(&self) -> PathBuf {
        format!("/sys/devices/system/cpu/cpu{}/online", self.cpu).into()
    }

    fn turn(&self, on: bool) {
        let file = self.file();
        std::fs::write(&file, if on { "1" } else { "0" })
            .unwrap_or_else(|error| panic!("failed to switch {}: {error}", file.display()));
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        // Already on is no error.
        let _ = std::fs::write(self.file(), "1");
    }
}

#[test]
fn a_cpu_goes_and_comes_back() {
    let cpus = std::thread::available_parallelism().expect("the number of CPUs").get() as u32;
    assert!(cpus > 1, "a machine with one CPU cannot run this test");
    let switch = Switch { cpu: cpus - 1 };
    let python = pythons().pop().expect("an interpreter");
    let target = || Target::start(&python, "plugged.py", SOURCE, &[]);
    let (mut before, mut during, mut after) = (target(), target(), target());
    let recording = capture::start(&["-F", "999", "--max-cpu", "400"]);
    let burn = |target: &mut Target, cpu: u32| -> u64 {
        target.tell(&cpu.to_string());
        target.line().parse().expect("nanoseconds")
    };
    let before_ns = burn(&mut before, switch.cpu);
    switch.turn(false);
    let during_ns = burn(&mut during, 0);
    switch.turn(true);
    // The set of CPUs is looked at once a second.
    std::thread::sleep(Duration::from_secs(2));
    let after_ns = burn(&mut after, switch.cpu);
    let capture = recording.stop();
    assert_eq!(capture.code, 0, "{}", capture.stderr);
    for (what, target, used_ns) in
        [("before", &before, before_ns), ("during", &during, during_ns), ("after", &after, after_ns)]
    {
        let (samples, ns) = capture.profile(target.pid()).cumulative("burn");
        println!("{what}: {samples} samples, {ns} of {used_ns} ns");
        assert!(
            samples > 0 && ns * 10 >= used_ns * 9 && ns * 10 <= used_ns * 11,
            "{what}: {ns} of {used_ns} ns"
        );
    }
    // What became of each tick adds up to what was delivered, on the CPU that went as well.
    let ticks = &capture.json["ticks"];
    let count = |name: &str| ticks[name].as_u64().unwrap_or_else(|| panic!("{name} in {ticks}"));
    let lost: u64 = ["not_chained", "no_scratch"].map(|name| capture.loss(name)).iter().sum();
    let known = count("idle") + count("other") + count("on_python") + lost;
    assert_eq!(known, count("delivered"), "{ticks}");
}
