//! The cpu-clock event, one per online CPU, and how many ticks each should have delivered.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use aya::maps::{MapData, ProgramArray};
use aya::programs::PerfEvent;
use aya::programs::perf_event::{
    PerfEventConfig, PerfEventLinkId, PerfEventScope, SamplePolicy, SoftwareEvent,
};

use super::BpfError;

/// What one CPU was asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuTicks {
    pub expected: f64,
}

struct Attached {
    link: PerfEventLinkId,
    since: Instant,
    frequency_hz: u32,
}

pub struct Clock {
    attached: BTreeMap<u32, Attached>,
    finished: BTreeMap<u32, CpuTicks>,
    frequency_hz: u32,
    /// Kept: the kernel empties a program array when its last user-space reference goes.
    chain: ProgramArray<MapData>,
}

fn attach(program: &mut PerfEvent, cpu: u32, frequency_hz: u32) -> Result<PerfEventLinkId, BpfError> {
    program
        .attach(
            PerfEventConfig::Software(SoftwareEvent::CpuClock),
            PerfEventScope::AllProcessesOneCpu { cpu },
            // A period, not a frequency: the kernel maps one to the other once for this event, and the program reads it.
            SamplePolicy::Period(period_ns(frequency_hz)),
            false,
        )
        .map_err(|source| BpfError::Program { name: "pyprof_tick", source })
}

/// Nominal time between two ticks.
pub fn period_ns(frequency_hz: u32) -> u64 {
    1_000_000_000 / u64::from(frequency_hz.max(1))
}

impl Attached {
    fn expected(&self, until: Instant) -> f64 {
        let elapsed: Duration = until.saturating_duration_since(self.since);
        (elapsed.as_nanos() as f64 / period_ns(self.frequency_hz) as f64).floor()
    }
}

impl Clock {
    pub(super) fn new(chain: ProgramArray<MapData>) -> Clock {
        Clock { attached: BTreeMap::new(), finished: BTreeMap::new(), frequency_hz: 0, chain }
    }

    pub(super) fn start(&mut self, program: &mut PerfEvent, frequency_hz: u32) -> Result<(), BpfError> {
        self.stop(program)?;
        self.frequency_hz = frequency_hz;
        self.follow_cpus(program)
    }

    pub(super) fn stop(&mut self, program: &mut PerfEvent) -> Result<(), BpfError> {
        for (cpu, attached) in std::mem::take(&mut self.attached) {
            self.finish(program, cpu, attached)?;
        }
        Ok(())
    }

    fn finish(&mut self, program: &mut PerfEvent, cpu: u32, attached: Attached) -> Result<(), BpfError> {
        self.finished.entry(cpu).or_default().expected += attached.expected(Instant::now());
        program.detach(attached.link).map_err(|source| BpfError::Program { name: "pyprof_tick", source })
    }

    pub(super) fn follow_cpus(&mut self, program: &mut PerfEvent) -> Result<(), BpfError> {
        let online = aya::util::online_cpus().map_err(|(_, source)| BpfError::Cpus(source))?;
        let gone: Vec<u32> = self.attached.keys().copied().filter(|cpu| !online.contains(cpu)).collect();
        for cpu in gone {
            if let Some(attached) = self.attached.remove(&cpu) {
                // The kernel took the event away with the CPU; only our reference is left to drop.
                self.finish(program, cpu, attached)?;
            }
        }
        for cpu in online {
            if self.attached.contains_key(&cpu) {
                continue;
            }
            let frequency_hz = self.frequency_hz;
            let since = Instant::now();
            match attach(program, cpu, frequency_hz) {
                Ok(link) => {
                    self.attached.insert(cpu, Attached { link, since, frequency_hz });
                }
                // A CPU may go away between the list and the call.
                Err(_) if !aya::util::online_cpus().is_ok_and(|now| now.contains(&cpu)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Ticks that every CPU seen so far should have delivered by now.
    pub fn ticks(&self) -> BTreeMap<u32, CpuTicks> {
        let now = Instant::now();
        let mut ticks = self.finished.clone();
        for (cpu, attached) in &self.attached {
            ticks.entry(*cpu).or_default().expected += attached.expected(now);
        }
        ticks
    }

    /// Takes the sampling program away from the counting one.
    pub(super) fn unchain(&mut self) -> Result<(), BpfError> {
        self.chain.clear_index(&0).map_err(|source| BpfError::Map { name: "CHAIN", source })
    }

    pub fn frequency_hz(&self) -> u32 {
        self.frequency_hz
    }
}
