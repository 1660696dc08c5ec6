//! Stacks as paths in a tree of calls: two stacks share the nodes of their common root side.
//!
//! A node is eight bytes. A recursion of 500 frames sampled at every depth costs 500 nodes, where a list per stack
//! would cost 125,000. Going down the tree takes one hash lookup per frame, which two shortcuts avoid: a stack seen
//! lately is found as a whole, and of any other only what differs from the last one is looked up.

use super::intern::Interner;
use super::{LocationId, StackId};
use hashbrown::DefaultHashBuilder;
use std::hash::BuildHasher;
use std::mem::size_of;

/// Stacks that are found as a whole: 2 KiB per process, for the few hundred stacks that most samples have.
const RECENT: usize = 512;

/// One frame under its caller. Parents always have smaller ids than their children.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct StackNode {
    pub caller: StackId,
    pub location: LocationId,
}

/// The root stands for "no frame": the empty stack, and the caller of every outermost frame.
const ROOT: StackNode = StackNode { caller: StackId(0), location: LocationId(u32::MAX) };

#[derive(Clone)]
pub(crate) struct StackTree {
    nodes: Interner<StackNode>,
    /// The stack interned last, root first.
    last: Vec<(LocationId, StackId)>,
    /// By the hash of all frames; an entry is a guess that is verified.
    recent: Vec<StackId>,
    hasher: DefaultHashBuilder,
}

impl StackTree {
    pub(crate) fn new() -> Self {
        let mut nodes = Interner::new();
        nodes.intern(ROOT);
        Self { nodes, last: Vec::new(), recent: Vec::new(), hasher: DefaultHashBuilder::default() }
    }

    pub(crate) fn intern(&mut self, leaf_first: &[LocationId]) -> StackId {
        self.recent.resize(RECENT, StackId(0));
        let slot = self.hasher.hash_one(leaf_first) as usize % RECENT;
        // A stack's nodes were made one after the other, so that this walk is kind to the cache.
        if self.leaf_first(self.recent[slot]).eq(leaf_first.iter().copied()) {
            return self.recent[slot];
        }
        let stack = self.descend(leaf_first);
        self.recent[slot] = stack;
        stack
    }

    fn descend(&mut self, leaf_first: &[LocationId]) -> StackId {
        let frames = leaf_first.iter().rev();
        let shared = frames.clone().zip(&self.last).take_while(|(frame, (last, _))| *frame == last).count();
        self.last.truncate(shared);
        let mut caller = self.last.last().map_or(StackId(0), |&(_, node)| node);
        for &location in frames.skip(shared) {
            caller = self.child(caller, location);
            self.last.push((location, caller));
        }
        caller
    }

    /// The stack with one more frame at its leaf.
    pub(crate) fn child(&mut self, caller: StackId, location: LocationId) -> StackId {
        StackId(self.nodes.intern(StackNode { caller, location }).0)
    }

    /// All nodes; the first one is the root, which is no frame.
    pub(crate) fn nodes(&self) -> &[StackNode] {
        self.nodes.items()
    }

    pub(crate) fn leaf_first(&self, stack: StackId) -> LeafFirst<'_> {
        LeafFirst { nodes: self.nodes(), at: stack }
    }

    /// What a stack of `frames` may add at once.
    pub(crate) fn growth_bytes(&self, frames: usize) -> usize {
        self.nodes.growth_bytes(frames)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.nodes.memory_bytes()
            + self.last.capacity() * size_of::<(LocationId, StackId)>()
            + self.recent.capacity() * size_of::<StackId>()
    }
}

/// The locations of one stack, from the leaf to the root.
#[derive(Clone)]
pub struct LeafFirst<'a> {
    nodes: &'a [StackNode],
    at: StackId,
}

impl Iterator for LeafFirst<'_> {
    type Item = LocationId;

    fn next(&mut self) -> Option<LocationId> {
        if self.at == StackId(0) {
            return None;
        }
        let node = self.nodes.get(self.at.0 as usize)?;
        self.at = node.caller;
        Some(node.location)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_come_back_and_equal_stacks_are_one() {
        let rows: &[&[u32]] = &[
            &[],
            &[1],
            &[2, 1],
            &[3, 2, 1],
            &[1, 1, 1],
            &[2, 1],
            &[1, 2],
            &[],
            &[3, 2, 1],
            &[9, 9, 2, 1],
            &[1],
        ];
        let mut tree = StackTree::new();
        let mut seen: Vec<(StackId, &[u32])> = Vec::new();
        for &row in rows {
            let stack = tree.intern(&row.iter().map(|&id| LocationId(id)).collect::<Vec<_>>());
            for (other, other_row) in &seen {
                assert_eq!(*other == stack, *other_row == row, "{row:?} against {other_row:?}");
            }
            seen.push((stack, row));
        }
        for (stack, row) in seen {
            assert_eq!(tree.leaf_first(stack).map(|id| id.0).collect::<Vec<_>>(), row);
        }
    }

    #[test]
    fn a_recursion_sampled_at_every_depth_is_linear() {
        let mut tree = StackTree::new();
        let frames = vec![LocationId(7); 500];
        for depth in 0..=500 {
            tree.intern(&frames[..depth]);
        }
        assert_eq!(tree.nodes().len(), 501);
    }
}
