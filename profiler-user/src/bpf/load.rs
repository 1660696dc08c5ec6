//! Loads the programs, sizes their maps and wires them together.

use aya::maps::{Map, MapData, ProgramArray, RingBuf};
use aya::programs::{PerfEvent, RawTracePoint};
use aya::{Ebpf, EbpfLoader};
use aya_log::EbpfLogger;
use profiler_common::config::Settings;

use super::pod::Plain;
use super::{BpfError, Clock, Mappings, Rings, Stats, Tables, btf};

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
    /// Follow only what user space registers: no forks, no execs of others.
    pub targets_only: bool,
    /// Size of the sample ring, a power of two.
    pub ring_bytes: u32,
    /// For the benchmark: read frames one by one.
    pub single_reads: bool,
    /// The programs say on standard error, once per CPU, that they run.
    pub verbose: bool,
}

/// Everything that lives in the kernel. Dropping it detaches and unloads all of it.
pub struct Bpf {
    pub clock: Clock,
    pub tables: Tables,
    pub rings: Rings,
    pub stats: Stats,
    /// `None` where the kernel refuses: whoever follows processes then looks through all of them from time to time.
    pub mappings: Option<Mappings>,
    log: Option<EbpfLogger<Stderr>>,
    /// Keeps the tracepoint programs and their links.
    pub(super) ebpf: Ebpf,
}

fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, BpfError> {
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
        let kernel = {
            let bytes = std::fs::read(btf::KERNEL_BTF)
                .map_err(|source| BpfError::NoBtf { path: btf::KERNEL_BTF, source })?;
            Plain(btf::kernel_offsets(&bytes)?)
        };
        let settings = Plain(Settings {
            targets_only: u32::from(options.targets_only),
            wakeup_bytes: options.ring_bytes / 4,
            single_reads: u32::from(options.single_reads),
            reserved: 0,
        });
        // At level 0 the verifier removes the messages from the programs.
        let log_level = if options.verbose { log::LevelFilter::Info as u8 } else { 0 };
        let mut ebpf = EbpfLoader::new()
            // No relocation against kernel types is made.
            .btf(None)
            .override_global("KERNEL", &kernel, true)
            .override_global("SETTINGS", &settings, true)
            .override_global(aya_log::LEVEL, &log_level, true)
            .map_max_entries("SAMPLES", options.ring_bytes)
            .map_max_entries("AYA_LOGS", LOG_BYTES)
            .load(OBJECT)?;
        let log = if options.verbose { Some(EbpfLogger::init_with_logger(&mut ebpf, Stderr)?) } else { None };

        for (name, tracepoint) in TRACEPOINTS {
            let program: &mut RawTracePoint = ebpf
                .program_mut(name)
                .ok_or(BpfError::Missing { name })?
                .try_into()
                .map_err(|source| BpfError::Program { name, source })?;
            program.load().map_err(|source| BpfError::Program { name, source })?;
            program.attach(tracepoint).map_err(|source| BpfError::Program { name, source })?;
        }
        for name in ["pyprof_tick", "pyprof_sample"] {
            perf_event(&mut ebpf, name)?.load().map_err(|source| BpfError::Program { name, source })?;
        }
        let sample = perf_event(&mut ebpf, "pyprof_sample")?
            .fd()
            .and_then(|fd| fd.try_clone().map_err(aya::programs::ProgramError::from))
            .map_err(|source| BpfError::Program { name: "pyprof_sample", source })?;
        let chain = take(&mut ebpf, "CHAIN")?;
        let mut chain =
            ProgramArray::try_from(chain).map_err(|source| BpfError::Map { name: "CHAIN", source })?;
        chain.set(0, &sample, 0).map_err(|source| BpfError::Map { name: "CHAIN", source })?;

        let rings = Rings::new(ring(&mut ebpf, "LIFECYCLE")?, ring(&mut ebpf, "SAMPLES")?)?;
        let tables =
            Tables::new(take(&mut ebpf, "PROCS")?, take(&mut ebpf, "LAYOUTS")?, take(&mut ebpf, "HINTS")?)?;
        let stats = Stats::new(take(&mut ebpf, "STATS")?)?;
        let mappings = Mappings::open().ok();
        Ok(Bpf { clock: Clock::new(chain), tables, rings, stats, mappings, log, ebpf })
    }

    /// Starts ticking, or changes the frequency.
    pub fn start(&mut self, frequency_hz: u32) -> Result<(), BpfError> {
        let program = perf_event(&mut self.ebpf, "pyprof_tick")?;
        self.clock.start(program, frequency_hz)
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

pub(super) fn perf_event<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut PerfEvent, BpfError> {
    ebpf.program_mut(name)
        .ok_or(BpfError::Missing { name })?
        .try_into()
        .map_err(|source| BpfError::Program { name, source })
}
