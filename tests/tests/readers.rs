//! What `go tool pprof` shows of a real capture is what a second reader, which shares no code with the writer, finds in
//! it: flat and cumulative per function and per line, every stack with its lines, every label.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use pyprof_tests::go::{self, Stack};
use pyprof_tests::{Frame, Profile, Sample, Target, capture, pythons};

const SOURCE: &str = include_str!("../targets/readers.py");

/// Flat and cumulative nanoseconds, by what `name` makes of a frame; recursion counts once.
fn totals(profile: &Profile, name: impl Fn(&Frame) -> String) -> BTreeMap<String, (u64, u64)> {
    let mut totals: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for sample in &profile.samples {
        let names: Vec<String> = sample.frames.iter().map(&name).collect();
        if let Some(leaf) = names.first() {
            totals.entry(leaf.clone()).or_default().0 += sample.ns;
        }
        for name in names.into_iter().collect::<BTreeSet<_>>() {
            totals.entry(name).or_default().1 += sample.ns;
        }
    }
    totals
}

/// `NAME FILE:LINE`, where pprof leaves out what is not there.
fn with_line(frame: &Frame) -> String {
    let Frame { name, file, line, .. } = frame;
    match (file.is_empty(), line) {
        (true, _) => name.clone(),
        (false, 0) => format!("{name} {file}"),
        (false, line) => format!("{name} {file}:{line}"),
    }
}

fn in_raw(frame: &Frame) -> String {
    let Frame { name, file, line, start_line, address } = frame;
    format!("{address:#x} M=1 {name} {file}:{line} s={start_line}()")
}

fn labels(sample: &Sample) -> Vec<String> {
    let texts = sample.labels.iter().map(|(key, value)| format!("{key}:[{value}]"));
    let mut labels: Vec<String> =
        texts.chain(sample.numbers.iter().map(|(key, value)| format!("{key}:[{value}]"))).collect();
    labels.sort();
    labels
}

fn stacks(profile: &Profile, name: impl Fn(&Frame) -> String) -> HashMap<Stack, (u64, u64)> {
    let mut sums: HashMap<Stack, (u64, u64)> = HashMap::new();
    for sample in &profile.samples {
        let frames = sample.frames.iter().map(&name).collect();
        let sum = sums.entry((frames, labels(sample))).or_default();
        *sum = (sum.0 + sample.count, sum.1 + sample.ns);
    }
    sums
}

fn assert_same<K: std::fmt::Debug + Eq + std::hash::Hash + Ord, V: std::fmt::Debug + PartialEq>(
    what: &str,
    go: impl IntoIterator<Item = (K, V)>,
    ours: impl IntoIterator<Item = (K, V)>,
) {
    let mut go: BTreeMap<K, V> = go.into_iter().collect();
    for (key, value) in ours {
        assert_eq!(
            go.remove(&key),
            Some(value),
            "{what}: {key:?}; left: {:?}",
            go.keys().take(5).collect::<Vec<_>>()
        );
    }
    assert!(go.is_empty(), "{what}: only go tool pprof has {go:?}");
}

#[test]
fn go_and_a_second_reader_agree_on_real_captures() {
    for python in pythons() {
        let target = Target::start(&python, "readers.py", SOURCE, &[]);
        let pid = target.pid();
        let recording = capture::start(&["-F", "1999", "--max-cpu", "400", "-p", &pid.to_string()]);
        target.wait_for_cpu(Duration::from_secs(1));
        let capture = recording.stop();
        assert_eq!(capture.code, 0, "{python}: {}", capture.stderr);
        let entry = capture.process(pid);
        let file = capture.directory().join(entry["file"].as_str().expect("a file"));
        let profile = Profile::read(&file);

        // The capture is worth comparing: many functions, several threads, native samples.
        let functions = totals(&profile, |frame| frame.name.clone());
        let threads: BTreeSet<i64> =
            profile.samples.iter().map(|sample| sample.numbers["thread_id"]).collect();
        assert!(functions.len() >= 8 && threads.len() == 3, "{python}: {functions:?} {threads:?}");
        assert_eq!(profile.total().0, entry["samples"], "{python}");
        assert_eq!(profile.total().1, entry["cpu_ns"], "{python}");

        assert_same(&format!("{python} -top"), go::top(&[], &file), functions);
        let lines = totals(&profile, with_line);
        assert_same(&format!("{python} -top -lines"), go::top(&["-lines"], &file), lines);
        assert_same(&format!("{python} -raw"), go::raw(&file), stacks(&profile, in_raw));
        let traces = stacks(&profile, with_line).into_iter().map(|(stack, (_, ns))| (stack, ns));
        assert_same(&format!("{python} -traces"), go::traces(&file), traces);
        eprintln!("  {python}: {} samples in {} stacks", profile.total().0, profile.samples.len());
    }
}
