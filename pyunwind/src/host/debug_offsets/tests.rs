//! The tables of real builds give the reference values; everything else is refused, by name and without a panic.

use std::path::PathBuf;
use std::vec::Vec;
use std::{env, fs};

use super::words::{
    WORDS_3_13_FREE_THREADED, WORDS_3_14_10, WORDS_3_14_FREE_THREADED, WORDS_3_15_2, WORDS_3_15_FREE_THREADED,
};
use super::{DebugOffsetsError, DebugOffsetsError::*, MAX_BYTES, is_verified, parse, version};
use crate::layout::{
    ABSENT, ABSENT_32, FRAME_DATASTACK, GIL_FLAG, GIL_STATUS_BIT, GIL_UNKNOWN, INSTR_POINTER, LINES_PEP657,
    Layout, TEXT_UNICODE,
};

/// `_Py_DebugOffsets` of a 3.13.0 GIL build, word by word, from that build's own headers.
const WORDS_3_13_0: [u64; 73] = [
    u64::from_le_bytes(*b"xdebugpy"),
    0x30d00f0,
    0,
    283320, // runtime_state
    608,
    632,
    194968, // interpreter_state
    7272,
    7264,
    7344,
    7400,
    7656,
    7640,
    7648,
    16,
    7752,
    0,
    7768,
    7760,
    304, // thread_state
    0,
    8,
    16,
    72,
    152,
    160,
    232,
    32,
    80, // interpreter_frame
    8,
    0,
    56,
    72,
    70,
    208, // code_object
    112,
    120,
    128,
    136,
    68,
    52,
    96,
    104,
    200,
    16, // pyobject
    8,
    416, // type_object
    24,
    88,
    168,
    32, // tuple_object
    24,
    16,
    40, // list_object
    24,
    16,
    48, // dict_object
    32,
    40,
    24, // float_object
    16,
    32, // long_object
    16,
    24,
    40, // bytes_object
    16,
    32,
    64, // unicode_object
    32,
    16,
    40,
    240, // gc
    200,
];

const LAYOUT_3_13_0: Layout = Layout {
    runtime_interpreters_head: 632,
    interpreter_next: 7264,
    interpreter_threads_head: 7344,
    interpreter_id: 7272,
    runtime_current: 0,
    interpreter_gil: ABSENT_32,
    interpreter_gc_collecting: 7600,
    interpreter_gc_frame: ABSENT_32,
    thread_cframe: ABSENT_32,
    thread_span: 256,
    thread_next: 8,
    thread_interp: 16,
    thread_frame: 72,
    thread_thread_id: 152,
    thread_status: 32,
    thread_datastack_top: 240,
    cframe_current: ABSENT,
    cframe_previous: ABSENT,
    gil_holder: ABSENT,
    frame_start: 0,
    frame_span: 72,
    frame_code: 0,
    frame_back: 8,
    frame_instr: 56,
    frame_owner: 70,
    frame_is_entry: ABSENT,
    frame_tlbc_index: ABSENT,
    code_start: 64,
    code_span: 80,
    code_firstlineno: 68,
    code_filename: 112,
    code_name: 120,
    code_qualname: 128,
    code_linetable: 136,
    code_version: 92,
    code_instructions: 200,
    code_tlbc: ABSENT,
    bytes_size: 16,
    bytes_data: 32,
    str_length: 16,
    str_hash: 24,
    str_state: 32,
    str_ascii_data: 40,
    str_compact_data: 56,
    object_type: 8,
    frame_kind: FRAME_DATASTACK,
    instr_unit: INSTR_POINTER,
    shim_owner: 3,
    line_table: LINES_PEP657,
    minor: 13,
    frame_code_tag: 0,
    gil: GIL_STATUS_BIT,
    text: TEXT_UNICODE,
};

fn table() -> Vec<u8> {
    WORDS_3_13_0.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// The `.PyRuntime` of an installed 3.13.0, found by its cookie: no ELF reader in this crate.
fn installed() -> Vec<u8> {
    let home = PathBuf::from(env::var_os("HOME").expect("HOME is set"));
    let path = home.join(".pyenv/versions/3.13.0/lib/libpython3.13.so.1.0");
    let file = fs::read(&path).unwrap_or_else(|error| panic!("the tests need {}: {error}", path.display()));
    let start = (0..file.len() - MAX_BYTES)
        .step_by(8)
        .find(|&at| file[at..].starts_with(b"xdebugpy") && file[at + 10..at + 12] == [0x0d, 0x03])
        .expect("a table in the file");
    file[start..start + MAX_BYTES].to_vec()
}

#[test]
fn an_installed_build_gives_the_reference_values() {
    assert_eq!(parse(&installed()), Ok(LAYOUT_3_13_0));
    assert_eq!(installed()[..table().len()], table());
    assert_eq!(version(&installed()), Some((0x030d_00f0, false)));
}

#[test]
fn each_corruption_is_refused_by_its_own_name() {
    fn check(word: usize, value: u64, expected: DebugOffsetsError) {
        let mut table = table();
        table[word * 8..word * 8 + 8].copy_from_slice(&value.to_le_bytes());
        assert_eq!(parse(&table), Err(expected), "word {word} = {value:#x}");
    }
    let size = |structure, size| BadSize { structure, size };
    let misaligned = |field, offset| Misaligned { field, offset };
    let outside = |field, offset, size| OutOfBounds { field, offset, size };

    check(0, 0, BadCookie);
    check(0, u64::from_le_bytes(*b"xdebugpz"), BadCookie);
    check(1, 0, UnknownVersion(0));
    check(1, 0x030c_01f0, UnknownVersion(0x030c_01f0));
    check(1, 0x0210_00f0, UnknownVersion(0x0210_00f0));
    check(1, 0x0410_00f0, UnknownVersion(0x0410_00f0));
    check(1, 0x1_030d_00f0, UnknownVersion(0x1_030d_00f0));
    // A later version's table is longer.
    check(1, 0x030e_00f0, TooShort { expected: 760, found: 584 });
    check(1, 0x0310_00f0, TooShort { expected: 888, found: 584 });

    check(3, 0, size("runtime_state", 0));
    check(6, u64::MAX, size("interpreter_state", u64::MAX));
    check(19, 0, size("thread_state", 0));
    check(28, 1 << 16, size("interpreter_frame", 1 << 16));
    check(34, 0, size("code_object", 0));
    check(44, 0, size("pyobject", 0));
    check(64, 0, size("bytes_object", 0));
    check(67, 0, size("unicode_object", 0));

    check(5, 636, misaligned("runtime_state.interpreters_head", 636));
    check(5, 283320, outside("runtime_state.interpreters_head", 283320, 283320));
    check(8, 7265, misaligned("interpreter_state.next", 7265));
    check(9, u64::MAX - 7, outside("interpreter_state.threads_head", u64::MAX - 7, 194968));
    check(21, 12, misaligned("thread_state.next", 12));
    check(22, 304, outside("thread_state.interp", 304, 304));
    check(23, 300, misaligned("thread_state.current_frame", 300));
    check(24, 1 << 40, outside("thread_state.thread_id", 1 << 40, 304));
    check(26, 288, outside("thread_state.datastack_top", 296, 304));
    check(27, 34, misaligned("thread_state.status", 34));
    check(29, 80, outside("interpreter_frame.previous", 80, 80));
    check(30, 4, misaligned("interpreter_frame.executable", 4));
    check(31, 57, misaligned("interpreter_frame.instr_ptr", 57));
    check(33, 80, outside("interpreter_frame.owner", 80, 80));
    check(35, 113, misaligned("code_object.filename", 113));
    check(36, 208, outside("code_object.name", 208, 208));
    check(37, 1, misaligned("code_object.qualname", 1));
    check(38, u64::MAX, misaligned("code_object.linetable", u64::MAX));
    check(39, 70, misaligned("code_object.firstlineno", 70));
    check(39, 184, outside("code_object.co_version", 208, 208));
    check(43, 201, misaligned("code_object.co_code_adaptive", 201));
    check(45, 16, outside("pyobject.ob_type", 16, 16));
    check(65, 4, misaligned("bytes_object.ob_size", 4));
    check(66, 40, outside("bytes_object.ob_sval", 40, 40));
    check(68, 64, outside("unicode_object.state", 64, 64));
    check(69, 56, outside("unicode_object.hash", 64, 64));
    check(70, 56, outside("unicode_object.data", 72, 64));
    check(10, 194968, outside("interpreter_state.gc", 194968, 194968));
    check(10, 194768, outside("gc.collecting", 194968, 194968));
    check(72, 240, outside("gc.collecting", 240, 240));
}

/// What each build's own headers say (`offsetof`), for the fields that differ between versions or builds.
#[test]
fn every_known_version_gives_its_layout() {
    let check = |words: &[u64], minor: u8, expected: Layout| {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(parse(&bytes), Ok(expected), "3.{minor}");
        assert!(is_verified(words[1] as u32), "3.{minor}");
        for len in 0..bytes.len() {
            assert!(matches!(parse(&bytes[..len]), Err(TooShort { .. })), "3.{minor}: {len} bytes");
        }
    };
    // The larger object head of free-threaded builds moves all of a code object's fields and all of a string's.
    let free_threaded = Layout {
        interpreter_gc_collecting: ABSENT_32,
        code_start: 80,
        code_firstlineno: 84,
        code_filename: 128,
        code_name: 136,
        code_qualname: 144,
        code_linetable: 152,
        code_version: 108,
        bytes_size: 32,
        bytes_data: 48,
        str_length: 32,
        str_hash: 40,
        str_state: 48,
        str_ascii_data: 56,
        str_compact_data: 72,
        object_type: 24,
        gil: GIL_UNKNOWN,
        ..LAYOUT_3_13_0
    };
    check(WORDS_3_13_FREE_THREADED, 13, Layout { code_instructions: 216, ..free_threaded });
    let v3_14 = Layout {
        runtime_interpreters_head: 808,
        interpreter_id: 7280,
        interpreter_next: 7272,
        interpreter_gc_collecting: 7408 + 192,
        frame_span: 80,
        frame_owner: 74,
        frame_code_tag: 3,
        code_instructions: 208,
        gil: GIL_FLAG,
        minor: 14,
        ..LAYOUT_3_13_0
    };
    check(WORDS_3_14_10, 14, v3_14);
    let v3_14t = Layout {
        runtime_interpreters_head: 808,
        interpreter_id: 7280,
        interpreter_next: 7272,
        frame_span: 80,
        frame_owner: 78,
        frame_tlbc_index: 72,
        frame_code_tag: 3,
        code_instructions: 232,
        code_tlbc: 224,
        minor: 14,
        ..free_threaded
    };
    check(WORDS_3_14_FREE_THREADED, 14, v3_14t);
    let v3_15 = |layout| Layout {
        runtime_interpreters_head: 936,
        interpreter_id: 7272,
        interpreter_next: 7264,
        interpreter_threads_head: 7336,
        thread_span: 280,
        thread_thread_id: 176,
        thread_datastack_top: 264,
        minor: 15,
        ..layout
    };
    let with_collector =
        Layout { interpreter_gc_collecting: 7400 + 112, interpreter_gc_frame: 7400 + 120, ..v3_14 };
    check(WORDS_3_15_2, 15, v3_15(with_collector));
    check(WORDS_3_15_FREE_THREADED, 15, v3_15(v3_14t));
}

#[test]
fn a_version_that_nobody_has_seen_is_tried_and_marked() {
    let with_version = |words: &[u64], version: u64| {
        let mut words = words.to_vec();
        words[1] = version;
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        (parse(&bytes).map(|layout| layout.minor), is_verified(version as u32))
    };
    for (words, version, expected) in [
        (WORDS_3_15_2, 0x030f_03f0, (Ok(15), true)),
        (WORDS_3_15_2, 0x030f_00c1, (Ok(15), false)),
        (WORDS_3_15_2, 0x030f_00b4, (Ok(15), false)),
        (WORDS_3_15_2, 0x030f_00a1, (Ok(15), false)),
        (WORDS_3_15_2, 0x0310_00f0, (Ok(16), false)),
        (WORDS_3_15_2, 0x0320_00f0, (Ok(32), false)),
    ] {
        assert_eq!(with_version(words, version), expected, "{version:#x}");
    }
}

#[test]
fn spans_that_the_readers_have_no_room_for_are_refused() {
    // (size of the structure, the field moved, where to, which structure, its span): the last that fits, and the next.
    for ((size, field), offset, structure, bytes) in [
        ((19, 24), 496, "thread_state", None),
        ((19, 24), 504, "thread_state", Some(512)),
        ((28, 31), 112, "interpreter_frame", None),
        ((28, 31), 120, "interpreter_frame", Some(128)),
        ((34, 38), 1024, "code_object", Some(968)),
    ] {
        let mut words = WORDS_3_13_0;
        (words[size], words[field]) = (4096, offset);
        let table: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let refused = bytes.map(|bytes| SpanTooLong { structure, bytes });
        assert_eq!(parse(&table).err(), refused, "{structure}: {offset}");
    }
}

#[test]
fn every_shorter_table_is_refused() {
    let table = table();
    for len in 0..table.len() {
        assert!(matches!(parse(&table[..len]), Err(TooShort { .. })), "{len} bytes");
    }
}

#[test]
fn random_bytes_never_panic_and_never_give_a_layout_that_leads_outside() {
    // Knuth's MMIX generator: cheap, the same on every run.
    let mut state = 0x5eed_u64;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        state >> 16
    };
    let mut accepted = 0;
    for round in 0..100_000 {
        let mut words = WORDS_3_13_0;
        // Every other round keeps the head so that the checks behind it are reached.
        for _ in 0..1 + next() % 6 {
            let at = (next() % 73) as usize;
            words[at] = if next() % 2 == 0 { next() % 512 } else { next() << 16 };
        }
        if round % 2 == 0 {
            words[..3].copy_from_slice(&WORDS_3_13_0[..3]);
        }
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let cut = if round % 16 == 1 { (next() % 600) as usize } else { bytes.len() };
        let bytes = &bytes[..cut.min(bytes.len())];
        let _ = version(bytes);
        if let Ok(layout) = parse(bytes) {
            accepted += 1;
            assert!(layout.thread_span < 512 && layout.frame_span < 128 && layout.code_span <= 256);
            assert!(layout.thread_thread_id + 8 <= layout.thread_span);
            assert!(layout.thread_datastack_top + 16 <= layout.thread_span);
            assert!(layout.frame_owner < layout.frame_start + layout.frame_span);
            assert!(layout.code_linetable + 8 <= layout.code_start + layout.code_span);
        }
        let noise: Vec<u8> = (0..1 + next() % 64).flat_map(|_| next().to_le_bytes()).collect();
        assert!(parse(&noise).is_err());
    }
    // Words that no reader uses may hold anything: some tables must still pass, or the test would prove nothing.
    assert!(accepted > 1_000, "{accepted} accepted");
}
