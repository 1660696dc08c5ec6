//! What one process did, in the words of its own tables: names, stacks and threads once, and counts that name them.
//!
//! Everything in it is bounded: counts by number, and tables by being built again from what the counts still name.

use std::collections::{HashMap, VecDeque};

use crate::pipeline::Sums;
use crate::profile::{Context, Copier, Gil, Profile, StackId, ThreadId, Total};

/// What a count is of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Key {
    pub thread: ThreadId,
    pub stack: StackId,
    pub gil: Gil,
    /// In which it waits.
    pub syscall: Option<u16>,
}

/// Distinct counts of one process since the start; beyond it the lightest lose their callers, then their names.
pub const MAX_COUNTS: usize = 20_000;
/// What a count takes in a hash table, and in a list.
const COUNT_BYTES: usize = 56;
const ENTRY_BYTES: usize = size_of::<(Key, Total)>();
/// Tables are built again when they are this many times as big as they were when they were new, and not small.
const GROWTH: usize = 2;
const SMALL_BYTES: usize = 256 << 10;
/// The thread and the place of what lost its own.
pub const OTHERS: &str = "<others>";

/// The counts of one period.
pub struct Slice {
    pub number: u64,
    pub counts: Vec<(Key, Total)>,
    pub sums: Sums,
}

/// One process's counts: of the latest periods each, and of all that went before together.
pub struct Book {
    /// Names, stacks and threads; it counts nothing.
    pub names: Profile,
    pub slices: VecDeque<Slice>,
    pub past: HashMap<Key, Total>,
    pub past_sums: Sums,
    new_bytes: usize,
}

impl Book {
    pub fn new() -> Book {
        let names = Profile::new(Default::default());
        let new_bytes = names.memory_bytes();
        Book { names, slices: VecDeque::new(), past: HashMap::new(), past_sums: Sums::default(), new_bytes }
    }

    /// Takes over what a profile counted in period `number`.
    pub fn take(&mut self, number: u64, profile: &Profile, sums: Sums) {
        let mut copy = Copier::without_addresses(profile);
        let mut counts = Vec::with_capacity(profile.samples().len());
        for sample in profile.samples() {
            let thread = copy.thread(sample.thread, &mut self.names);
            let stack = copy.stack(sample.stack, &mut self.names);
            let Context { gil, syscall, .. } = sample.context;
            counts.push((Key { thread, stack, gil, syscall }, sample.total));
        }
        self.slices.push_back(Slice { number, counts, sums });
    }

    /// Adds what is older than period `first` to the past.
    pub fn age(&mut self, first: u64) {
        while self.slices.front().is_some_and(|slice| slice.number < first) {
            let Some(slice) = self.slices.pop_front() else { break };
            for (key, total) in slice.counts {
                self.past.entry(key).or_default().merge(total);
            }
            self.past_sums.merge(&slice.sums);
        }
        if self.past.len() > MAX_COUNTS {
            self.prune(MAX_COUNTS / 2);
        }
        let grown = self.names.memory_bytes();
        if grown > SMALL_BYTES && grown > GROWTH * self.new_bytes {
            self.rebuild();
        }
    }

    /// Makes all slices of one period one.
    pub fn join(&mut self, number: u64) {
        let start = self.slices.iter().position(|slice| slice.number == number).unwrap_or(self.slices.len());
        if self.slices.len() - start < 2 {
            return;
        }
        let mut joined: HashMap<Key, Total> = HashMap::new();
        let mut sums = Sums::default();
        for slice in self.slices.drain(start..) {
            sums.merge(&slice.sums);
            for (key, total) in slice.counts {
                joined.entry(key).or_default().merge(total);
            }
        }
        // More than a past may hold: not to be told apart afterwards anyway.
        let mut counts: Vec<(Key, Total)> = joined.into_iter().collect();
        if counts.len() > MAX_COUNTS {
            counts.sort_unstable_by_key(|(_, total)| std::cmp::Reverse(total.weight_ns));
            let others = self.others();
            let light = counts.split_off(MAX_COUNTS / 2);
            let mut rest: HashMap<Key, Total> = HashMap::new();
            for (key, total) in light {
                rest.entry(Key { stack: others, ..key }).or_default().merge(total);
            }
            counts.extend(rest);
        }
        self.slices.push_back(Slice { number, counts, sums });
    }

    /// Keeps the heaviest `keep` counts of the past. Of others the leaf stays, and if those are too many, a sum.
    pub fn prune(&mut self, keep: usize) {
        let mut counts: Vec<(Key, Total)> = self.past.drain().collect();
        counts.sort_unstable_by_key(|(key, total)| {
            (std::cmp::Reverse(total.weight_ns), key.thread, key.stack, key.gil as u8, key.syscall)
        });
        let thread = self.names.thread(0, 0);
        self.names.name_thread(thread, OTHERS);
        let others = self.others();
        let mut leaves: HashMap<Key, Total> = HashMap::new();
        for (key, total) in counts.split_off(keep.min(counts.len())) {
            let leaf = self.names.stack_locations(key.stack).next();
            let stack = leaf.map_or(others, |leaf| self.names.stack(&[leaf]));
            leaves.entry(Key { thread, stack, ..key }).or_default().merge(total);
        }
        let are_many = leaves.len() > keep / 2;
        self.past = counts.into_iter().collect();
        for (mut key, total) in leaves {
            if are_many {
                key.stack = others;
            }
            self.past.entry(key).or_default().merge(total);
        }
        self.past.shrink_to_fit();
        self.rebuild();
    }

    fn others(&mut self) -> StackId {
        let function = self.names.function(OTHERS, "", 0);
        let location = self.names.location(function, 0, 0);
        self.names.stack(&[location])
    }

    /// Makes the tables anew from what is named still.
    fn rebuild(&mut self) {
        let old = std::mem::replace(&mut self.names, Profile::new(Default::default()));
        let mut copy = Copier::without_addresses(&old);
        let names = &mut self.names;
        let mut moved = |key: Key| Key {
            thread: copy.thread(key.thread, names),
            stack: copy.stack(key.stack, names),
            ..key
        };
        for slice in &mut self.slices {
            slice.counts.iter_mut().for_each(|(key, _)| *key = moved(*key));
        }
        self.past = self.past.drain().map(|(key, total)| (moved(key), total)).collect();
        self.new_bytes = self.names.memory_bytes();
    }

    pub fn memory_bytes(&self) -> usize {
        let entries: usize = self.slices.iter().map(|slice| slice.counts.capacity()).sum();
        let slices = self.slices.capacity() * size_of::<Slice>();
        size_of::<Self>()
            + self.names.memory_bytes()
            + self.past.capacity() * COUNT_BYTES
            + entries * ENTRY_BYTES
            + slices
    }
}
