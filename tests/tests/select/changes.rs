//! What a process is may change while it is sampled, or not sampled: by exec, by its user, by its control group.

use std::time::Duration;

use pyprof_tests::pythons::python;
use pyprof_tests::target::wait_for_cpu;
use pyprof_tests::{Target, capture};

use super::{Group, HZ, sampled, spinner};

/// Does what it is told, and burns CPU.
const CHAMELEON: &str = "
import os, sys, threading

def spin(parent=None):
    while parent in (None, os.getppid()):
        for _ in range(2000):
            pass

threading.Thread(target=spin, daemon=True).start()
print('ready', flush=True)
for line in sys.stdin:
    word, *rest = line.split()
    if word == 'user':
        os.setuid(65534)
    if word == 'exec':
        os.execv(sys.executable, [sys.executable, sys.argv[0].replace('before', rest[0])])
    if word == 'fork':
        parent = os.getpid()
        if os.fork() == 0:
            # Ends with the test.
            spin(parent)
            os._exit(0)
    print('done', flush=True)
";

/// Users and groups are looked at once a second: a busy host may take a few times that.
const NOTICED: Duration = Duration::from_secs(5);

fn chameleon() -> Target {
    let target = Target::start(&python(11), "before.py", CHAMELEON, &[]);
    std::fs::copy(target.script(), target.script().with_file_name("after.py")).expect("a copy");
    target
}

/// CPU time that the kernel had charged a process before.
fn samples(capture: &pyprof_tests::Capture, pid: u32) -> u64 {
    capture.processes(pid).iter().filter_map(|process| process["samples"].as_u64()).sum()
}

#[test]
fn an_exec_a_user_and_a_group_are_judged_again() {
    let own = std::process::id();
    let group = Group::new(&format!("pyprof-change-{own}"));
    // By the rule, and what makes it true, or false, in the middle.
    let (mut into, mut out_of) = (chameleon(), chameleon());
    let (mut renamed, mut dropped) = (chameleon(), chameleon());
    let (moved_in, moved_out) = (spinner("in.py"), spinner("out.py"));
    group.add(moved_out.pid());

    let names = capture::start(&["-F", HZ, "--name", "^after$"]);
    std::thread::sleep(Duration::from_millis(300));
    renamed.tell("exec after");
    renamed.line();
    // Too early for the user to be seen.
    into.tell("user");
    into.line();
    renamed.wait_for_cpu(Duration::from_millis(100));
    let names = names.stop();
    let pids = [("renamed", renamed.pid()), ("into", into.pid()), ("in", moved_in.pid())];
    assert_eq!(sampled(&names, pids), ["renamed"], "{}", names.stderr);
    assert_eq!(names.process(renamed.pid())["name"], "after");

    let users = capture::start(&["-F", HZ, "--uid", "nobody"]);
    out_of.tell("user");
    out_of.line();
    std::thread::sleep(NOTICED);
    out_of.wait_for_cpu(Duration::from_millis(100));
    dropped.tell("fork");
    dropped.line();
    let users = users.stop();
    let pids = [("out_of", out_of.pid()), ("dropped", dropped.pid()), ("into", into.pid())];
    assert_eq!(sampled(&users, pids), ["out_of", "into"], "{}", users.stderr);

    let groups = capture::start(&["-F", HZ, "--cgroup", &group.path()]);
    std::thread::sleep(Duration::from_millis(500));
    group.add(moved_in.pid());
    group.put_out(moved_out.pid());
    // Both were seen to have moved after this; from then on who went out gets no sample.
    std::thread::sleep(NOTICED);
    let went_out_ns = moved_out.schedstat_ns();
    moved_in.wait_for_cpu(Duration::from_millis(200));
    moved_out.wait_for_cpu(Duration::from_millis(200));
    let unseen_ns = moved_out.schedstat_ns() - went_out_ns;
    let groups = groups.stop();
    assert!(samples(&groups, moved_in.pid()) > 0, "{}", groups.stderr);
    assert!(samples(&groups, moved_out.pid()) > 0, "{}", groups.stderr);
    let seen_ns: u64 =
        groups.processes(moved_out.pid()).iter().filter_map(|process| process["cpu_ns"].as_u64()).sum();
    // All it used since is missing.
    let all_ns = moved_out.schedstat_ns();
    assert!(unseen_ns > 10_000_000 && seen_ns + unseen_ns < all_ns, "{seen_ns} {unseen_ns} {all_ns}");
    let left_out = &groups.json["selection"]["left_out_ticks"];
    assert!(left_out.as_u64().expect("a count") * 1_000_000_000 / 199 >= unseen_ns / 2, "{left_out}");
}

#[test]
fn a_fork_is_what_its_parent_is() {
    let (mut yes, mut no) = (chameleon(), Target::start(&python(11), "no.py", CHAMELEON, &[]));
    let recording = capture::start(&["-F", HZ, "--name", "before"]);
    for target in [&mut yes, &mut no] {
        target.tell("fork");
        target.line();
    }
    let children = [&yes, &no].map(|target| pyprof_tests::container::children(target.pid())[0]);
    for pid in [yes.pid(), no.pid()].into_iter().chain(children) {
        wait_for_cpu(pid, Duration::from_millis(100));
    }
    let capture = recording.stop();
    let pids =
        [("yes", yes.pid()), ("no", no.pid()), ("its child", children[0]), ("no's child", children[1])];
    let found = sampled(&capture, pids);
    for child in children {
        // SAFETY: a child of our own target.
        unsafe { libc::kill(child as i32, libc::SIGKILL) };
    }
    assert_eq!(found, ["yes", "its child"], "{}", capture.stderr);
    assert!(capture.json["selection"]["left_out"].as_u64() >= Some(2), "{}", capture.json["selection"]);
}
