//! Lines of live frames: what callers show is what the interpreter says of them, and lines weigh what they cost.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::thread::sleep;
use std::time::Duration;

use pyprof_tests::pythons::two_at_a_time;
use pyprof_tests::{Frame, Target, capture, pythons};

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

#[test]
fn every_caller_stands_at_the_line_that_the_interpreter_says() {
    let all_wrong = Mutex::new(Vec::new());
    two_at_a_time(|python| {
        let mut wrong = Vec::new();
        let mut target = Target::spawn(python, "spans.py", include_str!("../targets/spans.py"), &[]);
        let (all, burning) = reported(&target.line());
        let pid = target.pid().to_string();
        let recording = capture::start(&["-F", "4999", "--max-cpu", "100", "-p", &pid]);
        let goal_ns = target.schedstat_ns() + 1_000_000_000;
        while target.schedstat_ns() < goal_ns {
            sleep(Duration::from_millis(20));
        }
        let capture = recording.stop();
        assert_eq!(capture.code, 0, "{python}: {}", capture.stderr);
        let profile = capture.profile(target.pid()).without_collector();
        let complete = capture.process(target.pid())["outcomes"]["complete"].as_u64().expect("a count");
        let (mut checked, mut seen) = (0, HashSet::new());
        for sample in &profile.samples {
            let (leaf, callers) = sample.frames.split_first().expect("no stack is empty");
            // What is marked as incomplete is counted by the tests of impossible stacks.
            if sample.frames.last().is_some_and(|root| root.name != "<module>") {
                continue;
            }
            checked += sample.count;
            let callers: Vec<Caller> = callers.iter().map(caller).collect();
            if !all.contains(&callers) {
                wrong.push(format!("{python}: {} samples of {} under {callers:?}", sample.count, leaf.name));
            }
            if leaf.name == "leaf" {
                seen.insert(callers);
            }
        }
        println!("{python}: {checked} samples, {} of {} paths", seen.len(), burning.len());
        assert_eq!(checked, complete, "{python}: a whole stack starts at the module");
        // About 80 paths of equal cost take nearly all the time: each has some 40 of 3,000 samples, and misses all of
        // them with a probability of 1e-17.
        assert!(checked >= 3000, "{python}: {checked} samples");
        wrong.extend(burning.difference(&seen).map(|path| format!("{python}: never seen: {path:?}")));
        all_wrong.lock().expect("no panic").extend(wrong);
    });
    let wrong = all_wrong.into_inner().expect("no panic");
    wrong.iter().for_each(|line| println!("{line}"));
    assert!(wrong.is_empty(), "{} findings, listed above", wrong.len());
}

/// Samples that the shares are computed from, at least.
const SAMPLES: u64 = 5000;
/// Three do if all goes well.
const MAX_CAPTURES: u32 = 12;
/// What the target runs per capture: short, so that a machine that stands still now and then leaves most of them alone.
const RUN_NS: u64 = 450_000_000;

/// Three lines of 60, 30 and 10 % must show their shares within 3 standard deviations of the binomial distribution.
///
/// The truth is what the thread's own clock measured around each line during the very capture. False alarms are below
/// 1e-4 in spite of 21 comparisons: a run of the shortest line takes a millisecond or more, at least five ticks, so how
/// many of them fall on one run is certain but for one, a variance of at most 1/4, where the binomial has 4.5 for the
/// share of this line in the fifty ticks of a round: 3 of its deviations are 12 of the true ones, and still 6 if the
/// ticks of neighbouring rounds fall alike.
#[test]
fn lines_show_the_shares_of_time_they_take() {
    let source = include_str!("../targets/shares.py");
    let line_of = |mark: &str| {
        let at = source.lines().position(|line| line.ends_with(mark));
        at.unwrap_or_else(|| panic!("no line ends in {mark}")) as i64 + 1
    };
    let lines = ["# 60", "# 30", "# 10"].map(line_of);
    let mut wrong = Vec::new();
    for python in pythons() {
        let mut target = Target::start(&python, "shares.py", source, &[]);
        let pid = target.pid().to_string();
        let (mut seen, mut spent_ns) = (HashMap::new(), [0u64; 3]);
        for _ in 0..MAX_CAPTURES {
            if seen.values().sum::<u64>() >= SAMPLES {
                break;
            }
            // The target waits before and after, so capture and measurement cover the same.
            let recording = capture::start(&["-F", "5000", "--max-cpu", "100", "-p", &pid]);
            target.tell(&RUN_NS.to_string());
            let answer = target.line();
            let capture = recording.stop();
            assert_eq!(capture.code, 0, "{python}: {}", capture.stderr);
            let numbers: Vec<u64> = answer.split(' ').map(|word| word.parse().expect("a number")).collect();
            let &[first, second, third, stalls] = &numbers[..] else { panic!("{answer}") };
            // Judged by the target's clock alone, before a look at the profile.
            if stalls != 0 {
                println!("{python}: left out, the machine stood still {stalls} times");
                continue;
            }
            spent_ns = [spent_ns[0] + first, spent_ns[1] + second, spent_ns[2] + third];
            for sample in &capture.profile(target.pid()).without_collector().samples {
                let leaf = &sample.frames[0];
                if leaf.name == "loop" && lines.contains(&leaf.line) {
                    *seen.entry(leaf.line).or_default() += sample.count;
                }
            }
        }
        let samples: u64 = seen.values().sum();
        assert!(samples >= SAMPLES, "{python}: {samples} samples");
        let all_ns: u64 = spent_ns.iter().sum();
        for (line, ns) in lines.iter().zip(spent_ns) {
            let truth = ns as f64 / all_ns as f64;
            let shown = seen.get(line).copied().unwrap_or(0) as f64 / samples as f64;
            let sigma = (truth * (1.0 - truth) / samples as f64).sqrt();
            let off = (shown - truth) / sigma;
            println!(
                "{python}: line {line}: {shown:.4} of {samples} samples, {truth:.4} of the time ({off:+.2} sigma)"
            );
            if off.abs() > 3.0 {
                wrong.push(format!("{python}: line {line} is {off:+.2} sigma off"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}
