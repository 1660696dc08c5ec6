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

/// Slow-down in percent of the target under each variant, window by window.
pub fn slow_down(
    lab: &mut Lab,
    workload: &Workload,
    variants: &[Variant],
    frequency_hz: u32,
    duration: Duration,
) -> Result<Vec<Figure>> {
    lab.follow(workload.pid())?;
    let ticks: Vec<HostTicks> = variants
        .iter()
        .map(|variant| lab.bpf(*variant).host_ticks(frequency_hz))
        .collect::<Result<_, _>>()?;
    let mut figures = vec![Figure::default(); variants.len()];
    let begin = Instant::now();
    let mut before = window(workload);
    while begin.elapsed() < duration {
        for ((variant, ticks), figure) in variants.iter().zip(&ticks).zip(&mut figures) {
            ticks.let_go()?;
            let during = window(workload);
            ticks.hold()?;
            drain(lab.bpf(*variant));
            let after = window(workload);
            figure.push(100.0 * ((before + after) / 2.0 / during - 1.0));
            before = after;
        }
    }
    Ok(figures)
}

/// What the target gets done per second.
fn window(workload: &Workload) -> f64 {
    std::thread::sleep(SETTLE);
    let (begin, done) = (Instant::now(), workload.done());
    std::thread::sleep(WINDOW);
    (workload.done() - done) as f64 / begin.elapsed().as_secs_f64()
}
