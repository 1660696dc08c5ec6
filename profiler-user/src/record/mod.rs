//! `record`: one capture, from the checks before it to the files after it.

mod budget;
mod finish;
mod host;
mod privileges;
mod session;

pub use session::record;

use crate::bpf::BpfError;
use crate::exit::Exit;
use crate::sink::SinkError;

/// What ends a capture early, with the exit code that scripts see.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("{0}")]
    NoPrivilege(String),
    #[error("{0}")]
    HostUnsupported(String),
    #[error("process {0} does not exist")]
    TargetGone(u32),
    #[error("process {pid} is not a supported CPython: {what}")]
    Unsupported { pid: u32, what: String },
    #[error("{0}")]
    NothingSampled(String),
    #[error(transparent)]
    Bpf(#[from] BpfError),
    #[error(transparent)]
    Sink(#[from] SinkError),
    #[error("failed to start the event loop: {0}")]
    Runtime(std::io::Error),
    #[error("failed to write {failed} of {all} files; the first: {first}")]
    Files { failed: usize, all: usize, first: SinkError },
}

impl RecordError {
    pub fn exit(&self) -> Exit {
        match self {
            RecordError::NoPrivilege(_) => Exit::NoPrivilege,
            RecordError::HostUnsupported(_) => Exit::HostUnsupported,
            RecordError::TargetGone(_) => Exit::TargetGone,
            RecordError::Unsupported { .. } => Exit::Unsupported,
            RecordError::NothingSampled(_) => Exit::NothingSampled,
            RecordError::Bpf(_)
            | RecordError::Sink(_)
            | RecordError::Runtime(_)
            | RecordError::Files { .. } => Exit::Other,
        }
    }
}
