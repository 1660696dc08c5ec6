//! What the user may type: the commands. What each takes is in the file of its name.

use super::doctor::TypedDoctor;
use super::dump::TypedDump;
use super::generate::TypedGenerate;
use super::record::TypedRecord;
use super::report::TypedReport;
use super::top::TypedTop;
use crate::exit::Exit;
use clap::{Parser, Subcommand};

/// Samples every CPython process on this host, from outside, and writes one profile per process.
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
    /// Look at this host: can a capture begin, which Pythons can be unwound, and what would mend the rest
    #[command(after_help = Exit::HELP)]
    Doctor(TypedDoctor),
    /// Print shell completions, or write manual pages
    #[command(hide = true)]
    Generate(TypedGenerate),
    /// Sample and write profiles; this is what happens without a command, too
    #[command(after_help = Exit::HELP)]
    Record(TypedRecord),
    /// Show, compare and merge profiles, those of other tools too; needs no privileges
    #[command(after_help = Exit::HELP)]
    Report(Box<TypedReport>),
    /// Print the stacks of all threads of a process now, idle ones too
    #[command(after_help = Exit::HELP)]
    Dump(TypedDump),
    /// Show live what Python processes do: by process, function, line and thread
    #[command(after_help = Exit::HELP)]
    Top(TypedTop),
}
