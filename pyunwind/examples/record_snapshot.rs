//! Records a snapshot of each interpreter on this machine for the test that replays them:
//! `cargo run -p pyunwind --example record_snapshot -- tests/snapshots`, with `PYPROF_PYTHONS` for others than the usual
//! ones. Needs root, as reading another process does.

#[path = "../tests/common/mod.rs"]
mod common;

use std::path::Path;

use common::Python;
use common::snapshot::{Ranges, Snapshot};
use common::stacks::{Stack, describe, find, unwind};
use common::target::Target;
use pyunwind::host::thread_names::thread_names;
use pyunwind::thread::{collects, current, holds_gil, revisit};

/// Where the script is: it is in every file name.
const FOLDER: &str = "snapshot";
/// Of a file; what does not fit has no place among sources.
const MAX_BYTES: usize = 30_000;

fn main() {
    let folder = std::env::args().nth(1).expect("usage: record_snapshot FOLDER");
    for python in common::pythons() {
        // The same build as another row's, in a library.
        if python.name.starts_with("shared-") {
            continue;
        }
        let snapshot = record(&python);
        let file = snapshot.write();
        check_neutral(&snapshot);
        assert!(file.len() < MAX_BYTES, "{}: {} bytes", python.name, file.len());
        let path = Path::new(&folder).join(format!("{}.snap", python.name));
        std::fs::write(&path, &file).expect("a folder to write to");
        println!("{}: {} ranges, {} bytes", path.display(), snapshot.ranges.0.len(), file.len());
    }
}

/// Does all that user space and the BPF program do with a thread, and keeps what that reads.
fn record(python: &Python) -> Snapshot {
    let mut target = Target::start(python.script("snapshot_target.py", FOLDER));
    python.remove_script(FOLDER);
    let Target { process, layout, runtime, truth, names, offsets, version, .. } = &mut target;
    process.reset(false);
    for (pointer, _) in truth.iter() {
        let unreadable = "a parked process is readable";
        let thread = find(process, layout, *runtime, *pointer).expect(unreadable).expect("a thread state");
        current(process, layout, *runtime, *pointer).expect(unreadable);
        revisit(process, layout, thread.address, *pointer).expect(unreadable).expect("the same state");
        holds_gil(process, layout, *runtime, &thread);
        collects(process, layout, &thread);
        let mut stack = Stack::default();
        unwind(process, layout, &thread, &mut stack);
        for (code, index) in &stack.0 {
            describe(process, layout, *code, *index).expect("a code object that runs");
        }
    }
    thread_names(process, layout, *runtime).expect("names are readable");
    let snapshot = Snapshot {
        python: python.name.clone(),
        version: *version,
        runtime: *runtime,
        current: layout.runtime_current,
        offsets: std::mem::take(offsets),
        truth: std::mem::take(truth),
        names: std::mem::take(names),
        ranges: Ranges::of(std::mem::take(&mut process.touched)),
    };
    target.end();
    snapshot
}

/// A snapshot becomes public: nothing in it may tell where it was taken.
fn check_neutral(snapshot: &Snapshot) {
    for (at, bytes) in &snapshot.ranges.0 {
        let text = String::from_utf8_lossy(bytes);
        for part in ["/root", "/home", "/lib", "pyenv"] {
            assert!(!text.contains(part), "{}: {part} at {at:#x}: {text:?}", snapshot.python);
        }
    }
}
