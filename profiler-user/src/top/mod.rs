//! `top`: what Python processes do now, on a terminal or as plain tables.

mod batch;
mod book;
mod draw;
mod history;
mod keys;
mod pages;
mod run;
mod state;
mod table;
mod terminal;
mod unasked;

pub use history::Window;
pub use run::top;

use crate::capture::{CaptureError, CaptureOptions};
use crate::exit::{Exit, Failure};
use crate::talk::Talk;
use std::time::Duration;

/// What the live view takes.
#[derive(Clone, PartialEq, Debug)]
pub struct TopOptions {
    pub capture: CaptureOptions,
    /// How often the screen changes by itself.
    pub interval: Duration,
    pub window: Window,
    pub talk: Talk,
    pub batch: Option<Batch>,
}

/// Plain tables instead of a screen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Batch {
    /// None: until it is ended.
    pub tables: Option<u64>,
    /// One JSON object a line, in place of tables.
    pub is_json: bool,
}

/// What keeps the view from beginning, or ends it early.
#[derive(Debug, thiserror::Error)]
pub enum TopError {
    #[error(transparent)]
    Capture(#[from] CaptureError),
    #[error("{0}")]
    NoTerminal(String),
    #[error("failed to write to the terminal: {0}")]
    Terminal(std::io::Error),
    #[error("failed to write to standard output: {0}")]
    Output(std::io::Error),
}

impl From<TopError> for Failure {
    fn from(error: TopError) -> Failure {
        let exit = match &error {
            TopError::Capture(error) => error.exit(),
            TopError::NoTerminal(_) => Exit::Usage,
            TopError::Terminal(_) | TopError::Output(_) => Exit::Other,
        };
        Failure { exit, message: error.to_string() }
    }
}

#[cfg(test)]
mod tests;
