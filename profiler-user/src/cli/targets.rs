//! Which processes: what may be typed about them, the same for every command that samples.

use super::values;
use crate::select::{Pattern, Rules, Selection, User};
use clap::Args;

#[derive(Args, Debug)]
#[command(next_help_heading = "Which processes (kinds must all hold; values of one kind are alternatives)")]
pub(super) struct TypedTargets {
    /// Only this process; may be given several times [default: every Python process]
    #[arg(short, long = "pid", value_name = "PID", allow_hyphen_values = true,
          value_parser = clap::value_parser!(u32).range(1..=values::MAX_PID))]
    pub(super) pids: Vec<u32>,

    /// This process and its descendants, those to come as well; with --pid, either will do
    #[arg(long = "tree", value_name = "PID", allow_hyphen_values = true,
          value_parser = clap::value_parser!(u32).range(1..=values::MAX_PID))]
    trees: Vec<u32>,

    /// Processes whose name (script, module or program) or service this regular expression finds
    #[arg(long = "name", value_name = "REGEX", value_parser = Pattern::new, allow_hyphen_values = true)]
    names: Vec<Pattern>,

    /// Processes in this control group or below it: as in /proc/PID/cgroup, or below /sys/fs/cgroup
    #[arg(long = "cgroup", value_name = "PATH", value_parser = values::cgroup)]
    cgroups: Vec<String>,

    /// Processes in the containers whose ids begin so
    #[arg(long = "container", value_name = "ID", value_parser = values::filled)]
    containers: Vec<String>,

    /// Processes of this systemd unit; .service may be left out
    #[arg(long = "unit", value_name = "NAME", value_parser = values::filled)]
    units: Vec<String>,

    /// Processes of this user
    #[arg(long = "uid", value_name = "UID|NAME", value_parser = values::user)]
    users: Vec<User>,

    /// Processes that run this Python: 3, 3.11, 3.11.7
    #[arg(long = "python", value_name = "VERSION", value_parser = values::python)]
    pythons: Vec<String>,

    /// Not this process; so --exclude-name and the others
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..=values::MAX_PID))]
    exclude_pid: Vec<u32>,

    /// Not processes whose name or service this regular expression finds
    #[arg(long, value_name = "REGEX", value_parser = Pattern::new, allow_hyphen_values = true, hide_short_help = true)]
    exclude_name: Vec<Pattern>,

    /// Not processes in this control group or below it
    #[arg(long, value_name = "PATH", value_parser = values::cgroup, hide_short_help = true)]
    exclude_cgroup: Vec<String>,

    /// Not processes in the containers whose ids begin so
    #[arg(long, value_name = "ID", value_parser = values::filled, hide_short_help = true)]
    exclude_container: Vec<String>,

    /// Not processes of this systemd unit
    #[arg(long, value_name = "NAME", value_parser = values::filled, hide_short_help = true)]
    exclude_unit: Vec<String>,

    /// Not processes of this user
    #[arg(long, value_name = "UID|NAME", value_parser = values::user, hide_short_help = true)]
    exclude_uid: Vec<User>,

    /// Not processes that run this Python
    #[arg(long, value_name = "VERSION", value_parser = values::python, hide_short_help = true)]
    exclude_python: Vec<String>,
}

/// The processes asked for by number, each once, and the rules.
pub(super) fn targets(typed: TypedTargets) -> (Vec<u32>, Selection) {
    let TypedTargets { mut pids, mut trees, names, cgroups, containers, units, users, pythons, .. } = typed;
    for numbers in [&mut pids, &mut trees] {
        numbers.sort_unstable();
        numbers.dedup();
    }
    let exclude = Rules {
        pids: typed.exclude_pid,
        names: typed.exclude_name,
        cgroups: typed.exclude_cgroup,
        containers: typed.exclude_container,
        units: typed.exclude_unit,
        users: typed.exclude_uid,
        pythons: typed.exclude_python,
    };
    let only = Rules { pids: Vec::new(), names, cgroups, containers, units, users, pythons };
    (pids, Selection { trees, only, exclude })
}
