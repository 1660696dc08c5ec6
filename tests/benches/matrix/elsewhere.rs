//! What one thread made and another runs is shown at the thread that runs it.

use pyprof_tests::Sample;

use crate::checks::{Cell, Subject};
use crate::stacks;

const MADE: &str = "phase_made_elsewhere";
const RUNNER: &str = "phase_made_elsewhere__runner";
const SUB: &str = "phase_made_elsewhere__sub";
/// Of the time of the threads that run it: compiling the call, and what C code does outside of any interpreter's frames.
const INSIDE_PERCENT: u64 = 90;

fn has(sample: &Sample, name: &str) -> bool {
    sample.frames.iter().any(|frame| frame.name == name)
}

pub fn check(subject: &Subject<'_>, phase: &str) -> Cell {
    stacks::check(subject, phase).and_then(|| Cell::of(placed(subject, phase)))
}

fn placed(subject: &Subject<'_>, phase: &str) -> Result<(), String> {
    let (mut inside_ns, mut outside_ns) = (0, 0);
    for sample in stacks::samples(subject, phase) {
        // The thread that makes is the process's first one.
        let is_maker = sample.numbers.get("thread_id") == sample.numbers.get("pid");
        if has(sample, SUB) && is_maker || has(sample, MADE) && !is_maker {
            return Err(format!("{} is at the wrong thread: {:?}", sample.frames[0].name, sample.numbers));
        }
        if has(sample, SUB) {
            inside_ns += sample.ns;
        } else if has(sample, RUNNER) {
            outside_ns += sample.ns;
        }
    }
    if inside_ns == 0 || inside_ns * 100 < (inside_ns + outside_ns) * INSIDE_PERCENT {
        let [inside, outside] = [inside_ns, outside_ns].map(|ns| ns as f64 / 1e6);
        return Err(format!("{outside:.0} ms show the caller, {inside:.0} ms what it calls"));
    }
    Ok(())
}
