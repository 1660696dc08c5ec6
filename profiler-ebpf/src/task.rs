//! Facts of the current task, read at offsets that user space took from the kernel's BTF.

use aya_ebpf::helpers::generated::{
    bpf_get_current_task, bpf_get_current_task_btf, bpf_probe_read_kernel, bpf_task_pt_regs,
};
use profiler_common::ProcessKey;
use profiler_common::config::KernelOffsets;

use crate::arch;

/// Reads kernel memory; 0 where it cannot be read, which no valid field of ours is confused by.
#[inline(always)]
fn read_u64(at: u64) -> u64 {
    let mut value = 0u64;
    // SAFETY: an 8-byte local; the helper checks the source.
    unsafe { bpf_probe_read_kernel((&raw mut value).cast(), 8, at as *const _) };
    value
}

#[inline(always)]
fn read_u32(at: u64) -> u32 {
    let mut value = 0u32;
    // SAFETY: a 4-byte local; the helper checks the source.
    unsafe { bpf_probe_read_kernel((&raw mut value).cast(), 4, at as *const _) };
    value
}

#[derive(Clone, Copy)]
pub struct Task(u64);

impl Task {
    #[inline(always)]
    pub fn current() -> Task {
        // SAFETY: no arguments.
        Task(unsafe { bpf_get_current_task() })
    }

    /// A task from a tracepoint's arguments.
    #[inline(always)]
    pub fn from_pointer(pointer: u64) -> Task {
        Task(pointer)
    }

    #[inline(always)]
    pub fn pid(self, kernel: &KernelOffsets) -> u32 {
        read_u32(self.0 + u64::from(kernel.task_pid))
    }

    #[inline(always)]
    pub fn tgid(self, kernel: &KernelOffsets) -> u32 {
        read_u32(self.0 + u64::from(kernel.task_tgid))
    }

    #[inline(always)]
    pub fn start_ns(self, kernel: &KernelOffsets) -> u64 {
        read_u64(self.0 + u64::from(kernel.task_start_boottime))
    }

    #[inline(always)]
    pub fn leader(self, kernel: &KernelOffsets) -> Task {
        Task(read_u64(self.0 + u64::from(kernel.task_group_leader)))
    }

    #[inline(always)]
    pub fn exec_id(self, kernel: &KernelOffsets) -> u32 {
        read_u32(self.0 + u64::from(kernel.task_self_exec_id))
    }

    #[inline(always)]
    pub fn has_memory(self, kernel: &KernelOffsets) -> bool {
        read_u64(self.0 + u64::from(kernel.task_mm)) != 0
    }

    #[inline(always)]
    pub fn thread_pointer(self, kernel: &KernelOffsets) -> u64 {
        read_u64(self.0 + u64::from(kernel.task_thread_pointer))
    }

    /// Threads of the process that have not exited (`kernel/exit.c`: decremented before `sched_process_exit`).
    #[inline(always)]
    pub fn live_threads(self, kernel: &KernelOffsets) -> u32 {
        let signal = read_u64(self.0 + u64::from(kernel.task_signal));
        read_u32(signal + u64::from(kernel.signal_live))
    }

    #[inline(always)]
    pub fn key(self, kernel: &KernelOffsets) -> ProcessKey {
        ProcessKey {
            start_ns: self.leader(kernel).start_ns(kernel),
            tgid: self.tgid(kernel),
            exec_id: self.exec_id(kernel),
        }
    }
}

/// The instruction at which the current thread left user mode.
#[inline(always)]
pub fn user_instruction_pointer() -> u64 {
    // SAFETY: the task pointer comes straight from the helper that the verifier wants it from.
    let regs = unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) } as u64;
    read_u64(regs + arch::IP_OFFSET)
}
