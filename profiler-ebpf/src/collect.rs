//! One sample, from any source: whose thread it is, its stack, its outcome, its way to user space.

use aya_ebpf::helpers::generated::{bpf_get_current_cgroup_id, bpf_get_current_comm};
use aya_ebpf::helpers::{bpf_ktime_get_boot_ns, bpf_ktime_get_ns};
use core::ffi::c_void;
use profiler_common::event::{
    GIL_HELD, GIL_KNOWN, IN_KERNEL, KIND_SAMPLE, NO_COLLECTOR, NO_SYSCALL, VERSION,
};
use profiler_common::limits::{HINT_AFTER_STEPS, MAX_THREAD_STEPS, MIN_THREAD_CREATION_NS};
use profiler_common::process::{
    FLAG_MANY_THREADS, FLAG_STARTED, ID_BELOW_SHIFT, PROCESS_DORMANT, PROCESS_LEFT_OUT, PROCESS_PYTHON,
};
use profiler_common::{Frame, ProcessKey, ProcessRecord, SampleEvent, Stat, ThreadKey};
use pyunwind::layout::ABSENT_32;
use pyunwind::step::{Progress, Walk};
use pyunwind::thread::{
    ID_WITHIN_BYTES, ThreadState, WalkStep, collects, current, holds_gil, interpreter_id, revisit,
};
use pyunwind::{Addr, Layout, Memory, Outcome};

use crate::bound::below_1024;
use crate::capture::capture;
use crate::drive::Drive;
use crate::maps::{HINTS, KERNEL, LAYOUTS, PROCS, SCRATCH, add, count, count_outcome};
use crate::nested;
use crate::output::output;
use crate::scratch::Scratch;
use crate::sink::{Sink, mix};
use crate::task::{Task, instruction_pointer};

/// What a source knows of a tick.
pub struct Event {
    pub source: u8,
    pub now_ns: u64,
    pub weight_ns: u64,
    /// Whether the interrupt came in user mode.
    pub user: bool,
    /// Instruction pointer, if it did.
    pub ip: u64,
    /// Registers, if it did, where a pointer may be that memory does not have yet: see `pyunwind::step`.
    pub short_lived: [u64; 3],
    pub long_lived: [u64; 2],
    pub tgid: u32,
    pub tid: u32,
}

/// `Scratch.triggered` where no collector runs. Not an `Option` on the stack: older verifiers refuse to copy what a `None`
/// leaves undefined.
const NOT_COLLECTING: u64 = u64::MAX;

/// `Scratch.result` while a loop runs.
pub const RUNNING: u32 = u32::MAX;
const SEARCH_FOUND: u32 = 1;
pub const SEARCH_END: u32 = 2;
pub const SEARCH_FAULT: u32 = 3;

/// Makes a sample of a tick, if it hit a thread of a Python process. Every tick ends in exactly one counter.
#[inline(always)]
pub fn collect<D: Drive>(event: &Event) {
    if event.tgid == 0 {
        count(Stat::Idle);
        return;
    }
    let Some(record) = PROCS.get_ptr_mut(event.tgid) else {
        count(Stat::Other);
        return;
    };
    let Some(scratch) = SCRATCH.get_ptr_mut(D::CONTEXT) else {
        count(Stat::NoScratch);
        return;
    };
    // SAFETY: checked pointers into map values. The record may be replaced by user space meanwhile; its fields are
    // copied once, and a mix of two records can at worst fail to unwind this one sample.
    let record = unsafe { &mut *record };
    if record.state == PROCESS_DORMANT {
        count(Stat::Other);
        return;
    }
    if record.state == PROCESS_LEFT_OUT {
        count(Stat::LeftOut);
        return;
    }
    // SAFETY: this CPU's scratch memory, used by this program only.
    let scratch = unsafe { &mut *scratch };
    let outcome = look::<D>(scratch, record, event);
    // What is not known yet is to be looked at while the tick is fresh.
    let wake = outcome as u8 == Outcome::Unknown as u8;
    if !emit(scratch, wake) {
        count(Stat::SampleRingFull);
        add(Stat::SampleRingFullNs, event.weight_ns);
    }

    count_outcome(outcome);
    add(Stat::PythonNs, event.weight_ns);
    // SAFETY: reads a clock.
    add(Stat::SamplerNs, unsafe { bpf_ktime_get_ns() }.wrapping_sub(event.now_ns));
}

/// Fills `scratch.sample` with what is to be known of the current thread.
#[inline(always)]
pub fn look<D: Drive>(scratch: &mut Scratch, record: &mut ProcessRecord, event: &Event) -> Outcome {
    let kernel = KERNEL.load();
    let task = Task::current();
    let leader = task.leader(&kernel);
    let key =
        ProcessKey { start_ns: leader.start_ns(&kernel), tgid: event.tgid, exec_id: task.exec_id(&kernel) };
    let thread_start_ns = task.start_ns(&kernel);
    let thread_pointer = task.thread_pointer(&kernel);

    let sink = &mut scratch.sink;
    sink.depth = 0;
    sink.hash = 0;
    sink.new_codes = 0;
    sink.collector = u32::from(NO_COLLECTOR);
    sink.sequence = sink.sequence.wrapping_add(1);
    sink.salt =
        mix(mix(key.start_ns, u64::from(key.tgid)), (u64::from(key.exec_id) << 32) | u64::from(record.epoch));
    scratch.memory.reset();
    scratch.thread_pointer = thread_pointer;
    scratch.regs = D::user_registers(task);
    scratch.flags = 0;
    scratch.interpreter = 0;

    let outcome = unwind::<D>(scratch, record, &key, event, thread_start_ns, task.has_memory(&kernel));

    let sample = &mut scratch.sample.event;
    sample.header.kind = KIND_SAMPLE;
    sample.header.version = VERSION;
    sample.header.time_ns = event.now_ns;
    sample.header.process = key;
    sample.weight_ns = event.weight_ns;
    sample.thread_start_ns = thread_start_ns;
    sample.thread_pointer = thread_id(thread_pointer, record);
    // SAFETY: no arguments.
    sample.cgroup_id = unsafe { bpf_get_current_cgroup_id() };
    sample.user_ip = if event.user { event.ip } else { instruction_pointer(scratch.regs) };
    sample.flags = scratch.flags | if event.user { 0 } else { IN_KERNEL };
    sample.collector = scratch.sink.collector as u16;
    sample.interpreter = scratch.interpreter;
    sample.stack_hash = scratch.sink.hash;
    sample.tid = event.tid;
    // SAFETY: no arguments.
    sample.cpu = unsafe { aya_ebpf::helpers::bpf_get_smp_processor_id() };
    sample.outcome = outcome as u8;
    sample.source = event.source;
    // SAFETY: a 16-byte buffer, the size of `task_struct.comm`.
    unsafe { bpf_get_current_comm(sample.comm.as_mut_ptr().cast(), 16) };
    sample.events = 1;
    sample.syscall = NO_SYSCALL;
    outcome
}

/// Fills `scratch.sample.frames` and says what became of the sample.
#[inline(always)]
fn unwind<D: Drive>(
    scratch: &mut Scratch,
    record: &mut ProcessRecord,
    key: &ProcessKey,
    event: &Event,
    thread_start_ns: u64,
    has_memory: bool,
) -> Outcome {
    if !record.is_of(key) {
        count(Stat::StaleRecord);
        return Outcome::Unknown;
    }
    if record.state != PROCESS_PYTHON {
        return Outcome::Unknown;
    }
    if !has_memory {
        // The thread exits: its memory is gone, its last CPU time is the kernel's.
        return Outcome::Native;
    }
    let Some(layout) = LAYOUTS.get_ptr(record.layout) else { return Outcome::Unknown };
    // SAFETY: a checked pointer into an array map whose entries user space writes before it refers to them.
    let layout = unsafe { &*layout };
    scratch.layout = record.layout;

    let thread = match find_thread::<D>(scratch, record, layout, thread_start_ns) {
        Ok(thread) => thread,
        Err(outcome) => return outcome,
    };
    record.flags |= FLAG_STARTED;
    learn_ids(scratch, record, layout, &thread);
    if thread.interpreter.0 != record.main_interpreter
        && let Some(id) = interpreter_id(&mut scratch.memory, layout, &thread)
    {
        scratch.interpreter = id;
        if id == 0 {
            record.main_interpreter = thread.interpreter.0;
        }
    }
    scratch.triggered = NOT_COLLECTING;
    if let Some(held) = holds_gil(&mut scratch.memory, layout, Addr(record.runtime), &thread) {
        scratch.flags = GIL_KNOWN | if held { GIL_HELD } else { 0 };
        if held && let Some(frame) = collects(&mut scratch.memory, layout, &thread) {
            scratch.triggered = frame.0;
        }
    }
    if !thread.runs_python(layout) {
        return Outcome::Native;
    }
    let mut outcome = Outcome::Torn;
    if let Ok(walk) = Walk::begin(&mut scratch.memory, layout, &thread) {
        let [first, second] = event.long_lived;
        let walk = walk.held_by(&thread, [Addr(first), Addr(second)]);
        scratch.walk = match scratch.triggered {
            NOT_COLLECTING => walk,
            frame => walk.collected_in(Addr(frame)),
        };
        outcome = walk_frames::<D>(scratch, layout);
        if scratch.triggered == 0 {
            // Nothing tells more than that the collector runs: what it has called cannot be told from its callers.
            scratch.sink.collector = 0;
            scratch.sink.hash = mix(scratch.sink.hash, 0);
        }
    }
    if outcome as u8 == Outcome::Torn as u8 {
        outcome = retry::<D>(scratch, layout, &thread, event);
    }
    if scratch.sink.new_codes != 0 {
        capture::<D>(scratch, layout, key, event.now_ns);
    }
    if scratch.sink.depth == 0 && outcome as u8 == Outcome::Complete as u8 {
        return Outcome::Native;
    }
    outcome
}

/// Reads a torn stack again from what the registers hold, under checks that a wrong guess does not pass.
#[inline(always)]
fn retry<D: Drive>(scratch: &mut Scratch, layout: &Layout, thread: &ThreadState, event: &Event) -> Outcome {
    let [first, second] = event.long_lived;
    if try_frame::<D>(scratch, layout, thread, Addr(first))
        || try_frame::<D>(scratch, layout, thread, Addr(second))
    {
        return Outcome::Complete;
    }
    let [first, second, third] = event.short_lived;
    let mut cframe = Addr::NULL;
    for candidate in [third, second, first] {
        if Walk::is_cframe_above(layout, thread, Addr(candidate)) {
            cframe = Addr(candidate);
        }
    }
    if !cframe.is_null()
        && let Ok(walk) = Walk::retry_cframe(&mut scratch.memory, layout, thread, cframe)
    {
        return again::<D>(scratch, layout, walk);
    }
    Outcome::Torn
}

#[inline(always)]
fn try_frame<D: Drive>(scratch: &mut Scratch, layout: &Layout, thread: &ThreadState, frame: Addr) -> bool {
    if !Walk::is_frame(layout, thread, frame) {
        return false;
    }
    match Walk::retry_frame(&mut scratch.memory, layout, thread, frame) {
        Ok(walk) => again::<D>(scratch, layout, walk) as u8 == Outcome::Complete as u8,
        Err(_) => false,
    }
}

#[inline(always)]
fn again<D: Drive>(scratch: &mut Scratch, layout: &Layout, walk: Walk) -> Outcome {
    scratch.walk = walk;
    scratch.sink.depth = 0;
    scratch.sink.hash = 0;
    count(Stat::Retried);
    walk_frames::<D>(scratch, layout)
}

/// Walks from where `scratch.walk` stands to the root.
#[inline(always)]
fn walk_frames<D: Drive>(scratch: &mut Scratch, layout: &Layout) -> Outcome {
    scratch.result = RUNNING;
    let scratch = D::frames(scratch, layout);
    // Running out of steps means more shims than frames: what a forged chain looks like.
    Outcome::from_u8(scratch.result as u8).unwrap_or(Outcome::Truncated)
}

/// One step towards the root; whether it was the last.
#[inline(always)]
pub fn step_frame(scratch: &mut Scratch, layout: &Layout) -> bool {
    let mut sink = Sink { sample: &mut scratch.sample, state: &mut scratch.sink };
    match scratch.walk.step(&mut scratch.memory, layout, &mut sink) {
        Progress::More => false,
        Progress::Done(outcome) => {
            scratch.result = outcome as u32;
            true
        }
    }
}

/// The thread state of the interrupted thread, or what to call its absence.
#[inline(always)]
fn find_thread<D: Drive>(
    scratch: &mut Scratch,
    record: &mut ProcessRecord,
    layout: &Layout,
    thread_start_ns: u64,
) -> Result<ThreadState, Outcome> {
    // Of another interpreter it may be a state that this thread made and another runs.
    if let Ok(Some(thread)) =
        current(&mut scratch.memory, layout, Addr(record.runtime), scratch.thread_pointer)
        && (layout.interpreter_id == ABSENT_32 || thread.interpreter.0 == record.main_interpreter)
    {
        return Ok(thread);
    }
    let id = thread_id(scratch.thread_pointer, record);
    let hint = ThreadKey { thread_pointer: id, tgid: record.key.tgid, started: 0 };
    match scratch.threads.start(&mut scratch.memory, layout, Addr(record.runtime)) {
        Ok(true) => {}
        Ok(false) if record.flags & FLAG_STARTED != 0 => return Err(Outcome::Native),
        // The runtime's own memory is mapped lazily: until the dynamic linker has touched it there is nothing there.
        Ok(false) => return Err(Outcome::Starting),
        Err(_) if record.flags & FLAG_STARTED == 0 => return Err(Outcome::Starting),
        Err(_) => return Err(Outcome::Unreadable),
    }
    // aarch64 saves the thread pointer, which a program sets without the kernel, when it switches to another thread: until
    // then, that of a new program's first thread is not to be had (`arch/arm64/kernel/process.c`, `tls_preserve_current_state`).
    if ID_WITHIN_BYTES != 1
        && scratch.thread_pointer == 0
        && let Some(id) = scratch.threads.only_id(&mut scratch.memory, layout)
    {
        scratch.thread_pointer = id;
    }
    let mut attached = false;
    scratch.known = 0;
    if record.flags & FLAG_MANY_THREADS != 0 {
        // SAFETY: the map is an LRU hash; the value is copied at once.
        if let Some(address) = unsafe { HINTS.get(hint) } {
            let address = Addr(*address);
            if let Ok(Some(thread)) = revisit(&mut scratch.memory, layout, address, scratch.thread_pointer) {
                if scratch.threads.is_nested() {
                    scratch.known = address.0;
                } else if thread.runs_python(layout) {
                    count(Stat::HintHit);
                    return Ok(thread);
                }
                // It may have a newer state, which then is in reach.
                attached = true;
            }
        }
    }
    scratch.result = RUNNING;
    scratch.steps = 0;
    let scratch = if scratch.threads.is_nested() {
        nested::search(scratch, D::CONTEXT)
    } else {
        D::threads(scratch, layout)
    };
    let steps = scratch.steps;
    add(Stat::ThreadSteps, u64::from(steps));
    let best = scratch.threads.best();
    match scratch.result {
        SEARCH_FOUND => {
            if steps > HINT_AFTER_STEPS {
                record.flags |= FLAG_MANY_THREADS;
                if HINTS.insert(hint, best.address.0, 0).is_err() {
                    count(Stat::HintFailed);
                }
            }
            Ok(best)
        }
        SEARCH_END if best.address.is_null() => Err(Outcome::Native),
        SEARCH_END => Ok(best),
        RUNNING if best.runs_python(layout) => Ok(best),
        SEARCH_FAULT => Err(Outcome::Unreadable),
        // The only state that is known of it has no frames, or it has none, or none yet.
        _ if attached || is_new(thread_start_ns) || is_foreign(hint, thread_start_ns) => Err(Outcome::Native),
        _ => {
            // User space walks the rest of the list and leaves hints.
            record.flags |= FLAG_MANY_THREADS;
            Err(Outcome::ThreadNotFound)
        }
    }
}

/// What Python numbers the thread by that has this thread pointer, 0 while that is not known of the process.
#[inline(always)]
fn thread_id(thread_pointer: u64, record: &ProcessRecord) -> u64 {
    if ID_WITHIN_BYTES == 1 {
        return thread_pointer;
    }
    match record.flags >> ID_BELOW_SHIFT {
        0 => 0,
        below => thread_pointer.wrapping_sub(u64::from(below)),
    }
}

/// The first thread that is found tells of all others of the process.
#[inline(always)]
fn learn_ids(scratch: &mut Scratch, record: &mut ProcessRecord, layout: &Layout, thread: &ThreadState) {
    if ID_WITHIN_BYTES == 1 || record.flags >> ID_BELOW_SHIFT != 0 {
        return;
    }
    let at = thread.address.offset(u64::from(layout.thread_thread_id));
    if let Ok(id) = scratch.memory.word(at) {
        let below = scratch.thread_pointer.wrapping_sub(id);
        if below < ID_WITHIN_BYTES {
            record.flags |= (below as u32) << ID_BELOW_SHIFT;
        }
    }
}

/// Whether the thread is so young that its state, which its maker makes before it, must be among those just looked at.
#[inline(always)]
fn is_new(start_ns: u64) -> bool {
    // SAFETY: reads a clock.
    let now_ns = unsafe { bpf_ktime_get_boot_ns() };
    now_ns.wrapping_sub(start_ns) < u64::from(MAX_THREAD_STEPS) * MIN_THREAD_CREATION_NS
}

/// Whether user space has found no state of the thread in all of the list. One that the thread has had since is at the
/// head, where the walk before this has looked.
#[inline(always)]
fn is_foreign(thread: ThreadKey, start_ns: u64) -> bool {
    // SAFETY: the map is an LRU hash; only its presence counts.
    unsafe { HINTS.get(thread.foreign(start_ns)) }.is_some()
}

/// One step along the list of threads; whether it was the last.
#[inline(always)]
pub fn step_thread(scratch: &mut Scratch, layout: &Layout) -> bool {
    scratch.steps += 1;
    let pointer = scratch.thread_pointer;
    scratch.result = match scratch.threads.step(&mut scratch.memory, layout, pointer) {
        Ok(WalkStep::More) => return false,
        Ok(WalkStep::Found) => SEARCH_FOUND,
        Ok(WalkStep::End) => SEARCH_END,
        Err(_) => SEARCH_FAULT,
    };
    true
}

/// Sends the sample; whether there was room.
#[inline(always)]
pub fn emit(scratch: &mut Scratch, wake: bool) -> bool {
    let depth = below_1024(u64::from(scratch.sink.depth));
    let bytes = size_of::<SampleEvent>() as u64 + depth * size_of::<Frame>() as u64;
    scratch.sample.event.frames = depth as u16;
    scratch.sample.event.header.bytes = bytes as u32;
    output(&raw mut scratch.sample as *mut c_void, bytes, wake)
}
