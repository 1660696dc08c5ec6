//! A Python process that stands at a stack of known depth, on a CPU of its own, and counts what it gets done.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail};
use pyprof_tests::{Python, Scratch, Target};

use crate::quiet::{pin, prefer};

const SOURCE: &str = include_str!("targets/stacks.py");
const COUNTER_BYTES: usize = 4096;

/// The four kinds of stacks of `targets/stacks.py`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Same,
    Distinct,
    Alternate,
    Churn,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heat {
    Warm,
    Cold,
}

/// Words of a file that a target has mapped, too.
pub struct Counter {
    words: *mut AtomicU64,
    path: PathBuf,
    _file: Scratch,
}

impl Counter {
    pub fn new() -> Result<Counter> {
        let scratch = Scratch::new("counter");
        let path = scratch.path().join("counter");
        let file = File::options().create_new(true).read(true).write(true).open(&path)?;
        file.set_len(COUNTER_BYTES as u64)?;
        // SAFETY: a new mapping of a file of that size, at a place that the kernel chooses.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                COUNTER_BYTES,
                libc::PROT_READ,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error()).context("failed to map the counter");
        }
        Ok(Counter { words: at.cast(), path, _file: scratch })
    }

    pub fn path(&self) -> Result<&str> {
        self.path.to_str().context("the temporary directory is no UTF-8")
    }

    /// One of its words.
    pub fn word(&self, index: usize) -> u64 {
        assert!(index < COUNTER_BYTES / size_of::<u64>());
        // SAFETY: within the mapping, aligned, and as long as `self`; only the other process writes it.
        unsafe { (*self.words.add(index)).load(Ordering::Relaxed) }
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`; nothing refers to it any more.
        unsafe { libc::munmap(self.words.cast(), COUNTER_BYTES) };
    }
}

pub struct Workload {
    target: Target,
    counter: Counter,
}

impl Workload {
    pub fn start(python: &Python, kind: Kind, depth: u32, heat: Heat, cpu: usize) -> Result<Workload> {
        let counter = Counter::new()?;
        let (kind, heat) = (format!("{kind:?}").to_lowercase(), format!("{heat:?}").to_lowercase());
        let args = [&kind, &depth.to_string(), &heat, counter.path()?];
        let target = Target::start(python, "stacks.py", SOURCE, &args);
        pin(target.pid(), cpu)?;
        prefer(target.pid())?;
        let workload = Workload { target, counter };
        // It prints its line before it enters the stack.
        for _ in 0..1000 {
            if workload.done() > 0 {
                return Ok(workload);
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        bail!("the workload does not count");
    }

    pub fn pid(&self) -> u32 {
        self.target.pid()
    }

    /// How long it could have run and was not let (`/proc/PID/schedstat`, second field: `sched_info.run_delay`).
    pub fn waited_ns(&self) -> Result<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/schedstat", self.pid()))?;
        let field = text.split_whitespace().nth(1).context("schedstat has no second field")?;
        field.parse().context("failed to parse schedstat")
    }

    pub fn done(&self) -> u64 {
        self.counter.word(0)
    }
}
