//! What `doctor` knows of a host: plain data, and pure functions from the kernel's text to it. Every host that there may be is
//! a value of [`Facts`], so that what is said about it can be tested without having it.

use std::collections::BTreeMap;
use std::io;

use serde::Serialize;

use crate::bpf::Trial;
use crate::process::host::PROC;

/// Something that was looked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Known<T> {
    Is(T),
    /// The kernel has no such thing, or does not show it here.
    Missing,
    /// It is there and could not be read, for this reason.
    Hidden(String),
}

impl<T> Known<T> {
    pub fn of(result: io::Result<T>) -> Known<T> {
        match result {
            Ok(it) => Known::Is(it),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Known::Missing,
            Err(error) => Known::Hidden(error.to_string()),
        }
    }

    /// What does not fit is as good as unreadable.
    pub fn and_then<U>(self, parse: impl FnOnce(T) -> Option<U>) -> Known<U> {
        match self {
            Known::Is(it) => parse(it).map_or_else(|| Known::Hidden("not understood".into()), Known::Is),
            Known::Missing => Known::Missing,
            Known::Hidden(why) => Known::Hidden(why),
        }
    }

    pub fn get(&self) -> Option<&T> {
        match self {
            Known::Is(it) => Some(it),
            Known::Missing | Known::Hidden(_) => None,
        }
    }
}

/// How the kernel was built.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KernelConfig {
    pub file: String,
    /// Options that are on, without `CONFIG_`, and their values.
    pub options: BTreeMap<String, String>,
}

/// The types of the kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Types {
    Usable { file: String, bytes: u64 },
    Missing { file: String, why: String },
    Unusable { file: String, why: String },
}

/// What the kernel says of this process (`/proc/self/status`).
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct OwnStatus {
    pub effective: Option<u64>,
    /// 0: none, 1: strict, 2: a filter.
    pub seccomp: Option<u32>,
}

/// What is mounted, as far as it matters.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Mounts {
    pub tracefs: Option<String>,
    /// The value of `hidepid=`.
    pub hidepid: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Facts {
    pub machine: String,
    /// As `uname -r` prints it.
    pub release: String,
    pub config: Known<KernelConfig>,
    pub types: Types,
    pub is_root: bool,
    pub status: OwnStatus,
    pub mounts: Known<Mounts>,
    /// Whether the capabilities are those of the host, and not of a user namespace.
    pub is_initial_user_namespace: Known<bool>,
    pub perf_event_paranoid: Known<i64>,
    pub perf_event_max_sample_rate: Known<i64>,
    pub perf_cpu_time_max_percent: Known<i64>,
    pub unprivileged_bpf_disabled: Known<i64>,
    pub bpf_jit_enable: Known<i64>,
    pub ptrace_scope: Known<i64>,
    /// The mode in force: none, integrity, confidentiality.
    pub lockdown: Known<String>,
    pub security_modules: Known<String>,
    /// Memory that may be locked; `None`: any.
    pub memlock_bytes: Option<u64>,
    pub is_initial_pid_namespace: Known<bool>,
    pub has_clocks_of_the_host: bool,
    /// Its id, or the name of its runtime.
    pub container: Option<String>,
    pub clock_source: Known<String>,
    pub trial: Trial,
    pub pythons: Pythons,
}

/// What runs in a process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// It can be unwound: so many thread states were found.
    Ready { threads: usize, layout: Source, verified: bool },
    /// It maps a CPython that has no threads yet, or never will.
    Dormant,
    /// Why not.
    Not(String),
}

/// How the offsets of a CPython are known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// From the tables of this program.
    Table,
    /// The interpreter says it itself (`_Py_DebugOffsets`).
    Own,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Python {
    pub pid: u32,
    /// A target's text.
    pub name: String,
    /// "3.11.7"; empty where it is no CPython.
    pub version: String,
    pub state: State,
}

/// A process that could not be looked at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Refused {
    pub pid: u32,
    /// What the kernel calls it: a target's text.
    pub name: String,
    pub why: &'static str,
}

/// The Pythons of this host.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Pythons {
    pub found: Vec<Python>,
    /// Processes that may be one and could not be looked at.
    pub refused: Vec<Refused>,
    /// Why nobody could be looked at.
    pub failed: Option<String>,
}

/// "6.1.0-50-cloud-amd64" as (6, 1).
pub fn version_of(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The options that are set.
pub fn parse_config(file: String, text: &str) -> KernelConfig {
    let set = |line: &str| {
        let (name, value) = line.strip_prefix("CONFIG_")?.split_once('=')?;
        Some((name.to_owned(), value.trim().to_owned()))
    };
    KernelConfig { file, options: text.lines().filter_map(set).collect() }
}

pub fn parse_status(text: &str) -> OwnStatus {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    OwnStatus {
        effective: field("CapEff:").and_then(|hex| u64::from_str_radix(hex, 16).ok()),
        seccomp: field("Seccomp:").and_then(|mode| mode.parse().ok()),
    }
}

/// Whether every user is itself, which is so in the first user namespace (and in one that is as good).
pub fn is_identity(uid_map: &str) -> Option<bool> {
    let mut lines = uid_map.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    Some(lines.next()? == ["0", "0", "4294967295"] && lines.next().is_none())
}

/// Looks through `/proc/self/mountinfo` (`proc_pid_mountinfo(5)`): the later of two mounts on one place is the one seen.
pub fn parse_mounts(text: &str) -> Mounts {
    let mut mounts = Mounts::default();
    for line in text.lines() {
        let Some((mount, file_system)) = line.split_once(" - ") else { continue };
        let mut fields = file_system.split(' ');
        let (kind, options) = (fields.next().unwrap_or_default(), fields.nth(1).unwrap_or_default());
        let place = mount.split(' ').nth(4).unwrap_or_default();
        match kind {
            "tracefs" => mounts.tracefs = Some(place.to_owned()),
            "proc" if place == PROC => {
                let hidden = options.split(',').find_map(|option| option.strip_prefix("hidepid="));
                mounts.hidepid = hidden.map(str::to_owned);
            }
            _ => {}
        }
    }
    mounts
}

/// The word in brackets.
pub fn parse_lockdown(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('[')?;
    rest.split_once(']').map(|(mode, _)| mode.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases() {
        let rows = [
            ("6.18.44", Some((6, 18))),
            ("5.10.0-32-cloud-amd64", Some((5, 10))),
            ("5.15.167.4-microsoft-standard-WSL2", Some((5, 15))),
            ("7.0-rc1+", Some((7, 0))),
            ("4.18.0-553.el8_10.x86_64", Some((4, 18))),
            ("6", None),
            ("", None),
            ("x.y", None),
            ("99999999999.1", None),
        ];
        for (release, expected) in rows {
            assert_eq!(version_of(release), expected, "{release:?}");
        }
    }

    #[test]
    fn options_that_are_off_are_not_there() {
        let text =
            "# c\nCONFIG_BPF=y\n# CONFIG_BPF_JIT is not set\nCONFIG_HZ=250\nCONFIG_LSM=\"a,b\"\nnonsense\n";
        let options = parse_config(String::new(), text).options;
        let pairs: Vec<(&str, &str)> = options.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(pairs, [("BPF", "y"), ("HZ", "250"), ("LSM", "\"a,b\"")]);
    }

    #[test]
    fn what_the_kernel_says_of_a_process() {
        let text = "Name:\tx\nCapInh:\t0\nCapEff:\t000000c000080000\nNoNewPrivs:\t0\nSeccomp:\t2\nSeccomp_filters:\t1\n";
        let bits = (1 << 39) | (1 << 38) | (1 << 19);
        assert_eq!(parse_status(text), OwnStatus { effective: Some(bits), seccomp: Some(2) });
        assert_eq!(parse_status(""), OwnStatus::default());
        assert_eq!(parse_status("CapEff:\tzz\nSeccomp:\t-1\n"), OwnStatus::default());
    }

    #[test]
    fn user_namespaces() {
        let rows = [
            ("         0          0 4294967295\n", Some(true)),
            ("         0       1000          1\n", Some(false)),
            ("0 0 4294967295\n1 2 3\n", Some(false)),
            ("", None),
        ];
        for (map, expected) in rows {
            assert_eq!(is_identity(map), expected, "{map:?}");
        }
    }

    #[test]
    fn mounts_and_lockdown() {
        let text = "22 1 0:21 / /proc rw,nosuid shared:5 - proc proc rw,hidepid=invisible\n\
                    30 1 0:25 / /sys/kernel/tracing rw - tracefs tracefs rw\n\
                    31 1 0:26 / /mnt/proc rw - proc proc rw\nnonsense\n - \n";
        let expected =
            Mounts { tracefs: Some("/sys/kernel/tracing".into()), hidepid: Some("invisible".into()) };
        assert_eq!(parse_mounts(text), expected);
        let over = "22 1 0:21 / /proc rw - proc proc rw,hidepid=2\n23 1 0:22 / /proc rw - proc proc rw\n";
        assert_eq!(parse_mounts(over), Mounts::default());
        assert_eq!(parse_lockdown("none [integrity] confidentiality\n").as_deref(), Some("integrity"));
        assert_eq!(parse_lockdown("none"), None);
    }

    #[test]
    fn nothing_is_taken_for_what_could_not_be_read() {
        use io::ErrorKind::{NotFound, PermissionDenied};
        assert_eq!(Known::of(Ok(1)), Known::Is(1));
        assert_eq!(Known::<u8>::of(Err(NotFound.into())), Known::Missing);
        assert!(matches!(Known::<u8>::of(Err(PermissionDenied.into())), Known::Hidden(_)));
        assert!(matches!(Known::Is("x").and_then(|x| x.parse::<u8>().ok()), Known::Hidden(_)));
    }
}
