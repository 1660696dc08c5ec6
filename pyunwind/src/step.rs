//! The frame walk, one frame per [`Walk::step`]: who calls it decides how often (`bpf_loop`, a bounded `for`, a test).
//!
//! The thread is stopped while it is read, but the interrupt may fall between two stores of the interpreter. On 3.11
//! and 3.12 `tstate->cframe` is published before the new cframe is filled (`Python/ceval.c`, `_PyEval_EvalFrameDefault`;
//! compilers move both of its pointers behind the publication), so its contents may be left over from an earlier call.
//! What tells is the link of the frame through which C entered: it must be `cframe->previous->current_frame`. Where it
//! is not, the new frame does not run yet and the thread's leaf is that of the previous cframe, if that is one: from
//! there on every entry frame is held against the chain of cframes, down to its root, and a stack that contradicts it is
//! torn. A torn stack may be started over from a frame or cframe that a register holds, under the same checks.
//! A leaf at or above the top of the data stack has just been popped: it is left out, its link is good.

use crate::code;
use crate::layout::{ABSENT, FRAME_HEAP, INSTR_BYTES, INSTR_ODD_BYTES, INSTR_UNITS, Layout, NO_SHIM};
use crate::memory::FrameSink;
use crate::thread::{THREAD_STATE_BYTES, ThreadState};
use crate::{Addr, Fault, Memory, Outcome};

/// `FRAME_OWNED_BY_THREAD` (`Include/internal/pycore_frame.h`, 3.11+): the frame lies on the data stack.
const OWNED_BY_THREAD: u8 = 0;

/// Frames further apart than this do not share a window.
const WINDOW_BYTES: u64 = 4096;

/// How far two neighbouring cframes lie apart: at least the rest of `_PyEval_EvalFrameDefault`'s own frame, which also
/// holds the shim of 3.12, and at most what C code in between may reasonably take.
const CFRAMES_APART: core::ops::Range<u64> = 0x100..0x10_0000;

/// The index of a frame that has been pushed and has not begun (3.12 and older).
const NOT_BEGUN: i32 = -1;

/// An index that stands for an instruction pointer outside the code object.
pub const INDEX_UNKNOWN: i32 = i32::MAX;

/// How far the chain of cframes is still in doubt.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Doubt {
    /// Nothing to check, or all checked.
    #[default]
    None,
    /// The topmost cframe may not be filled yet.
    Leaf,
    /// The topmost cframe was not filled: every link is checked.
    Everything,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Walk {
    next: Addr,
    /// The data-stack frame read last: its neighbours are worth reading with it.
    last_on_datastack: Addr,
    /// The thread state, which holds the root cframe.
    thread: Addr,
    /// The cframe below the one whose frames are being read.
    cframe: Addr,
    /// What the next entry frame must link to: `cframe->current_frame`.
    expected: Addr,
    doubt: Doubt,
    /// Nobody says that the leaf runs: see [`Walk::held_by`].
    unvouched: bool,
    /// The leaf has just been popped: its link is good, it itself no longer runs.
    skip_leaf: bool,
    /// A code object could not be read while the leaf is in doubt: no frames are pushed from there on, only links
    /// followed, until they show whether these frames are the thread's.
    unreadable: bool,
    /// Whether the frame read last can be the root of a stack.
    can_be_root: bool,
    /// The frame in which the collection that runs was triggered, if that is known.
    collector: Addr,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    More,
    Done(Outcome),
}

/// What one frame told.
enum Verdict {
    Go(Progress),
    /// The links between frames, or between frames and cframes, do not fit.
    Contradiction,
}

impl Walk {
    /// Starts at the leaf of a thread state.
    #[inline(always)]
    pub fn begin(memory: &mut impl Memory, layout: &Layout, thread: &ThreadState) -> Result<Walk, Fault> {
        let mut walk =
            Walk { next: thread.leaf, can_be_root: layout.frame_kind == FRAME_HEAP, ..Walk::default() };
        if layout.cframe_previous != ABSENT {
            walk.thread = thread.address;
            walk.cframe = thread.frame;
            walk.descend(memory, layout)?;
            if !walk.cframe.is_null() {
                walk.doubt = Doubt::Leaf;
                walk.skip_leaf = thread.leaf >= thread.datastack_top && thread.leaf < thread.datastack_limit;
            }
        }
        Ok(walk)
    }

    /// Tells which addresses the interpreter may hold its running frame at: registers that survive calls. A call that is
    /// inlined stores the new frame as the leaf before it links it to its caller (3.11, `Python/ceval.c`, the calls of
    /// `_PyEvalFramePushAndInit`; compilers reorder the two stores), and takes it into that register afterwards: a
    /// leaf that has not begun, and that no register holds, has a link of an earlier call.
    #[inline(always)]
    pub fn held_by(self, thread: &ThreadState, registers: [Addr; 2]) -> Walk {
        let [first, second] = registers;
        Walk { unvouched: first != thread.leaf && second != thread.leaf, ..self }
    }

    /// Has the frame marked in which the running collection was triggered (3.15+, `gc.frame`).
    #[inline(always)]
    pub fn collected_in(self, frame: Addr) -> Walk {
        Walk { collector: frame, ..self }
    }

    /// Starts over from what may be the running frame, found elsewhere than in the topmost cframe: the interpreter
    /// keeps it in a register, also where it has stored a frame that is not linked yet. Every link is checked.
    #[inline(always)]
    pub fn retry_frame(
        memory: &mut impl Memory,
        layout: &Layout,
        thread: &ThreadState,
        frame: Addr,
    ) -> Result<Walk, Fault> {
        let mut walk = Walk {
            next: frame,
            thread: thread.address,
            cframe: thread.frame,
            doubt: Doubt::Everything,
            ..Walk::default()
        };
        walk.descend(memory, layout)?;
        Ok(walk)
    }

    /// Starts over from what may be the cframe below the topmost one, found elsewhere than in the topmost: while that
    /// is being filled the interpreter holds the address in a register. Nothing is trusted.
    #[inline(always)]
    pub fn retry_cframe(
        memory: &mut impl Memory,
        layout: &Layout,
        thread: &ThreadState,
        cframe: Addr,
    ) -> Result<Walk, Fault> {
        let mut walk = Walk { thread: thread.address, cframe, ..Walk::default() };
        walk.expected = Addr(memory.word(cframe.offset(u64::from(layout.cframe_current)))?);
        walk.restart(memory, layout)?;
        Ok(walk)
    }

    /// Whether `candidate` can be a frame other than the leaf that did not lead to the root.
    #[inline(always)]
    pub fn is_frame(layout: &Layout, thread: &ThreadState, candidate: Addr) -> bool {
        layout.cframe_previous != ABSENT
            && candidate.is_aligned()
            && !candidate.is_null()
            && candidate != thread.leaf
    }

    /// Whether `candidate` can be the cframe below the topmost one: further up the C stack, in another function's frame.
    #[inline(always)]
    pub fn is_cframe_above(layout: &Layout, thread: &ThreadState, candidate: Addr) -> bool {
        let apart = candidate.0.wrapping_sub(thread.frame.0);
        layout.cframe_previous != ABSENT && candidate.is_aligned() && CFRAMES_APART.contains(&apart)
    }

    /// Goes one cframe down.
    #[inline(always)]
    fn descend(&mut self, memory: &mut impl Memory, layout: &Layout) -> Result<(), Fault> {
        let below = Addr(memory.word(self.cframe.offset(u64::from(layout.cframe_previous)))?);
        self.expected = Addr::NULL;
        if !below.is_null() {
            self.expected = Addr(memory.word(below.offset(u64::from(layout.cframe_current)))?);
        } else if self.cframe.0.wrapping_sub(self.thread.0) >= THREAD_STATE_BYTES {
            // Only the root cframe, a part of the thread state that is never half-written, has none below it.
            return Err(Fault);
        }
        self.cframe = below;
        Ok(())
    }

    /// Goes on from the cframe below the topmost one, trusting nothing.
    #[inline(always)]
    fn restart(&mut self, memory: &mut impl Memory, layout: &Layout) -> Result<(), Fault> {
        self.next = self.expected;
        self.skip_leaf = false;
        self.unreadable = false;
        self.doubt = Doubt::Everything;
        // No frames at all would mean that the thread's very first evaluation is being set up; a leftover that points
        // at the root cframe is more common by far.
        self.can_be_root = false;
        self.descend(memory, layout)
    }

    /// Reads one frame and pushes it, or says how the stack ended.
    #[inline(always)]
    pub fn step(&mut self, memory: &mut impl Memory, layout: &Layout, sink: &mut impl FrameSink) -> Progress {
        match self.try_step(memory, layout, sink) {
            Ok(Verdict::Go(progress)) => return progress,
            // A leaf in doubt may be anything.
            Ok(Verdict::Contradiction) | Err(Fault) if self.doubt == Doubt::Leaf => {}
            // From here on nothing vouches for what was read.
            Ok(Verdict::Contradiction) | Err(Fault) if self.doubt == Doubt::Everything => {
                sink.clear();
                return Progress::Done(Outcome::Torn);
            }
            Ok(Verdict::Contradiction) => return Progress::Done(Outcome::Torn),
            Err(Fault) => return Progress::Done(Outcome::Unreadable),
        }
        sink.clear();
        match self.restart(memory, layout) {
            Ok(()) => Progress::More,
            Err(Fault) => Progress::Done(Outcome::Torn),
        }
    }

    #[inline(always)]
    fn try_step(
        &mut self,
        memory: &mut impl Memory,
        layout: &Layout,
        sink: &mut impl FrameSink,
    ) -> Result<Verdict, Fault> {
        let at = self.next;
        if at.is_null() {
            let whole = match self.doubt {
                Doubt::None => self.can_be_root,
                // The chain ended before any entry frame.
                Doubt::Leaf => false,
                Doubt::Everything => self.can_be_root && self.cframe.is_null(),
            };
            return Ok(if whole {
                Verdict::Go(Progress::Done(Outcome::Complete))
            } else {
                Verdict::Contradiction
            });
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
        let word =
            |memory: &_, offset: u16| Memory::frame_field(memory, u32::from(offset & !7).wrapping_sub(start));
        let byte = |memory: &_, offset: u16| (word(memory, offset) >> ((offset & 7) * 8)) as u8;

        let back = Addr(word(memory, layout.frame_back));
        if back == at {
            return Ok(Verdict::Contradiction);
        }
        if layout.frame_kind != FRAME_HEAP {
            let owner = byte(memory, layout.frame_owner);
            if owner == OWNED_BY_THREAD {
                self.last_on_datastack = at;
            }
            let shim = layout.shim_owner != NO_SHIM && owner >= layout.shim_owner;
            let entry =
                if layout.frame_is_entry == ABSENT { shim } else { byte(memory, layout.frame_is_entry) != 0 };
            self.can_be_root = entry;
            if entry && self.doubt != Doubt::None {
                if back != self.expected {
                    return Ok(Verdict::Contradiction);
                }
                if self.doubt == Doubt::Leaf {
                    self.doubt = Doubt::None;
                    if self.unreadable {
                        return Ok(Verdict::Go(Progress::Done(Outcome::Unreadable)));
                    }
                } else if !self.cframe.is_null() {
                    self.descend(memory, layout)?;
                }
            }
            if shim {
                self.next = back;
                return Ok(Verdict::Go(Progress::More));
            }
        }
        if self.skip_leaf || self.unreadable {
            self.skip_leaf = false;
            self.next = back;
            return Ok(Verdict::Go(Progress::More));
        }
        let code = Addr(word(memory, layout.frame_code) & !u64::from(layout.frame_code_tag));
        let instr = word(memory, layout.frame_instr);
        let mut index = index(layout, code, instr);
        let mut copy = 0;
        if layout.frame_tlbc_index != ABSENT {
            copy = (word(memory, layout.frame_tlbc_index) >> ((layout.frame_tlbc_index & 7) * 8)) as u32;
        }
        if self.unvouched {
            self.unvouched = false;
            if self.doubt == Doubt::Leaf && index == NOT_BEGUN {
                sink.clear();
                return Ok(Verdict::Go(Progress::Done(Outcome::Torn)));
            }
        }
        let check = match sink.recall(code) {
            Some(check) => check,
            None => match code::check(memory, layout, code, copy) {
                Ok(check) => {
                    sink.remember(code, check);
                    check
                }
                Err(Fault) if self.doubt == Doubt::Leaf => {
                    self.unreadable = true;
                    self.next = back;
                    return Ok(Verdict::Go(Progress::More));
                }
                Err(Fault) => return Err(Fault),
            },
        };
        self.next = back;
        if layout.frame_tlbc_index != ABSENT {
            // A generator that another thread ran before has that thread's copy until it is resumed.
            let start = if check.copy == copy {
                check.start
            } else {
                code::instructions(memory, layout, code, copy)?
            };
            index = units(start, instr);
        }
        if at == self.collector {
            sink.collector();
        }
        if !check.phantom && !sink.push(code, check, index) {
            return Ok(Verdict::Go(Progress::Done(Outcome::Truncated)));
        }
        Ok(Verdict::Go(Progress::More))
    }
}

/// The instruction index in code units, on every version that has them (2.7: in bytes).
#[inline(always)]
fn index(layout: &Layout, code: Addr, instr: u64) -> i32 {
    if layout.instr_unit == INSTR_BYTES {
        let lasti = (instr >> ((layout.frame_instr & 7) * 8)) as i32;
        return lasti >> 1;
    }
    if layout.instr_unit == INSTR_UNITS || layout.instr_unit == INSTR_ODD_BYTES {
        return (instr >> ((layout.frame_instr & 7) * 8)) as i32;
    }
    units(code.offset(u64::from(layout.code_instructions)), instr)
}

/// The instruction that a pointer stands at, in code units from where the bytecode begins.
#[inline(always)]
fn units(start: Addr, instr: u64) -> i32 {
    let units = (instr.wrapping_sub(start.0) as i64) >> 1;
    if (-1..i64::from(INDEX_UNKNOWN)).contains(&units) { units as i32 } else { INDEX_UNKNOWN }
}
