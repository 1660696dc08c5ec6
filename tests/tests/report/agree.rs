//! The same numbers as `go tool pprof`, to the last nanosecond.

use super::{Bench, for_everybody, made};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use pyprof_tests::{Profile, Target, capture, pythons};
use serde_json::Value;

const SOURCE: &str = include_str!("../../targets/readers.py");

/// What go prints; nothing is symbolized, nothing is left out.
fn go(args: &[&str], files: &[&Path]) -> String {
    let fixed =
        ["tool", "pprof", "-symbolize=none", "-nodefraction=0", "-edgefraction=0", "-nodecount=1000000"];
    let output = Command::new("go").args(fixed).args(args).args(files).output().expect("go");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// A value in the smallest unit of its kind.
fn value(text: &str) -> i64 {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    number.parse().unwrap_or_else(|_| panic!("{text:?} is no whole number"))
}

type Sums = BTreeMap<String, (i64, i64)>;

/// Own and total, by what go prints behind them; `(inline)` is of no interest.
fn go_top(args: &[&str], files: &[&Path]) -> Sums {
    let text = go(&[&["-top"], args].concat(), files);
    let (_, table) = text.split_once("cum%\n").expect("a table");
    let row = |line: &str| {
        let mut columns = line.split_whitespace();
        let mut next = || columns.next().expect("six columns");
        let (own, _, _, total, _) = (value(next()), next(), next(), value(next()), next());
        // Names hold single blanks.
        let name = columns.collect::<Vec<_>>().join(" ");
        let name = name.trim_end_matches(" (inline)").trim_end_matches(" (partial-inline)").to_owned();
        (name, (own, total))
    };
    table.lines().map(row).filter(|(_, sums)| *sums != (0, 0)).collect()
}

fn text<'a>(row: &'a Value, key: &str) -> &'a str {
    row[key].as_str().unwrap_or_else(|| panic!("{key} in {row}"))
}

/// Ours under the names that go gives: without `file` by the name alone. Rows that go makes one of add up in their own time, and
/// not in their total: there `None`.
fn ours(
    rows: &Value,
    key: impl Fn(&Value) -> String,
    own: &str,
    total: &str,
) -> BTreeMap<String, (i64, Option<i64>)> {
    let mut sums: BTreeMap<String, (i64, Option<i64>)> = BTreeMap::new();
    let number = |value: &Value| match value {
        Value::Object(of) => of["weight"].as_i64().expect("a number"),
        value => value.as_i64().expect("a number"),
    };
    for row in rows.as_array().expect("rows") {
        let (own, total) = (number(&row[own]), number(&row[total]));
        if (own, total) == (0, 0) {
            continue;
        }
        sums.entry(key(row)).and_modify(|sum| *sum = (sum.0 + own, None)).or_insert((own, Some(total)));
    }
    sums
}

fn assert_same(what: &str, go: Sums, ours: BTreeMap<String, (i64, Option<i64>)>) {
    let names: Vec<&String> = go.keys().collect();
    assert_eq!(names, ours.keys().collect::<Vec<_>>(), "{what}: names");
    for (name, (own, total)) in ours {
        assert_eq!(go[&name].0, own, "{what}: own of {name}");
        assert!(
            total.is_none_or(|total| total == go[&name].1),
            "{what}: total of {name}: {:?} {total:?}",
            go[&name]
        );
    }
}

fn with_line(row: &Value) -> String {
    match (text(row, "file"), row["line"].as_u64().expect("a number")) {
        ("", _) => text(row, "name").to_owned(),
        (file, 0) => format!("{} {file}", text(row, "name")),
        (file, line) => format!("{} {file}:{line}", text(row, "name")),
    }
}

fn with_file(row: &Value) -> String {
    format!("{} {}", text(row, "name"), text(row, "file")).trim_end().to_owned()
}

/// Callers and callees of each function as go prints them.
fn go_peek(unit: &str, index: &str, file: &Path) -> BTreeMap<String, [BTreeMap<String, i64>; 2]> {
    let text = go(&["-peek=.", unit, index], &[file]);
    let is_rule = |line: &&str| line.starts_with("----------") && line.contains("+---");
    let mut all = BTreeMap::new();
    let lines: Vec<&str> = text.lines().skip_while(|line| !is_rule(line)).skip(2).collect();
    for part in lines.split(|line| is_rule(line)).filter(|part| !part.is_empty()) {
        let (mut edges, mut name) = ([BTreeMap::new(), BTreeMap::new()], None);
        for line in part {
            let Some((numbers, right)) = line.split_once('|') else { continue };
            let side = usize::from(name.is_some());
            let numbers: Vec<&str> = numbers.split_whitespace().collect();
            let right = right.trim().trim_end_matches(" (inline)").trim_end_matches(" (partial-inline)");
            match numbers[..] {
                [number, _] => drop(edges[side].insert(right.to_owned(), value(number))),
                [_, _, _, _, _] => name = Some(right.to_owned()),
                _ => {}
            }
        }
        all.insert(name.expect("the function"), edges);
    }
    all
}

struct Case<'a> {
    name: &'a str,
    file: PathBuf,
    sample_type: &'a str,
    unit: &'a str,
}

fn check(bench: &Bench, case: &Case<'_>) {
    let Case { name, file, sample_type, unit } = case;
    let (unit, index) = (format!("-unit={unit}"), format!("-sample_index={sample_type}"));
    let go_args = |more: &'static str| [more, &unit, &index].map(str::to_owned);
    let go_top = |more| {
        let args = go_args(more);
        go_top(&args.each_ref().map(String::as_str), &[file])
    };
    let ask = |more: &[&str]| bench.json(&[more, &["--sample-type", sample_type]].concat(), &[file]);
    let report = ask(&[]);
    let functions = ours(&report["rows"], with_file, "own", "total");
    assert!(functions.len() >= 3, "{name}: {functions:?}");
    assert_same(&format!("{name} functions"), go_top("-filefunctions"), functions);
    let lines = ours(&ask(&["--lines"])["rows"], with_line, "own", "total");
    assert_same(&format!("{name} lines"), go_top("-lines"), lines);
    // By name alone go makes one of all that share it.
    let peek = go_peek(&unit, &index, file);
    let mut compared = 0;
    let all = ask(&["--callers", ".", "--callees", "."]);
    let calls = all["calls"].as_array().expect("calls");
    let names: Vec<&str> = calls.iter().map(|call| text(&call["function"], "name")).collect();
    let is_shared = |name: &str| names.iter().filter(|other| **other == name).count() > 1;
    for call in calls {
        let name = text(&call["function"], "name");
        let edges = ["callers", "callees"].map(|side| {
            let edges = call[side].as_array().expect("edges").iter();
            let edges = edges.filter(|edge| !text(edge, "name").is_empty() && edge["total"]["weight"] != 0);
            edges
                .map(|edge| {
                    (text(edge, "name").to_owned(), edge["total"]["weight"].as_i64().expect("a number"))
                })
                .collect::<BTreeMap<_, _>>()
        });
        if is_shared(name) || edges.iter().flat_map(|edges| edges.keys()).any(|name| is_shared(name)) {
            continue;
        }
        compared += 1;
        let theirs = peek.get(name).unwrap_or_else(|| panic!("{name} is not in {:?}", peek.keys()));
        assert_eq!(&edges, theirs, "{} calls of {name}", case.name);
    }
    assert!(compared >= 3, "{name}: {compared} of {}", calls.len());
}

/// Two captures of the same program, one longer than the other.
fn captures(bench: &Bench) -> [PathBuf; 2] {
    let python = pythons().into_iter().find(|python| python.minor == 12).expect("3.12");
    let target = Target::start(&python, "readers.py", SOURCE, &[]);
    let pid = target.pid().to_string();
    ["0.7", "1.4"].map(|seconds| {
        let ran = capture::run(&["-d", seconds, "-F", "999", "--max-cpu", "400", "-p", &pid]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let path = bench.path(&format!("capture-{seconds}"));
        let copied = Command::new("cp").arg("-r").arg(ran.directory()).arg(&path).status();
        assert!(copied.expect("cp").success());
        for_everybody(&path);
        path
    })
}

fn profile_in(directory: &Path) -> PathBuf {
    let entries = std::fs::read_dir(directory).expect("a directory");
    let mut paths = entries.map(|entry| entry.expect("an entry").path());
    paths.find(|path| path.to_string_lossy().ends_with(".pb.gz")).expect("a profile")
}

#[test]
fn go_agrees() {
    let bench = Bench::new("report");
    made::by_go(bench.scratch.path());
    let [first, second] = captures(&bench);
    let [short, long] = [&first, &second].map(|directory| profile_in(directory));
    let by_hand = bench.write("dd.pprof", &made::like_ddtrace().0);
    let case = |name, file: &Path, sample_type, unit| Case { name, file: file.into(), sample_type, unit };
    let [cpu, heap] = ["cpu.pb.gz", "heap.pb.gz"].map(|name| bench.path(name));
    for file in [&cpu, &heap] {
        for_everybody(file);
    }
    let cases = [
        case("ours", &short, "cpu", "ns"),
        case("ours, counted", &long, "samples", "count"),
        case("go cpu", &cpu, "cpu", "ns"),
        case("go heap", &heap, "inuse_space", "B"),
        case("go heap, allocations", &heap, "alloc_objects", "count"),
        case("by hand", &by_hand, "wall-time", "ns"),
        case("by hand, cpu", &by_hand, "cpu-time", "ns"),
    ];
    for case in &cases {
        check(&bench, case);
    }
    // The default is the file's own, or the last where it has none.
    for (file, expected) in [(&long, "cpu"), (&heap, "inuse_space"), (&by_hand, "alloc-space")] {
        assert_eq!(bench.json(&[], &[file])["weight"]["name"], expected);
    }

    // What grew, as it is.
    let changes = bench.json(&["--diff", "--absolute"], &[&first, &second]);
    let base = format!("-diff_base={}", short.display());
    let theirs = go_top(&["-filefunctions", "-unit=ns", &base], &[&long]);
    assert_same("diff", theirs, ours(&changes["changes"], with_file, "own_change", "total_change"));
    // And as if both had taken as long: the total of the first is scaled to within rounding.
    let scaled = bench.json(&["--diff"], &[&first, &second]);
    let sum = |of: &Value, key: &str| -> i64 {
        of["changes"].as_array().expect("rows").iter().map(|row| row[key].as_i64().expect("a number")).sum()
    };
    let [before, after] = ["before", "after"].map(|side| scaled[side]["duration_seconds"].as_f64().unwrap());
    let said = [&short, &long].map(|file| Profile::read(file).duration_ns as f64 / 1e9);
    assert!((before - said[0]).abs() < 1e-3 && (after - said[1]).abs() < 1e-3, "{before} {after} {said:?}");
    assert!(before >= 0.69 && after >= 1.39, "{before} {after}");
    let expected = sum(&changes, "own_before") as f64 * after / before;
    let rows = scaled["changes"].as_array().map_or(0, Vec::len) as f64;
    assert!((sum(&scaled, "own_before") as f64 - expected).abs() <= rows + 1.0);

    merged(&bench, [&short, &long], [&first, &second]);
    views(&bench, &second, &long);
    eprintln!("  agreed on {} kinds of profiles", cases.len());
}

/// Two files in one, and back: nothing is gained or lost.
fn merged(bench: &Bench, files: [&PathBuf; 2], directories: [&PathBuf; 2]) {
    let out = bench.open_directory("out");
    let path = out.join("both.pb.gz");
    let args = directories.map(|path| path.as_os_str().to_owned());
    let ran = bench.report(args.into_iter().chain(["-o".into(), path.as_os_str().to_owned()]));
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""), "{}", ran.stderr);
    let [one, other, both] = [files[0], files[1], &path].map(|path| Profile::read(path));
    let sums = [one.total(), other.total()];
    assert_eq!(both.total(), (sums[0].0 + sums[1].0, sums[0].1 + sums[1].1));
    for (stack, count) in both.stacks() {
        let of = |profile: &Profile| profile.stacks().get(&stack).copied().unwrap_or(0);
        assert_eq!(count, of(&one) + of(&other), "{stack}");
    }
    assert_eq!(both.duration_ns, one.duration_ns + other.duration_ns);
    assert_eq!(both.period, one.period);
    let threads = |profile: &Profile| -> BTreeMap<(i64, String), u64> {
        let mut sums = BTreeMap::new();
        for sample in &profile.samples {
            let name = sample.labels.get("thread_name").cloned().unwrap_or_default();
            *sums.entry((sample.numbers["thread_id"], name)).or_default() += sample.ns;
        }
        sums
    };
    let mut expected = threads(&one);
    threads(&other).into_iter().for_each(|(thread, ns)| *expected.entry(thread).or_default() += ns);
    assert_eq!(threads(&both), expected);
    assert_same(
        "merged",
        go_top(&["-filefunctions", "-unit=ns"], &[files[0], files[1]]),
        ours(&bench.json(&[], &[&path])["rows"], with_file, "own", "total"),
    );
    // Foreign files, too, in every format.
    for name in
        ["x.pb.gz", "x.html", "x.collapsed", "x.speedscope.json", "x.firefox.json", "x.firefox.json.gz"]
    {
        for input in ["cpu.pb.gz", "heap.pb.gz", "dd.pprof"] {
            let path = out.join(name);
            let ran = bench.report(["-o", path.to_str().expect("text"), input]);
            assert_eq!(ran.code, Some(0), "{input} to {name}: {}", ran.stderr);
            assert!(path.metadata().is_ok_and(|file| file.len() > 100), "{input} to {name}");
        }
    }
    let path = out.join("x.pb.gz");
    let heap = go_top(&["-filefunctions", "-unit=B"], &[&bench.path("heap.pb.gz")]);
    let ran = bench.report(["-o", path.to_str().expect("text"), "heap.pb.gz"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(go_top(&["-filefunctions", "-unit=B"], &[&path]), heap, "read and written");
    let collapsed = bench.report(["-f", "collapsed", "cpu.pb.gz"]).stdout;
    let sum =
        |line: &str| line.rsplit_once(' ').and_then(|(_, count)| count.parse::<u64>().ok()).expect("a count");
    let all = bench.json(&[], &[&bench.path("cpu.pb.gz")])["all"].clone();
    let collapsed: u64 = collapsed.lines().map(sum).sum();
    assert!(all["count"] == collapsed || all["weight"] == collapsed, "{all} {collapsed}");
}

/// By process, by thread, filtered, annotated: against what a second reader sums up.
fn views(bench: &Bench, directory: &Path, file: &Path) {
    let profile = Profile::read(file);
    let weight = |report: &Value| report["selected"]["weight"].as_u64().expect("a number");
    let json = |args: &[&str]| bench.json(args, &[directory]);
    let pid = profile.samples[0].numbers["pid"].to_string();
    let processes = json(&["--by", "process"]);
    let row = &processes["rows"][0];
    assert_eq!((row["pid"].to_string(), text(row, "name")), (pid.clone(), "readers"));
    assert_eq!(row["total"]["weight"], profile.total().1);
    let mut by_thread: BTreeMap<i64, u64> = BTreeMap::new();
    for sample in &profile.samples {
        *by_thread.entry(sample.numbers["thread_id"]).or_default() += sample.ns;
    }
    for row in json(&["--by", "thread"])["rows"].as_array().expect("rows") {
        let tid = row["tid"].as_i64().expect("a number");
        assert_eq!(row["total"]["weight"].as_u64(), by_thread.remove(&tid), "{row}");
        assert_eq!(weight(&json(&["--thread", &tid.to_string()])), row["total"]["weight"]);
    }
    assert!(by_thread.is_empty());
    let hottest = text(&json(&[])["rows"][0], "name").to_owned();
    let pattern = format!("^{}$", hottest.replace(['(', ')', '[', ']'], "."));
    let focused = profile.cumulative(&hottest).1;
    assert_eq!(weight(&json(&["--focus", &pattern])), focused);
    assert_eq!(weight(&json(&["--ignore", &pattern])), profile.total().1 - focused);
    assert_eq!(weight(&json(&["--process", &pid])), profile.total().1);
    assert_eq!(weight(&json(&["--process", "no such process"])), 0);
    // Every nanosecond of a file stands at a line of it.
    let script = profile.samples.iter().flat_map(|sample| &sample.frames);
    let script =
        script.map(|frame| &frame.file).find(|file| file.ends_with("/readers.py")).expect("the script");
    let source = json(&["--source", "readers\\.py$"]);
    let lines = source["source"][0]["lines"].as_array().expect("lines");
    let own: u64 = lines.iter().map(|line| line["own"]["weight"].as_u64().expect("a number")).sum();
    let leafs = profile.samples.iter().filter(|sample| sample.frames[0].file == *script);
    assert_eq!(own, leafs.map(|sample| sample.ns).sum::<u64>());
    for line in
        lines.iter().filter(|line| line["total"]["weight"] != 0 && source["source"][0]["missing"].is_null())
    {
        let number = line["line"].as_u64().expect("a number") as usize;
        assert_eq!(line["text"].as_str(), SOURCE.lines().nth(number - 1), "line {number}");
    }
}
