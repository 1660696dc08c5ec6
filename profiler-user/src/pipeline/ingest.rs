//! Counts records in the profiles of their process images.

use std::collections::HashMap;
use std::time::Duration;

use profiler_common::event::{GIL_HELD, GIL_KNOWN, IN_KERNEL, NO_COLLECTOR};
use profiler_common::{Frame, ProcessKey, SampleEvent};
use pyunwind::Outcome;

use super::codes::{CodeKey, Source};
use super::image::{Image, State, Waiting};
use super::thread_names::{name_last_threads, name_threads};
use crate::bpf::Record;
use crate::profile::{Context, Gil, LocationId, Profile, StackId};

/// Samples of one image that may wait for code objects.
const MAX_WAITING: usize = 4096;

/// Ticks of one image that may wait for the process to become known.
const MAX_HELD: usize = 1024;

/// What came over the ring, to be held against what the kernel counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Received {
    pub samples: u64,
    pub weight_ns: u64,
    /// Samples of processes that turned out not to be Python.
    pub other: u64,
    pub other_weight_ns: u64,
    pub outcomes: [u64; Outcome::ALL.len()],
    /// Code objects that nobody could name.
    pub unnamed: u64,
    /// Samples of processes that were gone before anybody could look at them.
    pub vanished: u64,
}

/// All process images, living and past.
pub struct Ingest {
    images: Vec<Image>,
    /// pid -> its images, the latest last.
    by_pid: HashMap<u32, Vec<usize>>,
    pub received: Received,
    max_memory_bytes: usize,
    full: bool,
    /// Time spent on asking processes for code objects since the last batch.
    asking: Duration,
    /// Whose threads are asked about first in the next turn: about, since images move.
    next_named: usize,
}

impl Ingest {
    pub fn new(max_memory_bytes: usize) -> Ingest {
        Ingest {
            images: Vec::new(),
            by_pid: HashMap::new(),
            received: Received::default(),
            max_memory_bytes,
            full: false,
            asking: Duration::ZERO,
            next_named: 0,
        }
    }

    pub fn add(&mut self, image: Image) -> usize {
        let index = self.images.len();
        self.by_pid.entry(image.key.tgid).or_default().push(index);
        self.images.push(image);
        index
    }

    pub fn image(&self, index: usize) -> &Image {
        &self.images[index]
    }

    pub fn image_mut(&mut self, index: usize) -> &mut Image {
        &mut self.images[index]
    }

    pub fn images(&self) -> &[Image] {
        &self.images
    }

    /// The image that a key names.
    pub fn find(&mut self, key: &ProcessKey) -> Option<usize> {
        let indexes = self.by_pid.get(&key.tgid)?;
        let images = &mut self.images;
        indexes.iter().rev().copied().find(|index| images[*index].adopt(key))
    }

    /// The image that a pid names now.
    pub fn latest(&self, pid: u32) -> Option<usize> {
        self.by_pid.get(&pid)?.last().copied()
    }

    /// Counts a record. Returns the index of an image that is not known yet, for its owner to look at.
    pub fn record(&mut self, record: Record<'_>) -> Option<usize> {
        match record {
            Record::Sample(sample, frames) => return self.sample(sample, frames),
            // Only new stacks need new code objects, and there is no room for those.
            Record::Code(..) | Record::Lines(..) if self.full => {}
            Record::Code(event, data) => {
                if let Some(index) = self.find(&event.header.process)
                    && let Image { state: State::Python(python), profile, codes, .. } =
                        &mut self.images[index]
                {
                    codes.capture(profile, &mut Source::new(python, &mut self.asking), event, data);
                }
            }
            Record::Lines(event, bytes) => {
                if let Some(index) = self.find(&event.header.process) {
                    self.images[index].codes.extend(event, bytes);
                }
            }
        }
        None
    }

    fn sample(&mut self, sample: &SampleEvent, frames: &[Frame]) -> Option<usize> {
        self.received.samples += 1;
        self.received.weight_ns += sample.weight_ns;
        let outcome = Outcome::from_u8(sample.outcome).unwrap_or(Outcome::Unknown);
        self.received.outcomes[outcome as usize] += 1;
        let key = &sample.header.process;
        let (index, new) = match self.find(key) {
            Some(index) => (index, None),
            None => {
                let index = self.add(Image::new(*key));
                (index, Some(index))
            }
        };
        let image = &mut self.images[index];
        match (&image.state, outcome) {
            (State::Other, _) => {
                self.received.other += 1;
                self.received.other_weight_ns += sample.weight_ns;
            }
            // Without frames, since nothing was known of the process: the next look tells whether it was starting.
            (State::Pending { .. }, Outcome::Unknown) if image.held.len() < MAX_HELD => {
                image.held.push(*sample);
                return Some(index);
            }
            _ => self.count(index, sample, frames, outcome),
        }
        new
    }

    /// Counts what was held back, now that more is known: what came before the process had a thread state, as far as
    /// anybody saw, and with `all` what may have come after it.
    pub fn release(&mut self, index: usize, all: bool) {
        let image = &mut self.images[index];
        let until_ns = if all { u64::MAX } else { image.not_started_ns };
        let held = std::mem::take(&mut image.held);
        let (ready, held): (Vec<_>, Vec<_>) = held.into_iter().partition(|it| it.header.time_ns <= until_ns);
        image.held = held;
        for sample in ready {
            self.count(index, &sample, &[], Outcome::Unknown);
        }
    }

    fn count(&mut self, index: usize, sample: &SampleEvent, frames: &[Frame], outcome: Outcome) {
        let full = self.full;
        let image = &mut self.images[index];
        let starting = outcome == Outcome::Unknown && sample.header.time_ns <= image.not_started_ns;
        let outcome = if starting { Outcome::Starting } else { outcome };
        if outcome == Outcome::ThreadNotFound {
            image.hints.ask(sample.thread_pointer, sample.thread_start_ns);
        }
        // Without room, only what adds nothing is counted: a known stack of a known thread.
        let known = image.stacks.contains_key(&(sample.stack_hash, outcome as u8))
            && image.profile.knows_thread(sample.tid, sample.thread_start_ns);
        if full && !known {
            image.profile.add_dropped(sample.weight_ns);
            return;
        }
        let threads = image.profile.threads().len();
        let thread = image.profile.thread(sample.tid, sample.thread_start_ns);
        if image.profile.threads().len() > threads {
            image.names.saw(sample.thread_pointer, thread, sample.tid);
        }
        image.profile.name_thread(thread, comm(&sample.comm));
        let context = Context { gil: gil(sample.flags), interpreter: sample.interpreter };
        if outcome == Outcome::Native && frames.is_empty() {
            let in_kernel = sample.flags & IN_KERNEL != 0;
            let stack = native(&mut image.profile, sample.user_ip, in_kernel);
            image.profile.add_in(thread, stack, context, outcome, sample.weight_ns);
            return;
        }
        if let Some(stack) = image.stacks.get(&(sample.stack_hash, outcome as u8)) {
            image.profile.add_in(thread, *stack, context, outcome, sample.weight_ns);
            return;
        }
        let waiting = Waiting {
            tid: sample.tid,
            thread_start_ns: sample.thread_start_ns,
            frames: frames.to_vec(),
            outcome,
            context,
            collector: sample.collector,
            weight_ns: sample.weight_ns,
            stack_hash: sample.stack_hash,
        };
        if let Some(waiting) = place(image, waiting, &mut self.asking) {
            if image.waiting.len() < MAX_WAITING {
                image.waiting.push(waiting);
            } else {
                image.profile.add_dropped(waiting.weight_ns);
            }
        }
    }

    /// Tries again what waited; with `give_up`, names what will never be known.
    pub fn settle(&mut self, give_up: bool) {
        self.asking = Duration::ZERO;
        for index in 0..self.images.len() {
            if give_up {
                self.release(index, true);
            }
            let image = &mut self.images[index];
            if image.waiting.is_empty() {
                continue;
            }
            for waiting in std::mem::take(&mut image.waiting) {
                if give_up {
                    for frame in &waiting.frames {
                        image.codes.give_up(&mut image.profile, CodeKey::of(frame));
                    }
                }
                if let Some(waiting) = place(image, waiting, &mut self.asking) {
                    image.waiting.push(waiting);
                }
            }
        }
        self.asking = Duration::ZERO;
        self.received.unnamed = self.images.iter().map(|image| image.codes.unnamed).sum();
    }

    /// Asks processes what they call their threads, where it is time to; with `last`, all that have threads without names.
    pub fn name_threads(&mut self, last: bool) {
        if last {
            name_last_threads(&mut self.images);
        } else {
            name_threads(&mut self.images, &mut self.next_named);
        }
    }

    /// Forgets the samples of an image that nobody knows any more.
    pub fn vanish(&mut self, index: usize) {
        let image = &self.images[index];
        self.received.vanished += image.all_samples().samples;
        self.dismiss(index);
    }

    /// Forgets the samples of an image that is not a Python.
    pub fn dismiss(&mut self, index: usize) {
        let image = &mut self.images[index];
        let total = image.all_samples();
        self.received.other += total.samples;
        self.received.other_weight_ns += total.weight_ns;
        let key = image.key;
        *image = Image::new(key);
        image.state = State::Other;
        // Not followed any more, so nobody will say when it ends.
        image.exited = true;
    }

    /// Checks the memory cap against what the images hold, and against what the process has grown by, which knows
    /// of allocations that nobody counts.
    pub fn check_memory(&mut self, grown_bytes: usize) {
        let held: usize = self.images.iter().map(Image::memory_bytes).sum();
        self.full = held.max(grown_bytes) > self.max_memory_bytes;
    }

    /// Drops images that can never matter again. Indexes change: those in `indexes` with them.
    pub fn forget_finished(&mut self, indexes: &mut Vec<usize>) {
        let keep =
            |image: &Image| !(image.exited && (matches!(image.state, State::Other) || is_empty(image)));
        if self.images.iter().filter(|image| !keep(image)).count() < 64 {
            return;
        }
        let mut kept = 0;
        let moved: Vec<Option<usize>> = self
            .images
            .iter()
            .map(|image| {
                let index = keep(image).then_some(kept);
                kept += usize::from(index.is_some());
                index
            })
            .collect();
        *indexes = indexes.iter().filter_map(|index| moved.get(*index).copied().flatten()).collect();
        self.images.retain(keep);
        self.by_pid.clear();
        for (index, image) in self.images.iter().enumerate() {
            self.by_pid.entry(image.key.tgid).or_default().push(index);
        }
    }
}

fn is_empty(image: &Image) -> bool {
    image.waiting.is_empty()
        && image.held.is_empty()
        && image.profile.total().samples == 0
        && image.profile.dropped().samples == 0
}

/// Counts a sample if all its code objects are known, asking the process for those that are not.
fn place(image: &mut Image, waiting: Waiting, asking: &mut Duration) -> Option<Waiting> {
    let Image { state, profile, codes, stacks, .. } = image;
    if let State::Python(python) = state {
        let mut source = Source::new(python, asking);
        for key in waiting.frames.iter().map(CodeKey::of) {
            if source.is_exhausted() {
                break;
            }
            if !codes.is_known(&key) {
                codes.ask(profile, &mut source, key);
            }
        }
    }
    if waiting.frames.iter().any(|frame| !codes.is_known(&CodeKey::of(frame))) {
        return Some(waiting);
    }
    let mut locations: Vec<LocationId> = Vec::with_capacity(waiting.frames.len() + 1);
    locations.extend(waiting.frames.iter().filter_map(|frame| codes.place(profile, frame)));
    if waiting.collector != NO_COLLECTOR {
        let function = profile.function(COLLECTOR, "", 0);
        let location = profile.location(function, 0, 0);
        locations.insert(usize::from(waiting.collector).min(locations.len()), location);
    }
    if let Some(name) = marker(waiting.outcome) {
        let function = profile.function(name, "", 0);
        locations.push(profile.location(function, 0, 0));
    }
    let stack = profile.stack(&locations);
    stacks.insert((waiting.stack_hash, waiting.outcome as u8), stack);
    let thread = profile.thread(waiting.tid, waiting.thread_start_ns);
    profile.add_in(thread, stack, waiting.context, waiting.outcome, waiting.weight_ns);
    None
}

/// The frame between what triggered a garbage collection and what that has called.
const COLLECTOR: &str = "<gc>";

const fn gil(flags: u8) -> Gil {
    match (flags & GIL_KNOWN != 0, flags & GIL_HELD != 0) {
        (false, _) => Gil::Unknown,
        (true, true) => Gil::Held,
        (true, false) => Gil::NotHeld,
    }
}

/// The frame that stands at the root of a stack which is not all there.
const fn marker(outcome: Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Complete => None,
        Outcome::Truncated => Some("<truncated>"),
        Outcome::Native => Some("<native>"),
        Outcome::Starting => Some("<starting>"),
        Outcome::Unreadable => Some("<unreadable>"),
        Outcome::Torn => Some("<torn>"),
        Outcome::ThreadNotFound => Some("<thread not found>"),
        Outcome::Unknown => Some("<unknown>"),
    }
}

/// A thread without Python frames: the instruction it stood at, and whether it was in the kernel.
fn native(profile: &mut Profile, user_ip: u64, in_kernel: bool) -> StackId {
    let function = profile.function(if in_kernel { "<native, in kernel>" } else { "<native>" }, "", 0);
    let location = profile.location(function, 0, user_ip);
    profile.stack(&[location])
}

/// `task_struct.comm` up to its NUL; it holds any bytes.
fn comm(bytes: &[u8; 16]) -> &str {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    match std::str::from_utf8(&bytes[..end]) {
        Ok(name) => name,
        // A name cut in the middle of a character keeps what is whole.
        Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or(""),
    }
}

#[cfg(test)]
#[path = "ingest_tests.rs"]
mod tests;
