//! Opens the file behind a mapping of a target: the object that is mapped, not whatever its name leads to by now.

use std::ffi::CString;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use super::file::{FileError, Located};
use super::maps::{Mapping, unescape};

/// `task` is the one that [`super::maps::Maps`] names.
pub fn open_mapped(task: u32, mapping: &Mapping<'_>) -> Result<Located, FileError> {
    // The kernel's link leads to the mapped file itself: removed, in another mount namespace, or never named.
    let link = format!("/proc/{task}/map_files/{:x}-{:x}", mapping.start, mapping.limit);
    match Located::open(Path::new(&link), true) {
        Err(FileError::Open(_)) => open_in_root(task, mapping),
        result => result,
    }
}

/// The executable of a process, which need not be what its first mapping shows.
pub fn open_executable(task: u32) -> Result<Located, FileError> {
    Located::open(Path::new(&format!("/proc/{task}/exe")), true)
}

/// Without the right to use map_files (`CAP_CHECKPOINT_RESTORE` or `CAP_SYS_ADMIN`) the name is resolved inside the
/// target's own root, and must lead to the mapped inode.
fn open_in_root(task: u32, mapping: &Mapping<'_>) -> Result<Located, FileError> {
    let invalid = || FileError::Open(io::ErrorKind::InvalidInput.into());
    let name = unescape(mapping.path);
    let name = CString::new(name.strip_prefix(b"/").ok_or_else(invalid)?).map_err(|_| invalid())?;
    let root = CString::new(format!("/proc/{task}/root")).map_err(|_| invalid())?;
    // SAFETY: a NUL-terminated path; the result is checked. The link is the kernel's own.
    let root = unsafe { libc::open(root.as_ptr(), libc::O_PATH | libc::O_CLOEXEC | libc::O_DIRECTORY) };
    if root < 0 {
        return Err(FileError::Open(io::Error::last_os_error()));
    }
    // SAFETY: a fresh descriptor that nobody else owns.
    let root: std::os::fd::OwnedFd = unsafe { std::os::fd::FromRawFd::from_raw_fd(root) };
    // SAFETY: `open_how` is plain integers, for which zero is a valid value.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = (libc::O_PATH | libc::O_CLOEXEC) as u64;
    how.resolve = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS;
    // SAFETY: the path and `how` outlive the call and the size is that of `how`.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_openat2,
            root.as_raw_fd(),
            name.as_ptr(),
            &raw const how,
            size_of::<libc::open_how>(),
        )
    };
    let located = Located::from_fd(fd as i32)?;
    // The device number may differ through an overlay, the inode does not.
    if located.key.inode != mapping.inode {
        return Err(FileError::Open(io::ErrorKind::NotFound.into()));
    }
    Ok(located)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::maps::Maps;

    #[test]
    fn both_ways_lead_to_the_same_file() {
        let pid = std::process::id();
        let maps = Maps::read(pid).unwrap();
        let mapping = maps.iter().find(|mapping| mapping.executable && mapping.inode != 0).unwrap();
        let by_name = open_in_root(pid, &mapping).unwrap();
        assert_eq!(by_name.key.inode, mapping.inode);
        // Only root may use map_files; the result is the same either way.
        assert_eq!(open_mapped(pid, &mapping).unwrap().key, by_name.key);
    }

    #[test]
    fn another_inode_under_the_same_name_is_refused() {
        let pid = std::process::id();
        let maps = Maps::read(pid).unwrap();
        let mut mapping = maps.iter().find(|mapping| mapping.executable && mapping.inode != 0).unwrap();
        mapping.inode += 1;
        assert!(open_in_root(pid, &mapping).is_err());
    }
}
