//! Regular files of a target, opened and read so that no FIFO, device, directory, hole or shrinking file can hurt.
//!
//! A file is first opened with `O_PATH`, which has no side effects on anything; only what turns out to be regular is
//! opened for reading. It is never mapped: the target could truncate it under us.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

/// No single read asks for more.
pub const MAX_READ_BYTES: u64 = 4 << 20;

#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("failed to open the file: {0}")]
    Open(#[source] io::Error),
    #[error("failed to use the file: it is not a regular file")]
    NotRegular,
    #[error("failed to read the file: {0}")]
    Read(#[source] io::Error),
    #[error("failed to read the file: it ends early")]
    Truncated,
    #[error("failed to read the file: {0} bytes in one piece are too many")]
    TooLarge(u64),
}

/// What tells one state of a file from every other. `ctime` cannot be set back by the owner of the file, `mtime` can.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FileKey {
    pub device: u64,
    pub inode: u64,
    pub size_bytes: u64,
    pub mtime_ns: i128,
    pub ctime_ns: i128,
}

/// A regular file that is known but not yet opened for reading.
pub struct Located {
    path_only: OwnedFd,
    pub key: FileKey,
}

impl Located {
    /// The last component of `path` is not followed if it is a symbolic link, unless it is one of the kernel's
    /// own in /proc, which lead to the object itself and not to a name.
    pub fn open(path: &Path, kernel_link: bool) -> Result<Self, FileError> {
        let path = CString::new(path.as_os_str().as_bytes())
            .map_err(|_| FileError::Open(io::ErrorKind::InvalidInput.into()))?;
        let nofollow = if kernel_link { 0 } else { libc::O_NOFOLLOW };
        // SAFETY: a NUL-terminated path that outlives the call; the result is checked.
        let fd = unsafe { libc::open(path.as_ptr(), libc::O_PATH | libc::O_CLOEXEC | nofollow) };
        Self::from_fd(fd)
    }

    /// Takes over the descriptor that an open call with `O_PATH` returned, or its failure.
    pub(super) fn from_fd(fd: i32) -> Result<Self, FileError> {
        if fd < 0 {
            return Err(FileError::Open(io::Error::last_os_error()));
        }
        // SAFETY: a fresh descriptor that nobody else owns.
        let path_only = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
        let meta = path_only.metadata().map_err(FileError::Open)?;
        if !meta.file_type().is_file() {
            return Err(FileError::NotRegular);
        }
        let ns = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        let key = FileKey {
            device: meta.dev(),
            inode: meta.ino(),
            size_bytes: meta.size(),
            mtime_ns: ns(meta.mtime(), meta.mtime_nsec()),
            ctime_ns: ns(meta.ctime(), meta.ctime_nsec()),
        };
        Ok(Located { path_only: path_only.into(), key })
    }

    pub fn read(&self) -> Result<RegularFile, FileError> {
        let path = format!("/proc/self/fd/{}\0", self.path_only.as_raw_fd());
        // SAFETY: NUL-terminated by the line above. The link leads to the very object that was examined.
        let fd = unsafe {
            libc::open(
                path.as_ptr().cast(),
                libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY,
            )
        };
        if fd < 0 {
            return Err(FileError::Open(io::Error::last_os_error()));
        }
        // SAFETY: a fresh descriptor that nobody else owns.
        Ok(RegularFile { file: unsafe { File::from_raw_fd(fd) }, size_bytes: self.key.size_bytes })
    }
}

/// A regular file open for reading in bounded pieces.
pub struct RegularFile {
    file: File,
    size_bytes: u64,
}

impl RegularFile {
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Exactly `len` bytes; the buffer is only made after it is known that the file has them.
    pub fn bytes(&self, offset: u64, len: u64) -> Result<Vec<u8>, FileError> {
        if len > MAX_READ_BYTES {
            return Err(FileError::TooLarge(len));
        }
        if offset.checked_add(len).is_none_or(|end| end > self.size_bytes) {
            return Err(FileError::Truncated);
        }
        let mut bytes = vec![0; len as usize];
        self.fill(offset, &mut bytes)?;
        Ok(bytes)
    }

    pub fn array<const N: usize>(&self, offset: u64) -> Result<[u8; N], FileError> {
        let mut bytes = [0; N];
        self.fill(offset, &mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn fill(&self, offset: u64, into: &mut [u8]) -> Result<(), FileError> {
        self.file.read_exact_at(into, offset).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput => FileError::Truncated,
            _ => FileError::Read(error),
        })
    }

    /// Passes the bytes from `offset` on, at most `len` of them, in chunks;
    /// each chunk begins with the last `overlap` bytes of the one before. `visit` ends it with `true`.
    pub fn scan(
        &self,
        offset: u64,
        len: u64,
        overlap: usize,
        mut visit: impl FnMut(u64, &[u8]) -> bool,
    ) -> Result<(), FileError> {
        // Whole pages and whole ELF symbols (24 bytes).
        const CHUNK_BYTES: usize = 48 << 12;
        let end = offset.saturating_add(len).min(self.size_bytes);
        let mut at = offset;
        let mut chunk = vec![0; CHUNK_BYTES];
        while at < end {
            let piece = &mut chunk[..(end - at).min(CHUNK_BYTES as u64) as usize];
            self.fill(at, piece)?;
            if visit(at, piece) || at + piece.len() as u64 >= end {
                return Ok(());
            }
            at += (piece.len() - overlap) as u64;
        }
        Ok(())
    }
}
