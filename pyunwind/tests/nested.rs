//! Which of several interpreters a thread runs, up to 3.12, on drawn processes: thread states whose ids are those of their
//! makers, and a C stack that says who runs them.

mod common;
mod synthetic;

use common::snapshot::recorded;
use pyunwind::nested::{MAX_CANDIDATES, Nested, is_on_stack};
use pyunwind::thread::{ThreadWalk, WalkStep};
use pyunwind::{Addr, Layout};
use synthetic::{MAX_THREADS, OWN, POINTER, RUNTIME, World, interpreter, thread};

const MAKER: u64 = POINTER + 0x100_0000;
/// Below what the thread pointer points to, as the C library places it.
const STACK: u64 = POINTER - 0x8000;
const ROOT: Option<u64> = None;

/// A state: whose id it has, and, if it runs, where on a C stack its cframe is, and its frame.
type State = (u64, Option<u64>);

/// Two interpreters, the newer first, with these states each; of each one's own the frame has its number.
fn draw(layout: Layout, interpreters: [&[State]; 2]) -> World {
    let mut world = World::run(layout, "[ab");
    world.interpreter(0, interpreter(1));
    world.interpreter(1, 0);
    let mut number = 0;
    for (position, states) in (0..).zip(interpreters) {
        let mut numbers = Vec::new();
        for &(id, cframe) in states {
            world.thread_state(number, id, OWN);
            let at = thread(number);
            if layout.minor == 10 {
                world.memory.set(at + u64::from(layout.thread_cframe), cframe.unwrap_or(at + 264));
            }
            if let Some(cframe) = cframe {
                let mut running = frame(number);
                if layout.minor > 10 {
                    world.fill_cframe(cframe, running, 0);
                    running = cframe;
                }
                world.memory.set(at + u64::from(layout.thread_frame), running);
            }
            numbers.push(number);
            number += 1;
        }
        world.link_threads(position, &numbers);
    }
    world
}

fn frame(number: u64) -> u64 {
    0x5541_0000_0000 + number * 0x100
}

/// What a sample of the thread finds whose stack holds these frames, the innermost first: the number of a state; and whether
/// the stack had to be searched.
fn find(world: &mut World, known: Addr, held: &[u64]) -> (Option<u64>, bool) {
    let layout = world.layout;
    let mut walk = ThreadWalk::begin(&mut world.memory, &layout, Addr(RUNTIME)).unwrap().unwrap();
    assert!(walk.is_nested(), "3.{}", layout.minor);
    let mut nested = Nested::default();
    nested.begin(STACK, known);
    for _ in 0..MAX_THREADS {
        match nested.step(&mut walk, &mut world.memory, &layout, POINTER).unwrap() {
            WalkStep::More => {}
            end => {
                assert_eq!(end, WalkStep::End);
                break;
            }
        }
    }
    let holding = held.iter().map(|word| nested.holding(*word)).find(|state| !state.is_null());
    if nested.leaves_doubt()
        && let Some(state) = holding
    {
        Nested::settle(&mut walk, &mut world.memory, &layout, state).unwrap();
    }
    let best = walk.best();
    let runs = !best.address.is_null() && best.runs_python(&layout);
    (runs.then(|| (best.address.0 - thread(0)) / 0x1000), nested.leaves_doubt())
}

const PYTHONS: [&str; 7] = [
    "pyenv-3.6.15",
    "pyenv-3.7.16",
    "pyenv-3.8.18",
    "pyenv-3.9.18",
    "pyenv-3.10.13",
    "pyenv-3.11.7",
    "pyenv-3.12.1",
];

#[test]
fn the_state_on_the_threads_c_stack_is_the_one_it_runs_whoever_made_it() {
    let here = |above| Some(STACK + above);
    let elsewhere = Some(MAKER - 0x4000);
    // (what it is, states of the newer and of the main interpreter, numbers of the frames on the stack, number found)
    type Row<'a> = (&'a str, [&'a [State]; 2], &'a [u64], Option<u64>);
    let rows: [Row<'_>; 9] = [
        ("made by another", [&[(MAKER, here(0x100))], &[(POINTER, here(0x900))]], &[0, 1], Some(0)),
        (
            "made by another, which runs its own",
            [&[(MAKER, here(0x100))], &[(MAKER, elsewhere), (POINTER, here(0x900))]],
            &[0, 2],
            Some(0),
        ),
        (
            "made here, run by another",
            [&[(POINTER, elsewhere)], &[(POINTER, here(0x100)), (MAKER, elsewhere)]],
            &[1],
            Some(1),
        ),
        ("made here, run here", [&[(POINTER, here(0x100))], &[(POINTER, here(0x900))]], &[0, 1], Some(0)),
        (
            "the main one inside of the other",
            [&[(POINTER, here(0x900))], &[(POINTER, here(0x100))]],
            &[1, 0],
            Some(1),
        ),
        (
            "made by another, no state of its own",
            [&[(MAKER, here(0x100))], &[(MAKER, elsewhere)]],
            &[0],
            Some(0),
        ),
        (
            "another's, which it runs itself",
            [&[(MAKER, elsewhere)], &[(MAKER, elsewhere), (POINTER, here(0x100))]],
            &[2],
            Some(2),
        ),
        ("it runs nothing", [&[(MAKER, elsewhere)], &[(POINTER, ROOT), (MAKER, elsewhere)]], &[], None),
        ("nobody's thread", [&[(MAKER, elsewhere)], &[(MAKER, elsewhere)]], &[], None),
    ];
    for python in PYTHONS {
        let layout = recorded(python);
        for (row, states, held, expected) in rows {
            let mut world = draw(layout, states);
            let held: Vec<u64> = held.iter().map(|number| frame(*number)).collect();
            let (found, searched) = find(&mut world, Addr::NULL, &held);
            assert_eq!(found, expected, "{python}: {row}");
            // Where the cframe tells, nothing has to be searched.
            assert!(!layout.has_thread_cframe() || !searched, "{python}: {row}");
        }
    }
}

#[test]
fn a_stack_that_shows_nothing_leaves_the_threads_own_state_of_the_main_interpreter() {
    for python in &PYTHONS[..4] {
        let running = Some(STACK + 0x100);
        let rows: [[&[State]; 2]; 2] =
            [[&[(POINTER, running)], &[(POINTER, running)]], [&[(MAKER, running)], &[(POINTER, running)]]];
        for states in rows {
            let mut world = draw(recorded(python), states);
            let found = find(&mut world, Addr::NULL, &[0x1234]);
            assert_eq!(found, (Some(1), true), "{python}: {states:x?}");
        }
    }
}

#[test]
fn the_stack_ends_at_its_pointer_and_at_the_thread_pointer_if_that_is_above() {
    // (stack pointer, address, whether it is on the stack)
    let rows = [
        (STACK, STACK, true),
        (STACK, STACK - 8, false),
        (STACK, POINTER - 8, true),
        (STACK, POINTER, false),
        // The first thread: its stack is above all else.
        (POINTER + 0x1000, POINTER + 0x800, false),
        (POINTER + 0x1000, POINTER + 0x1008, true),
        (POINTER + 0x1000, POINTER - 8, false),
    ];
    for (stack_pointer, at, expected) in rows {
        assert_eq!(is_on_stack(Addr(at), stack_pointer, POINTER), expected, "{stack_pointer:#x} {at:#x}");
    }
}

#[test]
fn states_of_others_leave_room_for_the_threads_own() {
    let running = Some(STACK + 0x100);
    let mut many = vec![(MAKER, running); 2 * MAX_CANDIDATES];
    many.push((POINTER, running));
    let main = [(POINTER, running)];
    let mut world = draw(recorded("pyenv-3.8.18"), [&many, &main]);
    let own = 2 * MAX_CANDIDATES as u64;
    for (held, expected) in [(0, 0), (own, own), (own + 1, own + 1)] {
        assert_eq!(find(&mut world, Addr::NULL, &[frame(held)]).0, Some(expected), "{held}");
    }
}

#[test]
fn a_state_that_a_hint_tells_of_is_looked_at_without_the_walk() {
    let here = |above| Some(STACK + above);
    for python in PYTHONS {
        let states: [&[State]; 2] =
            [&[(MAKER, here(0x100))], &[(POINTER, here(0x900)), (POINTER, here(0x80))]];
        let mut world = draw(recorded(python), states);
        let layout = world.layout;
        // The walk does not come to the last one.
        let next = thread(1) + u64::from(layout.thread_next);
        world.memory.set(next, 0);
        for (known, expected) in [(Addr::NULL, 0), (Addr(thread(2)), 2)] {
            let held = if known.is_null() { [frame(0)] } else { [frame(2)] };
            assert_eq!(find(&mut world, known, &held).0, Some(expected), "{python}: {known:?}");
        }
    }
}
