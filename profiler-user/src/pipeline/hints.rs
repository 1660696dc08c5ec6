//! Threads whose state is farther down the list than the kernel looks: user space walks all of the list, seldom, and leaves
//! hints that the kernel checks on every use. What has no state at all (a thread pool of a C library) only such a walk
//! can tell, and that is left behind as well.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use profiler_common::ThreadKey;
use profiler_common::limits::{MAX_THREAD_HINTS, MAX_THREAD_STEPS};

use super::follow::Follower;
use super::image::Image;
use super::ingest::Ingest;
use crate::bpf::Tables;
use crate::reader::{Place, Reader, Threads, Trouble};

/// Hints that one process may have of its threads; it shares the map with all others.
const MAX_HINTED: usize = MAX_THREAD_HINTS as usize / 2;
/// Threads that one process may ask for between two walks.
const MAX_ASKED: usize = 1024;
/// One process is walked this often at most, and not more than this share of the time: 5,000 states take some 10 ms.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_PER_WALK: u32 = 20;
/// A thread without a state may have got one, and so many others after it that the kernel does not see it.
const REFRESH: Duration = Duration::from_secs(10);
/// All walks of one turn of the loop, which other work has to wait for, end in this time.
const AT_ONCE: Duration = Duration::from_millis(20);
/// What a hint on a thread without a state holds: nothing that is used.
const NO_STATE: u64 = 0;

/// What one process needs in the way of hints.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Thread pointer and start of threads that were not found.
    threads: HashSet<(u64, u64)>,
    /// Found by a scan: it may have thousands of threads already.
    first: bool,
    /// Threads without a state are hinted as such.
    foreign: bool,
    /// When the last walk ended, and how long it took.
    walked: Option<(Instant, Duration)>,
}

impl Wanted {
    pub fn ask(&mut self, thread_pointer: u64, start_ns: u64) {
        if self.threads.len() < MAX_ASKED {
            self.threads.insert((thread_pointer, start_ns));
        }
    }

    /// Before anybody asks.
    pub fn ask_first(&mut self) {
        self.first = true;
    }

    fn is_due(&self, now: Instant) -> bool {
        let asked = self.first || !self.threads.is_empty();
        match self.walked {
            None => asked,
            Some(_) if !asked && !self.foreign => false,
            Some((at, took)) => {
                let pause = if asked { PAUSE } else { REFRESH };
                now.saturating_duration_since(at) >= pause.max(took * PAUSE_PER_WALK)
            }
        }
    }
}

impl Follower {
    /// Leaves hints for the processes that need them.
    pub fn hint(&mut self, ingest: &mut Ingest, tables: &mut Tables) {
        let begin = Instant::now();
        for index in 0..ingest.images().len() {
            if !ingest.image(index).hints.is_due(begin) {
                continue;
            }
            let since = Instant::now();
            let (image, reader) = ingest.image_and_reader(index);
            walk(image, reader, tables);
            image.hints.walked = Some((Instant::now(), since.elapsed()));
            if begin.elapsed() > AT_ONCE {
                break;
            }
        }
    }
}

fn threads(image: &Image, reader: &mut Reader) -> Result<Threads, Trouble> {
    match image.python().filter(|_| !image.exited) {
        Some(python) => reader.threads(&image.key, Place::of(python)),
        None => Ok(Threads::default()),
    }
}

fn walk(image: &mut Image, reader: &mut Reader, tables: &mut Tables) {
    let Threads { states, whole } = match threads(image, reader) {
        // All that was asked for still is.
        Err(Trouble::Later) => return,
        threads => threads.unwrap_or_default(),
    };
    let tgid = image.key.tgid;
    let Wanted { threads, first, foreign, walked: _ } = &mut image.hints;
    let asked = std::mem::take(threads);
    *first = false;
    let mut hint = |key: ThreadKey, state: u64| tables.hint(key, state).is_ok();
    if states.len() > MAX_THREAD_STEPS as usize {
        // Those far down first of all: the kernel reaches the newest by itself.
        for &(thread_pointer, state) in &states[states.len().saturating_sub(MAX_HINTED)..] {
            // 0: not bound to its thread yet.
            if thread_pointer != 0 && !hint(ThreadKey { thread_pointer, tgid, started: 0 }, state) {
                return;
            }
        }
    }
    if !whole || asked.is_empty() {
        return;
    }
    let known: HashSet<u64> = states.iter().map(|(thread_pointer, _)| *thread_pointer).collect();
    for (thread_pointer, start_ns) in asked {
        if !known.contains(&thread_pointer) {
            *foreign = true;
            hint(ThreadKey { thread_pointer, tgid, started: 0 }.foreign(start_ns), NO_STATE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks_are_as_seldom_as_they_are_dear() {
        let now = Instant::now();
        let ago = |ms: u64| now.checked_sub(Duration::from_millis(ms)).expect("the host is up for longer");
        let took = Duration::from_millis;
        // (asked for a thread, has threads without a state, when the last walk was and how long it took, due)
        let rows = [
            (false, false, None, false),
            (true, false, None, true),
            (true, false, Some((ago(99), took(1))), false),
            (true, false, Some((ago(101), took(1))), true),
            (true, true, Some((ago(101), took(10))), false),
            (true, true, Some((ago(201), took(10))), true),
            (false, true, Some((ago(9_000), took(10))), false),
            (false, true, Some((ago(10_001), took(10))), true),
            (false, false, Some((ago(10_001), took(10))), false),
        ];
        for (asked, foreign, walked, due) in rows {
            let mut wanted = Wanted { foreign, walked, ..Wanted::default() };
            if asked {
                wanted.ask(1, 2);
            }
            assert_eq!(wanted.is_due(now), due, "{wanted:?}");
        }
    }

    #[test]
    fn a_process_cannot_ask_without_end() {
        let mut wanted = Wanted::default();
        for thread in 0..10 * MAX_ASKED as u64 {
            wanted.ask(thread, 1);
            wanted.ask(thread, 1);
        }
        assert_eq!(wanted.threads.len(), MAX_ASKED);
    }

    #[test]
    fn threads_that_share_a_pointer_one_after_the_other_are_told_apart() {
        let key = ThreadKey { thread_pointer: 7, tgid: 8, started: 0 };
        assert_ne!(key.foreign(0), key);
        assert_ne!(key.foreign(5_000_000), key.foreign(5_010_000));
    }
}
