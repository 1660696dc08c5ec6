//! What a filter leaves of a profile.

use super::{Counts, LocationId, Profile, Sample, outcome_of_root};
use hashbrown::HashMap;
use pyunwind::Outcome;

impl Profile {
    /// Keeps the samples that `is_wanted` and forgets the others. Tables stay as they are: ids keep their meaning.
    pub fn retain(&mut self, mut is_wanted: impl FnMut(&Profile, Sample) -> bool) {
        let wanted: Vec<(u32, Sample)> =
            (0..).zip(self.samples()).filter(|(_, sample)| is_wanted(self, *sample)).collect();
        let mut kept = Counts::of(self.measure().clone());
        let mut moved: HashMap<u32, u32> = HashMap::new();
        for (index, Sample { thread, stack, context, total }) in wanted {
            kept.add_outcome(self.outcome_of(self.stack_locations(stack).last()), total);
            moved.insert(index, kept.add((thread, stack, context), total));
        }
        kept.moments = std::mem::take(&mut self.counts.moments);
        kept.moments.retain_moved(&moved);
        kept.dropped = self.counts.dropped;
        self.counts = kept;
    }

    /// What became of a sample, as the outermost frame of its stack says.
    pub fn outcome_of(&self, root: Option<LocationId>) -> Outcome {
        let Some(root) = root.and_then(|root| self.locations().get(root.index())) else {
            return Outcome::Complete;
        };
        let function = self.functions()[root.function.index()];
        if self.string(function.file).is_empty() {
            outcome_of_root(self.string(function.name))
        } else {
            Outcome::Complete
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Context, ProcessMeta, StackId, ThreadId, Total};
    use super::*;

    #[test]
    fn what_is_kept_keeps_its_sums_and_its_outcome() {
        let mut profile = Profile::new(ProcessMeta::default());
        let [main, native] = ["main", "<native>"].map(|name| {
            let function = profile.function(name, if name == "main" { "/a.py" } else { "" }, 1);
            profile.location(function, 1, 0)
        });
        for (tid, stack, outcome, ns) in [
            (1, main, Outcome::Complete, 5),
            (2, main, Outcome::Complete, 7),
            (2, native, Outcome::Native, 11),
        ] {
            let (thread, stack) = (profile.thread(tid, 1), profile.stack(&[stack]));
            profile.add(thread, stack, outcome, ns);
        }
        let second = profile.thread(2, 1);
        profile.keep_times();
        let [first, stack] = [profile.thread(1, 1).0, profile.stack(&[main]).0];
        for (thread, ns) in [(first, 1), (second.0, 2)] {
            let (thread, stack) = (ThreadId(thread), StackId(stack));
            profile.add_at(thread, stack, Context::default(), Outcome::Complete, 0, Some(ns));
        }
        profile.retain(|_, sample| sample.thread == second);
        let times: Vec<_> = profile.moments().unwrap().iter().map(|it| (it.sample, it.time_ns)).collect();
        assert_eq!(times, [(0, 2)]);
        assert_eq!(profile.total(), Total { samples: 3, weight_ns: 18 });
        assert_eq!(profile.outcome(Outcome::Native), Total { samples: 1, weight_ns: 11 });
        assert_eq!(profile.samples().len(), 2);
        profile.retain(|_, _| false);
        assert_eq!(profile.total(), Total::default());
    }
}
