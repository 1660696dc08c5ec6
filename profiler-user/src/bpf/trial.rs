//! Tries out whether this host lets a capture begin, a step at a time and without sampling anything: no process is put into the
//! table, so ticks are counted and nothing else.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use profiler_common::Stat;
use profiler_common::limits::MAX_PROCESSES;

use super::{Bpf, BpfError, LoadOptions, btf, event};

/// Fast enough that every CPU ticks within a few milliseconds.
const FREQUENCY_HZ: u32 = 999;
const RING_BYTES: u32 = 1 << 20;
/// What has not come by then does not come.
const PATIENCE: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(5);

/// What became of a step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step<T> {
    Done(T),
    Failed {
        errno: Option<i32>,
        what: String,
    },
    /// A step before it failed.
    NotTried,
}

/// The programs are in the kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loaded {
    /// All of it: kernel types, maps, programs.
    pub took: Duration,
    /// The part in which the kernel checks the programs.
    pub verifier: Duration,
}

/// The programs ran.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ran {
    pub attached_in: Duration,
    /// Ticks that the first program counted.
    pub ticks: u64,
    /// Processes that started meanwhile, read from the ring.
    pub events: u64,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trial {
    /// perf_event_open(2)
    pub perf_event: Step<()>,
    /// bpf(2)
    pub bpf_call: Step<()>,
    pub load: Step<Loaded>,
    pub run: Step<Ran>,
    /// How long it took.
    pub detach: Step<Duration>,
}

impl<T> Step<T> {
    fn of_io(result: io::Result<T>) -> Step<T> {
        match result {
            Ok(it) => Step::Done(it),
            Err(error) => Step::Failed { errno: error.raw_os_error(), what: error.to_string() },
        }
    }

    fn failed(error: &BpfError) -> Step<T> {
        Step::Failed { errno: error.errno(), what: whole(error) }
    }
}

/// With its causes: some errors of the loader do not say what the kernel answered.
fn whole(error: &BpfError) -> String {
    let mut what = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let text = cause.to_string();
        if !what.contains(&text) {
            what = format!("{what}: {text}");
        }
        source = cause.source();
    }
    what
}

/// Whether the kernel's types have all that the programs need; how many bytes they take.
pub fn check_types(path: Option<&PathBuf>) -> Result<u64, BpfError> {
    let path = path.cloned().unwrap_or_else(|| btf::KERNEL_BTF.into());
    let bytes = std::fs::read(&path).map_err(|source| BpfError::NoBtf { path, source })?;
    btf::kernel_offsets(&bytes).map(|_| bytes.len() as u64)
}

/// One event that counts time, which the kernel opens like those of a capture and never starts.
fn open_event() -> io::Result<()> {
    /// `PERF_COUNT_SW_CPU_CLOCK`
    const CPU_CLOCK: u64 = 0;
    /// The first bit of the flags.
    const DISABLED: u64 = 1;
    // Without /sys nobody tells; the first CPU is hardly ever taken away.
    let cpus = aya::util::online_cpus().unwrap_or_default();
    event::open(cpus.first().copied().unwrap_or(0), CPU_CLOCK, 1_000_000_000, DISABLED).map(drop)
}

/// The smallest thing to ask of bpf(2): an array of one number (`union bpf_attr`, `BPF_MAP_CREATE`).
fn create_map() -> io::Result<()> {
    const MAP_CREATE: libc::c_int = 0;
    const ARRAY: u32 = 2;
    // Kind, bytes of a key, bytes of a value, entries, flags.
    let attributes: [u32; 5] = [ARRAY, 4, 4, 1, 0];
    // SAFETY: a valid pointer to as many bytes as it says; the kernel takes what is missing for zeros.
    let fd = unsafe {
        libc::syscall(libc::SYS_bpf, MAP_CREATE, attributes.as_ptr(), size_of_val(&attributes) as u32)
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened, and nobody else's.
    drop(unsafe { OwnedFd::from_raw_fd(fd as i32) });
    Ok(())
}

impl Trial {
    /// Tries everything. `meanwhile` happens while the programs are attached, if they could be, and starts at least one
    /// process; it happens in any case. Needs an event loop, in which it does not wait.
    pub fn run(types: Option<PathBuf>, meanwhile: impl FnOnce()) -> Trial {
        let mut trial = Trial {
            perf_event: Step::of_io(open_event()),
            bpf_call: Step::of_io(create_map()),
            load: Step::NotTried,
            run: Step::NotTried,
            detach: Step::NotTried,
        };
        let options = LoadOptions {
            btf: types,
            targets_only: false,
            ring_bytes: RING_BYTES,
            bounded: false,
            single_reads: false,
            off_cpu: false,
            verbose: false,
            max_processes: MAX_PROCESSES,
        };
        let began = Instant::now();
        let mut bpf = match Bpf::load(&options) {
            Ok(bpf) => bpf,
            Err(error) => {
                trial.load = Step::failed(&error);
                meanwhile();
                return trial;
            }
        };
        trial.load = Step::Done(Loaded { took: began.elapsed(), verifier: bpf.verifier });
        let began = Instant::now();
        let started = bpf.start(FREQUENCY_HZ);
        let attached_in = began.elapsed();
        meanwhile();
        match started.and_then(|()| watch(&mut bpf)) {
            Ok((ticks, events)) => trial.run = Step::Done(Ran { attached_in, ticks, events }),
            Err(error) => trial.run = Step::failed(&error),
        }
        let began = Instant::now();
        trial.detach = match bpf.stop() {
            Ok(()) => {
                drop(bpf);
                Step::Done(began.elapsed())
            }
            Err(error) => Step::failed(&error),
        };
        trial
    }
}

/// Ticks and events, until there are some of both.
fn watch(bpf: &mut Bpf) -> Result<(u64, u64), BpfError> {
    let began = Instant::now();
    let mut events = 0;
    loop {
        bpf.rings.lifecycle(|_| events += 1);
        let ticks = bpf.stats.read()?.get(Stat::Delivered);
        if (ticks > 0 && events > 0) || began.elapsed() > PATIENCE {
            return Ok((ticks, events));
        }
        std::thread::sleep(POLL);
    }
}
