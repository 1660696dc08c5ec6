//! Several process images as one profile, such as all workers of a server. Which process a sample is of stays known.

use super::stacks::StackNode;
use super::{FunctionId, LocationId, Moment, ProcessMeta, Profile, StackId, ThreadId};
use hashbrown::HashMap;

/// What the processes of one profile have in common.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MergeBy {
    Name,
    Service,
    Container,
}

/// Processes that belong into one profile, by their positions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    pub name: String,
    pub members: Vec<usize>,
}

/// The group of processes that are in no container.
const NO_CONTAINER: &str = "host";

/// Every process in exactly one group; the groups in the order of their first members.
pub fn groups<'a>(processes: impl IntoIterator<Item = &'a ProcessMeta>, by: MergeBy) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    // A container that is called `host` is not the group of those that are in none.
    let mut by_key: HashMap<Option<&str>, usize> = HashMap::new();
    for (index, process) in processes.into_iter().enumerate() {
        let key = match by {
            MergeBy::Name => Some(process.name.as_str()),
            MergeBy::Service => Some(process.service()),
            MergeBy::Container => process.labels.container_id.as_deref(),
        };
        let group = *by_key.entry(key).or_insert_with(|| {
            groups.push(Group { name: key.unwrap_or(NO_CONTAINER).into(), members: Vec::new() });
            groups.len() - 1
        });
        groups[group].members.push(index);
    }
    groups
}

/// One profile with the samples of all; `None` for none.
pub fn merge(profiles: &[&Profile]) -> Option<Profile> {
    let (first, others) = profiles.split_first()?;
    let mut merged = Profile::of(first.measure().clone(), first.process.clone());
    merged.take(first, 0, 0);
    let mut known = HashMap::from_iter([(executable(&first.process), 0)]);
    for profile in others {
        merged.others.push(profile.process.clone());
        let mapping = merged.mapping_of(&profile.process, &mut known);
        merged.take(profile, merged.others.len() as u32, mapping);
    }
    Some(merged)
}

/// Path, build id, offset and length: what makes two mappings one executable.
type Executable = (String, Option<String>, u64, u64);

fn executable(process: &ProcessMeta) -> Executable {
    let mapping = &process.mapping;
    let length = mapping.limit.wrapping_sub(mapping.start);
    (process.executable.clone(), mapping.build_id.clone(), mapping.file_offset, length)
}

impl Profile {
    /// The mapping of this process's executable: that of the same executable in another process, or a new one.
    fn mapping_of(&mut self, process: &ProcessMeta, known: &mut HashMap<Executable, u32>) -> u32 {
        let next = 1 + self.other_mappings.len() as u32;
        let mapping = *known.entry(executable(process)).or_insert(next);
        if mapping == next {
            self.other_mappings.push(self.others.len() as u32);
        }
        mapping
    }

    /// Counts all samples of `from`, which is process number `process` here, with its executable as number `mapping`.
    fn take(&mut self, from: &Profile, process: u32, mapping: u32) {
        // Where the executable is in this process, and where in the one that the mapping is of: the loader chose.
        let here = from.process.mapping.clone();
        let there = self.mappings().nth(mapping as usize).map_or(here.start, |owner| owner.mapping.start);
        let functions: Vec<FunctionId> = from
            .functions()
            .iter()
            .map(|f| self.function(from.string(f.name), from.string(f.file), f.start_line))
            .collect();
        let mut locations: Vec<LocationId> = Vec::with_capacity(from.locations().len());
        for location in from.locations() {
            let mut location = *location;
            location.function = functions[location.function.index()];
            location.mapping = mapping;
            if (here.start..here.limit).contains(&location.address) {
                location.address = (location.address - here.start).wrapping_add(there);
            }
            locations.push(LocationId(self.locations.intern(location).0));
        }
        // The root is the root; callers come before what they call.
        let mut stacks: Vec<StackId> = vec![StackId(0)];
        for StackNode { caller, location } in from.stack_nodes().iter().skip(1) {
            let node = self.stacks.child(stacks[caller.index()], locations[location.index()]);
            stacks.push(node);
        }
        let mut threads: Vec<ThreadId> = Vec::with_capacity(from.threads().len());
        for thread in from.threads() {
            let id = self.threads.intern_of(process, thread.tid, thread.start_ns);
            self.threads.set_name(id, &thread.name);
            self.threads.set_python_name(id, &thread.python_name);
            threads.push(id);
        }
        let mut samples: Vec<u32> = Vec::new();
        for sample in from.samples() {
            let key = (threads[sample.thread.index()], stacks[sample.stack.index()], sample.context);
            samples.push(self.counts.add(key, sample.total));
        }
        self.counts.moments.add_never(from.never_timed());
        if let Some(moments) = from.moments() {
            self.keep_times();
            for moment in moments {
                self.counts.moments.push(Moment { sample: samples[moment.sample as usize], ..*moment });
            }
        }
        from.outcomes().for_each(|(outcome, total)| self.counts.add_outcome(outcome, total));
        self.counts.dropped.merge(from.dropped());
    }
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
