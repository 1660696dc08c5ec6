//! Records on the rings. Every one begins with an [`EventHeader`]; variable parts follow the fixed struct.

use bytemuck::{Pod, Zeroable};

use crate::process::ProcessKey;

pub const VERSION: u16 = 2;

pub const KIND_SAMPLE: u16 = 1;
pub const KIND_CODE: u16 = 2;
pub const KIND_LINES: u16 = 3;
pub const KIND_EXEC: u16 = 4;
pub const KIND_FORK: u16 = 5;
pub const KIND_EXIT: u16 = 6;

/// The source of a sample: the CPU clock. Other sources get other numbers.
pub const SOURCE_CPU: u8 = 0;

/// `SampleEvent.flags`: the thread was in the kernel.
pub const IN_KERNEL: u8 = 1;
/// `SampleEvent.flags`: the runtime tells who holds the GIL.
pub const GIL_KNOWN: u8 = 2;
/// `SampleEvent.flags`: the thread holds the GIL.
pub const GIL_HELD: u8 = 4;

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
    /// CPU time that the sample stands for.
    pub weight_ns: u64,
    /// Start of the thread, ns since boot: tells threads apart that share a re-used id.
    pub thread_start_ns: u64,
    pub cgroup_id: u64,
    /// User-mode instruction pointer, 0 when unknown.
    pub user_ip: u64,
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

const _: () = assert!(size_of::<EventHeader>() == 32);
const _: () = assert!(size_of::<SampleEvent>() == 32 + 48 + 8 + 8 + 8 + 16);
const _: () = assert!(size_of::<Frame>() == 16);
const _: () = assert!(size_of::<CodeEvent>() == 32 + 16 + 32 + 8);
const _: () = assert!(size_of::<LinesEvent>() == 32 + 24);
const _: () = assert!(size_of::<ProcessEvent>() == 64);
