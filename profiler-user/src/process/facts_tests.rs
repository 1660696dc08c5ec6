//! Files that lie about themselves: no more time for them than for others, and no more belief.

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::super::file::Located;
use super::*;

const SEGMENTS_AT: u64 = 64;
const SECTIONS_AT: u64 = 256;
const ADDRESS: u64 = 0x1000;
const SYMBOLS_AT: u64 = 512;
const NAMES_AT: u64 = 4096;
/// `st_info` of a global object, in section 1.
const DEFINED: u64 = 0x0001_0011 << 32;

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A file with one segment and one symbol, `_PyRuntime` at the start of it if `names` begin so, and `names` over and over.
/// What discovery makes of it, and how long that takes.
fn read(segment_offset: u64, names: &[u8], names_bytes: u64) -> (Runtime, Duration) {
    // SAFETY: a NUL-terminated name, and a descriptor that is fresh, which is checked.
    let file = unsafe {
        let fd = libc::memfd_create(c"elf".as_ptr(), libc::MFD_CLOEXEC);
        assert!(fd >= 0);
        File::from_raw_fd(fd)
    };
    let machine = if cfg!(target_arch = "x86_64") { libc::EM_X86_64 } else { libc::EM_AARCH64 };
    let mut head = words(&[0x0001_0102_464c_457f, 0, 3 | u64::from(machine) << 16 | 1 << 32]);
    head.extend(words(&[0, SEGMENTS_AT, SECTIONS_AT, 64 << 32 | 56 << 48, 1 | 64 << 16 | 3 << 32]));
    head.extend(words(&[1, segment_offset, ADDRESS, ADDRESS, 4096, 4096, 8]));
    file.write_all_at(&head, 0).unwrap();
    let section =
        |kind: u64, at: u64, bytes: u64, link: u64| words(&[kind << 32, 0, 0, at, bytes, link, 0, 0]);
    let sections = [section(0, 0, 0, 0), section(2, SYMBOLS_AT, 24, 2), section(3, NAMES_AT, names_bytes, 0)];
    file.write_all_at(&sections.concat(), SECTIONS_AT).unwrap();
    file.write_all_at(&words(&[DEFINED, ADDRESS, 8]), SYMBOLS_AT).unwrap();
    file.write_all_at(&names.repeat(names_bytes as usize / names.len()), NAMES_AT).unwrap();
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let file = Located::open(Path::new(&path), true).unwrap().read().unwrap();
    let began = Instant::now();
    let facts = ElfFacts::read(&file).unwrap();
    (facts.runtime, began.elapsed())
}

#[test]
fn a_segment_behind_the_end_of_the_file_holds_nothing() {
    for segment_offset in [0, 1 << 12, 1 << 40, u64::MAX - 4096] {
        let (runtime, _) = read(segment_offset, b"_PyRuntime\0", 11);
        let Runtime::Unsupported(name) = runtime else { panic!("{segment_offset:#x}: {runtime:?}") };
        assert_eq!(name, "CPython 3 of unknown version (stripped)", "{segment_offset:#x}");
    }
}

/// 64 MB of them are allowed, and a hole in a file costs nothing to make.
#[test]
fn names_of_no_length_take_no_longer_than_others() {
    const BYTES: u64 = 8 << 20;
    let fastest = |names: &[u8]| (0..3).map(|_| read(0, names, BYTES).1).min().unwrap();
    let long = fastest(b"PyUnicode_AsEncodedString_of_nothing\0");
    for names in [&b"\0"[..], b"e\0", b"Runtime\0"] {
        let took = fastest(names);
        assert!(took < 3 * long, "{took:?} for {names:?}, {long:?} for long names");
    }
}
