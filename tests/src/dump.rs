//! `pyprof-bpf dump`, and what its targets say of themselves.

use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::{Python, Target, capture};

/// Threads in known places.
pub const PARKED: &str = include_str!("../targets/dump/parked.py");
/// Variables of every kind.
pub const LOCALS: &str = include_str!("../targets/dump/locals.py");

/// `pyprof-bpf dump` with these arguments.
pub fn dump(arguments: &[&str]) -> Output {
    Command::new(capture::binary())
        .arg("dump")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("pyprof-bpf runs")
}

/// The one process of a dump that must succeed.
pub fn dumped(arguments: &[&str]) -> Value {
    let output = dump(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    let all: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let processes = all["processes"].as_array().expect("processes");
    assert_eq!(processes.len(), 1, "{arguments:?}: {stderr}");
    processes[0].clone()
}

/// A target that has said in a line of JSON what there is to be seen.
pub fn telling(python: &Python, source: &str, arguments: &[&str]) -> (Target, Value) {
    let mut target = Target::spawn(python, "target.py", source, arguments);
    let told = serde_json::from_str(&target.line()).expect("JSON");
    (target, told)
}

/// Everything that the target has told is in the dump. `is_live`: what only a live process has.
pub fn check(row: &str, told: &Value, process: &Value, is_live: bool) {
    let threads = process["threads"].as_array().expect("threads");
    for expected in told.as_array().expect("threads") {
        let name = expected["name"].as_str().expect("a name");
        let row = format!("{row}: {name:?}");
        let own: Vec<&Value> = threads.iter().filter(|thread| thread["tid"] == expected["tid"]).collect();
        assert_eq!(own.len(), 1, "{row}");
        let stacks = own[0]["stacks"].as_array().expect("stacks");
        let frames = |stack: &Value| -> Vec<Value> {
            let frames = stack["frames"].as_array().expect("frames");
            frames.iter().map(|frame| json!([frame["function"], frame["file"], frame["line"]])).collect()
        };
        let seen: Vec<Vec<Value>> = stacks.iter().map(frames).collect();
        let wanted: Vec<Vec<Value>> =
            serde_json::from_value(expected["stacks"].clone()).expect("stacks of frames");
        assert_eq!(seen, wanted, "{row}");
        for stack in stacks {
            assert_eq!((&stack["torn"], &stack["end"]), (&json!(false), &json!("complete")), "{row}");
            assert_eq!(stack["ident"], expected["ident"], "{row}");
            assert_eq!((&stack["name"], &stack["daemon"]), (&expected["name"], &expected["daemon"]), "{row}");
            assert_ne!(stack["gil"], "holds", "{row}: it sleeps");
        }
        if is_live {
            assert_eq!(own[0]["state"], "sleeping", "{row}");
            assert!(own[0]["syscall"].is_string(), "{row}: {}", own[0]);
        }
        // The newest interpreter comes first; each but the main one has a number.
        if stacks.len() == 2 {
            assert!(stacks[0]["interpreter"].as_u64() > Some(0), "{row}: {}", stacks[0]["interpreter"]);
            assert_eq!(stacks[1]["interpreter"], 0, "{row}");
        }
    }
    // And one of which Python knows nothing.
    let natives = threads.iter().filter(|thread| thread["stacks"].as_array().is_some_and(Vec::is_empty));
    assert_eq!(natives.count(), 1, "{row}");
    assert_eq!(threads.len(), told.as_array().expect("threads").len() + 1, "{row}");
    assert_eq!((&process["unassigned"], &process["complete"]), (&json!([]), &json!(true)), "{row}");
}
