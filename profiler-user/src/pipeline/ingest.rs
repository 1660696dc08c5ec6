//! Counts records in the profiles of their process images.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use profiler_common::event::{GIL_HELD, GIL_KNOWN, IN_KERNEL, NO_COLLECTOR, SOURCE_OFF_CPU};
use profiler_common::{Frame, ProcessKey, SampleEvent};
use pyunwind::Outcome;

use super::codes::{CodeKey, Source};
use super::image::{Image, Kind, State, Waiting};
use super::off_cpu::{Since, drop_one, mark_lost, tally};
use super::thread_names::{Turns, name_last_threads};
use crate::bpf::Record;
use crate::profile::{Context, Gil, LocationId, NATIVE_IN_KERNEL, Profile, StackId, marker};
use crate::reader::Reader;

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
    /// Blocks of threads off their CPUs.
    pub off_cpu: u64,
    /// Code objects that nobody could name.
    pub unnamed: u64,
    /// Samples of processes that were gone before anybody could look at them.
    pub vanished: u64,
    /// Samples of processes that did not answer before anybody knew what they are.
    pub unresponsive: u64,
}

impl Received {
    /// What came after an earlier reading.
    pub fn since(&self, before: &Received) -> Received {
        let mut outcomes = self.outcomes;
        outcomes.iter_mut().zip(before.outcomes).for_each(|(now, before)| *now = now.saturating_sub(before));
        Received {
            samples: self.samples.saturating_sub(before.samples),
            weight_ns: self.weight_ns.saturating_sub(before.weight_ns),
            other: self.other.saturating_sub(before.other),
            other_weight_ns: self.other_weight_ns.saturating_sub(before.other_weight_ns),
            outcomes,
            unnamed: self.unnamed.saturating_sub(before.unnamed),
            vanished: self.vanished.saturating_sub(before.vanished),
            unresponsive: self.unresponsive.saturating_sub(before.unresponsive),
            off_cpu: self.off_cpu.saturating_sub(before.off_cpu),
        }
    }
}

/// All process images, living and past.
pub struct Ingest {
    /// Who asks processes: each question is about one of the images.
    pub reader: Reader,
    pub(super) images: Vec<Image>,
    /// When threads began to be followed off their CPUs.
    pub(super) off_cpu_since: Option<Since>,
    /// pid -> its images, the latest last.
    pub(super) by_pid: HashMap<u32, Vec<usize>>,
    pub received: Received,
    /// Samples keep their times, as long as there is room for them.
    pub keep_times: bool,
    /// What images may take together.
    pub max_memory_bytes: usize,
    /// What may be added until memory is checked again.
    pub(super) free_bytes: usize,
    /// Time spent on asking processes for code objects since the last batch.
    pub(super) asking: Duration,
    /// Whose threads are asked about in the next turn, about, since images move; and for how long.
    name_turns: Turns,
    /// Of code objects that nobody could name, those that are in no image any more.
    pub(super) unnamed_before: u64,
    pub(super) looked_for_finished: Option<Instant>,
}

impl Ingest {
    pub fn new(max_memory_bytes: usize, reader: Reader) -> Ingest {
        Ingest {
            reader,
            images: Vec::new(),
            off_cpu_since: None,
            by_pid: HashMap::new(),
            received: Received::default(),
            keep_times: false,
            max_memory_bytes,
            free_bytes: max_memory_bytes,
            asking: Duration::ZERO,
            name_turns: Turns::new(),
            unnamed_before: 0,
            looked_for_finished: None,
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

    /// One image, and who to ask about it.
    pub fn image_and_reader(&mut self, index: usize) -> (&mut Image, &mut Reader) {
        (&mut self.images[index], &mut self.reader)
    }

    /// All images, at the end.
    pub fn take_images(&mut self) -> Vec<Image> {
        self.by_pid.clear();
        std::mem::take(&mut self.images)
    }

    pub fn images(&self) -> &[Image] {
        &self.images
    }

    pub fn images_mut(&mut self) -> &mut [Image] {
        &mut self.images
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
            Record::Sample(sample, _) if sample.source == SOURCE_OFF_CPU => return self.off_cpu(sample),
            Record::Sample(sample, frames) => return self.sample(sample, frames),
            Record::Stack(sample, frames) => return self.stack(sample, frames),
            Record::Thread(event) => self.ended(event),
            // Only new stacks need new code objects, and there is no room for those.
            Record::Code(..) | Record::Lines(..) if self.free_bytes == 0 => {}
            Record::Code(event, data) => {
                if let Some(index) = self.find(&event.header.process)
                    && self.takes(self.images[index].codes_growth_bytes(1, data.len()))
                    && let Image { key, state: State::Python(python), profile, codes, .. } =
                        &mut self.images[index]
                {
                    let mut source = Source::new(*key, python, &mut self.reader, &mut self.asking);
                    codes.capture(profile, &mut source, event, data);
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

    /// Whether there is room for so much at once; then it is taken, until what is held is measured again.
    pub(super) fn takes(&mut self, growth_bytes: usize) -> bool {
        let has_room = self.free_bytes > growth_bytes;
        if has_room {
            self.free_bytes -= growth_bytes;
        }
        has_room
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
        let image = &mut self.images[index];
        let starting = outcome == Outcome::Unknown && sample.header.time_ns <= image.not_started_ns;
        let outcome = if starting { Outcome::Starting } else { outcome };
        if outcome == Outcome::ThreadNotFound {
            image.hints.ask(sample.thread_pointer, sample.thread_start_ns);
        }
        // Without room, only what adds nothing is counted: a known stack of a known thread.
        let known = image.stacks.contains_key(&(sample.stack_hash, outcome as u8))
            && image.profile.knows_thread(sample.tid, sample.thread_start_ns);
        if !known {
            let growth_bytes = image.stack_growth_bytes(frames);
            if !self.takes(growth_bytes) {
                self.images[index].profile.add_dropped(sample.weight_ns);
                return;
            }
        }
        let image = &mut self.images[index];
        let mut time_ns = None;
        if self.keep_times {
            image.profile.keep_times();
            let growth_bytes = image.profile.moment_growth_bytes();
            if growth_bytes < self.free_bytes {
                self.free_bytes -= growth_bytes;
                time_ns = Some(sample.header.time_ns);
            }
        }
        let threads = image.profile.threads().len();
        let thread = image.profile.thread(sample.tid, sample.thread_start_ns);
        if image.profile.threads().len() > threads || image.names.is_early(thread) {
            image.names.saw(sample.thread_pointer, thread, sample.tid);
        }
        image.profile.name_thread(thread, comm(&sample.comm));
        let context = Context { gil: gil(sample.flags), interpreter: sample.interpreter, syscall: None };
        if outcome == Outcome::Native && frames.is_empty() {
            let in_kernel = sample.flags & IN_KERNEL != 0;
            let stack = native(&mut image.profile, sample.user_ip, in_kernel);
            image.profile.add_at(thread, stack, context, outcome, sample.weight_ns, time_ns);
            return;
        }
        if let Some(stack) = image.stacks.get(&(sample.stack_hash, outcome as u8)) {
            image.profile.add_at(thread, *stack, context, outcome, sample.weight_ns, time_ns);
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
            time_ns,
            taken_ns: sample.header.time_ns,
            stack_hash: sample.stack_hash,
            events: 1,
            kind: Kind::Cpu,
        };
        self.place_or_wait(index, waiting);
    }

    pub(super) fn place_or_wait(&mut self, index: usize, waiting: Waiting) {
        let image = &mut self.images[index];
        if let Some(waiting) = place(image, waiting, &mut self.reader, &mut self.asking) {
            if image.waiting.len() < MAX_WAITING {
                image.waiting.push(waiting);
            } else {
                drop_one(image, &waiting);
            }
        }
    }

    /// Tries again what waited; with `give_up`, names what will never be known.
    pub fn settle(&mut self, give_up: bool) {
        if give_up {
            (0..self.images.len()).for_each(|index| self.release(index, true));
        }
        self.settle_older(if give_up { u64::MAX } else { 0 });
    }

    /// The same, giving up on what was taken before `until_ns`, in CLOCK_MONOTONIC.
    pub fn settle_older(&mut self, until_ns: u64) {
        self.asking = Duration::ZERO;
        for index in 0..self.images.len() {
            self.settle_one(index, until_ns);
        }
        self.asking = Duration::ZERO;
        self.received.unnamed =
            self.unnamed_before + self.images.iter().map(|image| image.codes.unnamed).sum::<u64>();
    }

    /// The same for all of one image, which has ended.
    pub(super) fn settle_last(&mut self, index: usize) {
        self.release(index, true);
        self.settle_one(index, u64::MAX);
    }

    fn settle_one(&mut self, index: usize, until_ns: u64) {
        let image = &mut self.images[index];
        if image.waiting.is_empty() {
            return;
        }
        for mut waiting in std::mem::take(&mut image.waiting) {
            if waiting.taken_ns < until_ns || until_ns == u64::MAX {
                mark_lost(image, &mut waiting);
                for frame in &waiting.frames {
                    image.codes.give_up(&mut image.profile, CodeKey::of(frame));
                }
            }
            if let Some(waiting) = place(image, waiting, &mut self.reader, &mut self.asking) {
                image.waiting.push(waiting);
            }
        }
    }

    /// Asks processes what they call their threads, where it is time to; with `last`, all that have threads without names.
    pub fn name_threads(&mut self, last: bool) {
        if last {
            name_last_threads(&mut self.images, &mut self.reader);
        } else {
            self.name_turns.name_threads(&mut self.images, &mut self.reader);
        }
    }

    /// Forgets the samples of an image that nobody knows any more.
    pub fn vanish(&mut self, index: usize) {
        let image = &self.images[index];
        self.received.vanished += image.all_samples().samples;
        self.dismiss(index);
    }

    /// Has the profiles say which processes do not answer.
    pub fn mark_unresponsive(&mut self) {
        for key in self.reader.take_given_up() {
            if let Some(index) = self.find(&key).or_else(|| self.latest(key.tgid)) {
                self.images[index].profile.process_mut().is_unresponsive = true;
            }
        }
    }

    /// Forgets the samples of an image that does not answer.
    pub fn silence(&mut self, index: usize) {
        let image = &self.images[index];
        self.received.unresponsive += image.all_samples().samples;
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
}

/// Counts a sample if all its code objects are known, asking the process for those that are not.
pub(super) fn place(
    image: &mut Image,
    waiting: Waiting,
    reader: &mut Reader,
    asking: &mut Duration,
) -> Option<Waiting> {
    if waiting.kind != Kind::Cpu
        && let Some(stack) = image.stacks.get(&(waiting.stack_hash, waiting.outcome as u8))
    {
        let stack = *stack;
        tally(image, &waiting, stack);
        return None;
    }
    if waiting.kind == Kind::OffCpu {
        return Some(waiting);
    }
    let Image { key, state, profile, codes, stacks, .. } = image;
    if let State::Python(python) = state {
        let mut source = Source::new(*key, python, reader, asking);
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
    tally(image, &waiting, stack);
    None
}

/// The frame between what triggered a garbage collection and what that has called.
const COLLECTOR: &str = "<gc>";

pub(super) const fn gil(flags: u8) -> Gil {
    match (flags & GIL_KNOWN != 0, flags & GIL_HELD != 0) {
        (false, _) => Gil::Unknown,
        (true, true) => Gil::Held,
        (true, false) => Gil::NotHeld,
    }
}

/// A thread without Python frames: the instruction it stood at, and whether it was in the kernel.
pub(super) fn native(profile: &mut Profile, user_ip: u64, in_kernel: bool) -> StackId {
    let name = if in_kernel { Some(NATIVE_IN_KERNEL) } else { marker(Outcome::Native) };
    let function = profile.function(name.unwrap_or_default(), "", 0);
    let location = profile.location(function, 0, user_ip);
    profile.stack(&[location])
}

/// `task_struct.comm` up to its NUL; it holds any bytes.
pub(super) fn comm(bytes: &[u8; 16]) -> &str {
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
