//! Core files that lie: whoever wrote one may have chosen every byte. What is read, held and shown has bounds.
#![no_main]

use std::collections::HashSet;
use std::path::Path;

use profiler_user::process::core::Core;
use profiler_user::process::core_python::{python, stacks};
use profiler_user::process::file::Located;
use profiler_user::process::stacks::{MAX_FRAMES, Stacks};
use pyprof_fuzz::alloc::within;
use pyprof_fuzz::file::{self, Reads, Sparse, with_file};
use pyprof_fuzz::{file_target, snapshots};

file_target!(seeds, check);

/// Notes, each with its head; the lists of threads and names; 20 million words of stacks; each in up to three reads. And what
/// is searched for a runtime.
const MOST: Reads = Reads { count: 4 * 400_000 + 3 * (20_000_000 + 3_000_000), bytes: 32 << 30 };
/// The text of all threads, and the code objects of one.
const MOST_HELD_BYTES: usize = 512 << 20;
const MOST_THREADS: usize = 65_536;
/// A name is cut after 512 characters, and marked.
const MOST_CHARS: usize = 513;

fn check(data: &[u8]) {
    let sparse = Sparse::decode(data);
    let Some(stacks) = with_file(&sparse, MOST, |path| within(MOST_HELD_BYTES, || shown(path))) else {
        return;
    };
    assert!(stacks.threads.len() <= MOST_THREADS);
    let mut seen = HashSet::new();
    for thread in &stacks.threads {
        assert!(seen.insert(thread.tid), "twice: {}", thread.tid);
    }
    for stack in stacks.threads.iter().flat_map(|thread| &thread.python).chain(&stacks.strays) {
        assert!(stack.frames.len() <= MAX_FRAMES);
        for frame in &stack.frames {
            let name = frame.function.as_ref().map_or(0, |name| name.chars().count());
            assert!(name <= MOST_CHARS && frame.file.chars().count() <= MOST_CHARS);
            assert!(frame.locals.len() <= 64);
        }
    }
}

/// As the command does, but for the files that the core names: those are no business of a fuzzer.
fn shown(path: &Path) -> Option<Stacks> {
    let core = Core::read(Located::open(path, true).ok()?.read().ok()?).ok()?;
    let python = python(&core).ok()?;
    Some(stacks(&core, &python, true))
}

const HEAD_BYTES: usize = 64;
const ENTRY_BYTES: usize = 56;

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A core with these notes and this memory; `claimed`: how long the notes say they are.
fn core(notes: &[u8], claimed: u64, memory: &[(u64, Vec<u8>)], size_bytes: u64) -> Vec<u8> {
    let entries = memory.len() + 1;
    let mut head = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    // ET_CORE, EM_X86_64, version 1; the program header behind this one.
    head.extend(words(&[0x0000_0001_003e_0004, 0, HEAD_BYTES as u64, 0]));
    head.extend(words(&[(ENTRY_BYTES as u64) << 48 | 64 << 32, entries as u64]));
    assert_eq!(head.len(), HEAD_BYTES);
    let mut at = (HEAD_BYTES + entries * ENTRY_BYTES) as u64;
    let mut pieces = Vec::new();
    head.extend(words(&[4 | 4 << 32, at, 0, 0, claimed, 0, 4]));
    pieces.push((at, notes.to_vec()));
    at += notes.len() as u64;
    for (address, bytes) in memory {
        let len = bytes.len() as u64;
        head.extend(words(&[1 | 6 << 32, at, *address, 0, len, len, 1]));
        pieces.push((at, bytes.clone()));
        at += len;
    }
    pieces.insert(0, (0, head));
    // Lengths on the way have sixteen bits.
    let pieces: Vec<(u64, Vec<u8>)> = pieces
        .into_iter()
        .flat_map(|(at, bytes)| {
            let chunks: Vec<(u64, Vec<u8>)> = bytes
                .chunks(32 << 10)
                .enumerate()
                .map(|(index, chunk)| (at + (index as u64) * (32 << 10), chunk.to_vec()))
                .collect();
            chunks
        })
        .collect();
    file::encode(size_bytes.max(at), true, &pieces)
}

fn note(kind: u32, content: &[u8]) -> Vec<u8> {
    let mut note: Vec<u8> =
        [5, content.len() as u32, kind].iter().flat_map(|word| word.to_le_bytes()).collect();
    note.extend(b"CORE\0\0\0\0");
    note.extend(content);
    note.resize(note.len().next_multiple_of(4), 0);
    note
}

/// `struct elf_prstatus`: a thread, and in its registers its thread pointer.
fn prstatus(tid: u32, pointer: u64) -> Vec<u8> {
    let mut status = vec![0; 336];
    status[32..36].copy_from_slice(&tid.to_le_bytes());
    status[112 + 21 * 8..][..8].copy_from_slice(&pointer.to_le_bytes());
    note(1, &status)
}

fn seeds() -> Vec<Vec<u8>> {
    let mut info = vec![0; 136];
    info[24..28].copy_from_slice(&7_u32.to_le_bytes());
    info[40..46].copy_from_slice(b"python");
    let files = [&words(&[1, 4096, 0x40_0000, 0x50_0000, 0])[..], b"/nowhere/python\0"].concat();
    let mut seeds = vec![
        core(&[note(3, &info), note(0x4649_4c45, &files), prstatus(7, 0x7000)].concat(), 800, &[], 0),
        core(&prstatus(7, 0x7000), 1 << 40, &[(0x1000, vec![1; 64])], 1 << 40),
    ];
    for recorded in snapshots::all().iter().filter(|recorded| !recorded.offsets.is_empty()) {
        let end = recorded.runtime.0 + recorded.offsets.len() as u64;
        let apart = |at: u64, len: usize| at + len as u64 <= recorded.runtime.0 || at >= end;
        let mut memory = vec![(recorded.runtime.0, recorded.offsets.clone())];
        memory.extend(recorded.pieces.iter().filter(|(at, bytes)| apart(*at, bytes.len())).cloned());
        let threads = recorded.pointers.iter().zip(1..);
        let notes: Vec<u8> = threads.flat_map(|(pointer, tid)| prstatus(tid, *pointer)).collect();
        seeds.push(core(&notes, notes.len() as u64, &memory, 0));
    }
    // At least one leads all the way to frames. The first two are of no process, and one of them is a bound's own.
    let whole = seeds.iter().skip(2).filter(|seed| {
        let found = with_file(&Sparse::decode(seed), MOST, shown);
        found.is_some_and(|stacks| stacks.threads.iter().any(|thread| !thread.python.is_empty()))
    });
    assert!(whole.count() > 0, "no seed has a stack");
    seeds.retain(|seed| seed.len() <= MOST_SEED_BYTES);
    seeds
}

/// As long as an input may be.
const MOST_SEED_BYTES: usize = 64 << 10;
