//! What threads wait for, told of as frames: where a format has no labels, or nobody sees them.

use super::{Context, Gil, Profile};
use crate::syscalls::{UNNAMED, syscall_name};

/// "GIL", or the system call; `None`: that is not known.
pub fn waits_for(for_gil: bool, syscall: Option<u16>) -> Option<&'static str> {
    match syscall {
        _ if for_gil => Some("GIL"),
        Some(number) => Some(syscall_name(number.into()).unwrap_or(UNNAMED)),
        None => None,
    }
}

impl Context {
    pub fn waits_for(&self) -> Option<&'static str> {
        waits_for(self.gil == Gil::Awaited, self.syscall)
    }
}

impl Profile {
    /// The same with `<futex>` or `<GIL>` at the leaf of each stack. The times of single samples are left out.
    pub fn with_waits(&self) -> Profile {
        let mut shown = self.clone();
        let mut counts = self.counts.emptied();
        for sample in self.samples() {
            let stack = match sample.context.waits_for() {
                None => sample.stack,
                Some(name) => {
                    let function = shown.function(&format!("<{name}>"), "", 0);
                    let location = shown.location(function, 0, 0);
                    shown.stacks.child(sample.stack, location)
                }
            };
            counts.add((sample.thread, stack, sample.context), sample.total);
        }
        shown.exchange(&mut counts);
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{Measure, ProcessMeta, Total};
    use pyunwind::Outcome;

    #[test]
    fn what_is_waited_for_is_the_leaf_and_sums_stay() {
        let mut profile = Profile::of(Measure::OFF_CPU, ProcessMeta::default());
        let function = profile.function("wait", "/a.py", 1);
        let location = profile.location(function, 2, 0);
        let stack = profile.stack(&[location]);
        let thread = profile.thread(7, 1);
        let read = crate::syscalls::syscall_number("read");
        for (gil, syscall, weight_ns) in
            [(Gil::NotHeld, read, 10), (Gil::Awaited, read, 20), (Gil::Held, None, 40), (Gil::Held, read, 80)]
        {
            let context = Context { gil, interpreter: 0, syscall };
            let those = Total { samples: 1, weight_ns };
            profile.add_counted(thread, stack, context, Outcome::Complete, those, None);
        }
        profile.add_dropped(5);
        let shown = profile.with_waits();
        let mut stacks: Vec<(Vec<&str>, u64)> = shown
            .samples()
            .map(|sample| {
                let name = |id: crate::profile::LocationId| {
                    let function = shown.functions()[shown.locations()[id.index()].function.index()];
                    shown.string(function.name)
                };
                (shown.stack_locations(sample.stack).map(name).collect(), sample.total.weight_ns)
            })
            .collect();
        stacks.sort();
        let expected = [
            (vec!["<GIL>", "wait"], 20),
            (vec!["<read>", "wait"], 10),
            (vec!["<read>", "wait"], 80),
            (vec!["wait"], 40),
        ];
        assert_eq!(stacks, expected);
        assert_eq!((shown.total(), shown.dropped()), (profile.total(), profile.dropped()));
        assert_eq!(*shown.measure(), Measure::OFF_CPU);
    }
}
