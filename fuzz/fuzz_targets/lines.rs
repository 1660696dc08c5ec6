//! Line tables of all encodings, held against decoders that follow the text of CPython, entry by entry.
#![no_main]

use pyprof_fuzz::input::Input;
use pyprof_fuzz::memory::Reader;
use pyprof_fuzz::{snapshots, target};
use pyunwind::host::code_object::CodeObject;
use pyunwind::host::lines::{Line, LineTable};
use pyunwind::layout::{LINES_LNOTAB, LINES_LNOTAB_2, LINES_PEP626, LINES_PEP657};
use pyunwind::{Addr, Layout};

target!(seeds, check);

/// Instructions looked up one after the other.
const IN_ORDER: i32 = 64;

fn check(data: &[u8]) {
    let mut input = Input(data);
    let (kind, complete) = (input.u8() & 3, input.u8() & 1 != 0);
    let (first_line, far) = (input.i32(), input.i32());
    let table = LineTable { kind, first_line, bytes: input.0.to_vec(), complete };
    let entries = entries(&table);
    for index in (-1..IN_ORDER).chain([far, i32::MAX, i32::MIN]) {
        assert_eq!(table.line(index), expected(&table, &entries, index), "{table:?} at {index}");
    }
}

/// Up to which byte offset an entry holds, and what: no line, or one that may be none.
type Entry = (i64, Option<i64>);

fn expected(table: &LineTable, entries: &[Entry], index: i32) -> Line {
    let valid = |line: i64| if (0..1 << 31).contains(&line) { Line::At(line as u32) } else { Line::NoLine };
    if index < 0 {
        return valid(table.first_line.into());
    }
    let offset = i64::from(index) * if table.kind == LINES_LNOTAB_2 { 1 } else { 2 };
    for (end, line) in entries {
        if offset < *end {
            return match *line {
                Some(UNKNOWN) => Line::Unknown,
                Some(line) => valid(line),
                None => Line::NoLine,
            };
        }
    }
    if table.complete { Line::NoLine } else { Line::Unknown }
}

const UNKNOWN: i64 = i64::MIN;

fn entries(table: &LineTable) -> Vec<Entry> {
    match table.kind {
        LINES_LNOTAB | LINES_LNOTAB_2 => lnotab(table),
        LINES_PEP626 => pep626(table),
        LINES_PEP657 => pep657(table),
        _ => Vec::new(),
    }
}

/// `PyCode_Addr2Line` of 3.9 and 2.7 (`Objects/codeobject.c`): `while (--size >= 0) { addr += *p++; if (addr > addrq) break;
/// line += *p++; }`
fn lnotab(table: &LineTable) -> Vec<Entry> {
    let (mut addr, mut line) = (0, i64::from(table.first_line));
    let mut entries = Vec::new();
    for pair in 0..table.bytes.len() / 2 {
        addr += i64::from(table.bytes[2 * pair]);
        entries.push((addr, Some(line)));
        let change = table.bytes[2 * pair + 1];
        line += if table.kind == LINES_LNOTAB_2 { i64::from(change) } else { i64::from(change as i8) };
    }
    entries.push((i64::MAX, Some(if table.complete { line } else { UNKNOWN })));
    entries
}

/// `advance` and `retreat` of 3.10 (`Objects/codeobject.c`): `ar_computed_line += ldelta` unless it is -128.
fn pep626(table: &LineTable) -> Vec<Entry> {
    let (mut end, mut computed) = (0, i64::from(table.first_line));
    let mut entries = Vec::new();
    for pair in 0..table.bytes.len() / 2 {
        end += i64::from(table.bytes[2 * pair]);
        let change = table.bytes[2 * pair + 1] as i8;
        computed += if change == -128 { 0 } else { i64::from(change) };
        entries.push((end, (change != -128).then_some(computed)));
    }
    entries
}

/// `Objects/locations.md` of 3.11: entries begin at the bytes with the top bit; a change of line is a varint of six bits
/// per byte in forms 13 and 14, and the form less 10 in forms 10 to 12. What is before the first entry is skipped as one.
fn pep657(table: &LineTable) -> Vec<Entry> {
    let mut starts: Vec<usize> = (1..table.bytes.len()).filter(|at| table.bytes[*at] >= 0x80).collect();
    starts.insert(0, 0);
    starts.push(table.bytes.len());
    let (mut end, mut line) = (0, i64::from(table.first_line));
    let mut entries = Vec::new();
    for pair in starts.windows(2) {
        let [head, rest @ ..] = &table.bytes[pair[0]..pair[1]] else { break };
        end += 2 * (i64::from(head % 8) + 1);
        let form = head / 8 % 16;
        let change = match form {
            13 | 14 => match varint(rest) {
                // From here on nothing can be said.
                None => {
                    entries.push((i64::MAX, Some(UNKNOWN)));
                    break;
                }
                change => change,
            },
            10..=12 => Some(i64::from(form) - 10),
            15 => None,
            _ => Some(0),
        };
        line += change.unwrap_or(0);
        entries.push((end, change.map(|_| line)));
    }
    entries
}

/// As CPython writes them for a C int: at most six bytes.
fn varint(bytes: &[u8]) -> Option<i64> {
    let last = bytes.iter().position(|byte| byte & 64 == 0).filter(|last| *last < 6)?;
    let value = bytes[..=last].iter().rev().fold(0_i64, |value, byte| value * 64 + i64::from(byte % 64));
    let change = if value % 2 == 1 { -(value / 2) } else { value / 2 };
    (i64::from(i32::MIN)..=i64::from(i32::MAX)).contains(&change).then_some(change)
}

/// The tables of recorded processes, and the longest varints.
fn seeds() -> Vec<Vec<u8>> {
    let seed = |kind: u8, complete, first_line: i32, bytes: &[u8]| {
        let mut seed = vec![kind, complete];
        seed.extend(first_line.to_le_bytes());
        seed.extend(1000_i32.to_le_bytes());
        seed.extend(bytes);
        seed
    };
    let mut seeds = vec![
        seed(
            LINES_PEP657,
            1,
            1,
            &[0xe8, 0x7e, 0x7f, 0x7f, 0x7f, 0x7f, 0x03, 0, 1, 2, 0xf0, 0x7f, 0x7f, 0x7f],
        ),
        seed(LINES_PEP657, 0, 1, &[0xe9, 0x42, 0x01, 0xf9, 0xd2, 1, 2, 0xf0, 3, 0, 0, 0, 0]),
    ];
    for recorded in snapshots::all() {
        for lines in tables(&recorded) {
            seeds.push(seed(lines.kind, 1, lines.first_line, &lines.bytes));
            seeds.push(seed(lines.kind, 0, lines.first_line, &lines.bytes[..lines.bytes.len() / 2]));
        }
    }
    seeds
}

fn tables(recorded: &snapshots::Recorded) -> Vec<LineTable> {
    let layout: &Layout = &recorded.layout;
    let mut tables = Vec::new();
    for at in recorded.codes() {
        let work = |reader: &mut Reader<'_>| {
            tables.extend(CodeObject::read(reader, layout, Addr(at.0)).ok().map(|object| object.lines));
        };
        drop(recorded.input(0, false, work));
    }
    tables
}
