//! One code object in the memory of a hostile process: its identity, its names, its line table. The pointer of the input
//! is its address.
#![no_main]

use pyprof_fuzz::alloc::within;
use pyprof_fuzz::memory::Reader;
use pyprof_fuzz::processes::Process;
use pyprof_fuzz::{process_target, snapshots};
use pyunwind::host::code_object::{CodeError, CodeObject, MAX_CHARS, MAX_LINE_TABLE_BYTES};
use pyunwind::{Addr, code};

process_target!(seeds, check);

/// What one read takes.
const READ_BYTES: u64 = 256;
/// Three texts of wide characters at odd places, a table, and the words that lead to them.
const MOST_READS: u64 = 3 * (MAX_CHARS * 4 / READ_BYTES + 6) + MAX_LINE_TABLE_BYTES / READ_BYTES + 8;
/// The table, of which there is half as much and twice as much while it grows, and texts as they come and as they are decoded.
const MOST_BYTES: usize = 4 * MAX_LINE_TABLE_BYTES as usize;
/// The object, the name's hash, the copies of the bytecode and one of them.
const READS_OF_CHECK: u64 = 4;

fn check(data: &[u8]) {
    let Some(process) = Process::decode(data) else { return };
    let Process { layout, pointer, registers, memory, .. } = &process;
    let at = Addr(*pointer);
    let copy = registers[0].0 as u32;
    let identity = || code::check(&mut Reader::new(memory, READS_OF_CHECK), layout, at, copy);
    assert_eq!(identity(), identity());
    let read = || CodeObject::read(&mut Reader::new(memory, MOST_READS), layout, at);
    let object = within(MOST_BYTES, read);
    if let Ok(object) = &object {
        for text in [Some(&object.name), object.qualname.as_ref(), Some(&object.file)].into_iter().flatten() {
            // And the mark of what was cut.
            let chars = text.chars().count() as u64;
            assert!(chars <= MAX_CHARS + 1, "a text of {chars} characters");
        }
        let bytes = object.lines.bytes.len() as u64;
        assert!(bytes <= MAX_LINE_TABLE_BYTES, "a line table of {bytes} bytes");
        let _ = object.lines.line(registers[1].0 as i32);
    }
    assert_eq!(object, read());
}

/// The code objects of every frame of every recorded process.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for recorded in snapshots::all() {
        for (number, at) in recorded.codes().into_iter().enumerate() {
            let read = |reader: &mut Reader<'_>| -> Result<CodeObject, CodeError> {
                let _ = code::check(reader, &recorded.layout, at, 0);
                CodeObject::read(reader, &recorded.layout, at)
            };
            seeds.push(recorded.input(at.0, number % 4 == 0, |reader| drop(read(reader))));
        }
    }
    seeds
}
