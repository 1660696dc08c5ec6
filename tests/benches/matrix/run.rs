//! One interpreter under one capture: what it said before, what it took for each phase, and what the profile shows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use pyprof_tests::{Sample, Scratch, Target, capture};
use serde_json::Value;

use crate::rows::Row;
use crate::truth::Truth;

const HZ: &str = "1999";
/// Of processor time, per phase.
const PHASE_SECONDS: &str = "0.4";
/// A capture that has to find its targets by itself.
const HOST_SECONDS: &str = "2";

const TARGETS: [(&str, &str); 10] = [
    ("main.py", include_str!("../../targets/matrix/main.py")),
    ("recorder.py", include_str!("../../targets/matrix/recorder.py")),
    ("stacks.py", include_str!("../../targets/matrix/stacks.py")),
    ("delegating.py", include_str!("../../targets/matrix/delegating.py")),
    ("coroutines.py", include_str!("../../targets/matrix/coroutines.py")),
    ("native.py", include_str!("../../targets/matrix/native.py")),
    ("text.py", include_str!("../../targets/matrix/text.py")),
    ("parallel.py", include_str!("../../targets/matrix/parallel.py")),
    ("subs.py", include_str!("../../targets/matrix/subs.py")),
    ("in_sub.py", include_str!("../../targets/matrix/in_sub.py")),
];
/// What there is to read where reading has to take time.
const BLOB_BYTES: u64 = 1 << 22;

/// What main.py calls them: a process each, so that most is done where there is one interpreter.
const GROUPS: [&str; 2] = ["one", "more"];

pub struct Measured {
    pub truth: Truth,
    /// CPU time by phase, as the process itself counts it.
    pub spent_ns: BTreeMap<String, u64>,
    pub samples: Vec<Sample>,
    /// The entries of capture.json.
    pub processes: Vec<Value>,
    /// Time without ticks, as the capture tells: the machine stood still.
    pub unsampled_ns: u64,
}

/// The targets, in a directory that the interpreter sees; and that directory as it sees it.
fn place(row: &Row) -> std::io::Result<(Scratch, PathBuf)> {
    let scratch = match &row.root {
        Some(root) => Scratch::below(&root.join("tmp"), "matrix"),
        None => Scratch::new("matrix"),
    };
    for (name, source) in TARGETS {
        std::fs::write(scratch.path().join(name), source)?;
    }
    std::fs::File::create(scratch.path().join("blob"))?.set_len(BLOB_BYTES)?;
    let seen = match &row.root {
        Some(root) => Path::new("/").join(scratch.path().strip_prefix(root).unwrap_or(scratch.path())),
        None => scratch.path().to_owned(),
    };
    Ok((scratch, seen))
}

/// What the interpreter says of its stacks, all groups together.
fn truth(row: &Row, script: &Path) -> Result<Truth, String> {
    let mut truth = Truth::default();
    for group in GROUPS {
        let output = row.command().arg(script).args(["truth", group, "0"]).stdin(Stdio::null()).output();
        let output = output.map_err(|error| format!("failed to start: {error}"))?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        let said = String::from_utf8_lossy(&output.stdout);
        truth.add(&said).map_err(|why| format!("{why}: {}", stderr.trim()))?;
    }
    Ok(truth)
}

/// Starts a group and waits until it is prepared.
fn start(row: &Row, script: &Path, group: &str, seconds: &str) -> Target {
    let mut command = row.command();
    command.arg(script).args(["run", group, seconds]);
    let mut target = Target::command(command);
    target.line();
    target
}

pub fn measure(row: &Row) -> Result<Measured, String> {
    let (_scratch, seen) = place(row).map_err(|error| format!("failed to place the targets: {error}"))?;
    let script = seen.join("main.py");
    let truth = truth(row, &script)?;
    let mut targets = GROUPS.map(|group| start(row, &script, group, PHASE_SECONDS));
    let pids = targets.each_ref().map(|target| target.pid().to_string());
    let mut args = vec!["-F", HZ, "--max-cpu", "400"];
    args.extend(pids.iter().flat_map(|pid| ["-p", pid]));
    let recording = capture::start(&args);
    let mut spent_ns = BTreeMap::new();
    for target in &mut targets {
        target.tell("");
        loop {
            let line = target.line();
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["end"] => break,
                ["done", phase, ns] => {
                    let ns = ns.parse().map_err(|_| format!("no time: {line:?}"))?;
                    spent_ns.insert(phase.to_owned(), ns);
                }
                _ => return Err(format!("the interpreter said {line:?}")),
            }
        }
    }
    let capture = recording.stop();
    if capture.code != 0 {
        return Err(format!("the capture ended with {}: {}", capture.code, capture.stderr.trim()));
    }
    let processes = targets.iter().map(|target| capture.process(target.pid()).clone()).collect();
    let samples = targets.iter().flat_map(|target| capture.profile(target.pid()).samples).collect();
    Ok(Measured { truth, spent_ns, samples, processes, unsampled_ns: capture.loss("unsampled_ns") })
}

/// What a capture of the whole host says of an interpreter that it does not unwind: its entry among the unsupported.
pub fn named(row: &Row) -> Result<String, String> {
    let (_scratch, seen) = place(row).map_err(|error| format!("failed to place the targets: {error}"))?;
    let script = seen.join("main.py");
    let mut target = start(row, &script, GROUPS[0], "1000");
    target.tell("");
    std::thread::sleep(Duration::from_millis(200));
    let capture = capture::run(&["-F", "99", "-d", HOST_SECONDS]);
    let all = capture.json["unsupported"].as_array().cloned().unwrap_or_default();
    let entry = all.iter().find(|entry| entry["pid"] == target.pid());
    let entry = entry.ok_or_else(|| format!("not named: {}", capture.json["unsupported"]))?;
    Ok(entry["reason"].as_str().unwrap_or_default().to_owned())
}
