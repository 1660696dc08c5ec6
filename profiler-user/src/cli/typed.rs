//! What the user may type. Values are checked one by one here; what they mean together is settled in `options`.

use super::values;
use crate::exit::Exit;
use crate::profile::MergeBy;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

/// Samples every CPython process on this host, from outside, and writes one pprof per process.
#[derive(Parser, Debug)]
#[command(name = "pyprof-bpf", bin_name = "pyprof-bpf", version, after_help = Exit::HELP,
          args_conflicts_with_subcommands = true)]
pub(super) struct Typed {
    #[command(subcommand)]
    pub(super) command: Option<TypedCommand>,
    #[command(flatten)]
    pub(super) record: TypedRecord,
}

#[derive(Subcommand, Debug)]
pub(super) enum TypedCommand {
    /// Sample and write profiles; this is what happens without a command, too
    #[command(after_help = Exit::HELP)]
    Record(TypedRecord),
}

#[derive(Args, Debug)]
pub(super) struct TypedRecord {
    /// Stop after this time: seconds, or with a unit as in 300ms, 1.5m, 2h [default: until Ctrl-C or SIGTERM]
    #[arg(short, long, value_name = "SECS", value_parser = values::duration, allow_hyphen_values = true)]
    pub(super) duration: Option<Duration>,

    /// Samples per second and CPU
    #[arg(short = 'F', long, value_name = "HZ", default_value_t = 99, visible_alias = "rate",
          visible_short_alias = 'r', value_parser = clap::value_parser!(u32).range(1..=10_000),
          allow_hyphen_values = true)]
    pub(super) frequency: u32,

    /// Only this process; may be given several times [default: every Python process]
    #[arg(short, long = "pid", value_name = "PID", allow_hyphen_values = true,
          value_parser = clap::value_parser!(u32).range(1..=values::MAX_PID))]
    pub(super) pids: Vec<u32>,

    /// One profile per group of processes: name, service or container [default: one per process]
    #[arg(long, value_name = "BY", value_parser = values::merge_by)]
    pub(super) merge_by: Option<MergeBy>,

    /// Directory for the profiles: new, or empty [default: ./pyprof-HOST-UTCTIME]
    #[arg(short, long, value_name = "DIR")]
    pub(super) output: Option<PathBuf>,

    /// CPU the profiler may use, in percent of one core; above it the frequency is lowered
    #[arg(long, value_name = "PERCENT", default_value = "5", value_parser = values::percent,
          allow_hyphen_values = true)]
    pub(super) max_cpu: f64,

    /// Memory the profiler may use, kernel maps included; above it samples are dropped and counted
    #[arg(long, value_name = "MB", default_value_t = 256, allow_hyphen_values = true,
          value_parser = clap::value_parser!(u64).range(values::MEMORY_MB))]
    pub(super) max_memory: u64,

    /// Print errors only
    #[arg(short, long, conflicts_with = "verbose")]
    pub(super) quiet: bool,

    /// Print what is found and decided on the way
    #[arg(short, long)]
    pub(super) verbose: bool,
}
