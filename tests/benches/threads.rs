//! Threads: many, deep, short-lived, with an id that was another's before, and without the GIL.

use std::collections::HashMap;

use pyprof_tests::pythons::python;
use pyprof_tests::{Capture, Profile, Python, Sample, Target, capture, pythons};

const SOURCE: &str = include_str!("../targets/threads.py");
const HIDDEN: &str = include_str!("../targets/hidden.py");

/// Ticks every half millisecond, so that milliseconds of work are many samples.
const FREQUENCY: &str = "1997";

/// Has the targets of all interpreters do the same things in one capture; each is given its profile and what it said last.
fn run(words: &[&str], check: impl Fn(&Python, &Capture, &Profile, &Target, &str)) {
    let pythons = pythons();
    let mut targets: Vec<Target> =
        pythons.iter().map(|python| Target::start(python, "threads.py", SOURCE, &[])).collect();
    let pids: Vec<String> =
        targets.iter().flat_map(|target| ["-p".into(), target.pid().to_string()]).collect();
    let mut args = vec!["-F", FREQUENCY, "--max-cpu", "200"];
    args.extend(pids.iter().map(String::as_str));
    let recording = capture::start(&args);
    let mut said = Vec::new();
    for word in words {
        for target in &mut targets {
            target.tell(word);
        }
        said = targets.iter_mut().map(Target::line).collect();
    }
    let capture = recording.stop();
    assert_eq!(capture.code, 0, "{}", capture.stderr);
    assert_eq!(capture.loss("sample_ring_full"), 0);
    for ((python, target), said) in pythons.iter().zip(&targets).zip(&said) {
        check(python, &capture, &capture.profile(target.pid()).without_collector(), target, said);
    }
}

fn names(sample: &Sample) -> Vec<&str> {
    sample.frames.iter().rev().map(|frame| frame.name.as_str()).collect()
}

/// The name of a function of one thread only: `many_17` and so on.
fn own_function(sample: &Sample) -> Option<&str> {
    let of_kind = |name: &&str| ["many_", "mortal_", "reuse_"].iter().any(|kind| name.starts_with(kind));
    names(sample).into_iter().find(of_kind)
}

/// What the target wrote to the kernel: beside the name that Python gives, where there is one.
fn thread_name(sample: &Sample) -> &str {
    let name = sample.labels.get("os_thread_name").or(sample.labels.get("thread_name"));
    name.map_or("", String::as_str)
}

fn samples<'a>(profile: &'a Profile, of: impl Fn(&Sample) -> bool + 'a) -> impl Iterator<Item = &'a Sample> {
    profile.samples.iter().filter(move |sample| of(sample))
}

/// 10 ms of work are 20 ticks. By time, since a host that stands still for some milliseconds merges ticks: chance takes half
/// a tick, 0.25 ms, at either end of each stretch on a CPU, and half of the work would be twenty of those.
#[test]
fn two_hundred_threads_are_seen_each_under_its_name() {
    run(&["many 200 10000000"], |python, capture, profile, target, _| {
        let mut seen: HashMap<String, (u64, i64)> = HashMap::new();
        for sample in &profile.samples {
            let Some(function) = own_function(sample) else { continue };
            assert_eq!(function.replace('_', "-"), thread_name(sample), "{python}: {:?}", names(sample));
            let entry = seen.entry(function.to_owned()).or_insert((0, sample.numbers["thread_id"]));
            assert_eq!(entry.1, sample.numbers["thread_id"], "{python}: {function} in two threads");
            entry.0 += sample.ns;
        }
        let least = seen.iter().min_by_key(|(_, (ns, _))| *ns).expect("threads");
        let outcomes = &capture.process(target.pid())["outcomes"];
        println!("{python}: {} threads, the least seen {least:?} ns; {outcomes}", seen.len());
        assert_eq!(seen.len(), 200, "{python}");
        assert!(least.1.0 >= 5_000_000, "{python}: {least:?}");
    });
}

#[test]
fn a_recursion_of_500_is_complete_and_one_of_700_keeps_its_leaf_side() {
    // pyunwind's limit: what a user sees of a deeper stack is this many frames, and the marker.
    const MOST: usize = profiler_common::limits::MAX_FRAMES;
    run(&["deep 600000000"], |python, _, profile, _, _| {
        let above = ["<module>", "deep"];
        for (thread, depth) in [("deep-500", 500), ("deep-700", 700)] {
            let mut expected: Vec<&str> = above.to_vec();
            expected.extend((0..depth).map(|level| ["even", "odd"][level % 2]));
            expected.push("burn");
            if expected.len() > MOST {
                expected.drain(..expected.len() - MOST);
                expected.insert(0, "<truncated>");
            }
            let (mut full, mut all, mut others) = (0, 0, HashMap::new());
            // The thread is renamed as it goes, and a profile has its last name: the depth tells the parts apart.
            for sample in samples(profile, |sample| sample.frames.iter().any(|frame| frame.name == "even")) {
                let truncated = sample.frames.last().is_some_and(|root| root.name == "<truncated>");
                if truncated != (depth == 700) {
                    continue;
                }
                let names = names(sample);
                all += sample.count;
                if names == expected {
                    full += sample.count;
                } else {
                    *others.entry((names.len(), sample.frames[0].name.clone())).or_insert(0) += sample.count;
                }
            }
            println!("{python}: {thread}: {full} of {all} samples at full depth, others {others:?}");
            // On the way down and up stacks are shorter; 600 ms at the bottom are 1,198 ticks.
            assert!(
                full >= 1000 && full * 10 >= all * 9,
                "{python}: {full} of {all} at depth {depth}: {others:?}"
            );
        }
        let truncated = samples(profile, |sample| names(sample).contains(&"<truncated>"));
        for sample in truncated {
            assert_eq!(sample.frames.len(), MOST + 1, "{python}");
            assert_eq!(names(sample)[0], "<truncated>", "{python}: the marker stands at the root");
        }
    });
}

#[test]
fn a_thread_that_dies_leaves_its_samples() {
    run(&["mortal 200000000", "many 3 200000000"], |python, _, profile, _, _| {
        let mut count = 0;
        for sample in samples(profile, |sample| own_function(sample) == Some("mortal_1")) {
            assert_eq!(thread_name(sample), "mortal", "{python}");
            assert!(!sample.numbers.contains_key("thread_generation"), "{python}: a first thread");
            count += sample.count;
        }
        let (_, ns) = profile.cumulative("mortal_1");
        println!("{python}: {count} samples of the dead thread, {:.1} ms", ns as f64 / 1e6);
        // 399 ticks; the bound is eleven Poisson errors.
        assert!(count >= 300 && ns > 150_000_000, "{python}: {count} samples");
        for sample in samples(profile, |sample| thread_name(sample) == "mortal") {
            assert!(
                own_function(sample).is_none_or(|name| name == "mortal_1"),
                "{python}: {:?}",
                names(sample)
            );
        }
    });
}

#[test]
fn threads_with_one_id_are_never_merged() {
    // One after the other: two processes that set the next id to be given would be in each other's way.
    for python in pythons() {
        let mut target = Target::start(&python, "threads.py", SOURCE, &[]);
        let recording =
            capture::start(&["-F", FREQUENCY, "--max-cpu", "200", "-p", &target.pid().to_string()]);
        target.tell("reuse 100000000");
        let said = target.line();
        let capture = recording.stop();
        assert_eq!(capture.code, 0, "{}", capture.stderr);
        let tid: i64 = said.strip_prefix("done ").and_then(|tid| tid.parse().ok()).expect("a thread id");
        let profile = capture.profile(target.pid()).without_collector();
        let mut counts: HashMap<(String, String, i64), u64> = HashMap::new();
        for sample in samples(&profile, |sample| sample.numbers["thread_id"] == tid) {
            let generation = sample.numbers.get("thread_generation").copied().unwrap_or(1);
            let function = own_function(sample).unwrap_or("").to_owned();
            *counts.entry((function, thread_name(sample).to_owned(), generation)).or_insert(0) +=
                sample.count;
        }
        println!("{python}: {counts:?}");
        let count = |number: i64| {
            let key = (format!("reuse_{number}"), format!("reuse-{number}"), number);
            counts.get(&key).copied().unwrap_or(0)
        };
        // 200 ticks each; the bound is seven Poisson errors.
        assert!(count(1) >= 100 && count(2) >= 100, "{python}: {counts:?}");
        for (function, name, generation) in counts.keys() {
            let same = |text: &str| text.is_empty() || text.ends_with(&generation.to_string());
            assert!(same(function) && same(name), "{python}: {counts:?}");
        }
    }
}

#[test]
fn threads_that_released_the_gil_show_their_python_frames() {
    run(&["released 500000000"], |python, _, profile, _, _| {
        for worker in ["zlib_worker", "hashlib_worker", "read_worker"] {
            let (mut whole, mut all) = (0, 0);
            // The kernel cuts names off after 15 bytes.
            for sample in samples(profile, |sample| thread_name(sample) == worker) {
                all += sample.count;
                let names = names(sample);
                let class = if python.minor >= 11 { "Thread." } else { "" };
                let machinery: Vec<String> = ["_bootstrap", "_bootstrap_inner", "run"]
                    .iter()
                    .map(|name| format!("{class}{name}"))
                    .collect();
                let work = if python.minor >= 11 { "released.<locals>.work" } else { "work" };
                let rest =
                    names.strip_prefix(machinery.iter().map(String::as_str).collect::<Vec<_>>().as_slice());
                if rest == Some(&[work, worker]) {
                    whole += sample.count;
                }
            }
            println!("{python}: {worker}: {whole} of {all} ({} not)", all - whole);
            // 500 ms are 998 ticks; naming the thread and leaving it takes a few of them, fifteen are allowed.
            assert!(all >= 400 && whole * 1000 >= all * 985, "{python}: {worker}: {whole} of {all}");
        }
    });
}

/// Up to 3.9 the running frame on the C stack tells which interpreter a thread runs. Of a list in lists each level takes some
/// 200 bytes of that stack: 300 of them are more than is read, and then it is said that it cannot be told.
#[test]
fn which_interpreter_runs_is_told_or_counted() {
    for (depth, is_hidden) in [("1", false), ("300", true)] {
        let target = Target::start(&python(9), "hidden.py", HIDDEN, &[depth]);
        let capture = capture::run(&["-d", "1", "-F", FREQUENCY, "-p", &target.pid().to_string()]);
        assert_eq!(capture.code, 0, "{}", capture.stderr);
        let profile = capture.profile(target.pid());
        let of = |name: &str| {
            samples(&profile, |sample| names(sample).contains(&name)).map(|sample| sample.count).sum::<u64>()
        };
        let (inside, outside, unsure) =
            (of("runs_inside"), of("runs_outside"), capture.loss("interpreter_unsure"));
        println!(
            "{depth} deep: {inside} inside, {outside} outside, {unsure} unsure of {:?}",
            profile.total()
        );
        let all = profile.total().0;
        assert!(all > 500 && inside + outside >= all * 98 / 100, "{inside} and {outside} of {all}");
        // Deep down its caller in the main interpreter is shown, and each such sample is counted; each level copies what is
        // below it, so that some of the time is spent where it still can be seen.
        let least = if is_hidden { outside * 2 } else { inside };
        assert!(least >= all * 95 / 100, "{depth} deep: {inside} and {outside} of {all}");
        let expected = if is_hidden { outside } else { 0 };
        assert!(unsure.abs_diff(expected) <= all / 50, "{depth} deep: {unsure} of {all} are unsure");
    }
}
