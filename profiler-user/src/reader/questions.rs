//! What the loop asks the reader, and how questions and answers look on the way: one frame each, a length of four bytes and
//! then as many bytes of postcard. Few and coarse: a look at a process is one question, not one per file.

use profiler_common::ProcessKey;
use pyunwind::Addr;
use pyunwind::host::code_object::CodeObject;
use pyunwind::host::lines::LineTable;
use serde::{Deserialize, Serialize};

use crate::process::maps::Mapping;
use crate::process::stacks::Wanted;
use crate::process::{Inspection, PythonImage};

/// No frame is longer: the states of as many threads as a process is walked for take 2 MB, a line table 1 MB.
pub(super) const MAX_FRAME_BYTES: usize = 8 << 20;

/// Where the interpreter of a process is: what a question about its memory begins with.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Place {
    /// A live thread of the process.
    pub task: u32,
    #[serde(with = "crate::process::python::as_bytes")]
    pub layout: pyunwind::Layout,
    #[serde(with = "crate::process::python::as_bytes")]
    pub runtime: Addr,
}

impl Place {
    pub fn of(python: &PythonImage) -> Place {
        Place { task: python.task, layout: python.layout, runtime: python.runtime_address }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Question {
    /// Is answered with a [`Presence`].
    Presence { pid: u32 },
    /// With the number of the user that the process runs as, if there is such a process.
    User { pid: u32 },
    /// With a [`Looked`].
    Look { pid: u32 },
    /// With a name.
    Name { pid: u32 },
    /// With the kernel's name for it.
    Comm { pid: u32 },
    /// With an [`crate::process::Identity`].
    Identity { task: u32 },
    /// With a [`crate::process::Standing`].
    Standing { task: u32 },
    /// With the number of the process that made it, if it is there.
    Parent { pid: u32 },
    /// With a [`Started`].
    Started(Place),
    /// With a [`Brings`].
    Brings { pid: u32, mapping: MappedFile },
    /// With [`Threads`].
    Threads(Place),
    /// With the names of those that have one and are alive still, by thread pointer. `wanted`: thread pointers and tids.
    ThreadNames { pid: u32, place: Place, wanted: Vec<(u64, u32)> },
    /// With what [`parked`] returns.
    ///
    /// [`parked`]: crate::process::parked::parked
    Parked { place: Place, from: u32 },
    /// With a [`Code`] if it is still the one that has this identity.
    Code { place: Place, address: u64, identity: u32 },
    /// With an [`Access`].
    Access { pid: u32 },
    /// With [`crate::process::stacks::Stacks`].
    Stacks { pid: u32, place: Place, wanted: Wanted },
}

/// Whether the memory of a process may be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Access {
    Granted,
    Denied,
    Gone,
}

/// Whether there is such a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Presence {
    /// The process that the pid is of, or that the thread with this number belongs to.
    pub leader: Option<u32>,
    /// Threads of the kernel have none.
    pub has_memory: bool,
}

/// What a look at a process has found.
#[derive(Debug, Serialize, Deserialize)]
pub struct Looked {
    pub seen: Seen,
    /// When the process began, in the boot clock, cut to 10 ms; 0 where nobody can tell.
    pub start_ns: u64,
    pub age_ns: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub enum Seen {
    Known(Inspection),
    /// It maps so many files that nobody knows that the next look has to go on.
    TooMuch,
    /// Gone, or not to be looked at.
    Gone,
}

/// Whether a runtime has thread states.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Started {
    Yes,
    NotYet,
    /// Its memory, or the process, is not there any more.
    Gone,
}

/// Whether a mapping that was just made may bring a Python.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Brings {
    Maybe,
    /// Not the file that is there now.
    No,
    /// And never will: nobody need ask about this mapping again.
    Never,
}

/// A [`Mapping`] with a path of its own.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct MappedFile {
    start: u64,
    limit: u64,
    offset: u64,
    device: (u32, u32),
    inode: u64,
    path: Vec<u8>,
}

impl MappedFile {
    pub(super) fn of(mapping: &Mapping<'_>) -> MappedFile {
        let Mapping { start, limit, offset, device, inode, path, .. } = *mapping;
        MappedFile { start, limit, offset, device, inode, path: path.to_vec() }
    }

    /// Code, since nobody asks about anything else.
    pub(super) fn mapping(&self) -> Mapping<'_> {
        let MappedFile { start, limit, offset, device, inode, ref path } = *self;
        let (readable, writable, executable, private) = (true, false, true, true);
        Mapping { start, limit, readable, writable, executable, private, offset, device, inode, path }
    }
}

/// The thread states of a process with their thread pointers, newest first.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Threads {
    /// Thread pointer and state.
    pub states: Vec<(u64, u64)>,
    /// Whether that is the whole list.
    pub whole: bool,
}

/// A [`CodeObject`] on the way.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Code {
    name: String,
    qualname: Option<String>,
    file: String,
    first_line: i32,
    lines_kind: u8,
    lines: Vec<u8>,
    lines_complete: bool,
}

impl From<CodeObject> for Code {
    fn from(code: CodeObject) -> Code {
        let CodeObject { name, qualname, file, first_line, lines } = code;
        let LineTable { kind, first_line: _, bytes, complete } = lines;
        Code { name, qualname, file, first_line, lines_kind: kind, lines: bytes, lines_complete: complete }
    }
}

impl From<Code> for CodeObject {
    fn from(code: Code) -> CodeObject {
        let Code { name, qualname, file, first_line, lines_kind, lines, lines_complete } = code;
        let lines = LineTable { kind: lines_kind, first_line, bytes: lines, complete: lines_complete };
        CodeObject { name, qualname, file, first_line, lines }
    }
}

/// Whether two keys may be of the same process image: each may leave open what it does not know.
pub(super) fn may_be_same(one: &ProcessKey, other: &ProcessKey) -> bool {
    use profiler_common::process::{EXEC_ID_ANY, START_NS_ANY};
    let agree = |one, other, any| one == other || one == any || other == any;
    one.tgid == other.tgid
        && agree(one.start_ns, other.start_ns, START_NS_ANY)
        && agree(one.exec_id.into(), other.exec_id.into(), u64::from(EXEC_ID_ANY))
}
