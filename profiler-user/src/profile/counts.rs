//! What was counted, apart from the names that it is about: a process image has one set of names, stacks and threads, and
//! may be counted by more than one measure.

use super::intern::Interner;
use super::moments::Moments;
use super::{Context, Measure, Profile, Sample, StackId, ThreadId, Total};
use pyunwind::Outcome;
use std::mem::{size_of, swap};

/// Samples by one measure. Its ids are those of the profile that it is in, or that it is exchanged with.
#[derive(Clone)]
pub struct Counts {
    pub(super) measure: Measure,
    keys: Interner<(ThreadId, StackId, Context)>,
    /// Beside `keys`, by the same index.
    totals: Vec<Total>,
    pub(super) moments: Moments,
    /// Beside `Outcome::ALL`, by the same index.
    pub(super) outcomes: [Total; Outcome::ALL.len()],
    pub(super) dropped: Total,
}

impl Counts {
    pub fn of(measure: Measure) -> Self {
        Self {
            measure,
            keys: Interner::new(),
            totals: Vec::new(),
            moments: Moments::default(),
            outcomes: Default::default(),
            dropped: Total::default(),
        }
    }

    /// Counts `those` under `key` and returns the position of their sum among the samples. Outcomes are not counted.
    pub(super) fn add(&mut self, key: (ThreadId, StackId, Context), those: Total) -> u32 {
        let (index, new) = self.keys.intern(key);
        if new {
            self.totals.push(Total::default());
        }
        if let Some(total) = self.totals.get_mut(index as usize) {
            total.merge(those);
        }
        index
    }

    pub(super) fn add_outcome(&mut self, outcome: Outcome, those: Total) {
        if let Some(total) = self.outcomes.get_mut(outcome as usize) {
            total.merge(those);
        }
    }

    pub(super) fn samples(&self) -> impl ExactSizeIterator<Item = Sample> + '_ {
        let keys = self.keys.items().iter();
        keys.zip(&self.totals).map(|(&(thread, stack, context), &total)| Sample {
            thread,
            stack,
            context,
            total,
        })
    }

    pub(super) fn untimed(&self) -> Vec<Total> {
        self.moments.untimed(&self.totals)
    }

    /// Forgets the samples and keeps room for as many, and all sums.
    pub(super) fn clear_samples(&mut self) {
        self.keys.clear();
        self.totals.clear();
    }

    /// The same sums, without a sample.
    pub(super) fn emptied(&self) -> Counts {
        Counts { outcomes: self.outcomes, dropped: self.dropped, ..Counts::of(self.measure.clone()) }
    }

    pub fn total(&self) -> Total {
        let mut sum = Total::default();
        self.outcomes.iter().for_each(|&total| sum.merge(total));
        sum
    }

    pub fn dropped(&self) -> Total {
        self.dropped
    }

    /// What one more sample may add to the heap at once.
    pub(super) fn growth_bytes(&self) -> usize {
        self.keys.growth_bytes(1)
    }

    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + self.keys.memory_bytes()
            + self.totals.capacity() * size_of::<Total>()
            + self.moments.memory_bytes()
    }
}

impl Profile {
    /// From now on the profile is what `counts` was, and the other way round.
    pub fn exchange(&mut self, counts: &mut Counts) {
        swap(&mut self.counts, counts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::ProcessMeta;

    #[test]
    fn two_measures_share_names_and_nothing_else() {
        let mut profile = Profile::new(ProcessMeta::default());
        let mut other = Counts::of(Measure::OFF_CPU);
        let function = profile.function("f", "/f.py", 1);
        let location = profile.location(function, 2, 0);
        let stack = profile.stack(&[location]);
        let thread = profile.thread(1, 0);
        profile.add(thread, stack, Outcome::Complete, 10);
        profile.exchange(&mut other);
        assert_eq!((profile.measure(), profile.total().samples), (&Measure::OFF_CPU, 0));
        let those = Total { samples: 3, weight_ns: 70 };
        profile.add_counted(thread, stack, Context::default(), Outcome::Complete, those, None);
        profile.add_dropped(5);
        profile.exchange(&mut other);
        assert_eq!(
            (profile.measure(), profile.total()),
            (&Measure::CPU, Total { samples: 1, weight_ns: 10 })
        );
        assert_eq!((other.total(), other.dropped().weight_ns), (those, 5));
        assert_eq!(profile.dropped().samples, 0);
    }
}
