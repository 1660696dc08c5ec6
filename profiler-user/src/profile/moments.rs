//! When each sample was: kept only for formats that have a timeline, beside the sums, which do not need it.

use super::Total;
use hashbrown::HashMap;
use std::mem::size_of;

/// One sample at its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    /// CLOCK_MONOTONIC, as the kernel has it.
    pub time_ns: u64,
    pub weight_ns: u64,
    /// Position in [`super::Profile::samples`].
    pub sample: u32,
}

#[derive(Clone, Default)]
pub(crate) struct Moments {
    is_kept: bool,
    all: Vec<Moment>,
    /// Samples that come from where no times were kept.
    never: u64,
}

impl Moments {
    pub(crate) fn keep(&mut self) {
        self.is_kept = true;
    }

    pub(crate) fn is_kept(&self) -> bool {
        self.is_kept
    }

    pub(crate) fn push(&mut self, moment: Moment) {
        if self.is_kept {
            self.all.push(moment);
        }
    }

    /// Counts samples of which no time was ever wanted: none is lost.
    pub(crate) fn add_never(&mut self, samples: u64) {
        self.never = self.never.saturating_add(samples);
    }

    pub(crate) fn never(&self) -> u64 {
        self.never
    }

    pub(crate) fn all(&self) -> &[Moment] {
        &self.all
    }

    /// Keeps those whose sample has another position now.
    pub(crate) fn retain_moved(&mut self, moved: &HashMap<u32, u32>) {
        self.all.retain_mut(|moment| {
            moved.get(&moment.sample).is_some_and(|&sample| {
                moment.sample = sample;
                true
            })
        });
    }

    /// What one more may add at once: a full table doubles.
    pub(crate) fn growth_bytes(&self) -> usize {
        let full = self.is_kept && self.all.len() == self.all.capacity();
        if full { self.all.capacity().max(4) * size_of::<Moment>() } else { 0 }
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.all.capacity() * size_of::<Moment>()
    }

    /// What each of these sums has beyond its moments: samples whose time there was no room for.
    pub(crate) fn untimed(&self, totals: &[Total]) -> Vec<Total> {
        let mut rest = totals.to_vec();
        for moment in &self.all {
            if let Some(total) = rest.get_mut(moment.sample as usize) {
                total.samples = total.samples.saturating_sub(1);
                total.weight_ns = total.weight_ns.saturating_sub(moment.weight_ns);
            }
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ProcessMeta, Profile, merge};
    use super::*;
    use crate::profile::Context;
    use pyunwind::Outcome;

    fn add(profile: &mut Profile, line: u32, time_ns: Option<u64>, weight_ns: u64) {
        let function = profile.function("f", "/f.py", 1);
        let location = profile.location(function, line, 0);
        let stack = profile.stack(&[location]);
        let thread = profile.thread(1, 1);
        profile.add_at(thread, stack, Context::default(), Outcome::Complete, weight_ns, time_ns);
    }

    #[test]
    fn times_are_kept_only_when_asked_for_and_survive_a_merge() {
        let mut plain = Profile::new(ProcessMeta::default());
        add(&mut plain, 1, Some(5), 10);
        assert!(plain.moments().is_none());

        let mut timed = Profile::new(ProcessMeta::default());
        timed.keep_times();
        for (line, time_ns) in [(1, Some(5)), (2, Some(6)), (1, None), (1, Some(9))] {
            add(&mut timed, line, time_ns, 10);
        }
        assert_eq!(timed.total(), Total { samples: 4, weight_ns: 40 });
        let times: Vec<_> = timed.moments().unwrap().iter().map(|it| (it.sample, it.time_ns)).collect();
        assert_eq!(times, [(0, 5), (1, 6), (0, 9)]);
        let none = Total::default();
        assert_eq!(timed.untimed(), [Total { samples: 1, weight_ns: 10 }, none]);

        let merged = merge(&[&plain, &timed]).unwrap();
        let times: Vec<_> = merged.moments().unwrap().iter().map(|it| (it.sample, it.time_ns)).collect();
        assert_eq!(times, [(1, 5), (2, 6), (1, 9)], "another process's thread is another sample");
        assert_eq!(merged.untimed(), [10, 10, 0].map(|ns| Total { samples: ns / 10, weight_ns: ns }));
        assert_eq!((plain.never_timed(), timed.never_timed(), merged.never_timed()), (1, 0, 1));
    }

    #[test]
    fn growth_is_told_before_it_happens() {
        let mut profile = Profile::new(ProcessMeta::default());
        profile.keep_times();
        add(&mut profile, 1, Some(0), 1);
        for time_ns in 1..10_000 {
            let (before, told) = (profile.memory_bytes(), profile.moment_growth_bytes());
            add(&mut profile, 1, Some(time_ns), 1);
            let grown = profile.memory_bytes() - before;
            assert!(grown <= told && (grown == 0) == (told == 0), "{grown} bytes, {told} told");
        }
        assert!(profile.memory_bytes() > 10_000 * size_of::<Moment>());
    }
}
