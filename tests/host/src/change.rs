//! One change of the host, and how it is taken back: any number of times, and if the change never came about.

use std::fmt;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// What is about to end gets this long.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Change {
    /// A file of the kernel's held this text.
    Setting {
        file: PathBuf,
        was: String,
    },
    /// With all that is in it, and mounted in it.
    Directory {
        path: PathBuf,
    },
    Group {
        path: PathBuf,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Setting { file, was } => {
                write!(f, "setting of an earlier run: {} was {was}", file.display())
            }
            Change::Directory { path } => write!(f, "directory of an earlier run: {}", path.display()),
            Change::Group { path } => write!(f, "control group of an earlier run: {}", path.display()),
        }
    }
}

impl Change {
    /// Both set the same.
    pub(crate) fn is_of_the_same(&self, other: &Change) -> bool {
        matches!((self, other), (Change::Setting { file: a, .. }, Change::Setting { file: b, .. }) if a == b)
    }

    pub fn undo(&self) -> Result<()> {
        match self {
            Change::Setting { file, was } => {
                if std::fs::read_to_string(file).is_ok_and(|is| is.trim() == was) {
                    return Ok(());
                }
                write(file, was)
            }
            // Removing goes through mounts: what is mounted there may be the host's own.
            Change::Directory { path } => unmount(path).and_then(|()| remove_directory(path)),
            Change::Group { path } => remove_group(path),
        }
    }
}

/// The kernel does not switch a CPU for some milliseconds after others have ended that used it: `EBUSY`.
pub(crate) fn write(file: &Path, value: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match std::fs::write(file, value) {
            Err(error) if error.kind() == ErrorKind::ResourceBusy && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(20));
            }
            other => {
                return other.with_context(|| format!("failed to write {value} to {}", file.display()));
            }
        }
    }
}

/// What is not there need not be taken away.
fn remove_directory(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other.with_context(|| format!("failed to remove {}", path.display())),
    }
}

/// A group that holds processes cannot be removed, and whoever made it may have just ended them.
fn remove_group(path: &Path) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match remove_tree(path) {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > deadline => {
                return Err(error).with_context(|| format!("failed to remove {}", path.display()));
            }
            Err(_) if Instant::now() + PATIENCE / 2 > deadline => empty(path),
            Err(_) => {}
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// From the inside out.
fn remove_tree(path: &Path) -> std::io::Result<()> {
    for below in below(path) {
        remove_tree(&below)?;
    }
    match std::fs::remove_dir(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn below(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// Moves all processes of a group, and of those below it, to where its hierarchy begins.
pub fn empty(path: &Path) {
    let Some(root) = path.ancestors().skip(1).filter(|above| above.join("cgroup.procs").exists()).last()
    else {
        return;
    };
    for below in below(path) {
        empty(&below);
    }
    let inside = std::fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    for pid in inside.lines() {
        // It may end meanwhile.
        let _ = std::fs::write(root.join("cgroup.procs"), pid);
    }
}

/// What hangs below goes first, and what is in use loses its place at once.
fn unmount(path: &Path) -> Result<()> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").context("failed to read the mounts")?;
    for mounted in mounted(&mounts, path).iter().rev() {
        let name = std::ffi::CString::new(mounted.as_os_str().as_bytes()).context("a path with a zero")?;
        // SAFETY: a valid string.
        let failed = unsafe { libc::umount2(name.as_ptr(), libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW) };
        if failed != 0 {
            bail!("failed to unmount {}: {}", mounted.display(), std::io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Where something is mounted, from this path on, in the order of mounting. Field 5 (proc_pid_mountinfo(5)); what it
/// escapes, blanks, is not in names of ours.
fn mounted(mountinfo: &str, path: &Path) -> Vec<PathBuf> {
    let places = mountinfo.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    places.filter(|place| place.starts_with(path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_mounted_there_or_below_is_unmounted() {
        let text = "22 1 0:21 / / rw - ext4 /dev/x rw\n30 22 0:3 / /tmp/a rw shared:1 - tmpfs none rw\n\
                    31 22 0:4 / /tmp/ab rw - tmpfs none rw\n32 30 0:5 / /tmp/a/b rw - tmpfs none rw\n";
        assert_eq!(mounted(text, Path::new("/tmp/a")), [Path::new("/tmp/a"), Path::new("/tmp/a/b")]);
        assert!(mounted(text, Path::new("/tmp/a/b/c")).is_empty());
    }

    #[test]
    fn what_never_came_about_is_taken_back_all_the_same() {
        let path = std::env::temp_dir().join(format!("pyprof-change-{}", std::process::id()));
        for change in [Change::Directory { path: path.clone() }, Change::Group { path: path.clone() }] {
            change.undo().unwrap_or_else(|error| panic!("{change}: {error:#}"));
        }
        let setting = Change::Setting { file: path.join("setting"), was: "1".into() };
        let error = setting.undo().expect_err("there is no such file");
        assert!(error.to_string().starts_with("failed to write 1 to "), "{error}");
    }

    #[test]
    fn a_setting_and_a_tree_go_back() {
        let path = std::env::temp_dir().join(format!("pyprof-undone-{}", std::process::id()));
        std::fs::create_dir_all(path.join("below")).expect("a directory");
        let file = path.join("below/setting");
        std::fs::write(&file, "100\n").expect("a file");
        let setting = Change::Setting { file: file.clone(), was: "5000".into() };
        for _ in 0..2 {
            setting.undo().expect("it goes back");
            assert_eq!(std::fs::read_to_string(&file).expect("it is there").trim(), "5000");
        }
        Change::Directory { path: path.clone() }.undo().expect("it goes");
        assert!(!path.exists());
    }
}
