//! Threads of one process image. A tid that the kernel gave out again is another thread, never merged with the first.

use super::ThreadId;
use super::intern::Interner;
use hashbrown::HashMap;
use std::mem::size_of;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    pub tid: u32,
    pub start_ns: u64,
    /// As the kernel has it.
    pub name: String,
    /// As Python has it; empty where it is not known, or not a thread of Python's.
    pub python_name: String,
    /// 1 for the first user of the tid, 2 for the next.
    pub generation: u32,
    /// Position in [`super::Profile::processes`].
    pub process: u32,
}

impl Thread {
    /// The name to show, and what the kernel calls the thread where that says more. `comm` is the name of the process,
    /// which threads have that nobody named; from 3.14 on Python tells its names to the kernel, cut to 15 bytes.
    pub fn names(&self, comm: &str) -> (&str, Option<&str>) {
        let Thread { name, python_name, .. } = self;
        if python_name.is_empty() {
            return (name, None);
        }
        let says_more = !name.is_empty() && name != comm && !python_name.starts_with(name.as_str());
        (python_name, says_more.then_some(name))
    }
}

#[derive(Clone, Default)]
pub(crate) struct Threads {
    all: Vec<Thread>,
    /// By process, tid and start: of two images of one process both have the thread that called exec.
    ids: Interner<(u32, u32, u64)>,
    users: HashMap<(u32, u32), User>,
    name_bytes: usize,
}

/// The last user of a tid.
#[derive(Clone, Copy, Default)]
struct User {
    generation: u32,
    start_ns: u64,
}

/// In /proc starts are cut to these (`fs/proc/array.c`, in USER_HZ): who is known from there alone.
const CUT_NS: u64 = 10_000_000;

/// Whether both are the start of one thread, of which one may be from /proc. Within 10 ms of the boot nothing starts: those are
/// numbers that tell threads of a file apart.
fn is_one(start_ns: u64, other_ns: u64) -> bool {
    let cut_ns = start_ns - start_ns % CUT_NS;
    cut_ns != 0 && cut_ns == other_ns - other_ns % CUT_NS && (cut_ns == start_ns || cut_ns == other_ns)
}

impl<K: Copy + Eq + std::hash::Hash> Default for Interner<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl Threads {
    pub(crate) fn intern(&mut self, tid: u32, start_ns: u64) -> ThreadId {
        self.intern_of(0, tid, start_ns)
    }

    pub(crate) fn intern_of(&mut self, process: u32, tid: u32, start_ns: u64) -> ThreadId {
        let start_ns = self.known_as(process, tid, start_ns);
        let (id, new) = self.ids.intern((process, tid, start_ns));
        if new {
            let user = self.users.entry((process, tid)).or_default();
            *user = User { generation: user.generation.saturating_add(1), start_ns };
            let generation = user.generation;
            self.all.push(Thread {
                tid,
                start_ns,
                name: String::new(),
                python_name: String::new(),
                generation,
                process,
            });
        }
        ThreadId(id)
    }

    /// The start by which the thread is known, if it is.
    fn known_as(&self, process: u32, tid: u32, start_ns: u64) -> u64 {
        if self.ids.contains(&(process, tid, start_ns)) {
            return start_ns;
        }
        let user = self.users.get(&(process, tid)).filter(|user| is_one(user.start_ns, start_ns));
        user.map_or(start_ns, |user| user.start_ns)
    }

    pub(crate) fn knows(&self, tid: u32, start_ns: u64) -> bool {
        self.ids.contains(&(0, tid, self.known_as(0, tid, start_ns)))
    }

    pub(crate) fn set_name(&mut self, thread: ThreadId, name: &str) {
        let Some(thread) = self.all.get_mut(thread.index()) else { return };
        // Called for every sample with the kernel's current name: equal names must not allocate.
        if thread.name != name {
            self.name_bytes = self.name_bytes.saturating_sub(thread.name.len()) + name.len();
            thread.name = name.into();
        }
    }

    pub(crate) fn set_python_name(&mut self, thread: ThreadId, name: &str) {
        let Some(thread) = self.all.get_mut(thread.index()) else { return };
        self.name_bytes = self.name_bytes.saturating_sub(thread.python_name.len()) + name.len();
        thread.python_name = name.into();
    }

    pub(crate) fn all(&self) -> &[Thread] {
        &self.all
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.all.capacity() * size_of::<Thread>()
            + self.ids.memory_bytes()
            + self.users.capacity() * (size_of::<((u32, u32), User)>() + 2)
            + self.name_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_from_proc_is_that_of_the_thread_that_began_then() {
        let (cut_ns, exact_ns) = (7_770_000_000, 7_774_321_012);
        for (first_ns, then_ns) in [(cut_ns, exact_ns), (exact_ns, cut_ns)] {
            let mut threads = Threads::default();
            let first = threads.intern(7, first_ns);
            assert!(threads.knows(7, then_ns) && !threads.knows(8, then_ns));
            assert_eq!(threads.intern(7, then_ns), first);
            // Another exact one is another thread, however soon after.
            assert_ne!(threads.intern(7, cut_ns + 10_000_000), first);
            assert_eq!(threads.all()[0].generation, 1);
        }
        // Threads of a file have numbers for starts.
        let mut threads = Threads::default();
        let ids = [0, 1, 2, 1].map(|number| threads.intern(0, number));
        assert_eq!(ids.map(|id| threads.all()[id.index()].generation), [1, 2, 3, 2]);
        let mut threads = Threads::default();
        let ids = [exact_ns, exact_ns + 1, cut_ns].map(|start_ns| threads.intern(7, start_ns));
        assert_eq!(ids.map(|id| threads.all()[id.index()].generation), [1, 2, 2]);
    }

    #[test]
    fn the_name_that_python_gives_comes_first() {
        let rows = [
            ("", "python3", "python3", ("python3", None)),
            ("", "pool-1", "python3", ("pool-1", None)),
            ("MainThread", "python3", "python3", ("MainThread", None)),
            ("worker", "pool-1", "python3", ("worker", Some("pool-1"))),
            ("a worker with a long name", "a worker with a", "python3", ("a worker with a long name", None)),
            ("worker", "worker", "python3", ("worker", None)),
            ("worker", "", "python3", ("worker", None)),
            ("", "", "", ("", None)),
        ];
        for (python, kernel, comm, expected) in rows {
            let mut threads = Threads::default();
            let thread = threads.intern(1, 1);
            threads.set_name(thread, kernel);
            threads.set_python_name(thread, python);
            assert_eq!(threads.all()[0].names(comm), expected, "{python:?} {kernel:?}");
        }
    }

    #[test]
    fn a_reused_tid_is_another_thread_and_the_last_name_wins() {
        let mut threads = Threads::default();
        let first = threads.intern(7, 100);
        let second = threads.intern(7, 200);
        let other = threads.intern(8, 100);
        assert_eq!(threads.intern(7, 100), first);
        threads.set_name(first, "early");
        threads.set_name(first, "late");
        threads.set_name(second, "new");
        let rows: Vec<_> = threads
            .all()
            .iter()
            .map(|thread| (thread.tid, thread.generation, thread.name.as_str()))
            .collect();
        assert_eq!(rows, [(7, 1, "late"), (7, 2, "new"), (8, 1, "")]);
        assert_eq!((first.0, second.0, other.0), (0, 1, 2));
    }
}
