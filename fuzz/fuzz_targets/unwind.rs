//! Thread lookup and frame walk over the memory of a hostile process: what the BPF program does with it.
#![no_main]

use profiler_common::limits::{MAX_FRAMES, MAX_THREAD_STEPS, MAX_WALK_STEPS};
use pyprof_fuzz::memory::Reader;
use pyprof_fuzz::processes::Process;
use pyprof_fuzz::{process_target, snapshots};
use pyunwind::code::CodeCheck;
use pyunwind::nested::Nested;
use pyunwind::step::{Progress, Walk};
use pyunwind::thread::{self, ThreadState, ThreadWalk, WalkStep};
use pyunwind::{Addr, Fault, FrameSink, Layout, Outcome};

process_target!(seeds, check);

/// A thread state and its cframe, or the next interpreter, whether it is the last, and its list.
const READS_PER_THREAD: u64 = 3;
/// A frame; its code object, the name's hash, the copies of the bytecode and one of them; a cframe and its frame, and the
/// same once more where the walk starts over.
const READS_PER_STEP: u64 = 9;
/// The lookups that take no walk: two states, the holder of the GIL, the interpreter, the collector.
const READS_OF_QUESTIONS: u64 = 16;
/// `list` follows interpreters without threads, 4096 of them over a whole walk.
const READS_OF_LIST: u64 = 3 * 4096;
const LISTED: u64 = 1000;
const MOST_READS: u64 = 4 * (READS_OF_QUESTIONS + MAX_THREAD_STEPS as u64 * READS_PER_THREAD)
    + 4 * MAX_WALK_STEPS as u64 * READS_PER_STEP
    + READS_OF_LIST
    + 4 * LISTED;

#[derive(Default, PartialEq, Eq, Debug)]
struct Stack {
    frames: Vec<(Addr, CodeCheck, i32)>,
    full: bool,
    collectors: u32,
    /// What is known of code objects within this sample, as the BPF program remembers it.
    checked: Vec<(Addr, CodeCheck)>,
}

impl FrameSink for Stack {
    fn push(&mut self, code: Addr, check: CodeCheck, index: i32) -> bool {
        assert!(!self.full, "a frame after there was no room");
        assert!(!code.is_null() && code.is_aligned(), "{code:?} is no code object");
        assert!(!check.phantom, "a frame that no program wrote");
        self.full = self.frames.len() >= MAX_FRAMES;
        if !self.full {
            self.frames.push((code, check, index));
        }
        !self.full
    }

    fn collector(&mut self) {
        self.collectors += 1;
    }

    fn clear(&mut self) {
        self.frames.clear();
        self.full = false;
        self.collectors = 0;
    }

    fn recall(&self, code: Addr) -> Option<CodeCheck> {
        self.checked.iter().find(|(known, _)| *known == code).map(|(_, check)| *check)
    }

    fn remember(&mut self, code: Addr, check: CodeCheck) {
        assert!(self.checked.len() < 2 * MAX_WALK_STEPS as usize);
        self.checked.push((code, check));
    }
}

/// Everything that can be said of one sample.
#[derive(PartialEq, Eq, Debug, Default)]
struct Sample {
    thread: Option<ThreadState>,
    /// Found as in a process with several interpreters.
    nested: Option<ThreadState>,
    answers: (Option<bool>, Option<u32>, Option<Addr>),
    outcomes: Vec<Option<Outcome>>,
    stacks: Vec<Stack>,
}

fn check(data: &[u8]) {
    let Some(process) = Process::decode(data) else { return };
    let Process { layout, runtime, pointer, registers, memory } = &process;
    let once = || sample(&mut Reader::new(memory, MOST_READS), layout, *runtime, *pointer, *registers);
    let first = once();
    // The same memory is the same stack: nothing depends on what was read before, or elsewhere.
    assert_eq!(first, once());
}

fn sample(
    memory: &mut Reader<'_>,
    layout: &Layout,
    runtime: Addr,
    pointer: u64,
    registers: [Addr; 2],
) -> Sample {
    let mut sample = Sample::default();
    let known = thread::current(memory, layout, runtime, pointer).ok().flatten();
    let found = find(memory, layout, runtime, pointer);
    sample.nested = find_nested(memory, layout, runtime, pointer, registers);
    list(memory, layout, runtime);
    let Some(state) = known.or(found) else { return sample };
    assert_eq!(state.address.0 % 8, 0, "a thread state at an odd place");
    let before = memory.reads;
    // A hint leads to the same state, or to none.
    if let Ok(Some(again)) = thread::revisit(memory, layout, state.address, pointer) {
        assert_eq!(again, state);
    }
    sample.thread = Some(state);
    sample.answers = (
        thread::holds_gil(memory, layout, runtime, &state),
        thread::interpreter_id(memory, layout, &state),
        thread::collects(memory, layout, &state),
    );
    memory.expect_reads_since(before, READS_OF_QUESTIONS, "questions about a thread");
    if !state.runs_python(layout) {
        return sample;
    }
    let walks = [
        Walk::begin(memory, layout, &state),
        Walk::begin(memory, layout, &state).map(|walk| walk.held_by(&state, registers)),
        Walk::retry_frame(memory, layout, &state, registers[0]),
        Walk::retry_cframe(memory, layout, &state, registers[1]),
    ];
    let may = [
        true,
        true,
        Walk::is_frame(layout, &state, registers[0]),
        Walk::is_cframe_above(layout, &state, registers[1]),
    ];
    for (walk, _) in walks.into_iter().zip(may).filter(|(_, may)| *may) {
        let Ok(walk) = walk else { continue };
        let (outcome, stack) =
            unwind(memory, layout, walk.collected_in(sample.answers.2.unwrap_or_default()));
        sample.outcomes.push(outcome);
        sample.stacks.push(stack);
    }
    sample
}

fn find(memory: &mut Reader<'_>, layout: &Layout, runtime: Addr, pointer: u64) -> Option<ThreadState> {
    let mut walk = ThreadWalk::begin(memory, layout, runtime).ok()??;
    search(memory, |memory| Ok(matches!(walk.step(memory, layout, pointer)?, WalkStep::More)))?;
    Some(walk.best()).filter(|best| !best.address.is_null())
}

/// Steps as long as they say that there is more.
fn search(
    memory: &mut Reader<'_>,
    mut step: impl FnMut(&mut Reader<'_>) -> Result<bool, Fault>,
) -> Option<()> {
    for _ in 0..MAX_THREAD_STEPS {
        let before = memory.reads;
        let has_more = step(memory);
        memory.expect_reads_since(before, READS_PER_THREAD, "a step to the next thread");
        if !has_more.ok()? {
            break;
        }
    }
    Some(())
}

/// As the kernel does it for a process with several interpreters: one state is known, one word of the stack holds a frame.
fn find_nested(
    memory: &mut Reader<'_>,
    layout: &Layout,
    runtime: Addr,
    pointer: u64,
    registers: [Addr; 2],
) -> Option<ThreadState> {
    let mut walk = ThreadWalk::begin(memory, layout, runtime).ok()??;
    let mut nested = Nested::default();
    nested.begin(registers[0].0, registers[1]);
    search(memory, |memory| Ok(!matches!(nested.step(&mut walk, memory, layout, pointer)?, WalkStep::End)))?;
    let held = nested.holding(walk.best().leaf.0);
    if nested.leaves_doubt() && !held.is_null() {
        Nested::settle(&mut walk, memory, layout, held).ok()?;
        assert_eq!(walk.best().address, held);
    }
    Some(walk.best()).filter(|best| !best.address.is_null())
}

/// Who lists the threads bounds how many there are; in between, interpreters without any are bounded by themselves.
fn list(memory: &mut Reader<'_>, layout: &Layout, runtime: Addr) {
    let Ok(Some(mut walk)) = ThreadWalk::begin(memory, layout, runtime) else { return };
    let before = memory.reads;
    for listed in 1..=LISTED {
        let next = walk.list(memory, layout);
        memory.expect_reads_since(before, READS_OF_LIST + 4 * listed, "a list of threads");
        if !matches!(next, Ok(Some(_))) {
            return;
        }
    }
}

/// `None` where the driver's bound ends the walk.
fn unwind(memory: &mut Reader<'_>, layout: &Layout, mut walk: Walk) -> (Option<Outcome>, Stack) {
    let mut stack = Stack::default();
    for _ in 0..MAX_WALK_STEPS {
        let before = memory.reads;
        let progress = walk.step(memory, layout, &mut stack);
        memory.expect_reads_since(before, READS_PER_STEP, "a step to the next frame");
        if let Progress::Done(outcome) = progress {
            assert_eq!(outcome == Outcome::Truncated, stack.full, "{outcome:?}");
            return (Some(outcome), stack);
        }
        assert!(!stack.full, "the walk went on without room");
    }
    (None, stack)
}

/// Each thread of each recorded process, and one of it with something mapped everywhere.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for recorded in snapshots::all() {
        for (number, pointer) in recorded.pointers.iter().enumerate() {
            let work = |reader: &mut Reader<'_>| {
                sample(reader, &recorded.layout, recorded.runtime, *pointer, [Addr::NULL; 2]);
            };
            seeds.push(recorded.input(*pointer, number == 0, work));
        }
    }
    seeds
}
