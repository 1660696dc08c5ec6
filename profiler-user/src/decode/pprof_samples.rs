//! Samples of a pprof file into profiles, one per process.

use super::labels::{Role, Who, role};
use super::pprof::{Left, wrong_values};
use super::pprof_tables::{Function, Place, Tables, entry};
use super::wire::{Fields, Value};
use super::{DecodeError, malformed};
use crate::encode::pprof_schema as schema;
use crate::profile::{ExecutableMapping, LocationId, Measure, ProcessMeta, Profile, ThreadId, Total};
use hashbrown::HashMap;
use std::mem::size_of;
use std::ops::Range;

/// As many as a capture follows at once.
const MAX_PROCESSES: usize = 16_384;
/// Frames of one stack, inlined ones included.
const MAX_FRAMES: usize = 1 << 16;
/// Frames of all stacks together, for each byte of the file: a frame takes a byte, or two and more. A location of a thousand
/// lines that every sample names would keep a reader busy for years.
const FRAMES_PER_BYTE: usize = 16;
const MIN_FRAMES: usize = MAX_FRAMES;
/// Text that is looked at again and again: a name of four kilobytes that every one of ten million samples has. Seconds.
const MAX_TEXT_WORK_BYTES: u64 = 16 << 30;
/// What all profiles of a file may take: every process has names of its own.
const MAX_HELD_BYTES: usize = 512 << 20;
/// Keys of labels that are named when they cannot be kept.
const MAX_LEFT_LABELS: usize = 16;

pub(super) struct Builder<'t, 'a> {
    tables: &'t Tables<'a>,
    measure: Measure,
    count: usize,
    chosen: usize,
    is_ours: bool,
    ones: Vec<One>,
    by_pid: HashMap<u32, usize>,
    roles: HashMap<i64, Role>,
    /// Keys that were left, by their strings.
    left_labels: HashMap<i64, String>,
    negative: u64,
    frames_left: usize,
    text_left: u64,
    held_bytes: usize,
    stack: Vec<LocationId>,
}

/// A process on its way to a profile.
struct One {
    profile: Profile,
    /// Of the executable.
    mapping: u64,
    /// Where the frames of a place are in `frames`.
    places: HashMap<u32, Range<usize>>,
    frames: Vec<LocationId>,
    /// Threads without a number, by their names.
    named: HashMap<String, u64>,
}

impl<'t, 'a> Builder<'t, 'a> {
    pub(super) fn new(
        tables: &'t Tables<'a>,
        measure: Measure,
        count: usize,
        chosen: usize,
        is_ours: bool,
    ) -> Self {
        Self {
            tables,
            measure,
            count,
            chosen,
            is_ours,
            ones: Vec::new(),
            by_pid: HashMap::new(),
            roles: HashMap::new(),
            left_labels: HashMap::new(),
            negative: 0,
            frames_left: 0,
            text_left: MAX_TEXT_WORK_BYTES,
            held_bytes: 0,
            stack: Vec::new(),
        }
    }

    pub(super) fn read_all(&mut self, message: &[u8]) -> Result<(), DecodeError> {
        self.frames_left = message.len().saturating_mul(FRAMES_PER_BYTE).max(MIN_FRAMES);
        for field in Fields::of(message) {
            if let (2, Value::Bytes(bytes)) = field? {
                self.sample(entry("a sample", bytes)?)?;
            }
        }
        Ok(())
    }

    /// At least one profile, if only to say that nothing is in it.
    pub(super) fn finish(mut self, left: &mut Left) -> Vec<Profile> {
        left.negative = self.negative;
        left.more_labels = self.left_labels.len().saturating_sub(MAX_LEFT_LABELS);
        let mut labels: Vec<String> = self.left_labels.into_values().collect();
        labels.sort();
        labels.truncate(MAX_LEFT_LABELS);
        left.labels = labels;
        if self.ones.is_empty() {
            self.ones.push(One::new(Profile::of(self.measure, ProcessMeta::default()), 0));
        }
        self.ones.into_iter().map(|one| one.profile).collect()
    }

    fn sample(&mut self, sample: schema::Sample) -> Result<(), DecodeError> {
        let schema::Sample { location_id, value, label } = sample;
        let types = self.tables.sample_types.len();
        if value.len() != types {
            return Err(wrong_values(value.len(), types));
        }
        let mut who = Who::default();
        for schema::Label { key, str, num, num_unit: _ } in label {
            self.label(&mut who, key, str, num)?;
        }
        let (count, weight) = (value[self.count], value[self.chosen]);
        let (Ok(samples), Ok(weight_ns)) = (u64::try_from(count), u64::try_from(weight)) else {
            self.negative += 1;
            return Ok(());
        };
        // Of another type only, as heap profiles have them.
        if samples == 0 && weight_ns == 0 {
            return Ok(());
        }
        if location_id.len() > MAX_FRAMES {
            return Err(DecodeError::TooMany { what: "frames in a stack", most: MAX_FRAMES });
        }
        let at = self.process(&who, &location_id)?;
        let Self { tables, ones, stack, frames_left, text_left, held_bytes, is_ours, .. } = self;
        let one = &mut ones[at];
        let held_before = one.memory_bytes();
        stack.clear();
        for id in location_id {
            let frames = one.place(tables, tables.place_index(id)?, text_left)?;
            let left = frames_left.checked_sub(frames.len().max(1));
            *frames_left =
                left.ok_or_else(|| malformed("its stacks have far more frames than it has bytes"))?;
            if stack.len() + frames.len() > MAX_FRAMES {
                return Err(DecodeError::TooMany { what: "frames in a stack", most: MAX_FRAMES });
            }
            stack.extend_from_slice(&one.frames[frames]);
        }
        // Our encoder marks a stack that is not whole at its root.
        let root = stack.last().copied().filter(|_| *is_ours);
        let outcome = one.profile.outcome_of(root);
        let thread = one.thread(&who);
        let stack = one.profile.stack(stack);
        // Times are those of the wall clock: who writes them again says that both clocks began at once.
        if who.end_unix_ns.is_some() {
            one.profile.keep_times();
        }
        let total = Total { samples, weight_ns };
        one.profile.add_counted(thread, stack, who.context, outcome, total, who.end_unix_ns);
        *held_bytes = (*held_bytes + one.memory_bytes()).saturating_sub(held_before);
        if *held_bytes > MAX_HELD_BYTES {
            return Err(DecodeError::TooMany { what: "bytes in profiles", most: MAX_HELD_BYTES });
        }
        Ok(())
    }

    fn label(&mut self, who: &mut Who<'a>, key: i64, str: i64, num: i64) -> Result<(), DecodeError> {
        let role = match self.roles.get(&key) {
            Some(role) => *role,
            None => *self.roles.entry(key).or_insert(role(&self.tables.text(key)?)),
        };
        let text = self.tables.text(str)?;
        spend(&mut self.text_left, text.len())?;
        if !who.take(role, text, num) && !self.left_labels.contains_key(&key) {
            self.left_labels.insert(key, self.tables.text(key)?.into_owned());
        }
        Ok(())
    }

    /// The position of the process's profile.
    fn process(&mut self, who: &Who<'_>, leaf_first: &[u64]) -> Result<usize, DecodeError> {
        if let Some(at) = self.by_pid.get(&who.pid) {
            return Ok(*at);
        }
        if self.ones.len() >= MAX_PROCESSES {
            return Err(DecodeError::TooMany { what: "processes", most: MAX_PROCESSES });
        }
        // In our files the places of a process belong to its executable; in others the main program is the first of all.
        let place = leaf_first.first().filter(|_| self.is_ours).map(|id| self.tables.place_index(*id));
        let of_place = place.transpose()?.map(|index| self.tables.place(index).0.mapping);
        let id = of_place.unwrap_or(self.tables.first_mapping);
        let mut meta = ProcessMeta { pid: who.pid, labels: who.labels(), ..ProcessMeta::default() };
        if let Some(mapping) = self.tables.mapping(id) {
            meta.executable = self.tables.text(mapping.filename)?.into_owned();
            let build_id = self.tables.text(mapping.build_id)?.into_owned();
            meta.mapping = ExecutableMapping {
                start: mapping.memory_start,
                limit: mapping.memory_limit,
                file_offset: mapping.file_offset,
                build_id: (!build_id.is_empty()).then_some(build_id),
            };
        }
        meta.name = base_name(&meta.executable).into();
        self.by_pid.insert(who.pid, self.ones.len());
        self.ones.push(One::new(Profile::of(self.measure.clone(), meta), id));
        self.held_bytes += self.ones.last().map_or(0, One::memory_bytes);
        Ok(self.ones.len() - 1)
    }
}

impl One {
    fn new(profile: Profile, mapping: u64) -> Self {
        Self { profile, mapping, places: HashMap::new(), frames: Vec::new(), named: HashMap::new() }
    }

    fn memory_bytes(&self) -> usize {
        let Self { profile, places, frames, named, mapping: _ } = self;
        profile.memory_bytes()
            + places.capacity() * (size_of::<(u32, Range<usize>)>() + 1)
            + frames.capacity() * size_of::<LocationId>()
            + named.capacity() * (size_of::<(String, u64)>() + 1)
    }

    /// The frames of a place, leaf first: one, or more where functions were inlined.
    fn place(
        &mut self,
        tables: &Tables<'_>,
        index: u32,
        text_left: &mut u64,
    ) -> Result<Range<usize>, DecodeError> {
        if let Some(frames) = self.places.get(&index) {
            return Ok(frames.clone());
        }
        let (place, lines) = tables.place(index);
        let begin = self.frames.len();
        if lines.is_empty() {
            let name = nameless(tables, place)?;
            self.frame(place, &name, "", 0, 0);
        }
        for schema::Line { function_id, line } in lines {
            let line = u32::try_from(*line).unwrap_or(0);
            let Some(function) = tables.function(*function_id)? else {
                let name = nameless(tables, place)?;
                self.frame(place, &name, "", 0, line);
                continue;
            };
            let Function { name, system_name, file, start_line } = function;
            let mut name = tables.text(name)?;
            if name.is_empty() {
                name = tables.text(system_name)?;
            }
            if name.is_empty() {
                name = nameless(tables, place)?.into();
            }
            let start_line = u32::try_from(start_line).unwrap_or(0);
            let file = tables.text(file)?;
            spend(text_left, name.len() + file.len())?;
            self.frame(place, &name, &file, start_line, line);
        }
        let frames = begin..self.frames.len();
        self.places.insert(index, frames.clone());
        Ok(frames)
    }

    fn frame(&mut self, place: &Place, name: &str, file: &str, start_line: u32, line: u32) {
        let function = self.profile.function(name, file, start_line);
        // An address means something in its own mapping only, and a profile has that of the executable.
        let address = if place.mapping == self.mapping { place.address } else { 0 };
        self.frames.push(self.profile.location(function, line, address));
    }

    fn thread(&mut self, who: &Who<'_>) -> ThreadId {
        let name = who.shown_thread_name();
        let start = match who.tid {
            0 => {
                let next = self.named.len() as u64;
                *self.named.entry_ref(&*name).or_insert(next)
            }
            _ => who.generation.max(1).into(),
        };
        if self.profile.knows_thread(who.tid, start) {
            return self.profile.thread(who.tid, start);
        }
        let thread = self.profile.thread(who.tid, start);
        self.profile.name_python_thread(thread, &name);
        self.profile.name_thread(thread, &who.os_thread_name);
        thread
    }
}

fn spend(left: &mut u64, bytes: usize) -> Result<(), DecodeError> {
    let rest = left.checked_sub(bytes as u64);
    *left = rest.ok_or_else(|| malformed("its names are far longer than it is"))?;
    Ok(())
}

/// Code without a function: the file that it is in, as `go tool pprof` shows it, else its address.
fn nameless(tables: &Tables<'_>, place: &Place) -> Result<String, DecodeError> {
    let file = tables.mapping(place.mapping).map(|mapping| tables.text(mapping.filename)).transpose()?;
    Ok(match file.as_deref().map(base_name).filter(|name| !name.is_empty()) {
        Some(name) => format!("[{name}]"),
        None => format!("{:#x}", place.address),
    })
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or("")
}
