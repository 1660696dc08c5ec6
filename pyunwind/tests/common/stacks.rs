//! From a thread pointer to frames with names and lines, over any memory, bounded as the BPF program is; and what an
//! interpreter says of itself, as its script prints it.

use pyunwind::code::CodeCheck;
use pyunwind::host::code_object::{CodeError, CodeObject};
use pyunwind::step::{Progress, Walk};
use pyunwind::thread::{ThreadState, ThreadWalk, WalkStep};
use pyunwind::{Addr, Fault, FrameSink, Layout, Memory, Outcome};

pub(crate) const MAX_FRAMES: usize = 512;
pub(crate) const MAX_STEPS: usize = 3 * MAX_FRAMES;
pub(crate) const MAX_THREADS: usize = 1000;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Frame {
    pub(crate) index: i32,
    pub(crate) line: u32,
    pub(crate) name: String,
    pub(crate) file: String,
}

/// What the interpreter says: threads by their pointers, with their frames, leaf first.
pub(crate) type Truth = Vec<(u64, Vec<Frame>)>;

#[derive(Default)]
pub(crate) struct Stack(pub(crate) Vec<(Addr, i32)>);

impl FrameSink for Stack {
    fn push(&mut self, code: Addr, _: CodeCheck, index: i32) -> bool {
        let room = self.0.len() < MAX_FRAMES;
        if room {
            self.0.push((code, index));
        }
        room
    }

    fn collector(&mut self) {}

    fn clear(&mut self) {
        self.0.clear();
    }

    fn recall(&self, _: Addr) -> Option<CodeCheck> {
        None
    }

    fn remember(&mut self, _: Addr, _: CodeCheck) {}
}

/// The state of the thread with this pointer: `None` if no thread state is its own.
pub(crate) fn find(
    memory: &mut impl Memory,
    layout: &Layout,
    runtime: Addr,
    pointer: u64,
) -> Result<Option<ThreadState>, Fault> {
    let Some(mut walk) = ThreadWalk::begin(memory, layout, runtime)? else { return Ok(None) };
    for _ in 0..MAX_THREADS {
        if walk.step(memory, layout, pointer)? != WalkStep::More {
            break;
        }
    }
    Ok(Some(walk.best()).filter(|best| !best.address.is_null()))
}

pub(crate) fn unwind(
    memory: &mut impl Memory,
    layout: &Layout,
    thread: &ThreadState,
    stack: &mut Stack,
) -> Outcome {
    let Ok(mut walk) = Walk::begin(memory, layout, thread) else { return Outcome::Torn };
    for _ in 0..MAX_STEPS {
        if let Progress::Done(outcome) = walk.step(memory, layout, stack) {
            return outcome;
        }
    }
    Outcome::Truncated
}

pub(crate) fn describe(
    memory: &mut impl Memory,
    layout: &Layout,
    code: Addr,
    index: i32,
) -> Result<Frame, CodeError> {
    let object = CodeObject::read(memory, layout, code)?;
    Ok(Frame {
        index,
        line: object.lines.line(index).shown(),
        name: object.display_name().to_string(),
        file: object.file,
    })
}

pub(crate) fn numbers<const N: usize>(line: &str) -> [u64; N] {
    let all: Vec<u64> = line.split(' ').map(|number| number.parse().expect("a number")).collect();
    all.try_into().expect("as many numbers as asked for")
}

pub(crate) fn read_frame(line: &str) -> Frame {
    let [index, line, name, file] = line.split(' ').collect::<Vec<_>>().try_into().expect("four fields");
    Frame { index: index.parse().unwrap(), line: line.parse().unwrap(), name: text(name), file: text(file) }
}

pub(crate) fn text(field: &str) -> String {
    String::from_utf8(unhex(field)).unwrap()
}

pub(crate) fn unhex(field: &str) -> Vec<u8> {
    let digits = field.strip_prefix('x').expect("hexadecimal");
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(byte).collect()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    ["x".to_string()].into_iter().chain(bytes.iter().map(|byte| format!("{byte:02x}"))).collect()
}
