//! Who is sampled of those that run: every rule on real processes, users and control groups; what the kernel counted of the
//! others shows that nothing of them was unwound.

mod changes;
mod rows;
mod trees;

use std::path::{Path, PathBuf};

use profiler_common::Stat;
use pyprof_host::Held;
use pyprof_tests::pythons::python;
use pyprof_tests::target::SPIN;
use pyprof_tests::{Capture, Target};
use pyunwind::Outcome;

const HZ: &str = "199";

fn spinner(name: &str) -> Target {
    Target::start(&python(11), name, SPIN, &[])
}

/// A control group of its own, in one hierarchy, named as an engine or systemd would name it.
struct Group {
    path: PathBuf,
    _held: Held,
}

impl Group {
    fn new(name: &str) -> Group {
        let root = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"]
            .into_iter()
            .find(|root| Path::new(root).join("cgroup.procs").exists());
        let path = Path::new(root.expect("control groups")).join(name);
        let held = pyprof_host::group(&path).unwrap_or_else(|error| panic!("{error:#}"));
        Group { path, _held: held }
    }

    fn add(&self, pid: u32) {
        std::fs::write(self.path.join("cgroup.procs"), pid.to_string()).expect("root moves processes");
    }

    fn path(&self) -> String {
        self.path.to_str().expect("text").to_owned()
    }

    /// As /proc/PID/cgroup shows it.
    fn in_hierarchy(&self) -> String {
        let path = self.path();
        path.trim_start_matches("/sys/fs/cgroup").trim_start_matches("/pids").to_owned()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Its processes may outlive it.
        pyprof_host::empty(&self.path);
    }
}

/// Of our own processes, those that have samples.
fn sampled<'a>(capture: &Capture, ours: impl IntoIterator<Item = (&'a str, u32)>) -> Vec<&'a str> {
    let has = |pid: u32| capture.processes(pid).iter().any(|process| process["samples"].as_u64() > Some(0));
    ours.into_iter().filter(|(_, pid)| has(*pid)).map(|(name, _)| name).collect()
}

/// A counter of the kernel's, as `-v` tells it: of those that are zero it says nothing.
fn counted(capture: &Capture, name: &str) -> u64 {
    let known = Stat::ALL.iter().map(|stat| stat.name()).chain(Outcome::ALL.iter().map(|one| one.name()));
    assert!(known.into_iter().any(|known| known == name), "there is no counter {name}");
    let line = capture.stderr.lines().find(|line| line.starts_with("counted in the kernel: "));
    let line = line.unwrap_or_else(|| panic!("no counters: {}", capture.stderr));
    let counters = line.split_once(": ").map_or("", |(_, counters)| counters);
    let beginning = format!("{name} ");
    let Some(value) = counters.split(", ").find_map(|counted| counted.strip_prefix(&beginning)) else {
        return 0;
    };
    value.replace(',', "").parse().unwrap_or_else(|error| panic!("{value}: {error}: {line}"))
}
