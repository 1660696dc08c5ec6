//! Programs that are no Pythons when they start: they load one late, begin it again after its end, load it elsewhere, or
//! load it and let it be.
//!
//! Ground truth is what the program itself counts, `time.process_time_ns()` around the work. What is followed from the moment
//! it was noticed lacks the time before: mappings are read ten times a second, dormant runtimes five times, and on a busy
//! host each a little later. Half a second may be missing from work that follows such a moment, and nothing else. At 999 Hz
//! a second of work is 1000 samples; more programs than CPUs share it in slices of 3 ms or longer, each off by less than one
//! tick with a variance of at most 1/6: one sigma is 8 samples at most, and the 10 % allowed are 100.

use std::process::Command;
use std::time::Duration;

use pyprof_tests::{Capture, Python, Recording, Scratch, Target, capture, pythons};

const HZ: &str = "999";
const NOTICED_WITHIN_NS: u64 = 500_000_000;

/// `work(name, ms)` runs a function of that name for so long and says so.
const WORK: &str = "
import os, sys, time
def work(name, ms):
    space = {}
    exec('''def %s(end):
    while time.process_time_ns() < end:
        pass''' % name, globals(), space)
    start = time.process_time_ns()
    space[name](start + ms * 1000000)
    sys.stdout.write('%s %d %d\\n' % (name, os.getpid(), time.process_time_ns() - start))
    sys.stdout.flush()
";

/// A function that must be in a profile, and whether it follows a moment that has to be noticed first.
struct Work {
    name: &'static str,
    noticed: bool,
}

const fn at_once(name: &'static str) -> Work {
    Work { name, noticed: false }
}

const fn noticed(name: &'static str) -> Work {
    Work { name, noticed: true }
}

/// The shared builds: what a program can load.
fn libraries() -> Vec<(Python, String)> {
    let shared = pythons().into_iter().filter(|python| !python.is_static);
    shared
        .map(|python| {
            let prefix = python.path.parent().and_then(|bin| bin.parent()).expect("PREFIX/bin/PROGRAM");
            let library = prefix.join(format!("lib/libpython3.{}.so.1.0", python.minor));
            assert!(library.exists(), "{} is missing", library.display());
            (python.clone(), library.to_str().expect("a plain path").to_owned())
        })
        .collect()
}

fn build(scratch: &Scratch) -> std::path::PathBuf {
    let (source, program) = (scratch.path().join("host.c"), scratch.path().join("embedding_host"));
    std::fs::write(&source, include_str!("../targets/host.c")).expect("the source");
    let built = Command::new("gcc").arg("-O1").arg("-o").args([&program, &source]).arg("-ldl").status();
    assert!(built.expect("gcc is needed").success());
    program
}

/// One program that goes through `steps`; `L` loads the library, `rK:NAME:MS` works in the K-th.
fn start(program: &std::path::Path, python: &Python, library: &str, steps: &[&str]) -> Target {
    let mut command = Command::new(program);
    let prefix = python.path.parent().and_then(|bin| bin.parent()).expect("PREFIX/bin/PROGRAM");
    command.env("PYTHONHOME", prefix);
    for step in steps {
        let parts: Vec<&str> = step.split(':').collect();
        match parts[..] {
            ["L"] => command.arg(format!("l_{library}")),
            [run, name, ms] => command.arg(format!("{run}{WORK}\nwork('{name}', {ms})")),
            _ => command.arg(step),
        };
    }
    Target::command(command)
}

/// Runs programs to their end under a capture, and holds each function against what the program says.
fn check(row: &str, steps: &[&str], before: bool, only: bool, expected: &[Work]) {
    let scratch = Scratch::new("embedding");
    let program = build(&scratch);
    let mut libraries = libraries();
    if !before || only {
        // What depends on the version has been seen with all of them.
        let middle = libraries.len() / 2;
        libraries = [0, middle, libraries.len() - 1].map(|at| libraries[at].clone()).into();
    }
    let begin = || -> Vec<Target> {
        libraries.iter().map(|(python, library)| start(&program, python, library, steps)).collect()
    };
    let mut targets = if before { begin() } else { Vec::new() };
    // Long enough to be looked at and given up, and for what is mapped already to be known as unused.
    std::thread::sleep(Duration::from_millis(300));
    let pids: Vec<String> = targets.iter().map(|target| target.pid().to_string()).collect();
    let mut arguments = vec!["-F", HZ, "--max-cpu", "400"];
    if only {
        arguments.extend(pids.iter().flat_map(|pid| ["-p", pid]));
    }
    let recording: Recording = capture::start(&arguments);
    if !before {
        targets = begin();
        std::thread::sleep(Duration::from_millis(300));
    }
    targets.iter_mut().for_each(|target| target.tell("go"));
    let said: Vec<String> = targets.into_iter().map(Target::wait).collect();
    std::thread::sleep(Duration::from_millis(300));
    let capture = recording.stop();
    assert_eq!(capture.code, 0, "{row}: {}", capture.stderr);
    let mut failures = Vec::new();
    for ((python, _), said) in libraries.iter().zip(&said) {
        for work in expected {
            if let Err(what) = verify(&capture, python, said, work) {
                failures.push(format!("{row}, {python}, {}: {what}", work.name));
            }
        }
    }
    assert!(failures.is_empty(), "{}\n{}", failures.join("\n"), capture.stderr);
}

fn verify(capture: &Capture, python: &Python, said: &str, work: &Work) -> Result<(), String> {
    let line = said.lines().find(|line| line.starts_with(&format!("{} ", work.name)));
    let mut words = line.ok_or("the program did not say so")?.split(' ').skip(1);
    let mut number = || words.next().and_then(|word| word.parse::<u64>().ok()).ok_or("no number");
    let (pid, work_ns) = (number()? as u32, number()?);
    let images = capture.processes(pid);
    let [image] = images[..] else { return Err(format!("{} entries of process {pid}", images.len())) };
    if image["python_version"] != *python.version || image["name"] != "embedding_host" {
        return Err(format!("another program: {image}"));
    }
    let (_, seen_ns) = capture.profile_of(image).cumulative(work.name);
    eprintln!("  {python} {}: {} of {} ms", work.name, seen_ns / 1_000_000, work_ns / 1_000_000);
    let missing_ns = if work.noticed { NOTICED_WITHIN_NS } else { 0 };
    if seen_ns * 10 < work_ns.saturating_sub(missing_ns) * 9
        || seen_ns * 10 > work_ns * 11 + capture.stolen_ns * 10
    {
        return Err(format!("{seen_ns} ns of {work_ns} ns: {image}"));
    }
    Ok(())
}

/// Loaded late; finalized and begun again at the same place; unloaded and loaded at another.
const LATE: [&str; 14] = [
    "w",
    "L",
    "i0",
    "r0:first:1000",
    "f0",
    "i0",
    "r0:again:1000",
    "f0",
    "c0",
    "m",
    "L",
    "i1",
    "r1:moved:1000",
    "f1",
];
const LATE_WORK: [Work; 3] = [noticed("first"), at_once("again"), noticed("moved")];

#[test]
fn a_library_that_is_loaded_late() {
    check("from before the capture", &LATE, true, false, &LATE_WORK);
    check("started under the capture", &LATE, false, false, &LATE_WORK);
    check("the processes that were asked for", &LATE, true, true, &LATE_WORK);
}

#[test]
fn a_library_that_is_loaded_and_started_much_later_or_in_a_child() {
    // The processor is used for so long that the runtime counts as unused.
    let steps = ["w", "L", "b_3", "i0", "r0:after:1000", "f0"];
    check("started late", &steps, true, false, &[noticed("after")]);
    let steps = ["w", "L", "b_3", "F", "i0", "r0:child:1000", "f0"];
    check("started in a child", &steps, false, false, &[noticed("child")]);
    // As a server that loads a plugin and forks its workers: nobody has looked at it when they come to be.
    let steps = ["w", "L", "F", "i0", "r0:worker:1500", "f0"];
    check("started in a child that was forked at once", &steps, false, false, &[noticed("worker")]);
}

#[test]
fn a_library_that_is_never_started_costs_nothing_and_is_no_failure() {
    let scratch = Scratch::new("embedding");
    let program = build(&scratch);
    let (python, library) = libraries().pop().expect("one");
    let source = "import time\nprint('on', flush=True)\nwhile True: time.monotonic()\n";
    let spinner = Target::start(&python, "spin.py", source, &[]);
    let mut idle = start(&program, &python, &library, &["L", "e_on", "b_1000"]);
    idle.line();
    std::thread::sleep(Duration::from_millis(2500));
    let capture = capture::run(&["-d", "3", "-F", HZ, "--max-cpu", "400"]);
    assert_eq!(capture.code, 0, "{}", capture.stderr);
    assert_eq!(capture.processes(spinner.pid()).len(), 1, "{}", capture.stderr);
    assert_eq!(capture.processes(idle.pid()).len(), 0, "{}", capture.stderr);
    let refused = capture.json["unsupported"].as_array().expect("a list");
    assert!(refused.iter().all(|one| one["pid"] != idle.pid()), "{}", capture.stderr);
    let pid = idle.pid().to_string();
    let capture = capture::run(&["-d", "1", "-p", &pid]);
    assert_eq!(capture.code, 5, "{}", capture.stderr);
    assert!(capture.stderr.contains("does not start it"), "{}", capture.stderr);
}
