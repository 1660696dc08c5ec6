//! Keeps the profiler's own cost under `--max-cpu`: both its own processes and its programs in the kernel count.

use std::time::{Duration, Instant};

/// How often the cost is looked at.
const PERIOD: Duration = Duration::from_secs(1);
/// Over the limit this many times in a row: a burst of new processes alone is no reason.
const PATIENCE: u32 = 2;
/// Where the new frequency aims, as a share of the limit.
const AIM: f64 = 0.8;
/// After so long with room for twice the frequency it is doubled, up to the one that was asked for; each time that turns out to
/// be too much, it takes twice as long until the next attempt.
const REST: u32 = 10;
const LONGEST_REST: u32 = 640;

pub struct Budget {
    max_percent: f64,
    /// In Hz.
    asked: u32,
    since: Instant,
    cpu_ns: u64,
    /// Periods in a row: beyond the limit, and with room.
    over: u32,
    under: u32,
    rest: u32,
    /// It was an attempt of ours that led to the present frequency.
    has_raised: bool,
    /// CPU of the last period in percent of one core.
    pub percent: f64,
}

impl Budget {
    /// `asked`: the frequency, Hz. `cpu_ns`: what was used so far.
    pub fn new(max_percent: f64, asked: u32, cpu_ns: u64) -> Budget {
        Budget {
            max_percent,
            asked,
            since: Instant::now(),
            cpu_ns,
            over: 0,
            under: 0,
            rest: REST,
            has_raised: false,
            percent: 0.0,
        }
    }

    /// When the next look is due.
    pub fn due(&self) -> Instant {
        self.since + PERIOD
    }

    pub fn is_due(&self) -> bool {
        Instant::now() >= self.due()
    }

    /// Looks at the cost since the last look; a lower frequency if it was too much for too long, a higher one, up to the one
    /// that was asked for, where there is room again: what was a burst is over.
    pub fn check(&mut self, cpu_ns: u64, frequency_hz: u32) -> Option<u32> {
        let now = Instant::now();
        let elapsed = now.duration_since(self.since).as_nanos() as f64;
        self.percent = 100.0 * cpu_ns.saturating_sub(self.cpu_ns) as f64 / elapsed.max(1.0);
        self.since = now;
        self.cpu_ns = cpu_ns;
        self.judge(frequency_hz)
    }

    fn judge(&mut self, frequency_hz: u32) -> Option<u32> {
        if self.percent <= self.max_percent {
            self.over = 0;
            let has_room = frequency_hz < self.asked && self.percent * 2.0 <= self.max_percent * AIM;
            self.under = if has_room { self.under + 1 } else { 0 };
            if self.under < self.rest {
                return None;
            }
            (self.under, self.has_raised) = (0, true);
            return Some(frequency_hz.saturating_mul(2).min(self.asked));
        }
        self.under = 0;
        self.over += 1;
        if self.over < PATIENCE || frequency_hz <= 1 {
            return None;
        }
        self.over = 0;
        if std::mem::take(&mut self.has_raised) {
            self.rest = (self.rest * 2).min(LONGEST_REST);
        }
        let lower = f64::from(frequency_hz) * self.max_percent * AIM / self.percent;
        Some((lower as u32).clamp(1, frequency_hz - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::Budget;

    #[test]
    fn only_a_lasting_excess_lowers_the_frequency() {
        let mut budget = Budget::new(5.0, 99, 0);
        let rows = [
            (4.0, 99, None),
            (20.0, 99, None),
            (4.0, 99, None),
            (20.0, 99, None),
            (20.0, 99, Some(19)),
            (6.0, 19, None),
            (6.0, 19, Some(12)),
            (1000.0, 1, None),
            (1000.0, 1, None),
        ];
        for (step, (percent, frequency_hz, expected)) in rows.into_iter().enumerate() {
            budget.percent = percent;
            assert_eq!(budget.judge(frequency_hz), expected, "step {step}");
        }
    }

    #[test]
    fn where_there_is_room_again_the_frequency_comes_back_and_each_failure_makes_the_next_attempt_later() {
        let mut budget = Budget::new(5.0, 99, 0);
        // How long it takes until it is raised, and to what.
        let attempt = |budget: &mut Budget, percent, frequency_hz| {
            budget.percent = percent;
            (1..2_000).find_map(|second| Some((second, budget.judge(frequency_hz)?)))
        };
        assert_eq!(attempt(&mut budget, 1.0, 30), Some((10, 60)));
        assert_eq!(attempt(&mut budget, 1.0, 60), Some((10, 99)));
        assert_eq!(attempt(&mut budget, 1.0, 99), None);
        assert_eq!(attempt(&mut budget, 2.1, 30), None, "no room for twice as much");
        for seconds in [10, 20, 40, 80, 160, 320, 640, 640] {
            assert_eq!(attempt(&mut budget, 2.0, 30), Some((seconds, 60)));
            assert_eq!(attempt(&mut budget, 8.0, 60), Some((2, 30)));
        }
    }
}
