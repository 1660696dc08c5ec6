//! What all processes did: the latest minute period by period, what went before as one sum, in bounded memory.

use std::collections::{HashMap, VecDeque};

use profiler_common::ProcessKey;
use profiler_common::process::{EXEC_ID_ANY, START_NS_ANY};

use super::book::{Book, Key};
use crate::pipeline::{Image, Sums};
use crate::profile::{ProcessMeta, Profile, Total};

/// How far back single periods go.
pub const KEPT_NS: u64 = 60_000_000_000;
/// Processes that have ended are kept by name, the heaviest first.
const MAX_ENDED: usize = 256;
/// What a process takes beside its book: names and labels are bounded where they are read.
const PROCESS_BYTES: usize = 1024;
/// A book is not pruned to fewer counts than this.
const FEWEST: usize = 64;

/// The part of the past that is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Window {
    Seconds(u32),
    /// Since the start, or the last reset.
    All,
}

/// What is shown of a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shown {
    /// Where it uses the CPU.
    Cpu,
    /// Where its threads wait.
    Waits,
}

impl Shown {
    pub fn other(self) -> Shown {
        match self {
            Shown::Cpu => Shown::Waits,
            Shown::Waits => Shown::Cpu,
        }
    }

    /// As it is called in a sentence, and in JSON.
    pub fn name(self) -> (&'static str, &'static str) {
        match self {
            Shown::Cpu => ("CPU", "cpu_percent"),
            Shown::Waits => ("waiting", "wait_percent"),
        }
    }
}

/// The periods that make up a window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// The first of them.
    pub first: u64,
    /// How long they are together.
    pub ns: u64,
    pub has_past: bool,
}

pub struct Process {
    /// Never used again.
    pub id: u64,
    pub key: ProcessKey,
    pub meta: ProcessMeta,
    pub ended: bool,
    pub book: Book,
    /// When it was there last, in harvests.
    seen: u64,
}

/// Processes that are no longer kept by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    pub processes: u64,
    pub total: Total,
}

pub struct History {
    pub shown: Shown,
    processes: Vec<Process>,
    by_pid: HashMap<u32, Vec<u64>>,
    next_id: u64,
    /// Length of each period that is kept, the oldest first; the number of the first.
    periods: VecDeque<u64>,
    first: u64,
    past_ns: u64,
    pub forgotten: Forgotten,
    /// The list stands still: what comes is counted, and shown when it goes on.
    is_paused: bool,
    /// Since the pause began.
    paused_ns: u64,
    /// The first process that came in the pause.
    paused_id: u64,
    /// How often counts were taken over.
    harvests: u64,
}

impl History {
    pub fn of(shown: Shown) -> History {
        History {
            shown,
            processes: Vec::new(),
            by_pid: HashMap::new(),
            next_id: 0,
            periods: VecDeque::new(),
            first: 0,
            past_ns: 0,
            forgotten: Forgotten::default(),
            is_paused: false,
            paused_ns: 0,
            paused_id: 0,
            harvests: 0,
        }
    }

    /// Takes over what an image of a Python has counted since the last time.
    pub fn take(&mut self, image: &Image) {
        self.count(image.key, image.profile.process(), image.exited, &image.profile, image.fresh());
    }

    /// The same, for what is not an image.
    pub fn count(
        &mut self,
        key: ProcessKey,
        meta: &ProcessMeta,
        ended: bool,
        profile: &Profile,
        fresh: Sums,
    ) {
        let has_samples = fresh.all().samples > 0;
        let index = match self.find(&key) {
            Some(index) => index,
            None if ended && !has_samples => return,
            None => self.add(key),
        };
        let number = self.first + self.periods.len() as u64;
        let process = &mut self.processes[index];
        process.key = key;
        process.ended = ended;
        process.seen = self.harvests;
        if !is_same(&process.meta, meta) {
            process.meta = meta.clone();
        }
        if has_samples || profile.samples().len() > 0 {
            process.book.take(number, profile, fresh);
        }
    }

    fn add(&mut self, key: ProcessKey) -> usize {
        self.next_id += 1;
        let id = self.next_id;
        self.processes.push(Process {
            id,
            key,
            meta: ProcessMeta::default(),
            ended: false,
            book: Book::new(),
            seen: 0,
        });
        self.by_pid.entry(key.tgid).or_default().push(id);
        self.processes.len() - 1
    }

    fn find(&self, key: &ProcessKey) -> Option<usize> {
        let ids = self.by_pid.get(&key.tgid)?;
        ids.iter()
            .rev()
            .filter_map(|id| self.index(*id))
            .find(|index| names(&self.processes[*index].key, key))
    }

    fn index(&self, id: u64) -> Option<usize> {
        // Ids only grow, and processes stay in their order.
        self.processes.binary_search_by_key(&id, |process| process.id).ok()
    }

    /// Ends a period of this length, and keeps within `most_bytes`.
    pub fn end_period(&mut self, length_ns: u64, most_bytes: usize) {
        // Who is not there any more has ended, whoever saw it.
        for process in self.processes.iter_mut().filter(|process| process.seen != self.harvests) {
            process.ended = true;
        }
        self.harvests += 1;
        if self.is_paused {
            self.paused_ns = self.paused_ns.saturating_add(length_ns);
            // What came in the pause is one period, as long as it lasts.
            return self.join_paused(most_bytes);
        }
        self.periods.push_back(length_ns);
        let kept: u64 = self.periods.iter().sum();
        let mut over = kept.saturating_sub(KEPT_NS);
        while let Some(&oldest) = self.periods.front()
            && self.periods.len() > 1
            && oldest <= over
        {
            over -= oldest;
            self.drop_period();
        }
        self.keep_within(most_bytes);
    }

    fn drop_period(&mut self) {
        if let Some(length_ns) = self.periods.pop_front() {
            self.past_ns = self.past_ns.saturating_add(length_ns);
            self.first += 1;
        }
    }

    fn keep_within(&mut self, most_bytes: usize) {
        let first = self.first;
        self.processes.iter_mut().for_each(|process| process.book.age(first));
        self.forget_ended(MAX_ENDED);
        let mut held = self.memory_bytes();
        if held <= most_bytes {
            return;
        }
        // Well below, so that it is not at the limit again at once: tables are made anew for it.
        let target = most_bytes / 2;
        while held > target {
            let before = held;
            // The past of the biggest first, then the oldest periods of all.
            let biggest = self.processes.iter_mut().filter(|process| process.book.past.len() > FEWEST);
            match biggest.max_by_key(|process| process.book.memory_bytes()) {
                Some(process) => process.book.prune(process.book.past.len() / 2),
                None if self.periods.len() > 1 && !self.is_paused => {
                    self.drop_period();
                    let first = self.first;
                    self.processes.iter_mut().for_each(|process| process.book.age(first));
                }
                None => {
                    self.forget_ended(0);
                    return;
                }
            }
            held = self.memory_bytes();
            if held >= before && self.periods.len() <= 1 {
                break;
            }
        }
    }

    fn forget_ended(&mut self, most: usize) {
        let is_past = |process: &Process| process.ended && process.book.slices.is_empty();
        let mut past: Vec<(u64, u64)> = self
            .processes
            .iter()
            .filter(|process| is_past(process))
            .map(|process| (process.book.past_sums.all().weight_ns, process.id))
            .collect();
        if past.len() <= most {
            return;
        }
        past.sort_unstable();
        past.truncate(past.len() - most);
        let mut gone: Vec<u64> = past.into_iter().map(|(_, id)| id).collect();
        gone.sort_unstable();
        self.processes.retain(|process| {
            let stays = gone.binary_search(&process.id).is_err();
            if !stays {
                self.forgotten.processes += 1;
                self.forgotten.total.merge(process.book.past_sums.all());
                if let Some(ids) = self.by_pid.get_mut(&process.key.tgid) {
                    ids.retain(|id| *id != process.id);
                    if ids.is_empty() {
                        self.by_pid.remove(&process.key.tgid);
                    }
                }
            }
            stays
        });
        self.processes.shrink_to(self.processes.len() * 2);
        self.by_pid.shrink_to(self.by_pid.len() * 2);
    }

    /// What is shown stands still from here on.
    pub fn pause(&mut self) {
        self.is_paused = true;
        self.paused_id = self.next_id + 1;
    }

    pub fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Goes on. What came meanwhile is part of the past, so that a window has no gap in it: it begins anew.
    pub fn resume(&mut self) {
        if std::mem::take(&mut self.is_paused) {
            self.periods.push_back(std::mem::take(&mut self.paused_ns));
            self.begin_anew();
        }
    }

    /// Everything until now becomes the past.
    pub fn begin_anew(&mut self) {
        while !self.periods.is_empty() {
            self.drop_period();
        }
        let first = self.first;
        self.processes.iter_mut().for_each(|process| process.book.age(first));
    }

    /// Slices of the pause have one number: they are made one, so that a long pause takes no more than a short one.
    fn join_paused(&mut self, most_bytes: usize) {
        let number = self.first + self.periods.len() as u64;
        for process in &mut self.processes {
            process.book.join(number);
        }
        self.keep_within(most_bytes);
    }

    /// Forgets all that was counted.
    pub fn reset(&mut self) {
        self.begin_anew();
        self.past_ns = 0;
        self.forgotten = Forgotten::default();
        self.processes.retain(|process| !process.ended);
        self.by_pid.clear();
        for process in &mut self.processes {
            process.book = Book::new();
            self.by_pid.entry(process.key.tgid).or_default().push(process.id);
        }
    }

    pub fn span(&self, window: Window) -> Span {
        let end = self.first + self.periods.len() as u64;
        let wanted_ns = match window {
            Window::All => {
                let ns = self.periods.iter().sum::<u64>().saturating_add(self.past_ns);
                return Span { first: self.first, ns, has_past: true };
            }
            Window::Seconds(seconds) => u64::from(seconds).saturating_mul(1_000_000_000),
        };
        let (mut first, mut ns) = (end, 0u64);
        for length_ns in self.periods.iter().rev() {
            // A period is a little longer than what was asked for: half of one does not count as missing.
            if ns.saturating_add(length_ns / 2) >= wanted_ns {
                break;
            }
            ns = ns.saturating_add(*length_ns);
            first -= 1;
        }
        Span { first, ns, has_past: false }
    }

    /// Whether a period is shown: those of a pause are not, until it ends.
    fn end(&self) -> u64 {
        self.first + self.periods.len() as u64
    }

    /// Those that are shown.
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        let is_shown = |process: &&Process| !self.is_paused || process.id < self.paused_id;
        self.processes.iter().filter(is_shown)
    }

    /// The number of a process that another history knows by this key.
    pub fn id_of(&self, key: &ProcessKey) -> Option<u64> {
        self.find(key).map(|index| self.processes[index].id)
    }

    pub fn process(&self, id: u64) -> Option<&Process> {
        self.index(id).map(|index| &self.processes[index])
    }

    /// The counts of a process in a window, each key as often as it came.
    pub fn counts<'a>(
        &self,
        process: &'a Process,
        span: Span,
    ) -> impl Iterator<Item = (Key, Total)> + use<'a> {
        let end = self.end();
        let past = span.has_past.then(|| process.book.past.iter().map(|(key, total)| (*key, *total)));
        let slices = process.book.slices.iter();
        let slices = slices.filter(move |slice| (span.first..end).contains(&slice.number));
        past.into_iter().flatten().chain(slices.flat_map(|slice| slice.counts.iter().copied()))
    }

    pub fn sums(&self, process: &Process, span: Span) -> Sums {
        let mut sums = if span.has_past { process.book.past_sums } else { Sums::default() };
        let slices = process.book.slices.iter();
        for slice in slices.filter(|slice| (span.first..self.end()).contains(&slice.number)) {
            sums.merge(&slice.sums);
        }
        sums
    }

    pub fn memory_bytes(&self) -> usize {
        let books: usize = self.processes.iter().map(|process| process.book.memory_bytes()).sum();
        books + self.processes.capacity() * PROCESS_BYTES
    }
}

/// Whether both may be the same image: what the first scan found learns its key from its first sample.
fn names(known: &ProcessKey, key: &ProcessKey) -> bool {
    let is_same_start =
        known.start_ns == key.start_ns || [known.start_ns, key.start_ns].contains(&START_NS_ANY);
    let is_same_exec = known.exec_id == key.exec_id || [known.exec_id, key.exec_id].contains(&EXEC_ID_ANY);
    known.tgid == key.tgid && is_same_start && is_same_exec
}

/// Whether nothing was learnt that is shown.
fn is_same(known: &ProcessMeta, meta: &ProcessMeta) -> bool {
    known.pid == meta.pid
        && known.name == meta.name
        && known.comm == meta.comm
        && known.python_version == meta.python_version
        && known.is_unresponsive == meta.is_unresponsive
        && known.labels == meta.labels
}
