//! What the benchmark needs and a capture does not: what the kernel says the programs cost, ticks for one thread only,
//! and the counting program alone as the floor to compare with.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use aya::programs::perf_event::{
    PerfEventConfig, PerfEventLinkId, PerfEventScope, SamplePolicy, SoftwareEvent,
};
use aya::programs::{PerfEvent, ProgramError};

use super::clock::period_ns;
use super::load::perf_event;
use super::{Bpf, BpfError, event};

/// What the kernel has accounted to one program (`kernel/bpf/syscall.c`, `bpf_prog_get_stats`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunTime {
    pub ns: u64,
    pub runs: u64,
}

/// Makes the kernel time every program (`BPF_ENABLE_STATS`) as long as it lives.
pub struct RunTimeEnabled(#[expect(dead_code, reason = "held for its Drop")] OwnedFd);

pub fn enable_run_time() -> Result<RunTimeEnabled, BpfError> {
    match aya::sys::enable_stats(aya::sys::Stats::RunTime) {
        Ok(fd) => Ok(RunTimeEnabled(fd)),
        Err(error) => Err(BpfError::Stats(error.io_error)),
    }
}

/// Ticks on every CPU as in a capture, which can be held and let go within microseconds: to attach and detach takes long
/// enough for the machine to change meanwhile. Held at first.
pub struct HostTicks(Vec<OwnedFd>);

/// `PERF_COUNT_SW_CPU_CLOCK`
const CPU_CLOCK: u64 = 0;
/// `perf_event_attr.disabled`
const DISABLED: u64 = 1;
/// `PERF_EVENT_IOC_ENABLE`, `_DISABLE` and `_SET_BPF`, as all architectures but alpha, mips, powerpc and sparc encode them.
const ENABLE: u64 = 0x2400;
const DISABLE: u64 = 0x2401;
const SET_BPF: u64 = 0x4004_2408;

/// Opens the event of one CPU with the program behind `program`.
fn open_held(cpu: u32, period_ns: u64, program: i32) -> io::Result<OwnedFd> {
    let event = event::open(cpu, CPU_CLOCK, period_ns, DISABLED)?;
    control(&event, SET_BPF, program)?;
    Ok(event)
}

fn control(event: &OwnedFd, request: u64, argument: i32) -> io::Result<()> {
    // SAFETY: requests that take a number; the descriptor is open.
    if unsafe { libc::ioctl(event.as_raw_fd(), request as _, argument) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

impl HostTicks {
    pub fn let_go(&self) -> io::Result<()> {
        self.0.iter().try_for_each(|event| control(event, ENABLE, 0))
    }

    pub fn hold(&self) -> io::Result<()> {
        self.0.iter().try_for_each(|event| control(event, DISABLE, 0))
    }
}

/// Ticks of one thread; [`Bpf::stop_thread`] ends them.
pub struct ThreadTicks(PerfEventLinkId);

impl Bpf {
    /// Of the counting and of the sampling program, in this order. A program that is tail-called runs on the account
    /// of its caller (`include/linux/filter.h`, `__bpf_prog_run`), so the second one stays at zero.
    pub fn run_times(&mut self) -> Result<[RunTime; 2], BpfError> {
        let mut times = [RunTime::default(); 2];
        for (name, time) in ["pyprof_tick", "pyprof_sample"].into_iter().zip(&mut times) {
            let info = perf_event(&mut self.ebpf, name)?.info();
            let info = info.map_err(|source| BpfError::Program { name, source })?;
            *time = RunTime { ns: info.run_time().as_nanos() as u64, runs: info.run_count() };
        }
        Ok(times)
    }

    /// Ticks while this thread runs and at no other time: no tick is then spent on an idle CPU or on somebody else.
    pub fn start_thread(&mut self, tid: u32, frequency_hz: u32) -> Result<ThreadTicks, BpfError> {
        let attached = tick(self)?.attach(
            PerfEventConfig::Software(SoftwareEvent::CpuClock),
            PerfEventScope::OneProcess { pid: tid, cpu: None },
            SamplePolicy::Period(period_ns(frequency_hz)),
            false,
        );
        attached.map(ThreadTicks).map_err(failed)
    }

    pub fn stop_thread(&mut self, ticks: ThreadTicks) -> Result<(), BpfError> {
        tick(self)?.detach(ticks.0).map_err(failed)
    }

    /// Ticks on every CPU, for a benchmark that switches them quickly.
    pub fn host_ticks(&mut self, frequency_hz: u32) -> Result<HostTicks, BpfError> {
        let cpus = aya::util::online_cpus().map_err(|(_, source)| BpfError::Cpus(source))?;
        let program = tick(self)?.fd().map_err(failed)?.as_fd().as_raw_fd();
        let open = |cpu| open_held(cpu, period_ns(frequency_hz), program).map_err(BpfError::Stats);
        cpus.into_iter().map(open).collect::<Result<_, _>>().map(HostTicks)
    }

    /// Leaves the counting program alone, for good: every tick then ends as `not_chained`.
    pub fn unchain(&mut self) -> Result<(), BpfError> {
        self.clock.unchain()
    }
}

fn tick(bpf: &mut Bpf) -> Result<&mut PerfEvent, BpfError> {
    perf_event(&mut bpf.ebpf, "pyprof_tick")
}

fn failed(source: ProgramError) -> BpfError {
    BpfError::Program { name: "pyprof_tick", source }
}
