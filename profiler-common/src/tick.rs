//! How much CPU time a tick stands for, when not every tick comes.
//!
//! Were all ticks delivered, each would stand for one period. But the kernel throttles events, and an idle CPU's ticks
//! may not come at all: throttling counts ticks per timer interrupt, which an idle CPU does not have, and there are hosts
//! whose timer interrupts of idle CPUs never reach perf. So a tick stands for the periods since the one before it on its CPU,
//! without those that ended while the CPU was idle: what is left is CPU time that somebody used. Without the idle CPU's
//! share, a process that wakes once a second would be charged with the second.

use crate::limits::MAX_PERIODS_PER_TICK;

/// What one CPU remembers from tick to tick.
///
/// Fields that become 0 together are not neighbours: compilers would call `memset` for them, and a program with a function may
/// not tail-call everywhere (`profiler-ebpf/src/sources/cpu.rs`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Tick {
    pub now_ns: u64,
    /// When the CPU became idle; 0 while it is not.
    idle_since_ns: u64,
    pub weight_ns: u64,
    /// Periods that ended in idleness since the last tick.
    idle_periods: u64,
    /// Nominal time between two ticks, set by user space through the event's own period.
    pub period_ns: u64,
    /// Used time that no tick has told of yet: the next tick came when the CPU was idle again.
    untold_ns: i64,
    /// The period that users have been told of.
    pub told_ns: u64,
    /// When the last tick was due: periods are counted from here. 0 before the first one.
    due_ns: u64,
}

/// A tick later than its due time by less than this share of a period is still that one, not one of a restarted timer.
const LATE_SHARE: u64 = 16;

impl Tick {
    /// Periods since the last tick that had ended at `at_ns`.
    #[inline(always)]
    fn periods_until(&self, at_ns: u64) -> u64 {
        at_ns.saturating_sub(self.due_ns).checked_div(self.period_ns).unwrap_or(0)
    }

    #[inline(always)]
    pub fn idle_begins(&mut self, now_ns: u64) {
        self.idle_since_ns = now_ns;
    }

    #[inline(always)]
    pub fn idle_ends(&mut self, now_ns: u64) {
        if self.idle_since_ns == 0 {
            return;
        }
        let periods = self.periods_until(now_ns).saturating_sub(self.periods_until(self.idle_since_ns));
        self.idle_periods = self.idle_periods.wrapping_add(periods);
        self.idle_since_ns = 0;
    }

    /// Takes a tick, sets `weight_ns`, and returns the time beyond what one tick may stand for.
    #[inline(always)]
    pub fn fire(&mut self, now_ns: u64, period_ns: u64, idle: bool) -> u64 {
        let mut excess_ns = 0;
        if self.due_ns == 0 || self.period_ns != period_ns {
            // The first tick after attaching stands for one period.
            self.weight_ns = period_ns;
            self.untold_ns = 0;
            self.due_ns = now_ns;
        } else {
            let mut elapsed_ns = now_ns.saturating_sub(self.due_ns);
            let late_ns = elapsed_ns.wrapping_sub(self.periods_until(now_ns).wrapping_mul(period_ns));
            if late_ns < period_ns / LATE_SHARE {
                elapsed_ns -= late_ns;
            }
            if idle {
                // This tick ends an idle period itself, be it early or late.
                if self.idle_since_ns == 0 {
                    self.idle_periods = self.idle_periods.wrapping_add(1);
                }
                self.idle_ends(now_ns.wrapping_add(period_ns / 2));
            }
            let idle_ns = self.idle_periods.wrapping_mul(period_ns);
            let used_ns = self.untold_ns.wrapping_add(elapsed_ns.wrapping_sub(idle_ns) as i64);
            let most_ns = period_ns.wrapping_mul(MAX_PERIODS_PER_TICK);
            self.weight_ns = if used_ns > 0 { used_ns as u64 } else { 0 };
            self.untold_ns = 0;
            if idle || used_ns < 0 {
                self.untold_ns = used_ns;
            } else if self.weight_ns > most_ns {
                excess_ns = self.weight_ns - most_ns;
                self.weight_ns = most_ns;
            }
            self.due_ns = self.due_ns.wrapping_add(elapsed_ns);
        }
        self.idle_since_ns = if idle { now_ns } else { 0 };
        self.idle_periods = 0;
        self.now_ns = now_ns;
        self.period_ns = period_ns;
        excess_ns
    }
}

#[cfg(test)]
mod tests {
    use super::Tick;

    const PERIOD_NS: u64 = 1_000_000;

    /// A generator of even quality (Knuth's 64-bit constants), so that rows are the same every time.
    struct Random(u64);

    impl Random {
        fn below(&mut self, end: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % end
        }
    }

    /// How a host delivers ticks.
    #[derive(Clone, Copy, Debug)]
    struct Host {
        when_idle: bool,
        /// At most one tick in a row per so many nanoseconds of timer interrupt; 0: not throttled.
        interrupt_ns: u64,
    }

    /// Bursts of `used_ns` on average with pauses, 6 s in all; the time used and the time that ticks showed.
    fn simulate(host: Host, percent: u64, used_ns: u64) -> (u64, u64) {
        let mut random = Random(percent + used_ns);
        let mut tick = Tick::default();
        let (mut now, mut used, mut shown) = (1_000_000_000, 0, 0);
        let mut next = now;
        let mut until_interrupt = 0;
        tick.fire(now, PERIOD_NS, false);
        for _ in 0..6_000_000_000 / used_ns {
            let burst = used_ns / 2 + random.below(used_ns);
            let pause = if percent == 100 { 0 } else { burst * (100 - percent) / percent };
            for (length, idle) in [(burst, false), (pause, true)] {
                let end = now + length;
                if idle && length > 0 {
                    tick.idle_begins(now);
                }
                while next < end {
                    let at = next;
                    next += PERIOD_NS;
                    if idle && !host.when_idle {
                        continue;
                    }
                    if at < until_interrupt {
                        continue;
                    }
                    // Timer interrupts have a phase of their own.
                    if let Some(interrupts) = at.checked_div(host.interrupt_ns) {
                        until_interrupt = (interrupts + 1) * host.interrupt_ns;
                    }
                    let late = at + random.below(20_000);
                    let excess = tick.fire(late.min(end), PERIOD_NS, idle);
                    if !idle {
                        shown += tick.weight_ns + excess;
                    }
                }
                now = end;
                if idle && length > 0 {
                    tick.idle_ends(now);
                }
                used += if idle { 0 } else { length };
            }
        }
        (used, shown)
    }

    #[test]
    fn the_time_shown_is_the_time_used_whichever_ticks_are_lost() {
        for when_idle in [true, false] {
            for interrupt_ns in [0, 4_000_000] {
                for percent in [5, 30, 80, 100] {
                    for used_ns in [300_000, 1_000_000, 8_000_000] {
                        let host = Host { when_idle, interrupt_ns };
                        let (used, shown) = simulate(host, percent, used_ns);
                        let off = shown as f64 / used as f64 - 1.0;
                        assert!(off.abs() < 0.03, "{host:?} {percent} % of {used_ns} ns: {off:+.4}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_single_wake_up_after_a_long_idle_time_is_one_period() {
        let mut tick = Tick::default();
        tick.fire(5 * PERIOD_NS, PERIOD_NS, false);
        tick.idle_begins(5 * PERIOD_NS + 300_000);
        tick.idle_ends(5005 * PERIOD_NS - 200_000);
        assert_eq!(tick.fire(5005 * PERIOD_NS, PERIOD_NS, false), 0);
        assert_eq!(tick.weight_ns, PERIOD_NS);
    }

    #[test]
    fn time_that_was_used_unseen_is_told_of() {
        let mut tick = Tick::default();
        tick.fire(5 * PERIOD_NS, PERIOD_NS, false);
        assert_eq!(tick.fire(105 * PERIOD_NS, PERIOD_NS, false), 90 * PERIOD_NS);
        assert_eq!(tick.weight_ns, 10 * PERIOD_NS);
        // Another frequency: the time since the last tick is not in its units.
        assert_eq!(tick.fire(300 * PERIOD_NS, 2 * PERIOD_NS, false), 0);
        assert_eq!(tick.weight_ns, 2 * PERIOD_NS);
        // Clocks that go backwards and periods of nothing must not end the program.
        tick.fire(1, 0, true);
        tick.idle_begins(7);
        tick.idle_ends(3);
        tick.fire(0, 0, true);
    }
}
