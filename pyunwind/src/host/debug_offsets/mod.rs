//! `_Py_DebugOffsets`: from 3.13 on a CPython says itself where its fields are; believed only after every check here.
//!
//! The table stands at the start of `_PyRuntime` (`Include/internal/pycore_runtime.h` of 3.13,
//! `Include/internal/pycore_debug_offsets.h` of 3.14). Where a value stands in it is fixed within a minor version; the values
//! change with the patch release and with build options. A process may hold anything there, so no value goes into a
//! [`Layout`] unchecked.

mod tables;

use core::fmt;

use crate::layout::{
    ABSENT, ABSENT_32, FRAME_DATASTACK, GIL_FLAG, GIL_UNKNOWN, INSTR_POINTER, LINES_PEP657, Layout,
    TEXT_UNICODE,
};
use tables::{Positions, TABLES};

/// How much of `_PyRuntime` [`parse`] wants to see: the longest known table, with room to grow.
pub const MAX_BYTES: usize = 1024;

const COOKIE: &[u8; 8] = b"xdebugpy";
const POINTER: u64 = 8;

// What the readers of a `Layout` have room for; see the documentation of its fields.
const MAX_THREAD_SPAN: u64 = 504;
const MAX_FRAME_SPAN: u64 = 120;
const MAX_CODE_SPAN: u64 = 256;
/// Real ones are 200-400 KB; the cap only keeps sums of offsets far away from wrapping.
const MAX_STATE_BYTES: u64 = 1 << 24;
const MAX_STRUCT_BYTES: u64 = ABSENT as u64 - 1;

/// Why a table was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DebugOffsetsError {
    /// Fewer bytes than this version's table has.
    TooShort { expected: usize, found: usize },
    /// Not a `_Py_DebugOffsets` at all (3.12 and older have zeros here).
    BadCookie,
    /// A version whose table is not known, as `PY_VERSION_HEX`.
    UnknownVersion(u64),
    /// The size of a structure is zero or absurd.
    BadSize { structure: &'static str, size: u64 },
    /// An offset that no compiler would choose for the field's type.
    Misaligned { field: &'static str, offset: u64 },
    /// A field that ends beyond its structure.
    OutOfBounds { field: &'static str, offset: u64, size: u64 },
    /// The fields are further apart than the readers have room for.
    SpanTooLong { structure: &'static str, bytes: u64 },
}

impl fmt::Display for DebugOffsetsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("failed to use the debug offsets of CPython: ")?;
        match *self {
            Self::TooShort { expected, found } => write!(f, "{found} bytes of {expected}"),
            Self::BadCookie => f.write_str("no cookie"),
            Self::UnknownVersion(hex) => write!(f, "unknown version {hex:#x}"),
            Self::BadSize { structure, size } => write!(f, "{structure} has size {size}"),
            Self::Misaligned { field, offset } => write!(f, "{field} is misaligned at {offset}"),
            Self::OutOfBounds { field, offset, size } => {
                write!(f, "{field} at {offset} ends beyond its structure of {size} bytes")
            }
            Self::SpanTooLong { structure, bytes } => {
                write!(f, "the fields of {structure} span {bytes} bytes")
            }
        }
    }
}

impl core::error::Error for DebugOffsetsError {}

/// `PY_VERSION_HEX` and whether the build is free-threaded, of whatever has the cookie: enough to name it.
pub fn version(table: &[u8]) -> Option<(u32, bool)> {
    if table.get(..8)? != COOKIE {
        return None;
    }
    Some((u32::try_from(word(table, 8)?).ok()?, word(table, 16)? != 0))
}

/// Whether the table of this version, as `PY_VERSION_HEX`, is known: that of a release (0xF, `Include/patchlevel.h`), and
/// not newer than what this program was written for.
pub fn is_verified(hex: u32) -> bool {
    let newest = TABLES.last().map_or(0, |positions| positions.minor);
    hex >> 24 == 3 && ((hex >> 16) & 0xFF) as u8 <= newest && (hex >> 4) & 0xF == 0xF
}

/// Reads the table at the start of a `_PyRuntime`. More bytes than the table has may be given. A version newer than all
/// known ones, and a pre-release, may pass as well: see [`is_verified`].
pub fn parse(table: &[u8]) -> Result<Layout, DebugOffsetsError> {
    use DebugOffsetsError::*;
    let too_short = TooShort { expected: 24, found: table.len() };
    if table.get(..8).ok_or(too_short)? != COOKIE {
        return Err(BadCookie);
    }
    let hex = word(table, 8).ok_or(too_short)?;
    let minor = (hex >> 16) & 0xFF;
    let positions = TABLES
        .iter()
        .rfind(|positions| u64::from(positions.minor) <= minor && hex >> 24 == 3)
        .ok_or(UnknownVersion(hex))?;
    let free_threaded = word(table, 16).ok_or(too_short)? != 0;
    let table = table
        .get(..positions.table_bytes)
        .ok_or(TooShort { expected: positions.table_bytes, found: table.len() })?;
    Ok(Layout { minor: minor as u8, ..layout(table, positions, free_threaded)? })
}

fn layout(table: &[u8], at: &Positions, free_threaded: bool) -> Result<Layout, DebugOffsetsError> {
    let runtime = Structure::new(table, "runtime_state", at.runtime_size, MAX_STATE_BYTES)?;
    let interpreter = Structure::new(table, "interpreter_state", at.interpreter_size, MAX_STATE_BYTES)?;
    let thread = Structure::new(table, "thread_state", at.thread_size, MAX_STRUCT_BYTES)?;
    let frame = Structure::new(table, "interpreter_frame", at.frame_size, MAX_STRUCT_BYTES)?;
    let code = Structure::new(table, "code_object", at.code_size, MAX_STRUCT_BYTES)?;
    let object = Structure::new(table, "pyobject", at.object_size, MAX_STRUCT_BYTES)?;
    let bytes = Structure::new(table, "bytes_object", at.bytes_size, MAX_STRUCT_BYTES)?;
    let unicode = Structure::new(table, "unicode_object", at.unicode_size, MAX_STRUCT_BYTES)?;
    let gc = Structure::new(table, "gc", at.gc_size, MAX_STRUCT_BYTES)?;

    let thread_next = thread.pointer("thread_state.next", at.thread_next)?;
    let thread_interp = thread.pointer("thread_state.interp", at.thread_interp)?;
    let thread_frame = thread.pointer("thread_state.current_frame", at.thread_current_frame)?;
    let thread_thread_id = thread.pointer("thread_state.thread_id", at.thread_thread_id)?;
    let thread_status = thread.pointer("thread_state.status", at.thread_status)?;
    let chunk = thread.pointer("thread_state.datastack_chunk", at.thread_datastack_chunk)?;
    // datastack_chunk, datastack_top and datastack_limit are neighbours (Include/cpython/pystate.h).
    let datastack_top = thread.derived("thread_state.datastack_top", Some(chunk + POINTER), 2 * POINTER)?;
    let (_, last) = extent(&[
        (thread_next, 8),
        (thread_interp, 8),
        (thread_frame, 8),
        (thread_thread_id, 8),
        // And from 3.14 on holds_gil.
        (thread_status, 8),
        // And datastack_limit.
        (datastack_top, 16),
    ]);
    let (_, thread_span) = span("thread_state", 0, last, MAX_THREAD_SPAN)?;

    let frame_code = frame.pointer("interpreter_frame.executable", at.frame_executable)?;
    let frame_back = frame.pointer("interpreter_frame.previous", at.frame_previous)?;
    let frame_instr = frame.pointer("interpreter_frame.instr_ptr", at.frame_instr_ptr)?;
    let frame_owner = frame.field("interpreter_frame.owner", at.frame_owner, 1)?;
    // Only free-threaded builds copy bytecode per thread; the others have zeros here.
    let frame_tlbc_index = match at.frame_tlbc_index.filter(|_| free_threaded) {
        Some(position) => Some(frame.field("interpreter_frame.tlbc_index", position, 4)?),
        None => None,
    };
    let (first, last) = extent(&[
        (frame_code, 8),
        (frame_back, 8),
        (frame_instr, 8),
        (frame_owner, 1),
        (frame_tlbc_index.unwrap_or(frame_owner), if frame_tlbc_index.is_some() { 4 } else { 1 }),
    ]);
    let (frame_start, frame_span) = span("interpreter_frame", first, last, MAX_FRAME_SPAN)?;

    let firstlineno = code.field("code_object.firstlineno", at.code_firstlineno, 4)?;
    let filename = code.pointer("code_object.filename", at.code_filename)?;
    let name = code.pointer("code_object.name", at.code_name)?;
    let qualname = code.pointer("code_object.qualname", at.code_qualname)?;
    let linetable = code.pointer("code_object.linetable", at.code_linetable)?;
    let instructions = code.field("code_object.co_code_adaptive", at.code_adaptive, 2)?;
    let version = firstlineno.checked_add(at.version_after_firstlineno);
    let version = code.derived("code_object.co_version", version, 4)?;
    let code_tlbc = match at.code_tlbc.filter(|_| free_threaded) {
        Some(position) => Some(code.pointer("code_object.co_tlbc", position)?),
        None => None,
    };
    let (first, last) =
        extent(&[(firstlineno, 4), (filename, 8), (name, 8), (qualname, 8), (linetable, 8), (version, 4)]);
    let (code_start, code_span) = span("code_object", first, last, MAX_CODE_SPAN)?;

    let str_length = unicode.pointer("unicode_object.length", at.unicode_length)?;
    let str_state = unicode.field("unicode_object.state", at.unicode_state, 4)?;
    let str_hash = unicode.derived("unicode_object.hash", Some(str_length + POINTER), POINTER)?;
    let ascii_data = unicode.field("unicode_object.asciiobject_size", at.unicode_ascii_size, 8)?;
    let compact_data =
        unicode.derived("unicode_object.data", Some(ascii_data + at.compact_after_ascii), 0)?;

    // Without a GIL nobody holds one, and the thread that collects is not told from the others.
    let (gil, collecting, gc_frame) = if free_threaded {
        (GIL_UNKNOWN, ABSENT_32, ABSENT_32)
    } else {
        let start = interpreter.pointer("interpreter_state.gc", at.interpreter_gc)?;
        let collecting = start + gc.field("gc.collecting", at.gc_collecting, 4)?;
        interpreter.derived("gc.collecting", Some(collecting), 8)?;
        let frame = match at.gc_frame {
            Some(position) => {
                let frame = start + gc.pointer("gc.frame", position)?;
                interpreter.derived("gc.frame", Some(frame), POINTER)? as u32
            }
            None => ABSENT_32,
        };
        (at.gil, collecting as u32, frame)
    };
    if gil == GIL_FLAG {
        thread.derived("thread_state.holds_gil", Some(thread_status + 4), 4)?;
    }

    // Every value below was bounded by its structure's size, which fits the width of the field.
    Ok(Layout {
        runtime_interpreters_head: runtime
            .pointer("runtime_state.interpreters_head", at.runtime_interpreters_head)?
            as u32,
        interpreter_next: interpreter.pointer("interpreter_state.next", at.interpreter_next)? as u32,
        interpreter_threads_head: interpreter
            .pointer("interpreter_state.threads_head", at.interpreter_threads_head)?
            as u32,
        interpreter_id: interpreter.pointer("interpreter_state.id", at.interpreter_id)? as u32,
        runtime_current: 0,
        interpreter_gil: ABSENT_32,
        interpreter_gc_collecting: collecting,
        interpreter_gc_frame: gc_frame,
        thread_cframe: ABSENT_32,
        thread_span: thread_span as u16,
        thread_next: thread_next as u16,
        thread_interp: thread_interp as u16,
        thread_frame: thread_frame as u16,
        thread_thread_id: thread_thread_id as u16,
        thread_status: thread_status as u16,
        thread_datastack_top: datastack_top as u16,
        cframe_current: ABSENT,
        cframe_previous: ABSENT,
        gil_holder: ABSENT,
        frame_start: frame_start as u16,
        frame_span: frame_span as u16,
        frame_code: frame_code as u16,
        frame_back: frame_back as u16,
        frame_instr: frame_instr as u16,
        frame_owner: frame_owner as u16,
        frame_is_entry: ABSENT,
        frame_tlbc_index: frame_tlbc_index.map_or(ABSENT, |offset| offset as u16),
        code_start: code_start as u16,
        code_span: code_span as u16,
        code_firstlineno: firstlineno as u16,
        code_filename: filename as u16,
        code_name: name as u16,
        code_qualname: qualname as u16,
        code_linetable: linetable as u16,
        code_version: version as u16,
        code_instructions: instructions as u16,
        code_tlbc: code_tlbc.map_or(ABSENT, |offset| offset as u16),
        bytes_size: bytes.pointer("bytes_object.ob_size", at.bytes_ob_size)? as u16,
        bytes_data: bytes.field("bytes_object.ob_sval", at.bytes_ob_sval, 1)? as u16,
        str_length: str_length as u16,
        str_hash: str_hash as u16,
        str_state: str_state as u16,
        str_ascii_data: ascii_data as u16,
        str_compact_data: compact_data as u16,
        object_type: object.pointer("pyobject.ob_type", at.object_type)? as u16,
        frame_kind: FRAME_DATASTACK,
        instr_unit: INSTR_POINTER,
        shim_owner: at.shim_owner,
        line_table: LINES_PEP657,
        minor: at.minor,
        frame_code_tag: at.frame_code_tag,
        gil,
        text: TEXT_UNICODE,
    })
}

/// One structure of the target: hands out offsets that lie inside it.
struct Structure<'a> {
    table: &'a [u8],
    size: u64,
}

impl<'a> Structure<'a> {
    fn new(table: &'a [u8], name: &'static str, at: usize, max: u64) -> Result<Self, DebugOffsetsError> {
        match word(table, at) {
            Some(size) if size != 0 && size <= max => Ok(Structure { table, size }),
            size => Err(DebugOffsetsError::BadSize { structure: name, size: size.unwrap_or(0) }),
        }
    }

    fn pointer(&self, field: &'static str, at: usize) -> Result<u64, DebugOffsetsError> {
        self.field(field, at, POINTER)
    }

    /// The offset that stands at `at` in the table, of a field that is `width` bytes wide and aligned to that.
    fn field(&self, field: &'static str, at: usize, width: u64) -> Result<u64, DebugOffsetsError> {
        let offset = word(self.table, at);
        if let Some(offset) = offset.filter(|offset| offset % width != 0) {
            return Err(DebugOffsetsError::Misaligned { field, offset });
        }
        self.derived(field, offset, width)
    }

    fn derived(&self, field: &'static str, offset: Option<u64>, len: u64) -> Result<u64, DebugOffsetsError> {
        let offset = offset.unwrap_or(u64::MAX);
        match offset.checked_add(len) {
            Some(end) if end <= self.size => Ok(offset),
            _ => Err(DebugOffsetsError::OutOfBounds { field, offset, size: self.size }),
        }
    }
}

/// First and last byte (exclusive) of a set of (offset, width).
fn extent(fields: &[(u64, u64)]) -> (u64, u64) {
    fields
        .iter()
        .fold((u64::MAX, 0), |(first, last), (offset, width)| (first.min(*offset), last.max(offset + width)))
}

/// Start and length of the whole words that cover `first..last`.
fn span(name: &'static str, first: u64, last: u64, max: u64) -> Result<(u64, u64), DebugOffsetsError> {
    let start = first & !7;
    let bytes = last.next_multiple_of(8) - start;
    if bytes > max {
        return Err(DebugOffsetsError::SpanTooLong { structure: name, bytes });
    }
    Ok((start, bytes))
}

fn word(table: &[u8], at: usize) -> Option<u64> {
    let bytes = table.get(at..at.checked_add(8)?)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod words;
