//! The checks, one column each.
//!
//! At 999 Hz a request of 600 ms has 600 ticks. Each of the four parts begins and ends within a tick of what its thread's
//! clock says, and a machine that stands still for long says so; the 10 % allowed are twenty times what chance takes.

use std::collections::BTreeMap;

use pyprof_tests::{Profile, Sample};
use serde_json::Value;

use crate::run::Measured;
use crate::table::Cell;
use crate::truth::{Report, Stack};

/// Of the CPU time that the thread's own clock tells.
const SEEN_PERCENT: u64 = 90;
const LABELS: [&str; 6] = ["service", "env", "version", "container_id", "pod_uid", "unit"];

type Check = fn(&Measured) -> Cell;

/// In the order of the table.
pub const CHECKS: [(&str, Check); 5] = [
    ("found", |measured| Cell::of(found(measured))),
    ("stacks", |measured| Cell::of(stacks(measured))),
    ("time", |measured| Cell::of(time(measured))),
    ("labels", |measured| Cell::of(labels(measured))),
    ("others", others),
];

/// A process that answered: what it said, its entry in capture.json, its profile.
struct Process<'a> {
    pid: u32,
    reports: Vec<&'a Report>,
    entry: &'a Value,
    profile: Profile,
}

impl Measured {
    fn processes(&self) -> Result<Vec<Process<'_>>, String> {
        let process = |(said, pid): (&u32, &u32)| {
            let entries = self.capture.processes(*pid);
            // Between fork and exec a child is one more image of the program that it comes from.
            let entry = entries.last().ok_or_else(|| {
                let unsupported = &self.capture.json["unsupported"];
                format!("process {pid} has no profile; unsupported: {unsupported}")
            })?;
            let reports = self.reports.iter().filter(|report| report.pid == *said).collect();
            let profile = self.capture.profile_of(entry).without_collector();
            Ok(Process { pid: *pid, reports, entry, profile })
        };
        self.pids.iter().map(process).collect()
    }
}

fn found(measured: &Measured) -> Result<(), String> {
    let expected = &measured.expected;
    if measured.pids.len() < expected.workers {
        return Err(format!("{} processes answered, not {}", measured.pids.len(), expected.workers));
    }
    for Process { pid, reports, entry, .. } in measured.processes()? {
        let is = |key: &str, value: &str| {
            if entry[key] == *value {
                Ok(())
            } else {
                Err(format!("{key} of {pid} is {}, not {value}", entry[key]))
            }
        };
        is("name", expected.name)?;
        is("python_version", &reports[0].version)?;
        if entry["verified"] != true {
            return Err(format!("{pid} is not verified"));
        }
    }
    Ok(())
}

fn example(sample: &Sample) -> String {
    let frames = sample.frames.iter().take(8);
    frames.map(|frame| format!("{}:{}", frame.name, frame.line)).collect::<Vec<_>>().join(" < ")
}

/// Nothing that shows the work shows it otherwise than it was.
fn stacks(measured: &Measured) -> Result<(), String> {
    for Process { pid, reports, profile, .. } in measured.processes()? {
        let (mut all, mut wrong) = (0, BTreeMap::new());
        for sample in &profile.samples {
            let shown: Vec<_> =
                reports.iter().filter_map(|report| Some((report, report.shown(&sample.frames)?))).collect();
            all += if shown.is_empty() { 0 } else { sample.count };
            if !shown.is_empty() && !shown.iter().any(|(report, frames)| report.has(frames)) {
                *wrong.entry(example(sample)).or_insert(0) += sample.count;
            }
        }
        if let Some((example, _)) = wrong.iter().max_by_key(|(_, count)| **count) {
            let count: u64 = wrong.values().sum();
            return Err(format!("{count} of {all} samples of {pid} cannot be, such as {example}"));
        }
    }
    Ok(())
}

/// The time that a profile shows in exactly this stack.
fn seen_ns(profile: &Profile, stack: &Stack) -> u64 {
    profile.samples.iter().filter(|sample| stack.is(&sample.frames)).map(|sample| sample.ns).sum()
}

/// Of each part of the work, as much as the thread's clock says.
fn time(measured: &Measured) -> Result<(), String> {
    let unsampled_ns = measured.capture.loss("unsampled_ns");
    let (mut all_seen_ns, mut all_said_ns) = (0, 0);
    for Process { pid, reports, profile, .. } in measured.processes()? {
        // The parts of one request are those of the next.
        for (part, stack) in reports[0].stacks.iter().enumerate() {
            let said_ns: u64 =
                reports.iter().filter_map(|report| report.stacks.get(part)).map(|stack| stack.ns).sum();
            let seen_ns = seen_ns(&profile, stack);
            if (seen_ns + unsampled_ns) * 100 < said_ns * 75 || seen_ns * 100 > said_ns * 125 {
                let [seen, said] = [seen_ns, said_ns].map(|ns| ns / 1_000_000);
                return Err(format!(
                    "part {part} ({}) of {pid}: {seen} of {said} ms: {}",
                    stack.leaf(),
                    most(&profile)
                ));
            }
            (all_seen_ns, all_said_ns) = (all_seen_ns + seen_ns, all_said_ns + said_ns);
        }
    }
    let [seen, said] = [all_seen_ns, all_said_ns].map(|ns| ns / 1_000_000);
    eprintln!("    {}: {seen} of {said} ms in {} processes", measured.expected.name, measured.pids.len());
    if (all_seen_ns + unsampled_ns) * 100 < all_said_ns * SEEN_PERCENT
        || all_seen_ns * SEEN_PERCENT > all_said_ns * 100
    {
        return Err(format!("{seen} of {said} ms"));
    }
    Ok(())
}

/// Where the time of a profile is.
fn most(profile: &Profile) -> String {
    let mut stacks = BTreeMap::new();
    for sample in &profile.samples {
        *stacks.entry(example(sample)).or_insert(0) += sample.ns / 1_000_000;
    }
    let mut stacks: Vec<_> = stacks.into_iter().collect();
    stacks.sort_by_key(|(_, ms)| std::cmp::Reverse(*ms));
    stacks.iter().take(5).map(|(stack, ms)| format!("{ms} ms {stack}")).collect::<Vec<_>>().join("; ")
}

/// Container, pod and the like in capture.json and at every sample; the thread by its number and its name.
fn labels(measured: &Measured) -> Result<(), String> {
    let expected = &measured.expected.labels;
    let wanted = |key: &str| expected.iter().find(|(name, _)| *name == key).map(|(_, value)| value.as_str());
    for Process { pid, reports, entry, profile } in measured.processes()? {
        for key in LABELS {
            let at_samples = profile.samples.iter().map(|sample| sample.labels.get(key).map(String::as_str));
            let mut all = at_samples.chain([entry[key].as_str()]);
            if let Some(other) = all.find(|label| *label != wanted(key)) {
                return Err(format!("{key} of {pid} is {other:?}, not {:?}", wanted(key)));
            }
        }
        if measured.expected.pid_file.is_none() {
            reports.iter().flat_map(|report| &report.stacks).try_for_each(|stack| thread(&profile, stack))?;
        }
    }
    Ok(())
}

/// The thread of a stack is there, under the name that Python has for it.
fn thread(profile: &Profile, stack: &Stack) -> Result<(), String> {
    let mut of_thread =
        profile.samples.iter().filter(|sample| sample.numbers["thread_id"] == stack.tid).peekable();
    let Stack { tid, thread, .. } = stack;
    if of_thread.peek().is_none() {
        return Err(format!("thread {tid}, {thread:?}, is not there"));
    }
    let Some(name) = thread else { return Ok(()) };
    let others: Vec<&Sample> =
        of_thread.filter(|sample| sample.labels.get("thread_name") != Some(name)).collect();
    let Some(sample) = others.first() else { return Ok(()) };
    let (count, label) =
        (others.iter().map(|sample| sample.count).sum::<u64>(), sample.labels.get("thread_name"));
    Err(format!("{count} samples of thread {tid} are of {label:?}, not {name}: {}", example(sample)))
}

/// Processes of the host that run no Python have no profile, and are no failure.
fn others(measured: &Measured) -> Cell {
    let Measured { expected, capture, others, others_ns, .. } = measured;
    if !expected.others_without_python {
        return Cell::Lacks;
    }
    if others.len() < expected.others {
        return Cell::Failed(format!("{} processes, not {}", others.len(), expected.others));
    }
    for pid in others {
        let refused =
            capture.json["unsupported"].as_array().into_iter().flatten().find(|one| one["pid"] == *pid);
        if let Some(entry) = capture.processes(*pid).last().copied().or(refused) {
            return Cell::Failed(format!("of {others:?}, with {} ms: {entry}", others_ns / 1_000_000));
        }
    }
    Cell::Ok
}
