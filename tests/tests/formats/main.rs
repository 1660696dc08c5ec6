//! One capture in every format, each read by a program that is not ours: what functions took, in which thread and when,
//! is the same in all, and what the interpreter says it did.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use pyprof_tests::readers::{self, Times};
use pyprof_tests::{Profile, Sample, Target, capture, go, pythons};
use serde_json::Value;

const SOURCE: &str = include_str!("../../targets/formats.py");
/// Of CPU, however long that takes beside others.
const SECONDS: &str = "1.5";
/// Over how much a sample of a phase may seem to be beside it: a tick comes late by an interrupt, and between the end of a
/// phase and its clock lies a turn of the other thread.
const SLACK_NS: i64 = 12_000_000;

/// What the target says of one call.
struct Phase {
    tid: u64,
    function: String,
    begin_ns: i64,
    end_ns: i64,
    cpu_ns: i64,
}

fn phases(json: &str) -> Vec<Phase> {
    let all: Vec<(u64, String, i64, i64, i64)> = serde_json::from_str(json).expect("phases");
    all.into_iter()
        .map(|(tid, function, begin_ns, end_ns, cpu_ns)| Phase { tid, function, begin_ns, end_ns, cpu_ns })
        .collect()
}

/// The only file of a directory with this ending.
fn only(directory: &Path, ending: &str) -> PathBuf {
    let files = std::fs::read_dir(directory).expect("the directory").flatten().map(|entry| entry.path());
    let mut found = files.filter(|path| path.to_string_lossy().ends_with(ending));
    let one = found.next().unwrap_or_else(|| panic!("no file ends in {ending}"));
    assert_eq!(found.next(), None, "{ending}");
    one
}

/// Own and total nanoseconds by name, with names that are two functions left out of `total`.
fn expected(file: &Path, profile: &Profile) -> Times {
    let mut functions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for frame in profile.samples.iter().flat_map(|sample| &sample.frames) {
        functions.entry(&frame.name).or_default().insert(&frame.file);
    }
    let top = go::top(&[], file).into_iter();
    top.filter(|(name, _)| functions[name.as_str()].len() == 1)
        .map(|(name, (own, total))| (name, (own as f64, total as f64)))
        .collect()
}

/// The same functions with the same times, but for a share and for what a rounded row hides.
fn assert_same(what: &str, got: &Times, expected: &Times, share: f64, ns: f64) {
    for (name, (own, total)) in expected {
        let Some((got_own, got_total)) = got.get(name) else { panic!("{what}: no {name}") };
        for (got, wanted) in [(got_own, own), (got_total, total)] {
            assert!((got - wanted).abs() <= wanted * share + ns, "{what}: {name} has {got}, not {wanted}");
        }
    }
}

fn sum<'a>(all: impl IntoIterator<Item = &'a Times>) -> Times {
    let mut sum = Times::new();
    for (name, (own, total)) in all.into_iter().flatten() {
        let times = sum.entry(name.clone()).or_default();
        *times = (times.0 + own, times.1 + total);
    }
    sum
}

/// `FRAME;FRAME WEIGHT`, as everybody reads it.
fn collapsed(text: &str) -> Times {
    let mut times = Times::new();
    for line in text.lines() {
        let (stack, weight) = line.rsplit_once(' ').expect("a weight");
        let weight: f64 = weight.parse().expect("a number");
        let name = |frame: &str| frame.split(" (/").next().expect("a name").to_owned();
        let names: Vec<String> = stack.split(';').map(name).collect();
        times.entry(names.last().expect("a frame").clone()).or_default().0 += weight;
        for name in names.into_iter().collect::<BTreeSet<_>>() {
            times.entry(name).or_default().1 += weight;
        }
    }
    times
}

/// When the samples of each thread were, by Firefox's tables: wall clock in nanoseconds, and weight.
fn firefox_times(file: &Path) -> Vec<(u64, i64, f64)> {
    let mut text = String::new();
    let file = std::fs::File::open(file).expect("the file");
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).expect("gzip");
    let json: Value = serde_json::from_str(&text).expect("JSON");
    let start = json["meta"]["startTime"].as_f64().expect("a time");
    let mut times = Vec::new();
    for thread in json["threads"].as_array().expect("threads") {
        let tid: u64 = thread["tid"].as_str().expect("a tid").parse().expect("a number");
        let column = |name: &str| thread["samples"][name].as_array().expect("a column").clone();
        // Summed up before it is added to the start, whose resolution is a quarter of a microsecond.
        let mut at = 0.0;
        for (delta, weight) in column("timeDeltas").iter().zip(column("weight")) {
            at += delta.as_f64().expect("milliseconds");
            times.push((tid, ((start + at) * 1e6) as i64, weight.as_f64().expect("milliseconds") * 1e6));
        }
    }
    times
}

#[test]
fn every_format_says_the_same_and_the_truth() {
    let pythons = pythons();
    let python = pythons.last().expect("an interpreter");
    let mut target = Target::start(python, "na\u{ef}ve <b>.py", SOURCE, &[]);
    let pid = target.pid().to_string();
    let formats = "pprof,flamegraph,collapsed,speedscope";
    let recording = capture::start(&[
        "-p",
        &pid,
        "-F",
        "999",
        "--max-cpu",
        "400",
        "-f",
        formats,
        "-f",
        "firefox",
        "--timeline",
    ]);
    target.tell(SECONDS);
    let phases = phases(&target.line());
    let capture = recording.stop();
    assert_eq!(capture.code, 0, "{}", capture.stderr);
    let directory = capture.directory();
    let pprof = only(&directory, ".pb.gz");
    let profile = Profile::read(&pprof);
    let expected = expected(&pprof, &profile);

    // The interpreter's own account: shares of CPU time. 1500 samples: a false alarm is beyond five standard deviations.
    let cpu = |name: &str| {
        let of_name = phases.iter().filter(|phase| phase.function == name);
        of_name.map(|phase| phase.cpu_ns as f64).sum::<f64>()
    };
    let truth = cpu("alpha") / (cpu("alpha") + cpu("beta"));
    let shown = expected["alpha"].1 / (expected["alpha"].1 + expected["beta"].1);
    assert!((truth - shown).abs() < 0.06, "alpha has {shown} and says {truth}");

    // Every sample has a time, and at that time its thread was in that function.
    check_times(&profile.samples, &phases);
    let mut timed: Vec<(u64, i64, f64)> = profile
        .samples
        .iter()
        .map(|sample| {
            let tid = sample.numbers["thread_id"] as u64;
            (tid, sample.numbers["end_timestamp_ns"], sample.ns as f64)
        })
        .collect();
    let mut firefox = firefox_times(&only(&directory, ".firefox.json.gz"));
    timed.sort_by(|a, b| a.partial_cmp(b).expect("numbers"));
    firefox.sort_by(|a, b| a.partial_cmp(b).expect("numbers"));
    assert_eq!(timed.len(), firefox.len());
    for (ours, theirs) in timed.iter().zip(&firefox) {
        assert!(ours.0 == theirs.0 && (ours.1 - theirs.1).abs() < 2000, "{ours:?} {theirs:?}");
        assert!((ours.2 - theirs.2).abs() < 1.0, "{ours:?} {theirs:?}");
    }

    let text = std::fs::read_to_string(only(&directory, ".collapsed.txt")).expect("text");
    assert!(!text.contains('\x1b') && text.contains("second \\x1b[31mthread (tid "), "{text}");
    assert_same("collapsed", &collapsed(&text), &expected, 1e-9, 0.0);

    let (said, threads) = readers::firefox(&only(&directory, ".firefox.json.gz"));
    assert_same("firefox", &sum(threads.iter().map(|(_, times)| times)), &expected, 1e-9, 1.0);
    let comments = said["meta"]["extra"].to_string();
    assert!(comments.contains("outcome complete"), "{comments}");
    let names: Vec<&str> = threads.iter().map(|(name, _)| name.as_str()).collect();
    assert!(
        names.iter().any(|name| name.contains("</script><script>alert(1)</script>;x (tid ")),
        "{names:?}"
    );

    let (said, profiles) = readers::speedscope(&only(&directory, ".speedscope.json"));
    assert_eq!((&said["invalid"], &said["wrong"]), (&Value::Array(vec![]), &Value::Array(vec![])));
    assert_eq!(profiles.len(), threads.len());
    // As shown, in hundredths; a function has a few rows, one per line.
    assert_same("speedscope", &sum(profiles.iter().map(|(_, times)| times)), &expected, 1e-3, 40_000.0);

    let page = only(&directory, ".html");
    let said = readers::read("flamegraph.js", &page, &[], &[("PATTERNS", "^alpha$ formats\\.nowhere")]);
    assert_eq!(said["wrong"], Value::Array(vec![]));
    assert_same("flamegraph", &readers::rows(&said["table"]), &expected, 1e-9, 0.0);
    assert_same("inverted", &readers::rows(&said["inverted_table"]), &expected, 1e-9, 0.0);
    let of_threads: Vec<Times> =
        said["threads"].as_object().expect("threads").values().map(readers::rows).collect();
    assert_same("threads", &sum(&of_threads), &expected, 1e-9, 0.0);
    let found = said["search"]["^alpha$"].as_str().expect("an answer");
    let share = 100.0 * expected["alpha"].1 / profile.total().1 as f64;
    assert!(found.contains(&format!("1 name matches, with {share:.2} % of cpu")), "{found}");
}

/// Of samples in `alpha` and `beta`: each within a phase of its thread and function.
fn check_times(samples: &[Sample], phases: &[Phase]) {
    let mut checked = 0;
    for sample in samples {
        let at_ns = sample.numbers["end_timestamp_ns"];
        let mut names = sample.frames.iter().map(|frame| frame.name.as_str());
        let Some(name) = names.find(|name| ["alpha", "beta"].contains(name)) else { continue };
        let fits = phases.iter().any(|phase| {
            let within = (phase.begin_ns - SLACK_NS..phase.end_ns + SLACK_NS).contains(&at_ns);
            within && phase.function == name && phase.tid == sample.numbers["thread_id"] as u64
        });
        assert!(fits, "{name} at {at_ns}");
        checked += 1;
    }
    assert!(checked > 1000, "{checked} samples");
}
