//! Servers that fork their workers and replace them, and children by all start methods of multiprocessing: each process has
//! a file of its own under its name, with the CPU time that it used.
//!
//! Ground truth: `wait4`, and the process's own clock. Ticks are even, and a life of 100 ms has 100 of them, so that chance is
//! a percent. A host that stands still for 50 ms loses up to 40 of them, or gives ten too many, in one life or two: the bound
//! of a tenth is for the lives of all interpreters together, five seconds; for one interpreter it is a quarter, and of one
//! life half must be there.

use std::collections::BTreeMap;

use pyprof_tests::{Capture, Python, Target, capture, pythons};

const HZ: &str = "999";
const BURN: &str = include_str!("../targets/burn.py");

/// `WHAT PID NS` by what.
type Said = BTreeMap<String, (u32, u64)>;

/// A process that must be there.
struct Life<'a> {
    what: &'a str,
    name: &'a str,
    pid: u32,
    used_ns: u64,
    /// In which function it worked, and for how long.
    function: &'a str,
    work_ns: u64,
}

/// Lets the targets of all interpreters work, one after the other, and hands each what it said.
fn run(name: &str, source: &str, check: impl Fn(&Capture, &Python, u32, &Said) -> [(u64, u64); 2]) {
    let pythons = pythons();
    let source = format!("{BURN}\n{source}");
    let targets: Vec<Target> =
        pythons.iter().map(|python| Target::start(python, name, &source, &[])).collect();
    let recording = capture::start(&["-F", HZ, "--max-cpu", "400"]);
    let said: Vec<(u32, Said)> = targets
        .into_iter()
        .map(|mut target| {
            let pid = target.pid();
            target.tell("go");
            let text = target.wait();
            let words = |line: &str| {
                let mut words = line.split_whitespace();
                let what = words.next()?.to_owned();
                Some((what, (words.next()?.parse().ok()?, words.next()?.parse().ok()?)))
            };
            (pid, text.lines().filter_map(words).collect())
        })
        .collect();
    let capture = recording.stop();
    assert_eq!(capture.code, 0, "{}", capture.stderr);
    for loss in ["lifecycle_ring_full", "process_table_full", "sample_ring_full", "sample_unaccounted"] {
        assert_eq!(capture.loss(loss), 0, "{loss}");
    }
    let mut all = [(0, 0); 2];
    for (python, (pid, said)) in pythons.iter().zip(&said) {
        let sums = check(&capture, python, *pid, said);
        for (all, (seen, of)) in all.iter_mut().zip(sums) {
            *all = (all.0 + seen, all.1 + of);
        }
    }
    println!("all: seen and used, worked and said: {all:?}");
    for (seen, of) in all {
        assert!(seen * 10 >= of * 9 && seen * 10 <= of * 11, "{seen} of {of} ns");
    }
}

fn verify(capture: &Capture, python: &Python, lives: &[Life<'_>]) -> [(u64, u64); 2] {
    let (mut all_seen, mut all_used, mut all_worked, mut all_work) = (0, 0, 0, 0);
    for life in lives {
        let Life { what, name, pid, used_ns, function, work_ns } = life;
        let who = format!("{python}: {what}, process {pid}");
        // Between fork and exec a child is one more image of the program that it comes from.
        let images = capture.processes(*pid);
        let image = images.last().unwrap_or_else(|| panic!("{who}: it is not there: {}", capture.stderr));
        let number = if images.len() == 1 { String::new() } else { format!(".{}", images.len()) };
        assert_eq!(image["name"], *name, "{who}");
        assert_eq!(image["file"], format!("{name}-{pid}{number}.pb.gz"), "{who}");
        assert_eq!(image["python_version"], *python.version, "{who}");
        let profile = capture.profile_of(image);
        let (seen_ns, worked_ns) = (profile.total().1, profile.cumulative(function).1);
        assert!(worked_ns * 2 >= *work_ns, "{who}: {worked_ns} of {work_ns} ns");
        assert!(profile.samples.iter().all(|sample| sample.numbers["pid"] == i64::from(*pid)), "{who}");
        (all_seen, all_used) = (all_seen + seen_ns, all_used + used_ns);
        (all_worked, all_work) = (all_worked + worked_ns, all_work + work_ns);
    }
    let percent = |seen: u64, of: u64| 100.0 * seen as f64 / of as f64;
    println!(
        "{python}: {} lives, {:.1} % of their CPU time, {:.1} % of their work",
        lives.len(),
        percent(all_seen, all_used),
        percent(all_worked, all_work)
    );
    let sums = [(all_seen, all_used), (all_worked, all_work)];
    for (seen, of) in sums {
        assert!(seen * 4 >= of * 3 && seen * 4 <= of * 5, "{python}: {seen} of {of} ns");
    }
    sums
}

#[test]
fn workers_of_a_prefork_server_that_die_and_are_replaced() {
    run("prefork.py", include_str!("../targets/prefork.py"), |capture, python, master, said| {
        let names: Vec<String> = (0..9).map(|number| format!("worker-{number}")).collect();
        let lives: Vec<Life<'_>> = names
            .iter()
            .enumerate()
            .map(|(number, what)| {
                let (pid, used_ns) = said[what];
                let (own_pid, work_ns) = said[&format!("requests-{number}")];
                assert!(own_pid == pid && pid != master, "{python}: {said:?}");
                Life { what, name: "prefork", pid, used_ns, function: "request", work_ns }
            })
            .collect();
        verify(capture, python, &lives)
    });
}

#[test]
fn children_by_every_start_method_of_multiprocessing() {
    const METHODS: [(&str, &str); 3] =
        [("fork", "pool"), ("spawn", "multiprocessing.spawn"), ("forkserver", "multiprocessing.forkserver")];
    run("pool.py", include_str!("../targets/pool.py"), |capture, python, _, said| {
        let keys: Vec<(String, &str)> = METHODS
            .iter()
            .flat_map(|(method, name)| (0..2).map(move |number| (format!("{method}-{number}"), *name)))
            .collect();
        let lives: Vec<Life<'_>> = keys
            .iter()
            .map(|(what, name)| {
                let (pid, used_ns) = said[what];
                let (_, work_ns) = said[&format!("task-{what}")];
                Life { what, name, pid, used_ns, function: "task", work_ns }
            })
            .collect();
        verify(capture, python, &lives)
    });
}
