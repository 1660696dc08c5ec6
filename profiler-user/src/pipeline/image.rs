//! One process image: from exec or fork to the next exec or the exit. What is known of it, and its profile.

use std::collections::HashMap;
use std::time::Instant;

use profiler_common::process::{EXEC_ID_ANY, START_NS_ANY};
use profiler_common::{Frame, ProcessKey, SampleEvent};
use pyunwind::Outcome;

use super::codes::{CodeKey, Codes};
use super::hints::Wanted;
use super::off_cpu::OffCpu;
use super::thread_names::ThreadNames;
use crate::profile::{Context, ExecutableMapping, Labels, ProcessMeta, Profile, StackId, Total};
use crate::reader::{Identity, PythonImage, Trouble};

/// What runs in the image.
pub enum State {
    /// Not known yet: looked at again at `next`.
    Pending {
        next: Instant,
        tries: u32,
    },
    Python(Box<PythonImage>),
    /// Not a Python, or one that cannot be unwound: its samples are not ours to keep.
    Other,
}

/// A sample whose code objects have not all arrived.
pub struct Waiting {
    pub tid: u32,
    pub thread_start_ns: u64,
    pub frames: Vec<Frame>,
    pub outcome: Outcome,
    pub context: Context,
    /// `SampleEvent.collector`
    pub collector: u16,
    pub weight_ns: u64,
    /// None where there is no room for it.
    pub time_ns: Option<u64>,
    /// When it was taken, in CLOCK_MONOTONIC.
    pub taken_ns: u64,
    pub stack_hash: u64,
    /// How many it stands for; 0: a stack that others name.
    pub events: u32,
    pub kind: Kind,
}

/// What a record that waits is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Cpu,
    /// It brings its frames.
    Stack,
    /// It names a stack that is to come.
    OffCpu,
}

/// What was counted, by outcome, and what was dropped for want of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Beside `Outcome::ALL`, by the same index.
    pub outcomes: [Total; Outcome::ALL.len()],
    pub dropped: Total,
}

impl Sums {
    pub fn merge(&mut self, other: &Sums) {
        self.outcomes.iter_mut().zip(other.outcomes).for_each(|(sum, total)| sum.merge(total));
        self.dropped.merge(other.dropped);
    }

    pub fn all(&self) -> Total {
        let mut sum = self.dropped;
        self.outcomes.iter().for_each(|total| sum.merge(*total));
        sum
    }
}

pub struct Image {
    pub key: ProcessKey,
    pub state: State,
    pub profile: Profile,
    pub codes: Codes,
    /// Stacks by the kernel's hash of their frames and their outcome.
    pub stacks: HashMap<(u64, u8), StackId>,
    pub waiting: Vec<Waiting>,
    /// Of threads off their CPUs, once one of them was told of.
    pub off_cpu: Option<Box<OffCpu>>,
    pub names: ThreadNames,
    /// Until this time, CLOCK_MONOTONIC, the process was seen to have no thread state.
    pub not_started_ns: u64,
    /// Ticks since then, which may be of either side.
    pub held: Vec<SampleEvent>,
    /// A Python that nobody could ask yet who it is.
    pub is_nameless: bool,
    /// Threads that the kernel's short walk did not reach.
    pub hints: Wanted,
    /// When it became known.
    pub since: Instant,
    /// Good, native and bad samples when they were last looked at.
    pub health: [u64; 3],
    /// What of the profile's sums its owner has taken over.
    pub handed_over: Sums,
    /// The last sample or event: what can go first when memory is short.
    pub exited: bool,
    /// It was seen to have exited a while ago.
    pub is_finishing: bool,
}

/// What a name and a file may take together: of most they are shorter.
const NAME_BYTES: usize = 128;
const STACK_ENTRY_BYTES: usize = 32;
const WAITING_BYTES: usize = size_of::<Waiting>();

impl Image {
    pub fn new(key: ProcessKey) -> Image {
        Image {
            key,
            state: State::Pending { next: Instant::now(), tries: 0 },
            profile: Profile::new(ProcessMeta {
                pid: key.tgid,
                start_boot_ns: if key.start_ns == START_NS_ANY { 0 } else { key.start_ns },
                ..ProcessMeta::default()
            }),
            codes: Codes::default(),
            stacks: HashMap::new(),
            waiting: Vec::new(),
            off_cpu: None,
            names: ThreadNames::default(),
            not_started_ns: 0,
            held: Vec::new(),
            is_nameless: false,
            hints: Wanted::default(),
            since: Instant::now(),
            health: [0; 3],
            handed_over: Sums::default(),
            exited: false,
            is_finishing: false,
        }
    }

    /// The same program in a new process.
    pub fn fork(&self, key: ProcessKey) -> Image {
        let mut child = Image::new(key);
        if let State::Python(python) = &self.state {
            let mut python = python.clone();
            python.task = key.tgid;
            child.state = State::Python(python);
        }
        child.not_started_ns = self.not_started_ns;
        child.is_nameless = self.is_nameless;
        let meta = self.profile.process().clone();
        *child.profile.process_mut() = ProcessMeta { pid: key.tgid, start_boot_ns: key.start_ns, ..meta };
        child
    }

    /// Whether a record with this key belongs here. An image found by the first scan takes the key of its first record.
    pub fn adopt(&mut self, key: &ProcessKey) -> bool {
        let same_start = self.key.start_ns == key.start_ns || self.key.start_ns == START_NS_ANY;
        let same_exec = self.key.exec_id == key.exec_id || self.key.exec_id == EXEC_ID_ANY;
        if self.key.tgid != key.tgid || !same_start || !same_exec {
            return false;
        }
        if self.key != *key {
            self.key = *key;
            self.profile.process_mut().start_boot_ns = key.start_ns;
        }
        true
    }

    /// Who the process is, as far as it answers.
    pub fn name(&mut self, identity: Result<Identity, Trouble>) {
        self.is_nameless = matches!(identity, Err(Trouble::Later));
        let Ok(identity) = identity else { return };
        let Identity { name, service, env, version, container_id, pod_uid, unit, comm } = identity;
        let meta = self.profile.process_mut();
        meta.name = name;
        meta.comm = comm;
        meta.labels = Labels { service, env, version, container_id, pod_uid, unit };
    }

    /// What /proc says of the process, once it is known to be a Python.
    pub fn identify(&mut self, python: Box<PythonImage>, identity: Result<Identity, Trouble>) {
        self.name(identity);
        let meta = self.profile.process_mut();
        meta.executable.clone_from(&python.executable.path);
        meta.python_version.clone_from(&python.version_text);
        meta.is_unverified = !python.verified;
        meta.mapping = ExecutableMapping {
            start: python.executable.start,
            limit: python.executable.limit,
            file_offset: python.executable.offset,
            build_id: python.executable.build_id.clone(),
        };
        self.state = State::Python(python);
    }

    /// Everything that came: also what is not in the profile, for want of memory or of code objects.
    pub fn all_samples(&self) -> Total {
        let mut sum = self.profile.total();
        sum.merge(self.profile.dropped());
        let of_cpu = self.waiting.iter().filter(|waiting| waiting.kind == Kind::Cpu);
        of_cpu.for_each(|waiting| sum.add(1, waiting.weight_ns));
        self.held.iter().for_each(|sample| sum.add(1, sample.weight_ns));
        sum
    }

    /// Sums of what was not handed over yet: by outcome, and what was dropped.
    pub fn fresh(&self) -> Sums {
        let mut outcomes = self.handed_over.outcomes;
        for (sum, (_, total)) in outcomes.iter_mut().zip(self.profile.outcomes()) {
            *sum = total.since(*sum);
        }
        Sums { outcomes, dropped: self.profile.dropped().since(self.handed_over.dropped) }
    }

    /// Forgets the samples, which the caller has taken over: those of the measure that the profile is of now.
    pub fn hand_over(&mut self) {
        self.profile.clear_samples();
        for (sum, (_, total)) in self.handed_over.outcomes.iter_mut().zip(self.profile.outcomes()) {
            *sum = total;
        }
        self.handed_over.dropped = self.profile.dropped();
    }

    /// Forgets names, places and stacks, which fill up where a process makes code all the time. What was counted goes with
    /// them: the caller has taken it over.
    pub fn evict(&mut self) {
        let unnamed = self.codes.unnamed;
        let emptied = self.profile.emptied();
        let profile = std::mem::replace(&mut self.profile, emptied);
        let stacks = std::mem::take(&mut self.stacks);
        self.keep_stacks_of_blocked(&profile, &stacks);
        self.codes = Codes::default();
        self.codes.unnamed = unnamed;
        self.names = ThreadNames::default();
    }

    pub fn python(&self) -> Option<&PythonImage> {
        match &self.state {
            State::Python(python) => Some(python),
            State::Pending { .. } | State::Other => None,
        }
    }

    /// What a new stack of `frames` may add at once.
    pub fn growth_bytes(&self, frames: usize) -> usize {
        let stacks = self.stacks.capacity();
        let stacks = if self.stacks.len() == stacks { 2 * stacks * STACK_ENTRY_BYTES } else { 0 };
        self.profile.growth_bytes(frames) + stacks
    }

    /// The same, with the code objects that it needs and that are not known.
    pub fn stack_growth_bytes(&self, frames: &[Frame]) -> usize {
        let unknown = frames.iter().filter(|frame| !self.codes.is_known(&CodeKey::of(frame))).count();
        self.growth_bytes(frames.len()) + self.codes_growth_bytes(unknown, unknown * NAME_BYTES)
    }

    /// What so many new code objects may add at once, whose names and files have so many bytes together.
    pub fn codes_growth_bytes(&self, more: usize, bytes: usize) -> usize {
        self.codes.growth_bytes(more) + self.profile.names_growth_bytes(more, bytes)
    }

    pub fn memory_bytes(&self) -> usize {
        let waiting: usize =
            self.waiting.iter().map(|one| WAITING_BYTES + one.frames.capacity() * size_of::<Frame>()).sum();
        self.profile.memory_bytes()
            + self.codes.memory_bytes()
            + self.names.memory_bytes()
            + self.stacks.len() * STACK_ENTRY_BYTES
            + waiting
            + self.off_cpu.as_ref().map_or(0, |off_cpu| off_cpu.memory_bytes())
            + self.held.capacity() * size_of::<SampleEvent>()
    }
}
