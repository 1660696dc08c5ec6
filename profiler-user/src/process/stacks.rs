//! The stacks of all threads of a live process, idle ones too: read from outside while it runs.
//!
//! A stack counts as one that existed only if its thread is known not to have run while it was read ([`super::tasks`]): a
//! second look at the same memory would prove nothing, since a loop comes by the same place again. A thread that runs is
//! therefore looked at from the CPU that it runs on, where it cannot run at the same time, and again if it was moved
//! meanwhile. What is left after some tries is marked as torn.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use pyunwind::host::bounded::Bounded;
use pyunwind::host::stacks::{Codes, Frame, Stack, cframe, gil_locks, places, stack, thread_states};
use pyunwind::host::thread_names::thread_names_and_daemons;
use pyunwind::host::values::{self, Values};
use pyunwind::thread::{ThreadState, interpreter_id, state_at};
use pyunwind::{Addr, Layout, Memory, Outcome};
use serde::{Deserialize, Serialize};

use super::memory::ProcessMemory;
use super::runners::{ByThread, assign, by_mappings};
use super::scan;
use super::tasks::{Pin, Sleep, Task, own_number, sleep, tids};

/// Thread states of a process that are looked at.
const MAX_STATES: usize = 65_536;
/// Frames kept of a stack.
pub const MAX_FRAMES: usize = 4_096;
/// Characters kept of a name or path.
const MAX_NAME_CHARS: usize = 512;
/// Thread states that are shown though nobody can tell whose they are.
pub(super) const MAX_STRAYS: usize = 16;
/// Stacks of one thread: it has more than one where it runs several interpreters, one inside the other.
const MAX_STACKS: usize = 16;
/// Reads for the lists of a process, for a thread (every frame with a code object of its own takes some 20), and for all threads
/// of a core file; those of a live process have their time.
const MAX_LIST_READS: u32 = 1_000_000;
const MAX_THREAD_READS: u32 = 300_000;
const MAX_READS: u64 = 20_000_000;
/// How often, and for how long, a thread is read until it stands still.
const TRIES: u32 = 200;
const TRYING: Duration = Duration::from_millis(100);
/// What one answer may take: further threads come with the next.
const ANSWER: Duration = Duration::from_millis(400);
const ANSWER_BYTES: usize = 2 << 20;
/// And one thread at most of it: deeper frames of it are left out.
const THREAD_BYTES: usize = 3 << 20;

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Wanted {
    /// Threads with a greater number than this, in order.
    pub after: u32,
    pub locals: bool,
}

/// A part of the threads of a process.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Stacks {
    pub threads: Vec<Thread>,
    /// Whether there are more threads than these: to be asked for with the last number.
    pub more: bool,
    /// Thread states whose thread nobody could tell, with the last part.
    pub strays: Vec<Python>,
    /// The list of thread states was not read to its end.
    pub cut: bool,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Thread {
    pub tid: u32,
    /// The kernel's name of it.
    pub name: String,
    /// The letter of `/proc/PID/task/TID/stat`.
    pub state: u8,
    pub cpu: Option<u32>,
    pub syscall: Option<u32>,
    pub wchan: Option<String>,
    /// Empty for a thread that Python does not know; innermost first where it runs several interpreters.
    pub python: Vec<Python>,
}

/// What a thread is in one interpreter.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Python {
    /// `threading.get_ident()`
    pub ident: u64,
    pub name: Option<String>,
    pub daemon: Option<bool>,
    pub interpreter: Option<u32>,
    pub gil: Gil,
    /// Leaf first.
    pub frames: Vec<StackFrame>,
    /// The garbage collector runs, called from the frame with this number.
    pub collector: Option<u32>,
    pub end: End,
    /// The thread may have run while it was read: this stack may be put together from several.
    pub torn: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Gil {
    /// The runtime does not tell, or has none.
    Unknown,
    Holds,
    Waits,
    /// Neither.
    Without,
}

/// How a stack ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum End {
    Root,
    /// Deeper than what is kept.
    Truncated,
    /// A frame or code object that could not be read.
    Unreadable,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StackFrame {
    /// `None`: its code object could not be read.
    pub function: Option<String>,
    pub file: String,
    /// 0 where the instruction has none.
    pub line: u32,
    pub locals: Vec<Local>,
}

/// A local variable, argument or cell, as short text.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Local {
    pub name: String,
    pub kind: String,
    pub value: String,
}

impl Thread {
    /// About how much it takes.
    pub(super) fn bytes(&self) -> usize {
        let frames = self.python.iter().flat_map(|python| &python.frames);
        128 + frames.map(StackFrame::bytes).sum::<usize>()
    }
}

impl StackFrame {
    fn bytes(&self) -> usize {
        let locals = self.locals.iter().map(Local::bytes).sum::<usize>();
        self.function.as_ref().map_or(0, String::len) + self.file.len() + 32 + locals
    }
}

impl Local {
    fn bytes(&self) -> usize {
        self.name.len() + self.kind.len() + self.value.len() + 16
    }
}

impl From<values::Local> for Local {
    fn from(local: values::Local) -> Local {
        let values::Local { name, kind, value } = local;
        Local { name, kind, value }
    }
}

/// Where the interpreter is, and what it knows of its threads.
pub struct Process<'m, M> {
    pub memory: Bounded<'m, M>,
    /// Reads for all threads together.
    reads: u64,
    pub layout: Layout,
    pub runtime: Addr,
    names: HashMap<u64, (String, Option<bool>)>,
    states: Vec<(Addr, u64)>,
    cut: bool,
    /// `None` if nobody wants values, or nobody knows where they are.
    values: Option<Values>,
}

impl<'m, M: Memory> Process<'m, M> {
    pub fn new(memory: &'m mut M, layout: Layout, runtime: Addr, locals: bool) -> Self {
        let mut bounded = Bounded::new(memory, MAX_LIST_READS);
        let memory = &mut bounded;
        let values = if locals { Values::of(memory, &layout, runtime) } else { None };
        let (states, whole) = thread_states(memory, &layout, runtime, MAX_STATES);
        let names = thread_names_and_daemons(memory, &layout, runtime).unwrap_or_default();
        let names = names.into_iter().map(|thread| (thread.ident, (thread.name, thread.daemon))).collect();
        Process { memory: bounded, reads: MAX_READS, layout, runtime, names, states, cut: !whole, values }
    }

    /// Thread states with their thread pointers.
    pub(super) fn states(&self) -> Vec<(Addr, u64)> {
        self.states.clone()
    }

    /// Whether there are more of them.
    pub(super) fn is_cut(&self) -> bool {
        self.cut
    }

    /// What the thread with these thread states, each with its pointer, is at in each of its interpreters, the innermost first; without those that it
    /// has and does not run.
    pub(super) fn python(&mut self, states: &[(Addr, u64)], syscall: Option<(u32, [u64; 6])>) -> Vec<Python> {
        let reads = u64::from(MAX_THREAD_READS).min(self.reads) as u32;
        self.memory.refill(reads);
        let mut found: Vec<(ThreadState, u64, bool)> = Vec::new();
        for (address, pointer) in states.iter().take(MAX_STACKS) {
            if let Ok((state, _, own)) = state_at(&mut self.memory, &self.layout, *address) {
                found.push((state, *pointer, own));
            }
        }
        // Which one runs: the one with the lowest place on the C stack (3.10 to 3.12), the thread's own where a version says
        // that (3.13 and newer), else the newest. Those without frames come last.
        found.sort_by_cached_key(|(state, _, own)| {
            let place = cframe(&mut self.memory, &self.layout, state.address);
            (!state.runs_python(&self.layout), place.is_none() && !*own, place)
        });
        let mut room = THREAD_BYTES;
        let mut all = Vec::new();
        for (number, (state, ident, _)) in found.iter().enumerate() {
            if number > 0 && !state.runs_python(&self.layout) {
                break;
            }
            all.push(self.one(state, *ident, syscall, &mut room));
        }
        self.reads -= u64::from(reads - self.memory.left());
        all
    }

    fn one(
        &mut self,
        state: &ThreadState,
        ident: u64,
        syscall: Option<(u32, [u64; 6])>,
        room: &mut usize,
    ) -> Python {
        let Stack { frames, outcome, collector, holds_gil } =
            stack(&mut self.memory, &self.layout, self.runtime, state, MAX_FRAMES);
        let mut codes = Codes::default();
        let whole = frames.len();
        let frames: Vec<StackFrame> =
            frames.iter().map_while(|frame| self.frame(&mut codes, frame, room)).collect();
        let mut waits = || {
            let (number, arguments) = syscall?;
            let locks = gil_locks(&mut self.memory, &self.layout, self.runtime, state)?;
            Some(i64::from(number) == libc::SYS_futex && locks.contains(&arguments[0]))
        };
        let gil = match holds_gil {
            None => Gil::Unknown,
            Some(true) => Gil::Holds,
            Some(false) if waits() == Some(true) => Gil::Waits,
            Some(false) => Gil::Without,
        };
        let name = self.names.get(&ident);
        Python {
            ident,
            name: name.map(|(name, _)| name.clone()),
            daemon: name.and_then(|(_, daemon)| *daemon),
            interpreter: interpreter_id(&mut self.memory, &self.layout, state),
            gil,
            collector: collector.map(|at| at as u32),
            end: match outcome {
                _ if frames.len() < whole => End::Truncated,
                Outcome::Truncated => End::Truncated,
                Outcome::Unreadable => End::Unreadable,
                _ => End::Root,
            },
            torn: outcome == Outcome::Torn,
            frames,
        }
    }

    /// `None` where there is no room for it.
    fn frame(&mut self, codes: &mut Codes, frame: &Frame, room: &mut usize) -> Option<StackFrame> {
        let short = |text: &str| match text.char_indices().nth(MAX_NAME_CHARS) {
            Some((end, _)) => format!("{}\u{2026}", &text[..end]),
            None => text.to_owned(),
        };
        let code = codes.of(&mut self.memory, &self.layout, frame);
        let locals = match self.values {
            Some(values) => values.locals(&mut self.memory, frame.at, frame.code),
            None => Vec::new(),
        };
        let locals: Vec<Local> = locals.into_iter().map(Local::from).collect();
        let frame = match code {
            Some(code) => StackFrame {
                function: Some(short(code.display_name())),
                file: short(&code.file),
                line: code.lines.line(frame.index).shown(),
                locals,
            },
            None => StackFrame { function: None, file: String::new(), line: 0, locals },
        };
        *room = room.checked_sub(frame.bytes())?;
        Some(frame)
    }
}

/// What the process has, from `wanted.after` on, as much as fits into an answer.
pub fn stacks(pid: u32, task: u32, layout: &Layout, runtime: Addr, wanted: Wanted) -> Stacks {
    let began = Instant::now();
    let Ok(tids) = tids(pid) else { return Stacks::default() };
    let mut memory = ProcessMemory::new(task);
    let mut process = Process::new(&mut memory, *layout, runtime, wanted.locals);
    let (by_tid, strays) = owners(&mut process, pid, &tids);
    let mut answer = Stacks { cut: process.cut, ..Stacks::default() };
    let mut pin = Pin::new();
    let mut bytes = 0;
    let mut rest = tids.iter().filter(|tid| **tid > wanted.after).peekable();
    while let Some(&&tid) = rest.peek() {
        if !answer.threads.is_empty() && (began.elapsed() > ANSWER || bytes > ANSWER_BYTES) {
            answer.more = true;
            return answer;
        }
        rest.next();
        let states = by_tid.get(&tid).map_or(&[][..], Vec::as_slice);
        let Some(thread) = thread(&mut process, &mut pin, pid, tid, states) else { continue };
        bytes += thread.bytes();
        answer.threads.push(thread);
    }
    drop(pin);
    for state in strays.iter().take(MAX_STRAYS) {
        let mut python = process.python(&[*state], None);
        // Nobody can tell whether it ran.
        python.iter_mut().for_each(|python| python.torn = true);
        python.retain(|python| !python.frames.is_empty());
        answer.strays.append(&mut python);
    }
    answer
}

/// One thread: read until it is known to have stood still. `None` if it has gone.
fn thread(
    process: &mut Process<'_, ProcessMemory>,
    pin: &mut Pin,
    pid: u32,
    tid: u32,
    states: &[(Addr, u64)],
) -> Option<Thread> {
    let first = Task::before(pid, tid).ok()?;
    let mut thread = Thread {
        tid,
        name: scan::thread_name(pid, tid).ok()?,
        state: first.state,
        cpu: Some(first.cpu),
        syscall: None,
        wchan: None,
        python: Vec::new(),
    };
    let began = Instant::now();
    for attempt in 1.. {
        let mut before = Task::before(pid, tid).ok()?;
        if before.runs() && !before.is_realtime && pin.here() != Some(before.cpu) {
            pin.to(before.cpu);
            before = Task::before(pid, tid).ok()?;
        }
        let Sleep { syscall, wchan } = if before.runs() { Sleep::default() } else { sleep(pid, tid) };
        let mut python = process.python(states, syscall);
        let after = Task::after(pid, tid).ok()?;
        let still = after.stood_still_since(&before, pin.here());
        let torn = python.iter().any(|python| python.torn);
        if still && !torn || attempt >= TRIES || began.elapsed() > TRYING {
            python.iter_mut().for_each(|python| python.torn |= !still && !states.is_empty());
            // Of the same moment as the stack.
            (thread.state, thread.cpu) = (before.state, Some(before.cpu));
            (thread.syscall, thread.wchan) = (syscall.map(|(number, _)| number), wchan);
            thread.python = python;
            break;
        }
        if torn {
            // It stands between two steps of the interpreter, and has to get on.
            pin.release();
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    Some(thread)
}

/// Which thread state belongs to which thread, and those that belong to none that is known.
fn owners(process: &mut Process<'_, ProcessMemory>, pid: u32, tids: &[u32]) -> (ByThread, Vec<(Addr, u64)>) {
    // The interpreter and the C library know threads by their number in the process's own pid namespace.
    let inside: HashMap<u32, u32> = if own_number(pid, pid).is_some_and(|own| own != pid) {
        tids.iter().filter_map(|tid| Some((own_number(pid, *tid)?, *tid))).collect()
    } else {
        tids.iter().map(|tid| (*tid, *tid)).collect()
    };
    let states = process.states();
    let ends = || tids.iter().filter_map(|tid| scan::stack_pointer(pid, *tid)).collect();
    let running = places(&mut process.memory, &process.layout, process.runtime, &states, ends);
    let runners = by_mappings(pid, &running, &states);
    let mut known = HashMap::<u64, Option<u32>>::new();
    let mut taken = HashSet::new();
    assign(&states, &runners, pid, |state, pointer| {
        *known.entry(pointer).or_insert_with(|| {
            tid_of(&mut process.memory, &process.layout, state, pointer, &inside)
                .filter(|tid| taken.insert(*tid))
        })
    })
}

/// Where the C library keeps the number of a thread, from its thread pointer on: glibc's `struct pthread.tid`
/// (`nptl/descr.h`), musl's `struct __pthread.tid` (`src/internal/pthread_impl.h`).
#[cfg(target_arch = "x86_64")]
const TID_AT: [u64; 2] = [0x2d0, 0x30];
#[cfg(target_arch = "aarch64")]
const TID_AT: [u64; 2] = [0xd0, 0x20];

pub(super) fn tid_of(
    memory: &mut impl Memory,
    layout: &Layout,
    state: Addr,
    pointer: u64,
    inside: &HashMap<u32, u32>,
) -> Option<u32> {
    let mut number = |at: Addr| {
        let word = memory.word(Addr(at.0 & !7)).ok()?;
        inside.get(&((word >> ((at.0 & 4) * 8)) as u32)).copied()
    };
    // The interpreter's own note is stale for a while after a fork; `native_thread_id` (3.11+) is behind `thread_id`.
    let by_library = TID_AT.iter().find_map(|offset| number(Addr(pointer).offset(*offset)));
    by_library.or_else(|| {
        let at = state.offset(u64::from(layout.thread_thread_id) + 8);
        if layout.minor >= 11 { number(at) } else { None }
    })
}
