//! Unwinds of real interpreters, one of each version and build, repeated from what they touched: no root, no interpreter.
//! `cargo run -p pyunwind --example record_snapshot` makes the files.

mod common;

use common::snapshot::{Ranges, Replay, Snapshot, snapshots};
use common::stacks::{Frame, MAX_FRAMES, MAX_STEPS, MAX_THREADS, Stack, describe, find, unwind};
use pyunwind::host::code_object::CodeError;
use pyunwind::host::stacks::{Frame as StackFrame, stack, thread_states};
use pyunwind::host::thread_names::thread_names;
use pyunwind::layout::{ABSENT, GIL_UNKNOWN};
use pyunwind::thread::{collects, current, holds_gil, revisit};
use pyunwind::{Addr, Layout, Outcome};

/// Rounds of flipped bytes per snapshot.
const ROUNDS: u64 = 3_000;

/// What became of one thread.
struct Sample {
    outcome: Outcome,
    frames: Vec<Result<Frame, CodeError>>,
    /// Reads of the walks: the part that a BPF program does.
    walk_reads: usize,
}

fn sample(memory: &mut Replay<'_>, layout: &Layout, runtime: Addr, pointer: u64) -> Sample {
    let before = memory.reads;
    let mut stack = Stack::default();
    let outcome = match find(memory, layout, runtime, pointer) {
        Err(_) => Outcome::Unreadable,
        Ok(None) => Outcome::ThreadNotFound,
        Ok(Some(thread)) => {
            // As the BPF program asks; what it answers to nonsense is nonsense, but it ends.
            let _ = (holds_gil(memory, layout, runtime, &thread), collects(memory, layout, &thread));
            let _ = revisit(memory, layout, thread.address, pointer);
            if thread.runs_python(layout) {
                unwind(memory, layout, &thread, &mut stack)
            } else {
                Outcome::Native
            }
        }
    };
    let _ = current(memory, layout, runtime, pointer);
    let walk_reads = memory.reads - before;
    let frames = stack.0.iter().map(|&(code, index)| describe(memory, layout, code, index)).collect();
    Sample { outcome, frames, walk_reads }
}

#[test]
fn every_version_and_build_has_a_snapshot() {
    let all = snapshots();
    let has = |version| all.iter().any(|snapshot| snapshot.version == version);
    assert!(has((2, 7)));
    for minor in 6..=15 {
        assert!(has((3, minor)), "no snapshot of 3.{minor}");
    }
    // Debug builds, another libc, a compiler at run time, no GIL.
    for part in ["3.11-dbg", "musl-3.11", "3.14-dbg", "jit-3.14", "3.13t", "3.14t"] {
        assert!(all.iter().any(|snapshot| snapshot.python.contains(part)), "no snapshot of {part}");
    }
    for minor in [13, 14] {
        let without_gil = all
            .iter()
            .filter(|snapshot| snapshot.version == (3, minor) && snapshot.layout().gil == GIL_UNKNOWN);
        assert_eq!(without_gil.count(), 1, "free-threaded 3.{minor}");
    }
}

#[test]
fn a_replay_is_what_the_interpreter_said() {
    for snapshot in snapshots() {
        let Snapshot { python, runtime, .. } = &snapshot;
        let layout = snapshot.layout();
        let mut memory = Replay::of(&snapshot.ranges);
        for (pointer, expected) in &snapshot.truth {
            let Sample { outcome, frames, .. } = sample(&mut memory, &layout, *runtime, *pointer);
            let frames: Vec<Frame> = frames.into_iter().collect::<Result<_, _>>().unwrap();
            let mut expected = expected.clone();
            // The leaf has gone from one call to the next on its line since it was asked.
            expected[0].index = frames.first().map_or(0, |leaf| leaf.index);
            assert_eq!((outcome, frames), (Outcome::Complete, expected), "{python}");

            let thread = find(&mut memory, &layout, *runtime, *pointer).unwrap().unwrap();
            assert_eq!(revisit(&mut memory, &layout, thread.address, *pointer), Ok(Some(thread)), "{python}");
            // Every thread waits in read(2) without the GIL, and nothing is being collected.
            let told = layout.gil != GIL_UNKNOWN;
            assert_eq!(holds_gil(&mut memory, &layout, *runtime, &thread), told.then_some(false), "{python}");
            assert_eq!(current(&mut memory, &layout, *runtime, *pointer), Ok(None), "{python}");
            assert_eq!(collects(&mut memory, &layout, &thread), None, "{python}");
        }
        let names = thread_names(&mut memory, &layout, *runtime).unwrap();
        let mut names: Vec<_> = names.into_iter().map(|thread| (thread.ident, thread.name)).collect();
        names.sort();
        // 2.7 is not asked for names.
        let expected = if snapshot.version == (2, 7) { Vec::new() } else { snapshot.names.clone() };
        assert_eq!(names, expected, "{python}");
        assert_eq!(memory.outside, [], "{python}: reads outside of what was recorded");
        let frames: usize = snapshot.truth.iter().map(|(_, frames)| frames.len()).sum();
        assert!(frames > 80, "{python}: {frames} frames");
    }
}

#[test]
fn every_range_is_missed_by_name() {
    for snapshot in snapshots() {
        let (python, layout) = (&snapshot.python, snapshot.layout());
        for at in snapshot.ranges.0.keys() {
            let mut ranges = snapshot.ranges.clone();
            ranges.0.remove(at);
            let mut memory = Replay::of(&ranges);
            for (pointer, expected) in &snapshot.truth {
                let found = sample(&mut memory, &layout, snapshot.runtime, *pointer);
                check_part(&found, expected, &layout)
                    .unwrap_or_else(|why| panic!("{python} without {at:#x}: {why}, {:?}", found.outcome));
            }
            // A part of the names, or an error: the loss is in `outside`.
            let names = thread_names(&mut memory, &layout, snapshot.runtime).unwrap_or_default();
            for name in names {
                assert!(snapshot.names.contains(&(name.ident, name.name.clone())), "{python}: {name:?}");
            }
            assert!(!memory.outside.is_empty(), "{python}: nobody reads what is at {at:#x}");
        }
    }
}

/// The same for whoever looks from user space: states are listed, and walked one by one.
fn dumped(memory: &mut Replay<'_>, layout: &Layout, runtime: Addr, pointer: u64) -> Option<Sample> {
    let (states, _) = thread_states(memory, layout, runtime, MAX_THREADS);
    let (address, _) = states.into_iter().find(|(_, of)| *of == pointer)?;
    let thread = revisit(memory, layout, address, pointer).ok()??;
    let found = stack(memory, layout, runtime, &thread, MAX_FRAMES);
    let of = |frame: &StackFrame| describe(memory, layout, frame.code, frame.index);
    let frames = found.frames.iter().map(of).collect();
    Some(Sample { outcome: found.outcome, frames, walk_reads: 0 })
}

#[test]
fn every_read_fails_in_turn() {
    let (mut failed, mut not_whole) = (0, 0);
    for snapshot in snapshots() {
        let Snapshot { python, runtime, .. } = &snapshot;
        let layout = snapshot.layout();
        for (pointer, expected) in &snapshot.truth {
            for look in [
                |memory: &mut Replay<'_>, layout: &Layout, runtime, pointer| {
                    Some(sample(memory, layout, runtime, pointer))
                },
                dumped,
            ] {
                let mut memory = Replay::of(&snapshot.ranges);
                look(&mut memory, &layout, *runtime, *pointer).expect("the thread");
                for fail_at in 0..memory.reads {
                    let mut memory = Replay::failing(&snapshot.ranges, fail_at);
                    // A thread that is not found has no stack that could be wrong.
                    let Some(found) = look(&mut memory, &layout, *runtime, *pointer) else { continue };
                    failed += 1;
                    let whole = found.outcome == Outcome::Complete && found.frames.iter().all(Result::is_ok);
                    not_whole += usize::from(!whole);
                    check_part(&found, expected, &layout)
                        .unwrap_or_else(|why| panic!("{python}, read {fail_at}: {why}, {:?}", found.outcome));
                }
            }
        }
        let mut memory = Replay::of(&snapshot.ranges);
        thread_names(&mut memory, &layout, *runtime).unwrap();
        for fail_at in 0..memory.reads {
            let mut memory = Replay::failing(&snapshot.ranges, fail_at);
            for name in thread_names(&mut memory, &layout, *runtime).unwrap_or_default() {
                assert!(snapshot.names.contains(&(name.ident, name.name.clone())), "{python}: {name:?}");
            }
        }
    }
    println!("{failed} looks with a read that failed, {not_whole} of them told of it");
    assert!(not_whole * 2 > failed, "{not_whole} of {failed}");
}

/// Whether what was found of a stack, while something was missing, is a part of it.
fn check_part(found: &Sample, expected: &[Frame], layout: &Layout) -> Result<(), &'static str> {
    let count = found.frames.len();
    let part = match found.outcome {
        Outcome::Complete if count == expected.len() => expected,
        // A frame that is not there looks like what an unfilled cframe refers to: the stack begins further down.
        Outcome::Complete if layout.cframe_current != ABSENT && 0 < count && count < expected.len() => {
            &expected[expected.len() - count..]
        }
        Outcome::Unreadable | Outcome::Torn => expected.get(..count).ok_or("more frames than there are")?,
        _ => return Err("an outcome that does not fit"),
    };
    for (found, expected) in found.frames.iter().zip(part) {
        if let Ok(found) = found {
            // Without its table a function keeps its name.
            let line = found.line == expected.line || found.line == 0;
            if !line || (&found.name, &found.file) != (&expected.name, &expected.file) {
                return Err("frames that are none of the thread's");
            }
        }
    }
    Ok(())
}

/// Knuth's MMIX generator: the same noise in every run.
struct Noise(u64);

impl Noise {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 20) as usize % bound
    }
}

#[test]
fn flipped_bytes_neither_panic_nor_go_on_for_ever() {
    let (mut noise, mut outcomes, mut codes_lost) = (Noise(1), std::collections::HashMap::new(), 0);
    for mut snapshot in snapshots() {
        let layout = snapshot.layout();
        let starts: Vec<u64> = snapshot.ranges.0.keys().copied().collect();
        for round in 0..ROUNDS {
            let mut undo = Vec::new();
            for _ in 0..1 << noise.below(5) {
                undo.push(change(&mut snapshot.ranges, &starts, &mut noise));
            }
            let mut memory = Replay::of(&snapshot.ranges);
            let (pointer, _) = snapshot.truth[noise.below(snapshot.truth.len())];
            let found = sample(&mut memory, &layout, snapshot.runtime, pointer);
            *outcomes.entry(found.outcome).or_insert(0) += 1;
            codes_lost += found.frames.iter().filter(|frame| frame.is_err()).count();
            // Per state: itself and its cframe; per frame: itself, code, name, copies, a cframe and its frame.
            let most = 3 * MAX_THREADS + 6 * MAX_STEPS + 16;
            assert!(found.walk_reads <= most, "{}: {} reads", snapshot.python, found.walk_reads);
            if round % 16 == 0 {
                let _ = thread_names(&mut memory, &layout, snapshot.runtime);
            }
            // Backwards: a range may have been changed twice.
            snapshot.ranges.0.extend(undo.into_iter().rev());
        }
    }
    println!("{outcomes:?}, {codes_lost} code objects lost");
    for outcome in [Outcome::Complete, Outcome::Unreadable, Outcome::Torn, Outcome::ThreadNotFound] {
        assert!(outcomes.get(&outcome).is_some_and(|count| *count > 10), "{outcomes:?}");
    }
    assert!(codes_lost > 100, "{codes_lost}");
}

/// Changes a byte or a word somewhere; returns what was there.
fn change(ranges: &mut Ranges, starts: &[u64], noise: &mut Noise) -> (u64, Vec<u8>) {
    let at = starts[noise.below(starts.len())];
    let other = ranges.0[&starts[noise.below(starts.len())]].clone();
    let range = ranges.0.get_mut(&at).unwrap();
    let before = range.clone();
    let byte = noise.below(range.len());
    match noise.below(4) {
        0 => range[byte] ^= 1 << noise.below(8),
        1 => range[byte] = [0, 0xff][noise.below(2)],
        2 => range[byte] = noise.below(256) as u8,
        // A word from elsewhere: pointers that lead to other objects, and back.
        _ => {
            let (into, from) = (noise.below(range.len() / 8), noise.below(other.len() / 8));
            range[into * 8..into * 8 + 8].copy_from_slice(&other[from * 8..from * 8 + 8]);
        }
    }
    (at, before)
}
