//! What the kernel says of processes: their CPU time, memory and children. Also where they may run.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicI32, Ordering};

use anyhow::{Context, Result};

/// The CPU of the targets; all else, the benchmark and the profilers, is on [`SAMPLER_CPU`].
pub const TARGET_CPU: usize = 1;
pub const SAMPLER_CPU: usize = 0;

/// Of targets and profilers; a trial does not go before what others do.
pub static PRIORITY: AtomicI32 = AtomicI32::new(0);

/// The command will run on one CPU, with [`PRIORITY`], with all its threads and children.
pub fn pinned(command: &mut Command, cpu: usize) {
    let priority = PRIORITY.load(Ordering::Relaxed);
    // SAFETY: the closure makes system calls only, on values of its own.
    unsafe {
        command.pre_exec(move || {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(cpu, &mut set);
            // Better than nothing if it may not.
            libc::setpriority(libc::PRIO_PROCESS, 0, priority);
            match libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        });
    }
}

/// CPU time of a process with all threads that it ever had, ns.
pub fn cpu_ns(pid: u32) -> Option<u64> {
    // include/uapi/linux/time.h and linux/posix-timers_types.h: ~pid << 3 | CPUCLOCK_SCHED.
    let clock = (!(pid as i32) << 3) | 2;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes a `timespec`, which this is.
    let done = unsafe { libc::clock_gettime(clock, &mut time) };
    (done == 0).then_some(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// The process and all below it.
pub fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut at = 0;
    while let Some(&parent) = all.get(at) {
        at += 1;
        for task in fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            all.extend(children.split_whitespace().filter_map(|word| word.parse::<u32>().ok()));
        }
    }
    all
}

/// CPU time of the children that a process has waited for, ns, in steps of 10 ms (`/proc/PID/stat`, `cutime` and `cstime`).
pub fn ended_children_cpu_ns(pid: u32) -> u64 {
    const TICK_NS: u64 = 10_000_000;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name of the program may hold anything; the state is the third field.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(13).take(2).filter_map(|field| field.parse::<u64>().ok()).sum::<u64>() * TICK_NS
}

pub fn family_cpu_ns(pid: u32) -> u64 {
    family(pid).into_iter().filter_map(cpu_ns).sum()
}

/// A field of `/proc/PID/status` in bytes, summed over the process and all below it.
pub fn family_memory_bytes(pid: u32, field: &str) -> u64 {
    let one = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let value = status.lines().find_map(|line| line.strip_prefix(field))?;
        Some(value.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
    };
    family(pid).into_iter().filter_map(one).sum()
}

/// How long the first thread could have run and was not let, ns (`/proc/PID/schedstat`, second field).
pub fn waited_ns(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat"))?;
    let field = text.split_whitespace().nth(1).context("schedstat has no second field")?;
    field.parse().context("failed to parse schedstat")
}

pub fn signal(pid: u32, signal: i32) {
    // SAFETY: takes numbers only. A process that is gone is no concern of ours.
    unsafe { libc::kill(pid as i32, signal) };
}
