//! The binary at work in a directory of its own, for tests that say all of its command line themselves.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

use pyprof_host::mark::mark;

use crate::{Scratch, capture};

/// The binary at work, in a directory of its own.
pub struct Running {
    pub child: Child,
    stderr: BufReader<ChildStderr>,
    pub said: String,
    pub scratch: Scratch,
}

/// What is left of it.
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub scratch: Scratch,
}

pub fn start(arguments: &[&str]) -> Running {
    start_in(Scratch::new("record"), arguments)
}

pub fn start_in(scratch: Scratch, arguments: &[&str]) -> Running {
    let mut command = Command::new(capture::binary());
    command.args(arguments).current_dir(scratch.path());
    spawn(command, scratch)
}

pub fn spawn(mut command: Command, scratch: Scratch) -> Running {
    for key in ["SUDO_UID", "SUDO_GID"] {
        command.env_remove(key);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    mark(&mut command);
    let mut child = command.spawn().expect("pyprof-bpf runs");
    let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
    Running { child, stderr, said: String::new(), scratch }
}

pub fn run(arguments: &[&str]) -> Ran {
    start(arguments).finish()
}

impl Ran {
    /// The account of a capture that wrote to `out`.
    pub fn json(&self) -> serde_json::Value {
        let bytes = std::fs::read(self.scratch.path().join("out/capture.json")).expect("capture.json");
        serde_json::from_slice(&bytes).expect("JSON")
    }
}

impl Running {
    /// Waits until it says a line that begins so.
    pub fn wait_for(&mut self, begin: &str) {
        loop {
            let mut line = String::new();
            let read = self.stderr.read_line(&mut line).expect("standard error");
            self.said.push_str(&line);
            assert!(read != 0, "it ended early: {}", self.said);
            if line.starts_with(begin) {
                return;
            }
        }
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: our own child, not yet waited for.
        unsafe { libc::kill(self.child.id() as i32, signal) };
    }

    pub fn finish(mut self) -> Ran {
        self.stderr.read_to_string(&mut self.said).expect("standard error");
        let mut stdout = String::new();
        self.child.stdout.take().expect("a pipe").read_to_string(&mut stdout).expect("text");
        let status = self.child.wait().expect("our own child");
        let Running { said, scratch, .. } = self;
        assert!(!said.contains("panicked"), "{said}");
        Ran { code: status.code(), stdout, stderr: said, scratch }
    }
}

/// Names in a directory, sorted.
pub fn list(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("a directory");
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.expect("an entry").file_name().to_string_lossy().into_owned()
    };
    let mut names: Vec<String> = entries.map(name).collect();
    names.sort();
    names
}
