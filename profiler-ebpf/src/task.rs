//! Facts of the current task, read at offsets that user space took from the kernel's BTF.

use aya_ebpf::helpers::generated::{
    bpf_get_current_task, bpf_get_current_task_btf, bpf_probe_read_kernel, bpf_task_pt_regs,
};
use profiler_common::ProcessKey;
use profiler_common::config::{KernelOffsets, SwitchOffsets};
use profiler_common::event::NO_SYSCALL;

use crate::arch;
use crate::maps::USER_REGS;
use crate::sink::mix;

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

    /// `TASK_*` (`include/linux/sched.h`), where the tracepoint does not say.
    #[inline(always)]
    pub fn state(self, switch: &SwitchOffsets) -> u32 {
        read_u32(self.0 + u64::from(switch.task_state))
    }

    /// All the time that it waited for a CPU so far, by the scheduler's clock; 0 where the kernel does not count it.
    #[inline(always)]
    pub fn run_delay_ns(self, switch: &SwitchOffsets) -> u64 {
        if switch.task_run_delay == 0 {
            return 0;
        }
        read_u64(self.0 + u64::from(switch.task_run_delay))
    }

    /// When it last got a CPU, by the scheduler's clock of that CPU; 0 where the kernel does not write it down.
    #[inline(always)]
    pub fn last_arrival_ns(self, switch: &SwitchOffsets) -> u64 {
        if switch.task_last_arrival == 0 {
            return 0;
        }
        read_u64(self.0 + u64::from(switch.task_last_arrival))
    }
}

/// Where the current thread has left user mode.
pub struct Left {
    /// Instruction, stack, and system call in one number.
    pub place: u64,
    pub ip: u64,
    pub syscall: i32,
    /// On what it waits, if that is the memory of a lock or a condition; else 0.
    pub futex: u64,
}

/// Of the registers that are kept at `regs`; see `Drive::user_registers`.
#[inline(always)]
pub fn left_user_mode(regs: u64) -> Left {
    if regs == 0 {
        return Left { place: 0, ip: 0, syscall: NO_SYSCALL, futex: 0 };
    }
    let ip = instruction_pointer(regs);
    let syscall = read_u32(regs + arch::SYSCALL_OFFSET) as i32;
    let place = mix(mix(ip, read_u64(regs + arch::SP_OFFSET)), u64::from(syscall as u32));
    let futex = if syscall == arch::FUTEX { read_u64(regs + arch::ARGUMENT_OFFSET) } else { 0 };
    Left { place, ip, syscall: if syscall < 0 { NO_SYSCALL } else { syscall }, futex }
}

/// The instruction at which user mode was left; 0 if there are no registers.
#[inline(always)]
pub fn instruction_pointer(regs: u64) -> u64 {
    if regs == 0 { 0 } else { read_u64(regs + arch::IP_OFFSET) }
}

/// Where the C stack ended when user mode was left; if that is not known, where no stack is.
#[inline(always)]
pub fn stack_pointer(regs: u64) -> u64 {
    let pointer = if regs == 0 { 0 } else { read_u64(regs + arch::SP_OFFSET) };
    if pointer == 0 { u64::MAX } else { pointer }
}

/// Where the registers are with which the current thread left user mode.
#[inline(always)]
pub fn user_registers() -> u64 {
    // SAFETY: the task pointer comes straight from the helper that the verifier wants it from.
    unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) as u64 }
}

/// The same where the kernel has no helper for it (before 5.15): they are at the base of the kernel stack
/// (`arch/*/include/asm/processor.h`, `task_pt_regs`). 0 if what is there are no registers of user mode.
#[inline(always)]
pub fn user_registers_from_stack(task: Task) -> u64 {
    let place = USER_REGS.load();
    if place.offset == 0 {
        return 0;
    }
    let regs = read_u64(task.0 + u64::from(place.task_stack)) + u64::from(place.offset);
    if arch::is_user_mode(read_u64(regs + arch::MODE_OFFSET)) { regs } else { 0 }
}
