//! Where the fields of one CPython build are: data, filled from a table (3.8-3.12) or from `_Py_DebugOffsets` (3.13+).
//!
//! All offsets are in bytes. [`ABSENT`] marks a field that this build does not have.

use bytemuck::{Pod, Zeroable};

/// The offset of a field that the build lacks.
pub const ABSENT: u16 = u16::MAX;
/// The same for an offset into the larger states.
pub const ABSENT_32: u32 = u32::MAX;

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

/// `instr_unit`: `f_lasti` counts bytes, and instructions have one or three of them (2.7).
pub const INSTR_ODD_BYTES: u8 = 3;

/// `line_table`: `co_lnotab` (3.6-3.9).
pub const LINES_LNOTAB: u8 = 0;
/// `line_table`: `co_linetable` of 3.10, PEP 626.
pub const LINES_PEP626: u8 = 1;
/// `line_table`: `co_linetable` of 3.11+, PEP 657 location table.
pub const LINES_PEP657: u8 = 2;

/// `line_table`: `co_lnotab` without negative line deltas, for [`INSTR_ODD_BYTES`] (2.7).
pub const LINES_LNOTAB_2: u8 = 3;

/// `text`: names are `str` of Unicode.
pub const TEXT_UNICODE: u8 = 0;
/// `text`: names are strings of bytes (`PyStringObject` of 2.7), whatever their encoding.
pub const TEXT_BYTES: u8 = 1;

/// `shim_owner` of builds without shim frames.
pub const NO_SHIM: u8 = u8::MAX;

/// `gil`: nothing tells who holds it, or there is none.
pub const GIL_UNKNOWN: u8 = 0;
/// `gil`: `gilstate.tstate_current` of the runtime is the thread state that holds it (3.11 and older).
pub const GIL_CURRENT: u8 = 1;
/// `gil`: the interpreter points to a `struct _gil_runtime_state` with `last_holder` and `locked` (3.12).
pub const GIL_STATE: u8 = 2;
/// `gil`: a bit of `PyThreadState._status` (3.13).
pub const GIL_STATUS_BIT: u8 = 3;
/// `gil`: the `int` behind `PyThreadState._status` (3.14+).
pub const GIL_FLAG: u8 = 4;

#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Pod, Zeroable)]
pub struct Layout {
    /// `_PyRuntimeState.interpreters.head`
    pub runtime_interpreters_head: u32,
    /// `PyInterpreterState.next`
    pub interpreter_next: u32,
    /// `PyInterpreterState.tstate_head` / `.threads.head`
    pub interpreter_threads_head: u32,
    /// `PyInterpreterState.id`, 64 bit (3.7+).
    pub interpreter_id: u32,
    /// From the runtime to the pointer to the thread state that holds the GIL, for [`GIL_CURRENT`]. Before 3.7 both are
    /// variables of their own, in any order.
    pub runtime_current: i32,
    /// `PyInterpreterState.ceval.gil`, for [`GIL_STATE`].
    pub interpreter_gil: u32,
    /// `PyInterpreterState.gc.collecting` (3.13+): whether the collector runs, in a build with a GIL.
    pub interpreter_gc_collecting: u32,
    /// `PyInterpreterState.gc.frame` (3.15+): the frame in which the collection was triggered.
    pub interpreter_gc_frame: u32,
    /// `PyThreadState.cframe` (3.10-3.12): what the innermost evaluation has on the C stack.
    pub thread_cframe: u32,
    /// `sizeof` what must be read of a `PyThreadState` to reach every `thread_` field (multiple of 8, below 512).
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
    /// `struct _gil_runtime_state.last_holder`, with `locked` 8 bytes on, for [`GIL_STATE`].
    pub gil_holder: u16,
    /// First byte of a frame that the walk needs (multiple of 8).
    pub frame_start: u16,
    /// How many bytes from `frame_start` on (multiple of 8, below 128).
    pub frame_span: u16,
    pub frame_code: u16,
    pub frame_back: u16,
    /// `f_lasti` (32 bit), `prev_instr` or `instr_ptr` (pointer): see `instr_unit`.
    pub frame_instr: u16,
    /// `owner`, one byte (3.11+).
    pub frame_owner: u16,
    /// `is_entry`, one byte (3.11 only).
    pub frame_is_entry: u16,
    /// `tlbc_index`, 32 bit (free-threaded 3.14+): which copy of the bytecode the frame runs.
    pub frame_tlbc_index: u16,
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
    /// `co_code_adaptive` (3.11+).
    pub code_instructions: u16,
    /// `co_tlbc` (free-threaded 3.14+): copies of the bytecode, one per thread that needs one.
    pub code_tlbc: u16,
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
    /// Minor version of CPython 3, 0 for 2.7.
    pub minor: u8,
    /// Low bits of `frame_code` that are no part of the address (3.14+, `Include/internal/pycore_stackref.h`).
    pub frame_code_tag: u8,
    /// How to tell who holds the GIL: `GIL_*`.
    pub gil: u8,
    /// What names and paths are: `TEXT_*`.
    pub text: u8,
}

impl Layout {
    #[inline(always)]
    pub fn has_thread_cframe(&self) -> bool {
        self.thread_cframe != ABSENT_32
    }
}

const _: () = assert!(size_of::<Layout>().is_multiple_of(4) && size_of::<Layout>() <= 160);
