//! The targets: Python scripts that count what they get done and say which calls they can make.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use pyprof_tests::limits::Limits;
use pyprof_tests::{Python, Scratch, Target};

use crate::load::Load;
use crate::machine::{TARGET_CPU, ended_children_cpu_ns, family, family_cpu_ns, pinned, signal, waited_ns};
use crate::tools::Kit;
use crate::truth::Truth;

const COMMON: &str = include_str!("targets/common.py");
/// As in targets/common.py.
const COUNTER_BYTES: usize = 65536;
/// Of all targets of a workload together.
const MOST_TASKS: u32 = 6000;
const MOST_BYTES: u64 = 12 << 30;

/// Numbers the control groups.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// One kind of target.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    pub name: &'static str,
    pub script: &'static str,
    pub source: &'static str,
    pub argument: &'static str,
    /// So many of them at once.
    pub processes: usize,
    /// Its work is done by processes below it.
    pub has_children: bool,
    /// One thread and no system calls: what it waits for its CPU is the machine's doing, and is taken out.
    pub is_single: bool,
}

impl Kind {
    const fn new(
        name: &'static str,
        script: &'static str,
        source: &'static str,
        argument: &'static str,
    ) -> Kind {
        Kind { name, script, source, argument, processes: 1, has_children: false, is_single: false }
    }

    const fn single(
        name: &'static str,
        script: &'static str,
        source: &'static str,
        argument: &'static str,
    ) -> Kind {
        Kind { is_single: true, ..Kind::new(name, script, source, argument) }
    }

    pub fn is_web(&self) -> bool {
        self.script == "web.py"
    }
}

const DEPTH: &str = include_str!("targets/depth.py");
const THREADS: &str = include_str!("targets/threads.py");

pub const KINDS: &[Kind] = &[
    Kind::single("20 frames deep", "depth.py", DEPTH, "20"),
    Kind::single("100 frames deep", "depth.py", DEPTH, "100"),
    Kind::new("50 threads", "threads.py", THREADS, "50"),
    Kind::new("500 threads", "threads.py", THREADS, "500"),
    Kind::single("100 generators in a chain", "generators.py", include_str!("targets/generators.py"), "100"),
    Kind::new("asyncio, 1,000 tasks", "coroutines.py", include_str!("targets/coroutines.py"), "1000"),
    Kind::new("gunicorn with Django", "web.py", include_str!("targets/web.py"), "SOCKET"),
    Kind::single("numpy in batches", "batch.py", include_str!("targets/batch.py"), ""),
    Kind {
        has_children: true,
        ..Kind::new("storm of processes", "storm.py", include_str!("targets/storm.py"), "")
    },
    Kind { processes: 10, ..Kind::new("10 processes", "depth.py", DEPTH, "20") },
];

/// The two that grow: threads, and frames or processes.
pub const CROWD: Kind = Kind::new("threads", "threads.py", THREADS, "");
pub const PATH: Kind = Kind::new("frames", "depth.py", DEPTH, "");

/// How its interpreter is started.
#[derive(Clone, Debug, Default)]
pub struct Launch {
    pub options: Vec<String>,
    pub environment: Vec<(String, PathBuf)>,
}

/// Targets of one kind that run.
pub struct Workload {
    pub kind: Kind,
    pub truth: Truth,
    pub pids: Vec<u32>,
    targets: Vec<Target>,
    counter: *const AtomicU64,
    load: Option<Load>,
    _scratch: Scratch,
    /// Last: it waits until all are gone.
    limits: Limits,
}

/// How far it is.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    pub at: Instant,
    pub done: u64,
    pub waited: Duration,
    pub cpu_ns: u64,
}

impl Workload {
    pub fn start(kind: Kind, python: &Python, launch: &Launch, kit: &Kit) -> Result<Workload> {
        Workload::with_argument(kind, kind.argument, python, launch, kit)
    }

    /// So many processes of a kind whose size is a number.
    pub fn crowd(kind: Kind, size: u32, processes: u32, python: &Python, kit: &Kit) -> Result<Workload> {
        let kind = Kind { processes: processes as usize, ..kind };
        Workload::with_argument(kind, &size.to_string(), python, &Launch::default(), kit)
    }

    fn with_argument(
        kind: Kind,
        argument: &str,
        python: &Python,
        launch: &Launch,
        kit: &Kit,
    ) -> Result<Workload> {
        let limits =
            Limits::new(&format!("peers-{}", NEXT.fetch_add(1, Ordering::Relaxed)), MOST_TASKS, MOST_BYTES);
        let scratch = Scratch::new("peers");
        let counter_file = scratch.path().join("counter");
        let counter = map_counter(&counter_file)?;
        let script = scratch.path().join(kind.script);
        fs::write(&script, format!("{COMMON}\n{}", kind.source))?;
        let socket = scratch.path().join("socket");
        let mut workload = Workload {
            kind,
            truth: Truth::new(kind.script),
            pids: Vec::new(),
            targets: Vec::new(),
            counter,
            load: None,
            _scratch: scratch,
            limits,
        };
        for index in 0..kind.processes {
            let mut command = Command::new(&python.path);
            command.args(&launch.options).arg(&script);
            match argument {
                "" => {}
                "SOCKET" => drop(command.arg(&socket)),
                argument => drop(command.arg(argument)),
            }
            command.env("PEERS_COUNTER", &counter_file).env("PEERS_WORD", index.to_string());
            command.envs((kind.processes > 1).then_some(("PEERS_GATE", "1")));
            command.env("PYTHONPATH", kit.target_packages(python.minor));
            command.envs(launch.environment.iter().map(|(name, value)| (name, value)));
            workload.limits.enter(&mut command);
            pinned(&mut command, TARGET_CPU);
            workload.attend(Target::command(command))?;
        }
        if kind.processes > 1 {
            workload.targets.iter_mut().for_each(|target| target.tell("go"));
        }
        if kind.is_web() {
            workload.load = Some(Load::start(socket)?);
        }
        let deadline = Instant::now() + Duration::from_secs(60);
        while workload.done() == 0 {
            if Instant::now() > deadline {
                bail!("{}: nothing gets done", kind.name);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(workload)
    }

    /// Takes what the target says until it is ready.
    fn attend(&mut self, mut target: Target) -> Result<()> {
        loop {
            let line = target.line();
            if line == "ready" {
                break;
            }
            if let Some(pid) = line.strip_prefix("pid ") {
                self.pids.push(pid.parse().context("failed to parse the pid of a target")?);
            } else if !self.truth.learn(&line) {
                bail!("{} says {line:?}", self.kind.name);
            }
        }
        self.targets.push(target);
        Ok(())
    }

    /// What a profiler inside the target is at (targets/common.py).
    pub fn inside(&self) -> u64 {
        self.words().last().map_or(0, |word| word.load(Ordering::Relaxed))
    }

    fn words(&self) -> &[AtomicU64] {
        // SAFETY: mapped with this many words, aligned, and as long as `self`; only other processes write them.
        unsafe { std::slice::from_raw_parts(self.counter, COUNTER_BYTES / size_of::<AtomicU64>()) }
    }

    pub fn done(&self) -> u64 {
        let words = self.words();
        words[..words.len() - 1].iter().map(|word| word.load(Ordering::Relaxed)).sum()
    }

    pub fn read(&self) -> Result<Reading> {
        let waited = if self.kind.is_single { waited_ns(self.pids[0])? } else { 0 };
        let ended = |pid| if self.kind.has_children { ended_children_cpu_ns(pid) } else { 0 };
        let cpu_ns = self.pids.iter().map(|&pid| family_cpu_ns(pid) + ended(pid)).sum();
        Ok(Reading { at: Instant::now(), done: self.done(), waited: Duration::from_nanos(waited), cpu_ns })
    }

    pub fn load(&self) -> Option<&Load> {
        self.load.as_ref()
    }
}

impl Reading {
    /// What was done per second since then.
    pub fn rate_since(&self, before: &Reading) -> f64 {
        let time =
            self.at.duration_since(before.at).saturating_sub(self.waited.saturating_sub(before.waited));
        (self.done - before.done) as f64 / time.as_secs_f64()
    }

    /// The share of a CPU that the target had since then.
    pub fn share_since(&self, before: &Reading) -> f64 {
        self.cpu_ns.saturating_sub(before.cpu_ns) as f64 / self.at.duration_since(before.at).as_nanos() as f64
    }
}

fn map_counter(path: &std::path::Path) -> Result<*const AtomicU64> {
    let file = File::options().create_new(true).read(true).write(true).open(path)?;
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
    Ok(at.cast())
}

impl Drop for Workload {
    fn drop(&mut self) {
        // The load ends first, or it would see the server die.
        self.load = None;
        // Those below a target do not end with it.
        for pid in self.targets.iter().flat_map(|target| family(target.pid())).collect::<Vec<_>>() {
            signal(pid, libc::SIGKILL);
        }
        // SAFETY: the mapping made in `start`; nothing refers to it any more.
        unsafe { libc::munmap(self.counter.cast_mut().cast(), COUNTER_BYTES) };
    }
}
