//! Every read of a sample fails in turn: the outcome says so, what the links vouch for is kept, and no stack comes out as
//! whole that is not.

mod synthetic;

use pyunwind::Outcome;
use pyunwind::layout::{ABSENT, NO_SHIM};
use synthetic::{World, layouts};

#[test]
fn every_read_of_a_sample_fails_in_turn() {
    // (script, stack leaf first, stack of the cframe below the topmost one)
    let rows = [
        ("[abcdef", "fedcba", ""),
        ("[ab[cG[d*e", "edGcba", "Gcba"),
        ("[a[b[c[d", "dcba", "cba"),
        ("[aaa[bbb[G", "Gbbbaaa", "bbbaaa"),
    ];
    for layout in layouts() {
        for ((script, whole, below), windows) in rows.iter().flat_map(|row| [(*row, false), (*row, true)]) {
            let mut world = World::run(layout, script);
            world.memory.windows = windows;
            assert_eq!(world.unwind(), (Outcome::Complete, whole.into()));
            let reads = world.memory.reads;
            let mut unreadable = 0;
            for fail_at in 0..reads {
                world.memory.fail_at = Some(fail_at);
                let (outcome, text) = world.unwind();
                let part = whole.starts_with(&text);
                let sound = match outcome {
                    // A window that fails is read again frame by frame.
                    Outcome::Complete if text == whole => true,
                    // A frame that is not there looks like what an unfilled cframe refers to. Nothing else does.
                    Outcome::Complete => {
                        layout.cframe_current != ABSENT && world.memory.failed_frame && text == below
                    }
                    // The last shim says that the stack is whole; without it, it may not be.
                    Outcome::Unreadable => part && (text != whole || layout.shim_owner != NO_SHIM),
                    Outcome::Torn => part && layout.cframe_current != ABSENT,
                    _ => false,
                };
                unreadable += u32::from(outcome == Outcome::Unreadable && !text.is_empty());
                assert!(
                    sound,
                    "3.{}: {script}, windows {windows}, read {fail_at} of {reads}: {outcome:?} {text}",
                    layout.minor
                );
            }
            assert!(unreadable > 1, "3.{}: {script}: frames that were found are kept", layout.minor);
        }
    }
}
