//! Time off the CPU: where threads of Python processes block, and for how long.
//!
//! `sched_switch` fires while the thread that leaves is still the current one, so its stack is walked then. How long it was away
//! is known when it is back, and told when it leaves the next time: then the program runs in its place again, and the
//! scheduler has written down how long it had to wait for a CPU after it was woken.
//!
//! A stack goes to user space when it is first seen; from then on a sample names it by its hash. Where threads block more
//! often than stacks can be walked, chance decides, and who is taken stands for all (`profiler_common::off_cpu`).

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::helpers::generated::{bpf_get_current_comm, bpf_get_prandom_u32};
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use core::ffi::c_void;
use profiler_common::config::SwitchOffsets;
use profiler_common::event::{
    EventHeader, KIND_SAMPLE, KIND_STACK, KIND_THREAD, NO_COLLECTOR, NO_SYSCALL, NOT_WALKED, SINCE_BEFORE,
    SOURCE_OFF_CPU, STACK_SENT, VERSION, WAITS_FOR_GIL,
};
use profiler_common::limits::SEEN_SLOTS;
use profiler_common::off_cpu::{CPU_WALKS, LEFT_BLOCKED, LEFT_RUNNABLE, LONG_NS, PLACES, THREAD_WALKS};
use profiler_common::process::{PROCESS_DORMANT, PROCESS_PYTHON};
use profiler_common::{OffCpuThread, ProcessRecord, SampleEvent, Stat, ThreadEvent};
use pyunwind::Outcome;

use crate::collect::{Event, emit, look};
use crate::drive::{self, Bounded, Drive, Looped};
use crate::maps::{KERNEL, OFF_CPU, PROCS, SCRATCH, SEEN, SWITCH, add, count};
use crate::output::output;
use crate::scratch::Scratch;
use crate::sink::mix;
use crate::task::{Left, Task, left_user_mode};

/// `BPF_NOEXIST`
const NO_EXIST: u64 = 1;
/// `TASK_DEAD` (`include/linux/sched.h`): it never comes back.
const DEAD: u32 = 0x80;
/// Larger than `_PyRuntime` with the main interpreter in it (`Include/internal/pycore_runtime.h`). The GIL's condition is in one
/// or the other of them, or was in static memory near by before there was such a structure.
const RUNTIME_BYTES: u64 = 1 << 20;
/// Keeps stacks apart from code objects among what was sent.
const STACK_TAG: u64 = 0x7374_6163_6b00;

/// `sched_switch(bool preempt, struct task_struct *prev, struct task_struct *next, unsigned int prev_state)`
/// (`include/trace/events/sched.h`; the last one since 5.18). Called with interrupts off.
#[raw_tracepoint(tracepoint = "sched_switch")]
pub fn pyprof_switch(ctx: RawTracePointContext) -> i32 {
    switch::<Looped<{ drive::OFF_CPU }>>(&ctx)
}

/// In its place on kernels without `bpf_loop`: "switch, bounded", in the 15 characters of a name in the kernel.
#[raw_tracepoint(tracepoint = "sched_switch")]
pub fn pyprof_switch_b(ctx: RawTracePointContext) -> i32 {
    switch::<Bounded<{ drive::OFF_CPU }>>(&ctx)
}

#[inline(always)]
fn switch<D: Drive>(ctx: &RawTracePointContext) -> i32 {
    // SAFETY: reads a clock.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    comes(Task::from_pointer(ctx.arg(2)), now_ns);
    if ctx.pid() != 0 {
        leaves::<D>(ctx, now_ns);
    }
    0
}

/// The thread gets the CPU.
#[inline(always)]
fn comes(next: Task, now_ns: u64) {
    let kernel = KERNEL.load();
    let tgid = next.tgid(&kernel);
    if tgid == 0 || followed(tgid).is_none() {
        return;
    }
    let tid = next.pid(&kernel);
    if let Some(thread) = OFF_CPU.get_ptr_mut(tid) {
        // SAFETY: a checked pointer; a thread comes or leaves on one CPU at a time.
        unsafe { (*thread).in_ns = now_ns };
        return;
    }
    // It was away before anybody looked, or is new.
    let start_ns = next.start_ns(&kernel);
    // Without the time since it was woken, if it has not been moved to another CPU: the scheduler adds that later.
    let run_delay_ns = next.run_delay_ns(&SWITCH.load());
    insert(tid, |fresh| {
        fresh.in_ns = now_ns;
        fresh.run_delay_ns = run_delay_ns;
        fresh.sample.thread_start_ns = start_ns;
        fresh.sample.tid = tid;
        fresh.sample.header.process.tgid = tgid;
    });
}

#[inline(always)]
fn followed(tgid: u32) -> Option<&'static mut ProcessRecord> {
    let record = PROCS.get_ptr_mut(tgid)?;
    // SAFETY: a checked pointer into a map; see `collect`.
    let record = unsafe { &mut *record };
    if record.state == PROCESS_DORMANT { None } else { Some(record) }
}

/// A new thread in the table; what is written to `fresh` is taken back.
#[inline(always)]
fn insert(tid: u32, write: impl FnOnce(&mut OffCpuThread)) {
    let Some(scratch) = SCRATCH.get_ptr_mut(drive::OFF_CPU) else {
        count(Stat::OffCpuTableFull);
        return;
    };
    // SAFETY: this CPU's own memory for this program, which runs with interrupts off.
    let fresh = unsafe { &mut (*scratch).fresh };
    write(fresh);
    if OFF_CPU.insert(tid, &*fresh, NO_EXIST).is_err() {
        count(Stat::OffCpuTableFull);
    }
    fresh.in_ns = 0;
    fresh.run_delay_ns = 0;
    fresh.sample.thread_start_ns = 0;
}

/// The current thread gives up the CPU.
#[inline(always)]
fn leaves<D: Drive>(ctx: &RawTracePointContext, now_ns: u64) {
    let switch = SWITCH.load();
    let task = Task::current();
    let is_preempted = ctx.arg::<u64>(0) as u8 != 0;
    let state = if switch.state_is_argument != 0 { ctx.arg::<u64>(3) as u32 } else { task.state(&switch) };
    let is_dead = !is_preempted && state & DEAD != 0;
    let (tgid, tid) = (ctx.tgid(), ctx.pid());
    let record = followed(tgid);
    // The process of a thread that dies may be forgotten already; the thread must not stay.
    if record.is_none() && !is_dead {
        return;
    }
    let kernel = KERNEL.load();
    let start_ns = task.start_ns(&kernel);
    let exec_id = task.exec_id(&kernel);
    let run_delay_ns = task.run_delay_ns(&switch);
    let thread = match OFF_CPU.get_ptr_mut(tid) {
        Some(thread) => thread,
        None if is_dead => return,
        None => {
            insert(tid, |fresh| fresh.sample.thread_start_ns = start_ns);
            let Some(thread) = OFF_CPU.get_ptr_mut(tid) else { return };
            thread
        }
    };
    // SAFETY: a checked pointer; a thread comes or leaves on one CPU at a time.
    let thread = unsafe { &mut *thread };
    arrived(thread, task, &switch, run_delay_ns, now_ns);
    if thread.sample.thread_start_ns != start_ns {
        // The id is another thread's by now.
        forget(thread, start_ns);
    } else {
        settle(thread, run_delay_ns);
    }
    if thread.sample.header.bytes == 0 {
        introduce(thread, task, now_ns, tid, run_delay_ns);
    }
    if is_dead || thread.sample.header.process.exec_id != exec_id {
        end(thread, now_ns);
        forget(thread, start_ns);
        introduce(thread, task, now_ns, tid, run_delay_ns);
    }
    if is_dead {
        // It is not there only if somebody else was faster.
        let _ = OFF_CPU.remove(tid);
        return;
    }
    thread.out_ns = now_ns;
    thread.in_ns = 0;
    thread.run_delay_ns = run_delay_ns;
    // Who is put aside on the way to sleep, with its state set, is as good as asleep: so does the scheduler see it, which does
    // not take that for waiting for a CPU (`sched_info_depart`).
    if state == 0 {
        thread.left = LEFT_RUNNABLE;
        return;
    }
    thread.left = LEFT_BLOCKED;
    if let Some(record) = record {
        let is_next_idle = Task::from_pointer(ctx.arg(2)).pid(&kernel) == 0;
        block::<D>(thread, record, task, now_ns, (tgid, tid), is_next_idle);
    }
    // SAFETY: reads a clock.
    add(Stat::SamplerNs, unsafe { bpf_ktime_get_ns() }.wrapping_sub(now_ns));
}

/// Some switches no program is told of: kernels for machines that others run leave out those from their agent's threads (seen on
/// a 6.18 for Firecracker). When the current thread has come by one the scheduler knows; what it writes down is compared with
/// what was seen now and then.
#[inline(always)]
fn arrived(thread: &mut OffCpuThread, task: Task, switch: &SwitchOffsets, run_delay_ns: u64, now_ns: u64) {
    let Some(scratch) = SCRATCH.get_ptr_mut(drive::OFF_CPU) else { return };
    // SAFETY: this CPU's own memory for this program, which runs with interrupts off.
    let arrivals = unsafe { &mut (*scratch).arrivals };
    if thread.in_ns != 0 {
        if arrivals.are_stale(now_ns) {
            arrivals.compare(thread.in_ns, task.last_arrival_ns(switch), now_ns);
        }
        return;
    }
    let in_ns = arrivals.monotonic_ns(task.last_arrival_ns(switch)).min(now_ns);
    if thread.out_ns == 0 {
        // New here: it came unseen, or it ran when the program was attached, which user space knows from this.
        thread.in_ns = in_ns;
        thread.run_delay_ns = run_delay_ns;
        return;
    }
    count(Stat::OffCpuReturnUnseen);
    thread.in_ns = if in_ns == 0 { now_ns } else { in_ns.max(thread.out_ns) };
}

/// Says whose thread it is, and if it was away before anybody looked, until when.
#[inline(always)]
fn introduce(thread: &mut OffCpuThread, task: Task, now_ns: u64, tid: u32, run_delay_ns: u64) {
    let kernel = KERNEL.load();
    let key = task.key(&kernel);
    let sample = &mut thread.sample;
    sample.header.kind = KIND_SAMPLE;
    sample.header.version = VERSION;
    sample.header.bytes = size_of::<SampleEvent>() as u32;
    sample.header.time_ns = now_ns;
    sample.header.process = key;
    sample.tid = tid;
    sample.source = SOURCE_OFF_CPU;
    sample.events = 1;
    sample.syscall = NO_SYSCALL;
    sample.outcome = Outcome::Unknown as u8;
    sample.frames = 0;
    sample.collector = NO_COLLECTOR;
    // SAFETY: a 16-byte buffer, the size of `task_struct.comm`.
    unsafe { bpf_get_current_comm(sample.comm.as_mut_ptr().cast(), 16) };
    if thread.in_ns != 0 {
        sample.weight_ns = thread.in_ns;
        sample.thread_pointer = task.thread_pointer(&kernel);
        sample.stack_hash = run_delay_ns;
        sample.user_ip = run_delay_ns.wrapping_sub(thread.run_delay_ns);
        sample.flags = SINCE_BEFORE;
        tell(thread);
    }
}

/// The current thread begins to wait.
#[inline(always)]
fn block<D: Drive>(
    thread: &mut OffCpuThread,
    record: &mut ProcessRecord,
    task: Task,
    now_ns: u64,
    ids: (u32, u32),
    is_next_idle: bool,
) {
    let Some(scratch) = SCRATCH.get_ptr_mut(D::CONTEXT) else { return };
    // SAFETY: this CPU's own memory for this program, which runs with interrupts off.
    let scratch = unsafe { &mut *scratch };
    let left = left_user_mode(D::user_registers(task));
    let slot = (left.place as usize) & (PLACES - 1);
    let of_thread = thread.rate.scale(now_ns, THREAD_WALKS, true);
    // Where it has not been lately, it is walked in any case, as far as this CPU can bear.
    let of_thread = if thread.places[slot].place == left.place { of_thread } else { 1 };
    let passes = is_chosen(of_thread);
    let of_cpu = scratch.walks.scale(now_ns, CPU_WALKS, passes);
    let chosen = passes && is_chosen(of_cpu);
    thread.long_ns = LONG_NS.wrapping_mul(u64::from(of_cpu)).wrapping_mul(u64::from(of_cpu));
    if chosen {
        thread.chance = of_thread.wrapping_mul(of_cpu);
        walk::<D>(thread, scratch, record, &left, now_ns, ids);
        // Who runs next on this CPU begins so much later, and whom this thread waits for with it; an idle CPU keeps nobody.
        // SAFETY: reads a clock.
        let took_ns = unsafe { bpf_ktime_get_ns() }.wrapping_sub(now_ns);
        thread.walk_ns = if is_next_idle { 0 } else { took_ns };
        return;
    }
    thread.chance = 0;
    thread.account.not_walked = thread.account.not_walked.wrapping_add(1);
    let sample = &mut thread.sample;
    sample.header.time_ns = now_ns;
    sample.user_ip = left.ip;
    sample.syscall = left.syscall;
    sample.flags = NOT_WALKED;
    sample.outcome = Outcome::Unknown as u8;
    let place = &thread.places[slot];
    if place.place == left.place {
        sample.stack_hash = place.stack_hash;
        sample.outcome = place.outcome as u8;
        sample.flags = NOT_WALKED | place.flags as u8;
    }
}

/// One in `scale`.
#[inline(always)]
fn is_chosen(scale: u32) -> bool {
    // SAFETY: no arguments.
    scale <= 1 || unsafe { bpf_get_prandom_u32() } % scale == 0
}

/// Walks the stack, sends it if it is new, and keeps the rest until the thread is back.
#[inline(always)]
fn walk<D: Drive>(
    thread: &mut OffCpuThread,
    scratch: &mut Scratch,
    record: &mut ProcessRecord,
    left: &Left,
    now_ns: u64,
    (tgid, tid): (u32, u32),
) {
    count(Stat::OffCpuWalks);
    let event = Event {
        source: SOURCE_OFF_CPU,
        now_ns,
        weight_ns: 0,
        user: false,
        ip: left.ip,
        short_lived: [0; 3],
        long_lived: [0; 2],
        tgid,
        tid,
    };
    let outcome = look::<D>(scratch, record, &event);
    if scratch.sink.depth != 0 {
        send_stack(scratch, outcome);
        scratch.sample.event.flags |= STACK_SENT;
    }
    let sample = &mut scratch.sample.event;
    // The runtime has one condition in its own memory, the GIL's; other locks are made one by one, elsewhere.
    let distance = left.futex.wrapping_sub(record.runtime).wrapping_add(RUNTIME_BYTES);
    if left.futex != 0 && record.state == PROCESS_PYTHON && distance < 2 * RUNTIME_BYTES {
        sample.flags |= WAITS_FOR_GIL;
    }
    sample.header.kind = KIND_SAMPLE;
    sample.header.bytes = size_of::<SampleEvent>() as u32;
    sample.frames = 0;
    sample.syscall = left.syscall;
    let words = size_of::<SampleEvent>() / 8;
    let (from, to) =
        ((&raw const scratch.sample.event).cast::<u64>(), (&raw mut thread.sample).cast::<u64>());
    for word in 0..words {
        // SAFETY: both are samples, which are as long and made of such words.
        unsafe { *to.add(word) = *from.add(word) };
    }
    let place = &mut thread.places[(left.place as usize) & (PLACES - 1)];
    place.place = left.place;
    place.stack_hash = thread.sample.stack_hash;
    place.outcome = outcome as u32;
    place.flags = u32::from(thread.sample.flags);
}

/// A stack that user space does not have, ahead of the samples that name it.
#[inline(always)]
fn send_stack(scratch: &mut Scratch, outcome: Outcome) {
    let tag = mix(mix(scratch.sink.salt, scratch.sample.event.stack_hash), STACK_TAG | outcome as u64);
    let Some(seen) = SEEN.get_ptr_mut((tag as u32) & (SEEN_SLOTS - 1)) else { return };
    // SAFETY: a checked pointer into an array map; a torn read could only make us send a stack twice.
    if unsafe { *seen } == tag {
        return;
    }
    scratch.sample.event.header.kind = KIND_STACK;
    if emit(scratch, false) {
        // SAFETY: as above; a lost race sends the stack again.
        unsafe { *seen = tag };
    } else {
        count(Stat::OffCpuStackLost);
    }
}

/// The thread has another number from now on: its account ends under the old one.
#[inline(always)]
pub fn renumbered(old_tid: u32) {
    let Some(thread) = OFF_CPU.get_ptr_mut(old_tid) else { return };
    // SAFETY: a checked pointer; the thread is the current one, so it neither comes nor leaves.
    let thread = unsafe { &mut *thread };
    if thread.sample.header.bytes != 0 {
        // SAFETY: reads a clock.
        end(thread, unsafe { bpf_ktime_get_ns() });
    }
    let _ = OFF_CPU.remove(old_tid);
}

/// The account of a thread that ends here. A function of its own, so that what it sends is not on the stack while a walk's four
/// functions are: 512 bytes is all that they have together.
#[inline(never)]
fn end(thread: &OffCpuThread, now_ns: u64) {
    let mut event = ThreadEvent {
        header: EventHeader {
            kind: KIND_THREAD,
            version: VERSION,
            bytes: size_of::<ThreadEvent>() as u32,
            time_ns: now_ns,
            process: thread.sample.header.process,
        },
        thread_start_ns: thread.sample.thread_start_ns,
        account: thread.account,
        tid: thread.sample.tid,
        reserved: 0,
    };
    if !output(&raw mut event as *mut c_void, size_of::<ThreadEvent>() as u64, false) {
        count(Stat::OffCpuThreadLost);
    }
}

#[inline(always)]
fn forget(thread: &mut OffCpuThread, start_ns: u64) {
    thread.sample.header.bytes = 0;
    thread.sample.thread_start_ns = start_ns;
    thread.sample.flags = 0;
    thread.out_ns = 0;
    thread.in_ns = 0;
    thread.account.blocked_ns = 0;
    thread.account.runnable_ns = 0;
    thread.account.blocked = 0;
    thread.account.preempted = 0;
    thread.account.not_walked = 0;
    for place in &mut thread.places {
        place.place = 0;
    }
}

/// Counts the time for which the thread was away, and tells of it if it was blocked.
#[inline(always)]
fn settle(thread: &mut OffCpuThread, run_delay_ns: u64) {
    if thread.in_ns == 0 || thread.out_ns == 0 {
        return;
    }
    let away_ns = thread.in_ns.wrapping_sub(thread.out_ns);
    // Another clock counts it, of the same pace but for microseconds.
    let delay_ns = run_delay_ns.wrapping_sub(thread.run_delay_ns).min(away_ns);
    if thread.left == LEFT_RUNNABLE {
        thread.account.runnable_ns = thread.account.runnable_ns.wrapping_add(away_ns);
        thread.account.preempted = thread.account.preempted.wrapping_add(1);
        return;
    }
    let blocked_ns = away_ns.wrapping_sub(delay_ns);
    thread.account.runnable_ns = thread.account.runnable_ns.wrapping_add(delay_ns);
    thread.account.blocked_ns = thread.account.blocked_ns.wrapping_add(blocked_ns);
    thread.account.blocked = thread.account.blocked.wrapping_add(1);
    if let Some(counted) = thread.counts(blocked_ns) {
        thread.sample.events = counted.events;
        thread.sample.weight_ns = counted.weight_ns;
        tell(thread);
    }
}

#[inline(always)]
fn tell(thread: &mut OffCpuThread) {
    let weight_ns = thread.sample.weight_ns;
    if output(&raw mut thread.sample as *mut c_void, size_of::<SampleEvent>() as u64, false) {
        count(Stat::OffCpuSent);
    } else {
        count(Stat::OffCpuRingFull);
        add(Stat::OffCpuRingFullNs, weight_ns);
    }
}
