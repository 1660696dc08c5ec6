//! A CPython process drawn from a script, on any layout, and its stack read back as text.
//!
//! A script lists calls from root to leaf: `[` is C code that calls into Python, a lower-case letter a function, an
//! upper-case letter a generator or coroutine (its frame is in the heap), `*` an interpreter's own frame that no program
//! wrote. The stack comes back leaf first: `"[ab[C*d"` reads as `"dCba"`.
// Each test file uses a part of it.
#![allow(dead_code)]

mod picture;

use pyunwind::code::CodeCheck;
use pyunwind::host::versions;
use pyunwind::layout::{ABSENT, ABSENT_32, FRAME_HEAP, INSTR_BYTES, INSTR_POINTER, Layout, NO_SHIM};
use pyunwind::step::{Progress, Walk};
use pyunwind::thread::{ThreadState, ThreadWalk, WalkStep};
use pyunwind::{Addr, Fault, FrameSink, Outcome};

pub(crate) use picture::Picture;

/// What the BPF program allows: frames of a stack, steps of a frame walk, steps of a thread walk.
pub(crate) const MAX_FRAMES: usize = 512;
pub(crate) const MAX_STEPS: usize = 3 * MAX_FRAMES;
pub(crate) const MAX_THREADS: usize = 128;

pub(crate) const RUNTIME: u64 = 0x5500_0000_0000;
pub(crate) const POINTER: u64 = 0x7f77_7777_7700;
/// Mapped nowhere.
pub(crate) const GARBAGE: u64 = 0x6666_6666_6660;
const INTERPRETERS: u64 = 0x5510_0000_0000;
const THREADS: u64 = 0x5520_0000_0000;
const CODES: u64 = 0x5530_0000_0000;
const HEAP: u64 = 0x5540_0000_0000;
const DATA_STACK: u64 = 0x7f00_0000_0000;
const C_STACK: u64 = 0x7ffc_0010_0000;
/// Between the frames of two evaluations on the C stack.
const C_FRAME: u64 = 0x240;

const OWNED_BY_THREAD: u64 = 0;
const OWNED_BY_GENERATOR: u64 = 1;

/// 3.8-3.13. The last carries its own offsets; these are those of 3.13.0.
pub(crate) fn layouts() -> Vec<Layout> {
    let known = |minor| versions::layout(minor).expect("a layout of 3.8-3.12");
    let v3_13 = Layout {
        runtime_interpreters_head: 632,
        interpreter_next: 7264,
        interpreter_threads_head: 7344,
        thread_cframe: ABSENT_32,
        thread_frame: 72,
        thread_thread_id: 152,
        thread_status: 32,
        cframe_current: ABSENT,
        cframe_previous: ABSENT,
        code_span: 128,
        code_instructions: 200,
        minor: 13,
        ..known(12)
    };
    (8..=12).map(known).chain([v3_13]).collect()
}

pub(crate) fn layout(minor: u8) -> Layout {
    layouts().into_iter().find(|layout| layout.minor == minor).expect("3.8-3.13")
}

/// What a thread's state says besides whose it is.
pub(crate) const OWN: u64 = 1 << 3;

pub(crate) struct World {
    pub(crate) layout: Layout,
    pub(crate) memory: Picture,
    pub(crate) thread: u64,
    /// The leaf, shims included.
    pub(crate) leaf: u64,
    /// The topmost cframe.
    pub(crate) cframe: u64,
    /// All frames from root to leaf, shims left out; their indexes are their positions.
    pub(crate) frames: Vec<u64>,
    /// All cframes from the root one on.
    pub(crate) cframes: Vec<u64>,
    entry: bool,
    data_top: u64,
    c_top: u64,
    heap_top: u64,
}

impl World {
    /// A process with one interpreter and one thread, which runs nothing.
    pub(crate) fn new(layout: Layout) -> World {
        let mut world = World {
            layout,
            memory: Picture::default(),
            thread: THREADS,
            leaf: 0,
            cframe: 0,
            frames: Vec::new(),
            cframes: Vec::new(),
            entry: false,
            data_top: DATA_STACK + 16,
            c_top: C_STACK,
            heap_top: HEAP,
        };
        world.interpreter(0, 0);
        world.set(RUNTIME, layout.runtime_interpreters_head, interpreter(0));
        world.thread_state(0, POINTER, OWN);
        world.link_threads(0, &[0]);
        if layout.cframe_current != ABSENT {
            // The root cframe is part of the thread state, behind all that is read of it.
            world.cframe = THREADS + u64::from(layout.thread_span) + 16;
            world.fill_cframe(world.cframe, 0, 0);
            world.cframes.push(world.cframe);
        }
        world.publish();
        world
    }

    pub(crate) fn run(layout: Layout, script: &str) -> World {
        let mut world = World::new(layout);
        world.call(script);
        world
    }

    fn set(&mut self, base: u64, offset: impl Into<u64>, value: u64) {
        self.memory.set(base + offset.into(), value);
    }

    /// Draws interpreter `number`; `next` is an address.
    pub(crate) fn interpreter(&mut self, number: u64, next: u64) -> u64 {
        let at = interpreter(number);
        self.set(at, self.layout.interpreter_next, next);
        self.set(at, self.layout.interpreter_threads_head, 0);
        at
    }

    /// Draws thread state `number`, of interpreter 0 and without frames.
    pub(crate) fn thread_state(&mut self, number: u64, id: u64, status: u64) -> u64 {
        let (at, layout) = (thread(number), self.layout);
        (0..2048).step_by(8).for_each(|offset| self.memory.set(at + offset, 0));
        self.set(at, layout.thread_thread_id, id);
        if layout.thread_status != ABSENT {
            self.set(at, layout.thread_status, status);
        }
        if layout.cframe_current != ABSENT {
            let root = at + u64::from(layout.thread_span) + 16;
            self.fill_cframe(root, 0, 0);
            self.set(at, layout.thread_frame, root);
        }
        at
    }

    /// Makes these the thread states of an interpreter, head first.
    pub(crate) fn link_threads(&mut self, number: u64, threads: &[u64]) {
        let layout = self.layout;
        let head = threads.first().map_or(0, |first| thread(*first));
        self.set(interpreter(number), layout.interpreter_threads_head, head);
        for (position, at) in threads.iter().enumerate() {
            let neighbour = |position: Option<usize>| {
                position.and_then(|position| threads.get(position)).map_or(0, |number| thread(*number))
            };
            self.set(thread(*at), layout.thread_next, neighbour(Some(position + 1)));
            self.set(thread(*at), layout.thread_next - 8, neighbour(position.checked_sub(1)));
            self.set(thread(*at), layout.thread_interp, interpreter(number));
        }
    }

    pub(crate) fn fill_cframe(&mut self, at: u64, current: u64, previous: u64) {
        self.set(at, self.layout.cframe_current, current);
        self.set(at, self.layout.cframe_previous, previous);
    }

    /// What a name stands for: letters differ in name, `*` is the interpreter's own.
    pub(crate) fn code(&mut self, name: char) -> u64 {
        let (at, layout) = (code(name), self.layout);
        let (names, files) = (CODES + 0x10_0000 + (name as u64) * 64, CODES + 0x20_0000);
        self.memory.map(at);
        (0..512).step_by(8).for_each(|offset| self.memory.set(at + offset, 0));
        let phantom = name == '*';
        self.memory.set_bits(at + u64::from(layout.code_firstlineno), 32, if phantom { 0 } else { 7 });
        self.set(at, layout.code_name, names);
        self.set(at, layout.code_filename, if phantom { names } else { files });
        self.set(at, layout.code_linetable, CODES + 0x30_0000);
        self.set(names, layout.str_hash, name as u64);
        if layout.code_qualname != ABSENT {
            self.set(at, layout.code_qualname, names);
        }
        at
    }

    /// Runs a script on top of what runs already.
    pub(crate) fn call(&mut self, script: &str) {
        for name in script.chars() {
            if name == '[' { self.enter() } else { self.push(name) }
        }
        self.publish();
    }

    /// C code calls into Python.
    fn enter(&mut self) {
        let layout = self.layout;
        if layout.frame_kind == FRAME_HEAP {
            return;
        }
        self.entry = true;
        if layout.cframe_current != ABSENT {
            self.c_top -= C_FRAME;
            self.fill_cframe(self.cframe, self.leaf, self.cframes.iter().rev().nth(1).copied().unwrap_or(0));
            self.cframe = self.c_top;
            self.cframes.push(self.cframe);
        }
        if layout.shim_owner != NO_SHIM {
            self.c_top -= C_FRAME;
            // Its code pointer is not to be followed: on 3.12 it stands for no code object.
            self.leaf = self.frame(self.c_top, GARBAGE, self.leaf, layout.shim_owner.into(), 0);
        }
    }

    fn push(&mut self, name: char) {
        let (layout, code) = (self.layout, self.code(name));
        let heap = layout.frame_kind == FRAME_HEAP || name.is_uppercase();
        let size = u64::from(layout.frame_start + layout.frame_span) + 40;
        let top = if heap { &mut self.heap_top } else { &mut self.data_top };
        let at = *top;
        *top += size;
        let owner = if heap { OWNED_BY_GENERATOR } else { OWNED_BY_THREAD };
        self.leaf = self.frame(at, code, self.leaf, owner, self.frames.len() as i32);
        self.frames.push(at);
    }

    /// Draws a frame, entered from C if that is what was called last.
    pub(crate) fn frame(&mut self, at: u64, code: u64, back: u64, owner: u64, index: i32) -> u64 {
        let layout = self.layout;
        let shim = owner >= layout.shim_owner.into();
        let words = u64::from(layout.frame_start)..u64::from(layout.frame_start + layout.frame_span);
        words.step_by(8).for_each(|offset| self.memory.set(at + offset, 0));
        self.set(at, layout.frame_code, code);
        self.set(at, layout.frame_back, back);
        if layout.instr_unit == INSTR_POINTER {
            let instr =
                code.wrapping_add(layout.code_instructions.into()).wrapping_add_signed(i64::from(index) * 2);
            self.set(at, layout.frame_instr, instr);
        } else {
            let unit = if layout.instr_unit == INSTR_BYTES { 2 } else { 1 };
            self.memory.set_bits(at + u64::from(layout.frame_instr), 32, (index * unit) as u32 as u64);
        }
        if layout.frame_owner != ABSENT {
            self.memory.set_bits(at + u64::from(layout.frame_owner), 8, owner);
        }
        if layout.frame_is_entry != ABSENT {
            self.memory.set_bits(at + u64::from(layout.frame_is_entry), 8, u64::from(self.entry));
        }
        if !shim {
            self.entry = false;
        }
        at
    }

    /// Writes what the thread state says of the frames.
    fn publish(&mut self) {
        let (layout, thread) = (self.layout, self.thread);
        if layout.cframe_current == ABSENT {
            self.set(thread, layout.thread_frame, self.leaf);
        } else {
            let below = self.cframes.iter().rev().nth(1).copied().unwrap_or(0);
            self.fill_cframe(self.cframe, self.leaf, below);
            self.set(thread, layout.thread_frame, self.cframe);
        }
        if layout.thread_datastack_top != ABSENT {
            self.set(thread, layout.thread_datastack_top, self.data_top);
            self.set(thread, layout.thread_datastack_top + 8, DATA_STACK + 0x4000_0000);
        }
    }

    /// Takes everything from the data stack that lies at `frame` or above: it has been popped.
    pub(crate) fn pop_to(&mut self, frame: u64) {
        self.data_top = frame;
        self.set(self.thread, self.layout.thread_datastack_top, frame);
    }

    pub(crate) fn data_top(&self) -> u64 {
        self.data_top
    }

    /// Enters evaluation as far as the publication of a cframe that still holds what an earlier call left there.
    pub(crate) fn publish_unfilled(&mut self, current: u64, previous: u64) -> u64 {
        let at = self.c_top - C_FRAME;
        self.fill_cframe(at, current, previous);
        self.set(self.thread, self.layout.thread_frame, at);
        at
    }

    pub(crate) fn find(&mut self) -> Result<ThreadState, Fault> {
        let layout = self.layout;
        let mut walk = ThreadWalk::begin(&mut self.memory, &layout, Addr(RUNTIME))?.expect("it has started");
        for _ in 0..MAX_THREADS {
            if walk.step(&mut self.memory, &layout, POINTER)? != WalkStep::More {
                break;
            }
        }
        Ok(walk.best())
    }

    /// Finds the thread and reads its stack.
    pub(crate) fn unwind(&mut self) -> (Outcome, String) {
        self.memory.reset();
        let Ok(thread) = self.find() else { return (Outcome::Unreadable, String::new()) };
        let walk = Walk::begin(&mut self.memory, &self.layout, &thread);
        self.finish(walk)
    }

    /// Reads a stack from where `walk` stands.
    pub(crate) fn finish(&mut self, walk: Result<Walk, Fault>) -> (Outcome, String) {
        let (outcome, text, indexes) = self.read(walk);
        // Positions are counted from the root: a stack that has all of them and not the same is none of this thread.
        if outcome == Outcome::Complete && indexes.len() == self.frames.len() {
            assert!(indexes.iter().rev().copied().eq(0..self.frames.len() as i32), "{text}: {indexes:?}");
        }
        (outcome, text)
    }

    /// The same for frames whose indexes the test has changed.
    pub(crate) fn finish_any(&mut self, walk: Result<Walk, Fault>) -> (Outcome, String) {
        let (outcome, text, _) = self.read(walk);
        (outcome, text)
    }

    fn read(&mut self, walk: Result<Walk, Fault>) -> (Outcome, String, Vec<i32>) {
        let mut sink = Stack::default();
        let Ok(walk) = walk else { return (Outcome::Torn, String::new(), Vec::new()) };
        let outcome = drive(walk, &mut self.memory, &self.layout, &mut sink);
        let text = sink.frames.iter().map(|(code, ..)| name(code.0)).collect();
        (outcome, text, sink.frames.iter().map(|(.., index)| *index).collect())
    }
}

/// The loop that the BPF program runs.
pub(crate) fn drive(
    mut walk: Walk,
    memory: &mut impl pyunwind::Memory,
    layout: &Layout,
    sink: &mut Stack,
) -> Outcome {
    for _ in 0..MAX_STEPS {
        if let Progress::Done(outcome) = walk.step(memory, layout, sink) {
            return outcome;
        }
    }
    Outcome::Truncated
}

pub(crate) fn interpreter(number: u64) -> u64 {
    INTERPRETERS + number * 0x4000
}

pub(crate) fn thread(number: u64) -> u64 {
    THREADS + number * 0x1000
}

fn code(name: char) -> u64 {
    CODES + (name as u64) * 0x400
}

fn name(code: u64) -> char {
    char::from_u32((code.wrapping_sub(CODES) / 0x400) as u32).filter(char::is_ascii_alphabetic).unwrap_or('?')
}

/// A sink with the BPF program's room.
#[derive(Default)]
pub(crate) struct Stack {
    pub(crate) frames: Vec<(Addr, CodeCheck, i32)>,
    /// How many frames the collector has called, if it was met.
    pub(crate) triggered_under: Option<usize>,
    known: std::collections::HashMap<u64, CodeCheck>,
}

impl FrameSink for Stack {
    fn push(&mut self, code: Addr, check: CodeCheck, index: i32) -> bool {
        let room = self.frames.len() < MAX_FRAMES;
        if room {
            self.frames.push((code, check, index));
        }
        room
    }

    fn collector(&mut self) {
        self.triggered_under = Some(self.frames.len());
    }

    fn clear(&mut self) {
        self.frames.clear();
    }

    fn recall(&self, code: Addr) -> Option<CodeCheck> {
        self.known.get(&code.0).copied()
    }

    fn remember(&mut self, code: Addr, check: CodeCheck) {
        self.known.insert(code.0, check);
    }
}
