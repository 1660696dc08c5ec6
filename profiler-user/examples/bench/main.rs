//! What pyprof-bpf costs, as `cargo xtask bench` prints it: in the kernel per sample, to the target, in all, in memory,
//! and until it is attached. Prints Markdown; needs root and interpreters, as the end-to-end tests do.

mod figures;
mod kernel_side;
mod product;
mod quiet;
mod sections;
mod slowdown;
mod switches;
mod workload;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use profiler_user::utc;
use pyprof_tests::{Python, pythons};

use figures::Targets;
use kernel_side::Lab;
use quiet::{Quiet, pin};

#[derive(Parser)]
#[command(name = "bench", about = "What pyprof-bpf costs")]
struct Options {
    /// Two minutes instead of ten: fewer repetitions, more noise.
    #[arg(long)]
    quick: bool,
    /// Lock this file during each block of measurements (flock), so that several people can share a machine.
    #[arg(long)]
    lock: Option<PathBuf>,
    /// Only these sections.
    #[arg(long, value_enum)]
    only: Vec<Section>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Section {
    Kernel,
    Slowdown,
    Product,
    OffCpu,
    Memory,
}

/// How often and how long.
pub struct Plan {
    pub rounds: u32,
    pub warm_slot: Duration,
    pub cold_slot: Duration,
    pub cold_rounds: u32,
    pub windows: Duration,
    pub all_in: Duration,
    /// Captures of each kind beside switches.
    pub captures: u32,
    pub attaches: u32,
    pub memory: Duration,
}

const FULL: Plan = Plan {
    rounds: 5,
    warm_slot: Duration::from_millis(200),
    cold_slot: Duration::from_millis(1000),
    cold_rounds: 3,
    windows: Duration::from_secs(10),
    all_in: Duration::from_secs(8),
    captures: 7,
    attaches: 15,
    memory: Duration::from_secs(60),
};

const QUICK: Plan = Plan {
    rounds: 3,
    warm_slot: Duration::from_millis(60),
    cold_slot: Duration::from_millis(500),
    cold_rounds: 1,
    windows: Duration::from_secs(3),
    all_in: Duration::from_secs(3),
    captures: 3,
    attaches: 5,
    memory: Duration::from_secs(60),
};

/// The interpreters that the project's targets name.
const MINORS: [u8; 4] = [10, 11, 12, 13];

/// What every section needs.
pub struct Bench {
    plan: &'static Plan,
    lock: Option<PathBuf>,
    /// The CPU of the workload; the benchmark itself sits on another one.
    cpu: usize,
    lab: Lab,
    pub targets: Targets,
}

impl Bench {
    /// Waits until nobody else measures; keep the result for one block of at most a minute.
    pub fn quiet(&self) -> Result<Quiet> {
        Quiet::begin(self.lock.as_deref())
    }
}

fn main() -> Result<()> {
    let Options { quick, lock, only } = Options::parse();
    let wanted = |section| only.is_empty() || only.contains(&section);
    let cpus = std::thread::available_parallelism()?.get();
    ensure!(cpus >= 2, "the workload needs a CPU of its own beside the benchmark's");
    let all = pythons();
    let measured: Vec<Python> =
        all.iter().filter(|python| MINORS.contains(&python.minor) && !python.is_static).cloned().collect();

    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let _inside = runtime.enter();
    let begin = Instant::now();
    let mut bench = Bench {
        plan: if quick { &QUICK } else { &FULL },
        lock,
        cpu: cpus - 1,
        lab: Lab::load().context("failed to load the BPF programs: root is needed")?,
        targets: Targets::default(),
    };

    let mut parts = Vec::new();
    // The crowd and the captures of the memory section want all CPUs: it goes before this process is pinned.
    if wanted(Section::Memory) {
        parts.push(said(sections::memory(&mut bench, &all)?));
    }
    pin(0, 0)?;
    if wanted(Section::OffCpu) {
        parts.push(said(switches::section(&mut bench, &measured)?));
    }
    if wanted(Section::Product) {
        parts.push(said(sections::all_in(&mut bench, &measured)?));
    }
    if wanted(Section::Slowdown) {
        parts.push(said(sections::slowdown(&mut bench, &measured)?));
    }
    if wanted(Section::Kernel) {
        parts.push(said(sections::kernel(&mut bench, &measured)?));
    }
    parts.reverse();

    let head = sections::head(&bench, quick, &utc::rfc3339(now_unix_ns()), begin.elapsed());
    println!("{head}\n{}", parts.join("\n"));
    Ok(())
}

/// Shown as soon as it is there, too: the whole takes ten minutes.
fn said(part: String) -> String {
    eprintln!("{part}");
    part
}

fn now_unix_ns() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map(|since| since.as_nanos() as u64).unwrap_or(0)
}
