//! Where the fields of one CPython build are: data, filled from a table (3.8-3.12) or from `_Py_DebugOffsets` (3.13+).
//!
//! All offsets are in bytes. [`ABSENT`] marks a field that this build does not have.

use bytemuck::{Pod, Zeroable};

/// The offset of a field that the build lacks.
pub const ABSENT: u16 = u16::MAX;

/// `frame_kind`: heap objects linked by `f_back` (3.10 and older, `Include/frameobject.h`).
pub const FRAME_HEAP: u8 = 0;
/// `frame_kind`: `_PyInterpreterFrame` in data-stack chunks (3.11+, `Include/internal/pycore_frame.h`).
pub const FRAME_DATASTACK: u8 = 1;

/// `instr_unit`: `f_lasti` counts bytes (3.9 and older).
pub const INSTR_BYTES: u8 = 0;
/// `instr_unit`: `f_lasti` counts code units of 2 bytes (3.10).
pub const INSTR_UNITS: u8 = 1;
/// `instr_unit`: a pointer into the code object's instructions (3.11+).
pub const INSTR_POINTER: u8 = 2;

/// `line_table`: `co_lnotab` (3.9 and older).
pub const LINES_LNOTAB: u8 = 0;
/// `line_table`: `co_linetable` of 3.10, PEP 626.
pub const LINES_PEP626: u8 = 1;
/// `line_table`: `co_linetable` of 3.11+, PEP 657 location table.
pub const LINES_PEP657: u8 = 2;

/// `shim_owner` of builds without shim frames.
pub const NO_SHIM: u8 = u8::MAX;

#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Pod, Zeroable)]
pub struct Layout {
    /// `_PyRuntimeState.interpreters.head`
    pub runtime_interpreters_head: u32,
    /// `PyInterpreterState.next`
    pub interpreter_next: u32,
    /// `PyInterpreterState.tstate_head` / `.threads.head`
    pub interpreter_threads_head: u32,
    /// `sizeof` what must be read of a `PyThreadState` to reach every `thread_` field (multiple of 8, at most 512).
    pub thread_span: u16,
    pub thread_next: u16,
    pub thread_interp: u16,
    /// `frame` (3.10 and older), `cframe` (3.11, 3.12) or `current_frame` (3.13+).
    pub thread_frame: u16,
    pub thread_thread_id: u16,
    /// `_status` (3.12+).
    pub thread_status: u16,
    /// `datastack_top` and, 8 bytes on, `datastack_limit` (3.11+; not exported by debug offsets before or after).
    pub thread_datastack_top: u16,
    /// `_PyCFrame.current_frame` (3.11, 3.12).
    pub cframe_current: u16,
    /// `_PyCFrame.previous` (3.11, 3.12).
    pub cframe_previous: u16,
    /// First byte of a frame that the walk needs (multiple of 8).
    pub frame_start: u16,
    /// How many bytes from `frame_start` on (multiple of 8, at most 128).
    pub frame_span: u16,
    pub frame_code: u16,
    pub frame_back: u16,
    /// `f_lasti` (32 bit), `prev_instr` or `instr_ptr` (pointer): see `instr_unit`.
    pub frame_instr: u16,
    /// `owner`, one byte (3.11+).
    pub frame_owner: u16,
    /// `is_entry`, one byte (3.11 only).
    pub frame_is_entry: u16,
    /// First byte of a code object that identity needs (multiple of 8).
    pub code_start: u16,
    /// How many bytes from `code_start` on (multiple of 8, at most 256).
    pub code_span: u16,
    pub code_firstlineno: u16,
    pub code_filename: u16,
    pub code_name: u16,
    /// `co_qualname` (3.11+).
    pub code_qualname: u16,
    pub code_linetable: u16,
    /// `co_version` (3.12+).
    pub code_version: u16,
    /// `_co_firsttraceable` (3.11+).
    pub code_firsttraceable: u16,
    /// `co_code_adaptive` (3.11+).
    pub code_instructions: u16,
    /// `PyVarObject.ob_size` of `bytes`.
    pub bytes_size: u16,
    pub bytes_data: u16,
    pub str_length: u16,
    pub str_hash: u16,
    /// The word with `kind`, `compact`, `ascii` (`Include/cpython/unicodeobject.h`).
    pub str_state: u16,
    /// `sizeof(PyASCIIObject)`: where the data of a compact ASCII string stands.
    pub str_ascii_data: u16,
    /// `sizeof(PyCompactUnicodeObject)`: where the data of any other compact string stands.
    pub str_compact_data: u16,
    /// `PyObject.ob_type`
    pub object_type: u16,
    pub frame_kind: u8,
    pub instr_unit: u8,
    /// Frames with an `owner` of at least this are shims (3.12+); [`NO_SHIM`] where none exist.
    pub shim_owner: u8,
    pub line_table: u8,
    /// Minor version of CPython 3 (diagnosis only; nothing branches on it in the kernel).
    pub minor: u8,
    pub reserved: [u8; 3],
}

const _: () = assert!(size_of::<Layout>().is_multiple_of(4) && size_of::<Layout>() <= 128);
