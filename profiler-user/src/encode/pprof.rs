//! pprof: the file that `go tool pprof` and its relatives open.
//!
//! Protobuf allows the repeated fields of one message to arrive in pieces, so samples are encoded and compressed in
//! small batches: the peak is a batch, not a second copy of the profile.

use super::{pprof_schema as schema, titles};
use crate::escape::escape;
use crate::profile::{
    CaptureMeta, ExecutableMapping, Gil, Location, Measure, ProcessMeta, Profile, Sample, Total, ValueType,
};
use crate::syscalls::{UNNAMED, syscall_name};
use flate2::Compression;
use flate2::write::GzEncoder;
use hashbrown::HashMap;
use prost::Message;
use std::io::{self, Write};

/// Samples, locations or functions encoded at a time.
const BATCH: usize = 1024;

/// The profile as gzip bytes.
pub fn pprof(profile: &Profile, capture: &CaptureMeta) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Writing to a vector cannot fail.
    let _ = pprof_to(profile, capture, &mut bytes);
    bytes
}

/// The profile as gzip, streamed into `writer`.
pub fn pprof_to(profile: &Profile, capture: &CaptureMeta, writer: impl Write) -> io::Result<()> {
    encode(profile, capture, false, writer)
}

/// The same; with `timeline`, every sample by itself, with its time as a label.
pub(super) fn encode(
    profile: &Profile,
    capture: &CaptureMeta,
    timeline: bool,
    writer: impl Write,
) -> io::Result<()> {
    let comments = titles::comments(&[profile], capture);
    let mut out = Output { gzip: GzEncoder::new(writer, Compression::default()), buffer: Vec::new() };
    let mut strings = Strings::new();
    out.message(&head(profile, capture, &comments, &mut strings))?;

    let used = Used::find(profile);
    let labels = LabelKeys::new(&mut strings);
    let constant: Vec<OfProcess> =
        profile.processes().map(|process| OfProcess::new(process, &mut strings)).collect();
    let moments = profile.moments().filter(|_| timeline);
    // What has no time, for want of memory or because nobody asked, is a sum.
    let untimed = moments.map(|_| profile.untimed());
    let sums = (0..).zip(profile.samples()).map(|(index, mut sample): (usize, Sample)| {
        sample.total = untimed.as_ref().map_or(sample.total, |untimed| untimed[index]);
        sample
    });
    let samples = sums
        .filter(|sample| untimed.is_none() || sample.total.samples > 0)
        .map(|sample| encode_sample(profile, &used, &labels, &constant, &mut strings, sample));
    out.batches(samples, |sample| schema::Profile { sample, ..Default::default() })?;
    // As Datadog's profilers call it: the wall clock at the end of what the sample stands for.
    let time = moments.map(|_| (strings.index("end_timestamp_ns"), strings.index("nanoseconds")));
    let all: Vec<Sample> = moments.iter().flat_map(|_| profile.samples()).collect();
    let samples = moments.into_iter().flatten().map(|moment| {
        let total = Total { samples: 1, weight_ns: moment.weight_ns };
        let sample = Sample { total, ..all[moment.sample as usize] };
        let mut sample = encode_sample(profile, &used, &labels, &constant, &mut strings, sample);
        let num = signed(capture.unix_ns_of_monotonic(moment.time_ns));
        let of = |(key, num_unit)| schema::Label { key, num, num_unit, ..Default::default() };
        sample.label.extend(time.map(of));
        sample
    });
    out.batches(samples, |sample| schema::Profile { sample, ..Default::default() })?;

    let locations = used.locations.kept().map(|(index, id)| {
        let Location { function, line, address, mapping } = profile.locations()[index];
        let line = schema::Line { function_id: used.functions.id(function.index()), line: line.into() };
        schema::Location { id, mapping_id: mapping_id(mapping), address, line: vec![line] }
    });
    out.batches(locations, |location| schema::Profile { location, ..Default::default() })?;

    let functions = used.functions.kept().map(|(index, id)| {
        let function = profile.functions()[index];
        schema::Function {
            id,
            name: strings.index(profile.string(function.name)),
            system_name: 0,
            filename: strings.index(profile.string(function.file)),
            start_line: function.start_line.into(),
        }
    });
    out.batches(functions, |function| schema::Profile { function, ..Default::default() })?;

    // Readers print names as they are, often to a terminal: what a target may put into one is made fit for it here.
    let strings = strings.table.into_iter().map(|text| escape(text).into_owned());
    out.batches(strings, |string_table| schema::Profile { string_table, ..Default::default() })?;
    out.gzip.finish()?.flush()
}

/// Every location points to the mapping of its executable: it says that nothing is left to symbolize.
fn mapping_id(mapping: u32) -> u64 {
    u64::from(mapping) + 1
}

/// Everything that is there once: types, times, the mappings, the comments.
fn head<'a>(
    profile: &'a Profile,
    capture: &CaptureMeta,
    comments: &'a [String],
    strings: &mut Strings<'a>,
) -> schema::Profile {
    let mut value_type = |of: &'a ValueType| schema::ValueType {
        r#type: strings.index(&of.name),
        unit: strings.index(&of.unit),
    };
    let measure_is_single = is_single(profile);
    let is_sampled = *profile.measure() == Measure::CPU;
    let Measure { count, weight } = profile.measure();
    let (count, weight) = (value_type(count), value_type(weight));
    let mapping = |(id, process): (u32, &'a ProcessMeta)| {
        let ExecutableMapping { start, limit, file_offset, ref build_id } = process.mapping;
        // Without a filename pprof says "Main binary filename not available".
        let filename = [&process.executable, &process.name].into_iter().find(|name| !name.is_empty());
        schema::Mapping {
            id: mapping_id(id),
            memory_start: start,
            memory_limit: limit,
            file_offset,
            filename: strings.index(filename.map_or("python", |name| name.as_str())),
            build_id: strings.index(build_id.as_deref().unwrap_or("")),
            has_functions: true,
            has_filenames: true,
            has_line_numbers: true,
            has_inline_frames: false,
        }
    };
    let mapping = (0..).zip(profile.mappings()).map(mapping).collect();
    schema::Profile {
        // The default is also the last one: Speedscope always opens the last.
        sample_type: if measure_is_single { vec![weight] } else { vec![count, weight] },
        default_sample_type: weight.r#type,
        // What is measured and not sampled has no period.
        period_type: is_sampled.then_some(weight),
        period: if is_sampled { signed(capture.period_ns()) } else { 0 },
        time_nanos: signed(capture.start_unix_ns),
        duration_nanos: signed(capture.duration_ns),
        mapping,
        comment: comments.iter().map(|comment| strings.index(comment)).collect(),
        ..Default::default()
    }
}

/// Other tools write profiles that count one thing only.
fn is_single(profile: &Profile) -> bool {
    let Measure { count, weight } = profile.measure();
    count == weight
}

/// Keys of labels. A key is a string or a number, never both, as readers demand.
struct LabelKeys {
    thread_id: i64,
    thread_name: i64,
    os_thread_name: i64,
    thread_generation: i64,
    gil: i64,
    interpreter_id: i64,
    syscall: i64,
}

impl LabelKeys {
    fn new(strings: &mut Strings<'_>) -> Self {
        Self {
            thread_id: strings.index("thread_id"),
            thread_name: strings.index("thread_name"),
            os_thread_name: strings.index("os_thread_name"),
            thread_generation: strings.index("thread_generation"),
            gil: strings.index("gil"),
            interpreter_id: strings.index("interpreter_id"),
            syscall: strings.index("syscall"),
        }
    }
}

/// What is the same for all samples of a process.
struct OfProcess<'a> {
    comm: &'a str,
    /// The pid, and what the process's owner knows it by.
    labels: Vec<schema::Label>,
}

impl<'a> OfProcess<'a> {
    fn new(process: &'a ProcessMeta, strings: &mut Strings<'a>) -> Self {
        // Profiles of other tools may not say of which process they are.
        let pid = (process.pid != 0).then(|| schema::Label {
            key: strings.index("pid"),
            num: process.pid.into(),
            ..Default::default()
        });
        let known = process.labels.known().map(|(key, value)| schema::Label {
            key: strings.index(key),
            str: strings.index(value),
            ..Default::default()
        });
        Self { comm: &process.comm, labels: pid.into_iter().chain(known).collect() }
    }
}

fn encode_sample<'a>(
    profile: &'a Profile,
    used: &Used,
    keys: &LabelKeys,
    constant: &[OfProcess<'a>],
    strings: &mut Strings<'a>,
    sample: Sample,
) -> schema::Sample {
    let number = |key, num| schema::Label { key, num, ..Default::default() };
    let mut label = Vec::with_capacity(16);
    if let Some(thread) = profile.threads().get(sample.thread.index()) {
        if thread.tid != 0 {
            label.push(number(keys.thread_id, thread.tid.into()));
        }
        let process = constant.get(thread.process as usize);
        let (name, os_name) = thread.names(process.map_or("", |process| process.comm));
        let named = [(keys.thread_name, Some(name)), (keys.os_thread_name, os_name)];
        for (key, name) in named {
            if let Some(name) = name.filter(|name| !name.is_empty()) {
                label.push(schema::Label { key, str: strings.index(name), ..Default::default() });
            }
        }
        if thread.generation > 1 && thread.tid != 0 {
            label.push(number(keys.thread_generation, thread.generation.into()));
        }
        label.extend_from_slice(process.map_or(&[], |process| &process.labels));
    }
    if sample.context.interpreter != 0 {
        label.push(number(keys.interpreter_id, sample.context.interpreter.into()));
    }
    let gil = match sample.context.gil {
        Gil::Unknown => None,
        Gil::Held => Some("held"),
        Gil::NotHeld => Some("not held"),
        Gil::Awaited => Some("waiting"),
    };
    if let Some(gil) = gil {
        label.push(schema::Label { key: keys.gil, str: strings.index(gil), ..Default::default() });
    }
    if let Some(name) = sample.context.syscall.map(|number| syscall_name(number.into()).unwrap_or(UNNAMED)) {
        label.push(schema::Label { key: keys.syscall, str: strings.index(name), ..Default::default() });
    }
    let locations = profile.stack_locations(sample.stack);
    schema::Sample {
        location_id: locations.map(|location| used.locations.id(location.index())).collect(),
        value: match (signed(sample.total.samples), signed(sample.total.weight_ns)) {
            (_, weight) if is_single(profile) => vec![weight],
            (count, weight) => vec![count, weight],
        },
        label,
    }
}

/// What samples refer to. Code that was seen but never sampled is no part of the file.
struct Used {
    locations: Ids,
    functions: Ids,
}

impl Used {
    fn find(profile: &Profile) -> Self {
        let nodes = profile.stack_nodes();
        let mut reached = vec![false; nodes.len()];
        let mut locations = vec![false; profile.locations().len()];
        let mut functions = vec![false; profile.functions().len()];
        for sample in profile.samples() {
            let mut at = sample.stack;
            // Beyond a node that was reached, everything up to the root was too; node 0 is the root.
            while at.index() != 0 && !std::mem::replace(&mut reached[at.index()], true) {
                let node = nodes[at.index()];
                locations[node.location.index()] = true;
                functions[profile.locations()[node.location.index()].function.index()] = true;
                at = node.caller;
            }
        }
        Self { locations: Ids::number(locations), functions: Ids::number(functions) }
    }
}

/// Ids from 1 without gaps (Parca rejects others) for the entries that are kept; 0 for the others.
struct Ids(Vec<u32>);

impl Ids {
    fn number(keep: Vec<bool>) -> Self {
        let mut last = 0;
        let number = |keep: bool| {
            last += u32::from(keep);
            if keep { last } else { 0 }
        };
        Self(keep.into_iter().map(number).collect())
    }

    fn id(&self, index: usize) -> u64 {
        self.0.get(index).copied().unwrap_or(0).into()
    }

    fn kept(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.0.iter().enumerate().filter(|(_, id)| **id != 0).map(|(index, &id)| (index, id.into()))
    }
}

/// The string table: strings in the order of their first use, the empty one at 0.
struct Strings<'a> {
    table: Vec<&'a str>,
    indexes: HashMap<&'a str, i64>,
}

impl<'a> Strings<'a> {
    fn new() -> Self {
        Self { table: vec![""], indexes: HashMap::from_iter([("", 0)]) }
    }

    fn index(&mut self, value: &'a str) -> i64 {
        *self.indexes.entry(value).or_insert_with(|| {
            self.table.push(value);
            self.table.len() as i64 - 1
        })
    }
}

struct Output<W: Write> {
    gzip: GzEncoder<W>,
    buffer: Vec<u8>,
}

impl<W: Write> Output<W> {
    fn message(&mut self, part: &schema::Profile) -> io::Result<()> {
        self.buffer.clear();
        // A vector grows as needed, so there is always room.
        let _ = part.encode(&mut self.buffer);
        self.gzip.write_all(&self.buffer)
    }

    fn batches<T>(
        &mut self,
        mut items: impl Iterator<Item = T>,
        part: impl Fn(Vec<T>) -> schema::Profile,
    ) -> io::Result<()> {
        loop {
            let batch: Vec<T> = items.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                return Ok(());
            }
            self.message(&part(batch))?;
        }
    }
}

/// pprof counts in `int64`.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
