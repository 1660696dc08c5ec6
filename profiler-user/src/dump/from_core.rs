//! A core file, shown as a process is.

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{DumpError, Dumped, Output};
use crate::cli::DumpOptions;
use crate::escape::{escape, escape_bytes};
use crate::process::core::Core;
use crate::process::core_python::{python, stacks};

pub(super) fn dump(file: &Path, executables: &[PathBuf], options: &DumpOptions) -> Result<(), DumpError> {
    let shown = || escape_bytes(file.as_os_str().as_bytes()).into_owned();
    let mut core = Core::open(file).map_err(|error| DumpError::Core { file: shown(), error })?;
    core.find_files(executables);
    for complaint in &core.complaints {
        // Nobody is left to tell when the terminal is gone.
        let _ = writeln!(std::io::stderr(), "{}", escape(complaint));
    }
    let found = python(&core).map_err(|what| DumpError::NoPythonInCore { file: shown(), what })?;
    let stacks = stacks(&core, &found, options.locals);
    let signal = core.threads.first().map(|thread| thread.signal).filter(|signal| *signal != 0);
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let dumped = Dumped {
        pid: core.pid,
        name: lossy(&core.name),
        python: found.version,
        executable: lossy(&found.file),
        signal,
        stacks,
    };
    let mut output = Output::new(options);
    output.begin()?;
    output.process(&dumped)?;
    output.end()
}
