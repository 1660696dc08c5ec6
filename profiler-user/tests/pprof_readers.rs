//! What independent readers find in a pprof, against the rows it was made from: `go tool pprof`, and a decoder in
//! Python that shares no code with the encoder. Agreement with one reader is not agreement with all.

use profiler_user::encode;
use profiler_user::profile::{
    CaptureMeta, ExecutableMapping, FrequencyChange, Loss, ProcessMeta, Profile, merge,
};
use pyunwind::Outcome;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A frame: function, file, first line, line.
type Frame = (String, String, u32, u32);

/// What goes in, as plain data: the ground truth.
struct Row {
    tid: u32,
    thread_start_ns: u64,
    stack: Vec<Frame>,
    weight_ns: u64,
}

const PID: u32 = 4711;
const THREADS: [(u32, u64, &str, u32); 4] = [
    (4711, 1, "MainThread", 1),
    (4712, 1, "na\u{ef}ve \u{1f40d}", 1),
    (4712, 2, "second user", 2),
    (4713, 1, "", 1),
];

fn nasty_names() -> Vec<String> {
    let plain = [
        "<module>",
        "<lambda>",
        "<listcomp>",
        "Outer.<locals>.<lambda>",
        "caf\u{e9}.na\u{ef}ve\u{ff}",
        "\u{65e5}\u{672c}\u{8a9e}",
        "\u{1f40d}.\u{1f600}",
        // What a demangler or a shortener of names might take for its own.
        "_ZN3foo3barEv",
        "Foo<T>::bar(int)",
        "github.com/x/y.z",
        "java.lang.Object.<init>",
        "operator()",
        "main.(*T).f",
        "two words",
        "quote\"back\\slash'%d{}",
        // What a terminal would obey: `raw` goes in, this comes out.
        "\\u{202e}override",
        "\\x1b[31mred\\x0a",
    ];
    let mut names: Vec<String> = plain.map(String::from).to_vec();
    names.push("x".repeat(2000));
    names.push("\u{e9}".repeat(2000));
    names
}

/// The name as the interpreter has it, of one that is written escaped.
fn raw(name: &str) -> String {
    name.replace("\\u{202e}", "\u{202e}").replace("\\x1b", "\x1b").replace("\\x0a", "\n")
}

fn rows() -> Vec<Row> {
    let names = nasty_names();
    let frame = |index: usize, line: u32| -> Frame {
        let file = ["/srv/app/main.py", "/srv/caf\u{e9}/\u{1f40d} x.py", "<string>"][index % 3];
        (names[index % names.len()].clone(), file.into(), index as u32 % 7 * 10 + 1, line)
    };
    let mut rows = Vec::new();
    for index in 0..names.len() * 4 {
        // Several depths, callers, lines and threads; line 0 and a big one among them.
        let leaf = frame(index, [0, 12, 13, 1_000_000][index % 4]);
        let mut stack = vec![leaf.clone()];
        stack.extend((0..index % 5).map(|depth| frame(index * 7 + depth, 20 + depth as u32)));
        if index % 6 == 0 {
            stack.push(leaf);
        }
        let (tid, thread_start_ns, ..) = THREADS[index % THREADS.len()];
        rows.push(Row { tid, thread_start_ns, stack, weight_ns: 10_000_000 + index as u64 * 1_001 });
    }
    // More of everything than one batch of the encoder.
    for index in 0..3_000u32 {
        let stack = vec![(format!("bulk_{index}"), "/srv/bulk.py".into(), index, index + 1)];
        rows.push(Row { tid: 4711, thread_start_ns: 1, stack, weight_ns: 1_000 + u64::from(index) });
    }
    rows
}

fn profile_of(rows: &[Row]) -> Profile {
    let mut profile = Profile::new(ProcessMeta {
        pid: PID,
        name: "app.py".into(),
        executable: "/usr/bin/python3.11".into(),
        python_version: "3.11.2".into(),
        mapping: ExecutableMapping {
            start: 0x40_0000,
            limit: 0x80_0000,
            file_offset: 0x1000,
            build_id: Some("deadbeef".into()),
        },
        ..Default::default()
    });
    for row in rows {
        let thread = profile.thread(row.tid, row.thread_start_ns);
        let mut location = |(name, file, start_line, line): &Frame| {
            let function = profile.function(&raw(name), file, *start_line);
            profile.location(function, *line, 0)
        };
        let stack: Vec<_> = row.stack.iter().map(&mut location).collect();
        let stack = profile.stack(&stack);
        profile.add(thread, stack, Outcome::Complete, row.weight_ns);
        let name =
            THREADS.iter().find(|thread| (thread.0, thread.1) == (row.tid, row.thread_start_ns)).unwrap().2;
        profile.name_thread(thread, name);
    }
    // Seen, but never sampled: no part of the file.
    let unused = profile.function("unused", "/unused.py", 1);
    let unused = profile.location(unused, 1, 0);
    profile.stack(&[unused]);
    profile
}

fn capture() -> CaptureMeta {
    CaptureMeta {
        tool_version: "1.2.3".into(),
        start_unix_ns: 1_795_216_500_000_000_000,
        duration_ns: 10_250_000_000,
        frequency_hz: 99,
        frequency_changes: vec![FrequencyChange { after_ns: 2_500_000_000, frequency_hz: 49 }],
        losses: vec![Loss { name: "ring_full".into(), count: 3 }, Loss { name: "never".into(), count: 0 }],
        ..Default::default()
    }
}

/// A profile on disk, removed when the test is over.
struct Written(PathBuf);

impl Written {
    fn new(name: &str, profile: &Profile) -> Self {
        let path = std::env::temp_dir().join(format!("pyprof-readers-{name}-{}.pb.gz", std::process::id()));
        std::fs::write(&path, encode::pprof(profile, &capture())).unwrap();
        Self(path)
    }

    fn go(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("go");
        let output = command.args(["tool", "pprof"]).args(arguments).arg(&self.0).output();
        let output = output.expect("go tool pprof is needed: apt-get install golang-go");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        // It would say so if it looked for symbols.
        assert!(!stderr.contains("Main binary filename not available"), "{stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn python(&self) -> Value {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/read_pprof.py");
        let output = Command::new("/usr/bin/python3").arg(script).arg(&self.0).output();
        let output = output.expect("python3 is needed: apt-get install python3");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

type Labels = BTreeMap<String, String>;

/// (stack leaf first, labels) -> (samples, ns): the form in which all readers are compared.
type Samples = BTreeMap<(Vec<Frame>, Labels), (u64, u64)>;

fn labels_of(row: &Row) -> Labels {
    let (tid, _, name, generation) =
        *THREADS.iter().find(|thread| (thread.0, thread.1) == (row.tid, row.thread_start_ns)).unwrap();
    let mut labels = vec![("pid", PID.to_string()), ("thread_id", tid.to_string())];
    if !name.is_empty() {
        labels.push(("thread_name", name.into()));
    }
    if generation > 1 {
        labels.push(("thread_generation", generation.to_string()));
    }
    labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn expected(rows: &[Row]) -> Samples {
    let mut samples = Samples::new();
    for row in rows {
        let sum = samples.entry((row.stack.clone(), labels_of(row))).or_default();
        *sum = (sum.0 + 1, sum.1 + row.weight_ns);
    }
    samples
}

fn from_python(profile: &Value) -> Samples {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let number = |value: &Value| value.as_u64().unwrap();
    let frame = |frame: &Value| -> Frame {
        let line = |key: &str| number(&frame[key]) as u32;
        (text(&frame["function"]), text(&frame["filename"]), line("start_line"), line("line"))
    };
    let mut samples = Samples::new();
    for sample in profile["samples"].as_array().unwrap() {
        let stack = sample["stack"].as_array().unwrap().iter().map(frame).collect();
        let labels =
            sample["labels"].as_object().unwrap().iter().map(|(key, value)| (key.clone(), text(value)));
        let values = (number(&sample["values"]["samples"]), number(&sample["values"]["cpu"]));
        assert_eq!(samples.insert((stack, labels.collect()), values), None, "a sample is there twice");
    }
    samples
}

/// The output of `-raw`: samples with location ids and labels, then locations, then mappings.
fn from_go_raw(raw: &str) -> Samples {
    let section = |from: &str, to: &str| {
        let rest = &raw[raw.find(&format!("\n{from}\n")).unwrap() + from.len() + 2..];
        rest[..rest.find(&format!("\n{to}\n")).unwrap()].lines().collect::<Vec<_>>()
    };
    let mut locations: BTreeMap<&str, Frame> = BTreeMap::new();
    for line in section("Locations", "Mappings") {
        // `     1: 0x0 M=1 NAME FILE:LINE s=START()`; name and file may both hold blanks, and here files begin with / or <.
        let (id, rest) = line.trim_start().split_once(": ").unwrap();
        // The brackets hold the system name, which must stay empty.
        let rest = rest.strip_prefix("0x0 M=1 ").and_then(|rest| rest.strip_suffix("()")).unwrap();
        let (rest, start_line) = rest.rsplit_once(" s=").unwrap();
        let (rest, line) = rest.rsplit_once(':').unwrap();
        let file = [" /srv/", " <string>"].iter().find_map(|begin| rest.rfind(begin)).unwrap();
        let number = |text: &str| text.parse().unwrap();
        locations
            .insert(id, (rest[..file].into(), rest[file + 1..].into(), number(start_line), number(line)));
    }
    let mut samples = Samples::new();
    let mut current: Option<(Vec<Frame>, Labels, (u64, u64))> = None;
    for line in section("Samples:", "Locations").into_iter().skip(1).chain([" 0 0: "]) {
        let values = line.split_once(": ").filter(|(values, _)| {
            values.split_whitespace().count() == 2
                && values.split_whitespace().all(|value| value.parse::<u64>().is_ok())
        });
        if let Some((values, ids)) = values {
            if let Some((stack, labels, values)) = current.take() {
                assert_eq!(samples.insert((stack, labels), values), None, "a sample is there twice");
            }
            let values: Vec<u64> = values.split_whitespace().map(|value| value.parse().unwrap()).collect();
            let stack = ids.split_whitespace().map(|id| locations[id].clone()).collect();
            current = Some((stack, Labels::new(), (values[0], values[1])));
        } else {
            // `                thread_id:[7] pid:[7]`
            let labels = &mut current.as_mut().unwrap().1;
            for part in line.trim().trim_end_matches(']').split("] ") {
                let (key, value) = part.trim().split_once(":[").unwrap();
                labels.insert(key.into(), value.trim_end_matches(']').into());
            }
        }
    }
    samples
}

#[test]
fn readers_agree_on_every_sample_with_what_went_in() {
    let rows = rows();
    let written = Written::new("samples", &profile_of(&rows));
    let expected = expected(&rows);
    let same = |reader: &str, got: Samples| {
        for (sample, values) in &expected {
            assert_eq!(got.get(sample), Some(values), "{reader}: {sample:?}");
        }
        assert_eq!(got.len(), expected.len(), "{reader}");
    };
    same("python", from_python(&written.python()));
    same("go", from_go_raw(&written.go(&["-raw"])));
}

#[test]
fn readers_agree_on_flat_and_cumulative_per_function() {
    let rows = rows();
    let written = Written::new("totals", &profile_of(&rows));
    // By name alone, as `-top` sums them.
    let mut expected: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for row in &rows {
        expected.entry(row.stack[0].0.clone()).or_default().0 += row.weight_ns;
        let names: BTreeSet<&String> = row.stack.iter().map(|frame| &frame.0).collect();
        for name in names {
            expected.entry(name.clone()).or_default().1 += row.weight_ns;
        }
    }
    let top = written.go(&["-top", "-unit=ns", "-nodefraction=0", "-nodecount=100000"]);
    let (_, table) = top.split_once("cum%\n").unwrap();
    let mut go = BTreeMap::new();
    for line in table.lines() {
        // `  FLATns  FLAT%  SUM%  CUMns  CUM%  NAME`
        let mut rest = line;
        let columns: Vec<&str> = (0..5)
            .map(|_| {
                let (column, tail) = rest.trim_start().split_once(' ').unwrap();
                rest = tail;
                column
            })
            .collect();
        let ns = |column: &str| column.trim_end_matches("ns").parse::<u64>().unwrap();
        go.insert(rest.trim_start().to_owned(), (ns(columns[0]), ns(columns[3])));
    }
    assert_eq!(go, expected);

    let mut python: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let profile = written.python();
    for total in profile["totals"].as_array().unwrap() {
        let sum = python.entry(total["function"].as_str().unwrap().into()).or_default();
        sum.0 += total["flat"].as_u64().unwrap();
        sum.1 += total["cum"].as_u64().unwrap();
    }
    // Here the same name in two files is two functions, and both may be in one stack: flat adds up, cum need not.
    for (name, (flat, cum)) in &expected {
        assert_eq!(python[name].0, *flat, "{name}");
        assert!(python[name].1 >= *cum, "{name}");
    }
}

#[test]
fn traces_show_names_unmangled() {
    let rows = rows();
    let traces = Written::new("traces", &profile_of(&rows)).go(&["-traces"]);
    let lines: BTreeSet<&str> = traces.lines().map(str::trim_end).collect();
    for name in nasty_names() {
        assert!(lines.iter().any(|line| line.ends_with(&format!("   {name}"))), "{name}");
    }
}

#[test]
fn the_head_is_what_readers_need() {
    let profile = profile_of(&rows());
    let written = Written::new("head", &profile);
    let python = written.python();
    let samples = profile.total().samples;
    let head = [
        (
            "/sample_types",
            json!([{"type": "samples", "unit": "count"}, {"type": "cpu", "unit": "nanoseconds"}]),
        ),
        ("/default_sample_type", json!("cpu")),
        ("/period_type", json!({"type": "cpu", "unit": "nanoseconds"})),
        ("/period", json!(10_101_010)),
        ("/time_nanos", json!(1_795_216_500_000_000_000u64)),
        ("/duration_nanos", json!(10_250_000_000u64)),
        (
            "/mappings",
            json!([{
                "id": 1, "memory_start": 0x40_0000, "memory_limit": 0x80_0000, "file_offset": 0x1000,
                "filename": "/usr/bin/python3.11", "build_id": "deadbeef", "has_functions": true,
                "has_filenames": true, "has_line_numbers": true, "has_inline_frames": false,
            }]),
        ),
        (
            "/comments",
            json!([
                "pyprof-bpf 1.2.3",
                "python: 3.11.2",
                "frequency: 49 Hz after 2.5 s",
                format!("outcome complete: {samples}"),
                "loss ring_full (whole capture): 3",
            ]),
        ),
    ];
    for (pointer, expected) in head {
        assert_eq!(python.pointer(pointer), Some(&expected), "{pointer}");
    }
    for function in python["functions"].as_array().unwrap() {
        assert_eq!(function["system_name"], "", "a system name makes pprof demangle {}", function["name"]);
    }
    let raw = written.go(&["-raw"]);
    for expected in [
        "PeriodType: cpu nanoseconds",
        "Period: 10101010",
        "Duration: 10.2",
        "samples/count cpu/nanoseconds[dflt]",
        "1: 0x400000/0x800000/0x1000 /usr/bin/python3.11 deadbeef [FN][FL][LN]",
    ] {
        assert!(raw.contains(expected), "{expected}");
    }
    assert!(written.go(&["-comments"]).contains("loss ring_full (whole capture): 3"));
}

#[test]
fn readers_find_every_process_of_a_merged_profile_with_its_labels() {
    let row = |function: &str, weight_ns: u64| Row {
        tid: 4711,
        thread_start_ns: 1,
        stack: vec![(function.into(), "/srv/app/main.py".into(), 1, 2)],
        weight_ns,
    };
    let named = |name: &str| Some(name.to_owned());
    let mut expected = Samples::new();
    let mut profiles = Vec::new();
    for (pid, executable, service, container) in [
        (1, "/usr/bin/python3.11", named("na\u{ef}ve \u{1f40d}: [x] \"y\""), named("3f1b8c0a5d9e")),
        (2, "/usr/bin/python3.11", named("checkout"), None),
        (3, "/usr/bin/python3.13", None, None),
    ] {
        let rows = [row("shared", 10 + u64::from(pid)), row(&format!("only_{pid}"), 100)];
        let mut profile = profile_of(&rows);
        let meta = profile.process_mut();
        meta.pid = pid;
        meta.executable = executable.into();
        // Go takes executables of the same build for one, whatever their names.
        meta.mapping.build_id = Some(format!("deadbeef{}", &executable[executable.len() - 2..]));
        meta.labels.service = service.clone();
        meta.labels.container_id = container.clone();
        for row in &rows {
            let mut labels = labels_of(row);
            labels.insert("pid".into(), pid.to_string());
            labels.extend(service.clone().map(|service| ("service".to_owned(), service)));
            labels.extend(container.clone().map(|id| ("container_id".to_owned(), id)));
            expected.insert((row.stack.clone(), labels), (1, row.weight_ns));
        }
        profiles.push(profile);
    }
    let merged = merge(&profiles.iter().collect::<Vec<_>>()).unwrap();
    let written = Written::new("merged", &merged);
    let python = written.python();
    assert_eq!(from_python(&python), expected);
    let mappings: Vec<&str> = python["mappings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mapping| mapping["filename"].as_str().unwrap())
        .collect();
    assert_eq!(mappings, ["/usr/bin/python3.11", "/usr/bin/python3.13"]);
    let comments = python["comments"].as_array().unwrap();
    assert!(comments.contains(&json!("processes: 3")), "{comments:?}");
    // What an operator asks of such a profile: one process of it, one service of it.
    for (tag, expected) in [("pid=2", 112), ("service=checkout", 112), ("container_id=3f1b8c0a5d9e", 111)] {
        let top = written.go(&["-top", "-unit=ns", &format!("-tagfocus={tag}")]);
        let total = format!("Total samples = {expected}ns");
        let shown = format!("{expected}ns, ");
        assert!(top.contains(&total) || top.contains(&shown), "{tag}: {top}");
    }
    assert!(written.go(&["-raw"]).contains("2: 0x400000/0x800000/0x1000 /usr/bin/python3.13 deadbeef13"));
}

#[test]
fn an_empty_profile_is_still_a_profile() {
    let written = Written::new("empty", &Profile::new(ProcessMeta::default()));
    assert_eq!(written.python()["samples"], json!([]));
    assert!(written.go(&["-raw"]).contains("samples/count cpu/nanoseconds[dflt]"));
}
