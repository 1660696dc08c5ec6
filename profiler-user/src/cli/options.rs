//! What the program needs, settled from what was typed.

use super::typed::{Typed, TypedCommand, TypedRecord};
use crate::escape::escape_bytes;
use crate::profile::MergeBy;
use std::fs::File;
use std::io::IsTerminal;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Clone, PartialEq, Debug)]
pub enum Command {
    Record(RecordOptions),
}

#[derive(Clone, PartialEq, Debug)]
pub struct RecordOptions {
    /// None: until Ctrl-C or SIGTERM.
    pub duration: Option<Duration>,
    pub frequency_hz: u32,
    /// Sorted, each once. Empty: every Python process.
    pub pids: Vec<u32>,
    /// None: one profile per process.
    pub merge_by: Option<MergeBy>,
    /// None: a name made from host and time.
    pub output: Option<PathBuf>,
    /// Of one core.
    pub max_cpu_percent: f64,
    pub max_memory_bytes: u64,
    pub quiet: bool,
    pub verbose: bool,
}

pub(super) fn command(typed: Typed) -> Result<Command, String> {
    let Typed { command, record } = typed;
    let record = match command {
        Some(TypedCommand::Record(record)) => record,
        None => record,
    };
    let TypedRecord { duration, frequency, mut pids, merge_by, output, max_cpu, max_memory, quiet, verbose } =
        record;
    pids.sort_unstable();
    pids.dedup();
    if let Some(output) = &output {
        refuse_terminal(output)?;
    }
    Ok(Command::Record(RecordOptions {
        duration,
        frequency_hz: frequency,
        pids,
        merge_by,
        output,
        max_cpu_percent: max_cpu,
        max_memory_bytes: max_memory * 1024 * 1024,
        quiet,
        verbose,
    }))
}

/// Profiles are binary, and the output is a directory of them: neither a stream nor a terminal can take it.
fn refuse_terminal(output: &Path) -> Result<(), String> {
    let shown = escape_bytes(output.as_os_str().as_bytes());
    if output.as_os_str().is_empty() {
        return Err("--output: the name is empty".into());
    }
    if output == Path::new("-") {
        return Err(
            "--output -: profiles are binary and go to a directory, never to a terminal or pipe".into()
        );
    }
    let Ok(metadata) = output.metadata() else { return Ok(()) };
    if metadata.is_dir() {
        return Ok(());
    }
    if metadata.file_type().is_char_device() && is_terminal(output) {
        return Err(format!("--output {shown}: binary output never goes to a terminal; name a directory"));
    }
    Err(format!("--output {shown}: not a directory"))
}

fn is_terminal(path: &Path) -> bool {
    // Opening a terminal must neither wait for a carrier nor make it the controlling terminal.
    let flags = libc::O_NOCTTY | libc::O_NONBLOCK;
    File::options().read(true).custom_flags(flags).open(path).is_ok_and(|file| file.is_terminal())
}
