//! The engine of a capture: programs loaded, rings read, processes followed, cost bounded. What becomes of the profiles is
//! the business of the commands that drive it.

mod budget;
mod hint;
mod host;
mod privileges;
mod session;

pub use hint::{as_options, nothing_matches};
pub use host::{Host, monotonic_ns, own_cpu_ns, unix_ns};
pub use privileges::{CAPABILITIES, how_to_read, missing as missing_capabilities};
pub use session::{Account, POLL, Session, Turn, event_loop, not_a_python, prepare};

use crate::bpf::BpfError;
use crate::exit::Exit;
use crate::select::Selection;
use std::path::PathBuf;

/// What is sampled, and what it may cost.
#[derive(Clone, PartialEq, Debug)]
pub struct CaptureOptions {
    pub frequency_hz: u32,
    /// Sorted, each once. Empty: every Python process.
    pub pids: Vec<u32>,
    /// Rules beside or instead of numbers.
    pub selection: Selection,
    /// Of one core.
    pub max_cpu_percent: f64,
    pub max_memory_bytes: u64,
    /// Threads are followed off their CPUs, too.
    pub off_cpu: bool,
    /// As on a kernel without `bpf_loop`.
    pub bounded: bool,
    /// Room for so many in the kernel.
    pub max_processes: u32,
    /// None: the running kernel's own.
    pub btf: Option<PathBuf>,
    pub verbose: bool,
    /// Samples keep their times: 24 bytes each.
    pub keep_times: bool,
}

/// Where a refusal by the host is taken apart.
const HINT: &str =
    "`pyprof-bpf doctor` looks at everything that a capture needs here, and says what would mend it";

impl CaptureOptions {
    /// What was asked for, by the names of the options without their dashes; nothing: every Python process.
    pub fn asked(&self) -> Vec<(String, Vec<String>)> {
        let pids: Vec<String> = self.pids.iter().map(u32::to_string).collect();
        let pids = (!pids.is_empty()).then(|| ("pid".to_owned(), pids));
        pids.into_iter().chain(self.selection.asked()).collect()
    }
}

/// What keeps a capture from beginning, or ends it early.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    #[error("{0}\n{HINT}")]
    NoPrivilege(String),
    #[error("{0}\n{HINT}")]
    HostUnsupported(String),
    #[error("process {0} does not exist")]
    TargetGone(u32),
    #[error("process {pid} is not a supported CPython: {what}")]
    Unsupported { pid: u32, what: String },
    #[error("process {pid} may not be read: {why}")]
    Denied { pid: u32, why: String },
    #[error("{0}\n{HINT}")]
    Bpf(#[from] BpfError),
    #[error("failed to start the process that reads targets: {0}")]
    Reader(std::io::Error),
    #[error("failed to start the event loop: {0}")]
    Runtime(std::io::Error),
}

impl CaptureError {
    pub fn exit(&self) -> Exit {
        match self {
            CaptureError::NoPrivilege(_) | CaptureError::Denied { .. } => Exit::NoPrivilege,
            CaptureError::HostUnsupported(_) => Exit::HostUnsupported,
            CaptureError::TargetGone(_) => Exit::TargetGone,
            CaptureError::Unsupported { .. } => Exit::Unsupported,
            CaptureError::Bpf(_) | CaptureError::Reader(_) | CaptureError::Runtime(_) => Exit::Other,
        }
    }
}
