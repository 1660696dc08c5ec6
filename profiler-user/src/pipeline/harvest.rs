//! What images may hold, and handing counts over while sampling goes on: for commands that show what happens now, and run for days in bounded memory.

use profiler_common::ProcessKey;

use super::image::Image;
use super::ingest::Ingest;

/// Of the limit, what may be left once something had to go: so that it does not have to at every turn.
const KEEP: usize = 2;

impl Ingest {
    /// Checks the memory cap against what the images hold, and against what the process has grown by, which knows
    /// of allocations that nobody counts.
    pub fn check_memory(&mut self, grown_bytes: usize) {
        self.free_bytes = self.max_memory_bytes.saturating_sub(self.held_bytes().max(grown_bytes));
    }

    /// Whether memory is short and much of what the process has grown by is in no image: freed, perhaps, and kept by the
    /// allocator.
    pub fn wants_freed_memory(&self, grown_bytes: usize) -> bool {
        let elsewhere = grown_bytes.saturating_sub(self.held_bytes());
        self.is_short() && elsewhere > self.max_memory_bytes / 8
    }

    /// Whether samples will be dropped soon.
    pub fn is_short(&self) -> bool {
        self.free_bytes < self.max_memory_bytes / 4
    }

    fn held_bytes(&self) -> usize {
        self.images.iter().map(Image::memory_bytes).sum()
    }

    /// Whether profiles take so much of the memory that those of processes that have ended had better be written.
    pub fn is_filling(&self) -> bool {
        self.max_memory_bytes - self.free_bytes > self.max_memory_bytes / 4
    }

    /// Shows every image of a Python to `take`, then forgets what it has counted; one whose threads are followed off their
    /// CPUs a second time, with the profile of that. Where all images together hold more than
    /// `most_bytes`, the biggest lose their names, stacks and code objects too: the kernel has to send those of the keys
    /// that are returned again.
    pub fn harvest(&mut self, most_bytes: usize, mut take: impl FnMut(&Image)) -> Vec<ProcessKey> {
        let mut sizes = Vec::new();
        for index in 0..self.images().len() {
            let image = self.image_mut(index);
            if image.python().is_some() {
                take(image);
                image.hand_over();
                if image.exchange_off_cpu() {
                    take(image);
                    image.hand_over();
                    image.exchange_off_cpu();
                }
                sizes.push((image.memory_bytes(), index));
            }
        }
        let mut held: usize = sizes.iter().map(|(bytes, _)| bytes).sum();
        if held <= most_bytes {
            return Vec::new();
        }
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        let mut evicted = Vec::new();
        for (bytes, index) in sizes {
            if held <= most_bytes / KEEP {
                break;
            }
            let image = self.image_mut(index);
            image.evict();
            held = held.saturating_sub(bytes).saturating_add(image.memory_bytes());
            evicted.push(image.key);
        }
        evicted
    }
}
