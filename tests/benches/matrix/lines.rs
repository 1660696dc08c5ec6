//! The lines of leaves: where C code is called from Python is known to the line, and nothing else takes time there.

use std::collections::HashSet;

use crate::checks::{Cell, Subject, is_share};
use crate::stacks::{lag, samples, whole, without_collector};
use crate::truth::Lag;

/// Samples between two calls stand at other lines.
const AT_CALLS_PERCENT: u64 = 97;

pub fn check(subject: &Subject<'_>, phase: &str) -> Cell {
    // Lines of callers are part of what is possible.
    let leaves = || if lag(subject) == Lag::Leaf { Cell::Ok } else { Cell::of(leaves(subject, phase)) };
    whole(subject, phase).and_then(leaves)
}

fn leaves(subject: &Subject<'_>, phase: &str) -> Result<(), String> {
    let truth = &subject.measured.truth;
    let (mut all, mut at_calls, mut seen) = (0, 0, HashSet::new());
    for sample in samples(subject, phase) {
        all += sample.count;
        let frames = without_collector(sample);
        if truth.calls(phase, &frames).is_some_and(|lines| lines.contains(&frames[0].line)) {
            at_calls += sample.count;
            seen.insert((frames[0].name.clone(), frames[0].line));
        }
    }
    if !is_share(at_calls, all, AT_CALLS_PERCENT) {
        return Err(format!("{at_calls} of {all} samples stand at the lines of calls"));
    }
    match truth.all_calls(phase).difference(&seen).next() {
        Some((name, line)) => Err(format!("line {line} of {name} is never seen")),
        None => Ok(()),
    }
}
