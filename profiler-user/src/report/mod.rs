//! `report`: what is in profiles, ours and those of other tools. It needs no privileges, and reads nothing but the files that
//! are named, and source files that those name when they are asked for.

mod convert;
pub(crate) mod diff;
mod input;
mod json;
mod pattern;
mod run;
mod select;
mod set;
pub(crate) mod source;
pub(crate) mod tally;

pub use diff::{Change, Scale};
pub use pattern::Pattern;
pub use run::report;
pub use select::Selection;
pub use source::{SourceFile, SourceLine};
pub use tally::{By, Calls, Edge, Row};

use crate::encode::Format;
use crate::exit::{Exit, Failure};
use crate::sink::SinkError;
use crate::talk::Talk;
use std::path::PathBuf;

#[derive(Clone, PartialEq, Debug)]
pub struct ReportOptions {
    pub inputs: Vec<PathBuf>,
    /// None: what each file has as its default.
    pub sample_type: Option<String>,
    pub view: View,
    pub select: Selection,
    pub limit: usize,
    pub json: bool,
    pub talk: Talk,
}

/// What is shown.
#[derive(Clone, PartialEq, Debug)]
pub enum View {
    Top(By),
    Calls { callers: Option<Pattern>, callees: Option<Pattern> },
    Source(Pattern),
    Diff { by: By, absolute: bool },
    Write(Write),
}

/// What was read, as one file.
#[derive(Clone, PartialEq, Debug)]
pub struct Write {
    /// None: standard output.
    pub path: Option<PathBuf>,
    pub format: Format,
}

#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error("failed to read {failed} of {all} files")]
    Files { failed: usize, all: usize },
    #[error("no function matches {0}")]
    NoMatch(String),
    #[error("the two hold different things: {before} and {after}; choose with --sample-type")]
    Different { before: String, after: String },
    #[error("no sample is selected: nothing is written")]
    Nothing,
    #[error(transparent)]
    Sink(#[from] SinkError),
    #[error("failed to write to standard output: {0}")]
    Stdout(#[from] std::io::Error),
}

impl From<ReportError> for Failure {
    fn from(error: ReportError) -> Failure {
        let exit = match error {
            ReportError::Files { .. } => Exit::BadProfile,
            ReportError::Different { .. } => Exit::Usage,
            ReportError::Nothing => Exit::NothingSampled,
            ReportError::NoMatch(_) | ReportError::Sink(_) | ReportError::Stdout(_) => Exit::Other,
        };
        Failure { exit, message: error.to_string() }
    }
}
