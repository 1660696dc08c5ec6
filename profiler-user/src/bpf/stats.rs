//! Reads the programs' counters, summed over CPUs or per CPU.

use aya::maps::{Map, MapData, PerCpuArray};
use profiler_common::Stat;
use profiler_common::stats::{OUTCOME_BASE, STATS_LEN};
use pyunwind::Outcome;

use super::BpfError;
use crate::amount;
use crate::summary::columns::grouped;

pub struct Stats {
    map: PerCpuArray<MapData, u64>,
}

/// One reading of all counters, summed over CPUs.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    values: Vec<u64>,
    delivered_per_cpu: Vec<u64>,
}

impl Stats {
    pub(super) fn new(map: Map) -> Result<Stats, BpfError> {
        Ok(Stats {
            map: PerCpuArray::try_from(map).map_err(|source| BpfError::Map { name: "STATS", source })?,
        })
    }

    pub fn read(&self) -> Result<Counters, BpfError> {
        let mut counters = Counters { values: Vec::with_capacity(STATS_LEN as usize), ..Counters::default() };
        for index in 0..STATS_LEN {
            let per_cpu =
                self.map.get(&index, 0).map_err(|source| BpfError::Map { name: "STATS", source })?;
            counters.values.push(per_cpu.iter().copied().fold(0, u64::wrapping_add));
            if index == Stat::Delivered as u32 {
                counters.delivered_per_cpu = per_cpu.to_vec();
            }
        }
        Ok(counters)
    }
}

/// Every counter by its name, except those that are zero; times in human units.
impl std::fmt::Display for Counters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stats = Stat::ALL.iter().map(|stat| (stat.name(), self.get(*stat)));
        let outcomes = Outcome::ALL.iter().map(|outcome| (outcome.name(), self.outcome(*outcome)));
        let counted = stats.chain(outcomes).filter(|(_, value)| *value > 0);
        let shown = counted.map(|(name, value)| match name.ends_with("_ns") {
            true => format!("{name} {}", amount::ns(value)),
            false => format!("{name} {}", grouped(value)),
        });
        f.write_str(&shown.collect::<Vec<_>>().join(", "))
    }
}

impl Counters {
    /// What was counted in user space under the same name.
    pub fn add(&mut self, stat: Stat, more: u64) {
        if let Some(value) = self.values.get_mut(stat as usize) {
            *value = value.saturating_add(more);
        }
    }

    pub fn get(&self, stat: Stat) -> u64 {
        self.values.get(stat as usize).copied().unwrap_or(0)
    }

    pub fn outcome(&self, outcome: Outcome) -> u64 {
        self.values.get(OUTCOME_BASE as usize + outcome as usize).copied().unwrap_or(0)
    }

    /// What was counted after an earlier reading.
    pub fn since(&self, before: &Counters) -> Counters {
        let since = |now: &[u64], before: &[u64]| {
            let before = before.iter().copied().chain(std::iter::repeat(0));
            now.iter().zip(before).map(|(now, before)| now.saturating_sub(before)).collect()
        };
        Counters {
            values: since(&self.values, &before.values),
            delivered_per_cpu: since(&self.delivered_per_cpu, &before.delivered_per_cpu),
        }
    }

    /// Ticks per possible CPU.
    pub fn delivered_per_cpu(&self) -> &[u64] {
        &self.delivered_per_cpu
    }
}
