//! The output directory: files appear in it whole or not at all, and only their owner can read them.
//!
//! It may lie where others can write, and it is written by root. So everything goes through one descriptor of the
//! directory, opened without following links; files are created exclusively, changed through their descriptors and
//! renamed within that directory. Whoever replaces a path on the way redirects nothing.

use crate::escape::escape_bytes;
use std::ffi::{CStr, CString, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, fchown};
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
    fn of_sudo(euid: u32, uid: Option<u32>, gid: Option<u32>) -> Option<Self> {
        match (euid, uid?, gid?) {
            (0, uid, gid) if uid != 0 && uid != u32::MAX && gid != u32::MAX => Some(Self { uid, gid }),
            _ => None,
        }
    }
}

/// A directory that was empty when it was opened.
#[derive(Debug)]
pub struct OutputDirectory {
    path: PathBuf,
    directory: File,
    owner: Option<Owner>,
    created: bool,
}

impl OutputDirectory {
    /// Create `path`, or take it if it is an empty directory.
    pub fn create(path: &Path, owner: Option<Owner>) -> Result<Self, SinkError> {
        let name = || shown(path);
        let created = match std::fs::DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(source) => return Err(SinkError::Create { path: name(), source }),
        };
        let directory = open_directory(path).map_err(|source| match source.raw_os_error() {
            Some(libc::ENOTDIR | libc::ELOOP) => SinkError::NotADirectory { path: name() },
            _ => SinkError::Open { path: name(), source },
        })?;
        let open_error = |source| SinkError::Open { path: shown(path), source };
        if !is_empty(&directory).map_err(open_error)? {
            return Err(SinkError::NotEmpty { path: name() });
        }
        // Between mkdir and open somebody may have put another directory here: give away only what is ours.
        // SAFETY: geteuid has no preconditions and cannot fail.
        let euid = unsafe { libc::geteuid() };
        let metadata = directory.metadata().map_err(open_error)?;
        if created && metadata.uid() == euid && metadata.mode() & 0o077 == 0 {
            chown(&directory, owner).map_err(open_error)?;
        }
        Ok(Self { path: path.into(), directory, owner, created })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the directory away again when nothing came of it, unless it was there before.
    pub fn remove_if_empty(&self) {
        if self.created {
            // Fails where something was written, or where it is no longer ours: then it stays.
            let _ = std::fs::remove_dir(&self.path);
        }
    }

    /// Write one file. A failure leaves no part of it behind and concerns no other file.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), SinkError> {
        self.write_with(name, |file| file.write_all(bytes))
    }

    /// Like [`Self::write`], for an encoder that streams.
    pub fn write_with(
        &self,
        name: &str,
        fill: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<(), SinkError> {
        let error = |source| SinkError::Write { path: shown(&self.path.join(name)), source };
        let names = names_on_disk(name).map_err(error)?;
        self.write_renamed(&names.temporary, &names.last, fill).map_err(error)
    }

    fn write_renamed(
        &self,
        temporary: &CStr,
        name: &CStr,
        fill: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> io::Result<()> {
        let directory = self.directory.as_raw_fd();
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW | libc::O_CLOEXEC;
        // SAFETY: the descriptor is open and the name ends in NUL.
        let fd = unsafe { libc::openat(directory, temporary.as_ptr(), flags, 0o600) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: openat returned this descriptor, and nobody else has it.
        let mut file = unsafe { File::from_raw_fd(fd) };
        let done = fill(&mut file)
            .and_then(|()| chown(&file, self.owner))
            .and_then(|()| file.sync_all())
            .and_then(|()| rename(directory, temporary, name));
        if done.is_err() {
            // SAFETY: the descriptor is open and the name ends in NUL.
            unsafe { libc::unlinkat(directory, temporary.as_ptr(), 0) };
            return done;
        }
        // The file is in place and synced. Some file systems cannot sync a directory, which then costs nothing.
        match self.directory.sync_all() {
            Err(error) if !matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOTSUP)) => Err(error),
            _ => Ok(()),
        }
    }
}

struct NamesOnDisk {
    temporary: CString,
    last: CString,
}

/// Callers give names, not paths: one that could leave the directory is refused.
fn names_on_disk(name: &str) -> io::Result<NamesOnDisk> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "not a plain file name");
    if name.is_empty() || name.starts_with('.') || name.contains('/') {
        return Err(invalid());
    }
    let c_string = |name: String| CString::new(name).map_err(|_| invalid());
    Ok(NamesOnDisk { temporary: c_string(format!(".{name}.tmp"))?, last: c_string(name.into())? })
}

fn open_directory(path: &Path) -> io::Result<File> {
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

/// Reads the directory itself rather than its path, which may name another one by now.
fn is_empty(directory: &File) -> io::Result<bool> {
    let stream = directory.try_clone()?.into_raw_fd();
    // SAFETY: the descriptor is open; the stream owns it from here on.
    let stream = unsafe { libc::fdopendir(stream) };
    if stream.is_null() {
        return Err(io::Error::last_os_error());
    }
    // Two entries are always there: the directory itself and its parent.
    // SAFETY: the stream is open until closedir, and nobody else reads it.
    let entries = (0..3).take_while(|_| !unsafe { libc::readdir(stream) }.is_null()).count();
    // SAFETY: the stream is open and not used again.
    unsafe { libc::closedir(stream) };
    Ok(entries < 3)
}

fn chown(file: &File, owner: Option<Owner>) -> io::Result<()> {
    owner.map_or(Ok(()), |Owner { uid, gid }| fchown(file, Some(uid), Some(gid)))
}

/// Rename without replacing, so that two captures never mix; file systems that cannot do that rename as they do.
fn rename(directory: i32, from: &CStr, to: &CStr) -> io::Result<()> {
    let (from, to) = (from.as_ptr(), to.as_ptr());
    // SAFETY: the descriptor is open and both names end in NUL.
    if unsafe { libc::renameat2(directory, from, directory, to, libc::RENAME_NOREPLACE) } == 0 {
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
fn shown(path: &Path) -> String {
    escape_bytes(path.as_os_str().as_bytes()).into_owned()
}

#[cfg(test)]
mod tests;
