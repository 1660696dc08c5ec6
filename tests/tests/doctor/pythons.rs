//! Which Pythons run and whether each can be unwound: as the interpreters themselves say.

use std::process::Command;

use pyprof_tests::{Target, capture, pythons};
use serde_json::Value;

use super::Said;

/// Says its version, and how many threads Python knows of.
const PARKED: &str = "
import sys, threading, time
for _ in range(3):
    thread = threading.Thread(target=time.sleep, args=(600,))
    thread.daemon = True
    thread.start()
print('%d.%d.%d' % sys.version_info[:3], flush=True)
print(len(sys._current_frames()), flush=True)
time.sleep(600)
";

fn row(said: &Said, pid: u32) -> &Value {
    let rows = said.json["pythons"].as_array().expect("a list");
    rows.iter().find(|row| row["pid"] == pid).unwrap_or_else(|| panic!("no {pid} in {rows:?}"))
}

#[test]
fn every_interpreter_is_found_with_its_version_and_its_threads() {
    let mut parked: Vec<(Target, String, u64)> = Vec::new();
    for python in pythons() {
        let mut target = Target::spawn(&python, "parked.py", PARKED, &[]);
        let version = target.line();
        let threads = target.line().parse().expect("a number");
        parked.push((target, version, threads));
    }
    let said = Said::here();
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    for (target, version, threads) in &parked {
        let row = row(&said, target.pid());
        assert_eq!(row["state"], "ready", "{row}");
        // A pre-release says less of itself in `version_info`.
        assert!(row["version"].as_str().is_some_and(|said| said.starts_with(version)), "{version}: {row}");
        assert_eq!(
            (&row["threads"], &row["name"]),
            (&Value::from(*threads), &Value::from("parked")),
            "{row}"
        );
        let minor: u32 = version.split('.').nth(1).and_then(|minor| minor.parse().ok()).expect("a version");
        let layout = if minor >= 13 { "interpreter" } else { "table" };
        assert_eq!(row["layout"], layout, "{row}");
    }
}

#[test]
fn what_cannot_be_unwound_is_named_with_its_reason_and_is_no_problem_of_the_host() {
    let scratch = pyprof_tests::Scratch::new("forged");
    let source = scratch.path().join("forged.c");
    // Claims to be a version to come, and is all zeros behind that.
    let text = "#include <stdio.h>\nstruct { char cookie[8]; unsigned long version, rest[1000]; } _PyRuntime = \
                { \"xdebugpy\", 0x036300f0 };\nint main(void) { puts(\"ready\"); fflush(stdout); getchar(); return 0; }\n";
    std::fs::write(&source, text).expect("the source");
    let binary = scratch.path().join("for\u{1b}[31mged");
    let built =
        Command::new("gcc").args(["-rdynamic", "-o"]).arg(&binary).arg(&source).status().expect("gcc");
    assert!(built.success());
    let mut target = Target::command(Command::new(&binary));
    target.line();
    let said = Said::here();
    let row = row(&said, target.pid());
    assert_eq!((said.code, &row["state"]), (Some(0), &Value::from("not")), "{row}");
    assert!(row["reason"].as_str().is_some_and(|reason| reason.contains("3.99.0")), "{row}");
    assert_eq!(said.level("Python processes"), "warning");
    // A name may hold what a terminal obeys.
    let ran = Command::new(capture::binary()).arg("doctor").output().expect("it runs");
    let text = String::from_utf8(ran.stdout).expect("text");
    let line =
        text.lines().find(|line| line.trim_start().starts_with(&target.pid().to_string())).expect("a row");
    assert!(line.contains("for\\x1b[31mged") && line.contains("cannot be unwound: "), "{line:?}");
    assert!(!text.contains('\u{1b}'), "{text:?}");
}
