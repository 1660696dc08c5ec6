//! This process itself and the readers that it starts, as /proc shows them: privileges, memory, maps in the kernel; and
//! settings of the host. Nothing here waits for a target: of a reader that one holds, only numbers are read that the kernel
//! has without asking for its memory.

use std::os::unix::fs::MetadataExt;
use std::{fs, io};

use procfs::process::{Process, Status};

/// `PROC_PID_INIT_INO` (`include/uapi/linux/nsfs.h`): the pid namespace that the machine booted with.
const INITIAL_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// This very program, even if its file was replaced or removed.
pub const PROGRAM: &str = "/proc/self/exe";

/// What names an open file of this process.
pub fn descriptor_path(fd: i32) -> String {
    format!("/proc/self/fd/{fd}")
}

fn status() -> Option<Status> {
    Process::myself().and_then(|process| process.status()).ok()
}

/// The set of capabilities in force (`CapEff` of `/proc/self/status`), 0 when unreadable.
pub fn effective_capabilities() -> u64 {
    status().map_or(0, |status| status.capeff)
}

/// Whether a filter stands between this process and its system calls (`Seccomp` of `/proc/self/status`).
pub fn is_filtered() -> bool {
    status().and_then(|status| status.seccomp).is_some_and(|mode| mode != 0)
}

/// Peak resident memory, bytes.
pub fn peak_rss_bytes() -> u64 {
    status().and_then(|status| status.vmhwm).unwrap_or(0) * 1024
}

/// Resident memory now, bytes.
pub fn rss_bytes() -> u64 {
    status().and_then(|status| status.vmrss).unwrap_or(0) * 1024
}

fn status_of(pid: u32) -> Option<Status> {
    Process::new(i32::try_from(pid).ok()?).and_then(|process| process.status()).ok()
}

/// Peak resident memory of a reader, bytes.
pub fn peak_rss_bytes_of(pid: u32) -> u64 {
    status_of(pid).and_then(|status| status.vmhwm).unwrap_or(0) * 1024
}

/// Resident memory of a reader now, bytes.
pub fn rss_bytes_of(pid: u32) -> u64 {
    status_of(pid).and_then(|status| status.vmrss).unwrap_or(0) * 1024
}

/// CPU time of this process (0) or of a reader: the kernel's own clock of it, which tells of one that is stuck as well.
pub fn cpu_ns(pid: u32) -> u64 {
    /// `CPUCLOCK_SCHED` of all threads (`include/linux/posix-timers.h`, `MAKE_PROCESS_CPUCLOCK`).
    const SCHEDULED: libc::clockid_t = 2;
    let clock = ((!(pid as libc::clockid_t)) << 3) | SCHEDULED;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid pointer; an unknown process is an error that leaves it as it is.
    unsafe { libc::clock_gettime(clock, &mut time) };
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

/// What a reader is at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// It runs, or waits for a CPU.
    pub runs: bool,
    /// For how long it has run or waited for a CPU, up to when it last did; `None` where the kernel does not count that.
    pub busy_ns: Option<u64>,
}

/// What the one thread of a reader is at (`proc_pid_schedstat`, `fs/proc/base.c`).
pub fn progress(pid: u32) -> Progress {
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
    // Field 3, behind the name, which is ours.
    let runs = read("stat").rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('R'));
    let schedstat = read("schedstat");
    let mut numbers = schedstat.split_ascii_whitespace().map_while(|number| number.parse::<u64>().ok());
    let busy_ns = numbers.next().zip(numbers.next()).map(|(ran, waited)| ran.saturating_add(waited));
    // Kernels that do not count say 0; no process comes so far without running.
    Progress { runs, busy_ns: busy_ns.filter(|busy_ns| *busy_ns != 0) }
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

/// Gives freed memory back to the system, which glibc would keep: the loader alone needs some 15 MB for a moment (it parses
/// all of the kernel's BTF). musl gives it back by itself.
pub fn release_freed_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes a number and may be called at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Whether there is no such process. One that may not be signalled is there.
pub fn is_gone(pid: u32) -> bool {
    // SAFETY: signal 0 is sent to nobody.
    let status = unsafe { libc::kill(pid as i32, 0) };
    status != 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH)
}

/// The parameters of `sched_setattr` (`include/uapi/linux/sched/types.h`), first version.
#[repr(C)]
#[derive(Clone, Copy, Default)]
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
    schedule(&Scheduling {
        policy: libc::SCHED_OTHER as u32,
        nice: NICE,
        runtime_ns: 100_000,
        ..Scheduling::default()
    });
}

/// For the calling thread; without the privilege all stays as it is.
fn schedule(scheduling: &Scheduling) {
    let sized = Scheduling { bytes: size_of::<Scheduling>() as u32, ..*scheduling };
    // SAFETY: a valid pointer to a struct that says its own size; 0 is the calling thread.
    unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const sized, 0) };
}

/// While it lives, the calling thread has 95 % of a CPU, and no more, before all others: `SCHED_DEADLINE` is a share that the
/// kernel itself bounds, to that as well (`kernel.sched_rt_runtime_us`). To attach takes 0.13 s of a CPU, and the share of one
/// that is preferred among thousands is small.
pub struct Reserved(());

pub fn reserve() -> Reserved {
    const PERIOD_NS: u64 = 20_000_000;
    /// `SCHED_FLAG_RESET_ON_FORK`: who starts meanwhile has no part in it.
    const RESET_ON_FORK: u64 = 1;
    schedule(&Scheduling {
        policy: libc::SCHED_DEADLINE as u32,
        flags: RESET_ON_FORK,
        runtime_ns: PERIOD_NS / 20 * 19,
        deadline_ns: PERIOD_NS,
        period_ns: PERIOD_NS,
        ..Scheduling::default()
    });
    Reserved(())
}

impl Drop for Reserved {
    fn drop(&mut self) {
        prefer();
    }
}

/// Whether the numbers of processes in /proc, and those that system calls take, are what the kernel's programs see. An error
/// where /proc does not know this process: it is not mounted, or shows another namespace.
pub fn in_initial_pid_namespace() -> io::Result<bool> {
    Ok(fs::metadata("/proc/self/ns/pid")?.ino() == INITIAL_PID_NAMESPACE)
}

/// Whether this process reads the clocks that the kernel's programs read: a time namespace may shift the monotonic and the
/// boot clock (`time_namespaces(7)`). Kernels without such namespaces have no file of offsets.
pub fn has_clocks_of_the_host() -> bool {
    fs::read_to_string("/proc/self/timens_offsets").map_or(true, |text| no_offsets(&text))
}

/// A line per clock: its name, seconds, nanoseconds.
fn no_offsets(text: &str) -> bool {
    text.lines().all(|line| line.split_whitespace().skip(1).all(|number| number == "0"))
}

/// Where a path below a mounted hierarchy of control groups leads in that hierarchy: `/sys/fs/cgroup/memory/a` is `/a`
/// where there is one hierarchy per controller, and `/memory/a` where there is one for all. `None` where nothing such is
/// mounted above it.
pub fn path_in_hierarchy(path: &str) -> Option<String> {
    in_hierarchy(&fs::read_to_string("/proc/self/mountinfo").ok()?, path)
}

/// Field 4 is what of the hierarchy is mounted, field 5 where; the type stands behind the dash (`proc_pid_mountinfo(5)`).
fn in_hierarchy(mounts: &str, path: &str) -> Option<String> {
    let mount = |line: &str| {
        let (head, tail) = line.split_once(" - ")?;
        let mut fields = head.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        let below = path.strip_prefix(point).filter(|rest| rest.is_empty() || rest.starts_with('/'))?;
        let root = if root == "/" { "" } else { root };
        tail.starts_with("cgroup").then(|| (point.len(), format!("{root}{below}")))
    };
    let (_, path) = mounts.lines().filter_map(mount).max()?;
    Some(if path.is_empty() { "/".to_owned() } else { path })
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
