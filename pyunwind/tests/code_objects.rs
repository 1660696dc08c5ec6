//! Code objects of live interpreters, read from outside, against what the interpreter itself says of them; and
//! memory that holds no code object at all.
#![cfg(feature = "host")]

mod common;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Stdio;

use pyunwind::host::code_object::{CodeError, CodeObject, MAX_CHARS, MAX_LINE_TABLE_BYTES, Parts, RawStr};
use pyunwind::host::strings::{CUT_MARK, decode};
use pyunwind::text::StrShape;
use pyunwind::{Addr, Fault, Memory};

/// Where bytes come from: a process or a picture of one.
struct Reader<F: Fn(u64, &mut [u8]) -> bool> {
    read: F,
    loaded: Vec<u8>,
}

impl<F: Fn(u64, &mut [u8]) -> bool> Reader<F> {
    fn new(read: F) -> Self {
        Reader { read, loaded: Vec::new() }
    }
}

impl<F: Fn(u64, &mut [u8]) -> bool> Memory for Reader<F> {
    fn word(&mut self, at: Addr) -> Result<u64, Fault> {
        assert!(at.is_aligned(), "the contract of Memory");
        let mut word = [0; 8];
        if (self.read)(at.0, &mut word) { Ok(u64::from_le_bytes(word)) } else { Err(Fault) }
    }

    fn load(&mut self, at: Addr, len: u32) -> Result<(), Fault> {
        assert!(at.is_aligned() && len.is_multiple_of(8) && len <= 256, "the contract of Memory");
        self.loaded = vec![0; len as usize];
        if (self.read)(at.0, &mut self.loaded) { Ok(()) } else { Err(Fault) }
    }

    fn field(&self, offset: u32) -> u64 {
        let at = offset as usize;
        u64::from_le_bytes(self.loaded[at..at + 8].try_into().unwrap())
    }

    fn load_frame(&mut self, _: Addr, _: u32, _: bool) -> Result<(), Fault> {
        Err(Fault)
    }

    fn frame_field(&self, _: u32) -> u64 {
        0
    }
}

#[test]
fn code_objects_read_from_outside_are_what_their_interpreter_says() {
    for python in common::interpreters() {
        check_interpreter(&python);
    }
}

fn check_interpreter(python: &Path) {
    let mut command = common::script(python, "dump_codes.py");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let version = lines.next().expect("no output");
    let minor = version.strip_prefix("3 ").and_then(|minor| minor.parse().ok()).expect("not a Python 3");
    let layout = common::layout(minor);
    let file = File::open(format!("/proc/{}/mem", child.id())).unwrap();
    let mut memory = Reader::new(|at, into: &mut [u8]| file.read_exact_at(into, at).is_ok());

    let (mut count, mut legacy) = (0, 0);
    for line in lines.by_ref().take_while(|line| line != "end") {
        let [at, file, name, qualname, first_line, table] =
            line.split(' ').collect::<Vec<_>>().try_into().expect("six fields");
        legacy += line.matches("legacy:").count();
        let code = CodeObject::read(&mut memory, &layout, Addr(at.parse().unwrap()))
            .unwrap_or_else(|error| panic!("3.{minor}: {error}: {line}"));
        assert_eq!(code.file, text(file), "3.{minor}");
        assert_eq!(code.name, text(name), "3.{minor}");
        assert_eq!(code.qualname, (qualname != "-").then(|| text(qualname)), "3.{minor}");
        assert_eq!(code.display_name(), text(if qualname == "-" { name } else { qualname }));
        assert_eq!(code.first_line, first_line.parse::<i32>().unwrap());
        assert_eq!((code.lines.kind, code.lines.first_line), (layout.line_table, code.first_line));
        let mut table = unhex(table);
        assert_eq!(code.lines.complete, table.len() as u64 <= MAX_LINE_TABLE_BYTES, "{} bytes", table.len());
        table.truncate(MAX_LINE_TABLE_BYTES as usize);
        assert!(code.lines.bytes == table, "3.{minor}: line table of {name}");
        count += 1;
    }
    // Closing stdin lets the script end.
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    assert!(count > 60 && legacy >= 10, "only {count} code objects, {legacy} strings out of line");
    println!("{}: {count} code objects, {legacy} strings out of line", python.display());
}

/// The text that the script names, cut as reading cuts it.
fn text(field: &str) -> String {
    let text = String::from_utf8(unhex(field)).unwrap();
    match text.char_indices().nth(MAX_CHARS as usize) {
        Some((at, _)) => format!("{}{CUT_MARK}", &text[..at]),
        None => text,
    }
}

fn unhex(field: &str) -> Vec<u8> {
    let (_, digits) = field.split_once(':').unwrap();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn strings_decode_as_far_as_they_go() {
    // (kind, ascii, bytes, characters in the target, text)
    let rows: &[(u8, bool, &[u8], u64, &str)] = &[
        (1, true, b"", 0, ""),
        (1, true, b"spam", 4, "spam"),
        (1, true, b"spam", 5, "spam…"),
        (1, true, b"spam\0\0\0\0", 4, "spam"),
        (1, true, b"spam", u64::MAX, "spam…"),
        (1, true, b"", 1, "…"),
        // A string that claims to be ASCII and is not is read as what its kind says.
        (1, true, b"\xe9", 1, "é"),
        (1, false, b"na\xefve", 5, "naïve"),
        (2, false, b"\x44\x04\xff\xff", 2, "ф\u{ffff}"),
        (2, false, b"\x44\x04\x43", 2, "ф…"),
        // A pair of surrogates is two characters to CPython, and neither is one on its own.
        (2, false, b"\x3d\xd8\x0d\xdc", 2, "\u{fffd}\u{fffd}"),
        (4, false, b"\x0d\xf4\x01\0\xff\xdc\0\0\xff\xff\x10\0", 3, "🐍\u{fffd}\u{10ffff}"),
        (4, false, b"\0\0\x11\0\xff\xff\xff\xff", 2, "\u{fffd}\u{fffd}"),
        // Kinds that do not exist.
        (0, false, b"spam", 4, "…"),
        (3, false, b"spam", 4, "…"),
        (7, true, b"", 0, ""),
        (2, true, b"s\0", 1, "…"),
    ];
    for &(kind, ascii, bytes, chars, expected) in rows {
        assert_eq!(
            decode(StrShape { kind, compact: true, ascii, bytes: false }, bytes, chars),
            expected,
            "kind {kind} {bytes:x?}"
        );
    }
}

#[test]
fn captured_pieces_make_a_code_object() {
    let layout = common::layout(12);
    let ascii = |bytes, chars| RawStr { state: 0b110_0100, chars, bytes };
    let ucs2 = RawStr { state: 0b010_1000, chars: 2, bytes: b"\x44\x04\x43\x04" };
    let parts = Parts {
        first_line: 3,
        name: ascii(b"spam", 4),
        qualname: Some(ucs2),
        file: ascii(b"/srv/", 9),
        line_table: &[0xd8, 0, 0, 0, 0, 0, 0, 0],
        line_table_bytes: 3,
    };
    let code = CodeObject::from_parts(&layout, parts);
    assert_eq!((code.name.as_str(), code.display_name(), code.file.as_str()), ("spam", "фу", "/srv/…"));
    assert!(code.lines.complete && code.lines.bytes == [0xd8, 0, 0], "{:?}", code.lines);
    let cut = CodeObject::from_parts(&layout, Parts { qualname: None, line_table_bytes: 9, ..parts });
    assert!(!cut.lines.complete && cut.display_name() == "spam", "{cut:?}");
}

#[test]
fn memory_without_a_code_object_is_an_error_by_name() {
    use CodeError::{Malformed, Unreadable};
    let layout = common::layout(12);
    let read = |at, read: &dyn Fn(u64, &mut [u8]) -> bool| {
        CodeObject::read(&mut Reader::new(read), &layout, Addr(at))
    };
    let fill = |byte: u8| {
        move |_: u64, into: &mut [u8]| {
            into.fill(byte);
            true
        }
    };
    let at = 0x7000;
    assert_eq!(read(0, &fill(0)), Err(Malformed("address")));
    assert_eq!(read(at + 4, &fill(0)), Err(Malformed("address")));
    assert_eq!(read(at, &|_, _: &mut [u8]| false), Err(Unreadable("first line")));
    assert_eq!(read(at, &fill(0)), Err(Malformed("name")));
    assert_eq!(read(at, &fill(0xff)), Err(Malformed("name")));
    assert_eq!(read(u64::MAX - 7, &fill(0)), Err(Malformed("name")));
    // Everything points to itself and is endless: the caps hold, and what is cut is marked.
    let endless = read(at, &fill(0x28)).unwrap();
    assert_eq!(endless.name.chars().count() as u64, MAX_CHARS + 1);
    assert!(endless.name.ends_with(CUT_MARK) && endless.file.ends_with(CUT_MARK));
    assert_eq!((endless.lines.bytes.len() as u64, endless.lines.complete), (MAX_LINE_TABLE_BYTES, false));
    // A fault inside the line table keeps the name.
    let fault_at = 0x2828_2828_2828_2828 + u64::from(layout.bytes_data) + 256;
    let named = read(at, &|address, into: &mut [u8]| {
        into.fill(0x28);
        address != fault_at
    });
    let lines = named.unwrap().lines;
    assert_eq!((lines.bytes.len(), lines.complete), (256, false));
}
