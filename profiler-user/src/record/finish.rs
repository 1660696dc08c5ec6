//! The end of a capture: every profile to its file, the account to `capture.json`, the summary to the terminal.

use profiler_common::Stat;

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::RecordError;
use super::early::Earlier;
use super::output::{Destination, Source, Written, write_profiles};
use crate::capture::{Account, CaptureError, Session, not_a_python, nothing_matches};
use crate::capture_json::{self, CaptureJson};
use crate::cli::RecordOptions;
use crate::colour::paint;
use crate::escape::escape;
use crate::pipeline::{Follower, Image, Ingest};
use crate::profile::{
    CaptureMeta, Loss, Measure, ProcessMeta, Profile, Selected, Ticks, Unsupported, UnsupportedProcess,
};
use crate::sink::{ImageNumbers, SinkError};
use crate::summary;
use crate::talk::Talk;

/// Counters that tell of something missing from the profiles.
const LOSSES: [Stat; 19] = [
    Stat::NotChained,
    Stat::NoScratch,
    Stat::SampleRingFull,
    Stat::SampleRingFullNs,
    Stat::CodeRingFull,
    Stat::LifecycleRingFull,
    Stat::ProcessTableFull,
    Stat::HintFailed,
    Stat::InterpreterUnsure,
    Stat::UnsampledNs,
    Stat::CodeDeferred,
    Stat::CodeUnreadable,
    Stat::StaleRecord,
    Stat::OffCpuReturnUnseen,
    Stat::OffCpuTableFull,
    Stat::OffCpuRingFull,
    Stat::OffCpuRingFullNs,
    Stat::OffCpuStackLost,
    Stat::OffCpuThreadLost,
];

/// The width to print to: the terminal's, or 100 columns into a file.
pub fn terminal_width() -> usize {
    // SAFETY: `winsize` is plain integers.
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: a valid pointer to the struct that this request fills.
    let status = unsafe { libc::ioctl(libc::STDERR_FILENO, libc::TIOCGWINSZ, &mut size) };
    if status == 0 && size.ws_col > 0 { usize::from(size.ws_col) } else { 100 }
}

/// Everything that is to be written and said of a period, or of a whole capture.
pub struct Set {
    /// Those that have samples.
    pub images: Vec<Image>,
    pub meta: CaptureMeta,
    unsupported: Unsupported,
    /// CPU time of samples that were lost on their way.
    missing_ns: u64,
    /// What is left of processes that were written before.
    pub earlier: Earlier,
}

/// What was written of a set.
pub struct Delivered {
    pub failed: usize,
    pub all: usize,
    pub first: Option<SinkError>,
}

/// Puts together what is known of a period. `images`: of a period that others follow, those that have samples; else all.
pub fn gather(
    (session, images, earlier): (&mut Session, Vec<Image>, Earlier),
    meta: &CaptureMeta,
    account: &Account,
    options: &RecordOptions,
) -> Set {
    let Session { ingest, follower, .. } = session;
    let unsupported = unsupported(ingest, &images, follower, options);
    let meta = described(&images, &earlier, follower, (meta, account), options);
    let images: Vec<Image> = images.into_iter().filter(Image::is_sampled).collect();
    let missing_ns = account.counters.get(Stat::SampleRingFullNs);
    Set { images, meta, unsupported, missing_ns, earlier }
}

/// What is told of these images beside their profiles.
pub fn described(
    images: &[Image],
    earlier: &Earlier,
    follower: &Follower,
    (meta, account): (&CaptureMeta, &Account),
    options: &RecordOptions,
) -> CaptureMeta {
    let (other, other_ns) = not_python(images, account);
    let sampled = images.iter().filter(|image| image.is_sampled());
    let counted =
        |sum: u64, image: &Image| sum + image.profile.total().samples + image.profile.dropped().samples;
    let python = sampled.fold(earlier.total.samples + earlier.dropped.samples, counted);
    let mut meta = meta.clone();
    let counters = &account.counters;
    meta.ticks = Ticks {
        expected: account.expected,
        delivered: counters.get(Stat::Delivered),
        idle: counters.get(Stat::Idle),
        other: counters.get(Stat::Other) + counters.get(Stat::LeftOut) + other,
        on_python: python + counters.get(Stat::SampleRingFull),
        on_python_ns: counters.get(Stat::PythonNs).saturating_sub(other_ns),
    };
    let (left_out, _) = follower.left_out();
    let left_out_ticks = counters.get(Stat::LeftOut);
    let mut asked = options.capture.asked();
    if let Some(program) = options.command.first() {
        // Without its arguments, which hold passwords.
        asked.push(("command".into(), vec![program.to_string_lossy().into_owned()]));
    }
    meta.selected = Selected { asked, left_out, left_out_ticks };
    meta.losses = losses(account);
    meta.own_cost = account.own_cost;
    meta
}

/// Writes and prints everything there is to say at the end. `nothing`: what to say if there is no sample.
pub fn write(
    set: &mut Set,
    nothing: String,
    destination: &Destination,
    options: &RecordOptions,
) -> Result<(), RecordError> {
    let Set { images, meta, unsupported, .. } = set;
    if images.is_empty() && set.earlier.processes == 0 {
        match destination {
            Destination::Directory(directory)
                if !unsupported.listed.is_empty() && options.capture.pids.len() != 1 =>
            {
                // Without a profile, too, a program can read what was there and why it was not profiled.
                let json = CaptureJson::new(meta, std::iter::empty(), unsupported);
                directory
                    .write(capture_json::FILE_NAME, &json.to_bytes())
                    .map_err(|first| RecordError::Files { failed: 1, all: 1, first })?;
            }
            _ => destination.abandon(),
        }
        let refused = |pid: &u32| unsupported.listed.iter().find(|one| one.pid == *pid);
        if options.capture.pids.len() != 1 && !options.talk.is_quiet() {
            show(&summary::unsupported(unsupported, terminal_width()), options.talk);
        }
        if let Some(one) = options.capture.pids.first().and_then(refused)
            && options.capture.pids.iter().all(|pid| refused(pid).is_some())
        {
            let what = escape(&one.reason).into_owned();
            return Err(CaptureError::Unsupported { pid: one.pid, what }.into());
        }
        return Err(RecordError::NothingSampled(nothing));
    }
    let Delivered { failed, all, first } = deliver(set, destination, options);
    match first {
        Some(first) => Err(RecordError::Files { failed, all, first }),
        None => Ok(()),
    }
}

/// Writes a set that has samples; where it is the only one, prints what is in it.
pub fn deliver(set: &mut Set, destination: &Destination, options: &RecordOptions) -> Delivered {
    let Set { images, meta, unsupported, missing_ns, earlier } = set;
    let mut each: Vec<&mut Image> = images.iter_mut().collect();
    let (off_cpu, waits) = write_off_cpu(&mut each, meta, destination, options, &mut earlier.numbers.clone());
    let profiles: Vec<&Profile> = images.iter().map(|image| &image.profile).collect();
    let Written { files, number, failures } =
        write_profiles(&profiles, meta, destination, options, Source::Cpu, &mut earlier.numbers);
    let files = written_names(files);
    let before = earlier.first.take().into_iter();
    let mut failures: Vec<SinkError> = before.chain(failures).chain(off_cpu.failures).collect();
    let mut all = earlier.number + number + off_cpu.number;
    let profiles: Vec<(&Profile, Option<&str>)> =
        profiles.into_iter().zip(files.iter().map(Option::as_deref)).collect();
    let mut place = Path::new("");
    if let Destination::Directory(directory) = destination {
        place = directory.path();
        all += 1;
        let json = CaptureJson::new(meta, profiles.iter().copied(), unsupported);
        let error = |source| directory.error(capture_json::FILE_NAME, source);
        let written = earlier.lines().map_err(error).and_then(|lines| {
            directory.write_with(capture_json::FILE_NAME, |file| {
                let mut file = BufWriter::new(file);
                json.write(lines, &mut file)?;
                file.flush()
            })
        });
        failures.extend(written.err());
        directory.end_listening();
    }
    if !options.talk.is_quiet() && !options.has_periods {
        let text = summary::whole(
            profiles,
            &earlier.shown,
            *missing_ns,
            waits,
            &meta.own_cost,
            (place, options.formats[0]),
            terminal_width(),
        );
        show(&format!("{}{text}", summary::unsupported(unsupported, terminal_width())), options.talk);
    }
    failures.iter().skip(1).for_each(|failure| options.talk.detail(&failure.to_string()));
    let failed = failures.len() + earlier.failed.saturating_sub(1);
    Delivered { failed, all, first: failures.into_iter().next() }
}

fn show(text: &str, talk: Talk) {
    let has_colour = talk.colour.is_wanted_on(&std::io::stderr());
    let text = if has_colour { paint(text, summary::mark) } else { text.to_owned() };
    // Nobody is left to tell when standard error is closed.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Names for people and for `capture.json`.
pub fn written_names(files: Vec<Option<PathBuf>>) -> Vec<Option<String>> {
    files.into_iter().map(|file| Some(file?.to_string_lossy().into_owned())).collect()
}

/// The profiles of time off CPU, beside the others; which file each is in, its process says from then on.
pub fn write_off_cpu(
    images: &mut [&mut Image],
    meta: &CaptureMeta,
    destination: &Destination,
    options: &RecordOptions,
    numbers: &mut ImageNumbers,
) -> (Written, Vec<summary::Wait>) {
    let mut followed = Vec::new();
    for image in images.iter_mut() {
        image.note_off_cpu();
        followed.push(image.exchange_off_cpu());
    }
    // Who was never followed has no such profile: an empty one keeps its place, and is not written.
    let mut nothing: Vec<Profile> = Vec::new();
    nothing.resize_with(images.len(), || Profile::of(Measure::OFF_CPU, ProcessMeta::default()));
    let each = images.iter().zip(&followed).zip(&nothing);
    let profiles: Vec<&Profile> =
        each.map(|((image, &followed), nothing)| if followed { &image.profile } else { nothing }).collect();
    let mut written = if followed.contains(&true) {
        write_profiles(&profiles, meta, destination, options, Source::OffCpu, numbers)
    } else {
        Written::default()
    };
    let waits = profiles.iter().flat_map(|profile| summary::waits_of(profile)).collect();
    let files = written_names(std::mem::take(&mut written.files));
    for (at, (image, followed)) in images.iter_mut().zip(followed).enumerate() {
        if followed {
            image.exchange_off_cpu();
        }
        if let Some(off_cpu) = &mut image.profile.process_mut().off_cpu {
            off_cpu.file = files.get(at).cloned().flatten();
        }
    }
    (written, waits)
}

/// Every Python that was seen and not profiled, and every process asked for that was none.
fn unsupported(
    ingest: &mut Ingest,
    images: &[Image],
    follower: &Follower,
    options: &RecordOptions,
) -> Unsupported {
    let mut listed: Vec<UnsupportedProcess> = follower
        .unsupported
        .iter()
        .map(|one| UnsupportedProcess { pid: one.pid, name: one.name.clone(), reason: one.what.clone() })
        .collect();
    for &pid in &options.capture.pids {
        let was_python = ingest
            .images()
            .iter()
            .chain(images)
            .any(|image| image.key.tgid == pid && image.python().is_some());
        // Who was left out is no other program, and counted elsewhere.
        if was_python || follower.is_left_out(pid) || listed.iter().any(|one| one.pid == pid) {
            continue;
        }
        let (name, what) = (follower.name(pid, ingest), not_a_python(follower, ingest, pid));
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
fn not_python(images: &[Image], account: &Account) -> (u64, u64) {
    let unknown = images.iter().filter(|image| image.python().is_none());
    let first = (account.received.other, account.received.other_weight_ns);
    unknown.fold(first, |(samples, ns), image| {
        let all = image.all_samples();
        (samples + all.samples, ns + all.weight_ns)
    })
}

/// What to say where there is no sample.
pub fn nothing(session: &Session, options: &RecordOptions) -> String {
    let asked = options.capture.asked();
    let (left_out, near) = session.follower.left_out();
    if session.ingest.images().iter().any(|image| image.python().is_some()) {
        "Python processes are there, but none used the CPU while sampling".into()
    } else if asked.is_empty() || !options.command.is_empty() {
        "no Python process ran".into()
    } else {
        nothing_matches(&asked, left_out, &near)
    }
}

/// What is missing, by name.
pub(crate) fn losses(account: &Account) -> Vec<Loss> {
    let loss = |name: &str, count: u64| Loss { name: name.into(), count };
    let mut losses: Vec<Loss> =
        LOSSES.iter().map(|stat| loss(stat.name(), account.counters.get(*stat))).collect();
    losses.push(loss("ticks_missed", account.expected.saturating_sub(account.counters.get(Stat::Delivered))));
    losses.push(loss("code_unnamed", account.received.unnamed));
    losses.push(loss("process_vanished", account.received.vanished));
    losses.push(loss("process_unresponsive", account.received.unresponsive));
    losses.push(loss("target_unresponsive", account.given_up));
    losses.push(loss("record_malformed", account.malformed));
    losses.push(loss("sample_unaccounted", account.unaccounted));
    losses.push(loss("off_cpu_unaccounted", account.off_cpu_unaccounted));
    losses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_loss_is_explained() {
        let page = include_str!("../../../docs/losses.md");
        for loss in losses(&Account::default()) {
            assert!(page.contains(&format!("`{}`", loss.name)), "{} is not in docs/losses.md", loss.name);
        }
    }
}
