//! Records on the rings. Every one begins with an [`EventHeader`]; variable parts follow the fixed struct.

use bytemuck::{Pod, Zeroable};

use crate::process::ProcessKey;

pub const VERSION: u16 = 3;

pub const KIND_SAMPLE: u16 = 1;
pub const KIND_CODE: u16 = 2;
pub const KIND_LINES: u16 = 3;
pub const KIND_EXEC: u16 = 4;
pub const KIND_FORK: u16 = 5;
pub const KIND_EXIT: u16 = 6;
/// A [`SampleEvent`] and its frames that count nothing: samples with `STACK_SENT` refer to it.
pub const KIND_STACK: u16 = 7;
/// [`ThreadEvent`]
pub const KIND_THREAD: u16 = 8;

/// The source of a sample: the CPU clock. Other sources get other numbers.
pub const SOURCE_CPU: u8 = 0;
/// The thread was off its CPU: `weight_ns` is the time for which it was blocked.
pub const SOURCE_OFF_CPU: u8 = 1;

/// `SampleEvent.flags`: the thread was in the kernel.
pub const IN_KERNEL: u8 = 1;
/// `SampleEvent.flags`: the runtime tells who holds the GIL.
pub const GIL_KNOWN: u8 = 2;
/// `SampleEvent.flags`: the thread holds the GIL.
pub const GIL_HELD: u8 = 4;
/// `SampleEvent.flags`: no frames follow; those of the record with the same hash and outcome are meant.
pub const STACK_SENT: u8 = 8;
/// `SampleEvent.flags`: the thread was blocked before anybody looked. `weight_ns` is the moment, CLOCK_MONOTONIC, at which it
/// no longer was, `stack_hash` how long it had waited for CPUs in all its life, and `user_ip` for the last one at least.
pub const SINCE_BEFORE: u8 = 16;
/// `SampleEvent.flags`: the thread waits for the GIL.
pub const WAITS_FOR_GIL: u8 = 32;
/// `SampleEvent.flags`: the stack was not walked, since the thread blocks too often for every time; with `STACK_SENT` it is
/// the last one with which it blocked at the same place.
pub const NOT_WALKED: u8 = 64;

/// `SampleEvent.syscall`: none.
pub const NO_SYSCALL: i32 = -1;

/// `SampleEvent.collector`: the garbage collector does not run.
pub const NO_COLLECTOR: u16 = u16::MAX;

#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct EventHeader {
    pub kind: u16,
    pub version: u16,
    /// Length of the whole record.
    pub bytes: u32,
    /// CLOCK_MONOTONIC.
    pub time_ns: u64,
    pub process: ProcessKey,
}

/// A tick that hit a thread of a Python process. `frames` [`Frame`]s follow, leaf first.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct SampleEvent {
    pub header: EventHeader,
    /// Time that the sample stands for: on a CPU, or what its source says.
    pub weight_ns: u64,
    /// Start of the thread, ns since boot: tells threads apart that share a re-used id.
    pub thread_start_ns: u64,
    pub cgroup_id: u64,
    /// User-mode instruction pointer, 0 when unknown.
    pub user_ip: u64,
    /// What Python numbers the thread by, 0 when unknown.
    pub thread_pointer: u64,
    /// Mix of all frames: equal stacks of one process have equal hashes.
    pub stack_hash: u64,
    pub tid: u32,
    pub cpu: u32,
    pub frames: u16,
    /// `pyunwind::Outcome`
    pub outcome: u8,
    pub source: u8,
    pub flags: u8,
    pub reserved: u8,
    /// How many frames, from the leaf on, the garbage collector has called: it stands between them and the frame in
    /// which it was triggered. [`NO_COLLECTOR`] when it does not run.
    pub collector: u16,
    /// `PyInterpreterState.id`: 0 for the main interpreter, and where there is no id.
    pub interpreter: u32,
    /// How many events it stands for; 0 is as good as 1.
    pub events: u32,
    /// System call in which the thread blocked, or [`NO_SYSCALL`].
    pub syscall: i32,
    pub reserved_2: u32,
    /// `task_struct.comm`
    pub comm: [u8; 16],
}

/// One Python frame.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct Frame {
    /// Address of the code object.
    pub code: u64,
    /// Tells code objects apart that lived at the same address.
    pub identity: u32,
    /// Instruction in code units; -1 before the first, `pyunwind::step::INDEX_UNKNOWN` outside the code.
    pub index: i32,
}

/// A `str` of the target as captured.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct Text {
    /// Length of the whole string in characters.
    pub chars: u32,
    /// Low 32 bits of `state` (`Include/cpython/unicodeobject.h`): kind, compact, ascii.
    pub state: u32,
    /// Bytes captured; 0 when unreadable or not compact.
    pub bytes: u32,
    pub reserved: u32,
}

/// A code object on first sight. `name.bytes`, then `file.bytes`, then `lines_bytes` of line table follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct CodeEvent {
    pub header: EventHeader,
    pub code: u64,
    pub identity: u32,
    pub first_line: i32,
    /// `co_qualname` (3.11+) or `co_name`.
    pub name: Text,
    pub file: Text,
    /// Size of the whole line table.
    pub lines_total: u32,
    /// Bytes of it in this record.
    pub lines_bytes: u32,
}

/// A further chunk of a line table. `bytes` bytes follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct LinesEvent {
    pub header: EventHeader,
    pub code: u64,
    pub identity: u32,
    /// Where in the line table the chunk begins.
    pub offset: u32,
    pub bytes: u32,
    pub reserved: u32,
}

/// exec, fork or exit of a process. `header.process` is the process itself (for fork: the child).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct ProcessEvent {
    pub header: EventHeader,
    /// fork: the parent.
    pub parent: ProcessKey,
    pub comm: [u8; 16],
}

/// All that a thread was off its CPU: when it ends, or its process calls exec.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct ThreadEvent {
    pub header: EventHeader,
    pub thread_start_ns: u64,
    pub account: crate::off_cpu::Account,
    pub tid: u32,
    pub reserved: u32,
}

const _: () = assert!(size_of::<ThreadEvent>() == 32 + 8 + 40 + 8);
const _: () = assert!(size_of::<EventHeader>() == 32);
const _: () = assert!(size_of::<SampleEvent>() == 32 + 48 + 8 + 8 + 16 + 16);
const _: () = assert!(size_of::<Frame>() == 16);
const _: () = assert!(size_of::<CodeEvent>() == 32 + 16 + 32 + 8);
const _: () = assert!(size_of::<LinesEvent>() == 32 + 24);
const _: () = assert!(size_of::<ProcessEvent>() == 64);
