//! How long the loop waits for an answer. While it waits, nobody reads the rings, and those hold half a second: so one wait is
//! short, and all waits together are a small share of the time, whatever targets do.

use std::time::{Duration, Instant};

/// So long nobody is called slow: an answer takes some 20 to 200 us, a look at files that nobody has seen 10 ms.
const FREE: Duration = Duration::from_millis(10);
/// One wait for a reader that sleeps in the kernel: a disk answers within some 10 ms, and what takes longer goes on without
/// anybody waiting.
const SLEEPING: Duration = Duration::from_millis(50);
/// One wait for a reader that runs or waits for a CPU: it will answer, and there is no way to have the answer sooner.
const RUNNING: Duration = Duration::from_millis(400);
/// Of the time, all waits beyond [`FREE`] together: one part in so many.
const SHARE: u32 = 20;
/// What may be saved up: less than the rings hold.
const SAVED: Duration = Duration::from_millis(400);
/// Before the first sample nothing can be lost by waiting.
const AT_FIRST: Duration = Duration::from_secs(1);

pub(super) struct Patience {
    /// Time that may be waited beyond [`FREE`].
    left: Duration,
    since: Instant,
    /// The same for every answer, where nobody reads rings.
    fixed: Option<Duration>,
}

impl Patience {
    pub(super) fn new() -> Patience {
        Patience { left: AT_FIRST, since: Instant::now(), fixed: None }
    }

    pub(super) fn fixed(wait: Duration) -> Patience {
        Patience { fixed: Some(wait), ..Patience::new() }
    }

    fn refill(&mut self, now: Instant) {
        let more = now.saturating_duration_since(self.since) / SHARE;
        self.since = now;
        self.left = if self.left >= SAVED { self.left } else { (self.left + more).min(SAVED) };
    }

    /// How long to wait for an answer now, by whether the reader is at least running.
    pub(super) fn limit(&mut self, runs: bool, now: Instant) -> Duration {
        if let Some(wait) = self.fixed {
            return wait;
        }
        self.refill(now);
        FREE + self.left.min(if runs { RUNNING } else { SLEEPING })
    }

    /// So long was waited, with or without an answer.
    pub(super) fn spend(&mut self, waited: Duration) {
        self.left = self.left.saturating_sub(waited.saturating_sub(FREE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_waits_together_are_a_small_share_of_the_time_however_many_there_are() {
        let mut patience = Patience::new();
        let begin = patience.since;
        let (mut now, mut beyond) = (begin, Duration::ZERO);
        // One process after the other that never answers, a reader that sleeps, and nothing in between but 10 ms.
        while now < begin + Duration::from_secs(100) {
            let waited = patience.limit(false, now);
            assert!(waited <= FREE + SLEEPING);
            patience.spend(waited);
            beyond += waited - FREE;
            now += waited + Duration::from_millis(10);
        }
        let share = Duration::from_secs(100) / SHARE;
        assert!(beyond >= share / 2 && beyond <= share + AT_FIRST, "{beyond:?}");
        // Saved up again after a rest, but not without end.
        let rested = patience.limit(true, now + Duration::from_secs(1_000));
        assert_eq!(rested, FREE + RUNNING.min(SAVED));
    }
}
