//! All stacks of all profiles as one tree of bounded size: the middle of what is too light to be seen is folded away. Its
//! leaf stays, so that every function has the own time that it had.

use crate::profile::{LocationId, Profile, Sample, Total};
use hashbrown::HashMap;
use std::cmp::Reverse;

/// A frame under its caller. Numbers begin with 1; 0 is the root, which is no frame. Callers come first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Node {
    pub(super) caller: u32,
    pub(super) profile: u32,
    /// `None`: what was folded away between the caller and what ran.
    pub(super) location: Option<LocationId>,
}

/// What one thread has in one stack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    pub(super) profile: u32,
    pub(super) thread: u32,
    /// In [`Folded::nodes`]; of the profile while it is being made.
    pub(super) node: u32,
    pub(super) total: Total,
}

pub(super) struct Folded {
    pub(super) nodes: Vec<Node>,
    pub(super) entries: Vec<Entry>,
    /// How many (thread, stack) pairs are shown shorter than they are, and what they weigh.
    pub(super) stacks: u64,
    pub(super) weight: u64,
}

pub(super) fn fold(profiles: &[&Profile], max_nodes: usize, max_entries: usize) -> Folded {
    let mut entries = entries(profiles);
    // The heaviest stay. Of the others, a thread has only what ran.
    let mut lighter = Vec::new();
    if entries.len() > max_entries {
        entries.sort_by_key(|entry| Reverse(entry.total.weight_ns));
        lighter = entries.split_off(max_entries);
        entries.sort_by_key(|entry| (entry.profile, entry.thread, entry.node));
        lighter.sort_by_key(|entry| leaf(profiles, entry));
    }
    let weights = weights(profiles, &entries);
    let mut keep = Keep::of(&weights, max_nodes);

    let mut nodes = Vec::new();
    let mut add = |caller, profile, location| {
        nodes.push(Node { caller, profile, location });
        nodes.len() as u32
    };
    let (mut stacks, mut weight) = (0, 0u64);
    let mut folded = Vec::with_capacity(entries.len());
    let mut entries = entries.into_iter().peekable();
    for (index, (profile, weights)) in (0..).zip(profiles.iter().zip(&weights)) {
        // Where each node of the profile is: its own number, or that of the caller into which it is folded.
        let mut numbers: Vec<(u32, bool)> = vec![(0, true)];
        for (node, weight) in profile.stack_nodes().iter().zip(weights).skip(1) {
            let (caller, is_whole) = numbers[node.caller.index()];
            let kept = is_whole && keep.next(*weight);
            numbers.push(if kept {
                (add(caller, index, Some(node.location)), true)
            } else {
                (caller, false)
            });
        }
        // One node below each caller that something was folded into, and below it what ran.
        let mut rests: HashMap<u32, u32> = HashMap::new();
        let mut leaves: HashMap<(u32, LocationId), u32> = HashMap::new();
        while let Some(mut entry) = entries.next_if(|entry| entry.profile == index) {
            let node = profile.stack_nodes()[entry.node as usize];
            let (number, is_whole) = numbers[entry.node as usize];
            entry.node = number;
            if !is_whole {
                let (mut caller, is_direct) = numbers[node.caller.index()];
                if !is_direct {
                    stacks += 1;
                    weight = weight.saturating_add(entry.total.weight_ns);
                    caller = *rests.entry(number).or_insert_with(|| add(number, index, None));
                }
                let leaf = leaves.entry((caller, node.location));
                entry.node = *leaf.or_insert_with(|| add(caller, index, Some(node.location)));
            }
            folded.push(entry);
        }
    }
    let mut rests: HashMap<u32, u32> = HashMap::new();
    for same in lighter.chunk_by(|a, b| leaf(profiles, a) == leaf(profiles, b)) {
        let mut entry = sum(same);
        stacks += same.len() as u64;
        weight = weight.saturating_add(entry.total.weight_ns);
        let index = entry.profile;
        let rest = *rests.entry(index).or_insert_with(|| add(0, index, None));
        entry.node = leaf(profiles, &entry).2.map_or(rest, |location| add(rest, index, Some(location)));
        folded.push(entry);
    }
    Folded { nodes, entries: folded, stacks, weight }
}

/// Profile, thread, and what ran.
fn leaf(profiles: &[&Profile], entry: &Entry) -> (u32, u32, Option<LocationId>) {
    let nodes = profiles[entry.profile as usize].stack_nodes();
    let location = (entry.node > 0).then(|| nodes[entry.node as usize].location);
    (entry.profile, entry.thread, location)
}

/// Sums over contexts, by profile, thread and node.
fn entries(profiles: &[&Profile]) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (index, profile) in (0..).zip(profiles) {
        let mut samples: Vec<Sample> = profile.samples().collect();
        samples.sort_unstable_by_key(|sample| (sample.thread, sample.stack));
        let same = samples.chunk_by(|a, b| (a.thread, a.stack) == (b.thread, b.stack));
        let same = same.map(|same| {
            let of = |sample: &Sample| Entry {
                profile: index,
                thread: sample.thread.index() as u32,
                node: sample.stack.index() as u32,
                total: sample.total,
            };
            sum(&same.iter().map(of).collect::<Vec<_>>())
        });
        // A tick may come when its thread has hardly begun: nothing to be seen.
        entries.extend(same.filter(|entry| entry.total.weight_ns > 0));
    }
    entries
}

/// At least one entry.
fn sum(same: &[Entry]) -> Entry {
    let mut entry = same[0];
    same[1..].iter().for_each(|other| entry.total.merge(other.total));
    entry
}

/// What every node of every profile weighs, with all that it has called.
fn weights(profiles: &[&Profile], entries: &[Entry]) -> Vec<Vec<u64>> {
    let mut weights: Vec<Vec<u64>> =
        profiles.iter().map(|profile| vec![0; profile.stack_nodes().len()]).collect();
    for entry in entries {
        let weight = &mut weights[entry.profile as usize][entry.node as usize];
        *weight = weight.saturating_add(entry.total.weight_ns);
    }
    for (profile, weights) in profiles.iter().zip(&mut weights) {
        // Callers have smaller numbers than what they call.
        for (index, node) in profile.stack_nodes().iter().enumerate().skip(1).rev() {
            let weight = weights[index];
            let caller = &mut weights[node.caller.index()];
            *caller = caller.saturating_add(weight);
        }
    }
    weights
}

/// Which nodes stay: the heaviest, and of those at the edge the first.
struct Keep {
    least: u64,
    at_the_edge: usize,
}

impl Keep {
    fn of(weights: &[Vec<u64>], max_nodes: usize) -> Keep {
        let roots = |weights: &Vec<u64>| weights.iter().skip(1).copied().collect::<Vec<_>>();
        let mut all: Vec<u64> = weights.iter().flat_map(roots).filter(|weight| *weight > 0).collect();
        if all.len() <= max_nodes {
            return Keep { least: 0, at_the_edge: 0 };
        }
        let at = all.len() - max_nodes.max(1);
        let least = *all.select_nth_unstable(at).1;
        let heavier = all.iter().filter(|weight| **weight > least).count();
        Keep { least, at_the_edge: max_nodes.saturating_sub(heavier) }
    }

    fn next(&mut self, weight: u64) -> bool {
        if weight != self.least || weight == 0 {
            return weight > self.least;
        }
        let kept = self.at_the_edge > 0;
        self.at_the_edge -= usize::from(kept);
        kept
    }
}
