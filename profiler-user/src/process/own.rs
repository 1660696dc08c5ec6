//! This process itself, as /proc shows it: privileges, memory, maps in the kernel; and settings of the host.

use std::fs;

use procfs::process::{Process, Status};

fn status() -> Option<Status> {
    Process::myself().and_then(|process| process.status()).ok()
}

/// The set of capabilities in force (`CapEff` of `/proc/self/status`), 0 when unreadable.
pub fn effective_capabilities() -> u64 {
    status().map_or(0, |status| status.capeff)
}

/// Peak resident memory, bytes.
pub fn peak_rss_bytes() -> u64 {
    status().and_then(|status| status.vmhwm).unwrap_or(0) * 1024
}

/// Resident memory now, bytes.
pub fn rss_bytes() -> u64 {
    status().and_then(|status| status.vmrss).unwrap_or(0) * 1024
}

/// Memory that the kernel holds for our BPF maps, bytes: `memlock` in `/proc/self/fdinfo` (kernel/bpf/syscall.c,
/// `bpf_map_show_fdinfo`), each map once.
pub fn map_bytes() -> u64 {
    let Ok(entries) = fs::read_dir("/proc/self/fdinfo") else { return 0 };
    let mut maps = std::collections::BTreeMap::new();
    for entry in entries.flatten() {
        let Ok(info) = fs::read_to_string(entry.path()) else { continue };
        let field = |name: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().parse::<u64>().ok()
        };
        if let (Some(id), Some(bytes)) = (field("map_id:"), field("memlock:")) {
            maps.insert(id, bytes);
        }
    }
    maps.values().sum()
}

/// Gives freed memory back to the system: the loader needs some 15 MB for a moment (it parses all of the kernel's BTF),
/// which glibc would keep. musl gives it back by itself.
pub fn release_freed_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes a number and may be called at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// The parameters of `sched_setattr` (`include/uapi/linux/sched/types.h`), first version.
#[repr(C)]
struct Scheduling {
    bytes: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime_ns: u64,
    deadline_ns: u64,
    period_ns: u64,
}

/// Goes before other processes. On a host where hundreds of threads wait for a CPU, attaching would take seconds and the
/// rings would overflow, when a share of a CPU is all that is needed; `--max-cpu` bounds what this can take from others.
pub fn prefer() {
    const NICE: i32 = -20;
    // SAFETY: takes numbers only. Without the privilege all stays as it is.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
    // From 6.12 on a runtime is the slice that a task asks for, and who asks for a short one need not wait until another's
    // slice of 3 ms is over (`kernel/sched/syscalls.c`, `__setparam_fair`; `kernel/sched/features.h`, PREEMPT_SHORT): a
    // process that starts is known before it has run Python code. Older kernels take no notice of it.
    let scheduling = Scheduling {
        bytes: size_of::<Scheduling>() as u32,
        policy: libc::SCHED_OTHER as u32,
        flags: 0,
        nice: NICE,
        priority: 0,
        runtime_ns: 100_000,
        deadline_ns: 0,
        period_ns: 0,
    };
    // SAFETY: a valid pointer to a struct that says its own size; 0 is the calling thread.
    unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const scheduling, 0) };
}

/// A setting below `/proc/sys`.
pub fn sysctl(name: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/sys/{name}")).ok().map(|value| value.trim().to_owned())
}

/// The kernel's lockdown mode: the bracketed word of `/sys/kernel/security/lockdown`.
pub fn lockdown() -> Option<String> {
    let text = fs::read_to_string("/sys/kernel/security/lockdown").ok()?;
    let (_, rest) = text.split_once('[')?;
    rest.split_once(']').map(|(mode, _)| mode.to_owned())
}
