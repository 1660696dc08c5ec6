//! `pyprof-bpf report` as a user without privileges runs it, against `go tool pprof` on the same files: real captures, profiles
//! that Go made, one made by hand; and files that are damaged or lie.

mod agree;
mod broken;
mod made;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pyprof_tests::{Scratch, capture};
use serde_json::Value;

/// nobody and nogroup: no file of root's, no BPF.
const NOBODY: u32 = 65534;

struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// The binary where everybody may run it, and files that everybody may read.
struct Bench {
    scratch: Scratch,
    binary: PathBuf,
}

impl Bench {
    fn new(name: &str) -> Bench {
        let scratch = Scratch::new(name);
        let binary = scratch.path().join("pyprof-bpf");
        std::fs::copy(capture::binary(), &binary).expect("the binary");
        for path in [scratch.path(), &binary] {
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("our own");
        }
        Bench { scratch, binary }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        std::fs::write(self.path(name), bytes).expect("a file");
        self.path(name)
    }

    /// A directory in which nobody may write.
    fn open_directory(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir(&path).expect("a fresh directory");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).expect("our own");
        path
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("report").current_dir(self.scratch.path()).stdin(Stdio::null()).uid(NOBODY).gid(NOBODY);
        command
    }

    fn report<A: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Ran {
        let output = self.command().args(args).output().expect("the binary runs");
        Ran {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("text"),
            stderr: String::from_utf8(output.stderr).expect("text"),
        }
    }

    /// What a report without a failure says to programs.
    fn json(&self, args: &[&str], files: &[&Path]) -> Value {
        let files = files.iter().map(|file| file.as_os_str().to_owned());
        let args = args.iter().map(|arg| arg.into()).chain(["--json".into()]);
        let ran = self.report(args.chain(files));
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        serde_json::from_str(&ran.stdout).expect("JSON")
    }
}

/// Whoever is to read it.
fn for_everybody(path: &Path) {
    if path.is_dir() {
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("our own");
        for entry in std::fs::read_dir(path).expect("a directory") {
            for_everybody(&entry.expect("an entry").path());
        }
    } else {
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o644)).expect("our own");
    }
}
