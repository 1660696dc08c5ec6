//! Reads the programs' counters, summed over CPUs or per CPU.

use aya::maps::{Map, MapData, PerCpuArray};
use profiler_common::Stat;
use profiler_common::stats::{OUTCOME_BASE, STATS_LEN};
use pyunwind::Outcome;

use super::BpfError;

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

impl Counters {
    pub fn get(&self, stat: Stat) -> u64 {
        self.values.get(stat as usize).copied().unwrap_or(0)
    }

    pub fn outcome(&self, outcome: Outcome) -> u64 {
        self.values.get(OUTCOME_BASE as usize + outcome as usize).copied().unwrap_or(0)
    }

    /// Ticks per possible CPU.
    pub fn delivered_per_cpu(&self) -> &[u64] {
        &self.delivered_per_cpu
    }
}
