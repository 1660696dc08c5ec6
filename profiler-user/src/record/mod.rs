//! `record`: one capture into files, and a summary on the terminal.

mod early;
mod finish;
mod launch;
mod output;
mod periods;
mod run;
mod signals;
mod so_far;

pub(crate) use finish::losses;
pub use run::record;

use crate::capture::CaptureError;
use crate::exit::{Exit, Failure};
use crate::sink::SinkError;

/// What ends the command early, with the exit code that scripts see.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error(transparent)]
    Capture(#[from] CaptureError),
    #[error("{0}")]
    NothingSampled(String),
    #[error(transparent)]
    Sink(#[from] SinkError),
    #[error("failed to run {what}: {source}")]
    NotRun { what: String, source: std::io::Error },
    /// With a command, what is our failure and not the command's.
    #[error(transparent)]
    Own(Box<RecordError>),
    #[error("failed to write {failed} of {all} files; the first: {first}")]
    Files { failed: usize, all: usize, first: SinkError },
}

impl From<RecordError> for Failure {
    fn from(error: RecordError) -> Failure {
        let exit = match &error {
            RecordError::Capture(error) => error.exit(),
            RecordError::NothingSampled(_) => Exit::NothingSampled,
            RecordError::Own(_) => Exit::OwnFailure,
            RecordError::NotRun { source, .. } if source.raw_os_error() == Some(libc::ENOENT) => {
                Exit::NotFound
            }
            RecordError::NotRun { .. } => Exit::CannotRun,
            RecordError::Sink(_) | RecordError::Files { .. } => Exit::Other,
        };
        Failure { exit, message: error.to_string() }
    }
}
