//! Layouts of CPython 2.7 and 3.6-3.12, GIL builds, 64 bit. From 3.13 on the target carries its own (`debug_offsets`).
//!
//! Sources, per version: `Include/internal/pycore_runtime.h` (3.8: `pycore_pystate.h`; 3.7: `pystate.h`), `pycore_interp.h`,
//! `Include/cpython/pystate.h`, `Include/frameobject.h` (3.11+: `Include/internal/pycore_frame.h`),
//! `Include/cpython/code.h`, `Include/cpython/unicodeobject.h`, `Include/cpython/bytesobject.h`. Each offset was
//! printed by `offsetof` from the installed headers of that version and is checked again by tests on live interpreters.

use crate::layout::{
    ABSENT, ABSENT_32, FRAME_DATASTACK, FRAME_HEAP, GIL_CURRENT, GIL_STATE, INSTR_BYTES, INSTR_ODD_BYTES,
    INSTR_POINTER, INSTR_UNITS, LINES_LNOTAB, LINES_LNOTAB_2, LINES_PEP626, LINES_PEP657, Layout, NO_SHIM,
    TEXT_BYTES, TEXT_UNICODE,
};

/// On aarch64 a mutex of glibc is 8 bytes longer than on x86-64 (`sysdeps/nptl/bits/pthreadtypes-arch.h`), and so is a GIL,
/// which has two, in all of these that have theirs in `_PyRuntime` before what is meant. (musl's are the same on both.)
const LONGER_BYTES: i32 = if cfg!(target_arch = "aarch64") { 16 } else { 0 };

/// CPython 2.7: names are strings of bytes, and thread states are linked in one direction (`Include/pystate.h`,
/// `Include/stringobject.h`, `Include/code.h`, `Include/frameobject.h`). The runtime is as that of 3.6.
pub const V2_7: Layout = Layout {
    thread_span: 152,
    thread_next: 0,
    thread_interp: 8,
    thread_frame: 16,
    thread_thread_id: 144,
    code_start: 80,
    code_span: 32,
    code_firstlineno: 96,
    code_filename: 80,
    code_name: 88,
    code_linetable: 104,
    bytes_data: 36,
    str_ascii_data: 36,
    str_compact_data: 36,
    instr_unit: INSTR_ODD_BYTES,
    line_table: LINES_LNOTAB_2,
    text: TEXT_BYTES,
    minor: 0,
    ..V3_6
};

/// CPython 3.6 has no `_PyRuntime`: the layout starts at the variable `interp_head` (`Python/pystate.c`). Where
/// `_PyThreadState_Current` is from there depends on the build.
const V3_6: Layout = Layout {
    runtime_interpreters_head: 0,
    interpreter_id: ABSENT_32,
    runtime_current: 0,
    thread_span: 160,
    thread_thread_id: 152,
    frame_span: 104,
    frame_instr: 120,
    minor: 6,
    ..V3_7
};

/// CPython 3.7: code objects without `co_posonlyargcount`.
const V3_7: Layout = Layout {
    runtime_interpreters_head: 24,
    runtime_current: 1480 + LONGER_BYTES,
    code_start: 32,
    code_firstlineno: 36,
    code_filename: 96,
    code_name: 104,
    code_linetable: 112,
    minor: 7,
    ..V3_8
};

/// CPython 3.8: frames are heap objects, `f_lasti` counts bytes.
const V3_8: Layout = Layout {
    runtime_interpreters_head: 32,
    interpreter_next: 0,
    interpreter_threads_head: 8,
    interpreter_id: 16,
    runtime_current: 1368 + LONGER_BYTES,
    interpreter_gil: ABSENT_32,
    interpreter_gc_collecting: ABSENT_32,
    interpreter_gc_frame: ABSENT_32,
    thread_cframe: ABSENT_32,
    thread_span: 184,
    thread_next: 8,
    thread_interp: 16,
    thread_frame: 24,
    thread_thread_id: 176,
    thread_status: ABSENT,
    thread_datastack_top: ABSENT,
    cframe_current: ABSENT,
    cframe_previous: ABSENT,
    gil_holder: ABSENT,
    frame_start: 24,
    frame_span: 88,
    frame_code: 32,
    frame_back: 24,
    frame_instr: 104,
    frame_owner: ABSENT,
    frame_is_entry: ABSENT,
    frame_tlbc_index: ABSENT,
    code_start: 40,
    code_span: 88,
    code_firstlineno: 40,
    code_filename: 104,
    code_name: 112,
    code_qualname: ABSENT,
    code_linetable: 120,
    code_version: ABSENT,
    code_instructions: ABSENT,
    code_tlbc: ABSENT,
    bytes_size: 16,
    bytes_data: 32,
    str_length: 16,
    str_hash: 24,
    str_state: 32,
    str_ascii_data: 48,
    str_compact_data: 72,
    object_type: 8,
    frame_kind: FRAME_HEAP,
    instr_unit: INSTR_BYTES,
    shim_owner: NO_SHIM,
    line_table: LINES_LNOTAB,
    minor: 8,
    frame_code_tag: 0,
    gil: GIL_CURRENT,
    text: TEXT_UNICODE,
};

const V3_9: Layout = Layout { interpreter_id: 24, runtime_current: 568 + LONGER_BYTES, minor: 9, ..V3_8 };

/// CPython 3.10: `f_lasti` counts code units and moved to 96; PEP 626 line tables.
const V3_10: Layout = Layout {
    interpreter_id: 24,
    runtime_current: 568 + LONGER_BYTES,
    thread_cframe: 48,
    frame_span: 80,
    frame_instr: 96,
    instr_unit: INSTR_UNITS,
    line_table: LINES_PEP626,
    minor: 10,
    ..V3_8
};

/// CPython 3.11: frames in data-stack chunks, reached through `cframe`; `is_entry`, but no shim frames.
const V3_11: Layout = Layout {
    runtime_interpreters_head: 40,
    interpreter_id: 48,
    runtime_current: 576 + LONGER_BYTES,
    interpreter_next: 0,
    interpreter_threads_head: 16,
    thread_cframe: 56,
    thread_span: 320,
    thread_next: 8,
    thread_interp: 16,
    thread_frame: 56,
    thread_thread_id: 152,
    thread_status: ABSENT,
    thread_datastack_top: 304,
    cframe_current: 8,
    cframe_previous: 16,
    frame_start: 32,
    frame_span: 40,
    frame_code: 32,
    frame_back: 48,
    frame_instr: 56,
    frame_owner: 69,
    frame_is_entry: 68,
    code_start: 72,
    code_span: 72,
    code_firstlineno: 72,
    code_filename: 112,
    code_name: 120,
    code_qualname: 128,
    code_linetable: 136,
    code_version: ABSENT,
    code_instructions: 184,
    frame_kind: FRAME_DATASTACK,
    instr_unit: INSTR_POINTER,
    line_table: LINES_PEP657,
    minor: 11,
    ..V3_8
};

/// CPython 3.12: shim frames on the C stack mark each hop from C into Python; smaller `str`.
const V3_12: Layout = Layout {
    interpreter_threads_head: 72,
    interpreter_id: 8,
    interpreter_gil: 384,
    gil_holder: 8,
    gil: GIL_STATE,
    thread_span: 256,
    thread_thread_id: 136,
    thread_status: 24,
    thread_datastack_top: 240,
    cframe_current: 0,
    cframe_previous: 8,
    frame_start: 0,
    frame_span: 72,
    frame_code: 0,
    frame_back: 8,
    frame_owner: 70,
    frame_is_entry: ABSENT,
    code_start: 64,
    code_span: 80,
    code_firstlineno: 68,
    code_version: 92,
    code_instructions: 192,
    str_ascii_data: 40,
    str_compact_data: 56,
    shim_owner: 3,
    minor: 12,
    ..V3_11
};

/// The layout of CPython 3.`minor`, where a table describes it.
pub const fn layout(minor: u8) -> Option<Layout> {
    match minor {
        6 => Some(V3_6),
        7 => Some(V3_7),
        8 => Some(V3_8),
        9 => Some(V3_9),
        10 => Some(V3_10),
        11 => Some(V3_11),
        12 => Some(V3_12),
        _ => None,
    }
}
