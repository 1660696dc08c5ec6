//! Containers without an engine: namespaces by `unshare`, a root file system by bind mounts, `pivot_root` into it.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::limits::Limits;
use crate::{Python, Scratch, Target};

const SETUP: &str = include_str!("../targets/container.sh");

/// All that an engine gives to a container, as root does it and as anybody may.
pub const ROOTFUL: &[&str] = &["-p", "-m", "-u", "-i", "-n", "-C"];
pub const ROOTLESS: &[&str] = &["-U", "-r", "-p", "-m", "-u", "-i", "-n", "-C"];

/// A process in namespaces of its own.
pub struct Container {
    pub target: Target,
    _root: Scratch,
    // After the target: it waits for the processes in the group.
    _limits: Limits,
}

/// Where the interpreter is inside.
pub fn interpreter(python: &Python) -> String {
    let name = python.path.file_name().and_then(|name| name.to_str()).expect("a plain name");
    format!("/opt/py/bin/{name}")
}

impl Container {
    /// Runs a script from the directory `app`, which is `/app` inside, and waits for its first line.
    pub fn start(python: &Python, namespaces: &[&str], app: &Path, script: &str) -> Container {
        Container::run(python, namespaces, app, &[&interpreter(python), &format!("/app/{script}")])
    }

    /// Runs a command inside.
    pub fn run(python: &Python, namespaces: &[&str], app: &Path, inside: &[&str]) -> Container {
        let root = Scratch::new("root");
        let prefix = python.path.parent().and_then(Path::parent).expect("PREFIX/bin/PROGRAM");
        let mut command = Command::new("unshare");
        command.args(namespaces).args(["--fork", "--kill-child", "sh", "-c", SETUP, "sh"]);
        command.args([root.path(), prefix, app]).args(inside);
        command.env("LD_LIBRARY_PATH", "/app/lib:/opt/py/lib").env("PYTHONHOME", "/opt/py");
        let limits = Limits::new("container", 50, 1 << 30);
        limits.enter(&mut command);
        let mut target = Target::command(command);
        target.line();
        Container { target, _root: root, _limits: limits }
    }

    /// The pid of the first process inside, as the host knows it.
    pub fn pid(&self) -> u32 {
        self::children(self.target.pid())[0]
    }
}

/// The children of a process.
pub fn children(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let children: Vec<u32> = text.split_whitespace().flat_map(str::parse).collect();
        if !children.is_empty() {
            return children;
        }
        assert!(Instant::now() < deadline, "{pid} has no children");
        std::thread::sleep(Duration::from_millis(2));
    }
}
