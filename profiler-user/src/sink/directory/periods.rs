//! A directory of directories, one per period. Everything goes through descriptors, as in the directory itself: whoever
//! replaces a path on the way has nothing else removed or written.

use super::OutputDirectory;
use crate::sink::place::{SinkError, chown, shown};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd};

impl OutputDirectory {
    /// A new directory in this one.
    pub fn subdirectory(&self, name: &str) -> Result<OutputDirectory, SinkError> {
        let path = self.path.join(name);
        let error = |source| SinkError::Create { path: shown(&path), source };
        let c_name = CString::new(name).map_err(|_| error(io::ErrorKind::InvalidInput.into()))?;
        // SAFETY: the descriptor is open and the name ends in NUL.
        if unsafe { libc::mkdirat(self.directory.as_raw_fd(), c_name.as_ptr(), 0o700) } != 0 {
            return Err(error(io::Error::last_os_error()));
        }
        let directory = open_below(&self.directory, &c_name).map_err(error)?;
        chown(&directory, self.owner).map_err(error)?;
        Ok(OutputDirectory {
            path: path.clone(),
            directory,
            owner: self.owner,
            created: true,
            progress: Default::default(),
        })
    }

    /// What its files take of the disk.
    pub fn bytes_on_disk(&self) -> io::Result<u64> {
        let mut sum = 0u64;
        each_file(&self.directory, |name| {
            // SAFETY: `stat` is plain numbers.
            let mut stat: libc::stat = unsafe { std::mem::zeroed() };
            let flags = libc::AT_SYMLINK_NOFOLLOW;
            // SAFETY: an open descriptor, a name that ends in NUL, a valid structure.
            let done = unsafe { libc::fstatat(self.directory.as_raw_fd(), name.as_ptr(), &mut stat, flags) };
            if done == 0 {
                sum = sum.saturating_add(stat.st_blocks as u64 * 512);
            }
        })?;
        Ok(sum)
    }

    /// Removes a directory in this one, with the files in it.
    pub fn remove_subdirectory(&self, name: &str) -> io::Result<()> {
        let name = CString::new(name).map_err(|_| io::ErrorKind::InvalidInput)?;
        let directory = open_below(&self.directory, &name)?;
        each_file(&directory, |file| {
            // SAFETY: an open descriptor and a name that ends in NUL. What cannot be removed keeps the directory.
            unsafe { libc::unlinkat(directory.as_raw_fd(), file.as_ptr(), 0) };
        })?;
        // SAFETY: as above.
        if unsafe { libc::unlinkat(self.directory.as_raw_fd(), name.as_ptr(), libc::AT_REMOVEDIR) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

fn open_below(directory: &File, name: &CStr) -> io::Result<File> {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    // SAFETY: an open descriptor and a name that ends in NUL.
    let fd = unsafe { libc::openat(directory.as_raw_fd(), name.as_ptr(), flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: openat returned this descriptor, and nobody else has it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Every name in a directory but its own and its parent's.
fn each_file(directory: &File, mut handle: impl FnMut(&CStr)) -> io::Result<()> {
    // A stream of its own: it has its own position.
    let stream = open_below(directory, c".")?.into_raw_fd();
    // SAFETY: the descriptor is open; the stream owns it from here on.
    let stream = unsafe { libc::fdopendir(stream) };
    if stream.is_null() {
        return Err(io::Error::last_os_error());
    }
    loop {
        // SAFETY: the stream is open until closedir, and nobody else reads it.
        let entry = unsafe { libc::readdir(stream) };
        if entry.is_null() {
            break;
        }
        // SAFETY: the kernel ends the name with a NUL; it stays until the next call.
        let name = unsafe { CStr::from_ptr((*entry).d_name.as_ptr()) };
        if name != c"." && name != c".." {
            handle(name);
        }
    }
    // SAFETY: the stream is open and not used again.
    unsafe { libc::closedir(stream) };
    Ok(())
}
