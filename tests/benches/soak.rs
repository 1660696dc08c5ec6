//! Churn: processes, threads and code objects that come and go, under two captures at once. Nothing grows beyond
//! its bound, and at the end everything still adds up. 20 seconds of it with the other tests; `cargo xtask soak` says for how long (`PYPROF_SOAK_SECONDS`).
//!
//! A capture keeps what it has sampled until its end, so that its profiles grow up to `--max-memory`, beyond which what adds
//! something new is dropped and counted; all else has to stand still.

use std::process::Command;
use std::time::{Duration, Instant};

use pyprof_tests::limits::Limits;
use pyprof_tests::pythons::python;
use pyprof_tests::{Recording, Scratch, Target, bpf, capture, pythons};

const SOURCE: &str = include_str!("../targets/soak.py");
const MODES: [&str; 3] = ["processes", "threads", "codes"];
const MAX_MEMORY_MB: u64 = 96;
/// Looks at the profilers, evenly over the time.
const LOOKS: u32 = 30;

const HEAD: &str = "\
| capture | memory, first third | middle | last | descriptors | map entries |
|---|---|---|---|---|---|
";

/// What a profiler holds at a moment.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    resident_bytes: u64,
    descriptors: usize,
    map_entries: usize,
}

fn look(pid: u32) -> Held {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).expect("it runs");
    let pages: u64 = statm.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("a number");
    Held {
        resident_bytes: pages * 4096,
        descriptors: std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count(),
        map_entries: bpf::of(pid)
            .into_iter()
            .filter(|(name, _)| name != "HINTS")
            .map(|(_, count)| count)
            .sum(),
    }
}

/// The highest of each.
fn most(held: &[Held]) -> Held {
    held.iter().fold(Held::default(), |most, one| Held {
        resident_bytes: most.resident_bytes.max(one.resident_bytes),
        descriptors: most.descriptors.max(one.descriptors),
        map_entries: most.map_entries.max(one.map_entries),
    })
}

#[test]
fn nothing_grows_and_everything_adds_up() {
    let seconds: u64 = std::env::var("PYPROF_SOAK_SECONDS").map_or(20, |text| text.parse().expect("seconds"));
    let scratch = Scratch::new("soak");
    let script = scratch.path().join("soak.py");
    std::fs::write(&script, SOURCE).expect("the script");
    let limits = Limits::new("soak", 300, 2 << 30);
    let mut targets: Vec<Target> = MODES
        .iter()
        .map(|mode| {
            let mut command = Command::new(&python(13).path);
            command.arg(&script).arg(mode).args(pythons().iter().map(|python| &python.path));
            limits.enter(&mut command);
            Target::command(command)
        })
        .collect();
    targets.iter_mut().for_each(|target| assert_eq!(target.line(), "ready"));

    let max_memory = MAX_MEMORY_MB.to_string();
    let captures: Vec<(&str, Recording)> = ["99", "999"]
        .map(|hz| (hz, capture::start(&["-F", hz, "--max-cpu", "400", "--max-memory", &max_memory])))
        .into();
    let started = Instant::now();
    let mut held: Vec<Vec<Held>> = vec![Vec::new(); captures.len()];
    for number in 1..=LOOKS {
        let at = started + Duration::from_secs(seconds) * number / LOOKS;
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        for ((hz, recording), held) in captures.iter().zip(&mut held) {
            let now = look(recording.pid());
            println!("{hz} Hz, {:.0} s: {now:?}", started.elapsed().as_secs_f64());
            held.push(now);
        }
    }
    let mut table = String::from(HEAD);
    for ((hz, recording), held) in captures.into_iter().zip(&held) {
        let capture = recording.stop();
        assert_eq!(capture.code, 0, "{hz} Hz: {}", capture.stderr);
        let third = held.len() / 3;
        let (middle, last) = (most(&held[third..2 * third]), most(&held[2 * third..]));
        println!("{hz} Hz: {middle:?}, then {last:?}; {}", capture.json["losses"]);
        let kernel_bytes = capture.json["own_cost"]["kernel_bytes"].as_u64().expect("a number");
        assert!(
            last.resident_bytes + kernel_bytes <= MAX_MEMORY_MB << 20,
            "{hz} Hz: {last:?} and {kernel_bytes} bytes in the kernel"
        );
        // A short run is still filling its tables.
        assert!(
            seconds < 600 || last.resident_bytes <= middle.resident_bytes + middle.resident_bytes / 20,
            "{hz} Hz: {middle:?}, then {last:?}"
        );
        // A file that is looked at, a process that has just begun.
        assert!(last.descriptors <= middle.descriptors + 2, "{hz} Hz: {middle:?}, then {last:?}");
        assert!(last.map_entries <= middle.map_entries + 50, "{hz} Hz: {middle:?}, then {last:?}");

        let sum = |field: &str| -> u64 {
            let processes = capture.json["processes"].as_array().expect("processes");
            processes.iter().filter_map(|process| process[field].as_u64()).sum()
        };
        let ticks = |name: &str| capture.json["ticks"][name].as_u64().expect("a count");
        let on_python = ticks("on_python");
        let unseen = capture.loss("not_chained") + capture.loss("no_scratch");
        assert_eq!(ticks("delivered"), ticks("idle") + ticks("other") + on_python + unseen, "{hz} Hz");
        for process in capture.json["processes"].as_array().expect("processes") {
            let outcomes = process["outcomes"].as_object().expect("outcomes").values();
            let outcomes: u64 = outcomes.map(|count| count.as_u64().expect("a count")).sum();
            assert_eq!(Some(outcomes), process["samples"].as_u64(), "{hz} Hz: {process}");
        }
        assert_eq!(sum("samples") + sum("dropped") + capture.loss("sample_ring_full"), on_python, "{hz} Hz");
        assert_eq!(capture.loss("sample_unaccounted"), 0, "{hz} Hz");
        assert_eq!(capture.loss("process_table_full"), 0, "{hz} Hz");
        assert!(sum("samples") > 10 * seconds, "{hz} Hz: hardly any samples");
        table.push_str(&format!(
            "| {hz} Hz | {:.1} MB | {:.1} MB | {:.1} MB | {} | {} |\n",
            most(&held[..third]).resident_bytes as f64 / 1e6,
            middle.resident_bytes as f64 / 1e6,
            last.resident_bytes as f64 / 1e6,
            last.descriptors,
            last.map_entries,
        ));
    }
    if let Some(file) = std::env::var_os("PYPROF_SOAK_TABLE") {
        std::fs::write(file, table).expect("the table");
    }
    drop(targets);
    limits.kill();
}
