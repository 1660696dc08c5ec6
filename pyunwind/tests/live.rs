//! Stacks of live interpreters, read from outside, against what each interpreter says of them itself: every thread, every
//! frame, its name, file, line and instruction.

mod common;

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use pyunwind::code::CodeCheck;
use pyunwind::host::code_object::CodeObject;
use pyunwind::host::debug_offsets;
use pyunwind::step::{Progress, Walk};
use pyunwind::thread::{ThreadState, ThreadWalk, WalkStep, revisit};
use pyunwind::{Addr, Fault, FrameSink, Layout, Memory, Outcome};

const PAGE: u64 = 4096;
const MAX_FRAMES: usize = 512;

/// A process's memory, with the window that the BPF program keeps over neighbouring frames.
struct Process {
    memory: File,
    block: Vec<u8>,
    window: Vec<u8>,
    window_start: u64,
    frame: Vec<u8>,
    windows: bool,
}

impl Process {
    fn read(&self, at: u64, bytes: u64) -> Result<Vec<u8>, Fault> {
        let mut buffer = vec![0; bytes as usize];
        self.memory.read_exact_at(&mut buffer, at).map_err(|_| Fault)?;
        Ok(buffer)
    }

    fn reset(&mut self, windows: bool) {
        self.window.clear();
        self.windows = windows;
    }
}

fn word_of(bytes: &[u8], offset: u32) -> u64 {
    u64::from_le_bytes(bytes[offset as usize..offset as usize + 8].try_into().unwrap())
}

impl Memory for Process {
    fn word(&mut self, at: Addr) -> Result<u64, Fault> {
        Ok(word_of(&self.read(at.0, 8)?, 0))
    }

    fn load(&mut self, at: Addr, len: u32) -> Result<(), Fault> {
        self.block = self.read(at.0, len.into())?;
        Ok(())
    }

    fn field(&self, offset: u32) -> u64 {
        word_of(&self.block, offset)
    }

    fn load_frame(&mut self, at: Addr, len: u32, contiguous: bool) -> Result<(), Fault> {
        let offset = at.0.wrapping_sub(self.window_start);
        if let Some(frame) = self.window.get(offset as usize..).and_then(|rest| rest.get(..len as usize)) {
            self.frame = frame.to_vec();
            return Ok(());
        }
        if contiguous && self.windows {
            self.window_start = at.0 & !(PAGE - 1);
            self.window = self.read(self.window_start, at.0 - self.window_start + u64::from(len))?;
            return self.load_frame(at, len, false);
        }
        self.frame = self.read(at.0, len.into())?;
        Ok(())
    }

    fn frame_field(&self, offset: u32) -> u64 {
        word_of(&self.frame, offset)
    }
}

#[derive(Default)]
struct Stack(Vec<(Addr, i32)>);

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

#[derive(Clone, PartialEq, Eq, Debug)]
struct Frame {
    index: i32,
    line: u32,
    name: String,
    file: String,
}

/// What the interpreter says: threads by their pointers, with their frames, leaf first.
type Truth = Vec<(u64, Vec<Frame>)>;

#[test]
fn stacks_of_parked_threads_are_what_their_interpreter_says() {
    for python in common::interpreters() {
        for mode in ["", "subinterpreter"] {
            check_interpreter(&python, mode);
        }
    }
}

fn check_interpreter(python: &Path, mode: &str) {
    let mut command = common::script(python, "stacks.py");
    let mut child = command.arg(mode).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let first = lines.next().expect("no output");
    let [major, minor, runtime, threads] = numbers(&first);
    let truth = read_truth(lines);
    assert_eq!((major, truth.len() as u64), (3, threads + 1), "{}", python.display());
    wait_until_blocked(&child);

    let memory = File::open(format!("/proc/{}/mem", child.id())).unwrap();
    let mut process = Process {
        memory,
        block: Vec::new(),
        window: Vec::new(),
        window_start: 0,
        frame: Vec::new(),
        windows: false,
    };
    let layout = if minor < 13 {
        common::layout(minor as u8)
    } else {
        debug_offsets::parse(&process.read(runtime, debug_offsets::MAX_BYTES as u64).unwrap()).unwrap()
    };
    let label = format!("{} {mode}", python.display());
    let (mut frames, mut deepest) = (0, 0);
    for (pointer, expected) in &truth {
        let thread = find(&mut process, &layout, runtime, *pointer)
            .unwrap_or_else(|problem| panic!("{label}: {problem}: {:?}", expected.first()));
        assert_eq!(revisit(&mut process, &layout, thread.address, *pointer), Ok(Some(thread)), "{label}");
        for windows in [false, true] {
            process.reset(windows);
            check_thread(&mut process, &layout, &thread, expected, &label);
        }
        frames += expected.len();
        deepest = deepest.max(expected.len());
    }
    assert!(frames > 1300 && deepest > 600, "{label}: {frames} frames, {deepest} deep");
    println!("{label}: {} threads, {frames} frames", truth.len());
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success(), "{label}");
}

fn check_thread(
    process: &mut Process,
    layout: &Layout,
    thread: &ThreadState,
    expected: &[Frame],
    label: &str,
) {
    let mut stack = Stack::default();
    let outcome = unwind(process, layout, thread, &mut stack);
    let found: Vec<Frame> =
        stack.0.iter().map(|&(code, index)| describe(process, layout, code, index)).collect();
    let names = |frames: &[Frame]| {
        frames.iter().map(|frame| format!("{}:{}", frame.name, frame.line)).collect::<Vec<_>>()
    };
    let whole = expected.len() <= MAX_FRAMES;
    let kept = &expected[..expected.len().min(MAX_FRAMES)];
    assert_eq!(names(&found), names(kept), "{label}: {outcome:?}");
    assert_eq!(
        outcome,
        if whole { Outcome::Complete } else { Outcome::Truncated },
        "{label}: {:?}",
        names(kept)
    );
    // The leaf has gone from one call to the next on its line since it was asked.
    assert_eq!(found[1..], kept[1..], "{label}");
    assert_eq!(found[0].file, kept[0].file, "{label}");
}

/// Finds the state of the thread with this pointer, or says what came instead.
fn find(process: &mut Process, layout: &Layout, runtime: u64, pointer: u64) -> Result<ThreadState, String> {
    let walk =
        ThreadWalk::begin(process, layout, Addr(runtime)).map_err(|_| "unreadable runtime".to_string())?;
    let mut walk = walk.ok_or("no thread states at all")?;
    for _ in 0..1000 {
        match walk.step(process, layout, pointer) {
            Ok(WalkStep::More) => {}
            Ok(WalkStep::Found) => return Ok(walk.best()),
            other => return Err(format!("{other:?} without the thread")),
        }
    }
    Err("no end of thread states".into())
}

fn unwind(process: &mut Process, layout: &Layout, thread: &ThreadState, stack: &mut Stack) -> Outcome {
    let mut walk = Walk::begin(process, layout, thread).expect("a parked thread's links are whole");
    for _ in 0..3 * MAX_FRAMES {
        if let Progress::Done(outcome) = walk.step(process, layout, stack) {
            return outcome;
        }
    }
    panic!("more steps than frames can need");
}

fn describe(process: &mut Process, layout: &Layout, code: Addr, index: i32) -> Frame {
    let object = CodeObject::read(process, layout, code).expect("a code object that runs");
    Frame {
        index,
        line: object.lines.line(index).shown(),
        name: object.display_name().to_string(),
        file: object.file,
    }
}

/// Every thread of the target waits in `read(2)`, so nothing changes any more.
fn wait_until_blocked(child: &Child) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let blocked = || {
        let mut tasks = fs::read_dir(format!("/proc/{}/task", child.id())).unwrap();
        tasks.all(|task| {
            let call = fs::read_to_string(task.unwrap().path().join("syscall")).unwrap_or_default();
            call.split(' ').next() == Some(READ)
        })
    };
    while !blocked() {
        assert!(Instant::now() < deadline, "the target's threads do not come to rest");
        sleep(Duration::from_millis(2));
    }
}

/// The number of read(2).
const READ: &str = if cfg!(target_arch = "x86_64") { "0" } else { "63" };

fn numbers<const N: usize>(line: &str) -> [u64; N] {
    let all: Vec<u64> = line.split(' ').map(|number| number.parse().expect("a number")).collect();
    all.try_into().expect("as many numbers as asked for")
}

fn read_truth(mut lines: impl Iterator<Item = String>) -> Truth {
    let mut truth = Truth::new();
    loop {
        let line = lines.next().expect("the target's output breaks off");
        if line == "end" {
            return truth;
        }
        let [pointer, count] = numbers(line.strip_prefix("thread ").expect("a thread"));
        let frames = (0..count).map(|_| frame(&lines.next().expect("a frame"))).collect();
        truth.push((pointer, frames));
    }
}

fn frame(line: &str) -> Frame {
    let [index, line, name, file] = line.split(' ').collect::<Vec<_>>().try_into().expect("four fields");
    Frame { index: index.parse().unwrap(), line: line.parse().unwrap(), name: text(name), file: text(file) }
}

fn text(field: &str) -> String {
    let digits = field.strip_prefix('x').expect("hexadecimal");
    let bytes = (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap());
    String::from_utf8(bytes.collect()).unwrap()
}
