//! The frame walk, one frame per [`Walk::step`]: who calls it decides how often (`bpf_loop`, a bounded `for`, a test).
//!
//! The thread is stopped while it is read, but the interrupt may fall between two stores of the interpreter. On 3.11
//! and 3.12 `tstate->cframe` is published before the new cframe's `current_frame` is filled (`Python/ceval.c`,
//! `_PyEval_EvalFrameDefault`), so the leaf may be left over from an earlier call. Two facts tell: a leaf on the data
//! stack lies below its top, and the frame through which C entered links to `cframe->previous->current_frame`. Where
//! either fails, the thread's true leaf is `cframe->previous->current_frame`: the new frame does not run yet.

use crate::code;
use crate::layout::{ABSENT, FRAME_HEAP, INSTR_BYTES, INSTR_UNITS, Layout, NO_SHIM};
use crate::memory::FrameSink;
use crate::thread::ThreadState;
use crate::{Addr, Fault, Memory, Outcome};

/// `FRAME_OWNED_BY_THREAD` (`Include/internal/pycore_frame.h`, 3.11+): the frame lies on the data stack.
const OWNED_BY_THREAD: u8 = 0;

/// Frames further apart than this do not share a window.
const WINDOW_BYTES: u64 = 4096;

/// An index that stands for an instruction pointer outside the code object.
pub const INDEX_UNKNOWN: i32 = i32::MAX;

#[derive(Clone, Copy, Debug, Default)]
pub struct Walk {
    next: Addr,
    /// The data-stack frame read last: its neighbours are worth reading with it.
    last_on_datastack: Addr,
    /// What the entry frame of the topmost evaluation must link to; NULL once settled.
    expected: Addr,
    settled: bool,
    /// Whether the frame read last can be the root of a stack.
    can_be_root: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    More,
    Done(Outcome),
}

impl Walk {
    /// Starts at the leaf of a thread state.
    #[inline(always)]
    pub fn begin(memory: &mut impl Memory, layout: &Layout, thread: &ThreadState) -> Result<Walk, Fault> {
        let mut walk = Walk {
            next: thread.leaf,
            last_on_datastack: Addr::NULL,
            expected: Addr::NULL,
            settled: true,
            can_be_root: layout.frame_kind == FRAME_HEAP,
        };
        if layout.cframe_previous != ABSENT {
            let previous = Addr(memory.word(thread.frame.offset(u64::from(layout.cframe_previous)))?);
            // The root cframe is part of the thread state and is never half-written.
            if !previous.is_null() {
                walk.expected = Addr(memory.word(previous.offset(u64::from(layout.cframe_current)))?);
                walk.settled = false;
                if thread.leaf >= thread.datastack_top && thread.leaf < thread.datastack_limit {
                    walk.restart();
                }
            }
        }
        Ok(walk)
    }

    /// Goes on from the last settled evaluation.
    #[inline(always)]
    fn restart(&mut self) {
        self.next = self.expected;
        self.settled = true;
        self.can_be_root = false;
    }

    /// Whether nothing is left to read.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.next.is_null()
    }

    /// Reads one frame and pushes it, or says how the stack ended.
    #[inline(always)]
    pub fn step(
        &mut self,
        memory: &mut impl Memory,
        layout: &Layout,
        sink: &mut impl FrameSink,
    ) -> Progress {
        match self.try_step(memory, layout, sink) {
            Ok(progress) => progress,
            Err(Fault) if self.settled => Progress::Done(Outcome::Unreadable),
            Err(Fault) => {
                // A leaf that is not settled may be anything; the evaluation below it is sound.
                sink.clear();
                self.restart();
                Progress::More
            }
        }
    }

    #[inline(always)]
    fn try_step(
        &mut self,
        memory: &mut impl Memory,
        layout: &Layout,
        sink: &mut impl FrameSink,
    ) -> Result<Progress, Fault> {
        let at = self.next;
        if at.is_null() {
            if !self.settled {
                sink.clear();
                self.restart();
                return Ok(Progress::More);
            }
            return Ok(Progress::Done(if self.can_be_root { Outcome::Complete } else { Outcome::Torn }));
        }
        if !at.is_aligned() {
            return Err(Fault);
        }
        let start = u32::from(layout.frame_start);
        let apart = self.last_on_datastack.0.wrapping_sub(at.0);
        memory.load_frame(
            at.offset(u64::from(start)),
            u32::from(layout.frame_span),
            layout.frame_kind != FRAME_HEAP && apart < WINDOW_BYTES,
        )?;
        let word = |memory: &_, offset: u16| {
            Memory::frame_field(memory, u32::from(offset & !7).wrapping_sub(start))
        };
        let byte = |memory: &_, offset: u16| (word(memory, offset) >> ((offset & 7) * 8)) as u8;

        let back = Addr(word(memory, layout.frame_back));
        if back == at {
            return Ok(Progress::Done(Outcome::Torn));
        }
        let mut owner = NO_SHIM;
        if layout.frame_kind != FRAME_HEAP {
            owner = byte(memory, layout.frame_owner);
            if owner == OWNED_BY_THREAD {
                self.last_on_datastack = at;
            }
            let shim = layout.shim_owner != NO_SHIM && owner >= layout.shim_owner;
            let entry = if layout.frame_is_entry == ABSENT {
                shim
            } else {
                byte(memory, layout.frame_is_entry) != 0
            };
            self.can_be_root = entry;
            if entry && !self.settled {
                if back != self.expected {
                    sink.clear();
                    self.restart();
                    return Ok(Progress::More);
                }
                self.settled = true;
            }
            if shim {
                self.next = back;
                return Ok(Progress::More);
            }
        }
        let code = Addr(word(memory, layout.frame_code));
        let instr = word(memory, layout.frame_instr);
        let check = match sink.recall(code) {
            Some(check) => check,
            None => {
                let check = code::check(memory, layout, code)?;
                sink.remember(code, check);
                check
            }
        };
        let _ = owner;
        self.next = back;
        if !check.phantom {
            let index = index(layout, code, instr);
            if !sink.push(code, check, index) {
                return Ok(Progress::Done(Outcome::Truncated));
            }
        }
        Ok(Progress::More)
    }
}

/// The instruction index in code units, on every version.
#[inline(always)]
fn index(layout: &Layout, code: Addr, instr: u64) -> i32 {
    if layout.instr_unit == INSTR_BYTES {
        let lasti = (instr >> ((layout.frame_instr & 7) * 8)) as i32;
        return lasti >> 1;
    }
    if layout.instr_unit == INSTR_UNITS {
        return (instr >> ((layout.frame_instr & 7) * 8)) as i32;
    }
    let start = code.offset(u64::from(layout.code_instructions));
    let units = (instr.wrapping_sub(start.0) as i64) >> 1;
    if (-1..i64::from(INDEX_UNKNOWN)).contains(&units) { units as i32 } else { INDEX_UNKNOWN }
}
