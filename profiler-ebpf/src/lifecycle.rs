//! exec, fork and exit: the process table is kept right in the kernel, so that a child is followed from its first tick
//! and a replaced image never meets the layout of the old one. User space learns of each over its own ring.

use aya_ebpf::bindings::BPF_RB_FORCE_WAKEUP;
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::helpers::generated::bpf_get_current_comm;
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use profiler_common::event::{EventHeader, KIND_EXEC, KIND_EXIT, KIND_FORK, VERSION};
use profiler_common::process::{FLAG_IN_TREE, PROCESS_PENDING};
use profiler_common::{ProcessEvent, ProcessKey, ProcessRecord, Stat};

use crate::maps::{KERNEL, LIFECYCLE, PROCS, SETTINGS, count};
use crate::sources::renumbered;
use crate::task::Task;

/// `sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`: a new image, not known yet.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub fn pyprof_exec(ctx: RawTracePointContext) -> i32 {
    let kernel = KERNEL.load();
    let key = Task::current().key(&kernel);
    let old_tid = ctx.arg::<u64>(1) as u32;
    if old_tid != key.tgid {
        // A thread that was not the first takes the first one's number: nobody ends under the old one.
        renumbered(old_tid);
    }
    let flags = match PROCS.get_ptr(key.tgid) {
        // SAFETY: a checked pointer; whoever replaces the record meanwhile leaves this flag as it is.
        Some(before) => FLAG_IN_TREE & unsafe { (*before).flags },
        None if SETTINGS.load().targets_only != 0 => return 0,
        None => 0,
    };
    let record = ProcessRecord {
        key,
        runtime: 0,
        state: PROCESS_PENDING,
        layout: 0,
        epoch: 0,
        flags,
        main_interpreter: 0,
    };
    if PROCS.insert(key.tgid, record, 0).is_err() {
        count(Stat::ProcessTableFull);
    }
    send(KIND_EXEC, key, key);
    0
}

/// `sched_process_fork(struct task_struct *parent, struct task_struct *child)`: the child is what its parent is, and
/// does not run before this returns.
#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub fn pyprof_fork(ctx: RawTracePointContext) -> i32 {
    let kernel = KERNEL.load();
    let parent = Task::from_pointer(ctx.arg(0));
    let child = Task::from_pointer(ctx.arg(1));
    let tgid = child.tgid(&kernel);
    if tgid != child.pid(&kernel) {
        return 0;
    }
    let Some(record) = PROCS.get_ptr(parent.tgid(&kernel)) else { return 0 };
    // SAFETY: a checked pointer; a record replaced meanwhile belongs to the same process.
    let record = unsafe { &*record };
    if SETTINGS.load().targets_only != 0 && record.flags & FLAG_IN_TREE == 0 {
        return 0;
    }
    let parent_key = ProcessKey {
        start_ns: parent.leader(&kernel).start_ns(&kernel),
        tgid: record.key.tgid,
        exec_id: parent.exec_id(&kernel),
    };
    // The record may still be that of a process which had the pid before.
    if !record.is_of(&parent_key) {
        return 0;
    }
    let key = ProcessKey { start_ns: child.start_ns(&kernel), tgid, exec_id: child.exec_id(&kernel) };
    let copy = ProcessRecord {
        key,
        runtime: record.runtime,
        state: record.state,
        layout: record.layout,
        epoch: record.epoch,
        flags: record.flags,
        main_interpreter: record.main_interpreter,
    };
    if PROCS.insert(tgid, copy, 0).is_err() {
        count(Stat::ProcessTableFull);
    }
    send(KIND_FORK, key, parent_key);
    0
}

/// `sched_process_exit(struct task_struct *p)`: the last thread of a process goes. The record stays until user space
/// takes it away, so that the ticks of the exit itself still count for the process.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn pyprof_exit(_ctx: RawTracePointContext) -> i32 {
    let kernel = KERNEL.load();
    let task = Task::current();
    let tgid = task.tgid(&kernel);
    if PROCS.get_ptr(tgid).is_none() || task.live_threads(&kernel) != 0 {
        return 0;
    }
    let key = task.key(&kernel);
    send(KIND_EXIT, key, key);
    0
}

#[inline(always)]
fn send(kind: u16, process: ProcessKey, parent: ProcessKey) {
    let Some(mut entry) = LIFECYCLE.reserve::<ProcessEvent>(0) else {
        count(Stat::LifecycleRingFull);
        return;
    };
    // SAFETY: reads a clock.
    let time_ns = unsafe { bpf_ktime_get_ns() };
    let event = entry.write(ProcessEvent {
        header: EventHeader {
            kind,
            version: VERSION,
            bytes: size_of::<ProcessEvent>() as u32,
            time_ns,
            process,
        },
        parent,
        comm: [0; 16],
    });
    // SAFETY: a 16-byte buffer, the size of `task_struct.comm`.
    unsafe { bpf_get_current_comm(event.comm.as_mut_ptr().cast(), 16) };
    entry.submit(u64::from(BPF_RB_FORCE_WAKEUP));
}
