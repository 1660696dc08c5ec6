//! The one way from the loop to a target: a process of our own that reads targets' memory and files, and may get stuck there.
//!
//! A page or a file of a target may lie on a file system that never answers (FUSE, NFS), or in memory whose owner handles
//! its faults. Whoever reads it waits in the kernel, in many places not even to be killed (`request_wait_answer`,
//! `fs/fuse/dev.c`); with a thread of our own in such a place the program could not even exit. So the loop *asks*: a question
//! goes to the reader, an answer comes back. Where none comes in time ([`patience`]), the loop goes on. The reader is left to
//! its target and another one is started; nobody asks about that process until its reader comes back. A reader that was
//! blocked for [`BLOCKED`] is killed, and its process is *unresponsive*: it is never asked about again.
//!
//! *Architecture invariant:* nothing outside of `process` and [`serve`] reads a target's memory, opens its files or its
//! part of /proc.

mod ask;
mod patience;
mod questions;
pub mod serve;
mod stuck;
mod worker;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use profiler_common::ProcessKey;
use serde::de::DeserializeOwned;

pub use crate::process::maps::Mapping;
pub use crate::process::parked::Parked;
pub use crate::process::stacks;
pub use crate::process::{Identity, Inspection, PythonImage, Standing, UNKNOWN, children, processes};
pub use questions::{Access, Brings, Looked, Place, Presence, Seen, Started, Threads};
pub use worker::ARGUMENT;

use crate::process::{FactsCache, own};
use patience::Patience;
use questions::{Question, may_be_same};
use stuck::Slow;
use worker::Worker;

/// Readers that are stuck, or killed and not gone: each holds some 3 MB, most of it the program's text.
const MAX_STUCK: usize = 16;
/// Processes of one user hold so many readers at most; once as many are lost for good, nobody asks about any other process
/// of that user. Else whoever may start processes could hold all readers. Not so for root, whose processes hang by misfortune.
const MAX_HELD: usize = 6;
const ROOT: u32 = 0;
/// A reader that could not be started is tried again after this.
const START_AGAIN: Duration = Duration::from_millis(100);
/// Readers that are out are not looked at more often than this.
const TEND: Duration = Duration::from_millis(5);
/// How often a reader that runs beyond its time is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// At the end, the readers that can go get this time to.
const LAST: Duration = Duration::from_millis(100);

/// Why there is no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Trouble {
    /// Not now: a reader is still at it, or none is free.
    #[error("failed to ask about the process: it has not answered yet")]
    Later,
    /// And never again.
    #[error("failed to ask about the process: it does not answer")]
    Unresponsive,
}

/// What is said of a process that does not answer.
pub const UNRESPONSIVE: &str = "unresponsive: reading its memory or files did not come to an end";

/// What is said of one that nobody could look at.
pub const UNSEEN: &str = "not looked at: too many processes do not answer";

/// What readers have cost.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Cost {
    pub cpu_ns: u64,
    pub rss_bytes: u64,
}

/// How many questions there were, and how long the loop has waited for answers.
#[derive(Clone, Copy, Default, Debug)]
pub struct Questions {
    pub number: u64,
    pub waited: Duration,
    pub longest: Duration,
    /// Without an answer in time.
    pub late: u64,
}

enum Link {
    Worker(Worker),
    /// The questions are answered in this process.
    Here(Box<serve::Server>),
}

pub struct Reader {
    link: Option<Link>,
    slow: Vec<Slow>,
    /// Killed, and not gone yet.
    killed: Vec<Worker>,
    start_after: Option<Instant>,
    /// By pid: the images that are not asked about again.
    unresponsive: HashMap<u32, ProcessKey>,
    /// By pid: the images at whose question a reader has ended.
    fatal: HashMap<u32, ProcessKey>,
    patience: Patience,
    /// Mappings that no reader need be asked about.
    dull: FactsCache,
    /// By user: readers that were lost to its processes.
    lost_to: HashMap<u32, usize>,
    /// Given up since somebody asked.
    newly_given_up: Vec<ProcessKey>,
    tended: Option<Instant>,
    /// Processes that turned out to be unresponsive so far, without what was forked from them.
    pub given_up: u64,
    questions: Questions,
    ended_cpu_ns: u64,
    peak_rss_bytes: u64,
}

impl Reader {
    /// Starts the first reader, which is ready before anybody needs it.
    pub fn start() -> std::io::Result<Reader> {
        Ok(Reader::with(Link::Worker(Worker::start()?)))
    }

    /// Waits so long for each answer: for a command that has nothing else to do meanwhile.
    pub fn patient(wait: Duration) -> std::io::Result<Reader> {
        let mut reader = Reader::start()?;
        reader.patience = Patience::fixed(wait);
        Ok(reader)
    }

    /// Answers in this very process: for tests and benchmarks, whose targets are their own.
    pub fn here() -> Reader {
        Reader::with(Link::Here(Box::default()))
    }

    fn with(link: Link) -> Reader {
        Reader {
            link: Some(link),
            slow: Vec::new(),
            killed: Vec::new(),
            start_after: None,
            unresponsive: HashMap::new(),
            fatal: HashMap::new(),
            patience: Patience::new(),
            dull: FactsCache::new(),
            lost_to: HashMap::new(),
            newly_given_up: Vec::new(),
            tended: None,
            given_up: 0,
            questions: Questions::default(),
            ended_cpu_ns: 0,
            peak_rss_bytes: 0,
        }
    }

    /// The process runs another program now, or is gone.
    pub fn forget(&mut self, pid: u32) {
        self.unresponsive.remove(&pid);
        self.fatal.remove(&pid);
        for slow in &mut self.slow {
            slow.key = slow.key.filter(|key| key.tgid != pid);
        }
    }

    /// A child has the memory and the files of its parent.
    pub fn fork(&mut self, parent: &ProcessKey, child: ProcessKey) {
        if self.is_unresponsive(parent) {
            self.unresponsive.insert(child.tgid, child);
        }
    }

    /// The processes that were given up since the last call.
    pub fn take_given_up(&mut self) -> Vec<ProcessKey> {
        std::mem::take(&mut self.newly_given_up)
    }

    /// Whether all readers that there may be are held by targets.
    pub fn is_blind(&self) -> bool {
        self.link.is_none()
    }

    pub fn is_unresponsive(&self, key: &ProcessKey) -> bool {
        self.unresponsive.get(&key.tgid).is_some_and(|known| may_be_same(known, key))
    }

    /// Nobody asks about the process again.
    pub(crate) fn give_up(&mut self, key: ProcessKey) {
        if self.unresponsive.insert(key.tgid, key).is_none() {
            self.given_up += 1;
            self.newly_given_up.push(key);
        }
    }

    fn ask<A: DeserializeOwned>(&mut self, key: &ProcessKey, question: &Question) -> Result<A, Trouble> {
        if self.is_unresponsive(key) {
            return Err(Trouble::Unresponsive);
        }
        if !self.slow.is_empty() {
            self.tend();
        }
        if self.is_awaited(key) {
            return Err(Trouble::Later);
        }
        if let Some(most) = self.users().map(|user| self.held_by(user)).max()
            && most >= MAX_HELD
            && let Some(user) = self.exchange::<Option<u32>>(key, &Question::User { pid: key.tgid })?
            && self.held_by(user) >= MAX_HELD
        {
            if self.lost_to.get(&user).is_some_and(|lost| *lost >= MAX_HELD) {
                self.give_up(*key);
                return Err(Trouble::Unresponsive);
            }
            return Err(Trouble::Later);
        }
        self.exchange(key, question)
    }

    fn exchange<A: DeserializeOwned>(&mut self, key: &ProcessKey, question: &Question) -> Result<A, Trouble> {
        let frame = worker::frame(question).map_err(|_| Trouble::Later)?;
        let answer = self.answer(key, &frame)?;
        postcard::from_bytes(&answer).map_err(|_| Trouble::Later)
    }

    /// The users whose processes hold readers, or have for good.
    fn users(&self) -> impl Iterator<Item = u32> {
        self.lost_to.keys().copied().chain(self.slow.iter().filter_map(|slow| slow.user))
    }

    /// How many readers the processes of a user hold or have for good.
    fn held_by(&self, user: u32) -> usize {
        let held = self.slow.iter().filter(|slow| slow.user == Some(user)).count();
        held + self.lost_to.get(&user).copied().unwrap_or_default()
    }

    /// A reader does not answer: another one takes its place, and tells whose process it is that holds the first.
    fn go_on_without(&mut self, worker: Worker, key: &ProcessKey) {
        let pid = worker.pid();
        self.slow.push(Slow::new(worker, *key));
        self.start_if_missing();
        if let Ok(user) = self.exchange::<Option<u32>>(key, &Question::User { pid: key.tgid })
            && let Some(slow) = self.slow.iter_mut().find(|slow| slow.worker.pid() == pid)
        {
            slow.user = user.filter(|user| *user != ROOT);
        }
    }

    fn answer(&mut self, key: &ProcessKey, frame: &[u8]) -> Result<Vec<u8>, Trouble> {
        self.start_if_missing();
        let link = self.link.as_mut().ok_or(Trouble::Later)?;
        let worker = match link {
            Link::Worker(worker) => worker,
            Link::Here(server) => {
                let question = postcard::from_bytes(&frame[4..]).map_err(|_| Trouble::Later)?;
                return server
                    .answer(&question)
                    .map(|answer| answer[4..].to_vec())
                    .map_err(|_| Trouble::Later);
            }
        };
        let began = Instant::now();
        let answer = converse(worker, frame, began, &mut self.patience);
        let waited = began.elapsed();
        self.patience.spend(waited);
        let Questions { number, waited: all, longest, late } = &mut self.questions;
        *number += 1;
        *all += waited;
        *longest = waited.max(*longest);
        *late += u64::from(!matches!(answer, Ok(Some(_))));
        match answer {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => {
                if let Some(Link::Worker(worker)) = self.link.take() {
                    self.go_on_without(worker, key);
                }
            }
            // It has ended: by an error of ours that the target knows to provoke, or by somebody's hand.
            Err(_) => {
                if let Some(Link::Worker(worker)) = self.link.take() {
                    self.bury(worker);
                }
                self.died_of(*key);
            }
        }
        // Ready before the next question.
        self.start_if_missing();
        Err(if self.is_unresponsive(key) { Trouble::Unresponsive } else { Trouble::Later })
    }

    /// Once may be chance.
    fn died_of(&mut self, key: ProcessKey) {
        if self.fatal.insert(key.tgid, key).is_some_and(|before| may_be_same(&before, &key)) {
            self.give_up(key);
        }
    }

    fn start_if_missing(&mut self) {
        let now = Instant::now();
        if self.link.is_some()
            || self.slow.len() + self.killed.len() >= MAX_STUCK
            || self.start_after.is_some_and(|after| now < after)
        {
            return;
        }
        match Worker::start() {
            Ok(worker) => self.link = Some(Link::Worker(worker)),
            Err(_) => self.start_after = Some(now + START_AGAIN),
        }
    }

    fn bury(&mut self, mut worker: Worker) {
        self.ended_cpu_ns += worker.cpu_ns();
        worker.kill();
        self.killed.push(worker);
    }

    fn workers(&self) -> impl Iterator<Item = &Worker> {
        let link = self.link.iter().filter_map(|link| match link {
            Link::Worker(worker) => Some(worker),
            Link::Here(_) => None,
        });
        link.chain(self.slow.iter().map(|slow| &slow.worker))
    }

    /// Whether it is one of the readers that there are: their numbers are nobody else's until they were waited for.
    fn is_own(&self, pid: u32) -> bool {
        self.workers().chain(&self.killed).any(|worker| worker.pid() == pid)
    }

    pub fn questions(&self) -> Questions {
        self.questions
    }

    /// The capture ends: who has not answered by now never will.
    pub fn end(&mut self) {
        for slow in std::mem::take(&mut self.slow) {
            slow.key.into_iter().for_each(|key| self.give_up(key));
            self.bury(slow.worker);
        }
    }

    /// Whether a reader is still out at this process.
    fn is_awaited(&self, key: &ProcessKey) -> bool {
        self.slow.iter().any(|slow| slow.key.is_some_and(|asked| may_be_same(&asked, key)))
    }

    /// What readers take: their CPU time so far, and their memory now.
    pub fn cost(&mut self) -> Cost {
        let cpu_ns = self.ended_cpu_ns + self.workers().map(Worker::cpu_ns).sum::<u64>();
        let all = self.workers().chain(&self.killed);
        let rss_bytes = all.map(|worker| own::rss_bytes_of(worker.pid())).sum();
        self.peak_rss_bytes = self.peak_rss_bytes.max(rss_bytes);
        Cost { cpu_ns, rss_bytes }
    }

    /// The most memory that readers had when somebody asked for their cost, or one of them at any time.
    pub fn peak_rss_bytes(&self) -> u64 {
        let peaks: u64 = self.workers().map(|worker| own::peak_rss_bytes_of(worker.pid())).sum();
        self.peak_rss_bytes.max(peaks)
    }
}

/// Asks, and waits as long as there is reason and time to.
fn converse(
    worker: &mut Worker,
    frame: &[u8],
    began: Instant,
    patience: &mut Patience,
) -> std::io::Result<Option<Vec<u8>>> {
    let until = began + patience.limit(false, began);
    if !worker.send(frame, until)? {
        return Ok(None);
    }
    if let Some(answer) = worker.receive(until)? {
        return Ok(Some(answer));
    }
    let most = began + patience.limit(true, Instant::now());
    while Instant::now() < most && worker.progress().runs {
        if let Some(answer) = worker.receive(most.min(Instant::now() + LOOK))? {
            return Ok(Some(answer));
        }
    }
    Ok(None)
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(Link::Worker(worker)) = self.link.take() {
            self.bury(worker);
        }
        for slow in std::mem::take(&mut self.slow) {
            self.bury(slow.worker);
        }
        worker::reap(&mut self.killed, LAST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::any_key;
    use crate::process::Inspection;

    #[test]
    fn no_reader_is_asked_about_readers() {
        let child = std::process::Command::new("sleep").arg("60").spawn().expect("it runs");
        let key = any_key(child.id());
        let mut reader = Reader::with(Link::Worker(Worker::silent(child)));
        let looked = reader.look(&key).expect("an answer");
        let is_none = |seen| matches!(seen, Seen::Known(Inspection::MaybeLater { expects_libpython: false }));
        assert!(is_none(looked.seen));
        assert_eq!(reader.questions().number, 0);
        // Killed, it has its number still; until then it is asked in vain.
        if let Some(Link::Worker(worker)) = reader.link.take() {
            reader.bury(worker);
        }
        assert!(is_none(reader.look(&key).expect("an answer").seen));
        assert_eq!(reader.questions().number, 0);
    }
}
