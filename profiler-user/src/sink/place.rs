//! Where bytes come to stay: files that appear whole or not at all, through a descriptor of their directory.

use super::unfinished::Unfinished;
use crate::escape::escape_bytes;
use crate::process::own;
use std::ffi::{CStr, CString, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::fchown;
use std::path::{Path, PathBuf};
use thiserror::Error;

#[derive(Debug, Error)]
pub enum SinkError {
    #[error("failed to create directory {path}: {source}")]
    Create { path: String, source: io::Error },
    #[error("failed to use {path}: it is not a directory, or a symbolic link")]
    NotADirectory { path: String },
    #[error("failed to use directory {path}: it is not empty")]
    NotEmpty { path: String },
    #[error("failed to open directory {path}: {source}")]
    Open { path: String, source: io::Error },
    #[error("failed to use {path}: it is not a regular file")]
    NotAFile { path: String },
    #[error("failed to write {path}: {source}")]
    Write { path: String, source: io::Error },
}

/// To whom the output belongs when it is not the one who writes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
}

impl Owner {
    /// Who called sudo, if this runs as root under sudo.
    pub fn from_sudo() -> Option<Self> {
        // SAFETY: geteuid has no preconditions and cannot fail.
        let euid = unsafe { libc::geteuid() };
        let id = |key| std::env::var(key).ok()?.parse::<u32>().ok();
        Self::of_sudo(euid, id("SUDO_UID"), id("SUDO_GID"))
    }

    /// The variables are believed only where they give rights away: from root to somebody else.
    pub(super) fn of_sudo(euid: u32, uid: Option<u32>, gid: Option<u32>) -> Option<Self> {
        match (euid, uid?, gid?) {
            (0, uid, gid) if uid != 0 && uid != u32::MAX && gid != u32::MAX => Some(Self { uid, gid }),
            _ => None,
        }
    }
}

/// What becomes of a file that has the name already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Existing {
    /// It stays, and writing fails: two captures never mix.
    Stays,
    /// It is replaced at once by the whole new one. A link is replaced, not what it points to.
    Goes,
}

/// Write, sync, and only then give it its name. A failure leaves nothing behind. Nor does a profiler that is killed, where
/// the file system has files without a name (`O_TMPFILE`); elsewhere it is written under a temporary name.
pub(super) fn write_renamed(
    directory: &File,
    owner: Option<Owner>,
    temporary: &CStr,
    name: &CStr,
    existing: Existing,
    fill: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let fd = directory.as_raw_fd();
    let nameless = open(fd, c".", libc::O_TMPFILE);
    let is_named = nameless.is_err();
    let mut file =
        nameless.or_else(|_| open(fd, temporary, libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW))?;
    let _unfinished = is_named.then(|| Unfinished::note(directory.as_fd(), temporary));
    let done = fill(&mut file).and_then(|()| chown(&file, owner)).and_then(|()| file.sync_all()).and_then(
        |()| match (is_named, existing) {
            (true, _) => rename(fd, temporary, name, existing),
            (false, Existing::Stays) => link(&file, fd, name),
            // A link replaces nothing, a rename does.
            (false, Existing::Goes) => {
                link(&file, fd, temporary).and_then(|()| rename(fd, temporary, name, existing))
            }
        },
    );
    if done.is_err() {
        if is_named || existing == Existing::Goes {
            // SAFETY: the descriptor is open and the name ends in NUL.
            unsafe { libc::unlinkat(fd, temporary.as_ptr(), 0) };
        }
        return done;
    }
    // The file is in place and synced. Some file systems cannot sync a directory, which then costs nothing.
    match directory.sync_all() {
        Err(error) if !matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOTSUP)) => Err(error),
        _ => Ok(()),
    }
}

/// A file without a name, to be written and read. `temporary` is its name for a moment where there are none without one.
pub(super) fn open_nameless(directory: &File, temporary: &CStr) -> io::Result<File> {
    let fd = directory.as_raw_fd();
    open(fd, c".", libc::O_TMPFILE).or_else(|_| {
        let file = open(fd, temporary, libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW)?;
        // SAFETY: the descriptor is open and the name ends in NUL.
        unsafe { libc::unlinkat(fd, temporary.as_ptr(), 0) };
        Ok(file)
    })
}

fn open(directory: i32, name: &CStr, flags: i32) -> io::Result<File> {
    let flags = flags | libc::O_RDWR | libc::O_CLOEXEC;
    // SAFETY: the descriptor is open and the name ends in NUL.
    let opened = unsafe { libc::openat(directory, name.as_ptr(), flags, 0o600) };
    if opened < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: openat returned this descriptor, and nobody else has it.
    Ok(unsafe { File::from_raw_fd(opened) })
}

/// Gives a file without a name this one. Without the capability for `AT_EMPTY_PATH` it is named by its descriptor, as in
/// open(2), `O_TMPFILE`.
fn link(file: &File, directory: i32, name: &CStr) -> io::Result<()> {
    let path = CString::new(own::descriptor_path(file.as_raw_fd()))?;
    let flags = libc::AT_SYMLINK_FOLLOW;
    // SAFETY: the descriptor is open and both names end in NUL.
    if unsafe { libc::linkat(libc::AT_FDCWD, path.as_ptr(), directory, name.as_ptr(), flags) } == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error())
}

pub(super) fn open_directory(path: &Path) -> io::Result<File> {
    // With a trailing slash the kernel follows a link after all; components have none.
    let path: PathBuf = path.components().collect();
    let path = CString::new(OsString::from(path).into_vec())?;
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    // SAFETY: the path ends in NUL.
    let fd = unsafe { libc::open(path.as_ptr(), flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: open returned this descriptor, and nobody else has it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

pub(super) fn chown(file: &File, owner: Option<Owner>) -> io::Result<()> {
    owner.map_or(Ok(()), |Owner { uid, gid }| fchown(file, Some(uid), Some(gid)))
}

/// File systems that cannot rename without replacing rename as they do.
fn rename(directory: i32, from: &CStr, to: &CStr, existing: Existing) -> io::Result<()> {
    let flags = match existing {
        Existing::Stays => libc::RENAME_NOREPLACE,
        Existing::Goes => 0,
    };
    let (from, to) = (from.as_ptr(), to.as_ptr());
    // SAFETY: the descriptor is open and both names end in NUL.
    if unsafe { libc::renameat2(directory, from, directory, to, flags) } == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if !matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS)) {
        return Err(error);
    }
    // SAFETY: as above.
    if unsafe { libc::renameat(directory, from, directory, to) } == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error())
}

/// Paths may hold bytes that no terminal should see.
pub(super) fn shown(path: &Path) -> String {
    escape_bytes(path.as_os_str().as_bytes()).into_owned()
}
