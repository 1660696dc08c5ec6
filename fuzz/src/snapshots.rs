//! Real processes, recorded: the snapshots that stand beside the tests of `pyunwind`, read by the same code.
#![allow(dead_code)]

#[path = "../../pyunwind/tests/common/snapshot.rs"]
mod snapshot;
#[path = "../../pyunwind/tests/common/stacks.rs"]
mod stacks;

use std::fs;
use std::path::Path;

use pyunwind::step::{Progress, Walk};
use pyunwind::thread::{ThreadWalk, WalkStep};
use pyunwind::{Addr, Layout};

use crate::memory::{Elsewhere, Pieces, Reader};
use crate::processes;

/// A process in which every thread waits, and all that is needed of it.
pub struct Recorded {
    pub layout: Layout,
    pub runtime: Addr,
    /// `_Py_DebugOffsets` (3.13+), else empty.
    pub offsets: Vec<u8>,
    /// Of its threads.
    pub pointers: Vec<u64>,
    pub pieces: Vec<(u64, Vec<u8>)>,
}

pub fn all() -> Vec<Recorded> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pyunwind/tests/snapshots");
    let mut files: Vec<_> =
        fs::read_dir(folder).expect("snapshots").map(|entry| entry.expect("a snapshot").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "snap"));
    files.sort();
    let recorded = files.iter().map(|path| {
        let snapshot = snapshot::Snapshot::read(&fs::read(path).expect("a snapshot"));
        Recorded {
            layout: snapshot.layout(),
            runtime: snapshot.runtime,
            pointers: snapshot.truth.iter().map(|(pointer, _)| *pointer).collect(),
            offsets: snapshot.offsets,
            pieces: snapshot.ranges.0.into_iter().collect(),
        }
    });
    recorded.collect()
}

impl Recorded {
    /// The part of the process that `work` reads, as an input. The runtime stays where it is: offsets from it matter.
    pub fn input(&self, pointer: u64, everywhere: bool, work: impl FnOnce(&mut Reader<'_>)) -> Vec<u8> {
        let borrowed = self.pieces.iter().map(|(at, bytes)| (*at, &bytes[..])).collect();
        let pieces = Pieces { pieces: borrowed, elsewhere: Elsewhere::Nothing };
        let mut reader = Reader::new(&pieces, u64::MAX);
        reader.log = Some(Vec::new());
        work(&mut reader);
        let read = snapshot::Ranges::of(reader.log.take().unwrap_or_default());
        let read: Vec<_> = read.0.into_iter().collect();
        processes::encode(self.layout.minor, &self.offsets, everywhere, self.runtime, pointer, &read)
    }
}

/// Of one process: its frames share many.
const MAX_CODES: usize = 8;

impl Recorded {
    /// The code objects that its threads run.
    pub fn codes(&self) -> Vec<Addr> {
        let mut codes = Vec::new();
        for pointer in &self.pointers {
            let work = |reader: &mut Reader<'_>| {
                let Ok(Some(mut threads)) = ThreadWalk::begin(reader, &self.layout, self.runtime) else {
                    return;
                };
                while threads.step(reader, &self.layout, *pointer) == Ok(WalkStep::More) {}
                let Ok(mut walk) = Walk::begin(reader, &self.layout, &threads.best()) else { return };
                let mut stack = stacks::Stack::default();
                while walk.step(reader, &self.layout, &mut stack) == Progress::More {}
                codes.extend(stack.0.iter().map(|(code, _)| *code));
            };
            drop(self.input(*pointer, false, work));
        }
        codes.sort();
        codes.dedup();
        codes.truncate(MAX_CODES);
        codes
    }
}
