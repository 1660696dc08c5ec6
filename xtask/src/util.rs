//! Running other programs and finding things on the machine, so that each command reads as its own story.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};

/// The places of the cargo workspace that the chores work on.
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target_dir: PathBuf,
    /// Of `profiler-user`, the product.
    pub(crate) version: String,
}

impl Workspace {
    /// Asks cargo instead of guessing: the target directory may come from an option, the environment or a
    /// config file.
    pub(crate) fn find() -> Result<Self> {
        let json = output(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
        let metadata: serde_json::Value =
            serde_json::from_str(&json).context("failed to parse cargo metadata")?;
        let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
        let version = metadata["packages"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|package| package["name"] == "profiler-user")
            .and_then(|package| text(&package["version"]));
        match (text(&metadata["workspace_root"]), text(&metadata["target_directory"]), version) {
            (Some(root), Some(target_dir), Some(version)) => {
                Ok(Self { root: root.into(), target_dir: target_dir.into(), version })
            }
            _ => bail!("failed to find the workspace in cargo metadata"),
        }
    }

    /// A cargo command that works on this workspace, wherever the user stands.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = cargo();
        command.current_dir(&self.root);
        command
    }
}

/// The cargo that runs us.
fn cargo() -> Command {
    command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// A command without what `cargo run` put into our environment: its library path would otherwise reach other
/// compilers and the interpreters of the tests.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (key, _) in env::vars_os() {
        let name = key.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&key);
        }
    }
    if let Some(path) = env::var_os("LD_LIBRARY_PATH") {
        let kept: Vec<PathBuf> = env::split_paths(&path).filter(|path| !is_of_cargo(path)).collect();
        match env::join_paths(kept) {
            Ok(kept) if !kept.is_empty() => command.env("LD_LIBRARY_PATH", kept),
            _ => command.env_remove("LD_LIBRARY_PATH"),
        };
    }
    command
}

/// `cargo run` prepends the directories of the target it runs and of its own toolchain.
fn is_of_cargo(path: &Path) -> bool {
    let of_target = env::current_exe().is_ok_and(|exe| exe.parent().is_some_and(|dir| path.starts_with(dir)));
    of_target || path.to_string_lossy().contains("/toolchains/") || path.ends_with("rustlib")
}

/// Runs to the end with our own terminal; the command line goes first, so that a reader can repeat it.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    eprintln!("$ {}", display(command));
    let status = command.status().with_context(|| format!("failed to start {}", display(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", display(command));
    }
    Ok(())
}

/// Runs silently and gives what the command printed; its stderr becomes part of the error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("failed to start {}", display(command)))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{} ended with {}: {}", display(command), output.status, stderr.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

pub(crate) fn display(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// The first executable of this name on PATH.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|dir| dir.join(program)).find(|path| is_executable(path))
}

pub(crate) fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

pub(crate) fn is_root() -> bool {
    // SAFETY: geteuid takes nothing, touches no memory and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// The command, through sudo when we are not root; the error says what the user has to do by hand.
pub(crate) fn as_root(program: &str) -> Result<Command> {
    if is_root() {
        return Ok(command(program));
    }
    let sudo =
        which("sudo").ok_or_else(|| anyhow!("not root and no sudo on PATH: run `{program}` as root"))?;
    let mut command = command(sudo);
    command.arg(program);
    Ok(command)
}

pub(crate) fn home() -> Result<PathBuf> {
    env::var_os("HOME").map(PathBuf::from).context("HOME is not set")
}

/// Where things survive a clean checkout.
pub(crate) fn cache_dir() -> Result<PathBuf> {
    let base = match env::var_os("XDG_CACHE_HOME") {
        // The XDG specification says that a relative path is to be ignored.
        Some(dir) if Path::new(&dir).is_absolute() => PathBuf::from(dir),
        _ => home()?.join(".cache"),
    };
    Ok(base.join("pyprof-bpf"))
}
