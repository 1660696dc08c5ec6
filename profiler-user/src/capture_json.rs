//! `capture.json`: the account of a capture for programs. Its schema is `docs/capture.schema.json`; a field that is
//! added here only, or there only, fails a test. Readers may rely on `schema`: it changes when a field changes meaning.

use crate::profile::{CaptureMeta, Labels, Profile, Unsupported};
use crate::utc;
use pyunwind::Outcome;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

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
    /// In the same directory, perhaps with other processes in it; null where writing it failed.
    file: Option<String>,
    samples: u64,
    cpu_ns: u64,
    outcomes: Counters,
    /// Samples that the memory cap kept out of the profile: in no outcome and not in `samples`.
    dropped: u64,
}

/// Names with counts, in the order they were given.
#[derive(Clone, Debug)]
struct Counters(Vec<(String, u64)>);

impl Serialize for Counters {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, count) in &self.0 {
            map.serialize_entry(name, count)?;
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
            duration_ns,
            frequency_hz,
            frequency_changes,
            ticks,
            losses,
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
            ticks: Ticks {
                expected: ticks.expected,
                delivered: ticks.delivered,
                idle: ticks.idle,
                other: ticks.other,
                on_python: ticks.on_python,
                on_python_ns: ticks.on_python_ns,
            },
            losses: Counters(losses.iter().map(|loss| (loss.name.clone(), loss.count)).collect()),
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

    /// Indented, with a newline at the end: it is read by people as well.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Neither a map key that is no string nor a failing writer can occur here.
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }
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
            file: file.map(str::to_owned),
            samples: total.samples,
            cpu_ns: total.weight_ns,
            outcomes: Counters(Outcome::ALL.iter().map(outcome).collect()),
            dropped: profile.dropped().samples,
        }
    }
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

#[cfg(test)]
mod tests;
