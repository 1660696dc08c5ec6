//! Perf events that aya does not open: one for each CPU, for all processes.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// `struct perf_event_attr` as far as its first version goes (`include/uapi/linux/perf_event.h`, `PERF_ATTR_SIZE_VER0`).
#[repr(C)]
#[derive(Default)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    breakpoint_type: u32,
    config1: u64,
}

const _: () = assert!(size_of::<Attributes>() == 64);

/// `PERF_TYPE_SOFTWARE`
const SOFTWARE: u32 = 1;
/// `PERF_FLAG_FD_CLOEXEC`
const CLOSE_ON_EXEC: u64 = 1 << 3;

/// A software event of one CPU, whatever runs there. `config` and `flags` are those of `struct perf_event_attr`.
pub(super) fn open(cpu: u32, config: u64, sample_period: u64, flags: u64) -> io::Result<OwnedFd> {
    let size = size_of::<Attributes>() as u32;
    let attributes =
        Attributes { kind: SOFTWARE, size, config, sample_period, flags, ..Attributes::default() };
    // SAFETY: a valid structure of the size that it states; all processes (-1), one CPU, no group (-1).
    let fd = unsafe {
        libc::syscall(libc::SYS_perf_event_open, &raw const attributes, -1, cpu, -1, CLOSE_ON_EXEC)
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}
