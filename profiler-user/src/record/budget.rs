//! Keeps the profiler's own cost under `--max-cpu`: both its own process and its programs in the kernel count.

use std::time::{Duration, Instant};

use super::host::own_cpu_ns;

/// How often the cost is looked at.
const PERIOD: Duration = Duration::from_secs(1);
/// Over the limit this many times in a row: a burst of new processes alone is no reason.
const PATIENCE: u32 = 2;
/// Where the new frequency aims, as a share of the limit.
const AIM: f64 = 0.8;

pub struct Budget {
    max_percent: f64,
    since: Instant,
    cpu_ns: u64,
    over: u32,
    /// CPU of the last period in percent of one core.
    pub percent: f64,
}

impl Budget {
    pub fn new(max_percent: f64) -> Budget {
        Budget { max_percent, since: Instant::now(), cpu_ns: own_cpu_ns(), over: 0, percent: 0.0 }
    }

    /// When the next look is due.
    pub fn due(&self) -> Instant {
        self.since + PERIOD
    }

    pub fn is_due(&self) -> bool {
        Instant::now() >= self.due()
    }

    /// Looks at the cost since the last look; a lower frequency if it was too much for too long.
    pub fn check(&mut self, kernel_ns: u64, frequency_hz: u32) -> Option<u32> {
        let now = Instant::now();
        let cpu_ns = own_cpu_ns() + kernel_ns;
        let elapsed = now.duration_since(self.since).as_nanos() as f64;
        self.percent = 100.0 * cpu_ns.saturating_sub(self.cpu_ns) as f64 / elapsed.max(1.0);
        self.since = now;
        self.cpu_ns = cpu_ns;
        self.judge(frequency_hz)
    }

    fn judge(&mut self, frequency_hz: u32) -> Option<u32> {
        if self.percent <= self.max_percent {
            self.over = 0;
            return None;
        }
        self.over += 1;
        if self.over < PATIENCE || frequency_hz <= 1 {
            return None;
        }
        self.over = 0;
        let lower = f64::from(frequency_hz) * self.max_percent * AIM / self.percent;
        Some((lower as u32).clamp(1, frequency_hz - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::Budget;

    #[test]
    fn only_a_lasting_excess_lowers_the_frequency() {
        let mut budget = Budget::new(5.0);
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
}
