//! Dictionaries, attributes and names of threads, in the memory of a hostile process.
#![no_main]

use pyprof_fuzz::alloc::within;
use pyprof_fuzz::memory::Reader;
use pyprof_fuzz::processes::Process;
use pyprof_fuzz::{process_target, snapshots};
use pyunwind::host::thread_names::thread_names;

process_target!(seeds, check);

/// `MAX_READS`, however large dictionaries claim to be.
const MOST_READS: u64 = 200_000;
/// 8,192 threads, and one in each further interpreter.
const MOST_NAMES: usize = 8_192 + 64;
const MOST_CHARS: usize = 200;
/// The entries of one dictionary, and a few hundred bytes for each name; a vector doubles.
const MOST_BYTES: usize = 24 << 20;

fn check(data: &[u8]) {
    let Some(process) = Process::decode(data) else { return };
    let Process { layout, runtime, memory, .. } = &process;
    let once = || {
        let mut reader = Reader::new(memory, MOST_READS);
        (thread_names(&mut reader, layout, *runtime), reader.reads)
    };
    let (names, reads) = within(MOST_BYTES, once);
    if let Ok(names) = &names {
        assert!(names.len() <= MOST_NAMES, "{} names", names.len());
        for name in names {
            let chars = name.name.chars().count();
            assert!((1..=MOST_CHARS).contains(&chars), "a name of {chars} characters");
        }
    }
    // What takes all reads that there are takes most of the fuzzer's time: not twice.
    if reads < MOST_READS / 10 {
        assert_eq!(names, once().0);
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for recorded in snapshots::all() {
        for everywhere in [false, true] {
            let work = |reader: &mut Reader<'_>| {
                let _ = thread_names(reader, &recorded.layout, recorded.runtime);
            };
            seeds.push(recorded.input(0, everywhere, work));
        }
    }
    seeds
}
