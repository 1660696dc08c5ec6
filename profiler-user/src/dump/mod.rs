//! `dump`: the stacks of all threads of a process now, idle ones too. No program in the kernel, no trace, no pause: the reader
//! looks at the memory, and says of each stack whether it is one that existed.

mod from_core;
mod json;
mod live;
mod text;

use std::io::Write;

use crate::cli::{DumpOf, DumpOptions};
use crate::colour::paint;
use crate::escape::escape_json;
use crate::exit::{Exit, Failure};
use crate::process::core::CoreError;
use crate::reader::stacks::Stacks;

/// What ends the command with another code than 0.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    #[error("process {0} does not exist")]
    TargetGone(u32),
    #[error("process {pid} is not a supported CPython: {what}")]
    Unsupported { pid: u32, what: String },
    #[error("process {pid} may not be read: {why}")]
    NoPrivilege { pid: u32, why: String },
    #[error("process {0} has no memory: a thread of the kernel, or it has ended")]
    NoMemory(u32),
    #[error("process {pid} is {name}, which maps no Python runtime")]
    NotPython { pid: u32, name: String },
    #[error("no Python process was found{0}")]
    Nothing(String),
    #[error("process {pid}: {trouble}")]
    Unresponsive { pid: u32, trouble: String },
    #[error("{file}: {error}")]
    Core { file: String, error: CoreError },
    #[error("{file}: {what}")]
    NoPythonInCore { file: String, what: String },
    #[error("failed to start the process that reads targets: {0}")]
    Reader(std::io::Error),
    #[error("failed to write to standard output: {0}")]
    Output(std::io::Error),
}

impl DumpError {
    fn exit(&self) -> Exit {
        match self {
            DumpError::TargetGone(_) => Exit::TargetGone,
            DumpError::Unsupported { .. }
            | DumpError::NoMemory(_)
            | DumpError::NotPython { .. }
            | DumpError::NoPythonInCore { .. } => Exit::Unsupported,
            DumpError::NoPrivilege { .. } => Exit::NoPrivilege,
            DumpError::Nothing(_) => Exit::NothingSampled,
            DumpError::Unresponsive { .. }
            | DumpError::Core { .. }
            | DumpError::Reader(_)
            | DumpError::Output(_) => Exit::Other,
        }
    }
}

impl From<DumpError> for Failure {
    fn from(error: DumpError) -> Failure {
        Failure { exit: error.exit(), message: error.to_string() }
    }
}

/// One process, as it is shown.
struct Dumped {
    pid: u32,
    name: String,
    /// "3.11.7"
    python: String,
    executable: String,
    /// Of a core: what ended it.
    signal: Option<u16>,
    stacks: Stacks,
}

/// Shows what was asked for on standard output.
pub fn dump(options: &DumpOptions) -> Result<(), DumpError> {
    let done = match &options.what {
        DumpOf::Processes(pids) => live::dump(Some(pids), options),
        DumpOf::Everything => live::dump(None, options),
        DumpOf::Core { file, executables } => from_core::dump(file, executables, options),
    };
    match done {
        // Whoever reads has seen enough.
        Err(DumpError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

/// Standard output: each process as soon as it is known.
struct Output {
    json: bool,
    root_first: bool,
    has_colour: bool,
    written: usize,
}

impl Output {
    fn new(options: &DumpOptions) -> Output {
        let has_colour = options.talk.colour.is_wanted();
        Output { json: options.json, root_first: options.root_first, has_colour, written: 0 }
    }

    fn is_empty(&self) -> bool {
        self.written == 0
    }

    fn write(&self, text: &str) -> Result<(), DumpError> {
        let mut stdout = std::io::stdout();
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(DumpError::Output)
    }

    fn begin(&self) -> Result<(), DumpError> {
        if self.json { self.write("{\"processes\": [") } else { Ok(()) }
    }

    fn process(&mut self, dumped: &Dumped) -> Result<(), DumpError> {
        let between = match (self.written, self.json) {
            (0, true) => "\n",
            (_, true) => ",\n",
            (0, false) => "",
            (_, false) => "\n",
        };
        self.written += 1;
        let shown = if self.json {
            escape_json(&json::process(dumped, self.root_first).to_string()).into_owned()
        } else {
            let text = text::process(dumped, self.root_first);
            if self.has_colour { paint(&text, text::mark) } else { text }
        };
        self.write(&format!("{between}{shown}"))
    }

    fn end(&self) -> Result<(), DumpError> {
        if self.json { self.write("\n]}\n") } else { Ok(()) }
    }
}
