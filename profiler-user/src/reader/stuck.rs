//! Readers that did not answer in time: most come back (a disk was slow), some never do.

use std::time::{Duration, Instant};

use profiler_common::ProcessKey;

use super::worker::{Worker, reap};
use super::{Link, Reader};

/// A reader that was blocked for so long in one question is given up: nobody waits for it, so there is time to be sure. What
/// it ran or waited for a CPU does not count: a host under load is slow, not hostile.
pub(super) const BLOCKED: Duration = Duration::from_secs(2);
/// And one that used so much CPU time: every question has bounds that end it far sooner.
const CPU_NS: u64 = 10_000_000_000;

/// A reader that has not answered yet.
pub(super) struct Slow {
    pub(super) worker: Worker,
    /// The image that it was asked about, unless nobody needs to know any more.
    pub(super) key: Option<ProcessKey>,
    /// Whose process that is, if anybody could tell; not for root.
    pub(super) user: Option<u32>,
    since: Instant,
    /// CPU time that it had used by then.
    cpu_ns: u64,
    /// Time that it had run or waited for a CPU by then; `None` where the kernel does not tell.
    busy_ns: Option<u64>,
    /// When it was last seen to run, for such kernels.
    last_ran: Instant,
}

impl Slow {
    pub(super) fn new(worker: Worker, key: ProcessKey) -> Slow {
        let (since, busy_ns) = (Instant::now(), worker.progress().busy_ns);
        let cpu_ns = worker.cpu_ns();
        Slow { worker, key: Some(key), user: None, since, cpu_ns, busy_ns, last_ran: since }
    }

    /// Whether it is stuck for good, as far as anybody can tell.
    fn is_lost(&mut self, now: Instant) -> bool {
        if self.worker.cpu_ns().saturating_sub(self.cpu_ns) >= CPU_NS {
            return true;
        }
        let progress = self.worker.progress();
        if progress.runs {
            self.last_ran = now;
            return false;
        }
        let blocked = match (self.busy_ns, progress.busy_ns) {
            (Some(before), Some(after)) => {
                let busy = Duration::from_nanos(after.saturating_sub(before));
                now.duration_since(self.since).saturating_sub(busy)
            }
            _ => now.duration_since(self.last_ran),
        };
        blocked >= BLOCKED
    }
}

impl Reader {
    /// Takes back the readers that have answered, gives up those that never will, and forgets those that are gone.
    pub fn tend(&mut self) {
        let now = Instant::now();
        if self.tended.is_some_and(|tended| now.duration_since(tended) < super::TEND) {
            return;
        }
        self.tended = Some(now);
        for mut slow in std::mem::take(&mut self.slow) {
            match slow.worker.receive(now) {
                // What it knows of files by now is what made it slow: it goes on, and who waits asks again.
                Ok(Some(_)) => {
                    if let Some(Link::Worker(worker)) = self.link.replace(Link::Worker(slow.worker)) {
                        self.bury(worker);
                    }
                }
                Ok(None) if !slow.is_lost(now) => self.slow.push(slow),
                Ok(None) => {
                    slow.user.into_iter().for_each(|user| *self.lost_to.entry(user).or_default() += 1);
                    slow.key.into_iter().for_each(|key| self.give_up(key));
                    self.bury(slow.worker);
                }
                Err(_) => {
                    slow.key.into_iter().for_each(|key| self.died_of(key));
                    self.bury(slow.worker);
                }
            }
        }
        reap(&mut self.killed, Duration::ZERO);
    }

    /// When to come again, if a reader is out.
    pub fn next_due(&self) -> Option<Instant> {
        (!self.slow.is_empty()).then(|| Instant::now() + Duration::from_millis(20))
    }
}
