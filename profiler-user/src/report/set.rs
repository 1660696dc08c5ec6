//! Everything that was read for one side of a report, as one profile.

use super::Selection;
use super::input::{Loaded, LoadedFile, Unread, load};
use super::tally::{By, Row, rows};
use crate::profile::{Loss, Measure, ProcessMeta, Profile, Unsupported, merge};
use crate::summary::Account;
use crate::summary::report::Head;
use crate::talk::Talk;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

pub(super) struct Set {
    pub(super) profile: Profile,
    pub(super) head: Head,
    pub(super) files: Vec<String>,
    pub(super) failures: Vec<Unread>,
    pub(super) notes: Vec<String>,
    /// A line per file that was read.
    pub(super) read: Vec<String>,
    pub(super) unsupported: Unsupported,
}

impl Set {
    pub(super) fn read(inputs: &[PathBuf], sample_type: Option<&str>, select: &Selection, talk: Talk) -> Set {
        let loaded = load(inputs, sample_type, talk);
        let mut profile = match loaded.profiles.len() {
            1 => None,
            _ => merge(&loaded.profiles.iter().collect::<Vec<_>>()),
        };
        let mut head = head(&loaded);
        let Loaded { files, profiles, captures, failures, mut notes } = loaded;
        profile = profile.or_else(|| profiles.into_iter().next());
        let mut profile = profile.unwrap_or_else(|| Profile::new(ProcessMeta::default()));
        notes.extend(left(&files));
        head.all = profile.total();
        let dropped = profile.dropped().samples;
        if let Some(losses) = head.losses.as_mut().filter(|_| dropped > 0)
            && !losses.iter().any(|loss| loss.name == MEMORY_CAP)
        {
            losses.push(Loss { name: MEMORY_CAP.into(), count: dropped });
        }
        let is_cpu_of_ours =
            *profile.measure() == Measure::CPU && files.iter().all(|file| file.facts.tool_version.is_some());
        if is_cpu_of_ours && select.is_everything() && !files.is_empty() {
            let missing = |loss: &&Loss| loss.name == "sample_ring_full_ns";
            let missing_ns = head.losses.iter().flatten().find(missing).map_or(0, |loss| loss.count);
            head.account = Some(Account::of([&profile], missing_ns));
        }
        select.apply(&mut profile);
        head.selected = profile.total();
        head.measure = profile.measure().clone();
        head.processes = rows(&profile, By::Process).iter().filter(|row| row.pid != 0).count();
        let is_told = |row: &&Row| row.tid != 0 || !row.name.is_empty();
        head.threads = rows(&profile, By::Thread).iter().filter(is_told).count();
        let mut unsupported = Unsupported::default();
        for capture in used(&files).into_iter().filter_map(|index| captures.get(index).cloned()) {
            unsupported.listed.extend(capture.unsupported.listed);
            unsupported.more = unsupported.more.saturating_add(capture.unsupported.more);
        }
        let read = files.iter().map(LoadedFile::told).collect();
        let files = files.into_iter().map(|file| file.path).collect();
        Set { profile, head, files, failures, notes, read, unsupported }
    }
}

/// In the comments of what was made from profiles of other tools.
pub(super) const OF_OTHERS: &str = "made from profiles of other tools, which do not tell of losses";

/// The loss that a profile knows itself; see `encode::pprof`.
const MEMORY_CAP: &str = "memory_cap";

/// The captures that are shown: one without a file that is has nothing to say about the others.
fn used(files: &[LoadedFile]) -> BTreeSet<usize> {
    files.iter().filter_map(|file| file.account).collect()
}

/// What is known without the samples.
pub(super) fn head(loaded: &Loaded) -> Head {
    let Loaded { files, captures, .. } = loaded;
    let captures: Vec<_> = used(files).into_iter().filter_map(|index| captures.get(index)).collect();
    let of_ours = files.iter().filter(|file| file.facts.tool_version.is_some());
    // All files of a capture have its start and tell of its losses: it counts once.
    let mut seen = BTreeSet::new();
    let mut losses: BTreeMap<&str, u64> = BTreeMap::new();
    for capture in &captures {
        for Loss { name, count } in &capture.losses {
            let sum = losses.entry(name).or_default();
            *sum = sum.saturating_add(*count);
        }
    }
    let (mut is_ours, mut duration_ns) = (!captures.is_empty(), 0u64);
    for file in of_ours {
        is_ours |= !file.facts.comments.iter().any(|comment| comment == OF_OTHERS);
        let is_new = seen.insert((file.facts.start_unix_ns, file.facts.duration_ns));
        if is_new && file.account.is_none() {
            for Loss { name, count } in &file.facts.losses {
                let sum = losses.entry(name).or_default();
                *sum = sum.saturating_add(*count);
            }
        }
    }
    let mut times = BTreeSet::new();
    for file in files {
        if times.insert((file.facts.start_unix_ns, file.facts.duration_ns)) {
            duration_ns = duration_ns.saturating_add(file.facts.duration_ns);
        }
    }
    let frequencies: BTreeSet<u32> = files.iter().map(|file| file.facts.frequency_hz).collect();
    let hosts: BTreeSet<&str> = captures.iter().map(|capture| capture.host.as_str()).collect();
    let comments: BTreeSet<&String> = files.iter().flat_map(|file| &file.facts.comments).collect();
    let starts = files.iter().map(|file| file.facts.start_unix_ns).filter(|start| *start != 0);
    Head {
        host: hosts.into_iter().collect::<Vec<_>>().join(", "),
        start_unix_ns: starts.min().unwrap_or(0),
        duration_ns,
        frequency_hz: if frequencies.len() == 1 { frequencies.into_iter().sum() } else { 0 },
        files: files.len(),
        processes: 0,
        threads: 0,
        measure: Measure::CPU,
        all: Default::default(),
        selected: Default::default(),
        account: None,
        losses: is_ours
            .then(|| losses.into_iter().map(|(name, count)| Loss { name: name.into(), count }).collect()),
        comments: comments.into_iter().cloned().collect(),
    }
}

/// What files have that a report does not show.
pub(super) fn left(files: &[LoadedFile]) -> Vec<String> {
    let mut notes = Vec::new();
    let labels: BTreeSet<&str> =
        files.iter().flat_map(|file| &file.facts.left.labels).map(String::as_str).collect();
    if !labels.is_empty() {
        let more: usize = files.iter().map(|file| file.facts.left.more_labels).sum();
        let more = if more > 0 { " and more" } else { "" };
        let labels: Vec<&str> = labels.into_iter().collect();
        notes.push(format!("labels that are neither shown nor written: {}{more}", labels.join(", ")));
    }
    let negative: u64 = files.iter().map(|file| file.facts.left.negative).sum();
    if negative > 0 {
        notes.push(format!("{negative} samples below zero, as differences have them, are left out"));
    }
    if files.iter().any(|file| file.facts.left.hides_frames) {
        notes.push("frames that a file asks to hide (drop_frames) are shown".into());
    }
    notes
}
