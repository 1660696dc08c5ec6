//! Asks processes what Python calls their threads: seldom, in the pauses between samples, and only while there are threads
//! that nobody has asked about.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use pyunwind::host::thread_names::thread_names;

use super::image::{Image, State};
use crate::process::{ProcessMemory, scan};
use crate::profile::{Profile, ThreadId};

/// A new thread has a moment to start before it is asked about.
const SETTLE: Duration = Duration::from_millis(100);
/// A process is asked no more often than this,
const PERIOD: Duration = Duration::from_secs(1);
/// nor for a bigger share of the time than one in this, however many threads it makes up.
const SHARE: u32 = 100;
/// The time for the questions of one turn of the loop, which other work has to wait for.
const AT_ONCE: Duration = Duration::from_millis(50);
/// All the time for the last questions, at the end of a capture.
const LAST: Duration = Duration::from_millis(500);
/// Bytes per thread that is waiting for a name.
const ENTRY_BYTES: usize = 24;

/// The threads of one process image that have no name of Python's.
#[derive(Default)]
pub struct ThreadNames {
    /// By thread pointer, which is what Python numbers threads by: the latest one that has it, with its tid.
    unnamed: HashMap<u64, (ThreadId, u32)>,
    /// When to ask, if there is somebody new to ask about.
    due: Option<Instant>,
    not_before: Option<Instant>,
}

impl ThreadNames {
    /// Takes note of a new thread.
    pub fn saw(&mut self, thread_pointer: u64, thread: ThreadId, tid: u32) {
        if thread_pointer == 0 {
            return;
        }
        self.unnamed.insert(thread_pointer, (thread, tid));
        if self.due.is_none() {
            self.due = Some(Instant::now() + SETTLE).max(self.not_before);
        }
    }

    /// Whether it is time to ask.
    fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    pub fn memory_bytes(&self) -> usize {
        self.unnamed.capacity() * ENTRY_BYTES
    }
}

/// Asks the processes whose time has come, as many as there is time for; `first` is the index of the one to begin with, so
/// that each gets its turn.
pub fn name_threads(images: &mut [Image], first: &mut usize) {
    ask_in_turn(images, first, ask);
}

fn ask_in_turn(images: &mut [Image], first: &mut usize, mut ask: impl FnMut(&mut Image)) {
    let now = Instant::now();
    let from = (*first).min(images.len());
    for index in (from..images.len()).chain(0..from) {
        if !images[index].names.is_due(now) {
            continue;
        }
        ask(&mut images[index]);
        if now.elapsed() >= AT_ONCE {
            *first = index + 1;
            return;
        }
    }
}

/// Asks about whoever has no name at the end, as long as there is time: a program may have imported `threading` after its
/// first thread was seen.
pub fn name_last_threads(images: &mut [Image]) {
    let until = Instant::now() + LAST;
    for image in images.iter_mut().filter(|image| !image.names.unnamed.is_empty()) {
        if Instant::now() >= until {
            return;
        }
        ask(image);
    }
}

fn ask(image: &mut Image) {
    let Image { state: State::Python(python), key, profile, names, exited: false, .. } = image else {
        return;
    };
    let began = Instant::now();
    let mut memory = ProcessMemory::new(python.task);
    let found = thread_names(&mut memory, &python.layout, python.runtime_address).unwrap_or_default();
    let known = found.into_iter().map(|thread| (thread.ident, thread.name));
    // Who is still there had its pointer, and hence its name, the whole time: pointers go from thread to thread.
    give(profile, names, known, |tid| scan::thread_exists(key.tgid, tid));
    names.due = None;
    names.not_before = Some(began + PERIOD.max(began.elapsed() * SHARE));
}

fn give(
    profile: &mut Profile,
    names: &mut ThreadNames,
    known: impl Iterator<Item = (u64, String)>,
    is_alive: impl Fn(u32) -> bool,
) {
    for (pointer, name) in known {
        if let Some(&(thread, tid)) = names.unnamed.get(&pointer)
            && is_alive(tid)
        {
            profile.name_python_thread(thread, &name);
            names.unnamed.remove(&pointer);
        }
    }
}

#[cfg(test)]
mod tests {
    use profiler_common::ProcessKey;

    use super::*;
    use crate::profile::ProcessMeta;

    #[test]
    fn a_name_goes_to_the_living_thread_that_has_the_pointer_now() {
        let mut profile = Profile::new(ProcessMeta::default());
        let mut names = ThreadNames::default();
        let threads: Vec<ThreadId> = (0..5).map(|tid| profile.thread(tid, 1)).collect();
        // The second has the pointer of the first, which is gone; the third is gone; the fourth is not Python's.
        for (pointer, thread) in [(0x100, 0), (0x100, 1), (0x200, 2), (0x300, 3), (0, 4)] {
            names.saw(pointer, threads[thread], thread as u32);
        }
        assert!(!names.is_due(Instant::now()) && names.is_due(Instant::now() + SETTLE));
        let known = [(0x100, "b"), (0x200, "c"), (0x900, "unseen"), (0, "nobody")];
        let known = known.map(|(pointer, name)| (pointer, name.to_owned()));
        give(&mut profile, &mut names, known.clone().into_iter(), |tid| tid != 2);
        let all: Vec<&str> = profile.threads().iter().map(|thread| thread.python_name.as_str()).collect();
        assert_eq!(all, ["", "b", "", "", ""]);
        // Whoever has a name keeps it, whatever has its pointer later.
        give(&mut profile, &mut names, [(0x100, "later".to_owned())].into_iter(), |_| true);
        assert_eq!(profile.threads()[1].python_name, "b");
    }

    #[test]
    fn slow_processes_are_asked_one_per_turn_and_each_in_its_turn() {
        let image = |tgid| {
            let mut image = Image::new(ProcessKey { tgid, ..ProcessKey::default() });
            // The second has nobody to ask about.
            image.names.due = (tgid != 1).then(Instant::now);
            image
        };
        let mut images: Vec<Image> = (0..4).map(image).collect();
        let (mut asked, mut first) = (Vec::new(), 0);
        for turn in 1..=5 {
            ask_in_turn(&mut images, &mut first, |image| {
                std::thread::sleep(AT_ONCE);
                asked.push(image.key.tgid);
            });
            assert_eq!(asked.len(), turn);
        }
        assert_eq!(asked, [0, 2, 3, 0, 2]);
    }
}
