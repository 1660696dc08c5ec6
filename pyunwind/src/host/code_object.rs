//! What users see of a code object: its name, file and lines, read from a process or out of what a BPF program
//! captured. Both may be cut or made up by the target: sizes are capped, and no content is trusted.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::lines::LineTable;
use super::strings::decode;
use crate::layout::ABSENT;
use crate::text::StrShape;
use crate::{Addr, Fault, Layout, Memory};

/// The most that is read of a name or a path; the rest is cut and marked.
pub const MAX_CHARS: u64 = 4096;
/// The most that is read of a line table: a module of 100,000 lines has a third of it.
pub const MAX_LINE_TABLE_BYTES: u64 = 1 << 20;
/// What [`Memory::load`] takes at once.
const LOAD_BYTES: usize = 256;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CodeObject {
    pub name: String,
    /// Known from 3.11 on.
    pub qualname: Option<String>,
    pub file: String,
    pub first_line: i32,
    pub lines: LineTable,
}

/// Why a code object could not be read; each holds the part concerned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CodeError {
    /// The memory is not there (any more).
    Unreadable(&'static str),
    /// There is memory, but not an object of the kind expected.
    Malformed(&'static str),
}

impl fmt::Display for CodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CodeError::Unreadable(part) => write!(f, "failed to read the {part} of a code object"),
            CodeError::Malformed(part) => write!(f, "failed to make sense of the {part} of a code object"),
        }
    }
}

impl core::error::Error for CodeError {}

/// A string object in pieces: its `state` word, its length, and as many of its characters as were captured.
#[derive(Clone, Copy, Debug)]
pub struct RawStr<'a> {
    pub state: u32,
    pub chars: u64,
    pub bytes: &'a [u8],
}

/// A code object in pieces, as a BPF program captures it.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    pub first_line: i32,
    pub name: RawStr<'a>,
    pub qualname: Option<RawStr<'a>>,
    pub file: RawStr<'a>,
    pub line_table: &'a [u8],
    /// How long the whole table is in the target.
    pub line_table_bytes: u64,
}

impl CodeObject {
    /// The name to show: qualified where the version has it.
    pub fn display_name(&self) -> &str {
        self.qualname.as_deref().unwrap_or(&self.name)
    }

    /// Puts captured pieces together. Cannot fail: what is missing is marked as cut.
    pub fn from_parts(layout: &Layout, parts: Parts<'_>) -> CodeObject {
        let Parts { first_line, name, qualname, file, line_table, line_table_bytes } = parts;
        let text = |raw: RawStr<'_>| decode(StrShape::from_state(raw.state, layout), raw.bytes, raw.chars);
        let complete = line_table.len() as u64 >= line_table_bytes;
        // Captures come in whole words: what follows the table is not part of it.
        let line_table = line_table.get(..line_table_bytes as usize).unwrap_or(line_table);
        CodeObject {
            name: text(name),
            qualname: qualname.map(text),
            file: text(file),
            first_line,
            lines: LineTable { kind: layout.line_table, first_line, bytes: line_table.into(), complete },
        }
    }

    /// Reads the code object at `at`. Its memory may change meanwhile: the caller checks its identity before and
    /// after, this only promises to end, to stay within the caps and not to panic.
    pub fn read(memory: &mut impl Memory, layout: &Layout, at: Addr) -> Result<CodeObject, CodeError> {
        if at.is_null() || !at.is_aligned() {
            return Err(CodeError::Malformed("address"));
        }
        let first_line = word32(memory, at.offset(layout.code_firstlineno.into()))
            .map_err(|Fault| CodeError::Unreadable("first line"))? as i32;
        let name = read_str(memory, layout, at, layout.code_name, "name")?;
        let file = read_str(memory, layout, at, layout.code_filename, "file name")?;
        let qualname = match layout.code_qualname {
            ABSENT => None,
            field => Some(read_str(memory, layout, at, field, "qualified name")?),
        };
        let (bytes, complete) = read_line_table(memory, layout, at);
        let lines = LineTable { kind: layout.line_table, first_line, bytes, complete };
        Ok(CodeObject { name, qualname, file, first_line, lines })
    }
}

/// The string that `field` of the code object at `code` points to.
fn read_str(
    memory: &mut impl Memory,
    layout: &Layout,
    code: Addr,
    field: u16,
    part: &'static str,
) -> Result<String, CodeError> {
    let at = memory.word(code.offset(field.into())).map_err(|Fault| CodeError::Unreadable(part))?;
    str_at(memory, layout, Addr(at), part)
}

/// The string object at `at`; `part` says what it is in case of an error.
pub(super) fn str_at(
    memory: &mut impl Memory,
    layout: &Layout,
    at: Addr,
    part: &'static str,
) -> Result<String, CodeError> {
    let unreadable = |Fault| CodeError::Unreadable(part);
    if at.is_null() || !at.is_aligned() {
        return Err(CodeError::Malformed(part));
    }
    let chars = memory.word(at.offset(layout.str_length.into())).map_err(unreadable)?;
    let state = word32(memory, at.offset(layout.str_state.into())).map_err(unreadable)?;
    let shape = StrShape::from_state(state, layout);
    if !shape.is_valid() {
        return Err(CodeError::Malformed(part));
    }
    let data = if shape.compact {
        at.offset(shape.compact_data(layout).into())
    } else {
        Addr(memory.word(at.offset(layout.str_compact_data.into())).map_err(unreadable)?)
    };
    let mut bytes = Vec::new();
    read_bytes(memory, data, chars.min(MAX_CHARS) * u64::from(shape.kind), &mut bytes).map_err(unreadable)?;
    Ok(decode(shape, &bytes, chars))
}

/// The line table and whether that is all of it. Never fails: a function without lines still has a name.
fn read_line_table(memory: &mut impl Memory, layout: &Layout, code: Addr) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    let mut read = || {
        let table = Addr(memory.word(code.offset(layout.code_linetable.into()))?);
        let data = table.offset(layout.bytes_data.into());
        if table.is_null() || !table.is_aligned() {
            return Err(Fault);
        }
        let size = memory.word(table.offset(layout.bytes_size.into()))?;
        read_bytes(memory, data, size.min(MAX_LINE_TABLE_BYTES), &mut bytes)?;
        Ok(size <= MAX_LINE_TABLE_BYTES)
    };
    let complete = read().unwrap_or(false);
    (bytes, complete)
}

/// Appends `len` bytes at `at`; on a fault, `into` keeps those before it.
pub(super) fn read_bytes(
    memory: &mut impl Memory,
    at: Addr,
    len: u64,
    into: &mut Vec<u8>,
) -> Result<(), Fault> {
    // From a whole word on: 2.7 has its characters at odd places.
    let odd = at.0 & 7;
    let start = into.len();
    let read = read_words(memory, Addr(at.0 - odd), len.saturating_add(odd), into);
    into.drain(start..(start + odd as usize).min(into.len()));
    read
}

/// Appends `len` bytes at `at`, a multiple of 8.
fn read_words(memory: &mut impl Memory, at: Addr, len: u64, into: &mut Vec<u8>) -> Result<(), Fault> {
    let start = into.len() as u64;
    let mut done = 0;
    while done < len {
        let step = (len - done).min(LOAD_BYTES as u64);
        // Rounding up to words stays within a page, so it never faults where the bytes themselves would not.
        let words = step.div_ceil(8) as u32;
        memory.load(at.offset(done), words * 8)?;
        into.extend((0..words).flat_map(|index| memory.field(index * 8).to_le_bytes()));
        done += step;
        into.truncate((start + done) as usize);
    }
    Ok(())
}

/// 32 bits at an address that is a multiple of 4, by way of the aligned word around them.
pub(super) fn word32(memory: &mut impl Memory, at: Addr) -> Result<u32, Fault> {
    let word = memory.word(Addr(at.0 & !7))?;
    Ok((word >> ((at.0 & 4) * 8)) as u32)
}
