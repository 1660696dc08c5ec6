//! One process image: from exec or fork to the next exec or the exit. What is known of it, and its profile.

use std::collections::HashMap;
use std::time::Instant;

use profiler_common::process::{EXEC_ID_ANY, START_NS_ANY};
use profiler_common::{Frame, ProcessKey, SampleEvent};
use pyunwind::Outcome;

use super::codes::Codes;
use super::hints::Wanted;
use super::thread_names::ThreadNames;
use crate::process::{Identity, PythonImage};
use crate::profile::{Context, ExecutableMapping, Labels, ProcessMeta, Profile, StackId, Total};

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
    pub stack_hash: u64,
}

pub struct Image {
    pub key: ProcessKey,
    pub state: State,
    pub profile: Profile,
    pub codes: Codes,
    /// Stacks by the kernel's hash of their frames and their outcome.
    pub stacks: HashMap<(u64, u8), StackId>,
    pub waiting: Vec<Waiting>,
    pub names: ThreadNames,
    /// Until this time, CLOCK_MONOTONIC, the process was seen to have no thread state.
    pub not_started_ns: u64,
    /// Ticks since then, which may be of either side.
    pub held: Vec<SampleEvent>,
    /// Threads that the kernel's short walk did not reach.
    pub hints: Wanted,
    /// When it became known.
    pub since: Instant,
    /// Good, native and bad samples when they were last looked at.
    pub health: [u64; 3],
    /// The last sample or event: what can go first when memory is short.
    pub exited: bool,
}

const STACK_ENTRY_BYTES: usize = 32;
const WAITING_BYTES: usize = 64;

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
            names: ThreadNames::default(),
            not_started_ns: 0,
            held: Vec::new(),
            hints: Wanted::default(),
            since: Instant::now(),
            health: [0; 3],
            exited: false,
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

    /// What /proc says of the process, once it is known to be a Python.
    pub fn identify(&mut self, python: Box<PythonImage>, identity: Identity) {
        let Identity { name, service, env, version, container_id, pod_uid, unit, comm } = identity;
        let meta = self.profile.process_mut();
        meta.name = name;
        meta.comm = comm;
        meta.labels = Labels { service, env, version, container_id, pod_uid, unit };
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
        self.waiting.iter().for_each(|waiting| sum.add(1, waiting.weight_ns));
        self.held.iter().for_each(|sample| sum.add(1, sample.weight_ns));
        sum
    }

    pub fn python(&self) -> Option<&PythonImage> {
        match &self.state {
            State::Python(python) => Some(python),
            State::Pending { .. } | State::Other => None,
        }
    }

    pub fn memory_bytes(&self) -> usize {
        let waiting: usize =
            self.waiting.iter().map(|one| WAITING_BYTES + one.frames.capacity() * size_of::<Frame>()).sum();
        self.profile.memory_bytes()
            + self.codes.memory_bytes()
            + self.names.memory_bytes()
            + self.stacks.len() * STACK_ENTRY_BYTES
            + waiting
            + self.held.capacity() * size_of::<SampleEvent>()
    }
}
