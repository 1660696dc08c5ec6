//! Lines of live frames: what callers show is what the interpreter says of them.

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;

use pyprof_tests::pythons::two_at_a_time;
use pyprof_tests::{Frame, Target, capture};

/// A caller: name, file, first line, line.
type Caller = (String, String, i64, i64);

fn caller(frame: &Frame) -> Caller {
    (frame.name.clone(), frame.file.clone(), frame.start_line, frame.line)
}

/// Every path of callers that the target reports, root last, and of these the ones that end in `leaf`, which is where
/// the time goes.
fn reported(line: &str) -> (HashSet<Vec<Caller>>, HashSet<Vec<Caller>>) {
    let paths: Vec<Vec<Caller>> = serde_json::from_str(line).expect("paths as JSON");
    let (mut all, mut burning) = (HashSet::new(), HashSet::new());
    for path in paths {
        // Whoever is on a path was itself called by the rest of it.
        all.extend((1..=path.len()).map(|from| path[from..].to_vec()));
        if path[0].0 == "leaf" {
            burning.insert(path[1..].to_vec());
        }
    }
    (all, burning)
}

/// Samples per version, at least. About 80 paths of equal cost take nearly all the time: each has some 40 of these, and
/// misses all of them with a probability of 1e-17.
const SAMPLES: u64 = 3000;
/// One does, if the host lets it. It is no claim about the host: a throttled one takes more.
const MAX_CAPTURES: u32 = 30;

#[test]
fn every_caller_stands_at_the_line_that_the_interpreter_says() {
    let all_wrong = Mutex::new(Vec::new());
    two_at_a_time(|python| {
        let mut wrong = Vec::new();
        let mut target = Target::spawn(python, "spans.py", include_str!("../targets/spans.py"), &[]);
        let (all, burning) = reported(&target.line());
        let pid = target.pid().to_string();
        let (mut checked, mut seen) = (0, HashSet::new());
        for _ in 0..MAX_CAPTURES {
            if checked >= SAMPLES {
                break;
            }
            let recording = capture::start(&["-F", "4999", "--max-cpu", "100", "-p", &pid]);
            target.wait_for_cpu(Duration::from_secs(1));
            let capture = recording.stop();
            assert_eq!(capture.code, 0, "{python}: {}", capture.stderr);
            let profile = capture.profile(target.pid()).without_collector();
            let complete = capture.process(target.pid())["outcomes"]["complete"].as_u64().expect("a count");
            let mut whole = 0;
            for sample in &profile.samples {
                let (leaf, callers) = sample.frames.split_first().expect("no stack is empty");
                // What is marked as incomplete is counted by the tests of impossible stacks.
                if sample.frames.last().is_some_and(|root| root.name != "<module>") {
                    continue;
                }
                whole += sample.count;
                let callers: Vec<Caller> = callers.iter().map(caller).collect();
                if !all.contains(&callers) {
                    let Frame { name, .. } = leaf;
                    wrong.push(format!("{python}: {} samples of {name} under {callers:?}", sample.count));
                }
                if leaf.name == "leaf" {
                    seen.insert(callers);
                }
            }
            assert_eq!(whole, complete, "{python}: a whole stack starts at the module");
            checked += whole;
        }
        println!("{python}: {checked} samples, {} of {} paths", seen.len(), burning.len());
        assert!(checked >= SAMPLES, "{python}: {checked} samples in {MAX_CAPTURES} captures");
        wrong.extend(burning.difference(&seen).map(|path| format!("{python}: never seen: {path:?}")));
        all_wrong.lock().expect("no panic").extend(wrong);
    });
    let wrong = all_wrong.into_inner().expect("no panic");
    wrong.iter().for_each(|line| println!("{line}"));
    assert!(wrong.is_empty(), "{} findings, listed above", wrong.len());
}
