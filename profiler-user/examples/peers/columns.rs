//! The columns of the comparison: what each cell shows, when a peer is better there than pyprof-bpf, and why it can be.

use crate::figures::{Figure, grouped};
use crate::measure::Cell;

/// A cell as numbers: its middle, and its lowest and highest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Value {
    pub middle: f64,
    pub low: f64,
    pub high: f64,
}

impl Value {
    fn of(figure: &Figure) -> Option<Value> {
        let (low, high) = figure.ends()?;
        Some(Value { middle: figure.median(), low, high })
    }

    /// A count over all repetitions, which has no spread.
    fn exact(middle: f64) -> Option<Value> {
        Some(Value { middle, low: middle, high: middle })
    }

    /// Less by more than the spreads of both.
    fn is_below(&self, other: &Value) -> bool {
        self.middle < other.middle && self.high < other.low
    }
}

pub struct Column {
    pub head: &'static str,
    pub decimals: usize,
    /// Nothing for a profiler that has no such thing.
    pub value: fn(&Cell) -> Option<Value>,
    /// What is to be small, from what is shown.
    pub badness: fn(Value) -> Value,
    /// Why a peer can be better.
    pub why: &'static str,
}

fn same(value: Value) -> Value {
    value
}

/// Far from 100 % is bad on either side.
fn distance(value: Value) -> Value {
    let [middle, one, other] = [value.middle, value.low, value.high].map(|percent| (percent - 100.0).abs());
    let crosses = value.low < 100.0 && value.high > 100.0;
    Value { middle, low: if crosses { 0.0 } else { one.min(other) }, high: one.max(other) }
}

fn outside(cell: &Cell, figure: fn(&Cell) -> &Figure) -> Option<Value> {
    if cell.tool.is_inside() { None } else { Value::of(figure(cell)) }
}

fn of_samples(cell: &Cell, percent: f64) -> Option<Value> {
    if cell.judged.total() == 0 { None } else { Value::exact(percent) }
}

pub const COLUMNS: &[Column] = &[
    Column {
        head: "samples got, % of asked",
        decimals: 0,
        value: |cell| Value::of(&cell.got_percent),
        badness: distance,
        why: "a sampler by the wall clock gets its tick at any moment, while ticks of CPU time have to wait for the next \
              one of the CPU that they are bound to; in a window this short a few ticks make the difference",
    },
    Column {
        head: "impossible, %",
        decimals: 2,
        value: |cell| of_samples(cell, cell.of_all(cell.judged.impossible)),
        badness: same,
        why: "this is a defect of pyprof-bpf, or of what the target says of itself",
    },
    Column {
        head: "cut or empty, %",
        decimals: 2,
        value: |cell| of_samples(cell, cell.of_all(cell.judged.incomplete + cell.judged.empty)),
        badness: same,
        why: "a thread that runs no Python code (it starts, ends, or belongs to a library) is a sample of pyprof-bpf, with \
              its reason as the frame; peers leave such threads out",
    },
    Column {
        head: "lost or rejected, %",
        decimals: 2,
        value: |cell| of_samples(cell, cell.rejected_percent()),
        badness: same,
        why: "this is a defect of pyprof-bpf",
    },
    Column {
        head: "slow-down, wall clock, %",
        decimals: 1,
        value: |cell| Value::of(&cell.slow_percent),
        badness: same,
        why: "a sample of pyprof-bpf is taken on the CPU of the target, which waits for a few microseconds; a sampler that \
              reads from another CPU without stopping the target costs it nothing, and gets torn stacks for that",
    },
    Column {
        head: "CPU of the target per unit of work, % more",
        decimals: 1,
        value: |cell| Value::of(&cell.work_cpu_percent),
        badness: same,
        why: "the same, and the kernel books the time of a sample to whom it interrupts; a profiler that stops the target \
              costs it time, but no CPU time",
    },
    Column {
        head: "CPU for a sample, us",
        decimals: 1,
        value: |cell| outside(cell, |cell| &cell.sample_us),
        badness: same,
        why: "what pyprof-bpf does once a second whether there are samples or not (it looks at the whole host) is shared \
              among the samples of few processes here; perf leaves unwinding for later, which is not in this figure",
    },
    Column {
        head: "CPU, % of a core",
        decimals: 2,
        value: |cell| outside(cell, |cell| &cell.cpu_percent),
        badness: same,
        why: "as for a sample; a profiler that gets fewer samples also uses less",
    },
    Column {
        head: "memory, MB",
        decimals: 1,
        value: |cell| {
            let value = outside(cell, |cell| &cell.memory_bytes)?;
            Some(Value { middle: value.middle / 1e6, low: value.low / 1e6, high: value.high / 1e6 })
        },
        badness: same,
        why: "its maps and rings in the kernel are made for a whole host and have that size for one process, too; they \
              are in the figure",
    },
    Column {
        head: "system calls on the target, for a sample",
        decimals: 1,
        value: |cell| Value::exact(cell.calls?.per_sample),
        badness: same,
        why: "pyprof-bpf reads a target with system calls when it sees new code or a new process",
    },
    Column {
        head: "and for its start",
        decimals: 0,
        value: |cell| Value::exact(cell.calls?.start),
        badness: same,
        why: "pyprof-bpf reads tables of the interpreter and checks them when it begins to follow a process; the target \
              goes on meanwhile",
    },
];

impl Column {
    /// The peer is better by more than the noise.
    pub fn is_better(&self, peer: &Cell, ours: &Cell) -> bool {
        match ((self.value)(peer), (self.value)(ours)) {
            (Some(peer), Some(ours)) => (self.badness)(peer).is_below(&(self.badness)(ours)),
            _ => false,
        }
    }

    pub fn show(&self, cell: &Cell) -> String {
        let Some(Value { middle, low, high }) = (self.value)(cell) else { return "-".to_owned() };
        // A zero has no sign.
        let number = |value: f64| {
            let text = grouped(value, self.decimals);
            let is_zero = !text.contains(|c: char| c.is_ascii_digit() && c != '0');
            if is_zero { text.trim_start_matches('-').to_owned() } else { text }
        };
        if low == high {
            number(middle)
        } else {
            format!("{} ({}-{})", number(middle), number(low), number(high))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn better_is_less_by_more_than_the_noise() {
        let value = |low, middle, high| Value { middle, low, high };
        assert!(value(1.0, 2.0, 3.0).is_below(&value(4.0, 5.0, 6.0)));
        assert!(!value(1.0, 2.0, 4.5).is_below(&value(4.0, 5.0, 6.0)));
        assert!(!value(4.0, 5.0, 6.0).is_below(&value(1.0, 2.0, 3.0)));
        assert!(!value(0.0, 0.0, 0.0).is_below(&value(0.0, 0.0, 0.0)));
        assert_eq!(distance(value(95.0, 99.0, 103.0)), value(0.0, 1.0, 5.0));
        assert_eq!(distance(value(300.0, 400.0, 500.0)), value(200.0, 300.0, 400.0));
    }
}
