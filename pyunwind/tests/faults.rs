//! Every read of a sample fails in turn: the outcome says so, what the links vouch for is kept, and no stack comes out as
//! whole that is not.

mod synthetic;

use pyunwind::Outcome;
use synthetic::{World, layouts};

#[test]
fn every_read_of_a_sample_fails_in_turn() {
    // (script, stack leaf first)
    let rows = [("[abcdef", "fedcba"), ("[ab[cG[d*e", "edGcba"), ("[a[b[c[d", "dcba"), ("[aaa[bbb[G", "Gbbbaaa")];
    let mut wrong = Vec::new();
    for layout in layouts() {
        for (script, whole) in rows {
            for windows in [false, true] {
                let mut world = World::run(layout, script);
                world.memory.windows = windows;
                assert_eq!(world.unwind(), (Outcome::Complete, whole.into()));
                let reads = world.memory.reads;
                for fail_at in 0..reads {
                    world.memory.fail_at = Some(fail_at);
                    let (outcome, text) = world.unwind();
                    let row = format!("3.{}: {script}, windows {windows}, read {fail_at} of {reads}: {outcome:?} {text}", layout.minor);
                    let sound = match outcome {
                        // A window that fails is read again frame by frame.
                        Outcome::Complete => text == whole,
                        Outcome::Unreadable => whole.starts_with(&text) && text != whole,
                        Outcome::Torn => whole.starts_with(&text),
                        _ => false,
                    };
                    if !sound {
                        wrong.push(row);
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
