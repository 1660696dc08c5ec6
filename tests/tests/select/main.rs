//! Who is sampled of those that run: every rule on real processes, users and control groups; what the kernel counted of the
//! others shows that nothing of them was unwound.

mod changes;
mod rows;
mod trees;

use profiler_common::Stat;
use pyprof_tests::group::Group;
use pyprof_tests::pythons::python;
use pyprof_tests::target::SPIN;
use pyprof_tests::{Capture, Target};
use pyunwind::Outcome;

const HZ: &str = "199";

fn spinner(name: &str) -> Target {
    Target::start(&python(11), name, SPIN, &[])
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
