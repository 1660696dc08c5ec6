//! Who holds the GIL, and which of a thread's states runs, on drawn processes: every way in which a version tells, and what
//! of it is not believed. Layouts are those of recorded interpreters.

mod common;
mod synthetic;

use common::snapshot::{recorded, snapshots};
use pyunwind::layout::{ABSENT, GIL_CURRENT, Layout};
use pyunwind::thread::{ThreadState, ThreadWalk, WalkStep, current, holds_gil};
use pyunwind::{Addr, Fault};
use synthetic::{GARBAGE, MAX_THREADS, OWN, POINTER, RUNTIME, World, interpreter, thread};

const OTHER: u64 = POINTER + 0x1000;
const GIL: u64 = 0x5550_0000_0000;

/// Where the runtime has its current thread state.
fn current_at(layout: &Layout) -> u64 {
    RUNTIME.wrapping_add_signed(layout.runtime_current.into())
}

#[test]
fn the_holder_of_the_gil_is_found_without_a_walk() {
    let mut told = 0;
    for snapshot in snapshots().iter().filter(|snapshot| snapshot.version.0 == 3) {
        let (python, layout) = (&snapshot.python, snapshot.layout());
        let mut world = World::run(layout, "[ab");
        // A thread of somebody else, and one without frames.
        world.thread_state(1, OTHER, OWN);
        world.thread_state(2, POINTER, OWN);
        world.link_threads(0, &[2, 1, 0]);
        let running = world.memory.get(thread(0) + u64::from(layout.thread_frame));
        world.memory.set(thread(1) + u64::from(layout.thread_frame), running);
        let mut ask = |at: u64| {
            world.memory.set(current_at(&layout), at);
            world.memory.reset();
            let found = current(&mut world.memory, &layout, Addr(RUNTIME), POINTER);
            (found.map(|state| state.map(|state| state.address.0)), world.memory.reads)
        };
        if layout.gil != GIL_CURRENT {
            assert_eq!(ask(thread(0)), (Ok(None), 0), "{python} does not tell");
            continue;
        }
        told += 1;
        let (found, reads) = ask(thread(0));
        assert_eq!(found, Ok(Some(thread(0))), "{python}");
        assert!(reads <= 3, "{python}: {reads} reads");
        // (what stands there, what comes out)
        let rows = [
            (0, Ok(None)),
            (thread(0) + 4, Ok(None)),
            (thread(1), Ok(None)),
            (thread(2), Ok(None)),
            (GARBAGE, Err(Fault)),
        ];
        for (at, expected) in rows {
            assert_eq!(ask(at).0, expected, "{python}: {at:#x}");
        }
        // What is found is what a walk finds, and the GIL with it.
        world.memory.set(current_at(&layout), thread(0));
        let found = current(&mut world.memory, &layout, Addr(RUNTIME), POINTER).unwrap().unwrap();
        let walked = world.find().unwrap();
        assert_eq!(found, walked, "{python}");
        assert_eq!(holds_gil(&mut world.memory, &layout, Addr(RUNTIME), &found), Some(true), "{python}");
        world.memory.set(current_at(&layout), thread(1));
        assert_eq!(holds_gil(&mut world.memory, &layout, Addr(RUNTIME), &walked), Some(false), "{python}");
    }
    assert!(told >= 6, "3.6 to 3.11");
    // A runtime that is not there.
    let mut world = World::run(recorded("pyenv-3.8.18"), "[ab");
    let layout = world.layout;
    assert_eq!(current(&mut world.memory, &layout, Addr(GARBAGE), POINTER), Err(Fault));
}

#[test]
fn the_gil_of_3_12_is_held_by_its_last_holder_while_it_is_locked() {
    let layout = recorded("pyenv-3.12.1");
    // (last_holder, locked with what follows it, held)
    let rows = [
        (thread(0), 1, Some(true)),
        (thread(0), 0xdead_beef_0000_0001, Some(true)),
        (thread(0), 0, Some(false)),
        (thread(0), 0xdead_beef_0000_0000, Some(false)),
        // Not made yet: -1.
        (thread(0), 0xffff_ffff, Some(false)),
        (thread(1), 1, Some(false)),
        (0, 1, Some(false)),
    ];
    let mut world = World::run(layout, "[ab");
    let state = world.find().unwrap();
    for (holder, locked, expected) in rows {
        world.memory.set(interpreter(0) + u64::from(layout.interpreter_gil), GIL);
        world.memory.set(GIL + u64::from(layout.gil_holder), holder);
        world.memory.set(GIL + u64::from(layout.gil_holder) + 8, locked);
        assert_eq!(
            holds_gil(&mut world.memory, &layout, Addr(RUNTIME), &state),
            expected,
            "{holder:#x} {locked:#x}"
        );
    }
    for gil in [0, GARBAGE, u64::MAX - 7] {
        world.memory.set(interpreter(0) + u64::from(layout.interpreter_gil), gil);
        assert_eq!(holds_gil(&mut world.memory, &layout, Addr(RUNTIME), &state), None, "a GIL at {gil:#x}");
    }
    let lost = ThreadState { interpreter: Addr(GARBAGE), ..state };
    assert_eq!(
        holds_gil(&mut world.memory, &layout, Addr(RUNTIME), &lost),
        None,
        "an interpreter that is not there"
    );
}

#[test]
fn from_3_13_on_a_thread_state_says_whether_it_holds_the_gil() {
    const BIT: u64 = 1 << 5;
    const FLAG: u64 = 1 << 32;
    // (build, status with what follows it, held)
    let rows = [
        ("trixie-3.13", OWN, Some(false)),
        ("trixie-3.13", OWN | BIT, Some(true)),
        ("trixie-3.13", OWN | FLAG, Some(false)),
        ("trixie-3.13", !BIT, Some(false)),
        ("trixie-3.13-dbg", OWN | BIT, Some(true)),
        ("sid-3.14", OWN, Some(false)),
        ("sid-3.14", OWN | BIT, Some(false)),
        ("sid-3.14", OWN | FLAG, Some(true)),
        ("sid-3.15", OWN | 0xffff_fff7, Some(false)),
        ("sid-3.15", OWN | FLAG, Some(true)),
        // Nobody holds what is not there.
        ("source-3.13t", OWN | BIT | FLAG, None),
        ("source-3.14t", OWN | BIT | FLAG, None),
    ];
    for (python, status, expected) in rows {
        let layout = recorded(python);
        let mut world = World::run(layout, "[ab");
        world.memory.set(thread(0) + u64::from(layout.thread_status), status);
        let state = world.find().unwrap();
        assert_eq!(
            holds_gil(&mut world.memory, &layout, Addr(RUNTIME), &state),
            expected,
            "{python}: {status:#x}"
        );
    }
}

/// Draws a thread that runs two interpreters, the newer of them first, each from a cframe of its own: at which place below
/// the top of the C stack, or none (that of its thread state).
fn nested(layout: Layout, cframes: [Option<u64>; 2]) -> World {
    let mut world = World::run(layout, "[ab");
    let leaf = world.leaf;
    world.interpreter(0, interpreter(1));
    world.interpreter(1, 0);
    for (number, cframe) in (0..).zip(cframes) {
        world.thread_state(number, POINTER, OWN);
        world.link_threads(number, &[number]);
        if let Some(below) = cframe {
            let at = 0x7ffc_0000_0000 - below;
            world.fill_cframe(at, leaf, 0);
            world.memory.set(thread(number) + u64::from(layout.thread_frame), at);
        }
    }
    world
}

#[test]
fn of_two_interpreters_in_one_thread_of_3_11_the_inner_one_runs() {
    // (cframes of the newer and of the older interpreter, which one runs)
    let rows = [
        ([Some(0x2000), Some(0x1000)], 0),
        ([Some(0x1000), Some(0x2000)], 1),
        ([Some(0x1000), None], 0),
        ([None, Some(0x1000)], 1),
    ];
    for python in ["pyenv-3.11.7", "bookworm-3.11-dbg"] {
        let layout = recorded(python);
        for (cframes, expected) in rows {
            let mut world = nested(layout, cframes);
            assert_eq!(world.find().unwrap().address.0, thread(expected), "{python}: {cframes:x?}");
            // While it holds the GIL the runtime says so, and that is the last word.
            for holder in [0, 1] {
                world.memory.set(current_at(&layout), thread(holder));
                let found = current(&mut world.memory, &layout, Addr(RUNTIME), POINTER).unwrap();
                let runs = cframes[holder as usize].is_some();
                assert_eq!(found.map(|state| state.address.0), runs.then(|| thread(holder)), "{cframes:x?}");
            }
        }
    }
}

#[test]
fn without_the_c_stack_only_several_interpreters_of_3_11_are_walked_to_the_end() {
    for snapshot in snapshots().iter().filter(|snapshot| snapshot.version.0 == 3) {
        let (python, layout) = (&snapshot.python, snapshot.layout());
        let is_3_11 = layout.minor == 11;
        for interpreters in [1, 2] {
            let mut world = if layout.cframe_current == ABSENT {
                World::run(layout, "[ab")
            } else {
                nested(layout, [Some(0x1000), Some(0x2000)])
            };
            let more = if interpreters == 2 { interpreter(1) } else { 0 };
            if more != 0 && layout.cframe_current == ABSENT {
                world.interpreter(1, 0);
            }
            world.memory.set(interpreter(0) + u64::from(layout.interpreter_next), more);
            let mut walk = ThreadWalk::begin(&mut world.memory, &layout, Addr(RUNTIME)).unwrap().unwrap();
            assert_eq!(walk.is_nested(), layout.minor <= 12 && interpreters == 2, "{python}: {interpreters}");
            let mut last = WalkStep::More;
            for _ in 0..MAX_THREADS {
                last = walk.step(&mut world.memory, &layout, POINTER).unwrap();
                if last != WalkStep::More {
                    break;
                }
            }
            assert_eq!(last == WalkStep::End, is_3_11 && interpreters == 2, "{python}: {last:?}");
        }
    }
}
