//! The Firefox Profiler's processed profile format (<https://profiler.firefox.com>): threads over wall-clock time.
//!
//! Written here and not by the crate `fxprof-processed-profile`, which holds a whole second profile in memory and takes
//! whole numbers as weights: milliseconds without their fractions, where a sample stands for ten of them or for a part of
//! one. Fields and their meanings are those of version 55, which that crate writes, too
//! (firefox-devtools/profiler, `src/types/profile.ts`; its `docs-developer/CHANGELOG-formats.md` lists versions).

use super::{json, titles};
use crate::profile::{CaptureMeta, FunctionId, Profile, Sample, StackId, Thread};
use hashbrown::HashMap;
use std::io::{self, Write};

const VERSION: u32 = 55;
/// Positions in `meta.categories`.
const PYTHON: usize = 0;
const OTHER: usize = 1;

pub(super) fn encode(profiles: &[&Profile], capture: &CaptureMeta, writer: &mut dyn Write) -> io::Result<()> {
    meta(profiles, capture, writer)?;
    writer.write_all(br#","libs":[],"pages":[],"profilerOverhead":[],"counters":[],"threads":"#)?;
    let threads = profiles.iter().flat_map(|profile| {
        let events = by_thread(profile, capture);
        let threads = profile.threads().iter().zip(events);
        threads
            .filter(|(_, events)| !events.is_empty())
            .map(move |(thread, events)| (*profile, thread, events))
    });
    json::list(writer, threads, |writer, (profile, of, events)| {
        thread(profile, of, &events, capture, writer)
    })?;
    writer.write_all(b"}\n")?;
    writer.flush()
}

fn meta(profiles: &[&Profile], capture: &CaptureMeta, writer: &mut dyn Write) -> io::Result<()> {
    let CaptureMeta { tool_version, host, kernel, start_unix_ns, .. } = capture;
    let interval = capture.period_ns() as f64 / 1e6;
    let start = *start_unix_ns as f64 / 1e6;
    write!(
        writer,
        r#"{{"meta":{{"interval":{interval},"startTime":{start},"preprocessedProfileVersion":{VERSION},"version":24,"#
    )?;
    writer.write_all(br#""processType":0,"product":"#)?;
    json::string(writer, &format!("pyprof-bpf on {host}"))?;
    writer.write_all(br#","importedFrom":"#)?;
    json::string(writer, &format!("pyprof-bpf {tool_version}"))?;
    writer.write_all(br#","oscpu":"#)?;
    json::string(writer, &format!("Linux {kernel}"))?;
    writer.write_all(
        concat!(
            r#","debug":false,"symbolicated":true,"stackwalk":1,"usesOnlyOneStackType":true,"#,
            r#""sourceCodeIsNotOnSearchfox":true,"doesNotUseFrameImplementation":true,"#,
            r#""extensions":{"length":0,"baseURL":[],"id":[],"name":[]},"pausedRanges":[],"markerSchema":[],"#,
            r#""sampleUnits":{"time":"ms","eventDelay":"ms","threadCPUDelta":"\u00b5s"},"categories":["#,
            r#"{"name":"Python","color":"yellow","subcategories":["Other"]},"#,
            r#"{"name":"Other","color":"grey","subcategories":["Other"]}],"#,
            // Shown under "More Info".
            r#""extra":[{"label":"Capture","entries":"#,
        )
        .as_bytes(),
    )?;
    json::list(writer, titles::comments(profiles, capture), |writer, comment| {
        let (label, value) = comment.split_once(": ").unwrap_or(("written by", &comment));
        writer.write_all(br#"{"format":"string","label":"#)?;
        json::string(writer, label)?;
        writer.write_all(br#","value":"#)?;
        json::string(writer, value)?;
        writer.write_all(b"}")
    })?;
    writer.write_all(b"}]}")
}

/// A stack at a time.
struct Event {
    /// From the start of the capture.
    time_ns: u64,
    stack: StackId,
    weight_ns: u64,
}

/// The samples of each thread of a profile, in the order of their times.
fn by_thread(profile: &Profile, capture: &CaptureMeta) -> Vec<Vec<Event>> {
    let mut events: Vec<Vec<Event>> = Vec::new();
    events.resize_with(profile.threads().len(), Vec::new);
    let samples: Vec<Sample> = profile.samples().collect();
    let mut add = |sample: &Sample, time_ns, weight_ns| {
        if let Some(events) = events.get_mut(sample.thread.index()) {
            events.push(Event { time_ns, stack: sample.stack, weight_ns });
        }
    };
    match profile.moments() {
        Some(moments) => {
            for moment in moments {
                let time_ns = moment.time_ns.saturating_sub(capture.start_monotonic_ns);
                add(&samples[moment.sample as usize], time_ns, moment.weight_ns);
            }
            // There was no room for their times: they stand at the end.
            for (sample, rest) in samples.iter().zip(profile.untimed()) {
                if rest.samples > 0 {
                    add(sample, capture.duration_ns, rest.weight_ns);
                }
            }
        }
        // Nobody knows when: one after the other, as long as each took.
        None => {
            let mut until = vec![0u64; profile.threads().len()];
            for sample in &samples {
                let Some(until_ns) = until.get_mut(sample.thread.index()) else { continue };
                *until_ns = until_ns.saturating_add(sample.total.weight_ns);
                add(sample, *until_ns, sample.total.weight_ns);
            }
        }
    }
    for events in &mut events {
        events.sort_by_key(|event| event.time_ns);
    }
    events
}

/// The tables of one thread. Each refers to the next by position.
#[derive(Default)]
struct Tables<'a> {
    /// Prefix and frame.
    stacks: Vec<(Option<u32>, u32)>,
    frames: Vec<(u32, u32)>,
    functions: Vec<FunctionId>,
    strings: Vec<&'a str>,
    known_nodes: HashMap<StackId, u32>,
    known_stacks: HashMap<(Option<u32>, u32), u32>,
    known_frames: HashMap<(u32, u32), u32>,
    known_functions: HashMap<FunctionId, u32>,
    known_strings: HashMap<&'a str, u32>,
}

/// The position of `key` in `all`, where it is put if it is new.
fn position<K: Copy + Eq + std::hash::Hash>(known: &mut HashMap<K, u32>, all: &mut Vec<K>, key: K) -> u32 {
    *known.entry(key).or_insert_with(|| {
        all.push(key);
        all.len() as u32 - 1
    })
}

impl<'a> Tables<'a> {
    /// The row of a stack; `None` for the empty one.
    fn stack(&mut self, profile: &Profile, stack: StackId) -> Option<u32> {
        // Down from the nearest caller that is known.
        let nodes = profile.stack_nodes();
        let mut missing = Vec::new();
        let mut at = stack;
        let mut prefix = loop {
            if at == StackId(0) {
                break None;
            }
            if let Some(row) = self.known_nodes.get(&at) {
                break Some(*row);
            }
            missing.push(at);
            at = nodes[at.index()].caller;
        };
        for node in missing.into_iter().rev() {
            let location = profile.locations()[nodes[node.index()].location.index()];
            let function = position(&mut self.known_functions, &mut self.functions, location.function);
            let frame = position(&mut self.known_frames, &mut self.frames, (function, location.line));
            let row = position(&mut self.known_stacks, &mut self.stacks, (prefix, frame));
            self.known_nodes.insert(node, row);
            prefix = Some(row);
        }
        prefix
    }

    fn string(&mut self, text: &'a str) -> u32 {
        position(&mut self.known_strings, &mut self.strings, text)
    }
}

struct Nullable<T>(Option<T>);

impl<T: std::fmt::Display> std::fmt::Display for Nullable<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("null"),
        }
    }
}

fn thread(
    profile: &Profile,
    thread: &Thread,
    events: &[Event],
    capture: &CaptureMeta,
    writer: &mut dyn Write,
) -> io::Result<()> {
    let mut tables = Tables::default();
    let rows: Vec<Option<u32>> = events.iter().map(|event| tables.stack(profile, event.stack)).collect();
    let Some(process) = profile.process_at(thread.process) else { return Ok(()) };
    let name = titles::thread(profile, thread);
    let started_ms =
        |boot_ns: u64| capture.unix_ns_of_boot(boot_ns).saturating_sub(capture.start_unix_ns) as f64 / 1e6;
    writer.write_all(br#"{"processType":"default","processName":"#)?;
    json::string(writer, &titles::process(process))?;
    let startup = started_ms(process.start_boot_ns);
    let registered = started_ms(thread.start_ns);
    let is_main = thread.tid == process.pid;
    write!(
        writer,
        r#","processStartupTime":{startup},"processShutdownTime":null,"registerTime":{registered},"#
    )?;
    write!(
        writer,
        r#""unregisterTime":null,"pausedRanges":[],"showMarkersInTimeline":false,"isMainThread":{is_main},"#
    )?;
    write!(writer, r#""pid":"{}","tid":"{}","name":"#, process.pid, thread.tid)?;
    json::string(writer, &name)?;

    let length = events.len();
    write!(writer, r#","samples":{{"length":{length},"weightType":"tracing-ms","stack":"#)?;
    json::numbers(writer, rows.iter().map(|row| Nullable(*row)))?;
    writer.write_all(br#","timeDeltas":"#)?;
    let mut before_ns = 0;
    json::numbers(
        writer,
        events.iter().map(|event| {
            let delta = event.time_ns - before_ns;
            before_ns = event.time_ns;
            delta as f64 / 1e6
        }),
    )?;
    writer.write_all(br#","weight":"#)?;
    json::numbers(writer, events.iter().map(|event| event.weight_ns as f64 / 1e6))?;
    if profile.measure().weight.name == "cpu" {
        writer.write_all(br#","threadCPUDelta":"#)?;
        json::numbers(writer, events.iter().map(|event| event.weight_ns / 1000))?;
    }
    writer.write_all(b"},")?;
    write_tables(profile, &mut tables, writer)
}

fn write_tables<'a>(profile: &'a Profile, tables: &mut Tables<'a>, writer: &mut dyn Write) -> io::Result<()> {
    let functions: Vec<_> =
        tables.functions.iter().map(|function| profile.functions()[function.index()]).collect();
    let names: Vec<u32> =
        functions.iter().map(|function| tables.string(profile.string(function.name))).collect();
    let file = |tables: &mut Tables<'a>, file: &'a str| (!file.is_empty()).then(|| tables.string(file));
    let files: Vec<Option<u32>> =
        functions.iter().map(|function| file(tables, profile.string(function.file))).collect();
    let Tables { stacks, frames, strings, .. } = &*tables;
    let (number, depth) = (functions.len(), frames.len());
    let category = |frame: &(u32, u32)| if files[frame.0 as usize].is_some() { PYTHON } else { OTHER };
    let line = |line: u32| Nullable((line > 0).then_some(line));

    write!(writer, r#""stackTable":{{"length":{},"prefix":"#, stacks.len())?;
    json::numbers(writer, stacks.iter().map(|(prefix, _)| Nullable(*prefix)))?;
    writer.write_all(br#","frame":"#)?;
    json::numbers(writer, stacks.iter().map(|(_, frame)| frame))?;

    write!(writer, r#"}},"frameTable":{{"length":{depth},"func":"#)?;
    json::numbers(writer, frames.iter().map(|frame| frame.0))?;
    writer.write_all(br#","line":"#)?;
    json::numbers(writer, frames.iter().map(|frame| line(frame.1)))?;
    writer.write_all(br#","category":"#)?;
    json::numbers(writer, frames.iter().map(category))?;
    column(writer, "address", "-1", depth)?;
    column(writer, "inlineDepth", "0", depth)?;
    column(writer, "subcategory", "0", depth)?;
    column(writer, "nativeSymbol", "null", depth)?;
    column(writer, "innerWindowID", "0", depth)?;
    column(writer, "column", "null", depth)?;

    write!(writer, r#"}},"funcTable":{{"length":{number},"name":"#)?;
    json::numbers(writer, &names)?;
    writer.write_all(br#","fileName":"#)?;
    json::numbers(writer, files.iter().map(|file| Nullable(*file)))?;
    writer.write_all(br#","lineNumber":"#)?;
    json::numbers(writer, functions.iter().map(|function| line(function.start_line)))?;
    column(writer, "isJS", "false", number)?;
    column(writer, "relevantForJS", "false", number)?;
    column(writer, "resource", "-1", number)?;
    column(writer, "columnNumber", "null", number)?;

    writer.write_all(br#"},"stringArray":"#)?;
    json::strings(writer, strings)?;
    writer.write_all(
        concat!(
            r#","markers":{"length":0,"category":[],"data":[],"endTime":[],"name":[],"phase":[],"startTime":[]},"#,
            r#""nativeSymbols":{"length":0,"address":[],"functionSize":[],"libIndex":[],"name":[]},"#,
            r#""resourceTable":{"length":0,"lib":[],"name":[],"host":[],"type":[]}}"#,
        )
        .as_bytes(),
    )
}

/// A column that says the same in every row.
fn column(writer: &mut dyn Write, name: &str, value: &str, length: usize) -> io::Result<()> {
    write!(writer, ",\"{name}\":")?;
    json::numbers(writer, std::iter::repeat_n(value, length))
}
