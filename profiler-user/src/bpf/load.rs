//! Loads the programs, sizes their maps and wires them together.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aya::maps::{Map, MapData, ProgramArray, RingBuf};
use aya::programs::{PerfEvent, RawTracePoint};
use aya::{Ebpf, EbpfLoader};
use aya_log::EbpfLogger;
use profiler_common::OffCpuThread;
use profiler_common::config::Settings;

use super::off_cpu::OffCpu;
use super::pod::Plain;
use super::{BpfError, Clock, Mappings, Rings, Stats, Tables, btf, features};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/profiler"));

/// The programs speak a few times per CPU and start.
const LOG_BYTES: u32 = 1 << 16;

/// Where the programs' messages go.
struct Stderr;

impl log::Log for Stderr {
    fn enabled(&self, _metadata: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        eprintln!("bpf: {}", record.args());
    }

    fn flush(&self) {}
}

/// The programs that follow processes and the idleness of CPUs, by tracepoint.
const TRACEPOINTS: [(&str, &str); 4] = [
    ("pyprof_idle", "cpu_idle"),
    ("pyprof_exec", "sched_process_exec"),
    ("pyprof_fork", "sched_process_fork"),
    ("pyprof_exit", "sched_process_exit"),
];

pub struct LoadOptions {
    /// Where the types of the running kernel are; `None`: where the kernel itself has them.
    pub btf: Option<PathBuf>,
    /// Follow only what user space registers: no forks, no execs of others.
    pub targets_only: bool,
    /// Size of the sample ring, a power of two.
    pub ring_bytes: u32,
    /// The program on `sched_switch` is loaded, to be attached by [`Bpf::follow_off_cpu`].
    pub off_cpu: bool,
    /// The programs for kernels without `bpf_loop`, also where the kernel has it.
    pub bounded: bool,
    /// For the benchmark: read frames one by one.
    pub single_reads: bool,
    /// The programs say on standard error, once per CPU, that they run.
    pub verbose: bool,
    /// Room for so many; what is beyond is counted.
    pub max_processes: u32,
}

/// Everything that lives in the kernel. Dropping it detaches and unloads all of it.
pub struct Bpf {
    /// Of those that are there twice, what was loaded.
    pub programs: Vec<&'static str>,
    pub clock: Clock,
    pub tables: Tables,
    pub rings: Rings,
    pub stats: Stats,
    /// `None` where the kernel refuses: whoever follows processes then looks through all of them from time to time.
    pub mappings: Option<Mappings>,
    /// How long the kernel took to check the programs.
    pub verifier: Duration,
    off_cpu: Option<OffCpu>,
    log: Option<EbpfLogger<Stderr>>,
    /// Keeps the tracepoint programs and their links.
    pub(super) ebpf: Ebpf,
}

pub(super) fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, BpfError> {
    ebpf.take_map(name).ok_or(BpfError::Missing { name })
}

fn ring(ebpf: &mut Ebpf, name: &'static str) -> Result<RingBuf<MapData>, BpfError> {
    RingBuf::try_from(take(ebpf, name)?).map_err(|source| BpfError::Map { name, source })
}

impl Bpf {
    /// Loads, and attaches the lifecycle programs; the clock is started by its owner.
    pub fn load(options: &LoadOptions) -> Result<Bpf, BpfError> {
        if OBJECT.is_empty() {
            return Err(BpfError::NoObject);
        }
        let sampling = features::sampling_program(options.bounded)?;
        let (kernel, user_regs, switch) = {
            let path = options.btf.as_deref().unwrap_or(Path::new(btf::KERNEL_BTF));
            let bytes =
                std::fs::read(path).map_err(|source| BpfError::NoBtf { path: path.to_owned(), source })?;
            let (kernel, user_regs) = btf::kernel_offsets(&bytes)?;
            let switch = if options.off_cpu { btf::switch_offsets(&bytes)? } else { Default::default() };
            (Plain(kernel), Plain(user_regs), Plain(switch))
        };
        let settings = Plain(Settings {
            targets_only: u32::from(options.targets_only),
            wakeup_bytes: options.ring_bytes / 4,
            single_reads: u32::from(options.single_reads),
            reserved: 0,
        });
        // At level 0 the verifier removes the messages from the programs.
        let log_level = if options.verbose { log::LevelFilter::Info as u8 } else { 0 };
        let mut loader = EbpfLoader::new();
        if options.off_cpu {
            OffCpu::size(&mut loader);
        }
        let mut ebpf = loader
            // No relocation against kernel types is made.
            .btf(None)
            .override_global("KERNEL", &kernel, true)
            .override_global("USER_REGS", &user_regs, true)
            .override_global("SETTINGS", &settings, true)
            .override_global("SWITCH", &switch, true)
            .override_global(aya_log::LEVEL, &log_level, true)
            .map_max_entries("SAMPLES", options.ring_bytes)
            .map_max_entries("PROCS", options.max_processes)
            .map_max_entries("AYA_LOGS", LOG_BYTES)
            .load(OBJECT)?;
        let log = if options.verbose { Some(EbpfLogger::init_with_logger(&mut ebpf, Stderr)?) } else { None };

        let mut verifier = Duration::ZERO;
        for (name, tracepoint) in TRACEPOINTS {
            let program = self::tracepoint(&mut ebpf, name)?;
            let began = Instant::now();
            program.load().map_err(|source| BpfError::Program { name, source })?;
            verifier += began.elapsed();
            program.attach(tracepoint).map_err(|source| BpfError::Program { name, source })?;
        }
        for name in ["pyprof_tick", sampling] {
            let began = Instant::now();
            perf_event(&mut ebpf, name)?.load().map_err(|source| BpfError::Program { name, source })?;
            verifier += began.elapsed();
        }
        let sample = perf_event(&mut ebpf, sampling)?
            .fd()
            .and_then(|fd| fd.try_clone().map_err(aya::programs::ProgramError::from))
            .map_err(|source| BpfError::Program { name: sampling, source })?;
        let chain = take(&mut ebpf, "CHAIN")?;
        let mut chain =
            ProgramArray::try_from(chain).map_err(|source| BpfError::Map { name: "CHAIN", source })?;
        chain.set(0, &sample, 0).map_err(|source| BpfError::Map { name: "CHAIN", source })?;

        let rings = Rings::new(ring(&mut ebpf, "LIFECYCLE")?, ring(&mut ebpf, "SAMPLES")?)?;
        let tables =
            Tables::new(take(&mut ebpf, "PROCS")?, take(&mut ebpf, "LAYOUTS")?, take(&mut ebpf, "HINTS")?)?;
        let stats = Stats::new(take(&mut ebpf, "STATS")?)?;
        let mappings = Mappings::open().ok();
        let off_cpu = if options.off_cpu { Some(OffCpu::load(&mut ebpf, options.bounded)?) } else { None };
        let programs = [Some(sampling), off_cpu.as_ref().map(|off_cpu| off_cpu.program)];
        let programs = programs.into_iter().flatten().collect();
        Ok(Bpf {
            programs,
            clock: Clock::new(chain),
            tables,
            rings,
            stats,
            mappings,
            verifier,
            off_cpu,
            log,
            ebpf,
        })
    }

    /// Starts ticking, or changes the frequency.
    pub fn start(&mut self, frequency_hz: u32) -> Result<(), BpfError> {
        let program = perf_event(&mut self.ebpf, "pyprof_tick")?;
        self.clock.start(program, frequency_hz)
    }

    /// Begins to follow threads off their CPUs, where that was asked for.
    pub fn follow_off_cpu(&mut self) -> Result<(), BpfError> {
        match &mut self.off_cpu {
            Some(off_cpu) => off_cpu.attach(&mut self.ebpf),
            None => Ok(()),
        }
    }

    /// Whether a thread has run, or stopped to, since then.
    pub fn has_run(&self, tid: u32) -> bool {
        self.off_cpu.as_ref().is_some_and(|off_cpu| off_cpu.has_seen(tid))
    }

    pub fn is_off_cpu_followed(&self) -> bool {
        self.off_cpu.is_some()
    }

    /// The threads that are followed, as they stand now.
    pub fn off_cpu_threads(&self) -> Vec<OffCpuThread> {
        self.off_cpu.as_ref().map(OffCpu::threads).unwrap_or_default()
    }

    /// Ends that; what became of every thread that is still there.
    pub fn end_off_cpu(&mut self) -> Result<Vec<OffCpuThread>, BpfError> {
        match &mut self.off_cpu {
            Some(off_cpu) => off_cpu.end(&mut self.ebpf),
            None => Ok(Vec::new()),
        }
    }

    /// Passes on what the programs have said.
    pub fn flush_log(&mut self) {
        if let Some(log) = &mut self.log {
            log.flush();
        }
    }

    /// Follows CPUs that came or went.
    pub fn follow_cpus(&mut self) -> Result<(), BpfError> {
        if self.mappings.as_mut().is_some_and(|mappings| mappings.follow_cpus().is_err()) {
            self.mappings = None;
        }
        let program = perf_event(&mut self.ebpf, "pyprof_tick")?;
        self.clock.follow_cpus(program)
    }

    /// Stops ticking; what is in the rings stays to be read.
    pub fn stop(&mut self) -> Result<(), BpfError> {
        let program = perf_event(&mut self.ebpf, "pyprof_tick")?;
        self.clock.stop(program)
    }
}

pub(super) fn tracepoint<'a>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut RawTracePoint, BpfError> {
    ebpf.program_mut(name)
        .ok_or(BpfError::Missing { name })?
        .try_into()
        .map_err(|source| BpfError::Program { name, source })
}

pub(super) fn perf_event<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut PerfEvent, BpfError> {
    ebpf.program_mut(name)
        .ok_or(BpfError::Missing { name })?
        .try_into()
        .map_err(|source| BpfError::Program { name, source })
}
