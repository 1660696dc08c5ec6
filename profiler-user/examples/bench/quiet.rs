//! The conditions of a measurement: the machine to ourselves as far as others play along, no throttling of events, and the
//! kernel's clock on BPF programs. All of it is taken back at the end of each block, also when the block fails.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use anyhow::{Context, Result};
use profiler_user::bpf::{RunTimeEnabled, enable_run_time};

const CPU_SHARE: &str = "/proc/sys/kernel/perf_cpu_time_max_percent";
const SAMPLE_RATE: &str = "/proc/sys/kernel/perf_event_max_sample_rate";
/// The limits as they were before a block began: a block that was killed left them changed.
const BEFORE: &str = "/run/pyprof-bpf-bench.limits";
/// What a kernel starts with (`kernel/events/core.c`).
const DEFAULT_CPU_SHARE: &str = "25";

/// Held during one block.
pub struct Quiet {
    _lock: Option<File>,
    _limits: Limits,
    _timed: RunTimeEnabled,
}

/// The limits of perf events as they were.
struct Limits {
    cpu_share: String,
    sample_rate: String,
}

impl Quiet {
    pub fn begin(lock: Option<&Path>) -> Result<Quiet> {
        let lock = lock.map(flock).transpose()?;
        let limits = Limits::before()?;
        // The rate can only be written while the kernel may lower it by itself; share 0 then stops it from doing so.
        for (name, value) in [(CPU_SHARE, DEFAULT_CPU_SHARE), (SAMPLE_RATE, "100000"), (CPU_SHARE, "0")] {
            fs::write(name, value).with_context(|| format!("failed to write {name}"))?;
        }
        Ok(Quiet { _lock: lock, _limits: limits, _timed: enable_run_time()? })
    }
}

impl Limits {
    fn before() -> Result<Limits> {
        let kept = fs::read_to_string(BEFORE).ok();
        if let Some((cpu_share, sample_rate)) = kept.as_deref().and_then(|kept| kept.split_once(' ')) {
            return Ok(Limits { cpu_share: cpu_share.into(), sample_rate: sample_rate.into() });
        }
        let limits = Limits { cpu_share: read(CPU_SHARE)?, sample_rate: read(SAMPLE_RATE)? };
        fs::write(BEFORE, format!("{} {}", limits.cpu_share, limits.sample_rate))
            .with_context(|| format!("failed to write {BEFORE}"))?;
        Ok(limits)
    }
}

impl Drop for Limits {
    fn drop(&mut self) {
        let back = [
            (CPU_SHARE, DEFAULT_CPU_SHARE),
            (SAMPLE_RATE, &*self.sample_rate),
            (CPU_SHARE, &*self.cpu_share),
        ];
        for (name, value) in back {
            if let Err(error) = fs::write(name, value) {
                eprintln!("bench: failed to restore {name} to {value}: {error}");
                return;
            }
        }
        // Without it the next block takes the limits as it finds them.
        let _ = fs::remove_file(BEFORE);
    }
}

fn read(name: &str) -> Result<String> {
    Ok(fs::read_to_string(name).with_context(|| format!("failed to read {name}"))?.trim().to_owned())
}

fn flock(path: &Path) -> Result<File> {
    let file = File::options().create(true).append(true).open(path)?;
    // SAFETY: a descriptor that `file` keeps open.
    if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) } != 0 {
        return Err(io::Error::last_os_error()).with_context(|| format!("failed to lock {}", path.display()));
    }
    Ok(file)
}

/// Pins a process (0: this one) to one CPU.
pub fn pin(pid: u32, cpu: usize) -> Result<()> {
    // SAFETY: a `cpu_set_t` is plain bytes, for which zero is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `cpu` is an online CPU's number, below the 1,024 that a set holds.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: a valid set and its size.
    if unsafe { libc::sched_setaffinity(pid as i32, size_of::<libc::cpu_set_t>(), &set) } != 0 {
        return Err(io::Error::last_os_error()).context("failed to pin a process");
    }
    Ok(())
}

/// Lets a process go before all others.
pub fn prefer(pid: u32) -> Result<()> {
    // SAFETY: takes numbers only.
    if unsafe { libc::setpriority(libc::PRIO_PROCESS, pid, -20) } != 0 {
        return Err(io::Error::last_os_error()).context("failed to raise a priority");
    }
    Ok(())
}
