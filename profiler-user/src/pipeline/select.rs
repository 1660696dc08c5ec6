//! Who is followed of those that could be: every Python is held against the selection when it is found, and the kernel told
//! to leave it out before anything of it is unwound. An exec makes it a question again at once; a changed user or control
//! group is seen within [`RECHECK`], or a little later where there are more Pythons than that leaves time for.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use profiler_common::process::{PROCESS_LEFT_OUT, PROCESS_PYTHON};
use profiler_common::{ProcessKey, ProcessRecord};

use super::follow::Follower;
use super::image::{Image, State};
use super::ingest::Ingest;
use super::late::any_key;
use crate::bpf::{BpfError, Tables};
use crate::reader::{Identity, PythonImage, Reader, Standing, Trouble, processes};
use crate::select::{Candidate, Kind, Selection, Verdict};

/// How often each Python is held against the selection again, where that may have changed; and how many of them in one turn
/// of the loop (ten a second at least), which other work has to wait for.
const RECHECK: Duration = Duration::from_secs(1);
const RECHECKS_AT_ONCE: usize = 32;
const RECHECKING_AT_ONCE: Duration = Duration::from_millis(20);
/// Lists of the processes of a tree, each for what came while the one before it was made.
const MAX_LISTS: usize = 8;
/// Processes that were left out of which something can be told.
const MAX_NEAR: usize = 32;

/// A Python that was found and is not sampled.
struct LeftOut {
    key: ProcessKey,
    python: Box<PythonImage>,
}

/// A Python that the selection has just missed, for whoever wonders why nothing matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NearMiss {
    pub pid: u32,
    pub name: String,
    /// How many rules it misses.
    pub missed: usize,
    /// The first of them, and what the process has instead, fit for a terminal.
    pub kind: &'static str,
    pub has: String,
}

#[derive(Default)]
pub(super) struct Selected {
    pub(super) selection: Selection,
    left_out: BTreeMap<u32, LeftOut>,
    /// Images that were ever left out.
    all: u64,
    near: Vec<NearMiss>,
    recheck: VecDeque<u32>,
    rechecked: Option<Instant>,
}

/// Whether a process is sampled.
pub(super) enum Admission {
    /// With who it is, if it was asked.
    Yes(Result<Identity, Trouble>),
    No(Verdict, Box<Standing>),
    /// It has not answered.
    Unknown(Trouble),
}

impl Selected {
    pub(super) fn admit(&self, key: &ProcessKey, python: &PythonImage, reader: &mut Reader) -> Admission {
        if self.selection.is_any() {
            return Admission::Yes(reader.identity(key, python.task));
        }
        match reader.standing(key, python.task) {
            Ok(standing) => {
                let verdict = self.judge(key.tgid, &python.version_text, &standing);
                if verdict.is_selected() {
                    Admission::Yes(Ok(standing.identity))
                } else {
                    Admission::No(verdict, Box::new(standing))
                }
            }
            Err(trouble) => Admission::Unknown(trouble),
        }
    }

    fn judge(&self, pid: u32, python: &str, standing: &Standing) -> Verdict {
        self.selection.judge(&Candidate { pid, python, standing })
    }

    fn note(&mut self, pid: u32, python: &str, verdict: &Verdict, standing: &Standing) {
        self.all += 1;
        let kind = verdict.missed.first().copied().or(verdict.excluded).unwrap_or(Kind::Pid);
        let candidate = Candidate { pid, python, standing };
        self.near.push(NearMiss {
            pid,
            name: standing.identity.name.clone(),
            missed: verdict.missed.len() + usize::from(verdict.excluded.is_some()),
            kind: kind.name(),
            has: kind.of(&candidate).into_owned(),
        });
        if self.near.len() > 2 * MAX_NEAR {
            self.near.sort_by_key(|near| near.missed);
            self.near.truncate(MAX_NEAR);
        }
    }

    /// The process is another program now, or gone.
    pub(super) fn forget(&mut self, pid: u32) {
        self.left_out.remove(&pid);
    }

    pub(super) fn has_left_out(&self, pid: u32) -> bool {
        self.left_out.contains_key(&pid)
    }
}

impl Follower {
    pub fn selecting(mut self, selection: Selection) -> Follower {
        self.selected.selection = selection;
        self
    }

    /// How many Pythons were found and not sampled, and those of them that came closest.
    pub fn left_out(&self) -> (u64, Vec<NearMiss>) {
        let mut near = self.selected.near.clone();
        near.sort_by_key(|near| near.missed);
        (self.selected.all, near)
    }

    pub fn is_left_out(&self, pid: u32) -> bool {
        self.selected.has_left_out(pid)
    }

    /// Whether a Python that cannot be unwound would have been asked for. `what` names it, as in `CPython 2.7.18`.
    pub(super) fn would_select(&self, pid: u32, what: &str, reader: &mut Reader) -> bool {
        if self.selected.selection.is_any() {
            return true;
        }
        let python = what.strip_prefix("CPython ").and_then(|rest| rest.split([' ', ':', ',']).next());
        // Who does not answer may be the very one.
        let Ok(standing) = reader.standing(&any_key(pid), pid) else { return true };
        self.selected.judge(pid, python.unwrap_or_default(), &standing).is_selected()
    }

    /// Has the kernel leave out a Python. `false` if the pid is another program by now.
    pub(super) fn leave_out(
        &mut self,
        key: ProcessKey,
        python: Box<PythonImage>,
        (verdict, standing): (&Verdict, &Standing),
        tables: &mut Tables,
    ) -> Result<bool, BpfError> {
        let record = ProcessRecord { key, state: PROCESS_LEFT_OUT, ..ProcessRecord::default() };
        // Not known to the kernel: one that it has made meanwhile is the better one.
        let is_found = tables.process(key.tgid).is_none();
        if !(if is_found { tables.add_process(record)? } else { tables.set_process(record)? }) {
            return Ok(false);
        }
        self.selected.note(key.tgid, &python.version_text, verdict, standing);
        self.selected.left_out.insert(key.tgid, LeftOut { key, python });
        Ok(true)
    }

    /// A child of a process that is left out is left out, as the kernel has made it; `false` if the parent is not.
    pub(super) fn fork_left_out(&mut self, parent: u32, key: ProcessKey) -> bool {
        let Some(LeftOut { python, .. }) = self.selected.left_out.get(&parent) else { return false };
        let mut python = python.clone();
        python.task = key.tgid;
        self.selected.all += 1;
        self.selected.left_out.insert(key.tgid, LeftOut { key, python });
        if !self.selected.selection.exclude.pids.is_empty() {
            // Perhaps for its number, which its child does not have.
            self.selected.recheck.push_front(key.tgid);
        }
        true
    }

    /// Holds Pythons against the selection again, each in its turn.
    pub(super) fn recheck(&mut self, ingest: &mut Ingest, tables: &mut Tables) -> Result<(), BpfError> {
        let now = Instant::now();
        let may_change = self.selected.selection.may_change();
        let is_due = self.selected.rechecked.is_none_or(|last| now.duration_since(last) >= RECHECK);
        if may_change && is_due && self.selected.recheck.is_empty() {
            self.selected.rechecked = Some(now);
            let sampled = ingest.images().iter().filter(|image| image.python().is_some() && !image.exited);
            let sampled = sampled.map(|image| image.key.tgid);
            self.selected.recheck = sampled.chain(self.selected.left_out.keys().copied()).collect();
        }
        for _ in 0..RECHECKS_AT_ONCE {
            if now.elapsed() >= RECHECKING_AT_ONCE {
                break;
            }
            let Some(pid) = self.selected.recheck.pop_front() else { break };
            self.recheck_one(pid, ingest, tables)?;
        }
        Ok(())
    }

    fn recheck_one(&mut self, pid: u32, ingest: &mut Ingest, tables: &mut Tables) -> Result<(), BpfError> {
        if let Some(LeftOut { key, python }) = self.selected.left_out.get(&pid) {
            let (key, python) = (*key, python.clone());
            if let Admission::Yes(identity) = self.selected.admit(&key, &python, &mut ingest.reader) {
                let layout = tables.layout(&python.layout)?;
                let runtime = python.runtime_address.0;
                let record =
                    ProcessRecord { key, runtime, state: PROCESS_PYTHON, layout, ..Default::default() };
                if tables.set_process(record)? {
                    self.selected.left_out.remove(&pid);
                    let mut image = Image::new(key);
                    image.identify(python, identity);
                    image.hints.ask_first();
                    ingest.add(image);
                }
            }
            return Ok(());
        }
        let Some(index) = ingest.latest(pid) else { return Ok(()) };
        let Image { key, state: State::Python(python), exited: false, .. } = ingest.image(index) else {
            return Ok(());
        };
        let (key, python) = (*key, python.clone());
        if let Admission::No(verdict, standing) = self.selected.admit(&key, &python, &mut ingest.reader)
            && self.leave_out(key, python, (&verdict, &standing), tables)?
        {
            // What was sampled of it stays; there will be no more.
            ingest.image_mut(index).exited = true;
        }
        Ok(())
    }

    /// Takes the trees asked for into the kernel's table, with all descendants that there are; their numbers.
    pub(super) fn seed_trees(
        &mut self,
        reader: &mut Reader,
        tables: &mut Tables,
    ) -> Result<Vec<u32>, BpfError> {
        let mut members: Vec<u32> = Vec::new();
        for _ in 0..MAX_LISTS {
            let known = members.len();
            for pid in descendants(&self.selected.selection.trees, reader) {
                if !members.contains(&pid) {
                    members.push(pid);
                    if !tables.is_in_tree(pid) {
                        tables.add_to_tree(any_key(pid))?;
                    }
                }
            }
            // What is forked from a member after it got its record the kernel takes in by itself.
            if members.len() == known {
                break;
            }
        }
        Ok(members)
    }
}

/// These processes and what they have made, by who is whose parent now: what lost its parent is not found. Threads other
/// than the first have children, too, so that no list of children would do.
fn descendants(roots: &[u32], reader: &mut Reader) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for pid in processes().unwrap_or_default() {
        if let Ok(Some(parent)) = reader.parent(&any_key(pid)) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut all: Vec<u32> = roots.to_vec();
    let mut at = 0;
    while let Some(pid) = all.get(at).copied() {
        // Removed, so that no list that changed while it was read goes round in circles.
        all.extend(children.remove(&pid).unwrap_or_default());
        at += 1;
    }
    all.sort_unstable();
    all.dedup();
    all
}
