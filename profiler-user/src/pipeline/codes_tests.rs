//! Code objects in the memory of this very process, which is asked for what the kernel does not send.

use bytemuck::Zeroable;
use profiler_common::limits::{MAX_LINES_BYTES, MAX_LINES_CHUNKS};
use pyunwind::host::versions;
use pyunwind::{Addr, code};

use super::*;
use crate::process::ProcessMemory;
use crate::profile::ProcessMeta;

/// An object as words: these at these offsets, then bytes from `data` on.
pub fn object(words: &[(u16, u64)], data: u16, bytes: &[u8]) -> Vec<u64> {
    let mut object = vec![0; 32 + bytes.len().div_ceil(8)];
    words.iter().for_each(|(offset, word)| object[usize::from(*offset / 8)] = *word);
    let all: &mut [u8] = bytemuck::cast_slice_mut(&mut object);
    all[usize::from(data)..][..bytes.len()].copy_from_slice(bytes);
    object
}

/// The state of a string: kind 1, compact, ASCII (`Include/cpython/unicodeobject.h`).
pub const ASCII: u64 = 1 << 2 | 1 << 5 | 1 << 6;

pub fn at(object: &[u64]) -> u64 {
    object.as_ptr() as u64
}

/// This process, as if it were a Python with this layout.
pub fn this_process(layout: Layout) -> PythonImage {
    PythonImage {
        version: (3, layout.minor, None),
        version_text: String::new(),
        layout,
        runtime_address: Addr::NULL,
        initialized: true,
        has_rival: false,
        verified: true,
        executable: Default::default(),
        runtime: Default::default(),
        task: std::process::id(),
    }
}

#[test]
fn a_line_table_longer_than_the_kernel_sends_is_read_from_the_process() {
    let layout = versions::layout(10).unwrap();
    let text = object(&[(layout.str_length, 1), (layout.str_state, ASCII)], layout.str_ascii_data, b"f");
    // Each instruction is a line further than the one before it (PEP 626).
    let lines = [2, 1].repeat(MAX_LINES_BYTES * MAX_LINES_CHUNKS as usize);
    let table = object(&[(layout.bytes_size, lines.len() as u64)], layout.bytes_data, &lines);
    let pointers = [
        (layout.code_filename, at(&text)),
        (layout.code_name, at(&text)),
        (layout.code_linetable, at(&table)),
    ];
    let code = object(&pointers, layout.code_firstlineno, &7_u32.to_ne_bytes());
    let mut memory = ProcessMemory::new(std::process::id());
    let identity = code::check(&mut memory, &layout, Addr(at(&code)), 0).unwrap().identity;

    let name = Text { chars: 1, state: ASCII as u32, bytes: 1, reserved: 0 };
    let event = CodeEvent {
        code: at(&code),
        identity,
        first_line: 7,
        name,
        file: name,
        lines_total: lines.len() as u32,
        lines_bytes: MAX_LINES_BYTES as u32,
        ..CodeEvent::zeroed()
    };
    let data = [b"ff", &lines[..MAX_LINES_BYTES]].concat();
    let mut profile = Profile::new(ProcessMeta::default());
    let mut codes = Codes::default();
    let (python, mut spent) = (this_process(layout), Duration::ZERO);
    let mut reader = Reader::here();
    let mut source = Source::new(ProcessKey::default(), &python, &mut reader, &mut spent);
    codes.capture(&mut profile, &mut source, &event, &data);
    for index in [0, 1000, 60_000] {
        let frame = Frame { code: event.code, identity, index };
        let place = codes.place(&mut profile, &frame).unwrap();
        assert_eq!(profile.locations()[place.index()].line, 8 + index as u32, "instruction {index}");
    }
}
