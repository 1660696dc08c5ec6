//! What every command that samples takes.

use super::targets::{TypedTargets, targets};
use super::values;
use crate::capture::CaptureOptions;
use crate::talk::Talk;
use clap::Args;
use profiler_common::limits::MAX_PROCESSES;
use std::path::PathBuf;

#[derive(Args, Debug)]
pub(super) struct TypedCapture {
    /// Samples per second and CPU
    #[arg(short = 'F', long, value_name = "HZ", default_value_t = 99, visible_alias = "rate",
          visible_short_alias = 'r', value_parser = clap::value_parser!(u32).range(1..=10_000),
          allow_hyphen_values = true)]
    pub(super) frequency: u32,

    /// CPU the profiler may use, in percent of one core; above it the frequency is lowered, until there is room again
    #[arg(long, value_name = "PERCENT", default_value = "5", value_parser = values::percent,
          allow_hyphen_values = true)]
    pub(super) max_cpu: f64,

    /// Memory the profiler may use, kernel maps included; above it samples are dropped and counted
    #[arg(long, value_name = "MB", default_value_t = 256, allow_hyphen_values = true,
          value_parser = clap::value_parser!(u64).range(values::MEMORY_MB))]
    pub(super) max_memory: u64,

    /// Also follow threads off the CPU: where they block in sleep, I/O, locks
    #[arg(long)]
    pub(super) off_cpu: bool,

    /// Load what kernels before 5.17 get, also where there is a newer one: to see whether it is right
    #[arg(long, hide = true)]
    pub(super) bounded_loops: bool,

    /// Room for so many processes in the kernel: to see what becomes of those beyond
    #[arg(long, value_name = "N", default_value_t = MAX_PROCESSES, hide = true,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_PROCESSES)))]
    pub(super) max_processes: u32,

    /// Read the types of the running kernel from here, where it has no /sys/kernel/btf/vmlinux
    #[arg(long, value_name = "FILE")]
    pub(super) btf: Option<PathBuf>,

    #[command(flatten)]
    pub(super) targets: TypedTargets,
}

pub(super) fn capture(typed: TypedCapture, talk: Talk) -> CaptureOptions {
    let TypedCapture {
        frequency,
        max_cpu,
        max_memory,
        off_cpu,
        bounded_loops,
        max_processes,
        btf,
        targets: typed,
    } = typed;
    let (pids, selection) = targets(typed);
    CaptureOptions {
        frequency_hz: frequency,
        pids,
        selection,
        max_cpu_percent: max_cpu,
        max_memory_bytes: max_memory * 1024 * 1024,
        off_cpu,
        bounded: bounded_loops,
        max_processes,
        btf,
        verbose: talk.is_verbose(),
        keep_times: false,
    }
}
