//! Runs the `pyprof-bpf` binary and reads what it wrote.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};

use pyprof_host::mark::mark;
use serde_json::Value;

use crate::{Profile, Scratch, stolen_ns};

/// The binary under test.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("PYPROF_BIN") {
        return path.into();
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from).unwrap_or_else(|| {
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").join("target")
    });
    let path = target.join("release/pyprof-bpf");
    assert!(
        path.exists(),
        "{} is missing: cargo build --release -p profiler-user, or set PYPROF_BIN",
        path.display()
    );
    path
}

/// A capture that runs.
pub struct Recording {
    child: Running,
    stderr: BufReader<ChildStderr>,
    said: String,
    scratch: Scratch,
    stolen: f64,
    _lock: Option<File>,
}

/// Ends with its owner: a test that fails leaves nothing running.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Already gone is fine.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A capture that has ended.
pub struct Capture {
    pub code: i32,
    /// All it printed to standard error; nothing may go to standard output.
    pub stderr: String,
    /// `capture.json`; null where none was written.
    pub json: Value,
    /// What a hypervisor took from this host meanwhile, which ticks show and nobody is charged.
    pub stolen_ns: u64,
    scratch: Scratch,
}

/// Starts a capture with these arguments and an output directory of its own, and waits until it samples.
pub fn start(args: &[&str]) -> Recording {
    start_with(Command::new(binary()), args)
}

/// The same by a command that runs the binary in some place: what follows are its arguments.
pub fn start_with(command: Command, args: &[&str]) -> Recording {
    let mut recording = spawn(command, args);
    loop {
        let mut line = String::new();
        let read = recording.stderr.read_line(&mut line).expect("standard error");
        recording.said.push_str(&line);
        assert!(read != 0, "pyprof-bpf ended early: {}", recording.said);
        if line.starts_with("Sampling ") {
            return recording;
        }
    }
}

/// What `PYPROF_LOCK` names, locked: so that several people can share a machine. Gone with the file.
fn lock() -> Option<File> {
    let path = std::env::var_os("PYPROF_LOCK")?;
    let file = File::options().create(true).append(true).open(path).expect("the file to lock");
    // SAFETY: the descriptor is the file's own, and open.
    assert_eq!(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) }, 0, "a lock");
    Some(file)
}

fn spawn(mut command: Command, args: &[&str]) -> Recording {
    let lock = lock();
    let scratch = Scratch::new("capture");
    mark(&mut command);
    let mut child = command
        .args(args)
        .arg("-o")
        .arg(scratch.path().join("out"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("pyprof-bpf runs");
    let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
    Recording {
        child: Running(child),
        stderr,
        said: String::new(),
        scratch,
        stolen: stolen_ns(),
        _lock: lock,
    }
}

/// Runs a capture to its end; `args` should hold a duration.
pub fn run(args: &[&str]) -> Capture {
    spawn(Command::new(binary()), args).finish()
}

impl Recording {
    pub fn pid(&self) -> u32 {
        self.child.0.id()
    }

    /// Ctrl-C.
    pub fn stop(self) -> Capture {
        self.signal(libc::SIGINT);
        self.finish()
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: our own child, not yet waited for.
        unsafe { libc::kill(self.pid() as i32, signal) };
    }

    /// Waits for the capture to end.
    pub fn finish(mut self) -> Capture {
        self.stderr.read_to_string(&mut self.said).expect("standard error");
        let mut out = Vec::new();
        self.child.0.stdout.take().expect("a pipe").read_to_end(&mut out).expect("standard output");
        let status = self.child.0.wait().expect("our own child");
        assert!(out.is_empty(), "standard output: {:?}", String::from_utf8_lossy(&out));
        let json = std::fs::read(self.scratch.path().join("out/capture.json"))
            .map(|bytes| serde_json::from_slice(&bytes).expect("capture.json is JSON"))
            .unwrap_or(Value::Null);
        // In ticks of 10 ms.
        let stolen_ns = (stolen_ns() - self.stolen + 1e7) as u64;
        Capture {
            code: status.code().unwrap_or(-1),
            stderr: self.said,
            json,
            stolen_ns,
            scratch: self.scratch,
        }
    }
}

impl Capture {
    pub fn directory(&self) -> PathBuf {
        self.scratch.path().join("out")
    }

    /// All entries of capture.json for a pid, in order of their images.
    pub fn processes(&self, pid: u32) -> Vec<&Value> {
        let all = self.json["processes"].as_array().map(Vec::as_slice).unwrap_or_default();
        all.iter().filter(|process| process["pid"] == pid).collect()
    }

    /// The only entry of capture.json for a pid.
    pub fn process(&self, pid: u32) -> &Value {
        let all = self.processes(pid);
        assert_eq!(all.len(), 1, "entries of process {pid}; said: {}", self.stderr);
        all[0]
    }

    /// The profile of a process that had one image.
    pub fn profile(&self, pid: u32) -> Profile {
        self.profile_of(self.process(pid))
    }

    /// The profile that an entry of capture.json names.
    pub fn profile_of(&self, process: &Value) -> Profile {
        let file = process["file"].as_str().expect("a file was written");
        Profile::read(&self.directory().join(file))
    }

    /// A counter of capture.json's losses.
    pub fn loss(&self, name: &str) -> u64 {
        self.json["losses"][name].as_u64().unwrap_or_else(|| panic!("no loss is called {name}"))
    }
}
