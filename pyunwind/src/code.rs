//! What identifies a code object: an address does not, since code objects are freed and their memory re-used.
//!
//! The identity is a 32-bit mix of all that tells code objects apart without following long chains: the first line, the
//! pointers to file name, name, qualified name and line table, and `co_version` (3.12+, `Objects/codeobject.c`, never
//! re-used before 2^32 code objects). Older builds have no version, and pointers recur together when a code object is
//! re-created by the same loop, so there the cached hash of the name's characters goes in too.

use crate::layout::ABSENT;
use crate::{Addr, Fault, Layout, Memory};

/// The result of looking at a code object once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CodeCheck {
    pub identity: u32,
    /// The interpreter's own `_Py_InitCleanup` (`Python/specialize.c`, 3.13+): a frame that no program wrote.
    pub phantom: bool,
    /// Which copy of the bytecode the frame ran for which the object was looked at, and where that begins.
    pub copy: u32,
    pub start: Addr,
}

const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

#[inline(always)]
pub(crate) const fn mix(state: u64, value: u64) -> u64 {
    let product = (state ^ value).wrapping_mul(MIX);
    product ^ (product >> 29)
}

/// The aligned words around a field, and the field's place in them.
#[inline(always)]
pub(crate) fn field_u32(memory: &impl Memory, offset: u32) -> u32 {
    (memory.field(offset & !7) >> ((offset & 4) * 8)) as u32
}

/// Where a copy of the bytecode begins. Copy 0 is the code object's own; each further thread of a free-threaded build
/// specializes a copy of its own (`Include/cpython/code.h`, `_PyCodeArray`: the number of entries, then the entries).
#[inline(always)]
pub fn instructions(memory: &mut impl Memory, layout: &Layout, code: Addr, copy: u32) -> Result<Addr, Fault> {
    if layout.code_tlbc == ABSENT || copy == 0 {
        return Ok(code.offset(u64::from(layout.code_instructions)));
    }
    let copies = Addr(memory.word(code.offset(u64::from(layout.code_tlbc)))?);
    Ok(Addr(memory.word(copies.offset(8 + 8 * u64::from(copy)))?))
}

/// Reads what identifies the code object at `code`, and where the copy of its bytecode begins that a frame runs.
#[inline(always)]
pub fn check(memory: &mut impl Memory, layout: &Layout, code: Addr, copy: u32) -> Result<CodeCheck, Fault> {
    if code.is_null() || !code.is_aligned() {
        return Err(Fault);
    }
    let start = u32::from(layout.code_start);
    memory.load(code.offset(u64::from(start)), u32::from(layout.code_span))?;
    let word =
        |memory: &_, offset: u16| -> u64 { Memory::field(memory, u32::from(offset).wrapping_sub(start)) };
    let first_line = field_u32(memory, u32::from(layout.code_firstlineno).wrapping_sub(start));
    let filename = word(memory, layout.code_filename);
    let name = word(memory, layout.code_name);
    let mut state = mix(u64::from(first_line), filename);
    state = mix(state, name);
    state = mix(state, word(memory, layout.code_linetable));
    if layout.code_qualname != ABSENT {
        state = mix(state, word(memory, layout.code_qualname));
    }
    if layout.code_version == ABSENT {
        let hash = memory.word(Addr(name).offset(u64::from(layout.str_hash)))?;
        state = mix(state, hash);
    } else {
        let version = field_u32(memory, u32::from(layout.code_version).wrapping_sub(start));
        state = mix(state, u64::from(version));
    }
    let start = instructions(memory, layout, code, copy)?;
    let phantom = first_line == 0 && name == filename;
    Ok(CodeCheck { identity: (state ^ (state >> 32)) as u32, phantom, copy, start })
}
