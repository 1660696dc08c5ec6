//! Finding the thread state of the interrupted thread: the one whose `thread_id` is the thread pointer.
//!
//! The "current thread state" variable is useless here: it is NULL whenever the GIL is released. The list of thread
//! states has new threads at its head. While a thread is being created its state carries the creator's id
//! (`Modules/_threadmodule.c`, `thread_PyThread_start_new_thread`), so of several matches the one with frames wins.

use crate::code::field_u32;
use crate::layout::ABSENT;
use crate::{Addr, Fault, Layout, Memory};

/// `PyThreadState._status.bound_gilstate` (3.12+, `Include/cpython/pystate.h`): this is the thread's own state, not one
/// of a subinterpreter that the thread also runs.
const BOUND_GILSTATE: u32 = 1 << 3;

/// What the walk needs of one thread state, read in one go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ThreadState {
    pub address: Addr,
    /// `frame`, `cframe` or `current_frame`, as the layout says.
    pub frame: Addr,
    /// The leaf frame, NULL when the thread runs no Python code. May be stale on 3.11 and 3.12: see `step`.
    pub leaf: Addr,
    pub datastack_top: Addr,
    pub datastack_limit: Addr,
}

/// `sizeof(PyThreadState)` is at most this on the versions with cframes.
pub(crate) const THREAD_STATE_BYTES: u64 = 512;

/// Interpreters without thread states that [`ThreadWalk::list`] passes in a row: more than a process has.
const MAX_IDLE_INTERPRETERS: u32 = 4096;

impl ThreadState {
    /// Whether the thread runs Python code. With cframes (3.11, 3.12) it does unless its cframe is the root one, which
    /// is part of the thread state: what another cframe says of its leaf may not be written yet.
    #[inline(always)]
    pub fn runs_python(&self, layout: &Layout) -> bool {
        if layout.cframe_current == ABSENT {
            !self.leaf.is_null()
        } else {
            self.frame.0.wrapping_sub(self.address.0) >= THREAD_STATE_BYTES
        }
    }
}

/// A walk over all thread states of all interpreters, one per [`ThreadWalk::step`].
#[derive(Clone, Copy, Debug, Default)]
pub struct ThreadWalk {
    interpreter: Addr,
    next: Addr,
    best: ThreadState,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WalkStep {
    More,
    /// The thread's own state, with frames.
    Found,
    /// The end of the lists; `best` may still hold a match without frames.
    End,
}

/// The thread state at `address` if it belongs to the thread with this thread pointer.
#[inline(always)]
fn examine(
    memory: &mut impl Memory,
    layout: &Layout,
    address: Addr,
    thread_pointer: u64,
) -> Result<Option<(ThreadState, bool)>, Fault> {
    if memory.field(u32::from(layout.thread_thread_id)) != thread_pointer {
        return Ok(None);
    }
    let frame = Addr(memory.field(u32::from(layout.thread_frame)));
    let own = layout.thread_status == ABSENT
        || field_u32(memory, u32::from(layout.thread_status)) & BOUND_GILSTATE != 0;
    let (mut top, mut limit) = (Addr::NULL, Addr::NULL);
    if layout.thread_datastack_top != ABSENT {
        top = Addr(memory.field(u32::from(layout.thread_datastack_top)));
        limit = Addr(memory.field(u32::from(layout.thread_datastack_top) + 8));
    }
    let leaf = if layout.cframe_current == ABSENT || frame.is_null() {
        frame
    } else {
        Addr(memory.word(frame.offset(u64::from(layout.cframe_current)))?)
    };
    Ok(Some((ThreadState { address, frame, leaf, datastack_top: top, datastack_limit: limit }, own)))
}

/// Looks at a thread state that was the thread's before. Everything is checked again: the memory may have been freed
/// and re-used, and a thread pointer recurs with the next thread's stack.
#[inline(always)]
pub fn revisit(
    memory: &mut impl Memory,
    layout: &Layout,
    address: Addr,
    thread_pointer: u64,
) -> Result<Option<ThreadState>, Fault> {
    if address.is_null() || !address.is_aligned() {
        return Err(Fault);
    }
    memory.load(address, u32::from(layout.thread_span))?;
    // `prev` stands right before `next` in every version; the neighbour must still point back.
    let previous = Addr(memory.field(u32::from(layout.thread_next).wrapping_sub(8)));
    let interpreter = Addr(memory.field(u32::from(layout.thread_interp)));
    let Some((state, own)) = examine(memory, layout, address, thread_pointer)? else { return Ok(None) };
    if !own || !state.runs_python(layout) {
        return Ok(None);
    }
    let back = if previous.is_null() {
        interpreter.offset(u64::from(layout.interpreter_threads_head))
    } else {
        previous.offset(u64::from(layout.thread_next))
    };
    Ok((memory.word(back)? == address.0).then_some(state))
}

impl ThreadWalk {
    /// Starts at `_PyRuntime`; `None` while there is no interpreter.
    #[inline(always)]
    pub fn begin(
        memory: &mut impl Memory,
        layout: &Layout,
        runtime: Addr,
    ) -> Result<Option<ThreadWalk>, Fault> {
        let head = memory.word(runtime.offset(u64::from(layout.runtime_interpreters_head)))?;
        if head == 0 {
            return Ok(None);
        }
        let interpreter = Addr(head);
        let next = Addr(memory.word(interpreter.offset(u64::from(layout.interpreter_threads_head)))?);
        // New interpreters are at the head, and may have no thread states: while they are made, and from 3.13 on
        // whenever no thread runs them. Only if there is no other has the process not started.
        if next.is_null() && memory.word(interpreter.offset(u64::from(layout.interpreter_next)))? == 0 {
            return Ok(None);
        }
        Ok(Some(ThreadWalk { interpreter, next, best: ThreadState::default() }))
    }

    /// Looks at one thread state. The caller bounds the number of steps.
    #[inline(always)]
    pub fn step(
        &mut self,
        memory: &mut impl Memory,
        layout: &Layout,
        thread_pointer: u64,
    ) -> Result<WalkStep, Fault> {
        if self.next.is_null() {
            if self.interpreter.is_null() {
                return Ok(WalkStep::End);
            }
            let next = memory.word(self.interpreter.offset(u64::from(layout.interpreter_next)))?;
            self.interpreter = Addr(next);
            if next == 0 {
                return Ok(WalkStep::End);
            }
            self.next =
                Addr(memory.word(self.interpreter.offset(u64::from(layout.interpreter_threads_head)))?);
            return Ok(WalkStep::More);
        }
        if !self.next.is_aligned() {
            return Err(Fault);
        }
        let address = self.next;
        memory.load(address, u32::from(layout.thread_span))?;
        self.next = Addr(memory.field(u32::from(layout.thread_next)));
        if let Some((state, own)) = examine(memory, layout, address, thread_pointer)? {
            if own && state.runs_python(layout) {
                self.best = state;
                return Ok(WalkStep::Found);
            }
            if !self.best.runs_python(layout) {
                self.best = state;
            }
        }
        Ok(WalkStep::More)
    }

    /// The best match so far: NULL address when there was none.
    #[inline(always)]
    pub fn best(&self) -> ThreadState {
        self.best
    }

    /// The next thread state of any thread with its thread pointer, for who walks the whole list.
    pub fn list(&mut self, memory: &mut impl Memory, layout: &Layout) -> Result<Option<(Addr, u64)>, Fault> {
        // Bounded: interpreters without threads may link to each other, and the caller only counts threads.
        for _ in 0..MAX_IDLE_INTERPRETERS {
            let address = self.next;
            if address.is_null() {
                // No thread has this pointer, so this only moves on to the next interpreter.
                match self.step(memory, layout, u64::MAX)? {
                    WalkStep::End => return Ok(None),
                    WalkStep::More | WalkStep::Found => continue,
                }
            }
            self.step(memory, layout, u64::MAX)?;
            return Ok(Some((address, memory.field(u32::from(layout.thread_thread_id)))));
        }
        Ok(None)
    }
}
