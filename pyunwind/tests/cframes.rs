//! The window of 3.11 and 3.12 in which a thread's topmost cframe is published but still holds what an earlier call
//! left on the C stack: the stack of the cframe below comes out, or none, and never one that the thread does not have.

mod synthetic;

use pyunwind::layout::{ABSENT, INSTR_POINTER, Layout};
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

/// Contents that are in themselves a whole stack, down to the root cframe: nothing in the target's memory tells that they
/// are those of another time.
fn is_a_stack(layout: &Layout, current: Current, previous: Previous) -> bool {
    let entered = matches!(current, Current::EnteredGenerator) && layout.frame_is_entry != ABSENT;
    previous == Previous::Root && (entered || matches!(current, Current::Live(0 | 1)))
}

#[test]
fn an_unfilled_cframe_gives_the_stack_below_it_or_none() {
    for layout in with_cframes() {
        for (current, previous) in
            CURRENTS.iter().flat_map(|current| PREVIOUS.map(|previous| (*current, previous)))
        {
            if is_a_stack(&layout, current, previous) {
                continue;
            }
            for windows in [false, true] {
                let mut world = World::run(layout, SCRIPT);
                publish(&mut world, current, previous);
                world.memory.windows = windows;
                // What an earlier call at the same place left is nearly always this: it must not cost the sample.
                let expected = if previous == Previous::Right { (Complete, STACK) } else { (Torn, "") };
                let (outcome, text) = world.unwind();
                assert_eq!(
                    (outcome, text.as_str()),
                    expected,
                    "3.{}: current {current:?}, previous {previous:?}",
                    layout.minor
                );
            }
        }
    }
}

#[test]
fn the_first_evaluation_of_a_thread_has_no_stack_yet() {
    for layout in with_cframes() {
        for current in [Current::Null, Current::Unmapped, Current::Pushed, Current::Generator] {
            let mut world = World::new(layout);
            let root = world.cframe;
            let current = match current {
                // Nothing runs that could have called.
                Current::Pushed => world.frame(0x5550_0000_0000, GARBAGE, 0, 0, -1),
                Current::Generator => world.frame(0x5550_0000_0000, GARBAGE, 0, 1, 3),
                Current::Unmapped => GARBAGE,
                _ => 0,
            };
            world.publish_unfilled(current, root);
            assert_eq!(world.unwind(), (Torn, String::new()), "3.{}", layout.minor);
        }
    }
}

#[test]
fn a_popped_leaf_is_left_out() {
    // (script, from which frame on the data stack has been popped, stack on versions with cframes)
    let rows = [
        ("[abc", 3, "cba"),
        ("[abc", 2, "ba"),
        ("[ab[c", 2, "ba"),
        ("[a", 0, ""),
        ("[abG", 2, "Gba"),
        ("[a[G", 1, "Ga"),
    ];
    for layout in with_cframes() {
        for (script, from, expected) in rows {
            let mut world = World::run(layout, script);
            let on_data_stack: Vec<u64> = world.frames.clone();
            if let Some(frame) = on_data_stack.get(from).filter(|frame| **frame >> 40 == 0x7f) {
                world.pop_to(*frame);
            }
            assert_eq!(
                world.unwind(),
                (Complete, expected.into()),
                "3.{}: {script} from {from}",
                layout.minor
            );
        }
    }
}

#[test]
fn links_that_contradict_the_cframes_below_are_torn() {
    for layout in with_cframes() {
        // The caller of the leaf's segment says one thing, the cframe below another: both cannot be, and what lies below
        // the next cframe is believed only with all of its links.
        let mut world = World::run(layout, "[ab[cd[e");
        let (middle, wrong) = (world.cframes[2], world.frames[0]);
        world.memory.set(middle + u64::from(layout.cframe_current), wrong);
        assert_eq!(world.unwind(), (Torn, String::new()), "3.{}: a cframe in the middle", layout.minor);
        // Every cframe up to the root must be there.
        let mut world = World::run(layout, SCRIPT);
        publish(&mut world, Current::Unmapped, Previous::Right);
        let bottom = world.cframes[1];
        world.memory.set(bottom + u64::from(layout.cframe_previous), 0);
        assert_eq!(world.unwind(), (Torn, String::new()), "3.{}: a root cframe elsewhere", layout.minor);
    }
}

/// What a register may hold while a stack is torn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Candidate {
    Unmapped,
    Misaligned,
    Zeros,
    /// The frame to be evaluated, linked or not.
    Linked,
    Pushed,
    Live(usize),
}

#[test]
fn a_frame_from_a_register_is_believed_only_with_all_its_links() {
    use Candidate::{Linked, Live, Misaligned, Pushed, Unmapped, Zeros};
    // (contents of the cframe below, candidate, whole stack that comes of it)
    let rows = [
        (Previous::Right, Linked, Some("edcba")),
        (Previous::Right, Pushed, None),
        (Previous::Right, Unmapped, None),
        (Previous::Right, Misaligned, None),
        (Previous::Right, Zeros, None),
        (Previous::Right, Live(0), None),
        (Previous::Right, Live(1), None),
        (Previous::Right, Live(2), None),
        (Previous::Right, Live(3), None),
        // The new frame is right, but nothing vouches for it.
        (Previous::Null, Linked, None),
        (Previous::Unmapped, Linked, None),
        (Previous::Misaligned, Linked, None),
        (Previous::Itself, Linked, None),
        (Previous::Root, Linked, None),
        (Previous::Root, Live(3), None),
    ];
    for layout in with_cframes() {
        for (previous, candidate, expected) in rows {
            let mut world = World::run(layout, SCRIPT);
            publish(&mut world, Current::Unmapped, previous);
            let frame = match candidate {
                Unmapped => GARBAGE,
                Misaligned => world.leaf + 4,
                Zeros => draw(&mut world, Current::Zeros),
                Linked => draw(&mut world, Current::Popped),
                Pushed => draw(&mut world, Current::Pushed),
                Live(position) => world.frames[position],
            };
            let thread = world.find().unwrap();
            let walk = Walk::retry_frame(&mut world.memory, &layout, &thread, Addr(frame));
            let (outcome, text) = world.finish(walk);
            let row = format!("3.{}: {previous:?}, {candidate:?}", layout.minor);
            match expected {
                Some(expected) => assert_eq!((outcome, text.as_str()), (Complete, expected), "{row}"),
                None => assert_eq!((outcome, text.as_str()), (Torn, ""), "{row}"),
            }
        }
        // The leaf links to nothing yet; the frame that it is going to link to is still in a register.
        let mut world = World::run(layout, "[ab[cdG");
        world.memory.set(world.leaf + u64::from(layout.frame_back), 0);
        let (thread, frame) = (world.find().unwrap(), Addr(world.frames[3]));
        assert!(Walk::is_frame(&layout, &thread, frame));
        let walk = Walk::retry_frame(&mut world.memory, &layout, &thread, frame);
        assert_eq!(world.finish(walk), (Complete, STACK.into()), "3.{}", layout.minor);
    }
}

#[test]
fn a_cframe_from_a_register_is_believed_only_with_all_its_links() {
    for layout in with_cframes() {
        for previous in PREVIOUS {
            let mut world = World::run(layout, SCRIPT);
            publish(&mut world, Current::Unmapped, previous);
            let zeros = draw(&mut world, Current::Zeros);
            let (right, root) = (world.cframe, world.cframes[0]);
            let thread = world.find().unwrap();
            // (candidate, can be one, whole stack that comes of it)
            let rows = [
                (right, true, Some(STACK)),
                (right + 8, true, None),
                (right + 4, false, None),
                (right + 0x80, true, None),
                (root, false, None),
                (thread.frame.0, false, None),
                (zeros, false, None),
                (GARBAGE, false, None),
                (0, false, None),
                (!7, false, None),
            ];
            for (candidate, possible, expected) in rows {
                let row = format!("3.{}: {previous:?}, {candidate:#x}", layout.minor);
                assert_eq!(Walk::is_cframe_above(&layout, &thread, Addr(candidate)), possible, "{row}");
                let walk = Walk::retry_cframe(&mut world.memory, &layout, &thread, Addr(candidate));
                let (outcome, text) = world.finish(walk);
                match expected {
                    Some(expected) => assert_eq!((outcome, text.as_str()), (Complete, expected), "{row}"),
                    None => assert_eq!((outcome, text.as_str()), (Torn, ""), "{row}"),
                }
            }
        }
    }
}

#[test]
fn registers_are_candidates_only_where_there_are_cframes() {
    for layout in layouts() {
        let mut world = World::run(layout, SCRIPT);
        let (thread, cframes) = (world.find().unwrap(), layout.cframe_current != ABSENT);
        for (candidate, possible) in
            [(world.frames[1], true), (thread.leaf.0, false), (0, false), (GARBAGE + 4, false)]
        {
            assert_eq!(
                Walk::is_frame(&layout, &thread, Addr(candidate)),
                possible && cframes,
                "{candidate:#x}"
            );
        }
        // How far apart two evaluations can be on the C stack.
        for (apart, possible) in
            [(0, false), (0xf8, false), (0x100, true), (0xf_fff8, true), (0x10_0000, false), (-8, false)]
        {
            let candidate = Addr(thread.frame.0.wrapping_add_signed(apart));
            assert_eq!(Walk::is_cframe_above(&layout, &thread, candidate), possible && cframes, "{apart:#x}");
        }
    }
}

#[test]
fn a_leaf_that_has_not_begun_needs_a_register_that_holds_it() {
    // (index of the leaf, a register holds it, whole stack)
    let rows = [(-1, true, true), (-1, false, false), (0, false, true), (0, true, true), (7, false, true)];
    for layout in layouts().into_iter().filter(|layout| layout.instr_unit == INSTR_POINTER) {
        for (index, held, whole) in rows {
            let mut world = World::run(layout, SCRIPT);
            let code = world.code('d');
            let instr = (code + u64::from(layout.code_instructions)).wrapping_add_signed(index * 2);
            world.memory.set(world.leaf + u64::from(layout.frame_instr), instr);
            let thread = world.find().unwrap();
            let other = Addr(world.frames[2]);
            let registers = if held { [other, thread.leaf] } else { [other, Addr::NULL] };
            let walk = Walk::begin(&mut world.memory, &layout, &thread);
            // Only the versions with cframes push frames whose index is -1; elsewhere it means nothing.
            let whole = whole || layout.cframe_current == ABSENT;
            let (outcome, text) = world.finish_any(walk.map(|walk| walk.held_by(&thread, registers)));
            let row = format!("3.{}: index {index}, held {held}", layout.minor);
            assert_eq!((outcome, text.as_str()), if whole { (Complete, STACK) } else { (Torn, "") }, "{row}");
        }
    }
}
