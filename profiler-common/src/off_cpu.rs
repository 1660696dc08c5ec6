//! What is kept of a thread while it is off its CPU, and how often a stack is walked when it leaves.

use bytemuck::{Pod, Zeroable};

use crate::SampleEvent;

/// Threads of Python processes that can be followed at once.
pub const MAX_OFF_CPU_THREADS: u32 = 16_384;
/// How long blocks are counted before the share that is walked is decided anew: 2^24 ns.
pub const WINDOW_SHIFT: u32 = 24;
/// Walks of one thread, and of one CPU, in such a window: some 1,000 and 7,600 a second. A walk takes 2 to 5 us.
pub const THREAD_WALKS: u32 = 16;
pub const CPU_WALKS: u32 = 128;
/// A block of at least this time is always counted, as itself: chance decides about shorter ones. A record of it costs less than
/// half a microsecond, a thousandth of the time.
pub const LONG_NS: u64 = 1 << 18;
/// Places of a thread at which it blocked and was walked.
pub const PLACES: usize = 4;

/// `OffCpuThread.left`: it waits for something.
pub const LEFT_BLOCKED: u32 = 0;
/// `OffCpuThread.left`: it could run, and another one does.
pub const LEFT_RUNNABLE: u32 = 1;

/// Every nanosecond and every time, whether walked or not.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Account {
    pub blocked_ns: u64,
    /// Ready to run, while others had the CPUs: put aside, or woken and not run yet.
    pub runnable_ns: u64,
    /// How often it left the CPU to wait, and how often because it was put aside.
    pub blocked: u64,
    pub preempted: u64,
    /// Blocks that were not walked.
    pub not_walked: u64,
}

/// Where a thread blocked, as the registers tell, and which stack it then had.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct Place {
    pub place: u64,
    pub stack_hash: u64,
    pub outcome: u32,
    pub flags: u32,
}

/// How often something happens per window, and one in how many is therefore taken.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct Rate {
    pub since_ns: u64,
    pub events: u32,
    /// 0 before the first window ends: everything is.
    scale: u32,
}

impl Rate {
    /// One in how many events is to be taken, so that some `wanted` are in a window; what comes now is an event if `is_one`. It
    /// follows from what was before, and so says nothing of what comes now: from this window as far as it has gone, and from
    /// those before it, which fade.
    #[inline(always)]
    pub fn scale(&mut self, now_ns: u64, wanted: u32, is_one: bool) -> u32 {
        let windows = now_ns.wrapping_sub(self.since_ns) >> WINDOW_SHIFT;
        if windows != 0 {
            let faded = if windows > 31 { 0 } else { self.scale.wrapping_shr(windows as u32) };
            let windows = if windows > 1 << 16 { 1 << 16 } else { windows as u32 };
            let rate = self.events / windows / wanted;
            self.scale = if rate > faded { rate } else { faded };
            self.since_ns = now_ns;
            self.events = 0;
        }
        if is_one {
            self.events = self.events.wrapping_add(1);
        }
        let so_far = self.events / wanted;
        let scale = if so_far > self.scale { so_far } else { self.scale };
        if scale == 0 { 1 } else { scale }
    }
}

/// When threads got a CPU by the scheduler's clock of that CPU, against CLOCK_MONOTONIC: two clocks of the same pace, but for
/// what NTP makes of one of them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct Arrivals {
    /// When they were last compared; 0: never. CLOCK_MONOTONIC.
    compared_ns: u64,
    /// By how much that is ahead of the scheduler's.
    ahead_ns: u64,
}

impl Arrivals {
    /// Whether they are to be compared again.
    #[inline(always)]
    pub fn are_stale(&self, now_ns: u64) -> bool {
        self.compared_ns == 0 || now_ns.wrapping_sub(self.compared_ns) >> WINDOW_SHIFT != 0
    }

    /// One event by both clocks. 0 by the scheduler's: it does not write it down.
    #[inline(always)]
    pub fn compare(&mut self, monotonic_ns: u64, scheduler_ns: u64, now_ns: u64) {
        if scheduler_ns != 0 {
            self.compared_ns = now_ns;
            self.ahead_ns = monotonic_ns.wrapping_sub(scheduler_ns);
        }
    }

    /// An event of which the scheduler's time is known, by CLOCK_MONOTONIC; 0: nothing is known of it.
    #[inline(always)]
    pub fn monotonic_ns(&self, scheduler_ns: u64) -> u64 {
        if self.compared_ns == 0 || scheduler_ns == 0 { 0 } else { scheduler_ns.wrapping_add(self.ahead_ns) }
    }
}

/// A thread in the kernel's table.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct OffCpuThread {
    /// What is sent when it is back, but for its weight.
    pub sample: SampleEvent,
    /// When it last left its CPU; 0 before it was seen to. CLOCK_MONOTONIC.
    pub out_ns: u64,
    /// When it came back; 0 while it is away.
    pub in_ns: u64,
    /// `task_struct.sched_info.run_delay` when it left.
    pub run_delay_ns: u64,
    pub account: Account,
    pub rate: Rate,
    /// From this time on the block counts as itself.
    pub long_ns: u64,
    /// By how much the walk made the block longer: those that it stands for are shorter.
    pub walk_ns: u64,
    /// `LEFT_*`
    pub left: u32,
    /// Its stack was walked, as one in so many is; 0: it was not.
    pub chance: u32,
    pub places: [Place; PLACES],
}

/// What a block that has ended, or is known to have lasted so long, stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    pub events: u32,
    pub weight_ns: u64,
}

impl OffCpuThread {
    /// What is to be counted of a block of this length: itself where it is long, else as many as were to be walked for one
    /// that was. In the mean over chance both are the truth (Horvitz and Thompson).
    #[inline(always)]
    pub fn counts(&self, blocked_ns: u64) -> Option<Counted> {
        if blocked_ns >= self.long_ns {
            return Some(Counted { events: 1, weight_ns: blocked_ns });
        }
        if self.chance == 0 {
            return None;
        }
        let others_ns = blocked_ns.saturating_sub(self.walk_ns).wrapping_mul(self.chance as u64 - 1);
        Some(Counted { events: self.chance, weight_ns: blocked_ns.wrapping_add(others_ns) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_follows_the_rate_at_once_and_fades() {
        let mut rate = Rate::default();
        let window = 1u64 << WINDOW_SHIFT;
        let now = 100 * window;
        let mut taken = 0.0;
        for number in 1..=3200 {
            let scale = rate.scale(now, 16, true);
            assert_eq!(scale, (number / 16).max(1), "event {number}");
            taken += 1.0 / f64::from(scale);
        }
        assert!(taken < 16.0 * 8.0, "{taken} of a burst");
        // What one in how many is taken from then on, window by window, if nothing more comes.
        for (windows, expected) in [(1, 200), (2, 100), (3, 50), (9, 1), (99, 1)] {
            let mut rate = rate;
            for step in 1..=windows {
                rate.scale(now + step * window, 16, false);
            }
            assert_eq!(rate.scale(now + windows * window, 16, false), expected, "after {windows}");
        }
        // A pause thins the events out.
        assert_eq!(rate.scale(now + 20 * window, 16, false), 10);
    }

    #[test]
    fn what_the_scheduler_wrote_down_is_told_by_the_other_clock() {
        let mut arrivals = Arrivals::default();
        let window = 1u64 << WINDOW_SHIFT;
        assert!(arrivals.are_stale(5));
        assert_eq!(arrivals.monotonic_ns(5), 0, "they were never compared");
        arrivals.compare(1_000, 0, 1_001);
        assert!(arrivals.are_stale(1_001), "nothing was written down");
        // Either may be ahead.
        for (monotonic_ns, scheduler_ns) in [(1_000, 400), (400, 1_000)] {
            arrivals.compare(monotonic_ns, scheduler_ns, 1_001);
            assert_eq!(arrivals.monotonic_ns(scheduler_ns + 7), monotonic_ns + 7);
            assert_eq!(arrivals.monotonic_ns(0), 0, "it has not arrived");
            assert!(!arrivals.are_stale(1_000 + window) && arrivals.are_stale(1_001 + window));
        }
    }

    #[test]
    fn long_blocks_count_as_themselves_and_short_ones_by_chance() {
        let thread = |chance| OffCpuThread { chance, long_ns: 1000, walk_ns: 3, ..OffCpuThread::default() };
        let counted = |events, weight_ns| Some(Counted { events, weight_ns });
        for (chance, blocked_ns, expected) in [
            (0, 999, None),
            (0, 1000, counted(1, 1000)),
            (1, 999, counted(1, 999)),
            (50, 10, counted(50, 10 + 49 * 7)),
            (50, 2, counted(50, 2)),
            (50, 999, counted(50, 999 + 49 * 996)),
            (50, 1000, counted(1, 1000)),
        ] {
            assert_eq!(thread(chance).counts(blocked_ns), expected, "{chance} {blocked_ns}");
        }
    }
}
