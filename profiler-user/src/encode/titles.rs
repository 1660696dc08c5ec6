//! What processes, threads and losses are called in the formats that have no labels of their own for them.

use crate::escape::escape;
use crate::profile::{CaptureMeta, Profile, Thread};
use std::collections::BTreeSet;

/// `gunicorn (pid 7) on web1`, or `37 processes on web1`.
pub(super) fn capture(profiles: &[&Profile], capture: &CaptureMeta) -> String {
    let first = profiles.iter().flat_map(|profile| profile.processes()).next();
    let what = match (first, number_of_processes(profiles)) {
        (Some(only), 1) => process(only),
        (_, number) => format!("{number} processes"),
    };
    format!("{what} on {}", escape(&capture.host))
}

/// As a report counts: a process that several captures have is one. Without a pid each is its own.
fn number_of_processes(profiles: &[&Profile]) -> usize {
    let processes = || profiles.iter().flat_map(|profile| profile.processes());
    let known = processes().filter(|process| process.pid != 0);
    let known: BTreeSet<(u32, &str)> = known.map(|process| (process.pid, process.name.as_str())).collect();
    known.len() + processes().filter(|process| process.pid == 0).count()
}

/// `gunicorn (pid 7)`; the service first where the process's owner named it.
pub(super) fn process(process: &crate::profile::ProcessMeta) -> String {
    let service = process.service();
    let name = if service.is_empty() { "python" } else { service };
    match process.pid {
        // Profiles of other tools may not say of which process they are.
        0 => escape(name).into_owned(),
        pid => format!("{} (pid {pid})", escape(name)),
    }
}

/// `MainThread (tid 7)`; the second thread that the kernel gave a tid to is `#2`.
pub(super) fn thread(profile: &Profile, thread: &Thread) -> String {
    let comm = profile.process_at(thread.process).map_or("", |process| &process.comm);
    let (name, _) = thread.names(comm);
    let name = if name.is_empty() { "thread" } else { name };
    let generation = if thread.generation > 1 { format!(" #{}", thread.generation) } else { String::new() };
    match thread.tid {
        0 => escape(name).into_owned(),
        tid => format!("{} (tid {tid}{generation})", escape(name)),
    }
}

/// What the samples themselves cannot say: versions, outcomes, losses.
pub(super) fn comments(profiles: &[&Profile], capture: &CaptureMeta) -> Vec<String> {
    let processes = || profiles.iter().flat_map(|profile| profile.processes());
    let mut comments = vec![format!("pyprof-bpf {}", capture.tool_version)];
    let number = number_of_processes(profiles);
    if number > 1 {
        comments.push(format!("processes: {number}"));
    }
    let versions: BTreeSet<(&str, bool)> = processes()
        .map(|process| (process.python_version.as_str(), process.is_unverified))
        .filter(|(version, _)| !version.is_empty())
        .collect();
    comments.extend(versions.into_iter().map(|(version, is_unverified)| {
        format!("python: {version}{}", if is_unverified { " (unverified)" } else { "" })
    }));
    let unresponsive = processes().filter(|process| process.is_unresponsive);
    comments.extend(unresponsive.map(|process| {
        format!(
            "process {} is unresponsive: names of it, its threads or its code may be missing",
            process.pid
        )
    }));
    for change in &capture.frequency_changes {
        let seconds = change.after_ns as f64 / 1e9;
        comments.push(format!("frequency: {} Hz after {seconds:.1} s", change.frequency_hz));
    }
    let outcomes = pyunwind::Outcome::ALL.iter().map(|&outcome| {
        (outcome, profiles.iter().map(|profile| profile.outcome(outcome).samples).sum::<u64>())
    });
    comments.extend(
        outcomes
            .filter(|(_, samples)| *samples > 0)
            .map(|(outcome, samples)| format!("outcome {}: {samples}", outcome.name())),
    );
    let dropped: u64 = profiles.iter().map(|profile| profile.dropped().samples).sum();
    if dropped > 0 {
        comments.push(format!("loss memory_cap (this process): {dropped}"));
    }
    let timed = profiles.iter().filter(|profile| profile.moments().is_some());
    let lost = |profile: &&Profile| {
        let untimed: u64 = profile.untimed().iter().map(|total| total.samples).sum();
        untimed.saturating_sub(profile.never_timed())
    };
    let untimed: u64 = timed.map(lost).sum();
    if untimed > 0 {
        comments.push(format!("loss memory_cap_time (samples without a time): {untimed}"));
    }
    let losses = capture.losses.iter().filter(|loss| loss.count > 0);
    comments.extend(losses.map(|loss| format!("loss {} (whole capture): {}", loss.name, loss.count)));
    comments.extend(capture.notes.iter().cloned());
    comments
}
