//! The program on `sched_switch` and its table of threads: there only for a capture that follows threads off their CPUs.

use aya::maps::{HashMap, MapData};
use aya::programs::raw_trace_point::RawTracePointLinkId;
use aya::{Ebpf, EbpfLoader};
use profiler_common::OffCpuThread;
use profiler_common::off_cpu::MAX_OFF_CPU_THREADS;

use super::BpfError;
use super::features;
use super::load::{take, tracepoint};
use super::pod::Plain;

const TABLE: &str = "OFF_CPU";
/// Working memories per CPU: one for each program that may interrupt another.
const CONTEXTS: u32 = 2;

pub(super) struct OffCpu {
    pub(super) program: &'static str,
    threads: HashMap<MapData, u32, Plain<OffCpuThread>>,
    link: Option<RawTracePointLinkId>,
}

impl OffCpu {
    /// Makes room in the maps, which are as small as can be otherwise.
    pub(super) fn size(loader: &mut EbpfLoader<'_>) {
        loader
            .map_max_entries(TABLE, MAX_OFF_CPU_THREADS)
            .map_max_entries("SCRATCH", CONTEXTS)
            .map_max_entries("CODE_SCRATCH", CONTEXTS);
    }

    pub(super) fn load(ebpf: &mut Ebpf, bounded: bool) -> Result<OffCpu, BpfError> {
        let program = features::switch_program(bounded);
        tracepoint(ebpf, program)?.load().map_err(|source| BpfError::Program { name: program, source })?;
        let threads =
            HashMap::try_from(take(ebpf, TABLE)?).map_err(|source| BpfError::Map { name: TABLE, source })?;
        Ok(OffCpu { program, threads, link: None })
    }

    pub(super) fn attach(&mut self, ebpf: &mut Ebpf) -> Result<(), BpfError> {
        let link = tracepoint(ebpf, self.program)?.attach("sched_switch");
        self.link = Some(link.map_err(|source| BpfError::Program { name: self.program, source })?);
        Ok(())
    }

    /// Whether the thread has come to or left a CPU since the program was attached.
    pub(super) fn has_seen(&self, tid: u32) -> bool {
        self.threads.get(&tid, 0).is_ok()
    }

    /// All threads, as they stand now. One that changes while it is copied may seem to be in a block that it has just counted.
    pub(super) fn threads(&self) -> Vec<OffCpuThread> {
        // A table that changes may show a thread twice, and begins again where the one to go on from is gone.
        let most = 2 * MAX_OFF_CPU_THREADS as usize;
        self.threads.iter().flatten().take(most).map(|(_, thread)| thread.0).collect()
    }

    /// Detaches; the threads that have not ended, as they stood then.
    pub(super) fn end(&mut self, ebpf: &mut Ebpf) -> Result<Vec<OffCpuThread>, BpfError> {
        if let Some(link) = self.link.take() {
            let detached = tracepoint(ebpf, self.program)?.detach(link);
            detached.map_err(|source| BpfError::Program { name: self.program, source })?;
        }
        // A thread whose entry went away meanwhile has ended, and told so.
        Ok(self.threads.iter().flatten().map(|(_, thread)| thread.0).collect())
    }
}
