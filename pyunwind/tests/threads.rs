//! Finding a thread's state on drawn processes: by its thread pointer alone, past states that only look like its own,
//! and again by a hint that may be out of date.

mod synthetic;

use pyunwind::layout::{ABSENT, GIL_CURRENT, Layout};
use pyunwind::thread::{ThreadState, ThreadWalk, WalkStep, current, holds_gil, revisit};
use pyunwind::{Addr, Fault};
use synthetic::{GARBAGE, MAX_THREADS, OWN, POINTER, RUNTIME, World, interpreter, layouts, thread};

const OTHER: u64 = POINTER + 0x1000;

/// A thread state: (id, its `bound_gilstate` is set, runs Python).
type State = (u64, bool, bool);

/// Draws a process whose interpreters have these thread states, heads first; they are numbered through.
fn draw(layout: Layout, interpreters: &[&[State]]) -> World {
    let mut world = World::run(layout, "[ab");
    let running = world.memory.get(thread(0) + u64::from(layout.thread_frame));
    let mut number = 0;
    for (position, states) in (0..).zip(interpreters) {
        let more = (position as usize) + 1 < interpreters.len();
        world.interpreter(position, if more { interpreter(position + 1) } else { 0 });
        let mut numbers = Vec::new();
        for &(id, own, runs) in *states {
            world.thread_state(number, id, if own { OWN } else { 0 });
            if runs {
                world.memory.set(thread(number) + u64::from(layout.thread_frame), running);
            }
            numbers.push(number);
            number += 1;
        }
        world.link_threads(position, &numbers);
    }
    world
}

/// How the walk ends, the number of the state it finds, and how many steps it takes.
fn walk(world: &mut World) -> Result<(Option<WalkStep>, Option<u64>, usize), Fault> {
    let layout = world.layout;
    let Some(mut walk) = ThreadWalk::begin(&mut world.memory, &layout, Addr(RUNTIME))? else {
        return Ok((None, None, 0));
    };
    let mut steps = 0;
    let mut last = WalkStep::More;
    while last == WalkStep::More && steps < MAX_THREADS {
        last = walk.step(&mut world.memory, &layout, POINTER)?;
        steps += 1;
    }
    let best = walk.best().address.0;
    Ok((Some(last), (best != 0).then(|| (best - thread(0)) / 0x1000), steps))
}

#[test]
fn the_thread_is_found_by_its_pointer() {
    use WalkStep::{End, Found};
    let me = (POINTER, true, true);
    let idle = (POINTER, true, false);
    let other = (OTHER, true, true);
    // (what it is, thread states of each interpreter, how the walk ends, number of the state found)
    type Row<'a> = (&'a str, &'a [&'a [State]], WalkStep, Option<u64>);
    let rows: &[Row<'_>] = &[
        ("the only thread", &[&[me]], Found, Some(0)),
        ("the last of several", &[&[other, other, me]], Found, Some(2)),
        ("nobody", &[&[other, other]], End, None),
        ("a thread that runs no Python", &[&[other, idle, other]], End, Some(1)),
        ("a new thread still carries the id of who creates it", &[&[idle, other, me]], Found, Some(2)),
        ("two new threads at once", &[&[idle, idle, me, other]], Found, Some(2)),
        ("in the second interpreter", &[&[other], &[other, me]], Found, Some(2)),
        ("in the third, the second has no threads", &[&[other], &[], &[me]], Found, Some(1)),
        ("the newest interpreter, at the head, has no threads", &[&[], &[other, me]], Found, Some(1)),
        ("no interpreter has it", &[&[other], &[other]], End, None),
        ("frames in the second interpreter only", &[&[idle], &[me]], Found, Some(1)),
    ];
    for layout in layouts() {
        for &(row, states, end, number) in rows {
            // 3.11 looks at all states where there are several interpreters: which one runs only the C stack tells.
            let nested =
                layout.cframe_current != ABSENT && layout.thread_status == ABSENT && states.len() > 1;
            let end = if nested { End } else { end };
            let found = walk(&mut draw(layout, states)).unwrap();
            // 3.11 tells by the C stack which of several interpreters runs: all states are looked at.
            let end = if layout.minor == 11 && states.len() > 1 { End } else { end };
            assert_eq!((found.0, found.1), (Some(end), number), "3.{}: {row}", layout.minor);
        }
    }
}

#[test]
fn of_several_states_with_frames_the_one_bound_to_the_thread_is_its_own() {
    let (own, foreign) = ((POINTER, true, true), (POINTER, false, true));
    let (own_idle, foreign_idle) = ((POINTER, true, false), (POINTER, false, false));
    // (states of two interpreters, number found where the status tells, where it does not)
    let rows: &[([&[State]; 2], u64, u64)] = &[
        ([&[foreign], &[own]], 1, 0),
        ([&[own], &[foreign]], 0, 0),
        ([&[foreign, own], &[foreign]], 1, 0),
        // Better the stack of a state that says it is not bound than none.
        ([&[foreign_idle], &[foreign]], 1, 1),
        ([&[foreign], &[own_idle]], 0, 0),
        ([&[foreign_idle], &[own_idle]], 1, 1),
    ];
    for layout in layouts() {
        for (states, with_status, without) in rows {
            let expected = if layout.thread_status == ABSENT { *without } else { *with_status };
            let found = walk(&mut draw(layout, states)).unwrap().1;
            assert_eq!(found, Some(expected), "3.{}: {states:x?}", layout.minor);
        }
    }
}

#[test]
fn other_bits_of_the_status_do_not_bind_a_thread() {
    for layout in layouts().into_iter().filter(|layout| layout.thread_status != ABSENT) {
        let mut world = draw(layout, &[&[(POINTER, false, true), (POINTER, true, true)]]);
        world.memory.set(thread(0) + u64::from(layout.thread_status), !OWN);
        assert_eq!(walk(&mut world).unwrap().1, Some(1), "3.{}", layout.minor);
    }
}

#[test]
fn before_the_first_thread_state_there_is_nothing_to_walk() {
    for layout in layouts() {
        let mut world = draw(layout, &[&[]]);
        assert_eq!(walk(&mut world), Ok((None, None, 0)), "3.{}: no threads", layout.minor);
        world.memory.set(RUNTIME + u64::from(layout.runtime_interpreters_head), 0);
        assert_eq!(walk(&mut world), Ok((None, None, 0)), "3.{}: no interpreter", layout.minor);
        world.memory.set(RUNTIME + u64::from(layout.runtime_interpreters_head), GARBAGE);
        assert_eq!(walk(&mut world), Err(Fault), "3.{}: an interpreter that is not there", layout.minor);
    }
}

#[test]
fn lists_without_end_are_left_to_the_bound_of_the_caller() {
    for layout in layouts() {
        let next =
            |world: &mut World, from, to| world.memory.set(thread(from) + u64::from(layout.thread_next), to);
        for to in [0, 1] {
            let mut world = draw(layout, &[&[(OTHER, true, true), (OTHER, true, true)]]);
            next(&mut world, 1, thread(to));
            let (end, number, steps) = walk(&mut world).unwrap();
            assert_eq!((end, number, steps), (Some(WalkStep::More), None, MAX_THREADS), "3.{}", layout.minor);
        }
        for to in [GARBAGE, GARBAGE + 4, 1, u64::MAX] {
            let mut world = draw(layout, &[&[(OTHER, true, true), (OTHER, true, true)]]);
            next(&mut world, 1, to);
            assert_eq!(walk(&mut world), Err(Fault), "3.{}: {to:#x}", layout.minor);
        }
        // Interpreters that link to each other, with threads and without.
        for states in
            [&[&[(OTHER, true, true)][..], &[]], &[&[(OTHER, true, true)][..], &[(OTHER, true, true)]]]
        {
            let mut world = draw(layout, states);
            world.memory.set(interpreter(1) + u64::from(layout.interpreter_next), interpreter(1));
            let (end, number, steps) = walk(&mut world).unwrap();
            assert_eq!((end, number, steps), (Some(WalkStep::More), None, MAX_THREADS), "3.{}", layout.minor);
        }
    }
}

#[test]
fn all_threads_can_be_listed() {
    for layout in layouts() {
        let states: &[&[State]] = &[
            &[(7, true, true), (OTHER, true, false)],
            &[],
            &[(u64::MAX, true, true), (POINTER, true, true)],
            &[],
        ];
        let mut world = draw(layout, states);
        let mut walk = ThreadWalk::begin(&mut world.memory, &layout, Addr(RUNTIME)).unwrap().unwrap();
        let mut all = Vec::new();
        while let Some((at, id)) = walk.list(&mut world.memory, &layout).unwrap() {
            all.push((at.0, id));
        }
        let expected = [(thread(0), 7), (thread(1), OTHER), (thread(2), u64::MAX), (thread(3), POINTER)];
        assert_eq!(all, expected, "3.{}", layout.minor);
        // An interpreter without threads that is its own neighbour.
        world.memory.set(interpreter(1) + u64::from(layout.interpreter_next), interpreter(1));
        let mut walk = ThreadWalk::begin(&mut world.memory, &layout, Addr(RUNTIME)).unwrap().unwrap();
        let listed = (0..1000).map_while(|_| walk.list(&mut world.memory, &layout).ok().flatten()).count();
        assert_eq!(listed, 2, "3.{}", layout.minor);
        // A ring of interpreters, most of them without threads: however many threads are asked for, it ends.
        let next = |from: u64| interpreter((from + 1) % 1000);
        for number in 0..1000 {
            world.interpreter(number, next(number));
        }
        world.link_threads(0, &[0]);
        let mut walk = ThreadWalk::begin(&mut world.memory, &layout, Addr(RUNTIME)).unwrap().unwrap();
        let listed = (0..1000).map_while(|_| walk.list(&mut world.memory, &layout).ok().flatten()).count();
        assert!((1..10).contains(&listed), "3.{}: {listed} laps", layout.minor);
    }
}

#[test]
fn a_hint_is_checked_against_all_that_can_have_changed() {
    type Change = fn(&mut World);
    // (what has happened since, what it changed, whether the hint still holds)
    let rows: &[(&str, Change, bool)] = &[
        ("nothing", |_| {}, true),
        (
            "another thread has the state's memory",
            |world| world.memory.set(thread(1) + u64::from(world.layout.thread_thread_id), OTHER),
            false,
        ),
        (
            "the thread pointer is that of a new thread, which has no frames yet",
            |world| {
                world.thread_state(1, POINTER, OWN);
                world.link_threads(0, &[0, 1, 2]);
            },
            true,
        ),
        (
            "the state was taken out of the list and its memory is as it was",
            |world| world.memory.set(thread(0) + u64::from(world.layout.thread_next), thread(2)),
            false,
        ),
        ("the state before it is gone", |world| world.link_threads(0, &[1, 2]), true),
        (
            "it was at the head and is out of the list",
            |world| {
                world.link_threads(0, &[1, 2]);
                let head = interpreter(0) + u64::from(world.layout.interpreter_threads_head);
                world.memory.set(head, thread(2));
            },
            false,
        ),
    ];
    for layout in layouts() {
        for &(row, change, holds) in rows {
            let other = (OTHER, true, true);
            let mut world = draw(layout, &[&[other, (POINTER, true, true), other]]);
            change(&mut world);
            let state = revisit(&mut world.memory, &layout, Addr(thread(1)), POINTER).unwrap();
            assert_eq!(state.is_some(), holds, "3.{}: {row}", layout.minor);
            if let Some(state) = state {
                assert_eq!((state.address.0, walk(&mut world).unwrap().1), (thread(1), Some(1)), "{row}");
                assert_eq!(state, world.find().unwrap(), "a hint gives what the walk gives");
            }
        }
        let mut world = draw(layout, &[&[(POINTER, true, true)]]);
        for at in [0, GARBAGE, GARBAGE + 4, thread(0) + 1, u64::MAX, !7] {
            assert_eq!(revisit(&mut world.memory, &layout, Addr(at), POINTER), Err(Fault), "{at:#x}");
        }
        if layout.thread_status != ABSENT {
            world.memory.set(thread(0) + u64::from(layout.thread_status), 0);
            assert_eq!(
                revisit(&mut world.memory, &layout, Addr(thread(0)), POINTER),
                Ok(None),
                "not bound any more"
            );
        }
    }
}

#[test]
fn whoever_the_runtime_calls_current_holds_the_gil_with_frames_and_without() {
    // (the runtime's current thread state, the thread runs Python, holds the GIL)
    let rows =
        [(0, true, false), (thread(0), true, true), (thread(0), false, true), (thread(1), false, false)];
    for layout in layouts().into_iter().filter(|layout| layout.gil == GIL_CURRENT) {
        for (holder, runs, expected) in rows {
            let mut world = draw(layout, &[&[(POINTER, true, runs), (OTHER, true, true)]]);
            let at = RUNTIME.wrapping_add_signed(layout.runtime_current.into());
            world.memory.set(at, holder);
            let found = current(&mut world.memory, &layout, Addr(RUNTIME), POINTER).unwrap();
            assert_eq!(found.is_some(), runs && expected, "3.{}: {holder:#x}", layout.minor);
            let state = ThreadState { address: Addr(thread(0)), ..ThreadState::default() };
            let held = holds_gil(&mut world.memory, &layout, Addr(RUNTIME), &state);
            assert_eq!(held, Some(expected), "3.{}: {holder:#x}, runs Python: {runs}", layout.minor);
        }
    }
}
