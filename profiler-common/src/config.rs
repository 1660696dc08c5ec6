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

/// Settings fixed for the life of the loaded programs.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Settings {
    /// Only processes registered by user space are sampled: forks and execs of others are not followed.
    pub targets_only: u32,
    /// Bytes waiting in the sample ring at which the reader is woken.
    pub wakeup_bytes: u32,
    /// Frames are read one by one, not a page at a time: what the benchmark compares with.
    pub single_reads: u32,
    pub reserved: u32,
}
