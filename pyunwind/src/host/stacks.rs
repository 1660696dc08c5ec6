//! Whole stacks for whoever wants to see all threads at once: the same walk as in the kernel, over memory that nobody
//! holds still. What was read is one stack that existed only if the thread did not run meanwhile: the caller has to know.

use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::vec::Vec;

use super::code_object::CodeObject;
use crate::code::{self, CodeCheck};
use crate::layout::ABSENT_32;
use crate::step::{Progress, Walk};
use crate::thread::{THREAD_STATE_BYTES, ThreadState, ThreadWalk, collects, holds_gil};
use crate::{Addr, Fault, FrameSink, Layout, Memory, Outcome};

/// One frame of a stack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame {
    /// The frame itself, where its local variables are.
    pub at: Addr,
    pub code: Addr,
    pub identity: u32,
    pub index: i32,
}

/// The frames of a thread state, leaf first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stack {
    pub frames: Vec<Frame>,
    pub outcome: Outcome,
    /// The garbage collector runs, called from the frame with this number (0 where nobody tells from which).
    pub collector: Option<usize>,
    /// Whether the thread holds the GIL, where the runtime tells.
    pub holds_gil: Option<bool>,
}

/// All thread states with their thread pointers, newest first, at most `most`; and whether that is the whole list.
pub fn thread_states(
    memory: &mut impl Memory,
    layout: &Layout,
    runtime: Addr,
    most: usize,
) -> (Vec<(Addr, u64)>, bool) {
    let mut states = Vec::new();
    let Ok(Some(mut walk)) = ThreadWalk::begin(memory, layout, runtime) else { return (states, true) };
    while states.len() < most {
        match walk.list(memory, layout) {
            Ok(Some(state)) => states.push(state),
            Ok(None) => return (states, true),
            // A thread went while its state was looked at.
            Err(Fault) => break,
        }
    }
    (states, false)
}

/// Walks the frames of a thread state, at most `most`: the leaf side is kept.
pub fn stack(
    memory: &mut impl Memory,
    layout: &Layout,
    runtime: Addr,
    state: &ThreadState,
    most: usize,
) -> Stack {
    let holds_gil = holds_gil(memory, layout, runtime, state);
    let triggered = if holds_gil == Some(true) { collects(memory, layout, state) } else { None };
    let mut sink = Sink { frames: Vec::new(), collector: None, most };
    if !state.runs_python(layout) {
        return Stack { frames: sink.frames, outcome: Outcome::Native, collector: None, holds_gil };
    }
    let outcome = walk(memory, layout, state, triggered, &mut sink);
    let outcome = match outcome {
        Outcome::Complete if sink.frames.is_empty() => Outcome::Native,
        outcome => outcome,
    };
    let collector = if triggered == Some(Addr::NULL) { Some(0) } else { sink.collector };
    Stack { frames: sink.frames, outcome, collector, holds_gil }
}

fn walk(
    memory: &mut impl Memory,
    layout: &Layout,
    state: &ThreadState,
    triggered: Option<Addr>,
    sink: &mut Sink,
) -> Outcome {
    // No registers are known: a leaf that only they could vouch for is torn.
    let Ok(walk) = Walk::begin(memory, layout, state) else { return Outcome::Torn };
    let mut walk = walk.held_by(state, [Addr::NULL; 2]);
    if let Some(frame) = triggered {
        walk = walk.collected_in(frame);
    }
    // As many shims as frames, and one restart.
    for _ in 0..3 * sink.most.saturating_add(1) {
        let mut noting = Noting { memory: &mut *memory, frame: Addr::NULL };
        // A step reads one frame, and pushes no other.
        let before = sink.frames.len();
        let progress = walk.step(&mut noting, layout, sink);
        let at = Addr(noting.frame.0.wrapping_sub(layout.frame_start.into()));
        if let Some(frame) = sink.frames.get_mut(before) {
            frame.at = at;
        }
        if let Progress::Done(outcome) = progress {
            return outcome;
        }
    }
    Outcome::Truncated
}

struct Sink {
    frames: Vec<Frame>,
    collector: Option<usize>,
    most: usize,
}

impl FrameSink for Sink {
    fn push(&mut self, code: Addr, check: CodeCheck, index: i32) -> bool {
        if self.frames.len() >= self.most {
            return false;
        }
        self.frames.push(Frame { at: Addr::NULL, code, identity: check.identity, index });
        true
    }

    fn collector(&mut self) {
        self.collector = Some(self.frames.len());
    }

    fn clear(&mut self) {
        self.frames.clear();
        self.collector = None;
    }

    fn recall(&self, _: Addr) -> Option<CodeCheck> {
        None
    }

    fn remember(&mut self, _: Addr, _: CodeCheck) {}
}

/// Memory that knows which frame was read last: a walk does not tell its sink where frames are.
struct Noting<'a, M> {
    memory: &'a mut M,
    frame: Addr,
}

impl<M: Memory> Memory for Noting<'_, M> {
    fn word(&mut self, at: Addr) -> Result<u64, Fault> {
        self.memory.word(at)
    }

    fn load(&mut self, at: Addr, len: u32) -> Result<(), Fault> {
        self.memory.load(at, len)
    }

    fn field(&self, offset: u32) -> u64 {
        self.memory.field(offset)
    }

    fn load_frame(&mut self, at: Addr, len: u32, contiguous: bool) -> Result<(), Fault> {
        self.frame = at;
        self.memory.load_frame(at, len, contiguous)
    }

    fn frame_field(&self, offset: u32) -> u64 {
        self.memory.frame_field(offset)
    }
}

/// Code objects read so far, by address and identity.
#[derive(Default)]
pub struct Codes(BTreeMap<(u64, u32), Rc<CodeObject>>);

impl Codes {
    /// The code object of a frame, if it is still the one that was seen in the walk.
    pub fn of(&mut self, memory: &mut impl Memory, layout: &Layout, frame: &Frame) -> Option<Rc<CodeObject>> {
        let key = (frame.code.0, frame.identity);
        if let Some(code) = self.0.get(&key) {
            return Some(Rc::clone(code));
        }
        let code = CodeObject::read(memory, layout, frame.code).ok()?;
        let check = code::check(memory, layout, frame.code, 0).ok()?;
        if check.identity != frame.identity {
            return None;
        }
        let code = Rc::new(code);
        self.0.insert(key, Rc::clone(&code));
        Some(code)
    }
}

/// `sizeof(struct _gil_runtime_state)`, with room to grow (`Include/internal/pycore_gil.h`).
const GIL_BYTES: u64 = 512;

/// Where the locks of the GIL are that a thread state waits for: a thread that sleeps on a futex in there waits for the GIL.
/// From 3.12 on each interpreter may have its own; up to 3.11 it is a part of the runtime, in front of what is known of it
/// (`Include/internal/pycore_runtime.h`).
pub fn gil_locks(
    memory: &mut impl Memory,
    layout: &Layout,
    runtime: Addr,
    state: &ThreadState,
) -> Option<core::ops::Range<u64>> {
    use crate::layout::{GIL_CURRENT, GIL_FLAG, GIL_STATE, GIL_STATUS_BIT};
    /// `interpreter_state.ceval_gil` in `_Py_DebugOffsets` of 3.13 and of 3.14.
    const CEVAL_GIL: [u64; 2] = [112, 120];
    let offset = match layout.gil {
        GIL_CURRENT if layout.minor >= 7 => {
            let end = runtime.0.checked_add(u64::try_from(layout.runtime_current).ok()?)?;
            return Some(runtime.0..end);
        }
        GIL_STATE if layout.interpreter_gil != ABSENT_32 => u64::from(layout.interpreter_gil),
        GIL_STATUS_BIT => memory.word(runtime.offset(CEVAL_GIL[0])).ok()?,
        GIL_FLAG => memory.word(runtime.offset(CEVAL_GIL[1])).ok()?,
        _ => return None,
    };
    if !offset.is_multiple_of(8) || offset > 1 << 24 {
        return None;
    }
    let gil = memory.word(state.interpreter.offset(offset)).ok()?;
    (gil != 0).then(|| gil..gil.saturating_add(GIL_BYTES))
}

/// Which of these thread states run, and where on a C stack, on the versions on which that is needed to tell whose they are: a
/// process with several interpreters, up to 3.12. See [`crate::nested`]. From 3.10 on the cframe tells; before, the stacks that
/// end at `stack_pointers` are searched: those of threads that do not run now.
pub fn places(
    memory: &mut impl Memory,
    layout: &Layout,
    runtime: Addr,
    states: &[(Addr, u64)],
    stack_pointers: impl FnOnce() -> Vec<u64>,
) -> Vec<(Addr, Addr)> {
    let nested = matches!(ThreadWalk::begin(memory, layout, runtime), Ok(Some(walk)) if walk.is_nested());
    if !nested {
        return Vec::new();
    }
    if layout.has_thread_cframe() {
        let running = |(state, _): &(Addr, u64)| Some((*state, cframe(memory, layout, *state)?));
        return states.iter().filter_map(running).collect();
    }
    let mut frames = BTreeMap::new();
    for (state, _) in states {
        match memory.word(state.offset(u64::from(layout.thread_frame))) {
            Ok(frame) if frame != 0 => drop(frames.insert(frame, *state)),
            _ => {}
        }
    }
    let mut found = BTreeMap::<Addr, Vec<Addr>>::new();
    for pointer in stack_pointers().into_iter().take(MAX_SEARCHED_STACKS) {
        let mut here = BTreeMap::new();
        search(memory, Addr(pointer), |at, word| {
            if let Some(state) = frames.get(&word) {
                here.entry(*state).or_insert(at);
            }
        });
        here.into_iter().for_each(|(state, at)| found.entry(state).or_default().push(at));
    }
    // What is on two stacks was left over on one of them.
    found
        .into_iter()
        .filter(|(_, places)| places.len() == 1)
        .map(|(state, places)| (state, places[0]))
        .collect()
}

/// Threads whose stacks are searched.
const MAX_SEARCHED_STACKS: usize = 1024;
/// Of each; bytes.
const SEARCHED_BYTES: u64 = 1 << 14;
const AT_ONCE: u32 = 504;

/// The words of a C stack from its end on, as far as there are any.
fn search(memory: &mut impl Memory, stack_pointer: Addr, mut see: impl FnMut(Addr, u64)) {
    let begin = stack_pointer.0 & !7;
    for at in (begin..begin.saturating_add(SEARCHED_BYTES)).step_by(AT_ONCE as usize) {
        if memory.load(Addr(at), AT_ONCE).is_err() {
            return;
        }
        for offset in (0..AT_ONCE).step_by(8) {
            see(Addr(at + u64::from(offset)), memory.field(offset));
        }
    }
}

/// Where on a C stack the innermost evaluation of a thread state is, if it runs and the version says that.
pub fn cframe(memory: &mut impl Memory, layout: &Layout, state: Addr) -> Option<Addr> {
    if !layout.has_thread_cframe() {
        return None;
    }
    let cframe = Addr(memory.word(state.offset(u64::from(layout.thread_cframe))).ok()?);
    // The root cframe is a part of the thread state.
    (cframe.0.wrapping_sub(state.0) >= THREAD_STATE_BYTES).then_some(cframe)
}
