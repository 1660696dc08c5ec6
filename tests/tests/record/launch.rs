//! A command is run as it would run without us: its status, its signals, what it inherits.

use std::process::Command;

use pyprof_tests::pythons::python;
use pyprof_tests::running::{list, run, spawn, start, start_in};
use pyprof_tests::{Scratch, capture};

const LAUNCHED: &str = include_str!("../../targets/launched.py");

fn interpreter() -> String {
    python(12).path.to_str().expect("text").to_owned()
}

#[test]
fn the_status_is_that_of_the_command_or_says_who_failed() {
    let python = interpreter();
    let burn = "sum(range(3000000)); import sys; sys.exit(int(sys.argv[1]))";
    let rows: &[(&[&str], i32, &[&str])] = &[
        (&["-o", "out", "--", &python, "-c", burn, "0"], 0, &["out"]),
        (&["record", "-o", "out", "--", &python, "-c", burn, "7"], 7, &["out"]),
        (&["-q", "--", "sh", "-c", "exit 255"], 255, &[]),
        (&["--", "true"], 0, &[]),
        (&["--", "sh", "-c", "kill -9 $$"], 137, &[]),
        (&["--", "sh", "-c", "kill -TERM $$"], 143, &[]),
        (&["--", "/nowhere/at/all"], 127, &[]),
        (&["--", "no-such-program-anywhere"], 127, &[]),
        (&["--", "/etc/passwd"], 126, &[]),
        (&["--", "/"], 126, &[]),
        (&["--nonsense", "--", "true"], 125, &[]),
        (&["-o", "/proc/self/exe", "--", "true"], 125, &[]),
        (&["-o", "missing/parent", "--", "touch", "it-ran"], 125, &[]),
        (&["-p", "4194304", "--", "touch", "it-ran"], 125, &[]),
        (&["--btf", "/nowhere", "--", "touch", "it-ran"], 125, &[]),
        // Words of the command are the command's.
        (&["--", "sh", "-c", "test \"$0\" = -d", "-d"], 0, &[]),
    ];
    for (arguments, code, left) in rows {
        let ran = run(arguments);
        assert_eq!(ran.code, Some(*code), "{arguments:?}: {}", ran.stderr);
        assert_eq!(list(ran.scratch.path()), *left, "{arguments:?}: {}", ran.stderr);
        assert_eq!(ran.stdout, "", "{arguments:?}");
        if *code >= 125 && *code < 128 {
            assert!(!ran.stderr.is_empty(), "{arguments:?} says nothing");
        }
    }
}

#[test]
fn a_command_is_profiled_from_its_exec_on_with_all_that_it_starts() {
    let scratch = Scratch::new("launch");
    std::fs::write(scratch.path().join("work.py"), LAUNCHED).expect("the script");
    let ran = start_in(scratch, &["-F", "199", "-o", "out", "--", &interpreter(), "work.py"]).finish();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let json = ran.json();
    let processes = json["processes"].as_array().expect("a list");
    assert_eq!(processes.len(), 3, "{}", ran.stderr);
    assert!(processes.iter().all(|process| process["name"] == "work"), "{processes:?}");
    // Each by itself: all three have worked. How much they show of what the kernel charged them is measured, in benches/limits.
    for process in processes {
        let cpu_ns = process["cpu_ns"].as_u64().expect("a count");
        assert!(cpu_ns > 0 && process["outcomes"]["complete"].as_u64() > Some(0), "{process}");
    }
    let asked = &json["selection"]["asked"];
    assert_eq!(asked["command"], serde_json::json!([interpreter()]), "{asked}");
}

#[test]
fn a_command_inherits_what_we_inherited_and_nothing_else() {
    // Descriptors, nice value, scheduling, signals blocked, ignored and caught, limits, environment.
    let look = "ls -l /proc/self/fd | sed 's/.* \\([0-9]*\\) ->.*/\\1/'; nice; cut -d' ' -f18,19,41 /proc/$$/stat; \
                grep -E 'SigBlk|SigIgn|SigCgt' /proc/self/status; cat /proc/self/limits; env | grep -v ^_= | sort; \
                umask; pwd; cat /proc/$$/oom_score_adj /proc/$$/cgroup; awk '/policy|slice/' /proc/$$/sched";
    let scratch = Scratch::new("inherit");
    let mut plain = Command::new("sh");
    plain.args(["-c", look]).current_dir(scratch.path());
    let plain = spawn(plain, scratch).finish();
    // In the same directory, without what the first one left: nothing.
    let mut command = Command::new(capture::binary());
    command.args(["-q", "--", "sh", "-c", look]).current_dir(plain.scratch.path());
    let with = spawn(command, Scratch::new("inherit")).finish();
    assert_eq!(with.code, Some(0), "{}", with.stderr);
    assert_eq!(with.stdout, plain.stdout);
    assert!(plain.stdout.contains("SigBlk") && plain.stdout.contains("PATH="), "{}", plain.stdout);
}

#[test]
fn signals_are_passed_on() {
    let script = "
import signal, sys, time
def note(number, frame):
    print(signal.Signals(number).name, flush=True)
    print(signal.Signals(number).name, file=sys.stderr, flush=True)
for name in ('SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGUSR2'):
    signal.signal(getattr(signal, name), note)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
sys.stderr.write('ready\\n')
sys.stderr.flush()
while True:
    for _ in range(10000):
        pass
";
    let mut running = start(&["-o", "out", "--", &interpreter(), "-c", script]);
    running.wait_for("ready");
    let signals = [libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR2];
    for (signal, name) in signals.into_iter().zip(["SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR2"]) {
        running.signal(signal);
        // Two that wait at once come in any order.
        running.wait_for(name);
    }
    running.signal(libc::SIGTERM);
    let ran = running.finish();
    assert_eq!(ran.stdout, "SIGINT\nSIGHUP\nSIGQUIT\nSIGUSR2\n", "{}", ran.stderr);
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    assert!(ran.scratch.path().join("out/capture.json").exists(), "{}", ran.stderr);
}

#[test]
fn the_end_of_the_time_ends_the_sampling_and_not_the_command() {
    let script = "
import time
end = time.monotonic() + 2
while time.monotonic() < end:
    pass
print('through', flush=True)
raise SystemExit(4)
";
    let ran = run(&["-d", "0.5", "-o", "out", "--", &interpreter(), "-c", script]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(4), "through\n"), "{}", ran.stderr);
    let json = ran.json();
    // The command took two seconds.
    assert!(json["duration_seconds"].as_f64() < Some(1.9), "{json}");
}
