//! Asks this host for the facts. What cannot be asked is noted as that; nothing here is an error.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::facts::{
    self, Facts, Known, Python, Pythons, Refused, Source, State, Types, is_identity, parse_config,
    parse_lockdown, parse_mounts, parse_status,
};
use crate::bpf::{self, BpfError, Trial};
use crate::capture::Host;
use crate::escape::escape_bytes;
use crate::pipeline::any_key;
use crate::process::{host, own};
use crate::reader::{
    Access, Inspection, Looked, Place, PythonImage, Reader, Seen, Trouble, UNRESPONSIVE, processes,
};

/// A process that a reader is still at is asked about again, in so many steps.
const AGAIN: Duration = Duration::from_millis(50);
/// For all such processes together: then they are counted as not looked at.
const PATIENCE: Duration = Duration::from_secs(5);
/// From here on interpreters say themselves where their fields are.
const SAYS_ITSELF: (u8, u8) = (3, 13);

pub fn gather(types: Option<&PathBuf>) -> Facts {
    let Host { kernel: release, .. } = Host::here();
    let mut pythons = Pythons::default();
    let trial = Trial::run(types.cloned(), || pythons = look());
    let number = |name: &str| Known::of(host::sysctl(name)).and_then(|text| text.parse::<i64>().ok());
    let status = host::own_status().map(|text| parse_status(&text)).unwrap_or_default();
    Facts {
        machine: std::env::consts::ARCH.into(),
        config: Known::of(host::kernel_config(&release))
            .and_then(|(file, text)| Some(parse_config(file, &text))),
        release,
        types: self::types(types),
        // SAFETY: always succeeds and touches no memory.
        is_root: unsafe { libc::geteuid() } == 0,
        status,
        mounts: Known::of(host::own_mounts()).and_then(|text| Some(parse_mounts(&text))),
        is_initial_user_namespace: Known::of(host::own_users()).and_then(|text| is_identity(&text)),
        perf_event_paranoid: number("kernel/perf_event_paranoid"),
        perf_event_max_sample_rate: number("kernel/perf_event_max_sample_rate"),
        perf_cpu_time_max_percent: number("kernel/perf_cpu_time_max_percent"),
        unprivileged_bpf_disabled: number("kernel/unprivileged_bpf_disabled"),
        bpf_jit_enable: number("net/core/bpf_jit_enable"),
        ptrace_scope: number("kernel/yama/ptrace_scope"),
        lockdown: Known::of(host::lockdown()).and_then(|text| parse_lockdown(&text)),
        security_modules: Known::of(host::security_modules()),
        memlock_bytes: memlock_bytes(),
        is_initial_pid_namespace: Known::of(own::in_initial_pid_namespace()),
        has_clocks_of_the_host: own::has_clocks_of_the_host(),
        container: host::own_container(),
        clock_source: Known::of(host::clock_source()),
        trial,
        pythons,
    }
}

fn types(path: Option<&PathBuf>) -> Types {
    let file = path.map_or_else(
        || bpf::KERNEL_BTF.to_owned(),
        |path| escape_bytes(path.as_os_str().as_encoded_bytes()).into_owned(),
    );
    match bpf::check_types(path) {
        Ok(bytes) => Types::Usable { file, bytes },
        Err(BpfError::NoBtf { source, .. }) => Types::Missing { file, why: source.to_string() },
        Err(error) => Types::Unusable { file, why: error.to_string() },
    }
}

fn memlock_bytes() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a valid pointer to the struct that this call fills.
    let status = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit) };
    (status == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

/// Looks at every process once, the way a capture does at its beginning.
fn look() -> Pythons {
    let mut pythons = Pythons::default();
    let began = Instant::now();
    let (mut reader, pids) = match Reader::start().and_then(|reader| Ok((reader, processes()?))) {
        Ok(both) => both,
        Err(error) => return Pythons { failed: Some(why(&error)), ..pythons },
    };
    let own = std::process::id();
    for pid in pids.into_iter().filter(|pid| *pid != own) {
        look_at(pid, &mut reader, &mut pythons, began + PATIENCE);
    }
    reader.end();
    pythons
}

fn why(error: &io::Error) -> String {
    error.to_string()
}

/// Asks until there is an answer, or no time left.
fn ask<T>(until: Instant, mut question: impl FnMut() -> Result<T, Trouble>) -> Result<T, Trouble> {
    loop {
        match question() {
            Err(Trouble::Later) if Instant::now() < until => std::thread::sleep(AGAIN),
            answer => return answer,
        }
    }
}

fn look_at(pid: u32, reader: &mut Reader, pythons: &mut Pythons, until: Instant) {
    let key = any_key(pid);
    let mut version = String::new();
    // Where the first thread has ended, another one has the files and the memory.
    let mut task = pid;
    // Where a process maps much that nobody knows yet, the next look gets further.
    let look = ask(until, || match reader.look(&key) {
        Ok(Looked { seen: Seen::TooMuch, .. }) => Err(Trouble::Later),
        answer => answer,
    });
    let state = match look {
        Ok(Looked { seen: Seen::Known(Inspection::Python(python)), .. }) => {
            version.clone_from(&python.version_text);
            task = python.task;
            state(&python, reader, until)
        }
        Ok(Looked { seen: Seen::Known(Inspection::Unsupported { what }), .. }) => State::Not(what),
        Ok(Looked { seen: Seen::Known(Inspection::MaybeLater { .. }), .. }) => return,
        Ok(Looked { seen: Seen::Gone, .. }) => {
            match reader.access(&key) {
                Ok(Access::Granted | Access::Gone) => {}
                Ok(Access::Denied) => pythons.refused.push(refused(pid, "it may not be read", reader)),
                Err(_) => pythons.refused.push(refused(pid, "it gave no answer in time", reader)),
            }
            return;
        }
        Err(Trouble::Unresponsive) => State::Not(UNRESPONSIVE.into()),
        Ok(Looked { seen: Seen::TooMuch, .. }) | Err(Trouble::Later) => {
            pythons.refused.push(refused(pid, "it gave no answer in time", reader));
            return;
        }
    };
    // Of one that does not answer, what the kernel calls it.
    let name = match ask(until, || reader.identity(&key, task)) {
        Ok(identity) if !identity.name.is_empty() => identity.name,
        _ => reader.comm(&key).unwrap_or_default(),
    };
    pythons.found.push(Python { pid, name, version, state });
}

fn refused(pid: u32, why: &'static str, reader: &mut Reader) -> Refused {
    Refused { pid, name: reader.comm(&any_key(pid)).unwrap_or_default(), why }
}

/// Walks the thread states, which is what shows that the layout fits.
fn state(python: &PythonImage, reader: &mut Reader, until: Instant) -> State {
    if !python.initialized {
        return State::Dormant;
    }
    let key = any_key(python.task);
    let (major, minor, _) = python.version;
    let layout = if (major, minor) >= SAYS_ITSELF { Source::Own } else { Source::Table };
    match ask(until, || reader.threads(&key, Place::of(python))) {
        Ok(threads) if threads.states.is_empty() => State::Not("its thread states cannot be read".into()),
        Ok(threads) => State::Ready { threads: threads.states.len(), layout, verified: python.verified },
        Err(Trouble::Unresponsive) => State::Not(UNRESPONSIVE.into()),
        Err(Trouble::Later) => State::Not("its thread states were not read in time".into()),
    }
}

/// For the head of the report.
pub fn title(facts: &Facts) -> String {
    let facts::Facts { release, machine, .. } = facts;
    let host = Host::here().name;
    format!(
        "pyprof-bpf {} on {}: Linux {release}, {machine}",
        env!("CARGO_PKG_VERSION"),
        escape_bytes(host.as_bytes())
    )
}
