//! Which of a process's interpreters a thread runs, up to 3.12, where a thread state keeps the id of the thread that made it,
//! whoever runs it (`Modules/_xxsubinterpretersmodule.c`, `_run_script_in_interpreter`: the state of the thread that called
//! `create`). Only the C stack tells: it has the cframe of the running state (3.10-3.12), and of older ones the running
//! frame, which the evaluation loop keeps in a register or on the stack.

use crate::thread::{ID_WITHIN_BYTES, THREAD_STATE_BYTES, ThreadWalk, WalkStep, read};
use crate::{Addr, Fault, Layout, Memory};

/// Thread states with frames that one walk takes down, at most; a power of two.
pub const MAX_CANDIDATES: usize = 8;
/// Those that other threads made leave this much room for the thread's own.
const OWN_ROOM: u32 = 2;

/// Whether the address lies in the part of a C stack that is in use. Stacks grow down, and the C library has what the thread
/// pointer points to at the top of those that it makes; that of a process's first thread is the kernel's, above all else.
#[inline(always)]
pub fn is_on_stack(at: Addr, stack_pointer: u64, thread_pointer: u64) -> bool {
    stack_pointer <= at.0 && (thread_pointer < stack_pointer || at.0 < thread_pointer)
}

/// A search through all interpreters for the thread state that runs on a C stack.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nested {
    stack_pointer: u64,
    /// A thread state that is known of from elsewhere: looked at first.
    known: Addr,
    /// The one whose list is walked, and whether it is the first that was made, which is the last of all.
    interpreter: Addr,
    is_main: bool,
    /// That of the best state so far.
    cframe: Addr,
    states: [u64; MAX_CANDIDATES],
    /// Their leaves.
    frames: [u64; MAX_CANDIDATES],
    count: u32,
    foreign: u32,
}

impl Nested {
    #[inline(always)]
    pub fn begin(&mut self, stack_pointer: u64, known: Addr) {
        self.stack_pointer = stack_pointer;
        self.known = known;
        self.interpreter = Addr::NULL;
        self.cframe = Addr::NULL;
        self.count = 0;
        self.foreign = 0;
    }

    /// Looks at one thread state; [`WalkStep::Found`] is no answer here. `walk.best()` is the one that runs where cframes tell,
    /// else the thread's own one in the main interpreter, which may be in doubt.
    #[inline(always)]
    pub fn step(
        &mut self,
        walk: &mut ThreadWalk,
        memory: &mut impl Memory,
        layout: &Layout,
        thread_pointer: u64,
    ) -> Result<WalkStep, Fault> {
        let mut address = self.known;
        if address.is_null() {
            if self.interpreter != walk.interpreter {
                self.interpreter = walk.interpreter;
                let next = walk.interpreter.offset(u64::from(layout.interpreter_next));
                self.is_main = memory.word(next)? == 0;
            }
            address = walk.advance(memory, layout)?;
            if address.is_null() {
                return walk.turn(memory, layout);
            }
        } else {
            self.known = Addr::NULL;
            self.is_main = false;
            memory.load(address, u32::from(layout.thread_span))?;
        }
        let id = memory.field(u32::from(layout.thread_thread_id));
        let own = thread_pointer.wrapping_sub(id) < ID_WITHIN_BYTES;
        let cframe =
            if layout.has_thread_cframe() { Addr(memory.field(layout.thread_cframe)) } else { Addr::NULL };
        // The root cframe is a part of the thread state.
        let runs_here = cframe.0.wrapping_sub(address.0) >= THREAD_STATE_BYTES
            && is_on_stack(cframe, self.stack_pointer, thread_pointer)
            && (self.cframe.is_null() || cframe < self.cframe);
        let may_run_here = if layout.has_thread_cframe() { runs_here } else { own || !self.is_main };
        let is_first_own = own && walk.best.address.is_null();
        if !(may_run_here || is_first_own) {
            return Ok(WalkStep::More);
        }
        let state = read(memory, layout, address)?;
        if !state.runs_python(layout) {
            if is_first_own {
                walk.best = state;
            }
        } else if layout.has_thread_cframe() {
            // Its own frames on another's stack are no frames of this thread.
            if runs_here {
                self.cframe = cframe;
                walk.best = state;
            }
        } else {
            if own {
                // The main interpreter comes last. That state is the thread's in any case: if not what it runs, its callers.
                walk.best = state;
            }
            self.note(address, state.leaf, own);
        }
        Ok(WalkStep::More)
    }

    #[inline(always)]
    fn note(&mut self, state: Addr, frame: Addr, own: bool) {
        let room = MAX_CANDIDATES as u32 - if own { 0 } else { OWN_ROOM };
        if self.count >= room {
            return;
        }
        let at = self.count as usize & (MAX_CANDIDATES - 1);
        self.states[at] = state.0;
        self.frames[at] = frame.0;
        self.count += 1;
        self.foreign += u32::from(!own);
    }

    /// Whether the thread may run another than its one state.
    #[inline(always)]
    pub fn leaves_doubt(&self) -> bool {
        self.count > 1 || self.foreign != 0
    }

    /// The thread state whose running frame this word is, NULL if it is none's.
    #[inline(always)]
    pub fn holding(&self, word: u64) -> Addr {
        let mut found = Addr::NULL;
        for at in 0..MAX_CANDIDATES {
            if (at as u32) < self.count && self.frames[at] == word {
                found = Addr(self.states[at]);
            }
        }
        found
    }

    /// Makes this the best one: its running frame is on the thread's stack.
    #[inline(always)]
    pub fn settle(
        walk: &mut ThreadWalk,
        memory: &mut impl Memory,
        layout: &Layout,
        state: Addr,
    ) -> Result<(), Fault> {
        memory.load(state, u32::from(layout.thread_span))?;
        walk.best = read(memory, layout, state)?;
        Ok(())
    }
}
