//! A view that stays open beside churn of processes, threads and code: what it holds does not grow, and time is not lost.
//! 45 seconds; `PYPROF_SOAK_SECONDS` says otherwise.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pyprof_tests::limits::Limits;
use pyprof_tests::pythons::python;
use pyprof_tests::{Scratch, Target, capture, pythons};

const SOAK: &str = include_str!("../targets/soak.py");
const NAMES: &str = include_str!("../targets/churn_names.py");
const MAX_MEMORY_MB: u64 = 64;
/// Four targets, and children that live for 0.1 s: those of a moment, told a little late.
const MAX_PROCESSES: u32 = 12;
/// Beside the limit on maps and profiles: what rises and falls with the work of a moment.
const SLACK_BYTES: u64 = 16 << 20;
/// Of what it holds on average: that is the same within 2 MB from one 20 s to the next.
const GROWTH_BYTES: u64 = 8 << 20;
/// Names fill up to a limit and are thrown out, over and over, every few seconds: an average is of many looks at each rise.
const BETWEEN_LOOKS: Duration = Duration::from_millis(25);

fn resident_bytes(pid: u32) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).expect("it runs");
    statm.split_whitespace().nth(1).and_then(|word| word.parse::<u64>().ok()).expect("a number") * 4096
}

/// What `pid` holds all the time from now on, until `stop`.
fn look_until(stop: &AtomicBool, pid: u32) -> Vec<u64> {
    let mut looks = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        looks.push(resident_bytes(pid));
        std::thread::sleep(BETWEEN_LOOKS);
    }
    looks
}

#[test]
fn a_view_that_stays_open_does_not_grow() {
    let seconds: u64 = std::env::var("PYPROF_SOAK_SECONDS").map_or(45, |text| text.parse().expect("seconds"));
    let scratch = Scratch::new("soak");
    let limits = Limits::new("top-soak", 300, 2 << 30);
    let mut targets = Vec::new();
    for (name, source, args) in [
        ("soak.py", SOAK, "processes"),
        ("soak.py", SOAK, "threads"),
        ("soak.py", SOAK, "codes"),
        ("names.py", NAMES, ""),
    ] {
        let script = scratch.path().join(name);
        std::fs::write(&script, source).expect("the script");
        let mut command = Command::new(&python(13).path);
        command.arg(&script).arg(args).args(pythons().iter().map(|python| &python.path));
        limits.enter(&mut command);
        let mut target = Target::command(command);
        assert_eq!(target.line(), "ready");
        targets.push(target);
    }
    let max_memory = MAX_MEMORY_MB.to_string();
    let mut child = Command::new(capture::binary())
        .args(["top", "--batch", "-i", "1", "-w", "all", "-F", "499", "--max-cpu", "400"])
        .args(["--max-memory", &max_memory])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let (mut held, mut cpu) = (Vec::new(), Vec::new());
    let (mut without_stack, mut most_processes) = (0.0, 0);
    let stop = AtomicBool::new(false);
    let looks = std::thread::scope(|scope| {
        let looks = scope.spawn(|| look_until(&stop, child.id()));
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(seconds) {
            let line = lines.next().expect("another table").expect("text");
            // `12.0 s, window all 12 s, 30 processes, 140.2 % CPU, ...`
            if let Some((before, after)) = line.split_once(" % CPU") {
                let mut words = before.split(' ').rev().skip_while(|word| *word != "processes,").skip(1);
                let processes: u32 = words.next().and_then(|word| word.parse().ok()).expect("a number");
                most_processes = most_processes.max(processes);
                let share =
                    after.trim_start_matches(", ").split(' ').next().and_then(|word| word.parse().ok());
                without_stack = share.expect("a number");
                held.push(resident_bytes(child.id()));
                cpu.push(
                    before.rsplit(' ').next().and_then(|word| word.parse::<f64>().ok()).expect("a number"),
                );
                println!("{line}: {} MB", held.last().copied().unwrap_or(0) >> 20);
            }
        }
        stop.store(true, Ordering::Relaxed);
        looks.join().expect("it only reads")
    });
    // SAFETY: our own child, which was not waited for.
    unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
    assert_eq!(child.wait().expect("our own child").code(), Some(0));
    drop(targets);

    let third = held.len() / 3;
    assert!(third >= 5, "{held:?}");
    assert!(held.iter().all(|held| *held <= (MAX_MEMORY_MB << 20) + SLACK_BYTES), "{held:?}");
    let mean = |looks: &[u64]| looks.iter().sum::<u64>() / looks.len() as u64;
    let thirds: Vec<u64> = looks.chunks(looks.len().div_ceil(3)).map(mean).collect();
    println!(
        "on average, of each third: {:?} KB",
        thirds.iter().map(|bytes| bytes >> 10).collect::<Vec<_>>()
    );
    assert!(
        thirds[2] <= thirds[1] + GROWTH_BYTES,
        "it still grows in the last third: {thirds:?} of {held:?}"
    );
    assert!(most_processes <= MAX_PROCESSES, "{most_processes} processes are there still, it says");
    // What is thrown out makes room: without that, most samples would be dropped by now.
    assert!(without_stack < 5.0, "{without_stack} % without a stack");
    // Two cores are kept busy all the time: what was forgotten by name is in the sum still.
    let (early, late) = (cpu[third], cpu[cpu.len() - 1]);
    assert!(late > early * 0.7, "CPU since the start: {early} % after a third, {late} % at the end");
}

/// Starts programs that are no Pythons and that end within milliseconds, until it is killed.
const SHORT: &str = "while :; do sh -c 'i=0; while [ $i -lt 4000 ]; do i=$((i+1)); done'; done";
/// Each would leave 3 KB behind: 2 MB in this time.
const SHORT_TIME: Duration = Duration::from_secs(5);
const SHORT_GROWTH_BYTES: u64 = 512 << 10;

#[test]
fn programs_that_are_no_pythons_leave_nothing_behind() {
    let limits = Limits::new("top-short", 64, 1 << 30);
    let mut command = Command::new("sh");
    command.args(["-c", SHORT]).stdin(Stdio::null());
    limits.enter(&mut command);
    let mut short = command.spawn().expect("it runs");
    let mut child = Command::new(capture::binary())
        .args(["top", "--batch", "-i", "1", "-F", "999", "--max-cpu", "400"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("it runs");
    // Until what is looked at first is known, and tables have their size.
    std::thread::sleep(Duration::from_secs(4));
    let before = resident_bytes(child.id());
    std::thread::sleep(SHORT_TIME);
    let after = resident_bytes(child.id());
    // SAFETY: our own child, which was not waited for.
    unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
    assert_eq!(child.wait().expect("our own child").code(), Some(0));
    limits.kill();
    short.wait().expect("our own child");
    println!("{} KB, then {} KB", before >> 10, after >> 10);
    assert!(after <= before + SHORT_GROWTH_BYTES, "{before} bytes, {after} after {SHORT_TIME:?}");
}
