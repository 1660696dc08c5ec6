//! Periods of a capture: each has what came in it and what was counted in it, nothing twice and nothing in between. What is
//! still on its way when one ends belongs to the next.

use std::time::{Duration, Instant};

use profiler_common::Stat;
use pyunwind::Outcome;

use super::super::host::{boot_ns, own_cpu_ns, unix_ns};
use super::super::{Account, CaptureError};
use super::Session;
use crate::bpf::Counters;
use crate::pipeline::{Image, Received};
use crate::process::own;
use crate::profile::{CaptureMeta, FrequencyChange, OwnCost};

/// What had been counted when the period began.
#[derive(Clone, Default)]
pub(super) struct Before {
    counters: Counters,
    expected: f64,
    malformed: u64,
    received: Received,
    given_up: u64,
    own_cpu_ns: u64,
    pub(super) ended_ns: u64,
}

impl Session {
    /// Ends the period and begins the next: the processes that have samples in it, and its account. Sampling goes on.
    pub fn cut(&mut self) -> Result<(Vec<Image>, CaptureMeta, Account), CaptureError> {
        while self.drain() {}
        self.drain();
        if self.bpf.is_off_cpu_followed() {
            // From here on stacks come anew, so that those of blocks which begin now are in the tables of the next period.
            for image in self.ingest.images().iter().filter(|image| image.off_cpu.is_some()) {
                self.bpf.tables.raise_epoch(&image.key);
            }
            self.divide_off_cpu();
            self.drain();
        }
        let Session { ingest, bpf, .. } = self;
        let images = ingest.cut(|key| bpf.tables.raise_epoch(key));
        let account = self.account_of_period(false)?;
        let meta = self.meta_so_far();
        self.before.ended_ns += meta.duration_ns;
        let frequency_hz = self.bpf.clock.frequency_hz();
        self.meta.frequency_changes.clear();
        if frequency_hz != self.meta.frequency_hz {
            self.meta.frequency_changes.push(FrequencyChange { after_ns: 0, frequency_hz });
        }
        (self.meta.start_unix_ns, self.meta.start_boot_ns) = (unix_ns(), boot_ns());
        Ok((images, meta, account))
    }

    /// Counts all that has come in the period so far; what is told of it. It goes on.
    pub fn so_far(&mut self) -> Result<(CaptureMeta, Account), CaptureError> {
        while self.drain() {}
        self.divide_off_cpu();
        self.drain();
        Ok((self.meta_so_far(), self.account_so_far()?))
    }

    fn meta_so_far(&self) -> CaptureMeta {
        let elapsed_ns = self.started.elapsed().as_nanos() as u64;
        CaptureMeta { duration_ns: elapsed_ns - self.before.ended_ns, ..self.meta.clone() }
    }

    /// Profiles of processes that have ended, and of which nothing more can come: so that memory need not keep them.
    pub fn take_finished(&mut self, settled: Duration) -> Vec<Image> {
        self.ingest.take_finished(Instant::now(), settled)
    }

    /// What was counted since the last period ended. `last`: nothing is on its way any more.
    pub(super) fn account_of_period(&mut self, last: bool) -> Result<Account, CaptureError> {
        let (account, now) = self.account_until_now(last)?;
        self.before = now;
        Ok(account)
    }

    /// The same, of a period that goes on.
    pub fn account_so_far(&mut self) -> Result<Account, CaptureError> {
        Ok(self.account_until_now(false)?.0)
    }

    fn account_until_now(&mut self, last: bool) -> Result<(Account, Before), CaptureError> {
        let mut whole = self.bpf.stats.read()?;
        whole.add(Stat::ProcessTableFull, self.bpf.tables.full());
        let expected: f64 = self.bpf.clock.ticks().values().map(|ticks| ticks.expected).sum();
        let own_ns = own_cpu_ns() + self.ingest.reader.cost().cpu_ns + whole.get(Stat::SamplerNs);
        let now = Before {
            expected,
            malformed: self.bpf.rings.malformed,
            received: self.ingest.received,
            given_up: self.ingest.reader.given_up,
            own_cpu_ns: own_ns,
            ended_ns: self.before.ended_ns,
            counters: whole,
        };
        let sampled: u64 = Outcome::ALL.iter().map(|outcome| now.counters.outcome(*outcome)).sum();
        let arrived = now.received.samples + now.counters.get(Stat::SampleRingFull);
        let sent = now.counters.get(Stat::OffCpuSent);
        let before = &self.before;
        let account = Account {
            counters: now.counters.since(&before.counters),
            expected: (now.expected - before.expected) as u64,
            malformed: now.malformed - before.malformed,
            received: now.received.since(&before.received),
            given_up: now.given_up - before.given_up,
            unaccounted: if last { sampled.abs_diff(arrived) } else { 0 },
            off_cpu_unaccounted: if last { sent.abs_diff(now.received.off_cpu) } else { 0 },
            own_cost: OwnCost {
                cpu_ns: now.own_cpu_ns.saturating_sub(before.own_cpu_ns),
                peak_rss_bytes: own::peak_rss_bytes() + self.ingest.reader.peak_rss_bytes(),
                kernel_bytes: own::map_bytes(),
            },
        };
        Ok((account, now))
    }
}
