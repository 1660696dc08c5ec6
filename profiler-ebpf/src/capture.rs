//! Code objects on first sight: names, first line and line table go onto the ring before the sample that needs them.
//!
//! One record per step; long line tables take several. A code object counts as seen only when all of
//! it was accepted by the ring.

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use core::ffi::c_void;
use profiler_common::event::{KIND_CODE, KIND_LINES, VERSION};
use profiler_common::limits::{
    MAX_FILE_BYTES, MAX_LINES_BYTES, MAX_LINES_CHUNKS, MAX_NAME_BYTES, MAX_NEW_CODES, SEEN_SLOTS,
};
use profiler_common::{CodeEvent, LinesEvent, ProcessKey, Stat, Text};
use pyunwind::layout::ABSENT;
use pyunwind::text::StrShape;
use pyunwind::{Addr, Fault, Layout, Memory};

use crate::bound::{below_2048, below_8192};
use crate::drive::Drive;
use crate::maps::{CODE_SCRATCH, SEEN, count};
use crate::output::output;
use crate::scratch::{CodeScratch, NewCode, Scratch};

/// Sends what the walk noted as new.
#[inline(always)]
pub fn capture<D: Drive>(scratch: &mut Scratch, layout: &Layout, key: &ProcessKey, now_ns: u64) {
    let Some(code) = CODE_SCRATCH.get_ptr_mut(D::CONTEXT) else { return };
    // SAFETY: this CPU's scratch memory, used by this program only.
    let code = unsafe { &mut *code };
    code.position = 0;
    code.sent = 0;
    code.chunks = 0;
    code.code.event.header.process = *key;
    code.lines.event.header.process = *key;
    code.code.event.header.time_ns = now_ns;
    code.lines.event.header.time_ns = now_ns;
    D::codes(scratch, code, layout);
}

/// One record; whether it was the last.
#[inline(always)]
pub fn send_record(scratch: &mut Scratch, code: &mut CodeScratch, layout: &Layout) -> bool {
    let position = code.position as usize;
    if position >= scratch.sink.new_codes as usize || position >= MAX_NEW_CODES {
        return true;
    }
    let new: NewCode = scratch.sink.new[position & (MAX_NEW_CODES - 1)];
    let sent = if code.chunks == 0 {
        send_code(&mut scratch.memory, code, layout, &new)
    } else {
        send_lines(code, &new)
    };
    if !sent {
        count(Stat::CodeRingFull);
        return true;
    }
    code.chunks += 1;
    if code.sent >= code.table_bytes || code.chunks >= MAX_LINES_CHUNKS {
        if let Some(seen) = SEEN.get_ptr_mut((new.tag as u32) & (SEEN_SLOTS - 1)) {
            // SAFETY: a checked pointer into an array map; a lost race sends the record again.
            unsafe { *seen = new.tag };
        }
        count(Stat::CodeSent);
        code.position += 1;
        code.sent = 0;
        code.chunks = 0;
    }
    false
}

/// The fixed part, the names, and as much of the line table as fits.
#[inline(always)]
fn send_code(memory: &mut impl Memory, scratch: &mut CodeScratch, layout: &Layout, new: &NewCode) -> bool {
    scratch.table_bytes = 0;
    scratch.sent = 0;
    let pointers = read_pointers(memory, layout, Addr(new.code));
    let record = &mut scratch.code;
    let event = &mut record.event;
    event.header.kind = KIND_CODE;
    event.header.version = VERSION;
    event.code = new.code;
    event.identity = new.identity;
    event.first_line = 0;
    event.lines_total = 0;
    let (mut name_bytes, mut file_bytes, mut lines_bytes) = (0, 0, 0);
    let mut whole = false;
    match pointers {
        Ok(pointers) => {
            event.first_line = pointers.first_line;
            let data = record.data.as_mut_ptr();
            name_bytes =
                below_2048(read_text(memory, layout, pointers.name, &mut event.name, data, MAX_NAME_BYTES));
            // SAFETY: masked below the size of `data`.
            let data = unsafe { data.add(name_bytes as usize) };
            file_bytes =
                below_2048(read_text(memory, layout, pointers.file, &mut event.file, data, MAX_FILE_BYTES));
            // SAFETY: two masked lengths stay below the size of `data`.
            let data = unsafe { data.add(file_bytes as usize) };
            let total = memory.word(pointers.lines.offset(u64::from(layout.bytes_size))).unwrap_or(0);
            let table = pointers.lines.offset(u64::from(layout.bytes_data));
            lines_bytes = below_8192(total.min(MAX_LINES_BYTES as u64));
            // A code object may well have an empty line table; bytes that cannot be read are another matter.
            whole = total == 0 || read_bytes(data, lines_bytes, table);
            if !whole {
                lines_bytes = 0;
            }
            event.lines_total = total.min(u64::from(u32::MAX)) as u32;
            scratch.table = table.0;
            scratch.table_bytes = if lines_bytes == 0 { 0 } else { event.lines_total };
        }
        Err(Fault) => {
            event.name = Text { chars: 0, state: 0, bytes: 0, reserved: 0 };
            event.file = Text { chars: 0, state: 0, bytes: 0, reserved: 0 };
        }
    }
    if name_bytes == 0 || file_bytes == 0 || !whole {
        count(Stat::CodeUnreadable);
    }
    event.lines_bytes = lines_bytes as u32;
    let bytes = size_of::<CodeEvent>() as u64 + name_bytes + file_bytes + lines_bytes;
    event.header.bytes = bytes as u32;
    scratch.sent = lines_bytes as u32;
    output(&raw mut scratch.code as *mut c_void, bytes, false)
}

/// The next chunk of a long line table.
#[inline(always)]
fn send_lines(scratch: &mut CodeScratch, new: &NewCode) -> bool {
    let left = u64::from(scratch.table_bytes.wrapping_sub(scratch.sent));
    let bytes = below_8192(left.min(MAX_LINES_BYTES as u64));
    let at = Addr(scratch.table).offset(u64::from(scratch.sent));
    let record = &mut scratch.lines;
    if !read_bytes(record.data.as_mut_ptr(), bytes, at) {
        count(Stat::CodeUnreadable);
        scratch.sent = scratch.table_bytes;
        return true;
    }
    let event = &mut record.event;
    event.header.kind = KIND_LINES;
    event.header.version = VERSION;
    event.code = new.code;
    event.identity = new.identity;
    event.offset = scratch.sent;
    event.bytes = bytes as u32;
    event.header.bytes = (size_of::<LinesEvent>() as u64 + bytes) as u32;
    scratch.sent = scratch.sent.wrapping_add(bytes as u32);
    output(&raw mut scratch.lines as *mut c_void, size_of::<LinesEvent>() as u64 + bytes, false)
}

struct Pointers {
    first_line: i32,
    name: Addr,
    file: Addr,
    lines: Addr,
}

#[inline(always)]
fn read_pointers(memory: &mut impl Memory, layout: &Layout, code: Addr) -> Result<Pointers, Fault> {
    let start = u32::from(layout.code_start);
    memory.load(code.offset(u64::from(start)), u32::from(layout.code_span))?;
    let field = |memory: &_, offset: u16| Memory::field(memory, u32::from(offset & !7).wrapping_sub(start));
    let first_line = (field(memory, layout.code_firstlineno) >> ((layout.code_firstlineno & 4) * 8)) as i32;
    let name = if layout.code_qualname == ABSENT { layout.code_name } else { layout.code_qualname };
    Ok(Pointers {
        first_line,
        name: Addr(field(memory, name)),
        file: Addr(field(memory, layout.code_filename)),
        lines: Addr(field(memory, layout.code_linetable)),
    })
}

/// Copies the characters of a compact string; returns how many bytes, 0 if it is not one.
#[inline(always)]
fn read_text(
    memory: &mut impl Memory,
    layout: &Layout,
    at: Addr,
    text: &mut Text,
    data: *mut u8,
    most: usize,
) -> u64 {
    text.chars = 0;
    text.state = 0;
    text.bytes = 0;
    let Ok(length) = memory.word(at.offset(u64::from(layout.str_length))) else { return 0 };
    let Ok(state) = memory.word(at.offset(u64::from(layout.str_state))) else { return 0 };
    let shape = StrShape::from_state(state as u32, layout);
    text.chars = length.min(u64::from(u32::MAX)) as u32;
    text.state = state as u32;
    if !shape.compact {
        return 0;
    }
    let start = if shape.ascii { layout.str_ascii_data } else { layout.str_compact_data };
    let bytes = below_2048((u64::from(text.chars) * u64::from(shape.kind)).min(most as u64));
    if !read_bytes(data, bytes, at.offset(u64::from(start))) {
        return 0;
    }
    text.bytes = bytes as u32;
    bytes
}

#[inline(always)]
fn read_bytes(data: *mut u8, bytes: u64, at: Addr) -> bool {
    // SAFETY: every caller masks `bytes` to what its buffer holds, which the verifier checks again.
    bytes != 0 && unsafe { bpf_probe_read_user(data.cast(), bytes as u32, at.0 as *const _) } == 0
}
