//! Asks processes what Python calls their threads: seldom, in the pauses between samples, and only while there are threads
//! that nobody has asked about.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::image::{Image, State};
use crate::profile::{Profile, ThreadId};
use crate::reader::{Place, Reader, Trouble};

/// A new thread has a moment to start before it is asked about.
const SETTLE: Duration = Duration::from_millis(100);
/// A process is asked no more often than this,
const PERIOD: Duration = Duration::from_secs(1);
/// nor for a bigger share of the time than one in this, however many threads it makes up.
const SHARE: u32 = 100;
/// The time for the questions of one turn of the loop, which other work has to wait for.
const AT_ONCE: Duration = Duration::from_millis(50);
/// And of all time, for all processes together: one part in so many. Beside 4,000 busy threads each sample shows another one;
/// a process that is asked about 200 of them takes 2.4 ms.
const SHARE_OF_ALL: u32 = 100;
/// What may be saved up, and is there at first: nearly all there is to ask about is new then.
const SAVED: Duration = Duration::from_millis(100);
/// Of one question no more is taken from that: a process that makes its own slow has its own share, and takes none of others'.
const MOST_CHARGED: Duration = Duration::from_millis(20);
/// All the time for the last questions, at the end of a capture.
const LAST: Duration = Duration::from_millis(500);
/// Bytes per thread that is waiting for a name.
const ENTRY_BYTES: usize = 24;

/// The threads of one process image that have no name of Python's.
#[derive(Default)]
pub struct ThreadNames {
    /// By thread pointer, which is what Python numbers threads by: the latest one that has it, with its tid.
    unnamed: HashMap<u64, (ThreadId, u32)>,
    /// Those that had no pointer when they were seen: the loader of a program sets that of its first thread after it has
    /// mapped all libraries (glibc `elf/rtld.c`, `init_tls`).
    early: HashSet<ThreadId>,
    /// When to ask, if there is somebody new to ask about.
    due: Option<Instant>,
    not_before: Option<Instant>,
}

impl ThreadNames {
    /// Takes note of a new thread.
    pub fn saw(&mut self, thread_pointer: u64, thread: ThreadId, tid: u32) {
        if thread_pointer == 0 {
            self.early.insert(thread);
            return;
        }
        self.early.remove(&thread);
        self.unnamed.insert(thread_pointer, (thread, tid));
        if self.due.is_none() {
            self.due = Some(Instant::now() + SETTLE).max(self.not_before);
        }
    }

    /// Whether a thread that is known by now had no pointer until now.
    pub fn is_early(&self, thread: ThreadId) -> bool {
        !self.early.is_empty() && self.early.contains(&thread)
    }

    /// Threads have other numbers from now on; who has none is forgotten.
    pub fn renew(&mut self, number: impl Fn(ThreadId) -> Option<ThreadId>) {
        self.unnamed = std::mem::take(&mut self.unnamed)
            .into_iter()
            .filter_map(|(pointer, (thread, tid))| Some((pointer, (number(thread)?, tid))))
            .collect();
        self.early = std::mem::take(&mut self.early).into_iter().filter_map(number).collect();
    }

    /// Whether it is time to ask.
    fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    pub fn memory_bytes(&self) -> usize {
        self.unnamed.capacity() * ENTRY_BYTES + self.early.capacity() * size_of::<ThreadId>()
    }
}

/// Whose turn it is, and what all of them together may still take.
pub struct Turns {
    /// Index of the process to begin with, so that each gets its turn.
    first: usize,
    /// Below zero where the last one took more than there was.
    left_ns: i64,
    since: Instant,
}

impl Turns {
    pub fn new() -> Turns {
        Turns { first: 0, left_ns: SAVED.as_nanos() as i64, since: Instant::now() }
    }

    /// Asks the processes whose time has come, as many as there is time for.
    pub fn name_threads(&mut self, images: &mut [Image], reader: &mut Reader) {
        self.ask_in_turn(images, |image| ask(image, reader));
    }

    fn ask_in_turn(&mut self, images: &mut [Image], mut ask: impl FnMut(&mut Image)) {
        let now = Instant::now();
        let more = now.duration_since(self.since).min(SAVED * SHARE_OF_ALL) / SHARE_OF_ALL;
        let saved_ns = SAVED.as_nanos() as i64;
        self.left_ns = self.left_ns.max((self.left_ns + more.as_nanos() as i64).min(saved_ns));
        self.since = now;
        let from = self.first.min(images.len());
        for index in (from..images.len()).chain(0..from) {
            if !images[index].names.is_due(now) {
                continue;
            }
            if self.left_ns <= 0 || now.elapsed() >= AT_ONCE {
                self.first = index;
                return;
            }
            let began = Instant::now();
            ask(&mut images[index]);
            self.left_ns -= began.elapsed().min(MOST_CHARGED).as_nanos() as i64;
        }
    }
}

/// Asks about whoever has no name at the end, as long as there is time: a program may have imported `threading` after its
/// first thread was seen.
pub fn name_last_threads(images: &mut [Image], reader: &mut Reader) {
    let until = Instant::now() + LAST;
    for image in images.iter_mut().filter(|image| !image.names.unnamed.is_empty()) {
        if Instant::now() >= until {
            return;
        }
        ask(image, reader);
    }
}

fn ask(image: &mut Image, reader: &mut Reader) {
    let Image { state: State::Python(python), key, profile, names, exited: false, .. } = image else {
        return;
    };
    let began = Instant::now();
    let wanted = names.unnamed.iter().map(|(pointer, (_, tid))| (*pointer, *tid)).collect();
    let known = reader.thread_names(key, Place::of(python), wanted);
    // Somebody else of the process, or of another one, is being waited for: soon enough.
    names.due = (known == Err(Trouble::Later)).then(|| began + PERIOD);
    give(profile, names, known.unwrap_or_default());
    names.not_before = Some(began + PERIOD.max(began.elapsed() * SHARE));
}

/// Gives the names of living threads, by thread pointer, to those that have none.
fn give(profile: &mut Profile, names: &mut ThreadNames, known: Vec<(u64, String)>) {
    for (pointer, name) in known {
        if let Some((thread, _)) = names.unnamed.remove(&pointer) {
            profile.name_python_thread(thread, &name);
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
        // The second has the pointer of the first, which is gone; the third is gone, too; the fourth is not Python's.
        for (pointer, thread) in [(0x100, 0), (0x100, 1), (0x200, 2), (0x300, 3), (0, 4)] {
            names.saw(pointer, threads[thread], thread as u32);
        }
        assert!(!names.is_due(Instant::now()) && names.is_due(Instant::now() + SETTLE));
        let known = [(0x100, "b"), (0x900, "unseen"), (0, "nobody")];
        give(&mut profile, &mut names, known.map(|(pointer, name)| (pointer, name.to_owned())).to_vec());
        let all: Vec<&str> = profile.threads().iter().map(|thread| thread.python_name.as_str()).collect();
        assert_eq!(all, ["", "b", "", "", ""]);
        // One that had no pointer at first is asked about when it has one.
        assert!(names.is_early(threads[4]) && !names.is_early(threads[3]));
        names.saw(0x400, threads[4], 4);
        assert!(!names.is_early(threads[4]));
        give(&mut profile, &mut names, vec![(0x400, "e".to_owned())]);
        assert_eq!(profile.threads()[4].python_name, "e");
        // Whoever has a name keeps it, whatever has its pointer later.
        give(&mut profile, &mut names, vec![(0x100, "later".to_owned())]);
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
        let (mut asked, mut turns) = (Vec::new(), Turns::new());
        turns.left_ns = (AT_ONCE * 6).as_nanos() as i64;
        for turn in 1..=5 {
            turns.ask_in_turn(&mut images, |image| {
                std::thread::sleep(AT_ONCE);
                asked.push(image.key.tgid);
            });
            assert_eq!(asked.len(), turn);
        }
        assert_eq!(asked, [0, 2, 3, 0, 2]);
        // Nothing is left of what was saved up; it takes a hundred times as long until there is as much again.
        turns.left_ns = 1;
        turns.ask_in_turn(&mut images, |image| {
            std::thread::sleep(AT_ONCE);
            asked.push(image.key.tgid);
        });
        assert!(turns.left_ns < 0 && turns.left_ns > -(MOST_CHARGED.as_nanos() as i64), "{}", turns.left_ns);
        turns.ask_in_turn(&mut images, |image| panic!("{} is asked too soon", image.key.tgid));
        turns.since -= AT_ONCE * 2 * SHARE_OF_ALL;
        turns.ask_in_turn(&mut images, |image| asked.push(image.key.tgid));
        assert_eq!(asked[5..8], [3, 0, 2]);
    }
}
