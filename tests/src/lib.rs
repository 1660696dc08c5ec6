//! The harness of the end-to-end tests: real interpreters, the real binary, real BPF, and a reader of pprof files that
//! shares no code with the writer.
//!
//! Needs root. `cargo xtask test` sets `PYPROF_BIN` (the built `pyprof-bpf`) and `PYPROF_PYTHONS`; without them the
//! release binary of this workspace and the interpreters of pyenv and Debian are used.

pub mod bpf;
pub mod capture;
pub mod charged;
pub mod container;
pub mod dump;
pub mod go;
pub mod group;
pub mod limits;
pub mod pprof;
pub mod privileges;
pub mod pythons;
pub mod readers;
pub mod running;
pub mod table;
pub mod target;

pub use capture::{Capture, Recording};
pub use pprof::{Frame, Profile, Sample};
pub use pythons::{Python, pythons};
pub use target::Target;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use pyprof_host::Held;

/// `cargo xtask vm` says that the processor is emulated. Its interrupts come late by a share of every burst and some not at all,
/// by as much as the machine below is busy, and nobody takes account of it: less is shown than was charged, and ticks are
/// fewer. What must add up exactly does so there, too.
pub fn is_emulated() -> bool {
    std::env::var_os("PYPROF_EMULATED").is_some()
}

/// CPU time that a hypervisor took from this host, ns, in ticks of 10 ms (`/proc/stat`, `steal`). The scheduler charges it to
/// nobody (`CONFIG_PARAVIRT_TIME_ACCOUNTING`), while the clock of the ticks goes on, and the one on the wall.
pub fn stolen_ns() -> f64 {
    let text = std::fs::read_to_string("/proc/stat").expect("/proc/stat");
    let ticks = text.lines().next().and_then(|line| line.split_whitespace().nth(8)?.parse::<f64>().ok());
    ticks.unwrap_or(0.0) * 1e7
}

/// A directory below the system's temporary one that goes with its owner, or with the next run of the tests.
pub struct Scratch {
    path: PathBuf,
    _held: Held,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

impl Scratch {
    pub fn new(what: &str) -> Scratch {
        Scratch::below(&std::env::temp_dir(), what)
    }

    /// For a process that has another root.
    pub fn below(directory: &Path, what: &str) -> Scratch {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = directory.join(format!("pyprof-test-{}-{number}-{what}", std::process::id()));
        let held = pyprof_host::directory(&path).expect("a fresh scratch directory");
        Scratch { path, _held: held }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}
