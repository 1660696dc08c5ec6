//! Files of every format from rows that are known, read by programs that are not ours: names that nobody should have,
//! several processes in one file, and more stacks than anybody looks at.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use profiler_user::encode::{Choices, Format, encode};
use profiler_user::profile::{CaptureMeta, Context, Loss, Measure, ProcessMeta, Profile};
use pyprof_tests::readers::{self, Times};
use pyunwind::Outcome;
use serde_json::{Value, json};

const HOSTILE: [&str; 8] = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    // Without `!`: the Firefox Profiler takes off what stands before it, which in other profiles is a library.
    "<-- ]]> \" ' ` ${alert(1)} \\",
    "a;b c 12",
    "\x1b[31mred\n\u{202e}evil",
    "na\u{ef}ve \u{1f40d} \u{65e5}\u{672c}",
    "{\"a\":[1]}",
    "__proto__",
];

/// A stack from its root, and its weight in milliseconds.
type Row<'a> = (&'a [&'a str], u64);

fn profile(pid: u32, threads: &[(&str, &[Row<'_>])]) -> Profile {
    // What would open a comment and a script at once.
    let name = format!("app{pid}{}", if pid == 100 { "<!--<script>" } else { "" });
    let mut profile = Profile::new(ProcessMeta { pid, name, ..ProcessMeta::default() });
    for (index, (name, rows)) in threads.iter().enumerate() {
        let thread = profile.thread(pid + index as u32, 1);
        profile.name_python_thread(thread, name);
        for (stack, weight_ms) in *rows {
            let locations: Vec<_> = stack
                .iter()
                .rev()
                .map(|name| {
                    let function = profile.function(name, &format!("/srv/{name}.py"), 1);
                    profile.location(function, 7, 0)
                })
                .collect();
            let stack = profile.stack(&locations);
            let ns = weight_ms * 1_000_000;
            profile.add_in(thread, stack, Context::default(), Outcome::Complete, ns);
        }
    }
    profile
}

fn capture() -> CaptureMeta {
    CaptureMeta {
        tool_version: "1.2.3".into(),
        host: "web1</title><script>".into(),
        start_unix_ns: 1_795_216_500_000_000_000,
        duration_ns: 10_000_000_000,
        frequency_hz: 99,
        losses: vec![Loss { name: "ring_full".into(), count: 3 }],
        ..CaptureMeta::default()
    }
}

/// A file, removed when the test is over.
struct Written(PathBuf);

impl Written {
    fn new(format: Format, profiles: &[&Profile]) -> Self {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("test").to_owned();
        let name = format!("pyprof-{name}-{}{}", std::process::id(), format.ending());
        let path = std::env::temp_dir().join(name);
        let file = std::fs::File::create(&path).unwrap();
        let choices = Choices { timeline: false, gzip: true };
        encode(format, profiles, &capture(), choices, std::io::BufWriter::new(file)).unwrap();
        Self(path)
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What the rows say a function took: own and total, in nanoseconds.
fn sums<'a>(rows: impl IntoIterator<Item = &'a Row<'a>>, shown: impl Fn(&str) -> String) -> Times {
    let mut times = Times::new();
    for (stack, weight_ms) in rows {
        let ns = *weight_ms as f64 * 1e6;
        let mut names: Vec<String> = stack.iter().map(|name| shown(name)).collect();
        times.entry(names.last().unwrap().clone()).or_default().0 += ns;
        names.sort();
        names.dedup();
        names.into_iter().for_each(|name| times.entry(name).or_default().1 += ns);
    }
    times
}

/// What is not fit for a terminal stands as its escape.
fn escaped(name: &str) -> String {
    name.replace('\x1b', "\\x1b").replace('\n', "\\x0a").replace('\u{202e}', "\\u{202e}")
}

fn assert_near(what: &str, got: &Times, expected: &Times, ns: f64) {
    let close = |a: f64, b: f64| (a - b).abs() <= ns;
    for (name, (own, total)) in expected {
        let got = got.get(name).unwrap_or_else(|| panic!("{what}: no {name} in {:?}", got.keys()));
        assert!(close(got.0, *own) && close(got.1, *total), "{what}: {name} has {got:?}, not {own} {total}");
    }
    assert_eq!(got.len(), expected.len(), "{what}");
}

#[test]
fn hostile_names_are_text_to_every_reader_and_times_are_right_by_process_and_thread() {
    let deep: Vec<&str> = ["main"].into_iter().chain(HOSTILE).collect();
    let one: [Row<'_>; 4] =
        [(&["main", HOSTILE[0]], 30), (&["main", HOSTILE[1], HOSTILE[2]], 20), (&["main"], 5), (&deep, 45)];
    let two: [Row<'_>; 2] = [(&["main", "main", HOSTILE[3]], 70), (&["run"], 1)];
    let three: [Row<'_>; 1] = [(&["run", "main"], 300)];
    let first = profile(100, &[(HOSTILE[0], &one), (HOSTILE[4], &two)]);
    let second = profile(200, &[("MainThread", &three)]);
    let profiles = [&first, &second];
    let all = || one.iter().chain(&two).chain(&three);
    let by_thread: BTreeMap<String, Times> = [
        (format!("app100<!--<script> (pid 100) {} (tid 100)", HOSTILE[0]), sums(&one, escaped)),
        (format!("app100<!--<script> (pid 100) {} (tid 101)", escaped(HOSTILE[4])), sums(&two, escaped)),
        ("app200 (pid 200) MainThread (tid 200)".to_owned(), sums(&three, escaped)),
    ]
    .into();
    let check = |what: &str, got: Vec<(String, Times)>, ns: f64| {
        assert_eq!(got.len(), by_thread.len(), "{what}");
        for (name, times) in got {
            assert_near(&format!("{what} {name}"), &times, &by_thread[&name], ns);
        }
    };

    let file = Written::new(Format::Firefox, &profiles);
    let (said, threads) = readers::firefox(&file.0);
    check("firefox", threads, 1.0);
    assert_eq!(said["meta"]["startTimeFormatted"], "2026-11-20T23:15:00.000Z");
    assert!(said["meta"]["extra"].to_string().contains("loss ring_full (whole capture)"), "{}", said["meta"]);

    let file = Written::new(Format::Speedscope, &profiles);
    let (said, threads) = readers::speedscope(&file.0);
    assert_eq!((&said["invalid"], &said["wrong"]), (&json!([]), &json!([])));
    assert!(
        said["opened"].as_str().unwrap().starts_with("app200 (pid 200)"),
        "the heaviest is opened: {said}"
    );
    check("speedscope", threads, 5000.0);

    // speedscope imports collapsed stacks, too: everything is one profile, and processes and threads are frames.
    let file = Written::new(Format::Collapsed, &profiles);
    let (_, mut profiles_shown) = readers::speedscope(&file.0);
    let (_, shown) = profiles_shown.remove(0);
    let in_line = |name: &str| format!("{0} (/srv/{0}.py:7)", escaped(name).replace(';', ":"));
    let mut frames = sums(all(), in_line);
    let roots = [
        ("app100<!--<script> (pid 100)".to_owned(), 171e6),
        ("app200 (pid 200)".to_owned(), 300e6),
        (format!("{} (tid 100)", HOSTILE[0]), 100e6),
        (format!("{} (tid 101)", escaped(HOSTILE[4])), 71e6),
    ];
    frames.extend(roots.into_iter().map(|(name, total)| (name, (0.0, total))));
    assert_near("collapsed", &shown, &frames, 1.0);

    let file = Written::new(Format::Flamegraph, &profiles);
    let said =
        readers::read("flamegraph.js", &file.0, &[], &[("PATTERNS", "^main$ onerror tid.101 nowhere")]);
    assert_eq!(said["wrong"], json!([]), "it did what it was not to do");
    assert_near("flamegraph", &readers::rows(&said["table"]), &sums(all(), escaped), 0.0);
    assert_near("inverted", &readers::rows(&said["inverted_table"]), &sums(all(), escaped), 0.0);
    let of_first = sums(one.iter().chain(&two), escaped);
    let shown = readers::rows(&said["processes"]["app100<!--<script> (pid 100)"]);
    assert_near("the first process", &shown, &of_first, 0.0);
    for (name, times) in &by_thread {
        let (_, thread) = name.split_once(") ").unwrap();
        assert_near(name, &readers::rows(&said["threads"][thread]), times, 0.0);
    }
    // Mouse, keys, search: 471 ms in all, the heaviest first.
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let starts = |value: &Value, start: &str| assert!(text(value).starts_with(start), "{value}, not {start}");
    starts(&said["hover"][0], "all: 471.0 ms cpu, 7 samples");
    starts(&said["hover"][1], "app200 (pid 200): 63.69 %, 300.0 ms, own 0, 1 samples");
    starts(&said["hover"][3], "run /srv/run.py:1: 63.69 %");
    starts(&said["hover"][4], "main /srv/main.py:1: 63.69 %, 300.0 ms, own 300.0 ms");
    starts(&said["clicked"], "MainThread (tid 200): 63.69 %");
    starts(&said["below_clicked"], "MainThread (tid 200)");
    starts(&said["reset"], "all: ");
    let keys = [
        ("ArrowDown", "app200 (pid 200): "),
        ("ArrowRight", "app100<!--<script> (pid 100): 36.31 %"),
        ("ArrowLeft", "app200"),
        ("ArrowDown", "MainThread (tid 200)"),
        ("ArrowUp", "app200"),
        ("Enter", "app200 (pid 200): 63.69 %, 300.0 ms, own 0, 1 samples, 100 % of what is zoomed into"),
        ("Escape", "all: "),
        ("Home", "all: "),
    ];
    for ((key, start), pressed) in keys.iter().zip(said["keys"].as_array().unwrap()) {
        assert_eq!(pressed[0], *key);
        starts(&pressed[1], start);
    }
    assert_eq!(said["search_focused"], true);
    starts(&said["search"]["^main$"], "1 name matches, with 99.79 % of cpu: 470.0 ms");
    starts(&said["search"]["onerror"], "1 name matches, with 13.80 % of cpu: 65.0 ms");
    starts(&said["search"]["tid.101"], "1 name matches, with 15.07 % of cpu: 71.0 ms");
    starts(&said["search"]["nowhere"], "0 names match, with 0.00 % of cpu: 0");
    starts(&said["broken"][0], "not a regular expression");
    assert_eq!(said["broken"][1], "true");
    starts(&said["inverted"][1], "main /srv/main.py:1: 64.76 %, 305.0 ms");
    starts(&said["inverted"][2], "run /srv/run.py:1: 63.69 %");
    starts(&said["together"][1], "run /srv/run.py:1: 63.91 %, 301.0 ms, own 1.0 ms");
    // What a screen reader is told.
    let aria = text(&said["aria"]);
    for part in [
        "heading \"2 processes on web1",
        "searchbox \"Search\"",
        "application \"Flame graph",
        "table \"Functions\"",
    ] {
        assert!(aria.contains(part), "{part} is missing: {aria}");
    }
    assert!(said["comments"].to_string().contains("loss ring_full (whole capture): 3"));
}

#[test]
fn a_measure_that_is_not_cpu_time_keeps_its_name_and_its_unit() {
    let measure = Measure {
        count: profiler_user::profile::ValueType { name: "allocations".into(), unit: "count".into() },
        weight: profiler_user::profile::ValueType { name: "space".into(), unit: "bytes".into() },
    };
    let mut profile =
        Profile::of(measure, ProcessMeta { pid: 7, name: "app".into(), ..ProcessMeta::default() });
    let function = profile.function("grow", "/srv/a.py", 1);
    let location = profile.location(function, 2, 0);
    let stack = profile.stack(&[location]);
    let thread = profile.thread(7, 1);
    profile.add(thread, stack, Outcome::Complete, 4096);
    let said = readers::read("flamegraph.js", &Written::new(Format::Flamegraph, &[&profile]).0, &[], &[]);
    assert_eq!(said["hover"][0], "all: 4,096 bytes space, 1 allocations");
    let (said, _) = {
        let file = Written::new(Format::Speedscope, &[&profile]);
        let text = std::fs::read_to_string(&file.0).unwrap();
        assert!(text.contains("\"unit\":\"bytes\""), "{text}");
        (serde_json::from_str::<Value>(&text).unwrap(), file)
    };
    assert_eq!(said["profiles"][0]["weights"], json!([4096]));
}

#[test]
fn a_hundred_thousand_stacks_are_drawn_without_waiting() {
    let mut many = Profile::new(ProcessMeta { pid: 7, name: "big".into(), ..ProcessMeta::default() });
    let mut state = 1u64;
    let mut random = |below: u64| {
        // Knuth's MMIX generator: the same file every time.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let locations: Vec<_> = (0..5000u32)
        .map(|number| {
            let function = many.function(
                &format!("package.function_{number}"),
                &format!("/srv/m{}.py", number % 97),
                number,
            );
            many.location(function, number + 3, 0)
        })
        .collect();
    let threads: Vec<_> = (0..8).map(|tid| many.thread(7 + tid, 1)).collect();
    let mut weight_ns = 0;
    let mut own_ns = BTreeMap::new();
    let mut stacks = 0;
    while stacks < 100_000 {
        let depth = 20 + random(40);
        let mut path: Vec<_> = (0..depth)
            .map(|level| {
                // A few functions near the root, many near the leaf, as programs have them.
                let wide = (level + 1).min(40);
                locations[(level * 100 + random(wide * wide / 20 + 1)) as usize % locations.len()]
            })
            .collect();
        path.reverse();
        let before = many.samples().len();
        let stack = many.stack(&path);
        let ns = 1_000_000 + random(20_000_000);
        let thread = threads[random(8) as usize];
        many.add(thread, stack, Outcome::Complete, ns);
        *own_ns.entry(path[0]).or_insert(0) += ns;
        weight_ns += ns;
        stacks += many.samples().len() - before;
    }
    let file = Written::new(Format::Flamegraph, &[&many]);
    let bytes = file.0.metadata().unwrap().len();
    let shots = std::env::var("PYPROF_SHOTS").unwrap_or_default();
    let said = readers::read("flamegraph.js", &file.0, &[&shots], &[("PATTERNS", "function_1")]);
    assert_eq!(said["wrong"], json!([]));
    let first = &said["by_total"][0];
    assert_eq!(first[1], json!(weight_ns), "the function at the root has everything: {first}");
    // Whatever was folded away: what ran is shown with all of its time.
    let most = own_ns.values().max().unwrap();
    assert_eq!(said["table"][0][0], json!(most), "{}", said["table"][0]);
    let about = said["about"].as_str().unwrap();
    assert!(about.contains("shown without their middle frames"), "{about}");
    println!("{bytes} bytes, {} ms to load, {} ms to invert; {about}", said["load_ms"], said["invert_ms"]);
    // On an idle machine each takes a second; what freezes takes minutes.
    for what in ["load_ms", "invert_ms"] {
        assert!(said[what].as_u64().unwrap() < 15_000, "{what}: {}", said[what]);
    }
    assert!(bytes < 12 << 20, "{bytes} bytes");
}

#[test]
fn the_page_stands_alone() {
    let one: [Row<'_>; 1] = [(&["main"], 5)];
    let file = Written::new(Format::Flamegraph, &[&profile(1, &[("MainThread", &one)])]);
    let text = std::fs::read_to_string(&file.0 as &Path).unwrap();
    for word in
        ["http://", "https://", "src=", "href=", "@import", "url(", "eval(", "innerHTML", "document.write"]
    {
        assert!(!text.contains(word), "{word}");
    }
    assert!(text.contains("default-src 'none'"));
}
