//! The frame walk on drawn processes: whole stacks on every layout, what is left out of them, how they end.

mod synthetic;

use pyunwind::layout::{ABSENT, FRAME_HEAP, INSTR_BYTES, INSTR_POINTER, INSTR_UNITS, Layout, NO_SHIM};
use pyunwind::step::INDEX_UNKNOWN;
use pyunwind::{FrameSink, Outcome};
use synthetic::{GARBAGE, MAX_FRAMES, MAX_STEPS, Stack, World, layouts};

use Outcome::{Complete, Torn, Truncated, Unreadable};

/// Both ways in which frames are read must give the same.
fn check(row: &str, world: &mut World, expected: (Outcome, &str)) {
    for windows in [false, true] {
        world.memory.windows = windows;
        let (outcome, text) = world.unwind();
        assert_eq!((outcome, text.as_str()), expected, "3.{}, windows {windows}: {row}", world.layout.minor);
    }
}

#[test]
fn whole_stacks_on_every_layout() {
    // (what it is, script, stack leaf first)
    let rows: &[(&str, &str, &str)] = &[
        ("a module", "[a", "a"),
        ("functions that call functions", "[abcdef", "fedcba"),
        ("a hop through C in the middle", "[abc[def", "fedcba"),
        ("a hop through C at every call", "[a[b[c[d", "dcba"),
        ("one function again and again", "[aaa[aa", "aaaaa"),
        ("a generator as leaf", "[abG", "Gba"),
        ("a generator that C entered", "[ab[Gc", "cGba"),
        ("a chain of generators", "[aGHIJb", "bJIHGa"),
        ("a generator between frames of the data stack", "[abGcd[Hef", "feHdcGba"),
        ("the interpreter's own frames do not show", "[ab*c[*d*", "dcba"),
        ("the interpreter's own frame below all others", "[*a", "a"),
        ("a thread that is nowhere in Python", "", ""),
    ];
    for layout in layouts() {
        for (row, script, expected) in rows {
            let mut world = World::run(layout, script);
            // The root cframe: nothing runs, and whoever walks it all the same finds no frame.
            if script.is_empty() {
                let thread = world.find().unwrap();
                assert!(!thread.runs_python(&layout), "{row}");
                continue;
            }
            check(row, &mut world, (Complete, expected));
        }
    }
}

#[test]
fn no_more_reads_than_frames_code_objects_and_links_of_cframes_need() {
    for layout in layouts() {
        let mut world = World::run(layout, "[abcdefgh[ijklmnop");
        let reads = |world: &mut World, windows| {
            world.memory.windows = windows;
            world.unwind();
            world.memory.reads
        };
        let (single, windowed) = (reads(&mut world, false), reads(&mut world, true));
        // Runtime, interpreter, thread, cframe and the two words below it; per code object one read and, up to 3.11, its name.
        // Up to 3.12 it is also asked whether there is another interpreter.
        let cframes = if layout.cframe_current == ABSENT { 0 } else { 3 };
        let fixed = 3 + cframes + u32::from(layout.minor <= 12);
        let codes = 16 * if layout.code_version == ABSENT { 2 } else { 1 };
        let shims = if layout.shim_owner == NO_SHIM { 0 } else { 2 };
        assert_eq!(single, fixed + codes + 16 + shims, "3.{}", layout.minor);
        // The leaf alone, then a page for all others.
        let frames = if layout.frame_kind == FRAME_HEAP { 16 } else { 2 };
        assert_eq!(windowed, fixed + codes + frames + shims, "3.{}", layout.minor);
    }
}

#[test]
fn a_window_that_does_not_fit_falls_back_on_single_frames() {
    for layout in layouts() {
        let mut world = World::run(layout, "[abcdef[gh");
        // Below the first frame of its page stands what cannot be read.
        let first = world.frames[0];
        world.memory.forbid(first & !4095);
        check("the start of the page is not there", &mut world, (Complete, "hgfedcba"));
    }
}

#[test]
fn a_shim_is_skipped_before_its_code_pointer_is_touched() {
    for layout in layouts().into_iter().filter(|layout| layout.shim_owner != NO_SHIM) {
        for pointer in [0, 1, GARBAGE, GARBAGE + 1, u64::MAX, 1 << 63] {
            for owner in layout.shim_owner..=u8::MAX {
                let mut world = World::run(layout, "[ab[c");
                // The shim through which C entered `c`.
                let shim = world.memory.get(world.leaf + u64::from(layout.frame_back));
                world.frame(shim, pointer, world.frames[1], owner.into(), 0);
                check("a shim whose code pointer is nowhere", &mut world, (Complete, "cba"));
            }
        }
    }
    // Evaluation has just begun, or is just over.
    let mut world = World::run(synthetic::layout(13), "[ab[");
    check("a shim as leaf", &mut world, (Complete, "ba"));
}

#[test]
fn frames_that_c_entered_are_kept_where_there_are_no_shims() {
    let layout = synthetic::layout(11);
    let world = World::run(layout, "[a[b[c");
    for (frame, name) in world.frames.iter().zip("abc".chars()) {
        let word = world.memory.get(frame + u64::from(layout.frame_is_entry & !7));
        assert_eq!((word >> ((layout.frame_is_entry & 7) * 8)) & 0xFF, 1, "{name} is an entry frame");
    }
    check("entry frames only", &mut World::run(layout, "[a[b[c"), (Complete, "cba"));
    check("an entry frame as leaf", &mut World::run(layout, "[abc[d"), (Complete, "dcba"));
}

#[test]
fn a_frame_is_phantom_by_its_code_object_alone() {
    // (first line is 0, name and file are the same string, dropped)
    for (no_line, same_string, dropped) in
        [(true, true, true), (true, false, false), (false, true, false), (false, false, false)]
    {
        for layout in layouts() {
            let mut world = World::run(layout, "[abc");
            let code = world.code('b');
            if no_line {
                world.memory.set_bits(code + u64::from(layout.code_firstlineno), 32, 0);
            }
            if same_string {
                let name = world.memory.get(code + u64::from(layout.code_name));
                world.memory.set(code + u64::from(layout.code_filename), name);
            }
            let row = format!("no line {no_line}, same string {same_string}");
            let (_, text) = world.unwind();
            assert_eq!(text, if dropped { "ca" } else { "cba" }, "3.{}: {row}", layout.minor);
        }
    }
}

#[test]
fn links_that_lead_nowhere_end_the_stack_by_name() {
    // (what it is, what the frame of b links to instead, how the stack ends)
    let rows = [
        ("unmapped", GARBAGE, Unreadable),
        ("misaligned", GARBAGE + 4, Unreadable),
        ("odd", 1, Unreadable),
        ("the last page of the address space", u64::MAX - 7, Unreadable),
        ("a kernel address", 0xffff_8880_0000_0000, Unreadable),
    ];
    for layout in layouts() {
        for (row, link, expected) in rows {
            let mut world = World::run(layout, "[abcd[ef");
            world.memory.set(world.frames[1] + u64::from(layout.frame_back), link);
            check(row, &mut world, (expected, "fedcb"));
        }
        let mut world = World::run(layout, "[abcd[ef");
        world.memory.set(world.frames[1] + u64::from(layout.frame_back), 0);
        // Only frames that C entered can be roots; heap frames do not tell.
        let outcome = if layout.frame_kind == FRAME_HEAP { Complete } else { Torn };
        check("a lone NULL", &mut world, (outcome, "fedcb"));
        // The code object of c.
        for (row, code) in [("unmapped", GARBAGE), ("misaligned", GARBAGE + 4), ("NULL", 0)] {
            let mut world = World::run(layout, "[abcd[ef");
            world.memory.set(world.frames[2] + u64::from(layout.frame_code), code);
            check(row, &mut world, (Unreadable, "fed"));
        }
    }
}

#[test]
fn a_generator_without_a_caller_is_torn_and_not_a_root() {
    for layout in layouts().into_iter().filter(|layout| layout.frame_kind != FRAME_HEAP) {
        let mut world = World::run(layout, "[aGb[c");
        world.memory.set(world.frames[1] + u64::from(layout.frame_back), 0);
        check("a generator that has no caller any more", &mut world, (Torn, "cbG"));
    }
    let layout = synthetic::layout(13);
    let mut world = World::run(layout, "[ab[cG");
    world.memory.set(world.leaf + u64::from(layout.frame_back), 0);
    check("a generator that has no caller yet", &mut world, (Torn, "G"));
}

#[test]
fn cycles_end() {
    // Frame number -> links to frame number.
    let rows: &[(&str, usize, usize)] = &[
        ("itself", 2, 2),
        ("the one above it", 2, 3),
        ("the leaf", 0, 5),
        ("the leaf, from the root on", 1, 5),
    ];
    for layout in layouts() {
        for &(row, from, to) in rows {
            let mut world = World::run(layout, "[abcde[f");
            world.memory.set(world.frames[from] + u64::from(layout.frame_back), world.frames[to]);
            world.memory.windows = true;
            let (outcome, text) = world.unwind();
            assert!(text.len() <= MAX_FRAMES && world.memory.reads as usize <= MAX_STEPS + 32, "{row}");
            if from == to {
                assert_eq!((outcome, text.as_str()), (Torn, "fed"), "3.{}: {row}", layout.minor);
            } else {
                assert!(matches!(outcome, Truncated | Torn), "3.{}: {row}: {outcome:?} {text}", layout.minor);
                assert!(text.starts_with("f") || text.is_empty(), "{row}: {text}");
            }
        }
    }
    // Frames that never show: shims and the interpreter's own.
    for layout in layouts().into_iter().filter(|layout| layout.shim_owner != NO_SHIM) {
        let mut world = World::run(layout, "[a");
        let (one, other) = (world.leaf + 0x10_0000, world.leaf + 0x20_0000);
        world.frame(one, 0, other, layout.shim_owner.into(), 0);
        world.frame(other, 0, one, layout.shim_owner.into(), 0);
        world.memory.set(world.leaf + u64::from(layout.frame_back), one);
        let (outcome, text) = world.unwind();
        assert!(matches!(outcome, Truncated | Torn), "shims only: {outcome:?} {text}");
    }
    for layout in layouts() {
        let mut world = World::run(layout, "[a**b");
        world.memory.set(world.frames[1] + u64::from(layout.frame_back), world.frames[2]);
        let (outcome, text) = world.unwind();
        assert!(matches!(outcome, Truncated | Torn), "phantoms only: {outcome:?} {text}");
    }
}

#[test]
fn a_stack_that_is_too_deep_keeps_its_leaf_side() {
    for layout in layouts() {
        for hop in ["", "["] {
            for (depth, expected) in [(MAX_FRAMES, Complete), (MAX_FRAMES + 1, Truncated), (2000, Truncated)]
            {
                let script: String =
                    ["["].into_iter().chain((1..depth).flat_map(|_| ["a", hop])).chain(["z"]).collect();
                let mut world = World::run(layout, &script);
                world.memory.windows = true;
                let (outcome, text) = world.unwind();
                assert_eq!((outcome, text.len()), (expected, depth.min(MAX_FRAMES)), "3.{}", layout.minor);
                assert!(text.starts_with("zaaa"), "3.{}", layout.minor);
            }
        }
    }
}

#[test]
fn indexes_are_in_code_units_on_every_version() {
    let layout_of = |unit| layouts().into_iter().filter(move |layout: &Layout| layout.instr_unit == unit);
    let index = |layout: Layout, instr: &dyn Fn(&mut World, u64)| {
        let mut world = World::run(layout, "[ab");
        let leaf = world.leaf;
        instr(&mut world, leaf + u64::from(layout.frame_instr));
        let thread = world.find().unwrap();
        let walk = pyunwind::step::Walk::begin(&mut world.memory, &layout, &thread).unwrap();
        let mut sink = Stack::default();
        assert_eq!(synthetic::drive(walk, &mut world.memory, &layout, &mut sink), Complete);
        sink.frames[0].2
    };
    for layout in layout_of(INSTR_BYTES) {
        for (bytes, expected) in [(-1, -1), (0, 0), (2, 1), (254, 127), (0x7fff_fffe, 0x3fff_ffff)] {
            let found = index(layout, &|world, at| world.memory.set_bits(at, 32, bytes as u32 as u64));
            assert_eq!(found, expected, "3.{}: byte {bytes}", layout.minor);
        }
    }
    for layout in layout_of(INSTR_UNITS) {
        for units in [-1, 0, 1, 127, i32::MAX] {
            let found = index(layout, &|world, at| world.memory.set_bits(at, 32, units as u32 as u64));
            assert_eq!(found, units, "3.{}: unit {units}", layout.minor);
        }
    }
    for layout in layout_of(INSTR_POINTER) {
        // (bytes from the start of the instructions, index)
        let rows = [
            (-2, -1),
            (0, 0),
            (2, 1),
            (20_000, 10_000),
            (-4, INDEX_UNKNOWN),
            (i64::MIN, INDEX_UNKNOWN),
            (i64::MAX, INDEX_UNKNOWN),
            ((i32::MAX as i64) * 2 - 2, i32::MAX - 1),
            ((i32::MAX as i64) * 2, INDEX_UNKNOWN),
            ((i32::MAX as i64) * 2 + 4, INDEX_UNKNOWN),
        ];
        for (bytes, expected) in rows {
            let found = index(layout, &|world, at| {
                let start = world.code('b') + u64::from(layout.code_instructions);
                world.memory.set(at, start.wrapping_add_signed(bytes));
            });
            assert_eq!(found, expected, "3.{}: {bytes} bytes from the start", layout.minor);
        }
    }
}

#[test]
fn an_identity_changes_with_all_that_tells_code_objects_apart() {
    for layout in layouts() {
        let mut world = World::new(layout);
        let code = world.code('a');
        let identity = |world: &mut World| {
            pyunwind::code::check(&mut world.memory, &layout, pyunwind::Addr(code), 0).unwrap().identity
        };
        let mut seen = vec![identity(&mut world)];
        let other_name = {
            let other = world.code('b');
            world.memory.get(other + u64::from(layout.code_name))
        };
        let mut changes = vec![
            (code + u64::from(layout.code_filename), other_name),
            (code + u64::from(layout.code_name), other_name),
            (code + u64::from(layout.code_linetable), other_name),
        ];
        if layout.code_qualname != ABSENT {
            changes.push((code + u64::from(layout.code_qualname), other_name));
        }
        if layout.code_version == ABSENT {
            // The same name pointer, other characters behind it.
            let name = world.memory.get(code + u64::from(layout.code_name));
            changes.push((name + u64::from(layout.str_hash), 0x1234_5678));
        }
        for (at, value) in changes {
            let before = world.memory.get(at);
            world.memory.set(at, value);
            seen.push(identity(&mut world));
            world.memory.set(at, before);
        }
        let words = [Some(layout.code_firstlineno), Some(layout.code_version).filter(|at| *at != ABSENT)];
        for at in words.into_iter().flatten() {
            let before = world.memory.clone();
            world.memory.set_bits(code + u64::from(at), 32, 99);
            seen.push(identity(&mut world));
            world.memory = before;
        }
        assert_eq!(identity(&mut world), seen[0], "all is as before");
        let all = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), all, "3.{}", layout.minor);
    }
}

#[test]
fn a_code_object_is_checked_once_per_sample() {
    for layout in layouts() {
        let mut world = World::run(layout, &format!("[{}", "a".repeat(300)));
        world.memory.windows = true;
        let (outcome, text) = world.unwind();
        assert_eq!((outcome, text.len()), (Complete, 300));
        let frames = if layout.frame_kind == FRAME_HEAP { 300 } else { 20 };
        assert!(world.memory.reads <= frames + 10, "3.{}: {} reads", layout.minor, world.memory.reads);
    }
    let mut sink = Stack::default();
    let check =
        pyunwind::code::CodeCheck { identity: 1, phantom: false, copy: 0, start: pyunwind::Addr::NULL };
    sink.remember(pyunwind::Addr(8), check);
    assert_eq!(sink.recall(pyunwind::Addr(8)), Some(check));
}
