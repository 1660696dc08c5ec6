//! What the loader tells the programs before they run.

use bytemuck::{Pod, Zeroable};

/// Offsets of kernel fields, in bytes, resolved from the running kernel's BTF by user space.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct KernelOffsets {
    /// `task_struct.pid`
    pub task_pid: u32,
    /// `task_struct.tgid`
    pub task_tgid: u32,
    /// `task_struct.group_leader`
    pub task_group_leader: u32,
    /// `task_struct.start_boottime` (ns since boot)
    pub task_start_boottime: u32,
    /// `task_struct.self_exec_id` (counts `execve` of this process image and its ancestors)
    pub task_self_exec_id: u32,
    /// `task_struct.signal`
    pub task_signal: u32,
    /// `signal_struct.live` (threads still alive)
    pub signal_live: u32,
    /// `task_struct.mm`: NULL for kernel threads and for threads whose exit has let go of the memory
    pub task_mm: u32,
    /// Where the thread pointer is saved: x86-64 `task_struct.thread.fsbase`, aarch64 `thread.uw.tp_value`.
    pub task_thread_pointer: u32,
    pub reserved: u32,
}

/// Where the registers of user mode are, for kernels without `bpf_task_pt_regs`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct UserRegs {
    /// `task_struct.stack`
    pub task_stack: u32,
    /// Bytes above what that points at; 0 if this is not known.
    pub offset: u32,
}

/// What is known of a thread that leaves its CPU, for the program on `sched_switch`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct SwitchOffsets {
    /// Whether the tracepoint says in which state it leaves (Linux 5.18).
    pub state_is_argument: u32,
    /// Else: `task_struct.__state`, or `state` before 5.14
    pub task_state: u32,
    /// `task_struct.sched_info.run_delay`; 0 where the kernel does not keep it (CONFIG_SCHED_INFO).
    pub task_run_delay: u32,
    /// `task_struct.sched_info.last_arrival`; 0 likewise.
    pub task_last_arrival: u32,
}

/// Settings fixed for the life of the loaded programs.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Settings {
    /// Only processes registered by user space are sampled: execs of others are not followed, and of forks only those in
    /// a tree that was asked for.
    pub targets_only: u32,
    /// Bytes waiting in the sample ring at which the reader is woken.
    pub wakeup_bytes: u32,
    /// Frames are read one by one, not a page at a time: what the benchmark compares with.
    pub single_reads: u32,
    pub reserved: u32,
}
