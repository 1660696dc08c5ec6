//! When images end: by an exec, by the exit of the process, or unseen, where the kernel could not tell of either.

use std::collections::HashSet;
use std::time::Instant;

use profiler_common::ProcessKey;
use profiler_common::process::{EXEC_ID_ANY, START_NS_ANY};

use super::image::{Image, State};
use super::ingest::Ingest;
use super::off_cpu::is_empty_off_cpu;

impl Ingest {
    /// The process has become `key` by an exec: what it was before has ended. `false` if it has called exec again since, which
    /// a sample told first.
    pub fn end_before(&mut self, key: &ProcessKey) -> bool {
        let mut is_latest = true;
        for &index in self.by_pid.get(&key.tgid).into_iter().flatten() {
            let image = &mut self.images[index];
            if image.key != *key {
                let is_older = is_before(&image.key, key);
                image.exited |= is_older;
                is_latest &= is_older;
            }
        }
        is_latest
    }

    /// The process has exited, with all that it ever was.
    pub fn end_process(&mut self, key: &ProcessKey) {
        for &index in self.by_pid.get(&key.tgid).into_iter().flatten() {
            let image = &mut self.images[index];
            image.exited |= is_before(&image.key, key) || image.key.start_ns == key.start_ns;
        }
    }

    /// Ends what ended unseen: of processes that were not among those that there are, and were known before `listed`, all
    /// images; of others, all that came before the latest.
    pub fn end_missing(&mut self, pids: &HashSet<u32>, listed: Instant) {
        for (pid, indexes) in &self.by_pid {
            let latest = indexes.last().filter(|_| pids.contains(pid));
            for index in indexes.iter().filter(|index| latest != Some(index)) {
                let image = &mut self.images[*index];
                image.exited |= image.since < listed;
            }
        }
    }

    /// Drops images that can never matter again. Indexes change: those in `indexes` with them.
    pub fn forget_finished(&mut self, indexes: &mut Vec<usize>) {
        let keep =
            |image: &Image| !(image.exited && (matches!(image.state, State::Other) || is_empty(image)));
        if self.images.iter().filter(|image| !keep(image)).count() < 64 {
            return;
        }
        let mut kept = 0;
        let moved: Vec<Option<usize>> = self
            .images
            .iter()
            .map(|image| {
                let index = keep(image).then_some(kept);
                kept += usize::from(index.is_some());
                index
            })
            .collect();
        *indexes = indexes.iter().filter_map(|index| moved.get(*index).copied().flatten()).collect();
        self.images.retain(keep);
        self.by_pid.clear();
        for (index, image) in self.images.iter().enumerate() {
            self.by_pid.entry(image.key.tgid).or_default().push(index);
        }
    }
}

/// Whether a process was `older` before it was `key`, or the pid another process's.
fn is_before(older: &ProcessKey, key: &ProcessKey) -> bool {
    let is_any = older.start_ns == START_NS_ANY || older.exec_id == EXEC_ID_ANY;
    // task_struct.self_exec_id goes up by one with every exec.
    let is_earlier = (older.exec_id.wrapping_sub(key.exec_id) as i32) < 0;
    is_any || older.start_ns < key.start_ns || older.start_ns == key.start_ns && is_earlier
}

fn is_empty(image: &Image) -> bool {
    image.waiting.is_empty()
        && image.held.is_empty()
        && image.fresh().all().samples == 0
        && is_empty_off_cpu(image)
}

#[cfg(test)]
#[path = "ends_tests.rs"]
mod tests;
