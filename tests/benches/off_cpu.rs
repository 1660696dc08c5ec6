//! Time off the CPU, against the clocks of who waited and the scheduler's own account.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use pyprof_tests::pythons::python;
use pyprof_tests::{
    Capture, Frame, Profile, Python, Sample, Target, capture, is_emulated, pythons, stolen_ns,
};
use serde_json::Value;

const SOURCE: &str = include_str!("../targets/off_cpu.py");

/// What a sum may be off by. An emulated processor takes long from one clock to the next.
fn share() -> f64 {
    if is_emulated() { 0.15 } else { 0.02 }
}

/// What a wait that ends while the clock is being read may take.
const SLACK_NS: f64 = 3e6;

/// Marks are of one of the two targets.
fn line_of(mark: &str) -> i64 {
    let of = |source: &str| source.lines().position(|line| line.ends_with(&format!("# at: {mark}")));
    match (of(SOURCE), of(MANY)) {
        (Some(line), None) | (None, Some(line)) => line as i64 + 1,
        (ours, theirs) => panic!("{mark} marks lines {ours:?} and {theirs:?}"),
    }
}

fn off_cpu_of(capture: &Capture, pid: u32) -> (Value, Profile) {
    let entry = capture.process(pid)["off_cpu"].clone();
    let file = entry["file"].as_str().expect("a file was written");
    let profile = Profile::read_foreign(&capture.directory().join(Path::new(file)), "off_cpu_events");
    let expected = [("off_cpu_events", "count"), ("off_cpu", "nanoseconds")];
    assert_eq!(profile.types, expected.map(|(name, unit)| (name.to_owned(), unit.to_owned())));
    (entry, profile)
}

fn ns(value: &Value) -> f64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no time")) as f64
}

/// Samples in which `function` stands at the line that bears its mark.
fn at<'a>(profile: &'a Profile, function: &str, mark: &str) -> Vec<&'a Sample> {
    let line = line_of(mark);
    let stands =
        |sample: &&Sample| sample.frames.iter().any(|frame| frame.name == function && frame.line == line);
    profile.samples.iter().filter(stands).collect()
}

fn sum<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> f64 {
    samples.into_iter().map(|sample| sample.ns as f64).sum()
}

/// All the time that the living threads of a process have waited for a CPU (`/proc/PID/task/TID/schedstat`, second field).
fn run_delay_ns(pid: u32) -> f64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("the target lives");
    let of = |task: std::fs::DirEntry| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        text.split_whitespace().nth(1).and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0)
    };
    tasks.flatten().map(of).sum()
}

struct Ran<'a> {
    python: &'a Python,
    target: Target,
    threads: f64,
    said: Value,
    run_delay_ns: f64,
}

/// Runs the target under each interpreter at once.
fn window<'a>(pythons: &'a [Python], seconds: &str, more: &[&str]) -> (Capture, Vec<Ran<'a>>) {
    let start = |python| {
        let mut target = Target::spawn(python, "off_cpu.py", SOURCE, &[seconds]);
        let threads = target.line().parse().expect("a number of threads");
        Ran { python, target, threads, said: Value::Null, run_delay_ns: 0.0 }
    };
    let mut ran: Vec<Ran> = pythons.iter().map(start).collect();
    // From printing to blocking.
    std::thread::sleep(Duration::from_millis(100));
    let pids: Vec<String> = ran.iter().flat_map(|one| ["-p".into(), one.target.pid().to_string()]).collect();
    let mut args = vec!["--off-cpu", "-F", "997", "--max-cpu", "200"];
    args.extend(more);
    args.extend(pids.iter().map(String::as_str));
    let recording = capture::start(&args);
    std::thread::sleep(Duration::from_millis(200));
    for one in &mut ran {
        one.run_delay_ns = -run_delay_ns(one.target.pid());
        one.target.tell("go");
    }
    for one in &mut ran {
        one.said = serde_json::from_str(&one.target.line()).expect("what it measured");
    }
    std::thread::sleep(Duration::from_millis(100));
    for one in &mut ran {
        one.run_delay_ns += run_delay_ns(one.target.pid());
    }
    let capture = recording.stop();
    assert_eq!(capture.code, 0, "{}", capture.stderr);
    println!("{} returns were not seen", capture.loss("off_cpu_return_unseen"));
    for loss in ["off_cpu_ring_full", "off_cpu_table_full", "off_cpu_unaccounted", "record_malformed"] {
        assert_eq!(capture.loss(loss), 0, "{loss}");
    }
    (capture, ran)
}

#[test]
fn planted_waits_stand_at_their_lines_and_the_account_adds_up() {
    for (number, group) in pythons().chunks(3).enumerate() {
        let capture = held_against_clocks(group, &[]);
        if number == 0 {
            reported_by_wait(&capture);
        }
    }
}

/// What was waited for is in formats that have no labels, and in a report's sums.
fn reported_by_wait(capture: &Capture) {
    let file = capture.json["processes"][0]["off_cpu"]["file"].as_str().expect("a file");
    let report_of = |path: &std::path::Path, more: &[&str]| {
        let mut command = std::process::Command::new(capture::binary());
        let output = command.arg("report").arg(path).args(more).output();
        String::from_utf8(output.expect("it runs").stdout).expect("text")
    };
    let report = |more: &[&str]| report_of(&capture.directory().join(file), more);
    // Of the whole capture, too, whose files of CPU time know no waits.
    let whole = report_of(&capture.directory(), &["--by", "wait"]);
    assert!(whole.contains("\noff_cpu: ") && whole.contains("recvfrom"), "{whole}");
    let rows: Value = serde_json::from_str(&report(&["--by", "wait", "--json"])).expect("JSON");
    let of_row = |name: &str| -> f64 {
        let mut rows = rows["rows"].as_array().expect("rows").iter();
        rows.find(|row| row["name"] == name).map_or(0.0, |row| ns(&row["total"]["weight"]))
    };
    let collapsed = report(&["-f", "collapsed", "-o", "-"]);
    let of_lines = |leaf: &str| -> f64 {
        let leaf = format!(";<{leaf}> ");
        let weights = collapsed.lines().filter_map(|line| line.split_once(&leaf));
        weights.map(|(_, weight)| weight.parse::<f64>().expect("a number")).sum()
    };
    for call in ["recvfrom", "GIL", "futex"] {
        assert!(of_row(call) > 5e7 && of_row(call) == of_lines(call), "{call}: {rows}\n{collapsed}");
    }
}

/// On kernels without it a stack is walked by other loops, and read from other places.
#[test]
fn planted_waits_stand_at_their_lines_without_bpf_loop() {
    let group = [9, 11, 13].map(python);
    let capture = held_against_clocks(&group, &["--bounded-loops", "-v"]);
    let loaded = "programs: pyprof_bounded, pyprof_switch_b\n";
    assert!(capture.stderr.contains(loaded), "{}", capture.stderr);
}

fn held_against_clocks(group: &[Python], more: &[&str]) -> Capture {
    let stolen = stolen_ns();
    let (capture, ran) = window(group, "1", more);
    // In ticks of 10 ms.
    let stolen = stolen_ns() - stolen + 1e7;
    let seconds = capture.json["duration_seconds"].as_f64().expect("a duration");
    for Ran { python, target, threads, said, run_delay_ns } in &ran {
        let (entry, profile) = off_cpu_of(&capture, target.pid());
        lines(python, said, &profile, stolen, !more.is_empty());
        // Who waited before anybody looked, and who still does.
        let forever = sum(at(&profile, "forever", "forever"));
        println!("{python}: {forever} ns of {seconds} s for ever");
        assert!((forever / 1e9 - seconds).abs() <= share() * seconds, "{python}: {forever} of {seconds} s");
        let before = sum(at(&profile, "waiter", "before"));
        let waiters = said.as_object().expect("results").len() as f64;
        assert!(
            before >= waiters * if is_emulated() { 1.0 } else { 0.2e9 },
            "{python}: {before} ns before the beginning"
        );
        // Nobody is anywhere else.
        let (shown, shown_ns) = profile.total();
        let is_second = |sample: &&Sample| sample.numbers.contains_key("thread_generation");
        assert_eq!(
            profile.samples.iter().find(is_second),
            None,
            "{python}: every thread is the first of its id"
        );
        assert_eq!(entry["profile_ns"], shown_ns, "{python}");
        let (blocks, off_cpu_ns) = (ns(&entry["blocks"]), ns(&entry["off_cpu_ns"]));
        // Every stack was walked; or there were too many at once, and chance decided about short ones (`not_walked`).
        let is_exact = entry["not_walked"] == 0 && blocks == shown as f64;
        let most_off = if is_exact { 0.0 } else { 2e-3 * off_cpu_ns };
        assert!((off_cpu_ns - shown_ns as f64).abs() <= most_off, "{python}: {shown} {shown_ns}, {entry}");
        let cpu_ns = ns(&capture.process(target.pid())["cpu_ns"]);
        let runnable_ns = ns(&entry["runnable_ns"]);
        let all = (shown_ns as f64 + runnable_ns + cpu_ns) / 1e9;
        let expected = threads * seconds;
        println!(
            "{python}: {:.2} s blocked, {:.3} ready to run ({:.3} by the scheduler), {:.3} running: {all:.3} of {expected:.3}",
            shown_ns as f64 / 1e9,
            runnable_ns / 1e9,
            run_delay_ns / 1e9,
            cpu_ns / 1e9,
        );
        assert!((all - expected).abs() <= share() * expected, "{python}: {all} of {expected} s");
        let off = (runnable_ns - run_delay_ns).abs();
        assert!(off <= share() * run_delay_ns + threads * SLACK_NS, "{python}: {entry}, {run_delay_ns} ns");
    }
    capture
}

/// Since 6.9 (CONFIG_X86_FRED) registers of user mode may lie two words deeper, where the programs for kernels before 5.17 do
/// not look: with `--bounded-loops` there are no system calls then.
fn calls_are_hidden() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("/proc");
    let mut numbers = release.split(['.', '-']).map_while(|word| word.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(9))
}

/// Where else a thread waited, for a message.
fn elsewhere(profile: &Profile, tid: i64, line: i64) -> Vec<(String, u64, &HashMap<String, String>)> {
    let of = |sample: &&Sample| {
        sample.numbers.get("thread_id") == Some(&tid) && sample.frames.iter().all(|frame| frame.line != line)
    };
    let said = |sample: &'_ Sample| {
        let frame = |frame: &Frame| format!("{}:{}", frame.name, frame.line);
        sample.frames.iter().map(frame).collect::<Vec<_>>().join(" < ")
    };
    profile.samples.iter().filter(of).map(|sample| (said(sample), sample.ns, &sample.labels)).collect()
}

/// Each thread's waits at its line, with their time, the system call and whether it is the GIL.
fn lines(python: &Python, said: &Value, profile: &Profile, stolen_ns: f64, bounded: bool) {
    let rows: [(&str, &[&str]); 4] = [
        ("sleeps", &["clock_nanosleep", "select", "pselect6", "futex"]),
        ("reads", &["recvfrom", "futex"]),
        ("locks", &["futex"]),
        ("awaits_gil", &["futex"]),
    ];
    let names_no_call = profile.samples.iter().all(|sample| !sample.labels.contains_key("syscall"));
    for (function, calls) in rows {
        let truth = ns(&said[function]["blocked"]);
        let samples = at(profile, function, function);
        let shown = sum(samples.iter().copied());
        println!("{python}: {function}: {:.1} ms shown, {:.1} waited", shown / 1e6, truth / 1e6);
        let bound = share() * truth + SLACK_NS;
        let off = shown - truth;
        let tid = said[function]["tid"].as_i64().expect("a thread");
        let elsewhere = elsewhere(profile, tid, line_of(function));
        assert!(
            -bound - stolen_ns <= off && off <= bound,
            "{python}: {function}: {}, elsewhere {elsewhere:?}",
            said[function]
        );
        for sample in &samples {
            let call = sample.labels.get("syscall").map_or("", String::as_str);
            // None: a page was missing.
            assert!(call.is_empty() || calls.contains(&call), "{python}: {function} in {call:?}");
            assert_eq!(sample.numbers["thread_id"], tid);
        }
        let own_call = |sample: &&Sample| {
            sample.labels.get("syscall").is_some_and(|call| call != "futex" || calls[0] == "futex")
        };
        let waits_for_gil = |sample: &&Sample| sample.labels.get("gil").is_some_and(|gil| gil == "waiting");
        let for_gil = sum(samples.iter().filter(|sample| waits_for_gil(sample)).copied());
        if function == "awaits_gil" {
            assert!(for_gil >= 0.95 * shown, "{python}: {for_gil} of {shown} ns wait for the GIL");
        }
        // Each takes the GIL again after its own wait, and that is told apart.
        let own = sum(samples.iter().filter(|sample| !waits_for_gil(sample)).copied());
        if function == "sleeps" {
            let slept = ns(&said[function]["times"]) * 20e6;
            // As late as the kernel wakes it: 50 us by its timers, and what the host takes. Who is put aside on the way to
            // sleep may have slept enough by the time it is back.
            let least = slept - ns(&said[function]["delay"]);
            // The timers of an emulated machine are late.
            let most = if is_emulated() { f64::MAX } else { 1.02 * slept + SLACK_NS + stolen_ns };
            assert!(
                (0.999 * least..=most).contains(&own),
                "{python}: {own} of {slept} ns slept: {}, elsewhere {elsewhere:?}",
                said[function]
            );
        }
        if function != "awaits_gil" && !(bounded && names_no_call && calls_are_hidden()) {
            let called =
                sum(samples.iter().filter(|sample| own_call(sample) && !waits_for_gil(sample)).copied());
            assert!(called >= 0.9 * own, "{python}: {function}: {called} of {own} ns in {}", calls[0]);
        }
    }
}

const MANY: &str = include_str!("../targets/off_cpu_many.py");

/// Four standard errors: one false alarm in 16,000.
const ERRORS: f64 = 4.0;

/// Where threads block more often than stacks can be walked, chance decides which are: sums must be right in the mean, and
/// long waits as they were. The truth is the kernel program's own account, which counts every wait, and was held against
/// clocks above.
#[test]
fn what_is_not_walked_is_stood_for_without_bias() {
    let pythons = pythons();
    let python = pythons.last().expect("an interpreter");
    let mut target = Target::start(python, "off_cpu_many.py", MANY, &["3"]);
    std::thread::sleep(Duration::from_millis(50));
    let pid = target.pid().to_string();
    let recording = capture::start(&["--off-cpu", "-p", &pid, "--max-cpu", "200"]);
    target.tell("go");
    let said: Value = serde_json::from_str(&target.line()).expect("what it measured");
    let capture = recording.stop();
    assert_eq!(capture.code, 0, "{}", capture.stderr);
    let (entry, profile) = off_cpu_of(&capture, target.pid());
    let (exact_ns, exact, not_walked) =
        (ns(&entry["off_cpu_ns"]), ns(&entry["blocks"]), ns(&entry["not_walked"]));
    let (shown, shown_ns) = profile.total();
    let scale = exact / (exact - not_walked);
    println!("{python}: {said} {entry} {shown} events, one in {scale:.1} walked");
    assert!(scale >= 2.0, "{python}: nearly every wait was walked, this shows nothing: {entry}");
    // The variance of a sum of which one in `scale` is taken, as much again for times when fewer are.
    let error_ns = (2.0 * scale * ns(&said["squares"])).sqrt();
    let error = (2.0 * scale * exact).sqrt();
    println!(
        "  {:+.2} % of the time (error {:.2}), {:+.2} % of the events (error {:.2})",
        100.0 * (shown_ns as f64 - exact_ns) / exact_ns,
        100.0 * error_ns / exact_ns,
        100.0 * (shown as f64 - exact) / exact,
        100.0 * error / exact,
    );
    // A walk makes a wait longer; how much of that is seen depends on who runs where meanwhile.
    let walks_ns = exact * 500.0;
    assert!(
        (shown_ns as f64 - exact_ns).abs() <= ERRORS * error_ns + walks_ns,
        "{python}: {shown_ns} of {exact_ns} ns"
    );
    assert!((shown as f64 - exact).abs() <= ERRORS * error, "{python}: {shown} of {exact} waits");
    // Long waits are all there: at their lines where they were walked, and at no other.
    let not_walked = profile.flat("<not walked>").1 as f64;
    println!("  {:.1} ms of long waits were not walked", not_walked / 1e6);
    let mut all = not_walked;
    for (function, each_ns) in [("naps", 2e6), ("rests", 30e6)] {
        let most = ns(&said[function]) * each_ns;
        let long = sum(at(&profile, function, function));
        println!("  {function}: {:.1} ms shown of {:.1}", long / 1e6, most / 1e6);
        assert!(long <= 1.25 * most, "{python}: {function}: {long} of {most}");
        all += long;
    }
    let least = ns(&said["naps"]) * 2e6 + ns(&said["rests"]) * 30e6;
    // Put aside on the way to sleep.
    let aside = ns(&entry["runnable_ns"]).min(0.2 * least);
    assert!(all >= 0.98 * least - aside, "{python}: {all} of {least} ns");
}

/// More threads, one after the other, than the table has places for.
const CHURN: &str = "
import threading, time, sys
print('ready', flush=True)
sys.stdin.readline()
for _ in range(17000):
    thread = threading.Thread(target=time.sleep, args=(0,))
    thread.start()
    thread.join()
print('done', flush=True)
sys.stdin.readline()
";

const BLOCKED: &str = "
import threading, time
for _ in range(50):
    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
time.sleep(0.2)
print('ready', flush=True)
time.sleep(1000)
";

/// Threads leave the table when they end, and their time stays in the account.
#[test]
fn threads_that_end_leave_their_time_and_nothing_else() {
    let pythons = pythons();
    let python = pythons.last().expect("an interpreter");
    let mut churn = Target::start(python, "churn.py", CHURN, &[]);
    let blocked = Target::start(python, "blocked.py", BLOCKED, &[]);
    let pids = [churn.pid().to_string(), blocked.pid().to_string()];
    let recording = capture::start(&["--off-cpu", "-p", &pids[0], "-p", &pids[1], "--max-cpu", "200"]);
    std::thread::sleep(Duration::from_millis(1000));
    let pid = blocked.pid();
    // Killed while all its threads are blocked.
    drop(blocked);
    churn.tell("go");
    churn.line();
    let capture = recording.stop();
    assert_eq!(capture.code, 0, "{}", capture.stderr);
    assert_eq!(capture.loss("off_cpu_table_full"), 0, "ended threads keep their places");
    assert_eq!(capture.loss("off_cpu_thread_lost"), 0);
    let (entry, profile) = off_cpu_of(&capture, pid);
    let shown = sum(profile.samples.iter().filter(|sample| sample.labels.contains_key("syscall")));
    println!("{entry}, {:.1} s in system calls", shown / 1e9);
    let seconds = ns(&entry["off_cpu_ns"]) / 1e9;
    assert!((51.0..60.0).contains(&seconds), "{seconds} s of 51 threads that were killed after one");
    assert!(shown / 1e9 >= 51.0, "{shown} ns in the system calls that they waited in");
    assert_eq!(entry["profile_ns"], entry["off_cpu_ns"]);
}
