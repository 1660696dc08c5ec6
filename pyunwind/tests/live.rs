//! Stacks of live interpreters, read from outside, against what each interpreter says of them itself: every thread, every
//! frame, its name, file, line and instruction.

mod common;

use common::Python;
use common::stacks::{Frame, MAX_FRAMES, Stack, describe, find, unwind};
use common::target::Target;
use pyunwind::Outcome;
use pyunwind::thread::{ThreadState, revisit};

#[test]
fn stacks_of_parked_threads_are_what_their_interpreter_says() {
    let mut seen = Vec::new();
    for python in common::pythons() {
        let scripts: &[_] = if python.needs_simple_script() {
            &[("snapshot_target.py", "")]
        } else {
            &[("stacks.py", ""), ("stacks.py", "subinterpreter"), ("snapshot_target.py", "")]
        };
        for (script, mode) in scripts {
            check_interpreter(&python, script, mode);
        }
        seen.push(python.name);
    }
    println!("{} interpreters: {}", seen.len(), seen.join(", "));
}

fn check_interpreter(python: &Python, script: &str, mode: &str) {
    let folder = format!("pyunwind-live-{}", std::process::id());
    let mut command = python.script(script, &folder);
    command.arg(mode);
    let mut target = Target::start(command);
    python.remove_script(&folder);
    let label = format!("{} {script} {mode}", python.name);
    let (mut frames, mut deepest) = (0, 0);
    for (pointer, expected) in &target.truth.clone() {
        let Target { process, layout, runtime, .. } = &mut target;
        let thread = find(process, layout, *runtime, *pointer)
            .unwrap_or_else(|_| panic!("{label}: thread states are readable"))
            .unwrap_or_else(|| panic!("{label}: not found: {:?}", expected.first()));
        assert_eq!(revisit(process, layout, thread.address, *pointer), Ok(Some(thread)), "{label}");
        for windows in [false, true] {
            target.process.reset(windows);
            check_thread(&mut target, &thread, expected, &label);
        }
        frames += expected.len();
        deepest = deepest.max(expected.len());
    }
    let (least_frames, least_depth) = if script == "stacks.py" { (1300, 600) } else { (80, 40) };
    assert!(frames > least_frames && deepest > least_depth, "{label}: {frames} frames, {deepest} deep");
    println!("{label}: {} threads, {frames} frames", target.truth.len());
    target.end();
}

fn check_thread(target: &mut Target, thread: &ThreadState, expected: &[Frame], label: &str) {
    let Target { process, layout, .. } = target;
    let mut stack = Stack::default();
    let outcome = unwind(process, layout, thread, &mut stack);
    let found: Vec<Frame> = (stack.0.iter())
        .map(|&(code, index)| describe(process, layout, code, index).expect("a code object that runs"))
        .collect();
    let names = |frames: &[Frame]| {
        frames.iter().map(|frame| format!("{}:{}", frame.name, frame.line)).collect::<Vec<_>>()
    };
    let whole = expected.len() <= MAX_FRAMES;
    let kept = &expected[..expected.len().min(MAX_FRAMES)];
    assert_eq!(names(&found), names(kept), "{label}: {outcome:?}");
    assert_eq!(
        outcome,
        if whole { Outcome::Complete } else { Outcome::Truncated },
        "{label}: {:?}",
        names(kept)
    );
    // The leaf has gone from one call to the next on its line since it was asked.
    assert_eq!(found[1..], kept[1..], "{label}");
    assert_eq!(found[0].file, kept[0].file, "{label}");
}
