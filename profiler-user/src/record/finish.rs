//! The end of a capture: every profile to its file, the account to `capture.json`, the summary to the terminal.

use profiler_common::Stat;
use pyunwind::Outcome;

use super::RecordError;
use super::host::own_cpu_ns;
use crate::bpf::Counters;
use crate::capture_json::{self, CaptureJson};
use crate::cli::RecordOptions;
use crate::encode::pprof_to;
use crate::escape::escape;
use crate::pipeline::{Follower, Image, Ingest};
use crate::process::own;
use crate::profile::{
    CaptureMeta, Group, Loss, MergeBy, OwnCost, Profile, Ticks, Unsupported, UnsupportedProcess, groups,
    merge,
};
use crate::report;
use crate::sink::{GroupNames, ImageNumbers, OutputDirectory, SinkError, file_name};

/// What the kernel counted of the whole capture.
pub struct Account {
    pub counters: Counters,
    pub expected: u64,
    pub malformed: u64,
}

/// Counters that tell of something missing from the profiles.
const LOSSES: [Stat; 12] = [
    Stat::NotChained,
    Stat::NoScratch,
    Stat::SampleRingFull,
    Stat::SampleRingFullNs,
    Stat::CodeRingFull,
    Stat::LifecycleRingFull,
    Stat::ProcessTableFull,
    Stat::HintFailed,
    Stat::UnsampledNs,
    Stat::CodeDeferred,
    Stat::CodeUnreadable,
    Stat::StaleRecord,
];

/// The width to print to: the terminal's, or 100 columns into a file.
pub fn terminal_width() -> usize {
    // SAFETY: `winsize` is plain integers.
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: a valid pointer to the struct that this request fills.
    let status = unsafe { libc::ioctl(libc::STDERR_FILENO, libc::TIOCGWINSZ, &mut size) };
    if status == 0 && size.ws_col > 0 { usize::from(size.ws_col) } else { 100 }
}

fn is_sampled(image: &Image) -> bool {
    let total = image.profile.total().samples + image.profile.dropped().samples;
    image.python().is_some() && total > 0
}

/// Writes and prints everything there is to say.
pub fn write(
    ingest: &Ingest,
    follower: &Follower,
    meta: &CaptureMeta,
    account: &Account,
    directory: &OutputDirectory,
    options: &RecordOptions,
) -> Result<(), RecordError> {
    let unsupported = unsupported(ingest, follower, options);
    let images: Vec<&Image> = ingest.images().iter().filter(|image| is_sampled(image)).collect();
    let python_samples: u64 = images.iter().map(|image| image.profile.total().samples).sum();
    let dropped: u64 = images.iter().map(|image| image.profile.dropped().samples).sum();
    let mut meta = meta.clone();
    let (other, other_ns) = not_python(ingest);
    let counters = &account.counters;
    meta.ticks = Ticks {
        expected: account.expected,
        delivered: counters.get(Stat::Delivered),
        idle: counters.get(Stat::Idle),
        other: counters.get(Stat::Other) + other,
        on_python: python_samples + dropped + counters.get(Stat::SampleRingFull),
        on_python_ns: counters.get(Stat::PythonNs).saturating_sub(other_ns),
    };
    meta.losses = losses(ingest, account);
    meta.own_cost = own_cost(account);
    if images.is_empty() {
        directory.remove_if_empty();
        let refused = |pid: &u32| unsupported.listed.iter().find(|one| one.pid == *pid);
        if options.pids.len() != 1 && !options.quiet {
            eprint!("{}", report::unsupported(&unsupported, terminal_width()));
        }
        if let Some(one) = options.pids.first().and_then(refused)
            && options.pids.iter().all(|pid| refused(pid).is_some())
        {
            let what = escape(&one.reason).into_owned();
            return Err(RecordError::Unsupported { pid: one.pid, what });
        }
        return Err(RecordError::NothingSampled(nothing(ingest)));
    }

    let profiles: Vec<&Profile> = images.iter().map(|image| &image.profile).collect();
    let Written { files, number, mut failures } =
        write_profiles(&profiles, &meta, directory, options.merge_by);
    let profiles: Vec<(&Profile, Option<&str>)> =
        profiles.into_iter().zip(files.iter().map(Option::as_deref)).collect();
    let json = CaptureJson::new(&meta, profiles.iter().copied(), &unsupported);
    if let Err(error) = directory.write(capture_json::FILE_NAME, &json.to_bytes()) {
        failures.push(error);
    }
    let missing_ns = account.counters.get(Stat::SampleRingFullNs);
    if !options.quiet {
        let text = report::summary(profiles, missing_ns, &meta.own_cost, directory.path(), terminal_width());
        eprint!("{}{text}", report::unsupported(&unsupported, terminal_width()));
    }
    let (failed, all) = (failures.len(), number + 1);
    match failures.into_iter().next() {
        Some(first) => Err(RecordError::Files { failed, all, first }),
        None => Ok(()),
    }
}

struct Written {
    /// Beside the profiles: the file that each is in.
    files: Vec<Option<String>>,
    /// How many were to be written.
    number: usize,
    failures: Vec<SinkError>,
}

/// Every profile to a file of its own, or every group of them to one.
fn write_profiles(
    profiles: &[&Profile],
    meta: &CaptureMeta,
    directory: &OutputDirectory,
    merge_by: Option<MergeBy>,
) -> Written {
    let mut written = Written { files: vec![None; profiles.len()], number: 0, failures: Vec::new() };
    let mut write = |name: String, profile: &Profile, members: &[usize]| {
        written.number += 1;
        match directory.write_with(&name, |file| pprof_to(profile, meta, file)) {
            Ok(()) => members.iter().for_each(|member| written.files[*member] = Some(name.clone())),
            Err(error) => written.failures.push(error),
        }
    };
    match merge_by {
        None => {
            let mut numbers = ImageNumbers::default();
            for (index, profile) in profiles.iter().enumerate() {
                let process = profile.process();
                let name = file_name(&process.name, process.pid, numbers.next(process.pid));
                write(name, profile, &[index]);
            }
        }
        Some(by) => {
            let mut names = GroupNames::default();
            for Group { name, members } in groups(profiles.iter().map(|profile| profile.process()), by) {
                let together: Vec<&Profile> = members.iter().map(|member| profiles[*member]).collect();
                // One merge at a time: each is a copy of its processes.
                if let Some(merged) = merge(&together) {
                    write(names.next(&name), &merged, &members);
                }
            }
        }
    }
    written
}

/// What a process is called that maps no Python.
pub fn not_a_python(follower: &Follower, pid: u32) -> String {
    format!("{}, which maps no Python runtime", follower.name(pid))
}

/// Every Python that was seen and not profiled, and every process asked for that was none.
fn unsupported(ingest: &Ingest, follower: &Follower, options: &RecordOptions) -> Unsupported {
    let mut listed: Vec<UnsupportedProcess> = follower
        .unsupported
        .iter()
        .map(|one| UnsupportedProcess { pid: one.pid, name: one.name.clone(), reason: one.what.clone() })
        .collect();
    for &pid in &options.pids {
        let was_python =
            ingest.images().iter().any(|image| image.key.tgid == pid && image.python().is_some());
        if was_python || listed.iter().any(|one| one.pid == pid) {
            continue;
        }
        let (name, what) = (follower.name(pid), not_a_python(follower, pid));
        let reason = if follower.is_dormant(pid) {
            format!("{name}, which maps a Python runtime and does not start it")
        } else {
            what
        };
        listed.push(UnsupportedProcess { pid, name, reason });
    }
    Unsupported { listed, more: follower.unsupported_more }
}

/// Samples, and their weight, of processes that turned out not to be Pythons or ended before anybody could tell.
fn not_python(ingest: &Ingest) -> (u64, u64) {
    let unknown = ingest.images().iter().filter(|image| image.python().is_none());
    let first = (ingest.received.other, ingest.received.other_weight_ns);
    unknown.fold(first, |(samples, ns), image| {
        let all = image.all_samples();
        (samples + all.samples, ns + all.weight_ns)
    })
}

fn nothing(ingest: &Ingest) -> String {
    if ingest.images().iter().any(|image| image.python().is_some()) {
        "Python processes are there, but none used the CPU while sampling".into()
    } else {
        "no Python process ran".into()
    }
}

fn losses(ingest: &Ingest, account: &Account) -> Vec<Loss> {
    let loss = |name: &str, count: u64| Loss { name: name.into(), count };
    let mut losses: Vec<Loss> =
        LOSSES.iter().map(|stat| loss(stat.name(), account.counters.get(*stat))).collect();
    losses.push(loss("ticks_missed", account.expected.saturating_sub(account.counters.get(Stat::Delivered))));
    losses.push(loss("code_unnamed", ingest.received.unnamed));
    losses.push(loss("process_vanished", ingest.received.vanished));
    losses.push(loss("record_malformed", account.malformed));
    let sampled: u64 = Outcome::ALL.iter().map(|outcome| account.counters.outcome(*outcome)).sum();
    let arrived = ingest.received.samples + account.counters.get(Stat::SampleRingFull);
    losses.push(loss("sample_unaccounted", sampled.abs_diff(arrived)));
    losses
}

fn own_cost(account: &Account) -> OwnCost {
    OwnCost {
        cpu_ns: own_cpu_ns() + account.counters.get(Stat::SamplerNs),
        peak_rss_bytes: own::peak_rss_bytes(),
        kernel_bytes: own::map_bytes(),
    }
}
