//! The line of every instruction of every code object of the standard library, as each interpreter gives it itself;
//! and tables that no interpreter would write.
#![cfg(feature = "host")]

mod common;

use std::io::{BufReader, Read};
use std::path::Path;
use std::process::Stdio;
use std::thread;

use pyunwind::host::lines::{Line, LineMarks, LineTable};
use pyunwind::layout::{LINES_LNOTAB, LINES_LNOTAB_2, LINES_PEP626, LINES_PEP657};

/// Fewer code objects than this are not a standard library.
const LEAST_CODE_OBJECTS: u32 = 15_000;
/// A table of the target's own making: larger is not read.
const LARGEST_TABLE: u32 = 1 << 20;

#[test]
fn every_instruction_of_the_standard_library_has_the_line_its_interpreter_gives() {
    let mut pythons = common::interpreters();
    if std::env::var_os("PYPROF_PYTHONS").is_none() {
        pythons.push(common::pyenv("2.7"));
    }
    // Two at a time: each is a process of its own, and memory is finite.
    for pair in pythons.chunks(2) {
        thread::scope(|scope| {
            for python in pair {
                scope.spawn(|| check_standard_library(python));
            }
        });
    }
}

#[derive(Default, Debug)]
struct Seen {
    code_objects: u32,
    instructions: u64,
    without_line: u64,
    /// Instructions on a line above that of the one before them: negative deltas.
    backward: u64,
}

fn check_standard_library(python: &Path) {
    let mut child = common::script(python, "dump_lines.py").stdout(Stdio::piped()).spawn().unwrap();
    let mut stream = BufReader::with_capacity(1 << 16, child.stdout.take().unwrap());
    let version = array(&mut stream);
    let kind = match version {
        [2, 7] => LINES_LNOTAB_2,
        [3, minor] => common::layout(minor).line_table,
        version => panic!("{}: {version:?}", python.display()),
    };
    let mut seen = Seen::default();
    while let [1] = array(&mut stream) {
        check_code_object(&mut stream, kind, &mut seen);
    }
    assert_eq!(u32::from_le_bytes(array(&mut stream)), seen.code_objects, "{}: cut stream", python.display());
    assert!(child.wait().unwrap().success(), "{} failed", python.display());
    println!("{} (table {kind}): {seen:?}", python.display());
    assert!(seen.code_objects > LEAST_CODE_OBJECTS, "{}: only {seen:?}", python.display());
    // Up to 3.7 the compiler takes only greater lines for expressions (`Python/compile.c`, `compiler_visit_expr`).
    assert_eq!(seen.backward > 10_000, version >= [3, 8], "{}: {seen:?}", python.display());
    // A line for everything was the rule up to 3.9.
    assert_eq!(seen.without_line > 1_000, !is_lnotab(kind), "{}: {seen:?}", python.display());
}

fn is_lnotab(kind: u8) -> bool {
    [LINES_LNOTAB, LINES_LNOTAB_2].contains(&kind)
}

fn check_code_object(stream: &mut impl Read, kind: u8, seen: &mut Seen) {
    let first_line = i32::from_le_bytes(array(stream));
    let table_bytes = u32::from_le_bytes(array(stream));
    let units = u32::from_le_bytes(array(stream));
    assert!(table_bytes <= LARGEST_TABLE && units <= LARGEST_TABLE, "nonsense from the interpreter");
    let mut bytes = vec![0; table_bytes as usize];
    stream.read_exact(&mut bytes).unwrap();
    let mut lines = vec![0; units as usize * 4];
    stream.read_exact(&mut lines).unwrap();

    let table = LineTable { kind, first_line, bytes, complete: true };
    let at = |line| u32::try_from(line).map_or(Line::NoLine, Line::At);
    let mut before = first_line;
    for (index, line) in lines.chunks_exact(4).enumerate() {
        let line = i32::from_le_bytes(line.try_into().unwrap());
        assert_eq!(table.line(index as i32), at(line), "instruction {index} of {table:?}");
        seen.without_line += u64::from(line < 0);
        seen.backward += u64::from(0 <= line && line < before);
        before = line;
    }
    assert_eq!(table.line(-1), at(first_line), "a frame that has not started");
    if !is_lnotab(kind) {
        assert_eq!(table.line(units as i32), Line::NoLine, "past the end of {table:?}");
    }
    seen.code_objects += 1;
    seen.instructions += u64::from(units);
}

fn array<const N: usize>(stream: &mut impl Read) -> [u8; N] {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).expect("the interpreter's output breaks off");
    bytes
}

#[test]
fn tables_that_no_interpreter_writes_end_in_a_named_answer() {
    use Line::{At, NoLine, Unknown};
    const WHOLE: bool = true;
    const CUT: bool = false;
    // PEP 657 heads: code << 3 | length - 1, bit 7 set. 10: line +0, 13: line by varint, 15: none.
    const SAME: u8 = 0x80 | 10 << 3;
    const NEXT: u8 = 0x80 | 11 << 3;
    const BY: u8 = 0x80 | 13 << 3;
    const LONG: u8 = 0x80 | 14 << 3;
    const NONE: u8 = 0x80 | 15 << 3;
    let endless = &[BY, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x3f, SAME, 0, 0][..];
    // (kind, first line, table, complete, [(index, expected)])
    type Row<'a> = (u8, i32, &'a [u8], bool, &'a [(i32, Line)]);
    let rows: &[Row<'_>] = &[
        // An empty table: lnotab says "all on the first line", the others say nothing.
        (LINES_LNOTAB, 7, &[], WHOLE, &[(-1, At(7)), (0, At(7)), (i32::MAX, At(7)), (i32::MIN, At(7))]),
        (LINES_LNOTAB, 7, &[], CUT, &[(-1, At(7)), (0, Unknown)]),
        (LINES_PEP626, 7, &[], WHOLE, &[(-1, At(7)), (0, NoLine), (i32::MAX, NoLine)]),
        (LINES_PEP626, 7, &[], CUT, &[(0, Unknown), (i32::MAX, Unknown)]),
        (LINES_PEP657, 7, &[], WHOLE, &[(-1, At(7)), (0, NoLine), (i32::MAX, NoLine)]),
        (LINES_PEP657, 7, &[], CUT, &[(0, Unknown), (i32::MAX, Unknown)]),
        // lnotab: repeated entries at one offset add up, deltas are signed, a half pair does not count.
        (
            LINES_LNOTAB,
            10,
            &[2, 127, 0, 127, 2, 0x80, 4],
            WHOLE,
            &[(0, At(10)), (1, At(264)), (2, At(136)), (9, At(136))],
        ),
        (LINES_LNOTAB, 10, &[2, 1, 4, 1], CUT, &[(0, At(10)), (2, At(11)), (3, Unknown)]),
        (LINES_LNOTAB, 10, &[2, 0x80, 2, 127, 2, 0], WHOLE, &[(0, At(10)), (1, NoLine), (2, At(9))]),
        // 2.7: the same pairs, by bytes, and no sign.
        (LINES_LNOTAB_2, 7, &[], WHOLE, &[(-1, At(7)), (0, At(7)), (i32::MAX, At(7))]),
        (
            LINES_LNOTAB_2,
            10,
            &[3, 1, 6, 0x80, 0, 255, 1, 0xff],
            WHOLE,
            &[(0, At(10)), (2, At(10)), (3, At(11)), (8, At(11)), (9, At(394)), (10, At(649)), (99, At(649))],
        ),
        (LINES_LNOTAB_2, 10, &[3, 1, 6, 0x80], CUT, &[(8, At(11)), (9, Unknown)]),
        // PEP 626: -128 leaves the running line alone; empty ranges cover nothing but count.
        (
            LINES_PEP626,
            10,
            &[2, 1, 2, 0x80, 0, 3, 2, 0, 9],
            WHOLE,
            &[(0, At(11)), (1, NoLine), (2, At(14)), (3, NoLine)],
        ),
        (LINES_PEP626, 10, &[2, 1, 2], CUT, &[(0, At(11)), (1, Unknown)]),
        (LINES_PEP626, 1, &[2, 0x81, 2, 127], WHOLE, &[(0, NoLine), (1, At(1))]),
        // PEP 657: the line is kept over "none", and lengths are code units.
        (
            LINES_PEP657,
            10,
            &[NEXT | 1, 0, 0, NONE | 2, SAME, 0, 0],
            WHOLE,
            &[(0, At(11)), (1, At(11)), (2, NoLine), (4, NoLine), (5, At(11)), (6, NoLine)],
        ),
        (
            LINES_PEP657,
            10,
            &[BY, 0x0a << 1, LONG, 0x03, 0, 0, 0],
            WHOLE,
            &[(0, At(20)), (1, At(19)), (2, NoLine)],
        ),
        // A cut in the columns costs nothing, one in the line costs that entry and what follows.
        (LINES_PEP657, 10, &[SAME, 0, 0, NEXT], CUT, &[(0, At(10)), (1, At(11)), (2, Unknown)]),
        (LINES_PEP657, 10, &[SAME, 0, 0, BY], CUT, &[(0, At(10)), (1, Unknown), (2, Unknown)]),
        (LINES_PEP657, 10, &[SAME, 0, 0, BY, 0x41], WHOLE, &[(0, At(10)), (1, Unknown)]),
        (LINES_PEP657, 10, &[BY, 0x41, SAME, 0, 0], WHOLE, &[(0, Unknown), (1, Unknown)]),
        // Continuation bits without end, and what does not fit a C int.
        (LINES_PEP657, 10, endless, WHOLE, &[(0, Unknown), (1, Unknown), (-1, At(10))]),
        (LINES_PEP657, 10, &[BY, 0x7e, 0x7f, 0x7f, 0x7f, 0x7f, 0x3f], WHOLE, &[(0, Unknown)]),
        // Huge deltas: line numbers beyond a C int are none, and sums do not wrap.
        (
            LINES_PEP657,
            i32::MAX,
            &[NEXT, 0, 0, SAME],
            WHOLE,
            &[(-1, At(i32::MAX as u32)), (0, NoLine), (1, NoLine)],
        ),
        (
            LINES_PEP657,
            1,
            &[BY, 0x7e, 0x7f, 0x7f, 0x7f, 0x7f, 3, BY, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 3],
            WHOLE,
            &[(0, NoLine), (1, At(1))],
        ),
        (LINES_PEP657, i32::MIN, &[BY, 3], WHOLE, &[(-1, NoLine), (0, NoLine)]),
        // Bytes that belong to no entry; a kind from a layout that does not exist.
        (LINES_PEP657, 10, &[0, 0x7f, NEXT], WHOLE, &[(0, At(10)), (1, At(11))]),
        (u8::MAX, 10, &[NEXT], WHOLE, &[(0, At(11)), (1, NoLine)]),
    ];
    for &(kind, first_line, bytes, complete, expected) in rows {
        let table = LineTable { kind, first_line, bytes: bytes.to_vec(), complete };
        for &(index, line) in expected {
            assert_eq!(table.line(index), line, "instruction {index} of {table:x?}");
        }
    }
}

#[test]
fn noise_neither_panics_nor_takes_longer_than_its_length() {
    // xorshift64: noise that is the same in every run.
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..6_000 {
        // Seven short tables to one long: most of what can go wrong goes wrong at an end.
        let len = noise() % if round % 8 == 0 { 4096 } else { 16 };
        let bytes = (0..len).map(|_| noise() as u8).collect();
        let (kind, first_line) = ((round % 4) as u8, noise() as i32);
        let table = LineTable { kind, first_line, bytes, complete: round % 2 == 0 };
        for index in (-1..16).chain([i32::MIN, i32::MAX, noise() as i32]) {
            if let Line::At(line) = table.line(index) {
                assert!(line <= i32::MAX as u32, "{table:?}");
            }
        }
    }
}

#[test]
fn marks_change_no_answer_while_the_table_grows() {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..200 {
        let len = 1 + noise() % 20_000;
        // Entries that cover nothing, and entries of many bytes, are what a mark could be misplaced in.
        let mask = [0xff, 0x01, 0x7f, 0x83][(noise() % 4) as usize];
        let whole: Vec<u8> = (0..len).map(|_| noise() as u8 & mask).collect();
        let (kind, first_line) = ((round % 4) as u8, (noise() % 1000) as i32);
        let mut table = LineTable { kind, first_line, bytes: Vec::new(), complete: false };
        let mut marks = LineMarks::default();
        while table.bytes.len() < whole.len() {
            let more = whole.len().min(table.bytes.len() + 1 + (noise() % 7000) as usize);
            table.bytes.extend_from_slice(&whole[table.bytes.len()..more]);
            table.complete = more == whole.len();
            for _ in 0..50 {
                let index = (noise() % (2 * len)) as i32 - 1;
                assert_eq!(table.line_by(index, &mut marks), table.line(index), "{index} of {table:x?}");
            }
        }
    }
}

#[test]
fn a_table_of_a_megabyte_is_walked_once_and_not_for_each_instruction() {
    // Each pair: one code unit and one line more (PEP 626). Walked anew each time, this is 10^11 entries, or minutes.
    let table =
        LineTable { kind: LINES_PEP626, first_line: 0, bytes: [2, 1].repeat(1 << 19), complete: true };
    let mut marks = LineMarks::default();
    let begin = std::time::Instant::now();
    for step in 0..1_i64 << 19 {
        // Every instruction, in no order.
        let index = ((step * 7919) % (1 << 19)) as i32;
        assert_eq!(table.line_by(index, &mut marks), Line::At(index as u32 + 1));
    }
    let took = begin.elapsed();
    assert!(took < std::time::Duration::from_secs(20), "{took:?}");
}
