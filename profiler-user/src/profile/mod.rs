//! The aggregated profile of one process image: interned names, places, stacks and threads, and what was counted.
//!
//! It knows neither where samples come from nor how they are written. Everything is an id until an encoder asks.

mod copy;
mod counts;
mod intern;
mod markers;
mod measure;
mod merge;
mod meta;
mod moments;
mod query;
mod retain;
mod stacks;
mod threads;
mod waits;

pub use copy::Copier;
pub use counts::Counts;
pub use markers::{NATIVE_IN_KERNEL, marker, outcome_of_root};
pub use measure::{Measure, ValueType};
pub use merge::{Group, MergeBy, groups, merge};
pub use meta::{
    CaptureMeta, ExecutableMapping, FrequencyChange, Labels, Loss, OffCpuMeta, OwnCost, ProcessMeta,
    Selected, Ticks, Unsupported, UnsupportedProcess,
};
pub use moments::Moment;
pub use query::{TopFunction, TopWait};
pub use stacks::{LeafFirst, StackNode};
pub use threads::Thread;
pub use waits::waits_for;

use intern::{Interner, Strings};
use pyunwind::Outcome;
use stacks::StackTree;
use std::mem::size_of;
use threads::Threads;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        $($(#[$doc])* #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        pub struct $name(pub(crate) u32);

        impl $name {
            /// Position in the table it belongs to.
            pub fn index(self) -> usize {
                self.0 as usize
            }
        })*
    };
}

ids! {
    StringId;
    FunctionId;
    LocationId;
    /// A stack, named by its leaf node; 0 is the empty stack.
    StackId;
    ThreadId;
}

/// A function or a marker such as `<native>`; two with the same name, file and first line are one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Function {
    pub name: StringId,
    pub file: StringId,
    pub start_line: u32,
}

/// A line of a function; line 0 where the instruction has none.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Location {
    pub function: FunctionId,
    pub line: u32,
    pub address: u64,
    /// Position in [`Profile::mappings`]: only of merged profiles is it not 0.
    pub mapping: u32,
}

/// Samples and the time they stand for.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Total {
    pub samples: u64,
    pub weight_ns: u64,
}

impl Total {
    /// A hostile clock must not wrap a sum into something small.
    pub fn add(&mut self, samples: u64, weight_ns: u64) {
        self.samples = self.samples.saturating_add(samples);
        self.weight_ns = self.weight_ns.saturating_add(weight_ns);
    }

    pub fn merge(&mut self, other: Total) {
        self.add(other.samples, other.weight_ns);
    }

    /// What came since it stood at `before`.
    pub fn since(self, before: Total) -> Total {
        Total {
            samples: self.samples.saturating_sub(before.samples),
            weight_ns: self.weight_ns.saturating_sub(before.weight_ns),
        }
    }
}

/// Whether a thread held the GIL.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub enum Gil {
    /// The runtime does not tell, or has none.
    #[default]
    Unknown,
    Held,
    NotHeld,
    /// It waits for it.
    Awaited,
}

/// What the runtime said of a thread while it was sampled.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub struct Context {
    pub gil: Gil,
    /// `PyInterpreterState.id`: 0 is the main interpreter.
    pub interpreter: u32,
    /// The system call in which it blocked.
    pub syscall: Option<u16>,
}

/// All samples of one thread with one stack in one context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    pub thread: ThreadId,
    pub stack: StackId,
    pub context: Context,
    pub total: Total,
}

/// Profile of one process image. Filled with samples, read by encoders and reports.
#[derive(Clone)]
pub struct Profile {
    process: ProcessMeta,
    /// Of a merged profile, all processes but the first.
    others: Vec<ProcessMeta>,
    /// And all executables but the first's, as positions in `processes`.
    other_mappings: Vec<u32>,
    strings: Strings,
    functions: Interner<Function>,
    locations: Interner<Location>,
    stacks: StackTree,
    threads: Threads,
    counts: Counts,
}

impl Profile {
    /// A profile of CPU time.
    pub fn new(process: ProcessMeta) -> Self {
        Self::of(Measure::CPU, process)
    }

    pub fn of(measure: Measure, process: ProcessMeta) -> Self {
        Self {
            process,
            others: Vec::new(),
            other_mappings: Vec::new(),
            strings: Strings::new(),
            functions: Interner::new(),
            locations: Interner::new(),
            stacks: StackTree::new(),
            threads: Threads::default(),
            counts: Counts::of(measure),
        }
    }

    /// What is counted, and what a weight is.
    pub fn measure(&self) -> &Measure {
        &self.counts.measure
    }

    pub fn process(&self) -> &ProcessMeta {
        &self.process
    }

    /// All processes whose samples are here: one, unless profiles were merged.
    pub fn processes(&self) -> impl ExactSizeIterator<Item = &ProcessMeta> {
        let count = 1 + self.others.len();
        (0..count).map(|index| index.checked_sub(1).map_or(&self.process, |index| &self.others[index]))
    }

    /// The process with this position in [`Self::processes`], such as a thread's.
    pub fn process_at(&self, position: u32) -> Option<&ProcessMeta> {
        match position.checked_sub(1) {
            None => Some(&self.process),
            Some(position) => self.others.get(position as usize),
        }
    }

    /// For each executable a process that has it mapped where its locations say.
    pub fn mappings(&self) -> impl ExactSizeIterator<Item = &ProcessMeta> {
        let count = 1 + self.other_mappings.len();
        (0..count).map(|index| match index.checked_sub(1) {
            None => &self.process,
            Some(index) => &self.others[self.other_mappings[index] as usize - 1],
        })
    }

    /// For what is learnt after the first sample, such as the version of an interpreter that is still starting.
    pub fn process_mut(&mut self) -> &mut ProcessMeta {
        &mut self.process
    }

    pub fn function(&mut self, name: &str, file: &str, start_line: u32) -> FunctionId {
        let name = StringId(self.strings.intern(name));
        let file = StringId(self.strings.intern(file));
        FunctionId(self.functions.intern(Function { name, file, start_line }).0)
    }

    pub fn location(&mut self, function: FunctionId, line: u32, address: u64) -> LocationId {
        LocationId(self.locations.intern(Location { function, line, address, mapping: 0 }).0)
    }

    pub fn stack(&mut self, leaf_first: &[LocationId]) -> StackId {
        self.stacks.intern(leaf_first)
    }

    /// The thread `tid` that started at `start_ns` (any clock, as long as it tells two users of one tid apart).
    pub fn thread(&mut self, tid: u32, start_ns: u64) -> ThreadId {
        self.threads.intern(tid, start_ns)
    }

    pub fn knows_thread(&self, tid: u32, start_ns: u64) -> bool {
        self.threads.knows(tid, start_ns)
    }

    /// Threads are often named after their first samples, so the last name given is the one that is written.
    pub fn name_thread(&mut self, thread: ThreadId, name: &str) {
        self.threads.set_name(thread, name);
    }

    /// What Python calls a thread.
    pub fn name_python_thread(&mut self, thread: ThreadId, name: &str) {
        self.threads.set_python_name(thread, name);
    }

    /// Count one sample. Its outcome is counted with it, so that outcomes always add up to samples.
    pub fn add(&mut self, thread: ThreadId, stack: StackId, outcome: Outcome, weight_ns: u64) {
        self.add_in(thread, stack, Context::default(), outcome, weight_ns);
    }

    /// The same, in the context that the runtime told.
    pub fn add_in(
        &mut self,
        thread: ThreadId,
        stack: StackId,
        context: Context,
        outcome: Outcome,
        weight_ns: u64,
    ) {
        self.add_at(thread, stack, context, outcome, weight_ns, None);
    }

    /// The same, with its time on CLOCK_MONOTONIC, which is kept if times are kept at all.
    pub fn add_at(
        &mut self,
        thread: ThreadId,
        stack: StackId,
        context: Context,
        outcome: Outcome,
        weight_ns: u64,
        time_ns: Option<u64>,
    ) {
        self.add_counted(thread, stack, context, outcome, Total { samples: 1, weight_ns }, time_ns);
    }

    /// Count as many samples as were counted before, such as those of a file. Of several the time is not kept.
    pub fn add_counted(
        &mut self,
        thread: ThreadId,
        stack: StackId,
        context: Context,
        outcome: Outcome,
        those: Total,
        time_ns: Option<u64>,
    ) {
        self.counts.add_outcome(outcome, those);
        let sample = self.counts.add((thread, stack, context), those);
        if let Some(time_ns) = time_ns.filter(|_| those.samples == 1) {
            self.counts.moments.push(Moment { time_ns, weight_ns: those.weight_ns, sample });
        }
    }

    /// From now on samples keep their times.
    pub fn keep_times(&mut self) {
        self.counts.moments.keep();
    }

    /// Samples by their times, in the order in which they came; `None` if times are not kept.
    pub fn moments(&self) -> Option<&[Moment]> {
        self.counts.moments.is_kept().then(|| self.counts.moments.all())
    }

    /// Beside [`Self::samples`]: what of each has no time, for want of memory.
    pub fn untimed(&self) -> Vec<Total> {
        self.counts.untimed()
    }

    /// How many samples come from where no times were kept.
    pub fn never_timed(&self) -> u64 {
        let kept = self.counts.moments.is_kept();
        if kept { self.counts.moments.never() } else { self.total().samples }
    }

    /// What the time of one more sample may add to the heap at once.
    pub fn moment_growth_bytes(&self) -> usize {
        self.counts.moments.growth_bytes()
    }

    /// Count a sample that there is no memory left for: it is in no stack and in no outcome.
    pub fn add_dropped(&mut self, weight_ns: u64) {
        self.counts.dropped.add(1, weight_ns);
    }

    /// The same for as many as a file says were dropped.
    pub fn add_dropped_samples(&mut self, samples: u64) {
        self.counts.dropped.add(samples, 0);
    }

    /// Forgets the samples and keeps all names, stacks, threads and sums: for who takes samples over bit by bit.
    pub fn clear_samples(&mut self) {
        self.counts.clear_samples();
    }

    /// A profile of the same process with the same sums, and nothing else.
    pub fn emptied(&self) -> Profile {
        let empty = Profile::new(self.process.clone());
        Profile { counts: self.counts.emptied(), ..empty }
    }

    pub fn string(&self, id: StringId) -> &str {
        self.strings.get(id.0)
    }

    pub fn functions(&self) -> &[Function] {
        self.functions.items()
    }

    pub fn locations(&self) -> &[Location] {
        self.locations.items()
    }

    /// The tree of calls; see [`StackNode`]. The first node is the root, which is no frame.
    pub fn stack_nodes(&self) -> &[StackNode] {
        self.stacks.nodes()
    }

    pub fn stack_locations(&self, stack: StackId) -> LeafFirst<'_> {
        self.stacks.leaf_first(stack)
    }

    pub fn threads(&self) -> &[Thread] {
        self.threads.all()
    }

    pub fn samples(&self) -> impl ExactSizeIterator<Item = Sample> + '_ {
        self.counts.samples()
    }

    pub fn outcome(&self, outcome: Outcome) -> Total {
        self.counts.outcomes.get(outcome as usize).copied().unwrap_or_default()
    }

    /// Every outcome with what it counted, zero or not, in wire order.
    pub fn outcomes(&self) -> impl Iterator<Item = (Outcome, Total)> + '_ {
        Outcome::ALL.iter().map(|&outcome| (outcome, self.outcome(outcome)))
    }

    /// All samples of the profile.
    pub fn total(&self) -> Total {
        self.counts.total()
    }

    /// Samples that the memory cap kept out of the profile.
    pub fn dropped(&self) -> Total {
        self.counts.dropped()
    }

    /// Samples without the stack they should have had: for the table at the end.
    pub fn lost(&self) -> Total {
        let mut sum = self.counts.dropped();
        for (outcome, total) in self.outcomes() {
            match outcome {
                Outcome::Unreadable | Outcome::Torn | Outcome::ThreadNotFound | Outcome::Unknown => {
                    sum.merge(total)
                }
                Outcome::Complete | Outcome::Truncated | Outcome::Native | Outcome::Starting => {}
            }
        }
        sum
    }

    /// What a sample of `frames` may add to the heap at once, beside itself: the tables of many entries double.
    pub fn growth_bytes(&self, frames: usize) -> usize {
        self.stacks.growth_bytes(frames) + self.counts.growth_bytes() + self.locations.growth_bytes(frames)
    }

    /// The same for `more` functions, whose names and files have so many bytes together.
    pub fn names_growth_bytes(&self, more: usize, bytes: usize) -> usize {
        self.functions.growth_bytes(more) + self.strings.growth_bytes(2 * more, bytes)
    }

    /// Heap in use, for the memory cap. Constant time, so it may be asked after every sample.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + self.strings.memory_bytes()
            + self.functions.memory_bytes()
            + self.locations.memory_bytes()
            + self.stacks.memory_bytes()
            + self.threads.memory_bytes()
            + self.counts.memory_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_indexed_by_their_discriminant() {
        for (index, outcome) in Outcome::ALL.iter().enumerate() {
            assert_eq!(*outcome as usize, index);
        }
    }

    #[test]
    fn outcomes_add_up_to_samples_and_sums_do_not_wrap() {
        let mut profile = Profile::new(ProcessMeta::default());
        let function = profile.function("f", "/f.py", 1);
        let location = profile.location(function, 2, 0);
        let stack = profile.stack(&[location]);
        let thread = profile.thread(1, 0);
        for &outcome in Outcome::ALL {
            profile.add(thread, stack, outcome, u64::MAX / 2);
        }
        profile.add_dropped(5);
        let samples: Vec<Sample> = profile.samples().collect();
        let total = Total { samples: Outcome::ALL.len() as u64, weight_ns: u64::MAX };
        assert_eq!(samples, [Sample { thread, stack, context: Context::default(), total }]);
        assert_eq!(profile.total(), total);
        assert_eq!(profile.lost().samples, 5);
    }

    #[test]
    fn memory_grows_with_content_only() {
        let mut profile = Profile::new(ProcessMeta::default());
        let thread = profile.thread(1, 0);
        let mut fill = |from: u32| {
            for line in from..from + 10_000 {
                let function = profile.function(&format!("f{line}"), "/f.py", line);
                let location = profile.location(function, line, 0);
                let stack = profile.stack(&[location]);
                profile.add(thread, stack, Outcome::Complete, 1);
            }
            profile.memory_bytes()
        };
        let (first, again, more) = (fill(0), fill(0), fill(10_000));
        assert_eq!(first, again);
        assert!(more > first && first < 3_000_000, "{first} then {more}");
    }
}
