//! A live interpreter whose threads are parked: its memory, where things are in it, and what it says of itself.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use pyunwind::host::debug_offsets;
use pyunwind::host::versions;
use pyunwind::{Addr, Fault, Layout, Memory};

use super::elf;
use super::stacks::{Truth, numbers, read_frame, text};

const PAGE: u64 = 4096;
/// How much of `PyInterpreterState_Head` is looked at.
const FUNCTION_BYTES: u64 = 24;

/// A process's memory, with the window that the BPF program keeps over neighbouring frames.
pub(crate) struct Process {
    memory: File,
    block: Vec<u8>,
    window: Vec<u8>,
    window_start: u64,
    frame: Vec<u8>,
    windows: bool,
    /// Every read: where, and what was there.
    pub(crate) touched: Vec<(u64, Vec<u8>)>,
}

impl Process {
    pub(crate) fn read(&mut self, at: u64, bytes: u64) -> Result<Vec<u8>, Fault> {
        let mut buffer = vec![0; bytes as usize];
        self.memory.read_exact_at(&mut buffer, at).map_err(|_| Fault)?;
        self.touched.push((at, buffer.clone()));
        Ok(buffer)
    }

    pub(crate) fn reset(&mut self, windows: bool) {
        self.window.clear();
        self.touched.clear();
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

pub(crate) struct Target {
    child: Child,
    pub(crate) process: Process,
    pub(crate) version: (u64, u64),
    pub(crate) runtime: Addr,
    pub(crate) layout: Layout,
    /// What stands at the start of the runtime, from 3.13 on.
    pub(crate) offsets: Vec<u8>,
    pub(crate) truth: Truth,
    /// Names of threads, by their pointers, where the script gives them.
    pub(crate) names: Vec<(u64, String)>,
}

impl Target {
    /// Runs a script that parks its threads, until they are.
    pub(crate) fn start(mut command: Command) -> Target {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let first = lines.next().expect("no output");
        let [major, minor, runtime, current, threads] = numbers(&first);
        let (truth, names) = read_truth(lines);
        assert_eq!(truth.len() as u64, threads + 1, "{command:?}");
        wait_until_blocked(&child);
        let memory = File::open(format!("/proc/{}/mem", child.id())).unwrap();
        let mut process = Process {
            memory,
            block: Vec::new(),
            window: Vec::new(),
            window_start: 0,
            frame: Vec::new(),
            windows: false,
            touched: Vec::new(),
        };
        // Without ctypes a script cannot say.
        let runtime = if runtime == 0 { elf::symbol(child.id(), b"_PyRuntime") } else { runtime };
        let version = (major, minor);
        let mut offsets = Vec::new();
        let (runtime, layout) = match version {
            (3, 13..) => {
                offsets = process.read(runtime, debug_offsets::MAX_BYTES as u64).unwrap();
                (runtime, debug_offsets::parse(&offsets).unwrap())
            }
            (3, 7..) => (runtime, versions::layout(minor as u8).unwrap()),
            // Before `_PyRuntime`, two variables.
            _ => {
                let known = if version == (2, 7) { versions::V2_7 } else { versions::layout(6).unwrap() };
                let head = returned_variable(&process.read(runtime, FUNCTION_BYTES).unwrap(), runtime);
                let runtime_current = i32::try_from(current.wrapping_sub(head) as i64).unwrap();
                (head, Layout { runtime_current, ..known })
            }
        };
        Target { child, process, version, runtime: Addr(runtime), layout, offsets, truth, names }
    }

    pub(crate) fn end(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // Without effect on one that has ended and was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The variable that a function of x86-64 does nothing but return: the first `mov rax, [rip + disp32]` in it.
fn returned_variable(function: &[u8], at: u64) -> u64 {
    const MOV_RAX_RIP: [u8; 3] = [0x48, 0x8b, 0x05];
    let start = function.windows(3).position(|bytes| bytes == MOV_RAX_RIP).expect("a load of a variable") + 3;
    let displacement = i32::from_le_bytes(function[start..start + 4].try_into().unwrap());
    (at + start as u64 + 4).wrapping_add_signed(displacement.into())
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

fn read_truth(mut lines: impl Iterator<Item = String>) -> (Truth, Vec<(u64, String)>) {
    let (mut truth, mut names) = (Truth::new(), Vec::new());
    loop {
        let line = lines.next().expect("the target's output breaks off");
        if line == "end" {
            return (truth, names);
        }
        if let Some(name) = line.strip_prefix("name ") {
            let (pointer, name) = name.split_once(' ').expect("a thread and its name");
            names.push((pointer.parse().unwrap(), text(name)));
            continue;
        }
        let [pointer, count] = numbers(line.strip_prefix("thread ").expect("a thread"));
        let frames = (0..count).map(|_| read_frame(&lines.next().expect("a frame"))).collect();
        truth.push((pointer, frames));
    }
}
