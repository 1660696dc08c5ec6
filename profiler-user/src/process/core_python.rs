//! Finds the CPython in a core file, and the stacks of its threads: as for a live process, but nothing moves.

use std::collections::{HashMap, HashSet};

use pyunwind::host::debug_offsets;
use pyunwind::host::stacks::places;
use pyunwind::{Addr, Layout};

use super::core::{Core, CoreMapping, CoreMemory, CoreThread};
use super::facts::{CPython, ElfFacts, Runtime};
use super::gil;
use super::links::{State, busy_threads, validate};
use super::maps::Mapping;
use super::python::bias;
use super::runners::{StackMapping, assign, runners};
use super::stacks::{MAX_STRAYS, Process, Stacks, Thread, tid_of};
use super::version::Version;

const MAX_CANDIDATES: usize = 16;
/// Writable memory that is searched for a runtime which no file leads to.
const MAX_SCAN_BYTES: u64 = 1 << 30;
/// Text of all threads together: a core may claim any number of them, each with the same frames.
const MAX_BYTES: usize = 64 << 20;

pub struct CorePython {
    pub version: String,
    pub layout: Layout,
    pub runtime: Addr,
    /// The file that holds it; empty where only its memory told.
    pub file: Vec<u8>,
}

/// The CPython of a core, or what is in the way.
pub fn python(core: &Core) -> Result<CorePython, String> {
    let mut memory = CoreMemory::new(core);
    let mut best: Option<((State, usize), CorePython)> = None;
    let mut consider = |found: CorePython, memory: &mut CoreMemory<'_>| {
        let state = validate(memory, &found.layout, found.runtime);
        let busy =
            if state == State::Initialized { busy_threads(memory, &found.layout, found.runtime) } else { 0 };
        if best.as_ref().is_none_or(|(rank, _)| (state, busy) > *rank) {
            best = Some(((state, busy), found));
        }
    };
    let (mut tried, mut unsupported) = (HashSet::new(), None);
    for (mapping, facts) in core.mapped_files() {
        match &facts.runtime {
            Runtime::CPython(python) => {
                if let Some(runtime) = runtime_at(core, mapping, facts, python)
                    && tried.len() < MAX_CANDIDATES
                    && tried.insert(runtime)
                {
                    let CPython { version, layout, .. } = python;
                    let (version, file) = (version.to_string(), mapping.path.clone());
                    consider(CorePython { version, layout: *layout, runtime, file }, &mut memory);
                }
            }
            Runtime::Unsupported(what) => drop(unsupported.get_or_insert(what.clone())),
            Runtime::None => {}
        }
    }
    if tried.is_empty()
        && let Some(found) = by_cookie(core, &memory)
    {
        consider(found, &mut memory);
    }
    match (best, unsupported) {
        (Some(((State::Initialized, _), mut found)), _) => {
            found.layout = gil::believed(&mut memory, &found.layout, found.runtime);
            Ok(found)
        }
        (Some(((State::NotYet, _), found)), _) => {
            Err(format!("CPython {}, which had not started or had ended", found.version))
        }
        (Some(((State::Mismatch, _), found)), _) => {
            Err(format!("CPython {} whose structures are not where they should be", found.version))
        }
        (None, Some(what)) => Err(what),
        (None, None) => {
            Err("no CPython was found in it; where its files are elsewhere by now, name the program \
                             and its libpython with --executable"
                .into())
        }
    }
}

fn runtime_at(core: &Core, mapping: &CoreMapping, facts: &ElfFacts, python: &CPython) -> Option<Addr> {
    let CoreMapping { start, limit, offset, .. } = *mapping;
    let flags = core.load_at(start)?.flags;
    let has = |flag: u32| flags & flag != 0;
    let mapping = Mapping {
        start,
        limit,
        readable: has(libc::PF_R),
        writable: has(libc::PF_W),
        executable: has(libc::PF_X),
        private: true,
        offset,
        device: (0, 0),
        inode: 0,
        path: b"",
    };
    if !mapping.writable && !mapping.executable {
        return None;
    }
    Some(Addr(python.runtime_vaddr.wrapping_add(bias(&facts.segments, &mapping)?)))
}

/// A runtime that says itself what it is (3.13 and later).
fn by_cookie(core: &Core, memory: &CoreMemory<'_>) -> Option<CorePython> {
    let mut found = None;
    let mut tries = 0;
    core.scan_writable(MAX_SCAN_BYTES, |at, chunk| {
        // Segments begin at pages.
        for (index, _) in chunk.chunks_exact(8).enumerate().filter(|(_, word)| word == b"xdebugpy") {
            let runtime = Addr(at.wrapping_add(index as u64 * 8));
            let mut table = [0; debug_offsets::MAX_BYTES];
            tries += 1;
            if memory.read(runtime, &mut table).is_ok()
                && let Ok(layout) = debug_offsets::parse(&table)
                && let Some((hex, _)) = debug_offsets::version(&table)
            {
                let version = Version::from_hex(hex).to_string();
                found = Some(CorePython { version, layout, runtime, file: Vec::new() });
                return true;
            }
        }
        tries > MAX_CANDIDATES
    });
    found
}

/// All threads of a core.
pub fn stacks(core: &Core, python: &CorePython, locals: bool) -> Stacks {
    let mut memory = CoreMemory::new(core);
    let mut process = Process::new(&mut memory, python.layout, python.runtime, locals);
    let by_pointer: HashMap<u64, u32> = core
        .threads
        .iter()
        .filter(|thread| thread.thread_pointer != 0)
        .map(|thread| (thread.thread_pointer, thread.tid))
        .collect();
    let tids: HashMap<u32, u32> = core.threads.iter().map(|thread| (thread.tid, thread.tid)).collect();
    let states = process.states();
    let ends = core.threads.iter().map(|thread| thread.stack_pointer).collect();
    let running = places(&mut process.memory, &python.layout, python.runtime, &states, || ends);
    let pointers = by_pointer.keys().copied().collect();
    let runners = runners(&running, &pointers, |at| {
        let load = core.load_at(at)?;
        let range = load.start..load.start.saturating_add(load.memory_bytes);
        // All threads are known here: a stack without a thread pointer is that of the first.
        Some(StackMapping { is_first: pointers.range(at..range.end).next().is_none(), range })
    });
    let (by_tid, strays) = assign(&states, &runners, core.pid, |state, pointer| {
        let tid = by_pointer.get(&pointer).copied();
        tid.or_else(|| tid_of(&mut process.memory, &python.layout, state, pointer, &tids))
    });
    let mut answer = Stacks { cut: process.is_cut(), ..Stacks::default() };
    let mut bytes = 0;
    let mut seen = HashSet::new();
    for CoreThread { tid, syscall, .. } in core.threads.iter().filter(|thread| seen.insert(thread.tid)) {
        if bytes > MAX_BYTES {
            answer.more = true;
            break;
        }
        let states = by_tid.get(tid).map_or(&[][..], Vec::as_slice);
        let thread = Thread {
            tid: *tid,
            name: String::new(),
            state: 0,
            cpu: None,
            syscall: syscall.map(|(number, _)| number),
            wchan: None,
            python: process.python(states, *syscall),
        };
        bytes += thread.bytes();
        answer.threads.push(thread);
    }
    for state in strays.iter().take(MAX_STRAYS) {
        let mut python = process.python(&[*state], None);
        python.retain(|python| !python.frames.is_empty());
        answer.strays.append(&mut python);
    }
    answer
}
