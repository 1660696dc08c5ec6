//! Every whole stack is one that the interpreter has shown, and hardly any time is without one.

use std::collections::{BTreeMap, HashSet};

use pyprof_tests::{Frame, Sample, is_emulated};

use crate::checks::{Cell, Subject, may_lack};
use crate::rows::Kind;
use crate::truth::Lag;

/// Of a phase's CPU time, as the process itself counts it, and of all samples.
pub const WHOLE_PERCENT: u64 = 95;

/// Where threads hand the GIL over all the time, on an emulated processor: it seems a switch takes 90 us there, with interrupts
/// off, and its ticks come to whoever runs next, mostly nobody; the scheduler charges that time to the thread that leaves.
const HANDED_OVER: [&str; 3] = ["threads", "subinterpreters", "made_elsewhere"];
const HANDED_OVER_PERCENT: u64 = 85;

/// What stands at the root of a stack that is not whole.
const MARKERS: [&str; 8] = [
    "<truncated>",
    "<torn>",
    "<unreadable>",
    "<starting>",
    "<thread not found>",
    "<unknown>",
    "<native>",
    "<native, in kernel>",
];
pub const COLLECTOR: &str = "<gc>";

pub fn is_whole(sample: &Sample) -> bool {
    sample.frames.last().is_some_and(|root| !MARKERS.contains(&root.name.as_str()))
}

/// The phase whose function is on a stack: `phase_NAME`, or `phase_NAME__PART`.
pub fn phase_of(sample: &Sample) -> &str {
    let mut phases = sample.frames.iter().rev().filter_map(|frame| frame.name.strip_prefix("phase_"));
    phases.next().map_or("", |name| name.split_once("__").map_or(name, |(phase, _)| phase))
}

pub fn without_collector(sample: &Sample) -> Vec<Frame> {
    sample.frames.iter().filter(|frame| frame.name != COLLECTOR).cloned().collect()
}

/// Whole stacks of a phase.
pub fn samples<'a>(subject: &'a Subject<'_>, phase: &'a str) -> impl Iterator<Item = &'a Sample> {
    let all = subject.measured.samples.iter();
    all.filter(move |sample| is_whole(sample) && phase_of(sample) == phase)
}

pub fn lag(subject: &Subject<'_>) -> Lag {
    if subject.row.kind == Kind::Jit { Lag::Leaf } else { Lag::None }
}

pub fn check(subject: &Subject<'_>, phase: &str) -> Cell {
    let truth = &subject.measured.truth;
    if let Some(why) = truth.absent.get(phase) {
        if may_lack(subject, phase) {
            return Cell::Lacks;
        }
        return Cell::Failed(format!("the interpreter lacks it: {why}"));
    }
    whole(subject, phase).and_then(|| Cell::of(all_seen(subject, phase)))
}

/// Samples that belong to no phase are between two of them, where main.py alone runs.
pub fn between(subject: &Subject<'_>, _: &str) -> Cell {
    Cell::of(possible(subject, ""))
}

/// No stack that cannot be, and enough that are whole.
pub fn whole(subject: &Subject<'_>, phase: &str) -> Cell {
    Cell::of(possible(subject, phase)).and_then(|| enough(subject, phase))
}

fn possible(subject: &Subject<'_>, phase: &str) -> Result<(), String> {
    let (mut all, mut wrong) = (0, BTreeMap::new());
    for sample in samples(subject, phase) {
        all += sample.count;
        let frames = without_collector(sample);
        if let Some(why) = subject.measured.truth.impossible(phase, &frames, lag(subject)) {
            let names: Vec<String> =
                frames.iter().take(8).map(|frame| format!("{}:{}", frame.name, frame.line)).collect();
            *wrong.entry(format!("{why}: {}", names.join(" < "))).or_insert(0) += sample.count;
        }
    }
    match wrong.iter().max_by_key(|(_, count)| **count) {
        None => Ok(()),
        Some((example, _)) => {
            let count: u64 = wrong.values().sum();
            Err(format!("{count} of {all} samples show stacks that cannot be, such as {example}"))
        }
    }
}

fn enough(subject: &Subject<'_>, phase: &str) -> Cell {
    let spent_ns = subject.measured.spent_ns.get(phase).copied().unwrap_or(0);
    let seen_ns: u64 = samples(subject, phase).map(|sample| sample.ns).sum();
    // A machine that stands still for longer than ten ticks leaves time without any: the capture says how much that was.
    let unsampled_ns = subject.measured.unsampled_ns;
    let is_handed_over = is_emulated() && HANDED_OVER.contains(&phase);
    let percent = if is_handed_over { HANDED_OVER_PERCENT } else { WHOLE_PERCENT };
    if spent_ns == 0 || (seen_ns + unsampled_ns) * 100 < spent_ns * percent {
        let [seen, spent] = [seen_ns, spent_ns].map(|ns| ns as f64 / 1e6);
        // What is not whole may lack the function that tells the phase.
        let mut parts = BTreeMap::new();
        for sample in subject.measured.samples.iter().filter(|sample| !is_whole(sample)) {
            let names = sample.frames.iter().rev().take(2).map(|frame| frame.name.as_str());
            *parts.entry(names.collect::<Vec<_>>().join(" > ")).or_insert(0) += sample.count;
        }
        let unsampled = unsampled_ns as f64 / 1e6;
        return Cell::Failed(format!(
            "whole stacks for {seen:.0} of {spent:.0} ms; of the whole run, without ticks: {unsampled:.0} ms, not whole: {parts:?}"
        ));
    }
    Cell::Ok
}

/// Every function that takes a share of the time is somewhere.
fn all_seen(subject: &Subject<'_>, phase: &str) -> Result<(), String> {
    let frames = samples(subject, phase).flat_map(|sample| &sample.frames);
    let seen: HashSet<_> =
        frames.map(|frame| (frame.name.clone(), frame.file.clone(), frame.start_line)).collect();
    match subject.measured.truth.musts(phase).difference(&seen).next() {
        Some((name, file, _)) => Err(format!("{name} of {file} is never seen")),
        None => Ok(()),
    }
}
