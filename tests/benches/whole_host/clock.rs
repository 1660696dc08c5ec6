//! The real-time clock is set while a capture runs: nothing is counted by it. Runs in a machine of its own only
//! (`xtask/src/vm/plan.rs`), since it sets the clock of the whole machine.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pyprof_tests::target::SPIN;
use pyprof_tests::{Target, capture, is_emulated, pythons};

/// Sets the real-time clock by so many seconds.
fn step(seconds: i64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let time = libc::timespec { tv_sec: now.as_secs() as i64 + seconds, tv_nsec: now.subsec_nanos().into() };
    // SAFETY: a valid pointer, of which the kernel reads.
    let failed = unsafe { libc::clock_settime(libc::CLOCK_REALTIME, &time) };
    assert_eq!(failed, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn steps_of_the_real_time_clock_change_no_count_and_no_time() {
    assert!(is_emulated(), "it sets the clock of the machine: only `cargo xtask vm` runs it");
    // Whichever the machine has: what is at stake is the clock.
    let python = pythons().pop().expect("an interpreter");
    let target = Target::start(&python, "spin.py", SPIN, &[]);
    let pid = target.pid().to_string();
    let before = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let recording = capture::start(&["-F", "199", "--max-cpu", "400", "-p", &pid]);
    let charged_ns = target.schedstat_ns();
    // Forth, back beyond the start of the capture, and to where it was.
    for seconds in [3_600, -7_200, 3_600] {
        std::thread::sleep(Duration::from_secs(1));
        step(seconds);
    }
    std::thread::sleep(Duration::from_secs(1));
    let charged_ns = target.schedstat_ns() - charged_ns;
    let capture = recording.stop();
    assert_eq!(capture.code, 0, "{}", capture.stderr);

    let process = capture.process(target.pid());
    let number = |key: &str| process[key].as_u64().expect("a number");
    println!("{charged_ns} ns charged: {process} {}", capture.json["losses"]);
    // Beyond the window lies the time that the capture takes to begin and to end.
    let seen_ns = number("cpu_ns") + capture.loss("unsampled_ns");
    assert!(seen_ns as f64 >= 0.9 * charged_ns as f64, "{seen_ns} of {charged_ns} ns");
    let seconds = capture.json["duration_seconds"].as_f64().expect("a number");
    assert!((4.0..60.0).contains(&seconds), "{seconds} s");
    assert!(number("cpu_ns") as f64 / 1e9 <= seconds * 1.05, "{process} in {seconds} s");
    let outcomes = process["outcomes"].as_object().expect("outcomes");
    let sum: u64 = outcomes.values().filter_map(|count| count.as_u64()).sum();
    assert_eq!(sum, number("samples"));
    assert_eq!(capture.loss("sample_unaccounted"), 0);
    // The start is what the clock said then.
    let profile = capture.profile(target.pid());
    let (start_s, before_s) = (profile.time_ns as f64 / 1e9, before.as_secs_f64());
    assert!((before_s - 1.0..before_s + 60.0).contains(&start_s), "{start_s} and {before_s}");
    assert_eq!(profile.total(), (number("samples"), number("cpu_ns")));
}
