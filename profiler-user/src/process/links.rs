//! Whether a layout fits what is in the memory of a process: the first links that every version has, and which thread states
//! have frames.

use std::time::Duration;

use pyunwind::thread::{ThreadState, ThreadWalk};
use pyunwind::{Addr, Fault, Layout, Memory};

use super::memory::ProcessMemory;

/// How often the first links of the runtime are tried before they count as wrong: a thread may be coming up.
const VALIDATION_TRIES: usize = 3;
const VALIDATION_PAUSE: Duration = Duration::from_millis(2);
/// Thread states that are looked at to tell which of two interpreters works.
const MAX_THREADS: usize = 256;
/// Interpreters without a thread that are passed in a row: more than a process has.
const MAX_IDLE_INTERPRETERS: usize = 1024;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum State {
    /// What the layout leads to is not a thread.
    Mismatch,
    NotYet,
    Initialized,
}

/// Follows the first links that every version has: runtime -> interpreter -> thread -> interpreter.
pub(super) fn validate(memory: &mut impl Memory, layout: &Layout, runtime: Addr) -> State {
    let mut state = State::NotYet;
    for attempt in 0..VALIDATION_TRIES {
        if attempt != 0 {
            std::thread::sleep(VALIDATION_PAUSE);
        }
        state = links(memory, layout, runtime).unwrap_or(State::Mismatch);
        if state != State::Mismatch {
            break;
        }
    }
    state
}

fn links(memory: &mut impl Memory, layout: &Layout, runtime: Addr) -> Result<State, Fault> {
    let mut link = |at: Addr, offset: u64| memory.word(at.offset(offset)).map(Addr);
    let mut interpreter = link(runtime, u64::from(layout.runtime_interpreters_head))?;
    let mut thread = Addr::NULL;
    // New interpreters are at the head, and from 3.13 on have no thread unless one runs them.
    for _ in 0..MAX_IDLE_INTERPRETERS {
        if interpreter.is_null() {
            return Ok(State::NotYet);
        }
        thread = link(interpreter, u64::from(layout.interpreter_threads_head))?;
        if !thread.is_null() {
            break;
        }
        interpreter = link(interpreter, u64::from(layout.interpreter_next))?;
    }
    if thread.is_null() {
        return Ok(State::NotYet);
    }
    let back = link(thread, u64::from(layout.thread_interp))?;
    let thread_id = link(thread, u64::from(layout.thread_thread_id))?;
    let plausible = interpreter.is_aligned() && thread.is_aligned() && thread_id.0 < 1 << 56;
    // 3.12+ binds a thread state to its thread after linking it: 0 is no contradiction.
    Ok(if plausible && back == interpreter { State::Initialized } else { State::Mismatch })
}

/// Whether the runtime at this address has a thread state now. A fault where the memory, or the process, is gone.
pub fn is_started(task: u32, layout: &Layout, runtime: Addr) -> Result<bool, Fault> {
    links(&mut ProcessMemory::new(task), layout, runtime).map(|state| state == State::Initialized)
}

/// Thread states with Python frames, as far as they are looked at.
pub(super) fn busy_threads(memory: &mut impl Memory, layout: &Layout, runtime: Addr) -> usize {
    let Ok(Some(mut walk)) = ThreadWalk::begin(memory, layout, runtime) else { return 0 };
    let mut busy = 0;
    for _ in 0..MAX_THREADS {
        let Ok(Some((address, _))) = walk.list(memory, layout) else { break };
        let frame = Addr(memory.field(u32::from(layout.thread_frame)));
        let thread = ThreadState { address, frame, leaf: frame, ..ThreadState::default() };
        busy += usize::from(thread.runs_python(layout));
    }
    busy
}
