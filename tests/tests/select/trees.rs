//! A tree of processes: what is there, what comes, and what lost its parents on the way.

use std::time::Duration;

use pyprof_tests::pythons::python;
use pyprof_tests::target::wait_for_cpu;
use pyprof_tests::{Target, capture};

use super::{HZ, SPIN, sampled, spinner};

/// Starts what it is told through a shell that does not wait for it, so that the child has no parent in the tree any more.
const ROOT: &str = "
import subprocess, sys

print('ready', flush=True)
for line in sys.stdin:
    kind, script = line.split()
    how = {'child': 'exec \"$0\" \"$1\"', 'orphan': '(\"$0\" \"$1\" & echo $! >&2)'}[kind]
    child = subprocess.Popen(['sh', '-c', how, sys.executable, script],
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    print(child.pid if kind == 'child' else child.stderr.readline().decode().strip(), flush=True)
";

fn kill(pid: u32) {
    // SAFETY: what our own target has started.
    unsafe { libc::kill(pid as i32, libc::SIGKILL) };
}

#[test]
fn a_tree_has_its_descendants_and_those_to_come() {
    let outside = spinner("outside.py");
    let mut root = Target::start(&python(11), "root.py", ROOT, &[]);
    let script = root.script().with_file_name("spin.py");
    std::fs::write(&script, SPIN).expect("the script");
    let mut start = |kind: &str| -> u32 {
        root.tell(&format!("{kind} {}", script.display()));
        root.line().parse().expect("a pid")
    };
    let before = start("child");
    let number = root.pid().to_string();
    let recording = capture::start(&["-F", HZ, "--tree", &number]);
    root.tell(&format!("child {}", script.display()));
    let child: u32 = root.line().parse().expect("a pid");
    root.tell(&format!("orphan {}", script.display()));
    let orphan: u32 = root.line().parse().expect("a pid");
    let later = spinner("later.py");
    for pid in [before, child, orphan, outside.pid(), later.pid()] {
        wait_for_cpu(pid, Duration::from_millis(100));
    }
    let capture = recording.stop();
    let parent = std::fs::read_to_string(format!("/proc/{orphan}/status")).expect("it lives");
    [before, child, orphan].into_iter().for_each(kill);
    assert!(!parent.contains(&format!("PPid:\t{}\n", root.pid())), "not an orphan: {parent}");
    let pids = [
        ("before", before),
        ("child", child),
        ("orphan", orphan),
        ("outside", outside.pid()),
        ("later", later.pid()),
    ];
    assert_eq!(sampled(&capture, pids), ["before", "child", "orphan"], "{}", capture.stderr);
}

#[test]
fn a_tree_and_a_number_are_alternatives() {
    let (one, two, three) = (spinner("one.py"), spinner("two.py"), spinner("three.py"));
    let numbers = [one.pid(), two.pid()].map(|pid| pid.to_string());
    let capture = capture::run(&["-d", "0.7", "-F", HZ, "-p", &numbers[0], "--tree", &numbers[1]]);
    let pids = [("one", one.pid()), ("two", two.pid()), ("three", three.pid())];
    assert_eq!(sampled(&capture, pids), ["one", "two"], "{}", capture.stderr);
    let gone = capture::run(&["-d", "1", "--tree", "4194304"]);
    assert_eq!(gone.code, 4, "{}", gone.stderr);
}
