//! Brings parts of one profile into another.

use super::{LocationId, Profile, StackId, ThreadId};
use std::collections::HashMap;

/// Brings stacks and threads of one profile into another, each place once.
pub struct Copier<'a> {
    from: &'a Profile,
    locations: HashMap<LocationId, LocationId>,
    stacks: HashMap<StackId, StackId>,
    threads: HashMap<ThreadId, ThreadId>,
    buffer: Vec<LocationId>,
    has_addresses: bool,
}

impl<'a> Copier<'a> {
    pub fn new(from: &'a Profile) -> Copier<'a> {
        let (locations, stacks, threads) = Default::default();
        Copier { from, locations, stacks, threads, buffer: Vec::new(), has_addresses: true }
    }

    /// For who does not show where native code stood: places that differ in nothing else become one.
    pub fn without_addresses(from: &'a Profile) -> Copier<'a> {
        Copier { has_addresses: false, ..Copier::new(from) }
    }

    pub fn stack(&mut self, stack: StackId, into: &mut Profile) -> StackId {
        if let Some(known) = self.stacks.get(&stack) {
            return *known;
        }
        self.buffer.clear();
        for id in self.from.stack_locations(stack) {
            let (from, has_addresses) = (self.from, self.has_addresses);
            let copied = *self.locations.entry(id).or_insert_with(|| {
                let location = from.locations()[id.index()];
                let function = from.functions()[location.function.index()];
                let (name, file) = (from.string(function.name), from.string(function.file));
                let function = into.function(name, file, function.start_line);
                into.location(function, location.line, if has_addresses { location.address } else { 0 })
            });
            self.buffer.push(copied);
        }
        let copied = into.stack(&self.buffer);
        self.stacks.insert(stack, copied);
        copied
    }

    pub fn thread(&mut self, thread: ThreadId, into: &mut Profile) -> ThreadId {
        if let Some(known) = self.threads.get(&thread) {
            return *known;
        }
        let from = &self.from.threads()[thread.index()];
        let copied = into.thread(from.tid, from.start_ns);
        into.name_thread(copied, &from.name);
        // A thread whose profile was made anew has no name of Python's until it was asked for again.
        if !from.python_name.is_empty() && into.threads()[copied.index()].python_name != from.python_name {
            into.name_python_thread(copied, &from.python_name);
        }
        self.threads.insert(thread, copied);
        copied
    }
}
