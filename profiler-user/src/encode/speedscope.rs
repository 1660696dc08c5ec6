//! speedscope (<https://www.speedscope.app>, `file-format-schema.json`): one profile per thread, frames shared.

use super::{json, titles};
use crate::profile::{CaptureMeta, Function, Location, Profile, Sample, ThreadId, Total};
use hashbrown::HashMap;
use std::io::{self, Write};

/// What the frames of one profile are numbered by: addresses do not matter here.
struct Frames {
    /// Beside the locations of the profile.
    of_location: Vec<u32>,
    distinct: Vec<Location>,
}

impl Frames {
    fn of(profile: &Profile, first: u32) -> Self {
        let mut known = HashMap::new();
        let mut distinct = Vec::new();
        let of_location = profile.locations().iter().map(|location| {
            *known.entry((location.function, location.line)).or_insert_with(|| {
                distinct.push(*location);
                first + distinct.len() as u32 - 1
            })
        });
        Self { of_location: of_location.collect(), distinct }
    }
}

pub(super) fn encode(
    profiles: &[&Profile],
    capture: &CaptureMeta,
    timeline: bool,
    writer: &mut dyn Write,
) -> io::Result<()> {
    writer.write_all(br#"{"$schema":"https://www.speedscope.app/file-format-schema.json","exporter":"#)?;
    json::string(writer, &format!("pyprof-bpf {}", capture.tool_version))?;
    writer.write_all(br#","name":"#)?;
    json::string(writer, &titles::capture(profiles, capture))?;
    // The format has no place for remarks; readers pass over what they do not know.
    writer.write_all(br#","comments":"#)?;
    json::strings(writer, titles::comments(profiles, capture))?;
    let mut frames = Vec::with_capacity(profiles.len());
    let mut next = 0;
    for profile in profiles {
        frames.push(Frames::of(profile, next));
        next += frames.last().map_or(0, |frames: &Frames| frames.distinct.len() as u32);
    }
    writer.write_all(br#","shared":{"frames":"#)?;
    let all = profiles.iter().zip(&frames);
    let all = all.flat_map(|(profile, frames)| frames.distinct.iter().map(move |frame| (*profile, *frame)));
    json::list(writer, all, |writer, (profile, location)| frame(profile, location, writer))?;
    writer.write_all(br#"},"profiles":"#)?;

    let processes: usize = profiles.iter().map(|profile| profile.processes().len()).sum();
    let mut heaviest = (0u64, 0usize);
    let threads = profiles.iter().zip(&frames).flat_map(|(profile, frames)| {
        let mut samples: Vec<(u32, Sample)> = (0..).zip(profile.samples()).collect();
        samples.sort_by_key(|(_, sample)| sample.thread);
        let of_thread: Vec<Vec<(u32, Sample)>> =
            samples.chunk_by(|a, b| a.1.thread == b.1.thread).map(<[_]>::to_vec).collect();
        of_thread.into_iter().map(move |samples| (*profile, frames, samples))
    });
    json::list(writer, threads.enumerate(), |writer, (index, (profile, frames, samples))| {
        let sum = samples.iter().fold(0u64, |sum, (_, one)| sum.saturating_add(one.total.weight_ns));
        heaviest = heaviest.max((sum, usize::MAX - index));
        let in_order = in_order(profile, &samples, timeline);
        thread(profile, frames, &in_order, processes > 1, sum, writer)
    })?;
    // Speedscope opens this one.
    let active = if heaviest.0 == 0 { 0 } else { usize::MAX - heaviest.1 };
    writeln!(writer, ",\"activeProfileIndex\":{active}}}")?;
    writer.flush()
}

fn frame(profile: &Profile, location: Location, writer: &mut dyn Write) -> io::Result<()> {
    let Function { name, file, .. } = profile.functions()[location.function.index()];
    writer.write_all(br#"{"name":"#)?;
    json::string(writer, profile.string(name))?;
    if !profile.string(file).is_empty() {
        writer.write_all(br#","file":"#)?;
        json::string(writer, profile.string(file))?;
    }
    if location.line > 0 {
        write!(writer, ",\"line\":{}", location.line)?;
    }
    writer.write_all(b"}")
}

/// All samples of one thread: in the order of their times if these are known, else each stack once.
fn thread(
    profile: &Profile,
    frames: &Frames,
    in_order: &[(Sample, u64)],
    with_process: bool,
    sum: u64,
    writer: &mut dyn Write,
) -> io::Result<()> {
    let id = in_order.first().map_or(ThreadId(0), |(sample, _)| sample.thread);
    let mut name = String::new();
    if let Some(thread) = profile.threads().get(id.index()) {
        let process = profile.process_at(thread.process).filter(|_| with_process);
        name.extend(process.map(|process| format!("{} ", titles::process(process))));
        name.push_str(&titles::thread(profile, thread));
    }
    let unit = match profile.measure().weight.unit.as_ref() {
        unit @ ("nanoseconds" | "microseconds" | "milliseconds" | "seconds" | "bytes") => unit,
        _ => "none",
    };
    writer.write_all(br#"{"type":"sampled","name":"#)?;
    json::string(writer, &name)?;
    write!(writer, ",\"unit\":\"{unit}\",\"startValue\":0,\"endValue\":{sum},\"samples\":")?;
    json::list(writer, in_order, |writer, (sample, _)| {
        let mut stack: Vec<u32> =
            profile.stack_locations(sample.stack).map(|at| frames.of_location[at.index()]).collect();
        stack.reverse();
        json::numbers(writer, stack)
    })?;
    writer.write_all(br#","weights":"#)?;
    json::numbers(writer, in_order.iter().map(|(_, weight)| weight))?;
    writer.write_all(b"}")
}

/// Samples with their weights.
fn in_order(profile: &Profile, samples: &[(u32, Sample)], timeline: bool) -> Vec<(Sample, u64)> {
    let Some(moments) = profile.moments().filter(|_| timeline) else {
        return samples.iter().map(|(_, sample)| (*sample, sample.total.weight_ns)).collect();
    };
    let by_index: HashMap<u32, Sample> = samples.iter().copied().collect();
    let mut timed: Vec<_> =
        moments.iter().filter_map(|moment| Some((moment, *by_index.get(&moment.sample)?))).collect();
    timed.sort_by_key(|(moment, _)| moment.time_ns);
    let untimed = profile.untimed();
    let rest = samples.iter().map(|(index, sample)| {
        let Total { weight_ns, .. } = untimed[*index as usize];
        (*sample, weight_ns)
    });
    let timed = timed.into_iter().map(|(moment, sample)| (sample, moment.weight_ns));
    timed.chain(rest.filter(|(_, weight)| *weight > 0)).collect()
}
