//! Which processes are followed: the first scan, then exec, fork and exit, each looked at until it is known.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use profiler_common::event::{KIND_EXEC, KIND_EXIT, KIND_FORK};
use profiler_common::process::{PROCESS_DORMANT, PROCESS_PYTHON};
use profiler_common::{ProcessEvent, ProcessKey, ProcessRecord};

use super::image::{Image, State};
use super::ingest::Ingest;
use super::late::{DORMANT_AFTER, LOOKING_AT_ONCE, Late, any_key};
use super::select::{Admission, Selected};
use crate::bpf::{BpfError, Tables};
use crate::reader::{
    Inspection, Looked, Place, PythonImage, Seen, Started, Trouble, UNKNOWN, UNRESPONSIVE, UNSEEN, processes,
};

/// Scans of /proc at the start, each for what came while the one before it ran.
const MAX_SCANS: usize = 8;
/// When a process is looked at again, while the dynamic linker may still be mapping libraries: from there to the first
/// thread state it is 1 ms at least, and who comes later than that misses frames.
const RETRY_AFTER_MS: [u64; 18] = [1, 1, 1, 1, 1, 1, 2, 3, 5, 10, 20, 50, 100, 250, 500, 1000, 2000, 4000];
/// Tries for a program that does not need libpython: it may be a launcher that loads one.
const RETRY_UNEXPECTED_MS: [u64; 4] = [1, 2, 3, 5];
/// So long after exec every tick is a reason for a look.
const FRESH: Duration = Duration::from_millis(50);
/// The record of a dead process stays this long, so that the ticks of its exit still count.
const KEEP_EXITED: Duration = Duration::from_millis(100);
/// When a look is tried again that had to be put off.
const LOOK_LATER: Duration = Duration::from_millis(20);
/// Unsupported Pythons that are kept by name; a loop that starts them could go on for ever.
const MAX_UNSUPPORTED: usize = 256;

/// A Python that cannot be unwound, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    pub pid: u32,
    pub name: String,
    pub what: String,
}

#[derive(Default)]
pub struct Follower {
    pub(super) late: Late,
    exited: VecDeque<(Instant, ProcessKey)>,
    pending: Vec<usize>,
    /// Time spent in this turn of the loop on processes that had just become known.
    looked: Duration,
    pub unsupported: Vec<Unsupported>,
    /// How many more there were than are kept.
    pub unsupported_more: u64,
    /// Only these pids, if any.
    pub(super) targets: Vec<u32>,
    pub(super) selected: Selected,
}

impl Follower {
    pub fn new(targets: &[u32]) -> Follower {
        Follower { targets: targets.to_vec(), ..Follower::default() }
    }

    /// Looks at every process there is, or at the targets. Returns how many Pythons were found.
    pub fn scan(&mut self, ingest: &mut Ingest, tables: &mut Tables) -> Result<usize, BpfError> {
        if !self.is_host_wide() {
            let mut targets = self.targets.clone();
            targets.extend(self.seed_trees(&mut ingest.reader, tables)?);
            targets.retain(|pid| *pid != std::process::id());
            return self.scan_some(&targets, ingest, tables);
        }
        // What is forked after its parent was found the kernel follows by itself; what was forked before, but after the
        // list was made, is on the next list.
        let mut seen = HashSet::from([std::process::id()]);
        let mut found = 0;
        for _ in 0..MAX_SCANS {
            let mut pids = processes().unwrap_or_default();
            pids.retain(|pid| seen.insert(*pid));
            if pids.is_empty() {
                break;
            }
            found += self.scan_some(&pids, ingest, tables)?;
        }
        Ok(found)
    }

    fn scan_some(
        &mut self,
        pids: &[u32],
        ingest: &mut Ingest,
        tables: &mut Tables,
    ) -> Result<usize, BpfError> {
        let mut found = 0;
        for &pid in pids {
            if ingest.latest(pid).is_none() && !self.is_left_out(pid) {
                // In a tree the kernel may have made the record.
                let of_kernel = if tables.is_in_tree(pid) { tables.process(pid) } else { None };
                let key = of_kernel.map_or(any_key(pid), |record| record.key);
                found += usize::from(self.scan_one(key, ingest, tables)?);
            }
        }
        Ok(found)
    }

    /// Looks at a process that has no image; `true` if it is a Python at work. With a key that names more than the pid,
    /// the record that the kernel has of it is replaced, else one that it made meanwhile is the better one.
    pub(super) fn scan_one(
        &mut self,
        key: ProcessKey,
        ingest: &mut Ingest,
        tables: &mut Tables,
    ) -> Result<bool, BpfError> {
        let pid = key.tgid;
        let Looked { seen, start_ns, age_ns } = match ingest.reader.look(&key) {
            Ok(looked) => looked,
            Err(Trouble::Later) => {
                self.look_later(ingest.add(Image::new(key)), ingest);
                return Ok(false);
            }
            Err(Trouble::Unresponsive) => {
                self.refuse(pid, UNRESPONSIVE.into(), ingest);
                if key != any_key(pid) {
                    tables.let_go(&key);
                }
                return Ok(false);
            }
        };
        match seen {
            Seen::Known(Inspection::Python(python)) => {
                let is_old = Duration::from_nanos(age_ns) >= DORMANT_AFTER;
                let state = if python.initialized || !is_old { PROCESS_PYTHON } else { PROCESS_DORMANT };
                let mut identity = Err(Trouble::Later);
                if state == PROCESS_PYTHON {
                    match self.selected.admit(&key, &python, &mut ingest.reader) {
                        Admission::Yes(who) => identity = who,
                        Admission::No(verdict, standing) => {
                            self.leave_out(key, python, (&verdict, &standing), tables)?;
                            return Ok(false);
                        }
                        Admission::Unknown(Trouble::Later) => {
                            self.look_later(ingest.add(Image::new(key)), ingest);
                            return Ok(false);
                        }
                        Admission::Unknown(Trouble::Unresponsive) => {
                            self.refuse(pid, UNRESPONSIVE.into(), ingest);
                            tables.let_go(&key);
                            return Ok(false);
                        }
                    }
                }
                let record = ProcessRecord {
                    key,
                    runtime: python.runtime_address.0,
                    state,
                    layout: tables.layout(&python.layout)?,
                    epoch: 0,
                    flags: 0,
                    main_interpreter: 0,
                };
                let known = key != any_key(pid) || tables.is_in_tree(pid);
                if !(if known { tables.set_process(record)? } else { tables.add_process(record)? }) {
                    return Ok(false);
                }
                if state == PROCESS_DORMANT {
                    self.late.sleep(key, python);
                    return Ok(false);
                }
                let mut image = Image::new(key);
                image.profile.process_mut().start_boot_ns = start_ns;
                image.identify(python, identity);
                image.hints.ask_first();
                ingest.add(image);
                return Ok(true);
            }
            Seen::Known(Inspection::Unsupported { what }) => self.refuse(pid, what, ingest),
            Seen::Known(Inspection::MaybeLater { expects_libpython: true }) => {
                let index = ingest.add(Image::new(key));
                self.pending.push(index);
                return Ok(false);
            }
            Seen::Known(Inspection::MaybeLater { expects_libpython: false }) | Seen::TooMuch | Seen::Gone => {
            }
        }
        if key != any_key(pid) {
            tables.let_go(&key);
        }
        Ok(false)
    }

    /// What a process is called that is no Python: by its program, or by the kernel's name for its own threads.
    pub fn name(&self, pid: u32, ingest: &mut Ingest) -> String {
        let (key, reader) = (any_key(pid), &mut ingest.reader);
        reader.name(&key).or_else(|_| reader.comm(&key)).unwrap_or_else(|_| UNKNOWN.into())
    }

    /// Follows one exec, fork or exit.
    pub fn event(&mut self, event: &ProcessEvent, ingest: &mut Ingest, tables: &mut Tables) {
        let key = event.header.process;
        match event.header.kind {
            KIND_EXEC => {
                self.late.forget(key.tgid);
                self.selected.forget(key.tgid);
                ingest.reader.forget(key.tgid);
                if !ingest.end_before(&key) {
                    return;
                }
                let index = match ingest.latest(key.tgid) {
                    // A mapping and a tick came before this event: what was found is the new program already, but the
                    // kernel has made a new record since.
                    Some(index) if ingest.image(index).key == key => {
                        ingest.image_mut(index).state = State::Pending { next: Instant::now(), tries: 0 };
                        index
                    }
                    _ => ingest.add(Image::new(key)),
                };
                self.look_at_once(index, ingest, tables);
            }
            // The kernel has made the child what its parent is.
            KIND_FORK if self.late.fork(event.parent.tgid, key) => {}
            KIND_FORK if self.fork_left_out(event.parent.tgid, key) => {}
            KIND_FORK => {
                ingest.reader.fork(&event.parent, key);
                if let Some(parent) = ingest.find(&event.parent).or_else(|| ingest.latest(event.parent.tgid))
                {
                    let child = ingest.image(parent).fork(key);
                    let pending = matches!(child.state, State::Pending { .. });
                    let other = matches!(ingest.image(parent).state, State::Other);
                    let index = ingest.add(child);
                    // Forked from a dormant process that has been woken meanwhile.
                    let asleep = tables.process(key.tgid).is_some_and(|it| it.state == PROCESS_DORMANT);
                    if asleep {
                        self.late.want(key.tgid, Instant::now());
                    }
                    if other {
                        let child = ingest.image_mut(index);
                        child.state = State::Other;
                        // Not followed, so nobody may say when it ends.
                        child.exited = true;
                        tables.let_go(&key);
                    } else if pending {
                        self.look_at_once(index, ingest, tables);
                    }
                }
            }
            KIND_EXIT => {
                self.late.forget(key.tgid);
                self.selected.forget(key.tgid);
                ingest.reader.forget(key.tgid);
                ingest.end_process(&key);
                self.exited.push_back((Instant::now() + KEEP_EXITED, key));
            }
            _ => {}
        }
    }

    /// Looks at a process that is not known yet, since a tick has hit it. `index` names its image.
    pub fn look_fresh(&mut self, index: usize, ingest: &mut Ingest, tables: &mut Tables) {
        match ingest.image(index).state {
            State::Pending { tries: 0, .. } => self.look_at_once(index, ingest, tables),
            State::Pending { next, tries } if ingest.image(index).since.elapsed() < FRESH => {
                // Beside the looks that are due.
                self.look_at_once(index, ingest, tables);
                if let State::Pending { .. } = ingest.image(index).state {
                    ingest.image_mut(index).state = State::Pending { next, tries };
                }
            }
            State::Pending { .. } | State::Python(_) | State::Other => {}
        }
    }

    /// Looks at a process that has just become known, unless there were too many of those in this turn: then with others
    /// that are due, in their turn.
    fn look_at_once(&mut self, index: usize, ingest: &mut Ingest, tables: &mut Tables) {
        if self.looked >= LOOKING_AT_ONCE {
            self.look_later(index, ingest);
            return;
        }
        let began = Instant::now();
        self.look(index, ingest, tables);
        self.looked += began.elapsed();
    }

    /// Puts off the look at a process. `index` names its image.
    fn look_later(&mut self, index: usize, ingest: &mut Ingest) {
        if let State::Pending { next, .. } = &mut ingest.image_mut(index).state {
            *next = (*next).max(Instant::now() + LOOK_LATER);
            if !self.pending.contains(&index) {
                self.pending.push(index);
            }
        }
    }

    /// A turn of the loop begins: there is time for looks again.
    pub fn begin_turn(&mut self) {
        self.looked = Duration::ZERO;
    }

    /// Looks at a process that is not known yet. `index` names its image.
    fn look(&mut self, index: usize, ingest: &mut Ingest, tables: &mut Tables) {
        let image = ingest.image_mut(index);
        let State::Pending { tries, .. } = image.state else { return };
        let key = image.key;
        // It has ended or called exec again, and a look now must not be taken for the older image.
        if image.exited {
            ingest.vanish(index);
            return;
        }
        let begin_ns = monotonic_ns();
        let inspection = match ingest.reader.look(&key) {
            Ok(Looked { seen: Seen::Known(inspection), .. }) => inspection,
            Ok(Looked { seen: Seen::TooMuch, .. }) => Inspection::MaybeLater { expects_libpython: true },
            // Gone before anybody could look: whether it was a Python nobody will know.
            Ok(Looked { seen: Seen::Gone, .. }) => {
                ingest.vanish(index);
                return;
            }
            Err(Trouble::Later) => {
                self.look_later(index, ingest);
                return;
            }
            Err(Trouble::Unresponsive) => {
                self.refuse(key.tgid, UNRESPONSIVE.into(), ingest);
                tables.let_go(&key);
                ingest.silence(index);
                return;
            }
        };
        match inspection {
            Inspection::Python(python) => {
                // Without rules the process is asked who it is when it is registered, and no earlier.
                let mut identity = None;
                if !self.selected.selection.is_any() {
                    match self.selected.admit(&key, &python, &mut ingest.reader) {
                        Admission::Yes(who) => identity = Some(who),
                        Admission::No(verdict, standing) => {
                            let _ = self.leave_out(key, python, (&verdict, &standing), tables);
                            ingest.dismiss(index);
                            return;
                        }
                        Admission::Unknown(_) => {
                            self.look_later(index, ingest);
                            return;
                        }
                    }
                }
                // First of all: until then every tick comes without frames.
                if self.register(&key, &python, tables) {
                    let not_started_ns = if python.initialized { None } else { Some(monotonic_ns()) };
                    let started = not_started_ns.map(|_| ingest.reader.started(&key, Place::of(&python)));
                    let identity = identity.unwrap_or_else(|| ingest.reader.identity(&key, python.task));
                    let image = ingest.image_mut(index);
                    match not_started_ns {
                        Some(now_ns) if started == Some(Ok(Started::NotYet)) => image.not_started_ns = now_ns,
                        Some(_) => image.not_started_ns = begin_ns,
                        None => {}
                    }
                    image.identify(python, identity);
                    ingest.release(index, true);
                }
            }
            Inspection::Unsupported { what } => {
                self.refuse(key.tgid, what, ingest);
                tables.let_go(&key);
                ingest.dismiss(index);
            }
            Inspection::MaybeLater { expects_libpython } => {
                let retry = if expects_libpython { &RETRY_AFTER_MS[..] } else { &RETRY_UNEXPECTED_MS };
                let Some(after) = retry.get(tries as usize) else {
                    tables.let_go(&key);
                    ingest.dismiss(index);
                    return;
                };
                let next = Instant::now() + Duration::from_millis(*after);
                let image = ingest.image_mut(index);
                image.state = State::Pending { next, tries: tries + 1 };
                image.not_started_ns = begin_ns;
                ingest.release(index, false);
                if !self.pending.contains(&index) {
                    self.pending.push(index);
                }
            }
        }
    }

    /// The capture ends: who has not answered by now is named, too.
    pub fn end(&mut self, ingest: &mut Ingest) {
        for index in std::mem::take(&mut self.pending) {
            let Image { key, state, .. } = ingest.image(index);
            let pid = key.tgid;
            let what = match state {
                State::Pending { .. } if ingest.reader.is_unresponsive(key) => UNRESPONSIVE,
                State::Pending { tries: 0, .. } if ingest.reader.is_blind() => UNSEEN,
                _ => continue,
            };
            self.refuse(pid, what.into(), ingest);
            ingest.silence(index);
        }
    }

    fn refuse(&mut self, pid: u32, what: String, ingest: &mut Ingest) {
        if self.unsupported.iter().any(|one| one.pid == pid && one.what == what) {
            return;
        }
        if !self.would_select(pid, &what, &mut ingest.reader) {
            return;
        }
        let name = self.name(pid, ingest);
        if self.unsupported.len() < MAX_UNSUPPORTED {
            self.unsupported.push(Unsupported { pid, name, what });
        } else {
            self.unsupported_more += 1;
        }
    }

    /// Tells the kernel what runs in a process, unless that is no longer the image that was looked at.
    fn register(&mut self, key: &ProcessKey, python: &PythonImage, tables: &mut Tables) -> bool {
        let Ok(layout) = tables.layout(&python.layout) else { return false };
        let record = ProcessRecord {
            key: *key,
            runtime: python.runtime_address.0,
            state: PROCESS_PYTHON,
            layout,
            epoch: 0,
            flags: 0,
            main_interpreter: 0,
        };
        tables.set_process(record).unwrap_or(false)
    }

    /// When something is due next.
    pub fn next_due(&self, ingest: &Ingest) -> Option<Instant> {
        let pending = self.pending.iter().filter_map(|index| match ingest.image(*index).state {
            State::Pending { next, .. } => Some(next),
            State::Python(_) | State::Other => None,
        });
        pending.chain(self.exited.front().map(|(when, _)| *when)).min()
    }

    /// Does what is due.
    pub fn run_due(&mut self, ingest: &mut Ingest, tables: &mut Tables) {
        let now = Instant::now();
        for index in std::mem::take(&mut self.pending) {
            match ingest.image(index).state {
                State::Pending { next, .. } if next <= now && now.elapsed() < LOOKING_AT_ONCE => {
                    self.look(index, ingest, tables);
                }
                State::Pending { .. } => self.pending.push(index),
                State::Python(_) | State::Other => {}
            }
        }
        while let Some((when, key)) = self.exited.front().copied() {
            if when > now {
                break;
            }
            self.exited.pop_front();
            tables.remove_process(&key);
        }
        // Not only while nothing is pending: where programs start all the time, something always is.
        ingest.forget_finished(&mut self.pending);
    }
}

/// The clock of `EventHeader.time_ns`.
fn monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid pointer; every kernel has this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}
