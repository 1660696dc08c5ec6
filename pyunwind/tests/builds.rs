//! What only some builds have, on drawn processes: references to code objects with tags, a copy of the bytecode per thread,
//! the frame in which a collection was triggered, strings of bytes. Layouts are those of recorded interpreters.

mod common;
mod synthetic;

use common::snapshot::{recorded, snapshots};
use pyunwind::host::code_object::{CodeObject, MAX_CHARS};
use pyunwind::host::strings::CUT_MARK;
use pyunwind::host::versions::V2_7;
use pyunwind::layout::{FRAME_HEAP, Layout};
use pyunwind::step::{INDEX_UNKNOWN, Walk};
use pyunwind::thread::collects;
use pyunwind::{Addr, Outcome};
use synthetic::{GARBAGE, Picture, Stack, World, drive, interpreter};

use Outcome::{Complete, Torn, Unreadable};

/// Where tests draw what a process has besides.
const ELSEWHERE: u64 = 0x5550_0000_0000;

/// The outcome, and the indexes of the frames, leaf first.
fn indexes(world: &mut World) -> (Outcome, Vec<i32>) {
    let layout = world.layout;
    let thread = world.find().unwrap();
    let walk = Walk::begin(&mut world.memory, &layout, &thread).unwrap();
    let mut sink = Stack::default();
    let outcome = drive(walk, &mut world.memory, &layout, &mut sink);
    (outcome, sink.frames.iter().map(|(.., index)| *index).collect())
}

#[test]
fn references_to_code_objects_may_carry_the_tags_of_their_build() {
    let mut tagged = 0;
    // 2.7 links its thread states in one direction, which drawn processes do not.
    for snapshot in snapshots().iter().filter(|snapshot| snapshot.version.0 == 3) {
        let (python, layout) = (&snapshot.python, snapshot.layout());
        for tag in 0..8 {
            let mut world = World::run(layout, "[ab[cGd");
            for frame in world.frames.clone() {
                let at = frame + u64::from(layout.frame_code);
                world.memory.set(at, world.memory.get(at) | tag);
            }
            let known = tag & !u64::from(layout.frame_code_tag) == 0;
            let expected = if known { (Complete, "dGcba") } else { (Unreadable, "") };
            let (outcome, text) = world.unwind();
            // The leaf of 3.11 and 3.12 may be what an unfilled cframe refers to: its links say that it is none.
            assert_eq!((outcome, text.as_str()), expected, "{python}: tag {tag}");
            tagged += u32::from(known && tag != 0);
        }
    }
    assert!(tagged >= 3, "builds with tags");
}

#[test]
fn each_thread_runs_a_copy_of_the_bytecode() {
    let layout = recorded("source-3.14t");
    let copy = |number: u64| ELSEWHERE + 0x10_0000 * number;
    // Two frames of one code object, root first. (what it is, (copy, where its instruction stands, from which copy's
    // start, in units) of each, how it ends, indexes leaf first)
    type At = (u32, u64, u64);
    type Row<'a> = (&'a str, [At; 2], Outcome, &'a [i32]);
    let unknown = INDEX_UNKNOWN;
    let rows: &[Row<'_>] = &[
        ("the code object's own", [(0, 0, 3), (0, 0, 7)], Complete, &[7, 3]),
        ("a copy", [(1, 1, 3), (1, 1, 7)], Complete, &[7, 3]),
        ("the last copy", [(2, 2, 0), (2, 2, 9)], Complete, &[9, 0]),
        ("a generator still has another thread's", [(2, 2, 5), (1, 1, 8)], Complete, &[8, 5]),
        ("and the other way round", [(1, 1, 5), (2, 2, 8)], Complete, &[8, 5]),
        ("own and copy", [(0, 0, 5), (1, 1, 8)], Complete, &[8, 5]),
        ("an index that is out of date", [(2, 1, 5), (1, 1, 8)], Complete, &[8, unknown]),
        ("a copy that is not there", [(0, 0, 5), (3, 1, 8)], Unreadable, &[]),
        ("a copy that is not there, below one that is", [(3, 1, 5), (1, 1, 8)], Unreadable, &[8]),
    ];
    for &(row, frames, end, expected) in rows {
        let mut world = World::run(layout, "[aa");
        let code = world.code('a');
        let own = code + u64::from(layout.code_instructions);
        // _PyCodeArray: how many, then where each is. Behind the last there is nothing.
        let copies = ELSEWHERE + 4096 - 4 * 8;
        world.memory.set(code + u64::from(layout.code_tlbc), copies);
        for (entry, value) in [3, own, copy(1), copy(2)].into_iter().enumerate() {
            world.memory.set(copies + 8 * entry as u64, value);
        }
        for (frame, (index, from, units)) in world.frames.clone().into_iter().zip(frames) {
            let start = if from == 0 { own } else { copy(from) };
            world.memory.set(frame + u64::from(layout.frame_instr), start + 2 * units);
            world.memory.set_bits(frame + u64::from(layout.frame_tlbc_index), 32, index.into());
        }
        assert_eq!(indexes(&mut world), (end, expected.to_vec()), "{row}");
        // The array itself.
        if frames[0].0 != 0 && end == Complete {
            world.memory.set(code + u64::from(layout.code_tlbc), GARBAGE);
            assert_eq!(indexes(&mut world), (Unreadable, vec![]), "{row}: no array");
        }
    }
    // With a GIL there are no copies, whatever stands there.
    let mut world = World::run(recorded("sid-3.14"), "[aa");
    assert_eq!(indexes(&mut world), (Complete, vec![1, 0]));
}

#[test]
fn a_collection_is_marked_in_the_frame_that_triggered_it() {
    let layout = recorded("sid-3.15");
    // (what it is, number of the frame from the root, frames that the collector has called when it is met)
    let rows = [
        ("the leaf", 3, Some(0)),
        ("a frame that a finalizer is above of", 1, Some(2)),
        ("the root", 0, Some(3)),
        ("a frame of another thread", 9, None),
    ];
    for (row, frame, expected) in rows {
        let mut world = World::run(layout, "[ab[cd");
        let frame = world.frames.get(frame).copied().unwrap_or(GARBAGE);
        // `collecting` is an int, and what follows it is something else.
        world.memory.set(interpreter(0) + u64::from(layout.interpreter_gc_collecting), 0xdead_beef_0000_0001);
        world.memory.set(interpreter(0) + u64::from(layout.interpreter_gc_frame), frame);
        let thread = world.find().unwrap();
        let triggered = collects(&mut world.memory, &layout, &thread).expect("it collects");
        assert_eq!(triggered, Addr(frame), "{row}");
        let walk = Walk::begin(&mut world.memory, &layout, &thread).unwrap().collected_in(triggered);
        let mut sink = Stack::default();
        assert_eq!(drive(walk, &mut world.memory, &layout, &mut sink), Complete, "{row}");
        assert_eq!((sink.triggered_under, sink.frames.len()), (expected, 4), "{row}");
    }
}

#[test]
fn whether_a_collection_runs_is_told_from_3_13_on_where_there_is_a_gil() {
    // (build, `collecting`, what comes out)
    let rows = [
        ("sid-3.15", 0, None),
        ("sid-3.15", 0xdead_beef_0000_0000, None),
        ("sid-3.15", 1, Some(Addr(GARBAGE))),
        // The frame is not kept.
        ("sid-3.14", 1, Some(Addr::NULL)),
        ("trixie-3.13", 1, Some(Addr::NULL)),
        ("trixie-3.13", 0, None),
        ("source-3.14t", 1, None),
        ("pyenv-3.12.1", 1, None),
    ];
    for (python, collecting, expected) in rows {
        let layout = recorded(python);
        let mut world = World::run(layout, "[a");
        let mut set = |offset: u32, value| {
            if offset != u32::MAX {
                world.memory.set(interpreter(0) + u64::from(offset), value);
            }
        };
        set(layout.interpreter_gc_collecting, collecting);
        set(layout.interpreter_gc_frame, GARBAGE);
        let thread = world.find().unwrap();
        let found = collects(&mut world.memory, &layout, &thread);
        assert_eq!(found, expected, "{python}: {collecting:#x}");
        let lost = pyunwind::thread::ThreadState { interpreter: Addr(GARBAGE), ..thread };
        assert_eq!(collects(&mut world.memory, &layout, &lost), None, "{python}: unreadable");
    }
}

#[test]
fn names_of_2_7_are_bytes_at_odd_places() {
    const { assert!(!V2_7.bytes_data.is_multiple_of(8) && V2_7.frame_kind == FRAME_HEAP) };
    let long = "a".repeat(MAX_CHARS as usize);
    let cut = format!("{long}{CUT_MARK}");
    let longer = format!("{long}b");
    let around: Vec<String> =
        [3, 4, 5, 11, 12, 13, 251, 252, 253, 256, 257].map(|len| "é".repeat(len)).into();
    let mut rows: Vec<(&[u8], &str)> = vec![
        (b"", ""),
        (b"x", "x"),
        (b"spam", "spam"),
        ("/srv/数/🐍.py".as_bytes(), "/srv/数/🐍.py"),
        (b"latin-1: \xe9", "latin-1: \u{fffd}"),
        (b"\0\x1b[31m", "\0\x1b[31m"),
        (long.as_bytes(), &long),
        (longer.as_bytes(), &cut),
    ];
    rows.extend(around.iter().map(|text| (text.as_bytes(), text.as_str())));
    for (bytes, expected) in rows {
        let code = read_two(bytes, |_| {}).unwrap();
        assert_eq!((code.name.as_str(), code.file.as_str()), (expected, expected));
        assert_eq!((code.qualname.as_deref(), code.first_line), (None, 3));
        // Its bytes are a line table, too.
        assert_eq!(code.lines.bytes, bytes);
    }
    // The characters break off: at the end of the page behind the object's first words, say.
    let lost = read_two(&[b'a'; 64], |memory| memory.forbid(ELSEWHERE + 4096 + 40));
    assert!(lost.is_err(), "{lost:?}");
}

/// A code object of 2.7 whose name, file and line table are all the same string.
fn read_two(
    bytes: &[u8],
    change: impl FnOnce(&mut Picture),
) -> Result<CodeObject, pyunwind::host::code_object::CodeError> {
    let layout: Layout = V2_7;
    let (code, text) = (ELSEWHERE, ELSEWHERE + 4096);
    let mut memory = Picture::default();
    (0..24).for_each(|word| memory.set(code + 8 * word, 0));
    memory.set_bits(code + u64::from(layout.code_firstlineno), 32, 3);
    for field in [layout.code_name, layout.code_filename, layout.code_linetable] {
        memory.set(code + u64::from(field), text);
    }
    // PyStringObject: ob_size, ob_shash, the int ob_sstate, the characters.
    memory.set(text + u64::from(layout.str_length), bytes.len() as u64);
    memory.set_bits(text + 32, 32, 1);
    for (at, byte) in (text + 36..).zip(bytes) {
        memory.set_bits(at, 8, u64::from(*byte));
    }
    change(&mut memory);
    CodeObject::read(&mut memory, &layout, Addr(code))
}

#[test]
fn lost_links_of_new_builds_end_by_name() {
    for python in ["sid-3.14", "source-3.14t", "sid-3.15"] {
        let layout = recorded(python);
        for (link, expected) in [(GARBAGE, Unreadable), (GARBAGE + 1, Unreadable), (0, Torn)] {
            let mut world = World::run(layout, "[ab[cd");
            world.memory.set(world.frames[2] + u64::from(layout.frame_back), link);
            let (outcome, text) = world.unwind();
            assert_eq!((outcome, text.as_str()), (expected, "dc"), "{python}: {link:#x}");
        }
    }
}
