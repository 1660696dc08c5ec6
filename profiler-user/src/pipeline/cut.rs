//! What was counted, taken out of images that go on: for a period that ends, and for processes that have ended.
//!
//! What is known of code objects stays as long as it is of use. Names and places belong to the tables of a profile, which go
//! with it, so that those of the next one hold what was sampled in its period and no more. Code objects that a whole period
//! did without are forgotten once they outweigh the others; the kernel is then told to send all of that process again.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use profiler_common::ProcessKey;

use super::image::{Image, State};
use super::ingest::Ingest;
use crate::profile::{Profile, ThreadId};

impl Ingest {
    /// Every Python that has samples, with them; `raise_epoch` is called for those whose code objects must come again.
    pub fn cut(&mut self, mut raise_epoch: impl FnMut(&ProcessKey)) -> Vec<Image> {
        let mut taken = Vec::new();
        for index in 0..self.images.len() {
            if self.images[index].is_finishing {
                self.settle_last(index);
            }
            let image = &mut self.images[index];
            if !image.is_sampled() {
                continue;
            }
            let key = image.key;
            let (image, forgotten) = image.renew(&mut self.unnamed_before);
            if forgotten {
                raise_epoch(&key);
            }
            taken.push(image);
        }
        taken
    }

    /// The Pythons that have ended and of which no more can come, with their samples. Whether one has is seen twice, with
    /// this time in between: the ticks of its exit come last.
    pub fn take_finished(&mut self, now: Instant, settled: Duration) -> Vec<Image> {
        if self.looked_for_finished.is_some_and(|last| now.duration_since(last) < settled) {
            return Vec::new();
        }
        self.looked_for_finished = Some(now);
        let mut taken = Vec::new();
        for index in 0..self.images.len() {
            let image = &mut self.images[index];
            if !image.exited || image.python().is_none() {
                continue;
            }
            if !std::mem::replace(&mut image.is_finishing, true) {
                continue;
            }
            self.settle_last(index);
            let image = &mut self.images[index];
            if image.is_sampled() {
                taken.push(image.renew(&mut self.unnamed_before).0);
            }
        }
        taken
    }
}

impl Image {
    /// Whether there is anything to write of it.
    pub fn is_sampled(&self) -> bool {
        let total = self.profile.total().samples + self.profile.dropped().samples;
        self.python().is_some() && (total > 0 || self.was_off_cpu())
    }

    /// An image with all that was counted; here stays what is to be counted on, and whether code objects were forgotten.
    fn renew(&mut self, unnamed: &mut u64) -> (Image, bool) {
        let fresh = Profile::of(self.profile.measure().clone(), self.profile.process().clone());
        let mut taken = Image::new(self.key);
        if let State::Python(python) = &self.state {
            taken.state = State::Python(python.clone());
        }
        taken.exited = self.exited;
        taken.profile = std::mem::replace(&mut self.profile, fresh);
        taken.off_cpu = if self.is_finishing { self.off_cpu.take() } else { self.take_off_cpu() };
        let stacks = std::mem::take(&mut self.stacks);
        self.keep_stacks_of_blocked(&taken.profile, &stacks);
        self.health = [0; 3];
        *unnamed += std::mem::take(&mut self.codes.unnamed);
        if self.is_finishing {
            self.codes = Default::default();
            self.names = Default::default();
            return (taken, false);
        }
        let forgotten = self.codes.renew(&taken.profile, self.waiting.is_empty());
        let threads = keep_threads(&taken.profile, &mut self.profile);
        self.names.renew(|thread| threads.get(&thread).copied());
        (taken, forgotten)
    }
}

/// Threads that were sampled, with their names: they will be again.
fn keep_threads(old: &Profile, new: &mut Profile) -> HashMap<ThreadId, ThreadId> {
    let mut kept = HashMap::new();
    for sample in old.samples() {
        kept.entry(sample.thread).or_insert_with(|| {
            let thread = &old.threads()[sample.thread.index()];
            let id = new.thread(thread.tid, thread.start_ns);
            new.name_thread(id, &thread.name);
            new.name_python_thread(id, &thread.python_name);
            id
        });
    }
    kept
}

#[cfg(test)]
#[path = "cut_tests.rs"]
mod tests;
