//! Periods: nothing is counted twice, nothing is lost in between, and neither memory nor disk grows with their number.

use std::process::Command;
use std::time::Duration;

use pyprof_tests::pythons::python;
use pyprof_tests::running::{Running, list, start};
use pyprof_tests::target::SPIN;
use pyprof_tests::{Profile, Target, capture, stolen_ns};

use super::{number, sets};

/// Code objects that are made, run and dropped all the time, with names of their own; and some that stay.
const CHURN: &str = "
import itertools
print('ready', flush=True)
def spin(n):
    for _ in range(n):
        pass
for number in itertools.count():
    space = {'spin': spin}
    exec('def made_%d(spin):\\n' % number + '    spin(1)\\n' * 200 + '    spin(20000)\\n', space)
    space['made_%d' % number](spin)
";

/// A set of files each second, and a megabyte for all of them.
fn in_small_periods(targets: &[&str]) -> Running {
    let period = "-F 997 --max-cpu 200 --every 1 --max-size 1 -o out -v".split(' ');
    start(&period.chain(targets.iter().copied()).collect::<Vec<_>>())
}

#[test]
fn periods_add_up_to_what_the_kernel_charged() {
    let target = Target::start(&python(12), "spin.py", SPIN, &[]);
    let pid = target.pid().to_string();
    // Each time that somebody else has the CPU, chance takes half a tick: beside others that is often.
    let mut running = start(&["-F", "997", "-p", &pid, "--every", "1", "-o", "out"]);
    running.wait_for("Sampling ");
    let (before_ns, stolen) = (target.schedstat_ns(), stolen_ns());
    for _ in 0..3 {
        running.wait_for("wrote ");
    }
    // Two within one period, and one right after the other.
    for _ in 0..2 {
        running.signal(libc::SIGUSR1);
        running.wait_for("wrote ");
    }
    let after_ns = target.schedstat_ns();
    running.signal(libc::SIGINT);
    let ran = running.finish();
    let stolen = (stolen_ns() - stolen) as u64;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let out = ran.scratch.path().join("out");
    let sets = sets(&out);
    assert!(sets.len() >= 5, "{}", ran.stderr);
    let sum = |get: &dyn Fn(&serde_json::Value) -> u64| sets.iter().map(get).sum::<u64>();
    let cpu_ns = sum(&|set| number(&set["processes"][0]["cpu_ns"]));
    // Everything until the signal; the capture began before and ended after: a tick on each side, and the end itself.
    let charged_ns = after_ns - before_ns;
    let slack_ns = 120_000_000 + stolen;
    assert!(
        cpu_ns + 15_000_000 >= charged_ns && cpu_ns <= charged_ns + slack_ns,
        "{cpu_ns} of {charged_ns}: {}",
        ran.stderr
    );
    // Of what was on its way at a boundary nothing is missing, and nothing is there twice.
    let samples = sum(&|set| number(&set["processes"][0]["samples"]));
    assert_eq!(samples, sum(&|set| number(&set["ticks"]["on_python"])), "{}", ran.stderr);
    assert_eq!(cpu_ns, sum(&|set| number(&set["ticks"]["on_python_ns"])));
    let part = |name: &str| sum(&|set| number(&set["ticks"][name]));
    let lost = |name: &str| sum(&|set| number(&set["losses"][name]));
    assert_eq!(
        part("delivered"),
        part("idle") + part("other") + part("on_python") + lost("not_chained") + lost("no_scratch")
    );
    assert_eq!(lost("sample_unaccounted"), 0);
    // A report of the directory is of all of them.
    let report =
        Command::new(capture::binary()).args(["report", "--json"]).arg(&out).output().expect("it runs");
    let report: serde_json::Value = serde_json::from_slice(&report.stdout).expect("JSON");
    assert_eq!(report["files"].as_array().map(Vec::len), Some(sets.len()), "{report}");
    assert_eq!(number(&report["all"]["weight"]), cpu_ns, "{}", report["all"]);
    // One ends where the next begins, and the files say what capture.json says.
    for (set, name) in sets.iter().zip(list(&out)) {
        let process = &set["processes"][0];
        let profile = Profile::read(&out.join(name).join(process["file"].as_str().expect("a file")));
        assert_eq!(profile.total(), (number(&process["samples"]), number(&process["cpu_ns"])));
        assert_eq!(profile.duration_ns as f64 / 1e9, set["duration_seconds"].as_f64().expect("seconds"));
        // Names are right in every period, though code objects were sent in the first.
        assert!(profile.cumulative("spin").0 > 0, "{:?}", profile.stacks());
        assert_eq!(profile.cumulative("<unreadable>").0, 0);
    }
    let seconds: f64 = sets.iter().map(|set| set["duration_seconds"].as_f64().expect("seconds")).sum();
    assert!(seconds > 3.0 && seconds < 10.0, "{seconds}");
}

#[test]
fn a_signal_writes_now_and_the_capture_goes_on() {
    let target = Target::start(&python(12), "spin.py", SPIN, &[]);
    let pid = target.pid().to_string();
    let mut running = start(&["-F", "199", "-p", &pid, "-o", "out"]);
    running.wait_for("Sampling ");
    std::thread::sleep(Duration::from_millis(600));
    running.signal(libc::SIGUSR1);
    running.wait_for("wrote ");
    assert_eq!(list(&running.scratch.path().join("out")).len(), 1);
    std::thread::sleep(Duration::from_millis(600));
    running.signal(libc::SIGTERM);
    let ran = running.finish();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let sets = sets(&ran.scratch.path().join("out"));
    assert_eq!(sets.len(), 2, "{}", ran.stderr);
    assert!(sets.iter().all(|set| number(&set["processes"][0]["samples"]) > 0), "{}", ran.stderr);
}

#[test]
fn neither_memory_nor_disk_grows_with_the_number_of_periods() {
    let target = Target::start(&python(12), "churn.py", CHURN, &[]);
    let pid = target.pid().to_string();
    let mut running = in_small_periods(&["-p", &pid]);
    running.wait_for("Sampling ");
    let own = running.child.id();
    let mut resident = Vec::new();
    for _ in 0..10 {
        running.wait_for("wrote ");
        let status = std::fs::read_to_string(format!("/proc/{own}/status")).expect("it lives");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a line");
        resident.push(line.trim().trim_end_matches(" kB").parse::<u64>().expect("kB"));
    }
    running.signal(libc::SIGINT);
    let ran = running.finish();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    // Each period brings hundreds of code objects of some kilobytes. The first ones fill tables.
    let (early, late) = (resident[2..5].iter().max(), resident[7..].iter().min());
    assert!(late.expect("some") < &(early.expect("some") + 1_500), "kB: {resident:?}");
    let out = ran.scratch.path().join("out");
    for set in sets(&out) {
        assert_eq!(set["losses"]["code_unnamed"], 0, "{}", set["losses"]);
        assert_eq!(set["processes"][0]["dropped"], 0);
    }
}

#[test]
fn the_oldest_periods_go_first_when_the_disk_is_to_be_spared() {
    // Many small files.
    let source = "
import os, time
for _ in range(100):
    parent = os.getpid()
    if os.fork() == 0:
        while os.getppid() == parent:
            end = time.process_time() + 0.003
            while time.process_time() < end:
                pass
            time.sleep(0.3)
        os._exit(0)
print('ready', flush=True)
time.sleep(600)
";
    let target = Target::start(&python(12), "many.py", source, &[]);
    let pid = target.pid().to_string();
    let mut running = in_small_periods(&["--tree", &pid]);
    running.wait_for("Sampling ");
    let mut written = 0;
    while !running.said.contains("removed ") && written < 20 {
        running.wait_for("wrote ");
        written += 1;
        // What is removed is said right after what was written.
        std::thread::sleep(Duration::from_millis(100));
    }
    running.signal(libc::SIGINT);
    let ran = running.finish();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let out = ran.scratch.path().join("out");
    let kept = list(&out);
    let said: Vec<&str> = ran.stderr.lines().filter(|line| line.starts_with("removed ")).collect();
    assert!(!said.is_empty(), "{written} periods: {}", ran.stderr);
    for line in said {
        let name = line.split(' ').nth(1).expect("a name");
        assert!(kept.iter().all(|kept| kept.as_str() > name), "{name} and {kept:?}");
    }
    let bytes: u64 = kept
        .iter()
        .flat_map(|name| std::fs::read_dir(out.join(name)).expect("a directory").flatten())
        .map(|entry| entry.metadata().expect("a file").len())
        .sum();
    assert!(bytes <= 1 << 20, "{bytes} bytes: {}", ran.stderr);
}
