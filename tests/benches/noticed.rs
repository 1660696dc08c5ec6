//! How soon it is noticed that a process changed its user or its control group, which are looked at once a second.

use std::time::Duration;

use pyprof_tests::group::Group;
use pyprof_tests::pythons::python;
use pyprof_tests::target::SPIN;
use pyprof_tests::{Capture, Target, capture};

const HZ: &str = "199";

/// Becomes another user on a word, and burns CPU.
const CHANGES: &str = "
import os, sys
print('ready', flush=True)
sys.stdin.readline()
os.setuid(65534)
print('done', flush=True)
while True:
    pass
";

fn sum(capture: &Capture, pid: u32, key: &str) -> u64 {
    capture.processes(pid).iter().filter_map(|process| process[key].as_u64()).sum()
}

#[test]
fn another_user_within_1800_ms() {
    let mut target = Target::start(&python(11), "changes.py", CHANGES, &[]);
    let users = capture::start(&["-F", HZ, "--uid", "nobody"]);
    target.tell("go");
    target.line();
    std::thread::sleep(Duration::from_millis(1800));
    target.wait_for_cpu(Duration::from_millis(100));
    let users = users.stop();
    assert!(sum(&users, target.pid(), "samples") > 0, "{}", users.stderr);
}

#[test]
fn another_group_within_1600_ms() {
    let group = Group::new(&format!("pyprof-noticed-{}", std::process::id()));
    let spinner = |name| Target::start(&python(11), name, SPIN, &[]);
    let (moved_in, moved_out) = (spinner("in.py"), spinner("out.py"));
    group.add(moved_out.pid());
    let groups = capture::start(&["-F", HZ, "--cgroup", &group.path()]);
    std::thread::sleep(Duration::from_millis(500));
    group.add(moved_in.pid());
    group.put_out(moved_out.pid());
    std::thread::sleep(Duration::from_millis(1600));
    // From here on who went out gets no sample.
    let went_out_ns = moved_out.schedstat_ns();
    std::thread::sleep(Duration::from_millis(1500));
    let unseen_ns = moved_out.schedstat_ns() - went_out_ns;
    let groups = groups.stop();
    assert!(sum(&groups, moved_in.pid(), "samples") > 0, "{}", groups.stderr);
    let (seen_ns, all_ns) = (sum(&groups, moved_out.pid(), "cpu_ns"), moved_out.schedstat_ns());
    println!("{seen_ns} ns seen, {unseen_ns} ns unseen, of {all_ns} ns");
    assert!(
        unseen_ns > 10_000_000 && seen_ns > 0 && seen_ns + unseen_ns < all_ns,
        "{seen_ns} {unseen_ns} {all_ns}"
    );
}
