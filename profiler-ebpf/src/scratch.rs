//! Working memory per CPU: BPF has 512 bytes of stack. One [`Scratch`] per source of events, never shared between two
//! programs that can interrupt each other. A per-CPU value holds at most 32 KiB, hence two structs.

use profiler_common::limits::{CODE_CACHE_SLOTS, MAX_FRAMES, MAX_NEW_CODES};
use profiler_common::off_cpu::{Arrivals, Rate};
use profiler_common::{CodeEvent, Frame, LinesEvent, OffCpuThread, SampleEvent};
use pyunwind::nested::Nested;
use pyunwind::step::Walk;
use pyunwind::thread::ThreadWalk;

use crate::memory::UserMemory;

/// A code object checked in this sample.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Checked {
    pub code: u64,
    pub sequence: u32,
    pub identity: u32,
    pub phantom: u32,
    pub copy: u32,
    pub start: u64,
}

/// A code object that user space does not have yet.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct NewCode {
    pub code: u64,
    pub identity: u32,
    pub reserved: u32,
    pub tag: u64,
}

/// First, so that what follows it in memory covers the verifier's bound on a sample's length.
#[repr(C)]
pub struct Sample {
    pub event: SampleEvent,
    pub frames: [Frame; MAX_FRAMES],
}

#[repr(C)]
pub struct SinkState {
    pub depth: u32,
    pub sequence: u32,
    pub hash: u64,
    /// Mixed into the tags of code objects: process and epoch.
    pub salt: u64,
    pub new_codes: u32,
    /// `SampleEvent.collector`
    pub collector: u32,
    pub new: [NewCode; MAX_NEW_CODES],
    pub cache: [Checked; CODE_CACHE_SLOTS],
}

#[repr(C)]
pub struct Scratch {
    pub sample: Sample,
    pub memory: UserMemory,
    pub sink: SinkState,
    pub walk: Walk,
    pub threads: ThreadWalk,
    /// With `known`, `word`, `words` and `held`: of a process with several interpreters, see `nested`.
    pub nested: Nested,
    /// A thread state that a hint tells of; 0 if none does.
    pub known: u64,
    /// Of the registers and the C stack, which word is looked at, and how many there are.
    pub word: u32,
    pub words: u32,
    /// The thread state whose frame was found there, 0 if none's was.
    pub held: u64,
    /// Where the kernel keeps the registers with which the thread left user mode; 0 if it has none.
    pub regs: u64,
    /// The frame in which the collector was triggered, 0 where that is not known.
    pub triggered: u64,
    pub thread_pointer: u64,
    /// `collect::Search` of the thread walk, `pyunwind::Outcome` of the frame walk.
    pub result: u32,
    pub steps: u32,
    /// `SampleEvent.flags`, as far as the thread state tells.
    pub flags: u8,
    /// `SampleEvent.interpreter`
    pub interpreter: u32,
    /// Index of the process's layout, for who cannot be handed a pointer to it: `drive::places`.
    pub layout: u32,
    /// Of the source for time off CPU: its walks on this CPU, the scheduler's clock, and all zeroes for a thread that is new.
    pub walks: Rate,
    pub arrivals: Arrivals,
    pub fresh: OffCpuThread,
}

const _: () = assert!(size_of::<Scratch>() <= 32 << 10);

/// Room for one record of a code object: name, file, line table.
pub const CODE_DATA_BYTES: usize = 12 << 10;

#[repr(C)]
pub struct CodeRecord {
    pub event: CodeEvent,
    pub data: [u8; CODE_DATA_BYTES],
}

#[repr(C)]
pub struct LinesRecord {
    pub event: LinesEvent,
    pub data: [u8; 8 << 10],
}

#[repr(C)]
pub struct CodeScratch {
    pub code: CodeRecord,
    pub lines: LinesRecord,
    /// Which of the new code objects is being sent, and how much of its line table is.
    pub position: u32,
    pub sent: u32,
    pub table: u64,
    pub table_bytes: u32,
    pub chunks: u32,
}

const _: () = assert!(size_of::<CodeScratch>() <= 32 << 10);
