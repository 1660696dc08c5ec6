//! Finding the thread state of the interrupted thread: the one whose `thread_id` is the thread pointer, or
//! belongs to it.
//!
//! The "current thread state" variable is useless here: it is NULL whenever the GIL is released. The list of thread
//! states has new threads at its head. While a thread is being created its state carries the creator's id
//! (`Modules/_threadmodule.c`, `thread_PyThread_start_new_thread`), so of several matches the one with frames wins.

use crate::layout::{ABSENT, ABSENT_32, GIL_CURRENT, GIL_FLAG, GIL_STATE, GIL_STATUS_BIT};
use crate::{Addr, Fault, Layout, Memory};

/// `PyThreadState._status.bound_gilstate` (3.12+, `Include/cpython/pystate.h`): this is the thread's own state, not one
/// of a subinterpreter that the thread also runs.
const BOUND_GILSTATE: u64 = 1 << 3;
/// `PyThreadState._status.holds_gil` (3.13; an `int` of its own behind `_status` from 3.14 on).
const HOLDS_GIL: u64 = 1 << 5;

/// Python numbers a thread by the address of the C library's descriptor of it (`pthread_self`), which is the thread pointer on
/// x86-64. On aarch64 it ends at the thread pointer (glibc `sysdeps/aarch64/nptl/tls.h`, musl `arch/aarch64/pthread_arch.h`):
/// how far below it begins depends on the C library, is the same for all threads of a process, and is less than this. Nobody
/// else's can begin there, since each is at the end of a mapping of its thread.
pub const ID_WITHIN_BYTES: u64 =
    if cfg!(any(target_arch = "aarch64", bpf_target_arch = "aarch64")) { 4096 } else { 1 };

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
    pub interpreter: Addr,
    /// The word with `_status` (3.12+).
    pub status: u64,
}

/// `sizeof(PyThreadState)` is at most this on the versions with cframes.
pub(crate) const THREAD_STATE_BYTES: u64 = 512;

/// Interpreters that [`ThreadWalk::list`] looks through: more than a process has.
const MAX_INTERPRETERS: u32 = 4096;

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
    pub(crate) interpreter: Addr,
    next: Addr,
    pub(crate) best: ThreadState,
    /// A thread may run several interpreters, one inside the other, and only the C stack tells which runs now (up to 3.12).
    nested: bool,
    /// Ends of lists that [`ThreadWalk::list`] has come to.
    ends: u32,
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
    let id = memory.field(u32::from(layout.thread_thread_id));
    if thread_pointer.wrapping_sub(id) >= ID_WITHIN_BYTES {
        return Ok(None);
    }
    let state = read(memory, layout, address)?;
    Ok(Some((state, state.status & BOUND_GILSTATE != 0)))
}

/// The thread state at `address`, which has been loaded, whosever it is.
#[inline(always)]
pub(crate) fn read(memory: &mut impl Memory, layout: &Layout, address: Addr) -> Result<ThreadState, Fault> {
    let frame = Addr(memory.field(u32::from(layout.thread_frame)));
    let mut status = BOUND_GILSTATE;
    if layout.thread_status != ABSENT {
        status = memory.field(u32::from(layout.thread_status));
    }
    let interpreter = Addr(memory.field(u32::from(layout.thread_interp)));
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
    Ok(ThreadState { address, frame, leaf, datastack_top: top, datastack_limit: limit, interpreter, status })
}

/// The thread state at this address, whosever it is; with its thread pointer, and whether it is the thread's own or one of
/// several that the thread has.
#[cfg(feature = "host")]
pub fn state_at(
    memory: &mut impl Memory,
    layout: &Layout,
    address: Addr,
) -> Result<(ThreadState, u64, bool), Fault> {
    if address.is_null() || !address.is_aligned() {
        return Err(Fault);
    }
    memory.load(address, u32::from(layout.thread_span))?;
    let pointer = memory.field(u32::from(layout.thread_thread_id));
    match examine(memory, layout, address, pointer)? {
        Some((state, own)) => Ok((state, pointer, own)),
        None => Err(Fault),
    }
}

/// The thread state that holds the GIL, if that is this thread's and the runtime says so (3.11 and older). It is the one
/// that runs even where the thread has states in several interpreters, and it takes no walk to find.
#[inline(always)]
pub fn current(
    memory: &mut impl Memory,
    layout: &Layout,
    runtime: Addr,
    thread_pointer: u64,
) -> Result<Option<ThreadState>, Fault> {
    if layout.gil != GIL_CURRENT {
        return Ok(None);
    }
    let address = Addr(memory.word(runtime.offset(i64::from(layout.runtime_current) as u64))?);
    if address.is_null() || !address.is_aligned() {
        return Ok(None);
    }
    memory.load(address, u32::from(layout.thread_span))?;
    Ok(match examine(memory, layout, address, thread_pointer)? {
        Some((state, _)) if state.runs_python(layout) => Some(state),
        _ => None,
    })
}

/// Whether the thread holds the GIL; `None` where the runtime does not tell.
#[inline(always)]
pub fn holds_gil(
    memory: &mut impl Memory,
    layout: &Layout,
    runtime: Addr,
    state: &ThreadState,
) -> Option<bool> {
    match layout.gil {
        // Also of a thread that runs no Python code now, which `current` does not answer with.
        GIL_CURRENT => {
            let holder = memory.word(runtime.offset(i64::from(layout.runtime_current) as u64)).ok()?;
            Some(holder == state.address.0)
        }
        GIL_STATE => {
            let gil = memory.word(state.interpreter.offset(u64::from(layout.interpreter_gil))).ok()?;
            memory.load(Addr(gil).offset(u64::from(layout.gil_holder)), 16).ok()?;
            // `last_holder` stays when the GIL is let go; `locked` is an int.
            Some(memory.field(0) == state.address.0 && memory.field(8) as u32 == 1)
        }
        GIL_STATUS_BIT => Some(state.status & HOLDS_GIL != 0),
        GIL_FLAG => Some(state.status >> 32 != 0),
        _ => None,
    }
}

/// The number of the thread's interpreter: 0 for the main one.
#[inline(always)]
pub fn interpreter_id(memory: &mut impl Memory, layout: &Layout, state: &ThreadState) -> Option<u32> {
    if layout.interpreter_id == ABSENT_32 {
        return None;
    }
    memory.word(state.interpreter.offset(u64::from(layout.interpreter_id))).ok().map(|id| id as u32)
}

/// Whether the garbage collector runs in the thread's interpreter, and the frame in which it was triggered where that is
/// known, else NULL. Ask only for the thread that holds the GIL: a finalizer may let go of it.
#[inline(always)]
pub fn collects(memory: &mut impl Memory, layout: &Layout, state: &ThreadState) -> Option<Addr> {
    if layout.interpreter_gc_collecting == ABSENT_32 {
        return None;
    }
    let at = state.interpreter.offset(u64::from(layout.interpreter_gc_collecting));
    if memory.word(at).ok()? as u32 == 0 {
        return None;
    }
    if layout.interpreter_gc_frame == ABSENT_32 {
        return Some(Addr::NULL);
    }
    memory.word(state.interpreter.offset(u64::from(layout.interpreter_gc_frame))).ok().map(Addr)
}

/// Looks at a thread state that was the thread's before, with frames or without. Everything is checked again: the memory
/// may have been freed and re-used, and a thread pointer recurs with the next thread's stack.
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
    // `prev` stands right before `next` from 3.4 on; the neighbour must still point back. 2.7 has none.
    let previous = Addr(memory.field(u32::from(layout.thread_next).saturating_sub(8)));
    let interpreter = Addr(memory.field(u32::from(layout.thread_interp)));
    let Some((state, own)) = examine(memory, layout, address, thread_pointer)? else { return Ok(None) };
    if !own {
        return Ok(None);
    }
    if layout.thread_next == 0 {
        return Ok(Some(state));
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
        let mut walk = ThreadWalk::default();
        Ok(walk.start(memory, layout, runtime)?.then_some(walk))
    }

    /// The same for a walk that has its place already; `false` while there is no interpreter.
    #[inline(always)]
    pub fn start(&mut self, memory: &mut impl Memory, layout: &Layout, runtime: Addr) -> Result<bool, Fault> {
        let head = memory.word(runtime.offset(u64::from(layout.runtime_interpreters_head)))?;
        if head == 0 {
            return Ok(false);
        }
        let interpreter = Addr(head);
        let next = Addr(memory.word(interpreter.offset(u64::from(layout.interpreter_threads_head)))?);
        // New interpreters are at the head, and may have no thread states: while they are made, and from 3.13 on
        // whenever no thread runs them. Only if there is no other has the process not started.
        if next.is_null() && memory.word(interpreter.offset(u64::from(layout.interpreter_next)))? == 0 {
            return Ok(false);
        }
        // From 3.13 on a thread that runs an interpreter has a state there, and the state says whether it is the one that runs.
        let nested = (layout.has_thread_cframe() || layout.thread_status == ABSENT)
            && memory.word(interpreter.offset(u64::from(layout.interpreter_next)))? != 0;
        *self = ThreadWalk { interpreter, next, nested, ..ThreadWalk::default() };
        Ok(true)
    }

    /// The id of the thread whose state is the only one of the interpreter that the walk begins with.
    #[inline(always)]
    pub fn only_id(&self, memory: &mut impl Memory, layout: &Layout) -> Option<u64> {
        if self.next.is_null() || !self.next.is_aligned() {
            return None;
        }
        memory.load(self.next, u32::from(layout.thread_span)).ok()?;
        let is_only = memory.field(u32::from(layout.thread_next)) == 0;
        is_only.then(|| memory.field(u32::from(layout.thread_thread_id)))
    }

    /// Whether only the C stack tells which of several thread states runs: no hint can. See [`crate::nested`].
    #[inline(always)]
    pub fn is_nested(&self) -> bool {
        self.nested
    }

    /// Looks at one thread state. The caller bounds the number of steps.
    #[inline(always)]
    pub fn step(
        &mut self,
        memory: &mut impl Memory,
        layout: &Layout,
        thread_pointer: u64,
    ) -> Result<WalkStep, Fault> {
        let address = self.next;
        if address.is_null() {
            return self.turn(memory, layout);
        }
        self.advance(memory, layout)?;
        if let Some((state, own)) = examine(memory, layout, address, thread_pointer)? {
            if own && state.runs_python(layout) {
                // 3.11: stacks grow down, so the innermost interpreter has the lowest cframe. Without the C stack older
                // ones do not tell: the newest interpreter, which comes first, is the likeliest.
                let tells = self.nested && layout.cframe_current != ABSENT && layout.thread_status == ABSENT;
                if !tells || !self.best.runs_python(layout) || state.frame < self.best.frame {
                    self.best = state;
                }
                return Ok(if tells { WalkStep::More } else { WalkStep::Found });
            }
            if !self.best.runs_python(layout) {
                self.best = state;
            }
        }
        Ok(WalkStep::More)
    }

    /// From the end of a list to the next interpreter.
    #[inline(always)]
    pub(crate) fn turn(&mut self, memory: &mut impl Memory, layout: &Layout) -> Result<WalkStep, Fault> {
        if self.interpreter.is_null() {
            return Ok(WalkStep::End);
        }
        let next = memory.word(self.interpreter.offset(u64::from(layout.interpreter_next)))?;
        self.interpreter = Addr(next);
        if next == 0 {
            return Ok(WalkStep::End);
        }
        self.next = Addr(memory.word(self.interpreter.offset(u64::from(layout.interpreter_threads_head)))?);
        Ok(WalkStep::More)
    }

    /// Loads the thread state that comes next, if there is one, and turns to the one behind it.
    #[inline(always)]
    pub(crate) fn advance(&mut self, memory: &mut impl Memory, layout: &Layout) -> Result<Addr, Fault> {
        let address = self.next;
        if !address.is_aligned() {
            return Err(Fault);
        }
        if !address.is_null() {
            memory.load(address, u32::from(layout.thread_span))?;
            self.next = Addr(memory.field(u32::from(layout.thread_next)));
        }
        Ok(address)
    }

    /// The best match so far: NULL address when there was none.
    #[inline(always)]
    pub fn best(&self) -> ThreadState {
        self.best
    }

    /// The next thread state of any thread with its thread pointer, for who walks the whole list.
    pub fn list(&mut self, memory: &mut impl Memory, layout: &Layout) -> Result<Option<(Addr, u64)>, Fault> {
        // Bounded: interpreters without threads may link to each other, and the caller only counts threads.
        while self.ends < MAX_INTERPRETERS {
            let address = self.next;
            if address.is_null() {
                self.ends += 1;
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
