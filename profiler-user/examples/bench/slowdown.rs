//! What the target loses. Whole runs cannot be compared on a machine that is not all ours: windows of 30 ms without
//! and with ticks follow each other, and each one is held against its neighbours.

use std::time::{Duration, Instant};

use anyhow::Result;
use profiler_user::bpf::HostTicks;

use crate::figures::Figure;
use crate::kernel_side::{Lab, Variant, drain};
use crate::workload::Workload;

const WINDOW: Duration = Duration::from_millis(30);
/// Time for an event to be there, or gone, before its window begins.
const SETTLE: Duration = Duration::from_millis(1);

/// A window in which somebody else had the target's CPU for longer than this says nothing. The rule looks at the
/// scheduler's account only, never at what the window showed.
const MOST_WAITED_NS: u64 = 300_000;

/// What one variant took from the target.
#[derive(Clone, Default)]
pub struct SlowDown {
    /// Percent, one value for each window.
    pub percent: Figure,
    /// Windows left out, because the target had to wait in them or in a neighbour.
    pub disturbed: usize,
}

struct Window {
    per_second: f64,
    waited_ns: u64,
}

/// Slow-down of the target under each variant, window by window.
pub fn slow_down(
    lab: &mut Lab,
    workload: &Workload,
    variants: &[Variant],
    frequency_hz: u32,
    duration: Duration,
) -> Result<Vec<SlowDown>> {
    lab.follow(workload.pid())?;
    let ticks: Vec<HostTicks> = variants
        .iter()
        .map(|variant| lab.bpf(*variant).host_ticks(frequency_hz))
        .collect::<Result<_, _>>()?;
    let mut all = vec![SlowDown::default(); variants.len()];
    let begin = Instant::now();
    let mut before = window(workload)?;
    while begin.elapsed() < duration {
        for ((variant, ticks), slow_down) in variants.iter().zip(&ticks).zip(&mut all) {
            ticks.let_go()?;
            let during = window(workload)?;
            ticks.hold()?;
            drain(lab.bpf(*variant));
            let after = window(workload)?;
            if [&before, &during, &after].iter().all(|window| window.waited_ns <= MOST_WAITED_NS) {
                let without = (before.per_second + after.per_second) / 2.0;
                slow_down.percent.push(100.0 * (without / during.per_second - 1.0));
            } else {
                slow_down.disturbed += 1;
            }
            before = after;
        }
    }
    Ok(all)
}

/// What the target gets done per second, and how long it had to wait for its CPU.
fn window(workload: &Workload) -> Result<Window> {
    std::thread::sleep(SETTLE);
    let (begin, done, waited_ns) = (Instant::now(), workload.done(), workload.waited_ns()?);
    std::thread::sleep(WINDOW);
    let per_second = (workload.done() - done) as f64 / begin.elapsed().as_secs_f64();
    Ok(Window { per_second, waited_ns: workload.waited_ns()? - waited_ns })
}
