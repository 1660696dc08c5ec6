//! Threads that wait, and where: their stacks are read from outside, which is right for as long as they do not run. The
//! kernel counts how often each got a CPU, and that must be the same before and after.

use std::collections::HashMap;

use pyunwind::code::CodeCheck;
use pyunwind::host::stacks::{places, thread_states};
use pyunwind::step::{Progress, Walk};
use pyunwind::thread::{ThreadState, revisit, state_at};
use pyunwind::{Addr, FrameSink, Layout, Memory, Outcome};
use serde::{Deserialize, Serialize};

use super::memory::ProcessMemory;
use super::runners::{ByThread, assign, by_mappings};
use super::scan;

/// Threads that one question is about: some 100 us each, and at most half a megabyte of frames.
pub const AT_ONCE: usize = 64;
/// Thread states looked through.
const MAX_STATES: usize = 65_536;
/// Frames, as in the kernel.
const MAX_FRAMES: usize = profiler_common::limits::MAX_FRAMES;
const MAX_STEPS: u32 = profiler_common::limits::MAX_WALK_STEPS;

/// Where libc has the number of a thread, from what `pthread_self` returns on, bytes: glibc's `struct pthread` (`nptl/descr.h`,
/// after a header of 704 bytes and a list) and musl's (`src/internal/pthread_impl.h`).
#[cfg(target_arch = "x86_64")]
const TID_OFFSETS: [u64; 2] = [0x2d0, 0x30];
#[cfg(target_arch = "aarch64")]
const TID_OFFSETS: [u64; 2] = [0xd0, 0x20];

/// A thread that waited while it was looked at.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Parked {
    pub tid: u32,
    /// By which its interpreter knows it; 0 where that cannot be told.
    pub thread_pointer: u64,
    /// How long it has waited for CPUs in all its life.
    pub run_delay_ns: u64,
    /// Start in the boot clock, cut to 10 ms.
    pub start_ns: u64,
    pub comm: String,
    pub syscall: Option<u16>,
    /// `pyunwind::Outcome`
    pub outcome: u8,
    /// Code object, identity, instruction: leaf first.
    pub frames: Vec<(u64, u32, i32)>,
}

impl Parked {
    /// Whether it is the thread that the kernel says began then.
    pub fn began(&self, start_boot_ns: u64) -> bool {
        scan::StartTime::from_ns(start_boot_ns).as_ns() == self.start_ns
    }
}

/// The threads of the process of `task` that wait, from the number `from` on, in order of their numbers, and the number to
/// go on with, if there are more.
pub fn parked(task: u32, layout: &Layout, runtime: Addr, from: u32) -> (Vec<Parked>, Option<u32>) {
    let mut tids = scan::threads(task).unwrap_or_default();
    tids.retain(|tid| *tid >= from);
    tids.sort_unstable();
    let next = tids.get(AT_ONCE).copied();
    tids.truncate(AT_ONCE);
    let mut memory = ProcessMemory::new(task);
    let states = states(&mut memory, task, layout, runtime, &tids);
    let look = |tid: &u32| {
        let before = scan::turns(task, *tid)?;
        let nested = states.as_ref().is_some_and(|(_, nested)| *nested);
        let states = states.as_ref().map(|(states, _)| states.get(tid).map_or(&[][..], Vec::as_slice));
        let (outcome, frames) = stack(&mut memory, layout, states, nested);
        let newest = states.and_then(<[_]>::first);
        let found = Parked {
            tid: *tid,
            thread_pointer: newest.map_or(0, |(_, pointer)| *pointer),
            run_delay_ns: before.run_delay_ns,
            start_ns: scan::thread_start_time(task, *tid)?.as_ns(),
            comm: scan::thread_name(task, *tid).ok()?,
            syscall: scan::syscall(task, *tid),
            outcome: outcome as u8,
            frames,
        };
        (scan::turns(task, *tid)? == before).then_some(found)
    };
    (tids.iter().filter_map(look).collect(), next)
}

/// The thread states of these threads with their thread pointers, the one that runs first, if the C stack tells which that is,
/// else the newest; and whether it does. `None` if that cannot be told.
fn states(
    memory: &mut ProcessMemory,
    task: u32,
    layout: &Layout,
    runtime: Addr,
    tids: &[u32],
) -> Option<(ByThread, bool)> {
    let (states, true) = thread_states(memory, layout, runtime, MAX_STATES) else { return None };
    if states.is_empty() {
        return None;
    }
    let ends = || tids.iter().filter_map(|tid| scan::stack_pointer(task, *tid)).collect();
    let running = places(memory, layout, runtime, &states, ends);
    let nested = !running.is_empty();
    let runners = by_mappings(task, &running, &states);
    let first = scan::leader(task)?;
    let (mut of, _) = assign(&states, &runners, first, |_, pointer| {
        let mut claimed = TID_OFFSETS.iter().filter_map(|offset| {
            let mut tid = [0; 4];
            memory.read(Addr(pointer).offset(*offset), &mut tid).ok()?;
            Some(u32::from_ne_bytes(tid)).filter(|tid| tids.binary_search(tid).is_ok())
        });
        claimed.next()
    });
    let running_at: HashMap<Addr, Addr> = running.into_iter().collect();
    for states in of.values_mut() {
        states.sort_by_key(|(state, _)| {
            running_at.get(state).map_or((true, Addr::NULL), |place| (false, *place))
        });
    }
    Some((of, nested))
}

/// `states`: of one thread, if it is known which those are.
fn stack(
    memory: &mut impl Memory,
    layout: &Layout,
    states: Option<&[(Addr, u64)]>,
    nested: bool,
) -> (Outcome, Vec<(u64, u32, i32)>) {
    let Some(states) = states else { return (Outcome::Unreadable, Vec::new()) };
    let found = states.iter().find_map(|(state, pointer)| {
        let state = if nested {
            // Its id may be that of another thread.
            state_at(memory, layout, *state).ok().map(|(state, ..)| state)
        } else {
            revisit(memory, layout, *state, *pointer).ok().flatten()
        };
        state.filter(|state| state.runs_python(layout))
    });
    match found {
        Some(state) => walk(memory, layout, &state),
        None => (Outcome::Native, Vec::new()),
    }
}

fn walk(memory: &mut impl Memory, layout: &Layout, thread: &ThreadState) -> (Outcome, Vec<(u64, u32, i32)>) {
    let mut frames = Frames(Vec::new());
    let mut outcome = Outcome::Torn;
    if let Ok(mut walk) = Walk::begin(memory, layout, thread) {
        outcome = Outcome::Truncated;
        for _ in 0..MAX_STEPS {
            if let Progress::Done(done) = walk.step(memory, layout, &mut frames) {
                outcome = done;
                break;
            }
        }
    }
    match (outcome, frames.0.is_empty()) {
        (Outcome::Complete, true) => (Outcome::Native, frames.0),
        _ => (outcome, frames.0),
    }
}

struct Frames(Vec<(u64, u32, i32)>);

impl FrameSink for Frames {
    fn push(&mut self, code: Addr, check: CodeCheck, index: i32) -> bool {
        let room = self.0.len() < MAX_FRAMES;
        if room {
            self.0.push((code.0, check.identity, index));
        }
        room
    }

    // Only known to run where the collection has been told of: not here.
    fn collector(&mut self) {}

    fn clear(&mut self) {
        self.0.clear();
    }

    fn recall(&self, _: Addr) -> Option<CodeCheck> {
        None
    }

    fn remember(&mut self, _: Addr, _: CodeCheck) {}
}
