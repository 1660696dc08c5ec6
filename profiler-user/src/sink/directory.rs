//! The output directory: files appear in it whole or not at all, and only their owner can read them.
//!
//! It may lie where others can write, and it is written by root. So everything goes through one descriptor of the
//! directory, opened without following links; files are created exclusively, changed through their descriptors and
//! renamed within that directory. Whoever replaces a path on the way redirects nothing.

mod periods;
mod progress;

use super::place::{Existing, Owner, SinkError, chown, open_directory, open_nameless, shown, write_renamed};
use progress::Progress;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::IntoRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// A directory that was empty when it was opened.
#[derive(Debug)]
pub struct OutputDirectory {
    path: PathBuf,
    directory: File,
    owner: Option<Owner>,
    created: bool,
    progress: Progress,
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
        Ok(Self { path: path.into(), directory, owner, created, progress: Progress::default() })
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

    /// A file that goes with its descriptor: on the same disk, since what it holds will be written there.
    pub fn nameless_file(&self) -> Result<File, SinkError> {
        let names = names_on_disk("nameless").map_err(|source| self.error("nameless", source))?;
        open_nameless(&self.directory, &names.temporary).map_err(|source| self.error("nameless", source))
    }

    /// That a file of this name could not be written.
    pub fn error(&self, name: &str, source: io::Error) -> SinkError {
        SinkError::Write { path: shown(&self.path.join(name)), source }
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
        let error = |source| self.error(name, source);
        let names = names_on_disk(name).map_err(error)?;
        let Self { directory, owner, .. } = self;
        write_renamed(directory, *owner, &names.temporary, &names.last, Existing::Stays, fill)
            .map_err(error)?;
        self.progress.one_more();
        Ok(())
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

#[cfg(test)]
mod tests;
