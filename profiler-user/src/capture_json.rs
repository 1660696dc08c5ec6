//! `capture.json`: the account of a capture for programs. Its schema is `docs/capture.schema.json`; a field that is
//! added here only, or there only, fails a test. Readers may rely on `schema`: it changes when a field changes meaning.

mod read;

pub use read::{MAX_BYTES, ReadCapture, ReadProcess};

use crate::escape::escape_json;
use crate::profile::{CaptureMeta, Labels, OffCpuMeta, Profile, Unsupported};
use crate::utc;
use pyunwind::Outcome;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use std::io::{self, BufRead, Write};

pub const FILE_NAME: &str = "capture.json";
pub const SCHEMA: u32 = 1;

#[derive(Clone, Debug, Serialize)]
pub struct CaptureJson {
    schema: u32,
    tool_version: String,
    host: String,
    kernel: String,
    /// RFC 3339, UTC.
    start: String,
    duration_seconds: f64,
    /// As asked for; `frequency_changes` says what became of it.
    frequency_hz: u32,
    frequency_changes: Vec<FrequencyChange>,
    selection: Selection,
    ticks: Ticks,
    losses: Counters,
    own_cost: OwnCost,
    processes: Vec<Process>,
    unsupported: Vec<UnsupportedProcess>,
    /// How many more there were than are listed.
    unsupported_more: u64,
}

#[derive(Clone, Debug, Serialize)]
struct UnsupportedProcess {
    pid: u32,
    name: String,
    reason: String,
}

#[derive(Clone, Debug, Serialize)]
struct Selection {
    /// By the names of the options without their dashes; empty: every Python process.
    asked: Named<Vec<String>>,
    left_out: u64,
    left_out_ticks: u64,
}

#[derive(Clone, Debug, Serialize)]
struct FrequencyChange {
    after_seconds: f64,
    frequency_hz: u32,
}

#[derive(Clone, Debug, Serialize)]
struct Ticks {
    expected: u64,
    delivered: u64,
    idle: u64,
    other: u64,
    on_python: u64,
    on_python_ns: u64,
}

#[derive(Clone, Debug, Serialize)]
struct OwnCost {
    cpu_ns: u64,
    peak_rss_bytes: u64,
    kernel_bytes: u64,
}

#[derive(Clone, Debug, Serialize)]
struct Process {
    pid: u32,
    /// RFC 3339, UTC.
    start: String,
    name: String,
    /// What the process's owner knows it by; null where nothing says it.
    service: Option<String>,
    env: Option<String>,
    version: Option<String>,
    container_id: Option<String>,
    pod_uid: Option<String>,
    unit: Option<String>,
    executable: String,
    python_version: String,
    verified: bool,
    /// A question about it never came to an end: names may be missing.
    unresponsive: bool,
    /// In the same directory, perhaps with other processes in it; null where writing it failed.
    file: Option<String>,
    samples: u64,
    cpu_ns: u64,
    outcomes: Counters,
    /// Samples that the memory cap kept out of the profile: in no outcome and not in `samples`.
    dropped: u64,
    /// With --off-cpu; null without.
    off_cpu: Option<OffCpu>,
}

#[derive(Clone, Debug, Serialize)]
struct OffCpu {
    /// As `file` of the process.
    file: Option<String>,
    off_cpu_ns: u64,
    blocks: u64,
    runnable_ns: u64,
    preempted: u64,
    not_walked: u64,
    profile_ns: u64,
    dropped_ns: u64,
}

/// Names with what belongs to them, in the order they were given.
#[derive(Clone, Debug)]
struct Named<T>(Vec<(String, T)>);

type Counters = Named<u64>;

impl<T: Serialize> Serialize for Named<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl CaptureJson {
    /// `processes`: each profile with the name of its file, if it was written.
    pub fn new<'a>(
        capture: &CaptureMeta,
        processes: impl IntoIterator<Item = (&'a Profile, Option<&'a str>)>,
        unsupported: &Unsupported,
    ) -> Self {
        let Unsupported { listed, more } = unsupported;
        let refused = |one: &crate::profile::UnsupportedProcess| UnsupportedProcess {
            pid: one.pid,
            name: one.name.clone(),
            reason: one.reason.clone(),
        };
        let CaptureMeta {
            tool_version,
            host,
            kernel,
            start_unix_ns,
            start_boot_ns: _,
            start_monotonic_ns: _,
            duration_ns,
            frequency_hz,
            frequency_changes,
            selected,
            ticks,
            losses,
            notes: _,
            own_cost,
        } = capture;
        let change = |change: &crate::profile::FrequencyChange| FrequencyChange {
            after_seconds: seconds(change.after_ns),
            frequency_hz: change.frequency_hz,
        };
        Self {
            schema: SCHEMA,
            tool_version: tool_version.clone(),
            host: host.clone(),
            kernel: kernel.clone(),
            start: utc::rfc3339(*start_unix_ns),
            duration_seconds: seconds(*duration_ns),
            frequency_hz: *frequency_hz,
            frequency_changes: frequency_changes.iter().map(change).collect(),
            selection: Selection {
                asked: Named(selected.asked.clone()),
                left_out: selected.left_out,
                left_out_ticks: selected.left_out_ticks,
            },
            ticks: Ticks {
                expected: ticks.expected,
                delivered: ticks.delivered,
                idle: ticks.idle,
                other: ticks.other,
                on_python: ticks.on_python,
                on_python_ns: ticks.on_python_ns,
            },
            losses: Named(losses.iter().map(|loss| (loss.name.clone(), loss.count)).collect()),
            own_cost: OwnCost {
                cpu_ns: own_cost.cpu_ns,
                peak_rss_bytes: own_cost.peak_rss_bytes,
                kernel_bytes: own_cost.kernel_bytes,
            },
            processes: processes
                .into_iter()
                .map(|(profile, file)| Process::new(capture, profile, file))
                .collect(),
            unsupported: listed.iter().map(refused).collect(),
            unsupported_more: *more,
        }
    }

    /// The same, with the lines of processes that were written earlier: of those there may be more than memory has room for.
    pub fn write(&self, earlier: Option<impl BufRead>, file: &mut impl Write) -> io::Result<()> {
        const PROCESSES: &[u8] = b"\n  \"processes\": [";
        let bytes = self.to_bytes();
        // Only fields of the outermost object are indented so, and no string has a line break in it.
        let at = bytes.windows(PROCESSES.len()).position(|window| window == PROCESSES);
        let (Some(at), Some(earlier)) = (at, earlier) else { return file.write_all(&bytes) };
        let (head, tail) = bytes.split_at(at + PROCESSES.len());
        file.write_all(head)?;
        let mut comma = "";
        for line in earlier.lines() {
            write!(file, "{comma}\n    {}", line?)?;
            comma = ",";
        }
        // The list goes on, or ends here: empty ones have no line break.
        if self.processes.is_empty() && !comma.is_empty() {
            comma = "\n  ";
        }
        file.write_all(comma.as_bytes())?;
        file.write_all(tail)
    }

    /// Indented, with a newline at the end: it is read by people as well.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Neither a map key that is no string nor a failing writer can occur here.
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        format!("{}\n", escape_json(&text)).into_bytes()
    }
}

/// A process as one line, which [`CaptureJson::write`] takes.
pub fn line(capture: &CaptureMeta, profile: &Profile, file: Option<&str>, text: &mut Vec<u8>) {
    // A string has no line break in it, and writing into memory cannot fail.
    let json = serde_json::to_string(&Process::new(capture, profile, file)).unwrap_or_default();
    text.extend_from_slice(escape_json(&json).as_bytes());
    text.push(b'\n');
}

impl Process {
    fn new(capture: &CaptureMeta, profile: &Profile, file: Option<&str>) -> Self {
        let process = profile.process();
        let Labels { service, env, version, container_id, pod_uid, unit } = process.labels.clone();
        let total = profile.total();
        let outcome = |&outcome: &Outcome| (outcome.name().to_owned(), profile.outcome(outcome).samples);
        Self {
            pid: process.pid,
            start: utc::rfc3339(capture.unix_ns_of_boot(process.start_boot_ns)),
            name: process.name.clone(),
            service,
            env,
            version,
            container_id,
            pod_uid,
            unit,
            executable: process.executable.clone(),
            python_version: process.python_version.clone(),
            verified: !process.is_unverified,
            unresponsive: process.is_unresponsive,
            file: file.map(str::to_owned),
            samples: total.samples,
            cpu_ns: total.weight_ns,
            outcomes: Named(Outcome::ALL.iter().map(outcome).collect()),
            dropped: profile.dropped().samples,
            off_cpu: process.off_cpu.as_ref().map(OffCpu::new),
        }
    }
}

impl OffCpu {
    fn new(off_cpu: &OffCpuMeta) -> Self {
        let OffCpuMeta {
            file,
            blocked_ns,
            blocked,
            runnable_ns,
            preempted,
            not_walked,
            profile_ns,
            dropped_ns,
        } = off_cpu;
        Self {
            file: file.clone(),
            off_cpu_ns: *blocked_ns,
            blocks: *blocked,
            runnable_ns: *runnable_ns,
            preempted: *preempted,
            not_walked: *not_walked,
            profile_ns: *profile_ns,
            dropped_ns: *dropped_ns,
        }
    }
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

#[cfg(test)]
mod tests;
