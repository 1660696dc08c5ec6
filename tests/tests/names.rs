//! Names of functions and files: as the interpreter has them, in every width of its strings, in the profile and in what
//! `go tool pprof` prints of it.

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;

use pyprof_tests::pythons::two_at_a_time;
use pyprof_tests::{Python, Target, capture, go};

/// ASCII, Latin-1, UCS-2, UCS-4: paths are strings as well.
const SCRIPTS: [&str; 3] = ["été.py", "Ж漢字.py", "𐐀🐍.py"];
/// What is shown at least of a text that is cut: 1,024 bytes in UCS-4.
const SHOWN_CHARS: usize = 256;
/// Longer texts must be cut, whatever their width.
const LONGEST_CHARS: usize = 1024;

/// Whether `shown` is `truth`, or, where that is too long, its beginning with a mark.
fn is_shown(truth: &str, shown: &str) -> bool {
    if truth.chars().count() < SHOWN_CHARS {
        return shown == truth;
    }
    let is_cut = |rest: &str| truth.starts_with(rest) && rest.chars().count() >= SHOWN_CHARS;
    match shown.strip_suffix('…') {
        Some(rest) => is_cut(rest) && rest.chars().count() <= LONGEST_CHARS,
        None => shown == truth && truth.chars().count() <= LONGEST_CHARS,
    }
}

/// As a profile has it: readers print names to terminals, so that control characters are escaped.
fn written(truth: &str) -> String {
    truth
        .chars()
        .map(|c| if c.is_ascii_control() { format!("\\x{:02x}", c as u32) } else { c.into() })
        .collect()
}

/// What is missing or mangled in a profile of `names.py` under this file name.
fn check(python: &Python, script: &str) -> Vec<String> {
    let mut target = Target::spawn(python, script, include_str!("../targets/names.py"), &[]);
    let truth: HashSet<(String, String, i64)> = serde_json::from_str(&target.line()).expect("names as JSON");
    let pid = target.pid().to_string();
    // Some 30 functions of equal cost: each has about 60 of 2,000 samples, and none with a probability of 1e-26.
    let recording = capture::start(&["-F", "4999", "--max-cpu", "100", "-p", &pid]);
    target.wait_for_cpu(Duration::from_millis(500));
    let capture = recording.stop();
    assert_eq!(capture.code, 0, "{python}: {}", capture.stderr);
    assert!(!capture.stderr.contains('\x1b'), "{python}: a name reached the terminal as it is");
    let process = capture.process(target.pid());
    assert_eq!(process["name"].as_str(), script.strip_suffix(".py"), "{python}");
    let profile = capture.profile(target.pid());
    let frames: Vec<_> = profile.samples.iter().flat_map(|sample| &sample.frames).collect();
    let file = capture.directory().join(process["file"].as_str().expect("a file"));
    let top = go::top(&[], &file);
    let traces = go::pprof(&["-traces"], &file);
    let traced: HashSet<&str> = traces.lines().map(str::trim_start).collect();

    let mut wrong = Vec::new();
    for (name, path, first_line) in &truth {
        let (name, path) = (&written(name), &written(path));
        let found = frames.iter().find(|frame| {
            is_shown(name, &frame.name) && is_shown(path, &frame.file) && frame.start_line == *first_line
        });
        let start: String = name.chars().take(40).collect();
        let Some(frame) = found else {
            wrong.push(format!("{python} {script}: no frame of {start:?} in {path:?}, line {first_line}"));
            continue;
        };
        if !top.contains_key(&frame.name) {
            wrong.push(format!("{python} {script}: -top does not show {start:?}"));
        }
        if !traced.contains(frame.name.as_str()) {
            wrong.push(format!("{python} {script}: -traces does not show {start:?}"));
        }
    }
    let odd = frames.iter().filter(|frame| frame.name.contains("unreadable")).count();
    println!("{python} {script}: {} names, {} samples, {odd} unreadable", truth.len(), profile.total().0);
    if odd != 0 {
        wrong.push(format!("{python} {script}: {odd} unreadable frames"));
    }
    wrong
}

#[test]
fn names_and_files_are_shown_as_the_interpreter_has_them() {
    let wrong = Mutex::new(Vec::new());
    two_at_a_time(|python| {
        for script in SCRIPTS {
            let found = check(python, script);
            wrong.lock().expect("no panic").extend(found);
        }
    });
    let wrong = wrong.into_inner().expect("no panic");
    wrong.iter().for_each(|line| println!("{line}"));
    assert!(wrong.is_empty(), "{} findings, listed above", wrong.len());
}
