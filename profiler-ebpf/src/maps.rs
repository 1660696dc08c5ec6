//! Maps and load-time settings, all in one place.

use aya_ebpf::Global;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, ProgramArray, RingBuf};
use profiler_common::config::{KernelOffsets, Settings, SwitchOffsets, UserRegs};
use profiler_common::limits::{MAX_LAYOUTS, MAX_PROCESSES, MAX_THREAD_HINTS, SEEN_SLOTS};
use profiler_common::stats::STATS_LEN;
use profiler_common::tick::Tick;
use profiler_common::{OffCpuThread, ProcessRecord, Stat, ThreadKey};
use pyunwind::{Layout, Outcome};

use crate::scratch::{CodeScratch, Scratch};

#[unsafe(no_mangle)]
pub static KERNEL: Global<KernelOffsets> = Global::new(KernelOffsets {
    task_pid: 0,
    task_tgid: 0,
    task_group_leader: 0,
    task_start_boottime: 0,
    task_self_exec_id: 0,
    task_signal: 0,
    signal_live: 0,
    task_mm: 0,
    task_thread_pointer: 0,
    reserved: 0,
});

/// For `drive::Bounded` alone.
#[unsafe(no_mangle)]
pub static USER_REGS: Global<UserRegs> = Global::new(UserRegs { task_stack: 0, offset: 0 });

#[unsafe(no_mangle)]
pub static SETTINGS: Global<Settings> =
    Global::new(Settings { targets_only: 0, wakeup_bytes: 1 << 20, single_reads: 0, reserved: 0 });

#[unsafe(no_mangle)]
pub static SWITCH: Global<SwitchOffsets> = Global::new(SwitchOffsets {
    state_is_argument: 0,
    task_state: 0,
    task_run_delay: 0,
    task_last_arrival: 0,
});

/// tgid -> process. Preallocated: it is written from tracepoints and read from an interrupt.
#[map]
pub static PROCS: HashMap<u32, ProcessRecord> = HashMap::with_max_entries(MAX_PROCESSES, 0);

/// Layouts, shared by content.
#[map]
pub static LAYOUTS: Array<Layout> = Array::with_max_entries(MAX_LAYOUTS, 0);

/// (tgid, thread pointer) -> thread state, for threads far down the list. Checked again on every use. And threads that
/// have no state, `ThreadKey::foreign`, of processes in which only a walk of the whole list would tell.
#[map]
pub static HINTS: LruHashMap<ThreadKey, u64> = LruHashMap::with_max_entries(MAX_THREAD_HINTS, 0);

/// Tags of code objects already sent.
#[map]
pub static SEEN: Array<u64> = Array::with_max_entries(SEEN_SLOTS, 0);

/// Samples and code objects: their order matters.
#[map]
pub static SAMPLES: RingBuf = RingBuf::with_byte_size(8 << 20, 0);

/// exec, fork, exit.
#[map]
pub static LIFECYCLE: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

#[map]
pub static STATS: PerCpuArray<u64> = PerCpuArray::with_max_entries(STATS_LEN, 0);

#[map]
pub static TICKS: PerCpuArray<Tick> = PerCpuArray::with_max_entries(1, 0);

/// tid -> thread that is, or was, off its CPU. User space makes it as large as it has to be, and reads it at the end.
#[map]
pub static OFF_CPU: HashMap<u32, OffCpuThread> = HashMap::with_max_entries(1, 0);

/// One for each context that may interrupt another, `Drive::CONTEXT`; user space makes it as large as there are.
#[map]
pub static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

#[map]
pub static CODE_SCRATCH: PerCpuArray<CodeScratch> = PerCpuArray::with_max_entries(1, 0);

/// Slot 0: the sampling program, called by the counting one.
#[map]
pub static CHAIN: ProgramArray = ProgramArray::with_max_entries(1, 0);

#[inline(always)]
pub fn add(stat: Stat, amount: u64) {
    add_at(stat as u32, amount);
}

#[inline(always)]
pub fn count(stat: Stat) {
    add(stat, 1);
}

#[inline(always)]
pub fn count_outcome(outcome: Outcome) {
    add_at(profiler_common::stats::OUTCOME_BASE + outcome as u32, 1);
}

#[inline(always)]
fn add_at(index: u32, amount: u64) {
    if let Some(counter) = STATS.get_ptr_mut(index) {
        // SAFETY: the slot is this CPU's own and the pointer was checked; an interrupt that adds in between can at
        // most repeat an addition of another program, and each counter is written by one program only.
        unsafe { *counter = (*counter).wrapping_add(amount) };
    }
}
