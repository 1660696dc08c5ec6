//! What one sample costs in the kernel, by the kernel's own clock on the programs, with ticks of the target alone.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use profiler_common::Stat;
use profiler_common::limits::MAX_PROCESSES;
use profiler_user::bpf::{Bpf, LoadOptions, Record, RunTime};
use profiler_user::pipeline::{Follower, Ingest};
use profiler_user::reader::Reader;
use pyunwind::Outcome;

use crate::figures::Figure;
use crate::workload::Workload;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Variant {
    /// The product.
    Full,
    /// Every frame read on its own.
    Single,
    /// The counting program alone.
    Empty,
}

/// The programs, loaded once for all measurements.
pub struct Lab {
    full: Bpf,
    single: Bpf,
    empty: Bpf,
}

/// What one series of slots gave.
#[derive(Clone, Debug, Default)]
pub struct Sampled {
    /// ns per tick, each of which hit the target.
    pub ns: Figure,
    /// ns by the program's own clock (`sampler_ns`), to hold against it.
    pub own_ns: Figure,
    pub ticks: u64,
    pub complete: u64,
    pub frames: u64,
    pub codes: u64,
}

impl Sampled {
    /// Mean depth of the samples.
    pub fn depth(&self) -> f64 {
        self.frames as f64 / self.complete.max(1) as f64
    }
}

const RING_BYTES: u32 = 8 << 20;
/// A ring of 8 MiB takes 2,000 samples of 250 frames; this is a quarter of that at 5 kHz.
const DRAIN: Duration = Duration::from_millis(100);

impl Lab {
    /// Wants to run inside a tokio runtime, as all rings do.
    pub fn load() -> Result<Lab> {
        let load = |single_reads| {
            let options = LoadOptions {
                btf: None,
                targets_only: true,
                ring_bytes: RING_BYTES,
                off_cpu: false,
                bounded: false,
                single_reads,
                verbose: false,
                max_processes: MAX_PROCESSES,
            };
            Bpf::load(&options)
        };
        let mut lab = Lab { full: load(false)?, single: load(true)?, empty: load(false)? };
        lab.empty.unchain()?;
        Ok(lab)
    }

    pub fn bpf(&mut self, variant: Variant) -> &mut Bpf {
        match variant {
            Variant::Full => &mut self.full,
            Variant::Single => &mut self.single,
            Variant::Empty => &mut self.empty,
        }
    }

    /// Has all variants follow a process, if they do not yet.
    pub fn follow(&mut self, pid: u32) -> Result<()> {
        for variant in [Variant::Full, Variant::Single, Variant::Empty] {
            if self.bpf(variant).tables.process(pid).is_some() {
                continue;
            }
            let mut ingest = Ingest::new(usize::MAX, Reader::here());
            let found = Follower::new(&[pid]).scan(&mut ingest, &mut self.bpf(variant).tables)?;
            ensure!(found == 1, "process {pid} was not recognised as a Python");
        }
        Ok(())
    }

    /// `rounds` slots of each variant, in turns, so that a drift of the machine meets all of them alike.
    pub fn measure(
        &mut self,
        workload: &Workload,
        variants: &[Variant],
        frequency_hz: u32,
        rounds: u32,
        slot: Duration,
    ) -> Result<Vec<Sampled>> {
        self.follow(workload.pid())?;
        let mut all = vec![Sampled::default(); variants.len()];
        for _ in 0..rounds {
            for (variant, sampled) in variants.iter().zip(&mut all) {
                one_slot(self.bpf(*variant), workload.pid(), frequency_hz, slot, sampled)
                    .with_context(|| format!("failed to measure {variant:?}"))?;
            }
        }
        Ok(all)
    }
}

fn one_slot(bpf: &mut Bpf, pid: u32, hz: u32, slot: Duration, sampled: &mut Sampled) -> Result<()> {
    let before = bpf.stats.read()?;
    let [tick_before, chained_before] = bpf.run_times()?;
    let ticks = bpf.start_thread(pid, hz)?;
    let mut left = slot;
    while !left.is_zero() {
        let now = left.min(DRAIN);
        std::thread::sleep(now);
        sampled.frames += drain(bpf);
        left -= now;
    }
    bpf.stop_thread(ticks)?;
    sampled.frames += drain(bpf);
    let [tick, chained] = bpf.run_times()?;
    let after = bpf.stats.read()?;

    let counted = |stat: Stat| after.get(stat) - before.get(stat);
    ensure!(counted(Stat::SampleRingFull) == 0, "the ring was full");
    let RunTime { ns, runs } = RunTime { ns: tick.ns - tick_before.ns, runs: tick.runs - tick_before.runs };
    ensure!(runs > 0, "no tick hit the target");
    // If this ever fails, the kernel has changed where it books a tail call, and `ns` is not what it says.
    ensure!(chained == chained_before, "the kernel times a tail-called program on its own");
    sampled.ns.push(ns as f64 / runs as f64);
    let outcome = |outcome| after.outcome(outcome) - before.outcome(outcome);
    let sampled_ticks: u64 = Outcome::ALL.iter().map(|&one| outcome(one)).sum();
    if sampled_ticks > 0 {
        sampled.own_ns.push(counted(Stat::SamplerNs) as f64 / sampled_ticks as f64);
    }
    sampled.ticks += runs;
    sampled.complete += outcome(Outcome::Complete);
    sampled.codes += counted(Stat::CodeSent);
    Ok(())
}

/// Empties the ring; how many frames the samples had.
pub fn drain(bpf: &mut Bpf) -> u64 {
    let mut frames = 0;
    let mut count = |record: Record<'_>| {
        if let Record::Sample(_, stack) = record {
            frames += stack.len() as u64;
        }
    };
    while bpf.rings.records(u64::MAX, usize::MAX, &mut count) {}
    bpf.rings.lifecycle(|_| {});
    frames
}
