//! Processes that become Pythons long after their exec, that map a CPython and do not use it, or whose CPython goes away
//! and comes back elsewhere.
//!
//! What is looked at, and when:
//! - a process that maps a file which holds a Python, as `bpf::Mappings` tells, at once, and its children after it;
//! - a process that maps a CPython without threads, by one read of its memory, a few times a second. After
//!   [`DORMANT_AFTER`] it is *dormant*: neither sampled nor listed until the interpreter starts (mod_wsgi's parent and most
//!   of its children, a host that loads a plugin for nothing);
//! - a Python of whose samples none is good any more, or whose threads show no frames while the process holds a second
//!   CPython with threads;
//! - every process, slowly, when mappings were lost or nobody tells of them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use profiler_common::process::{EXEC_ID_ANY, FLAG_IN_TREE, PROCESS_DORMANT, PROCESS_PYTHON, START_NS_ANY};
use profiler_common::{ProcessKey, ProcessRecord};
use pyunwind::{Addr, Outcome};

use super::follow::Follower;
use super::image::{Image, State};
use super::ingest::Ingest;
use crate::bpf::{BpfError, MappedCode, Tables};
use crate::reader::{
    Brings, Inspection, Looked, Mapping, Place, PythonImage, Reader, Seen, Started, Trouble, children,
    processes,
};

/// A CPython has its first thread state some 10 ms after it was mapped; on a host under heavy load, a second.
pub(super) const DORMANT_AFTER: Duration = Duration::from_secs(2);
/// How often runtimes without threads are read, and how many dormant ones at a time.
const WAKE_PERIOD: Duration = Duration::from_millis(200);
const WAKE_AT_ONCE: usize = 256;
/// How often the outcomes of each Python are looked at, and how many bad samples in a row are a reason to look again.
const HEALTH_PERIOD: Duration = Duration::from_secs(1);
const BAD_SAMPLES: u64 = 3;
/// A process that keeps asking for looks gets one in this time.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// Looks per turn of the loop, which other work has to wait for; and no further one after this time: each may take a second
/// where a process maps big files that nobody has seen.
const LOOKS_AT_ONCE: usize = 32;
pub(super) const LOOKING_AT_ONCE: Duration = Duration::from_millis(250);
/// Files looked at in one reading of the mappings take this long at most; then whole processes are put off instead.
const FILES_AT_ONCE: Duration = Duration::from_millis(20);
/// Processes waiting for a look; beyond that all are looked at.
const MAX_WANTED: usize = 65_536;
/// Times of last looks that are remembered, unless there were more within [`LOOK_AGAIN_AFTER`].
const MAX_LOOKED: usize = 4_096;
/// A look through all processes: not more often than this, and so many at a time.
const RESCAN_PERIOD: Duration = Duration::from_secs(10);
const RESCAN_STEP: Duration = Duration::from_millis(100);
const RESCAN_AT_ONCE: usize = 8;

/// A process that maps a CPython and does not run it.
struct Dormant {
    key: ProcessKey,
    python: Box<PythonImage>,
}

#[derive(Default)]
pub(super) struct Late {
    /// Processes to look at, by pid, and when.
    wanted: BTreeMap<u32, Instant>,
    looked: HashMap<u32, Instant>,
    dormant: BTreeMap<u32, Dormant>,
    /// Where the last round through the dormant ones ended.
    next_dormant: u32,
    rescan: VecDeque<u32>,
    rescan_due: Option<Instant>,
    rescanned: Option<Instant>,
    step: Option<Instant>,
    woken: Option<Instant>,
    checked: Option<Instant>,
    lost: u64,
}

/// Whether `period` has passed, and if so, from now on again.
fn is_due(last: &mut Option<Instant>, period: Duration, now: Instant) -> bool {
    let due = last.is_none_or(|last| now.duration_since(last) >= period);
    if due {
        *last = Some(now);
    }
    due
}

impl Late {
    pub(super) fn want(&mut self, pid: u32, now: Instant) {
        if self.wanted.len() < MAX_WANTED {
            let due = self.looked.get(&pid).map_or(now, |looked| now.max(*looked + LOOK_AGAIN_AFTER));
            self.wanted.entry(pid).or_insert(due);
        } else {
            self.rescan_due = Some(now);
        }
    }

    /// From now on the process is dormant.
    pub(super) fn sleep(&mut self, key: ProcessKey, python: Box<PythonImage>) {
        self.dormant.insert(key.tgid, Dormant { key, python });
    }

    /// A child of a dormant process is dormant as well; `false` if the parent is not.
    pub(super) fn fork(&mut self, parent: u32, child: ProcessKey) -> bool {
        let Some(dormant) = self.dormant.get(&parent) else { return false };
        let mut python = dormant.python.clone();
        python.task = child.tgid;
        self.sleep(child, python);
        true
    }

    /// The process is another program now, or gone.
    pub(super) fn forget(&mut self, pid: u32) {
        self.dormant.remove(&pid);
    }

    /// The next process to look at.
    fn take_due(&mut self, now: Instant) -> Option<u32> {
        let pid = self.wanted.iter().find(|(_, due)| **due <= now).map(|(pid, _)| *pid)?;
        self.wanted.remove(&pid);
        if self.looked.len() >= MAX_LOOKED {
            self.looked.retain(|_, looked| now.duration_since(*looked) < LOOK_AGAIN_AFTER);
        }
        self.looked.insert(pid, now);
        Some(pid)
    }
}

impl Follower {
    /// A process has mapped a file as code.
    pub fn mapped(&mut self, mapped: &MappedCode<'_>, ingest: &mut Ingest, tables: &Tables, since: Instant) {
        let MappedCode { pid, start, bytes, offset, device, inode, path } = *mapped;
        if !self.is_target(pid, tables) || self.is_left_out(pid) {
            return;
        }
        let now = Instant::now();
        if self.late.dormant.contains_key(&pid) {
            // It has been quiet: that it loads anything may be its interpreter starting, or a second one.
            self.late.want(pid, now);
            return;
        }
        let again = match ingest.latest(pid).map(|index| ingest.image(index)) {
            // It will be looked at anyway.
            Some(Image { state: State::Pending { .. }, exited: false, .. }) => return,
            // It maps modules all the time; only a libpython may be another one, or the same elsewhere.
            Some(Image { state: State::Python(python), exited: false, .. }) => python.initialized,
            _ => false,
        };
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        if again && !name.starts_with(b"libpython") {
            return;
        }
        let mapping = Mapping {
            start,
            limit: start.saturating_add(bytes),
            readable: true,
            writable: false,
            executable: true,
            private: true,
            offset,
            device,
            inode,
            path,
        };
        let brings = |reader: &mut Reader| match reader.brings(&any_key(pid), &mapping) {
            Ok(Brings::Maybe) | Err(Trouble::Later) => true,
            Ok(Brings::No | Brings::Never) | Err(Trouble::Unresponsive) => false,
        };
        if now.duration_since(since) > FILES_AT_ONCE || brings(&mut ingest.reader) {
            self.late.want(pid, now);
        }
    }

    /// Mappings were lost so far, or `None` where nobody tells of mappings; so were events of processes.
    pub fn lost(&mut self, mappings: Option<u64>, lifecycle: u64) {
        let lost = mappings.unwrap_or(0).saturating_add(lifecycle);
        if lost != self.late.lost || mappings.is_none() {
            self.late.lost = lost;
            self.late.rescan_due.get_or_insert_with(Instant::now);
        }
    }

    /// Does what is due of all that this file is about.
    pub fn run_late(&mut self, ingest: &mut Ingest, tables: &mut Tables) -> Result<(), BpfError> {
        let now = Instant::now();
        if is_due(&mut self.late.woken, WAKE_PERIOD, now) {
            self.watch_unstarted(ingest, tables);
            self.wake(&mut ingest.reader, tables);
        }
        if is_due(&mut self.late.checked, HEALTH_PERIOD, now) {
            self.check_health(ingest, now);
        }
        self.rescan(ingest, tables, now);
        self.recheck(ingest, tables)?;
        for _ in 0..LOOKS_AT_ONCE {
            if now.elapsed() >= LOOKING_AT_ONCE {
                break;
            }
            let Some(pid) = self.late.take_due(now) else { break };
            self.look_late(pid, ingest, tables)?;
        }
        Ok(())
    }

    fn rescan(&mut self, ingest: &mut Ingest, tables: &Tables, now: Instant) {
        let rested = |last: Instant| now.duration_since(last) >= RESCAN_PERIOD;
        if self.late.rescan_due.is_some() && self.late.rescanned.is_none_or(rested) {
            self.late.rescan_due = None;
            self.late.rescanned = Some(now);
            let numbers_only = !self.targets.is_empty() && self.selected.selection.trees.is_empty();
            if let Ok(there) = processes() {
                // Of those whose exec or exit was lost nobody else will say that they have ended.
                ingest.end_missing(&there.iter().copied().collect(), now);
                self.late.rescan = if numbers_only { self.targets.clone().into() } else { there.into() };
            }
        }
        if self.late.rescan.is_empty() || !is_due(&mut self.late.step, RESCAN_STEP, now) {
            return;
        }
        for _ in 0..RESCAN_AT_ONCE {
            let Some(pid) = self.late.rescan.pop_front() else { break };
            let image = ingest.latest(pid).map(|index| ingest.image(index));
            let known = image.is_some_and(|image| !image.exited && !matches!(image.state, State::Other));
            if !known && self.is_target(pid, tables) {
                self.late.want(pid, now);
            }
        }
    }

    /// Runtimes that had no thread when they were found: either they have now, or they are put to sleep. And Pythons that
    /// could not be asked who they are.
    fn watch_unstarted(&mut self, ingest: &mut Ingest, tables: &mut Tables) {
        for index in 0..ingest.images().len() {
            let (image, reader) = ingest.image_and_reader(index);
            let key = image.key;
            let slept = image.since.elapsed() >= DORMANT_AFTER;
            let is_nameless = image.is_nameless && !image.exited;
            if let (true, Some(python)) = (is_nameless, image.python()) {
                let identity = reader.identity(&key, python.task);
                image.name(identity);
            }
            let State::Python(python) = &mut image.state else { continue };
            if image.exited || python.initialized {
                continue;
            }
            match reader.started(&key, Place::of(python)) {
                Ok(Started::Yes) => python.initialized = true,
                Ok(_) | Err(Trouble::Unresponsive) if slept => {
                    let python = python.clone();
                    if self.put_to_sleep(key, python, tables) {
                        ingest.dismiss(index);
                    }
                }
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// Takes a process out of sampling that maps a CPython and does not run it.
    fn put_to_sleep(&mut self, key: ProcessKey, python: Box<PythonImage>, tables: &mut Tables) -> bool {
        let record = ProcessRecord {
            key,
            runtime: 0,
            state: PROCESS_DORMANT,
            layout: 0,
            epoch: 0,
            flags: 0,
            main_interpreter: 0,
        };
        let done = tables.set_process(record).unwrap_or(false);
        if done {
            self.late.sleep(key, python);
        }
        done
    }

    /// Whether the process was seen to map a CPython that it does not run.
    pub fn is_dormant(&self, pid: u32) -> bool {
        self.late.dormant.contains_key(&pid)
    }

    /// Reads one runtime after the other.
    fn wake(&mut self, reader: &mut Reader, tables: &mut Tables) {
        let late = &mut self.late;
        let from = late.next_dormant;
        let round = late.dormant.range(from..).chain(late.dormant.range(..from)).take(WAKE_AT_ONCE);
        let (mut started, mut gone, mut last) = (Vec::new(), Vec::new(), from);
        for (pid, Dormant { key, python }) in round {
            last = *pid;
            match reader.started(key, Place::of(python)) {
                Ok(Started::Yes) => started.push(*pid),
                // Who does not answer stays asleep until it runs another program.
                Ok(Started::NotYet) | Err(_) => {}
                Ok(Started::Gone) => gone.push(*pid),
            }
        }
        late.next_dormant = last.wrapping_add(1);
        let now = Instant::now();
        for pid in started {
            late.want(pid, now);
        }
        for pid in gone {
            if let Some(dormant) = late.dormant.remove(&pid) {
                tables.let_go(&dormant.key);
            }
        }
    }

    /// A Python that has samples and no good ones: its runtime may have gone, or another one may be at work.
    fn check_health(&mut self, ingest: &mut Ingest, now: Instant) {
        for index in 0..ingest.images().len() {
            let image = ingest.image_mut(index);
            let State::Python(python) = &image.state else { continue };
            if image.exited {
                continue;
            }
            let count = |outcome| image.profile.outcome(outcome).samples;
            let native = count(Outcome::Native);
            let bad = count(Outcome::Unreadable) + count(Outcome::Torn);
            let good = count(Outcome::Complete) + count(Outcome::Truncated);
            let before = std::mem::replace(&mut image.health, [good, native, bad]);
            let grown = |which: usize| image.health[which].saturating_sub(before[which]);
            let idle = grown(0) == 0;
            if idle && (grown(1) == 0 && grown(2) >= BAD_SAMPLES || python.has_rival && grown(1) > 0) {
                self.late.want(image.key.tgid, now);
            }
        }
    }

    /// Looks at a process that something spoke for.
    fn look_late(&mut self, pid: u32, ingest: &mut Ingest, tables: &mut Tables) -> Result<(), BpfError> {
        let known = ingest.latest(pid).filter(|index| !ingest.image(*index).exited);
        match known.map(|index| (index, &ingest.image(index).state)) {
            Some((_, State::Pending { .. })) => return Ok(()),
            Some((index, State::Python(_))) => {
                self.look_again(index, ingest, tables);
                return Ok(());
            }
            Some((_, State::Other)) | None => {}
        }
        if self.is_left_out(pid) {
            return Ok(());
        }
        let key = self.late.dormant.remove(&pid).map_or(any_key(pid), |dormant| dormant.key);
        // A child of a dormant process has a record with its own key, and is not known here if its fork was lost.
        let mut key = key;
        if key == any_key(pid)
            && let Some(record) = tables.process(pid).filter(|record| record.state == PROCESS_DORMANT)
        {
            if record.flags & FLAG_IN_TREE != 0 {
                key = record.key;
            } else {
                tables.remove_process(&record.key);
            }
        }
        let found = self.scan_one(key, ingest, tables)?;
        if found || self.late.dormant.contains_key(&pid) {
            self.want_children(pid, None, ingest, tables);
        }
        Ok(())
    }

    /// Has the children looked at that a process forked while it was not known that it maps a CPython: a server loads one,
    /// and forks its workers a moment later. The kernel makes of all later ones what their parent is. So are those that were
    /// made what it was, at an address that it has left: Apache loads its modules, unloads and loads them again.
    fn want_children(&mut self, pid: u32, left: Option<Addr>, ingest: &Ingest, tables: &Tables) {
        let now = Instant::now();
        for child in children(pid) {
            let image = ingest.latest(child).map(|index| ingest.image(index)).filter(|image| !image.exited);
            let known = image.is_some_and(|image| match &image.state {
                State::Python(python) => python.initialized || Some(python.runtime_address) != left,
                State::Pending { .. } => true,
                State::Other => false,
            });
            if !known && !self.late.dormant.contains_key(&child) && self.is_target(child, tables) {
                self.late.want(child, now);
            }
        }
    }

    /// Looks again at a Python: another runtime may have taken the place of the one that was found.
    fn look_again(&mut self, index: usize, ingest: &mut Ingest, tables: &mut Tables) {
        let image = ingest.image(index);
        let key = image.key;
        let State::Python(old) = &image.state else { return };
        let (before, left) = (Place::of(old), old.runtime_address);
        let python = match ingest.reader.look(&key).map(|Looked { seen, .. }| seen) {
            Ok(Seen::Known(Inspection::Python(python))) => python,
            Ok(Seen::Known(Inspection::MaybeLater { .. } | Inspection::Unsupported { .. })) => {
                // Unloaded: its ticks are those of any other program until it maps one again.
                tables.let_go(&key);
                return;
            }
            Ok(Seen::TooMuch | Seen::Gone) | Err(Trouble::Unresponsive) => return,
            Err(Trouble::Later) => {
                self.late.want(key.tgid, Instant::now());
                return;
            }
        };
        let same = (python.runtime_address, &python.layout) == (before.runtime, &before.layout);
        let current = tables.process(key.tgid);
        if same && current.is_some_and(|current| current.state == PROCESS_PYTHON) {
            return;
        }
        let Ok(layout) = tables.layout(&python.layout) else { return };
        let record = ProcessRecord {
            key,
            runtime: python.runtime_address.0,
            state: PROCESS_PYTHON,
            layout,
            // Names that were sent belong to the runtime before.
            epoch: current.map_or(0, |current| current.epoch).wrapping_add(1),
            flags: 0,
            main_interpreter: 0,
        };
        let identity = ingest.reader.identity(&key, python.task);
        if tables.set_process(record).unwrap_or(false) {
            ingest.image_mut(index).identify(python, identity);
            self.want_children(key.tgid, Some(left), ingest, tables);
        }
    }

    /// Whether the process may be followed at all.
    fn is_target(&self, pid: u32, tables: &Tables) -> bool {
        pid != std::process::id()
            && (self.is_host_wide() || self.targets.contains(&pid) || tables.is_in_tree(pid))
    }

    /// Whether any process may be followed, and not only those that were asked for by number.
    pub(super) fn is_host_wide(&self) -> bool {
        self.targets.is_empty() && self.selected.selection.trees.is_empty()
    }
}

/// The key of a process of which only the pid is known.
pub const fn any_key(pid: u32) -> ProcessKey {
    ProcessKey { start_ns: START_NS_ANY, tgid: pid, exec_id: EXEC_ID_ANY }
}
