//! `dump`: what may be typed, and what it means together.

use super::talk::{TypedTalk, talk};
use super::values;
use crate::talk::Talk;
use clap::{ArgGroup, Args};
use std::path::PathBuf;

#[derive(Args, Debug)]
#[command(group = ArgGroup::new("what").required(true).multiple(false).args(["pids", "all", "core"]))]
pub(super) struct TypedDump {
    /// This process; may be given several times
    #[arg(short, long = "pid", value_name = "PID", allow_hyphen_values = true,
          value_parser = clap::value_parser!(u32).range(1..=values::MAX_PID))]
    pids: Vec<u32>,

    /// Every Python process
    #[arg(short, long)]
    all: bool,

    /// A core file instead of a process
    #[arg(long, value_name = "FILE")]
    core: Option<PathBuf>,

    /// Where the program of the core, or its libpython, is by now; may be given several times
    #[arg(long, value_name = "PATH", conflicts_with_all = ["pids", "all"])]
    executable: Vec<PathBuf>,

    /// Outermost function first [default: the innermost first]
    #[arg(long)]
    root_first: bool,

    /// Local variables, too, with short values: they may hold secrets
    #[arg(short, long)]
    locals: bool,

    /// One JSON document on standard output
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    talk: TypedTalk,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DumpOptions {
    pub what: DumpOf,
    pub root_first: bool,
    pub json: bool,
    pub locals: bool,
    pub talk: Talk,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DumpOf {
    /// As typed, each once.
    Processes(Vec<u32>),
    Everything,
    Core {
        file: PathBuf,
        /// Where files are that the core names otherwise.
        executables: Vec<PathBuf>,
    },
}

pub(super) fn dump(typed: TypedDump) -> DumpOptions {
    let TypedDump { pids, all, core, executable, root_first, locals, json, talk: typed } = typed;
    let mut once: Vec<u32> = Vec::new();
    for pid in pids {
        if !once.contains(&pid) {
            once.push(pid);
        }
    }
    let what = match core {
        Some(file) => DumpOf::Core { file, executables: executable },
        None if all => DumpOf::Everything,
        None => DumpOf::Processes(once),
    };
    DumpOptions { what, root_first, json, locals, talk: talk(typed) }
}
