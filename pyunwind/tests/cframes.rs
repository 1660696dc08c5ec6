//! The window of 3.11 and 3.12 in which a thread's topmost cframe is published but still holds what an earlier call
//! left on the C stack: the stack of the cframe below comes out, or none, and never one that the thread does not have.

mod synthetic;

use pyunwind::layout::{ABSENT, Layout};
use pyunwind::step::Walk;
use pyunwind::{Addr, Outcome};
use synthetic::{GARBAGE, World, layouts};

use Outcome::{Complete, Torn};

/// The thread runs this; then C code that `d` called begins to evaluate another function.
const SCRIPT: &str = "[ab[cd";
const STACK: &str = "dcba";

fn with_cframes() -> impl Iterator<Item = Layout> {
    layouts().into_iter().filter(|layout| layout.cframe_current != ABSENT)
}

/// What the memory of the new cframe says of the current frame.
#[derive(Clone, Copy, Debug)]
enum Current {
    Null,
    Unmapped,
    Misaligned,
    /// Memory that is there and holds no frame.
    Zeros,
    /// The function to be evaluated, pushed but not linked.
    Pushed,
    /// A function that the same caller called from C before, popped.
    Popped,
    /// The same, called by another caller.
    PoppedOfAnother,
    /// The shim of an earlier call by the same caller (3.12); without shims, NULL.
    Shim,
    /// A generator that runs no more.
    Generator,
    /// The same, with what 3.11 leaves in a generator that C entered.
    EnteredGenerator,
    /// A frame that still runs: a position in the script, from the root.
    Live(usize),
}

/// What the memory of the new cframe says of the cframe below.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Previous {
    /// An earlier call at the same depth left the right one.
    Right,
    Null,
    Unmapped,
    Misaligned,
    /// The new cframe.
    Itself,
    /// That of the thread state.
    Root,
}

const CURRENTS: [Current; 14] = [
    Current::Null,
    Current::Unmapped,
    Current::Misaligned,
    Current::Zeros,
    Current::Pushed,
    Current::Popped,
    Current::PoppedOfAnother,
    Current::Shim,
    Current::Generator,
    Current::EnteredGenerator,
    Current::Live(3),
    Current::Live(2),
    Current::Live(1),
    Current::Live(0),
];
const PREVIOUS: [Previous; 6] = [
    Previous::Right,
    Previous::Null,
    Previous::Unmapped,
    Previous::Misaligned,
    Previous::Itself,
    Previous::Root,
];

/// Draws the new cframe with such contents and gives its address.
fn publish(world: &mut World, current: Current, previous: Previous) -> u64 {
    let right = world.cframe;
    let root = world.cframes[0];
    let current = draw(world, current);
    let at = world.publish_unfilled(current, 0);
    let previous = match previous {
        Previous::Right => right,
        Previous::Null => 0,
        Previous::Unmapped => GARBAGE,
        Previous::Misaligned => right + 4,
        Previous::Itself => at,
        Previous::Root => root,
    };
    world.fill_cframe(at, current, previous);
    at
}

fn draw(world: &mut World, current: Current) -> u64 {
    let (top, caller, other) = (world.data_top(), world.leaf, world.frames[1]);
    let code = world.code('e');
    let heap = 0x5550_0000_0000;
    match current {
        Current::Null => 0,
        Current::Unmapped => GARBAGE,
        Current::Misaligned => caller + 4,
        Current::Zeros => {
            (0..256).step_by(8).for_each(|offset| world.memory.set(heap + offset, 0));
            heap
        }
        Current::Pushed => {
            world.frame(top, code, 0, 0, -1);
            world.pop_to(top + 256);
            top
        }
        Current::Popped => entered(world, top, code, caller, 0),
        Current::PoppedOfAnother => entered(world, top, code, other, 0),
        Current::Shim if world.layout.frame_is_entry == ABSENT => {
            let owner = world.layout.shim_owner.into();
            world.frame(heap, GARBAGE, caller, owner, 0)
        }
        Current::Shim => 0,
        Current::Generator => world.frame(heap, code, 0, 1, 3),
        Current::EnteredGenerator => {
            let at = entered(world, heap, code, 0, 1);
            world.memory.set(at + u64::from(world.layout.frame_back), 0);
            at
        }
        Current::Live(position) => world.frames[position],
    }
}

/// Draws a frame that C entered on behalf of `caller`.
fn entered(world: &mut World, at: u64, code: u64, caller: u64, owner: u64) -> u64 {
    let layout = world.layout;
    let mut back = caller;
    if layout.frame_is_entry == ABSENT {
        back = world.frame(at + 0x2000, GARBAGE, caller, layout.shim_owner.into(), 0);
    }
    world.frame(at, code, back, owner, 4);
    if layout.frame_is_entry != ABSENT {
        world.memory.set_bits(at + u64::from(layout.frame_is_entry), 8, 1);
    }
    at
}

#[test]
fn an_unfilled_cframe_gives_the_stack_below_it_or_none() {
    for layout in with_cframes() {
        for current in CURRENTS {
            for previous in PREVIOUS {
                for windows in [false, true] {
                    let mut world = World::run(layout, SCRIPT);
                    publish(&mut world, current, previous);
                    world.memory.windows = windows;
                    let found = world.unwind();
                    let row = format!("3.{}: {current:?}, {previous:?}: {found:?}", layout.minor);
                    if previous == Previous::Right { println!("{row}"); if found != (Complete, STACK.into()) {println!("WRONG")}}
                    else {println!("{row}"); if found != (Torn, "".into()) {println!("WRONG2")}}
                }
            }
        }
    }
}
