//! A control group, a mount and a namespace, each with something in it: they go with the test that made them, or, if it is
//! killed, with the next run.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use pyprof_host::mark::mark;
use pyprof_tests::Scratch;
use pyprof_tests::limits::Limits;

use super::killed::{Run, restore, run_of, scratch_of};

/// Has the test below hold on to what it has made, until it is killed.
const HOLD: &str = "PYPROF_HOLD";
const OWN: &str = "exact::held::what_a_test_makes_goes_with_it";

/// In the order in which they go.
struct Made {
    inside: Child,
    _limits: Limits,
    scratch: Scratch,
}

impl Drop for Made {
    fn drop(&mut self) {
        // The first process of a pid namespace takes the others with it.
        let _ = self.inside.kill();
        let _ = self.inside.wait();
    }
}

fn make() -> Made {
    let (scratch, limits) = (Scratch::new("held"), Limits::new("held", 20, 64 << 20));
    let disk = scratch.path().join("disk");
    std::fs::create_dir(&disk).expect("a directory");
    let status = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "none"]).arg(&disk).status();
    assert!(status.expect("mount runs").success());
    std::fs::write(disk.join("file"), "in use").expect("there is room");
    let mut command = Command::new("unshare");
    command.args(["--pid", "--mount", "--fork", "--kill-child", "sleep", "600"]);
    mark(&mut command);
    limits.enter(&mut command);
    Made { inside: command.spawn().expect("unshare runs"), _limits: limits, scratch }
}

/// The control groups that a process has made for this, with what runs in them.
fn groups_of(pid: u32) -> Vec<(PathBuf, String)> {
    let name = format!("pyprof-test-held-{pid}-0");
    let base = Path::new("/sys/fs/cgroup");
    let hierarchies = std::fs::read_dir(base).expect("control groups").flatten().map(|entry| entry.path());
    let groups = hierarchies.chain([base.into()]).map(|hierarchy| hierarchy.join(&name));
    let inside = |group: PathBuf| Some((std::fs::read_to_string(group.join("cgroup.procs")).ok()?, group));
    groups.filter_map(inside).map(|(inside, group)| (group, inside)).collect()
}

fn is_mounted(below: &Path) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("the mounts");
    mounts.contains(&format!(" {}/", below.display()))
}

/// `unshare`, and `sleep` in its namespace, are in the group.
fn is_in_use(groups: &[(PathBuf, String)]) -> bool {
    !groups.is_empty() && groups.iter().all(|(_, inside)| inside.lines().count() == 2)
}

#[test]
fn what_a_test_makes_goes_with_it() {
    let (made, own) = (make(), std::process::id());
    let path = made.scratch.path().to_owned();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_in_use(&groups_of(own)) {
        assert!(Instant::now() < deadline, "{:?}", groups_of(own));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(is_mounted(&path));
    if std::env::var_os(HOLD).is_some() {
        std::thread::sleep(Duration::from_secs(600));
    }
    drop(made);
    assert!(groups_of(own).is_empty() && !is_mounted(&path) && !path.exists());
}

#[test]
fn what_a_killed_test_has_made_goes_with_the_next_run() {
    let mut run = Run::of(OWN, |command| {
        command.env(HOLD, "1");
    });
    let pid = run.id();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_in_use(&groups_of(pid)) || !scratch_of(pid).iter().any(|path| is_mounted(path)) {
        assert!(Instant::now() < deadline, "{:?} {:?}", groups_of(pid), scratch_of(pid));
        std::thread::sleep(Duration::from_millis(5));
    }
    run.kill();
    let (groups, scratch) = (groups_of(pid), scratch_of(pid));
    assert!(is_in_use(&groups) && is_mounted(&scratch[0]), "nobody else takes them away");

    let said = restore();
    println!("{said}");
    assert!(said.contains("in a pid namespace of its own: sleep 600: put right"), "{said}");
    for path in scratch.iter().chain(groups.iter().map(|(group, _)| group)) {
        assert!(said.contains(&format!("{}: put right", path.display())), "{said}");
        assert!(!path.exists() && !is_mounted(path), "{}: {said}", path.display());
    }
    assert!(run_of(pid).is_empty(), "{:?}: {said}", run_of(pid));
}
