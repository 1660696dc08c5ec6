//! What a sample says beside its stack: whether the thread held the GIL, and whether the collector ran.

use pyprof_tests::Sample;

use crate::checks::{Cell, Subject, is_share};
use crate::rows::Kind;
use crate::stacks::{COLLECTOR, samples, whole};

/// With and without the GIL, where all of the time is spent in one way: what is left are calls and returns.
const PYTHON_PERCENT: u64 = 99;
const RELEASED_PERCENT: u64 = 80;
const COLLECTOR_PERCENT: u64 = 95;
/// The first version that tells of its collector.
const COLLECTOR_MINOR: i32 = 13;

/// (phase, label, share): one interpreter, and one in the other.
const GIL: [(&str, &str, u64); 4] = [
    ("flat", "held", PYTHON_PERCENT),
    ("released", "not held", RELEASED_PERCENT),
    ("two_held", "held", RELEASED_PERCENT),
    ("two_released", "not held", RELEASED_PERCENT),
];

fn share<'a>(all: impl Iterator<Item = &'a Sample>, those: impl Fn(&Sample) -> bool) -> (u64, u64) {
    all.fold((0, 0), |(some, sum), sample| {
        (some + if those(sample) { sample.count } else { 0 }, sum + sample.count)
    })
}

pub fn gil(subject: &Subject<'_>, _: &str) -> Cell {
    let has_none = subject.row.kind == Kind::FreeThreaded;
    let check = |(phase, label, percent): (&str, &str, u64)| {
        if !subject.measured.truth.has(phase) {
            return Ok(());
        }
        let is = |sample: &Sample, label: Option<&str>| sample.labels.get("gil").map(String::as_str) == label;
        let (some, all) = if has_none {
            share(samples(subject, phase), |sample| is(sample, None))
        } else {
            share(samples(subject, phase), |sample| is(sample, Some(label)))
        };
        if all == 0 || !is_share(some, all, if has_none { 100 } else { percent }) {
            let label = if has_none { "without a label" } else { label };
            return Err(format!("{some} of {all} samples of {phase} are {label}"));
        }
        Ok(())
    };
    match Cell::of(GIL.into_iter().try_for_each(check)) {
        Cell::Ok if has_none => Cell::Lacks,
        cell => cell,
    }
}

pub fn collector(subject: &Subject<'_>, phase: &str) -> Cell {
    let stacks = whole(subject, phase);
    let collecting = |sample: &Sample| sample.frames.first().is_some_and(|leaf| leaf.name == COLLECTOR);
    let (some, all) = share(samples(subject, phase), collecting);
    let is_told = subject.minor >= COLLECTOR_MINOR && subject.row.kind != Kind::FreeThreaded;
    let is_right = if is_told { is_share(some, all, COLLECTOR_PERCENT) } else { some == 0 };
    match stacks {
        Cell::Ok if !is_right => Cell::Failed(format!("{some} of {all} samples are of the collector")),
        Cell::Ok if !is_told => Cell::Lacks,
        cell => cell,
    }
}
