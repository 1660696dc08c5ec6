//! Facts of this host: its name, its kernel, its clocks.

use std::ffi::CStr;
use std::time::Instant;

pub struct Host {
    pub name: String,
    pub kernel: String,
    /// When this was asked, which is the first thing that a capture does.
    pub since: Instant,
}

impl Host {
    pub fn here() -> Host {
        // SAFETY: `utsname` is plain bytes, and uname fills it.
        let mut names: libc::utsname = unsafe { std::mem::zeroed() };
        // SAFETY: a valid pointer to it.
        unsafe { libc::uname(&mut names) };
        let text = |field: &[libc::c_char]| {
            // SAFETY: the kernel ends each field with a NUL inside the array, and it was zeroed before.
            unsafe { CStr::from_ptr(field.as_ptr()) }.to_string_lossy().into_owned()
        };
        Host { name: text(&names.nodename), kernel: text(&names.release), since: Instant::now() }
    }
}

fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid pointer; the clocks used exist on every kernel supported.
    unsafe { libc::clock_gettime(clock, &mut time) };
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

/// The clock of `bpf_ktime_get_ns`.
pub fn monotonic_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC)
}

/// The clock of `task_struct.start_boottime`.
pub fn boot_ns() -> u64 {
    clock_ns(libc::CLOCK_BOOTTIME)
}

pub fn unix_ns() -> u64 {
    clock_ns(libc::CLOCK_REALTIME)
}

/// CPU time of this process so far.
pub fn own_cpu_ns() -> u64 {
    clock_ns(libc::CLOCK_PROCESS_CPUTIME_ID)
}
