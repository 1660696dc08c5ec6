//! CPythons from before `_PyRuntime` (2.7, 3.6): two variables stand for it, one of which has no name in a stripped file.

use pyunwind::Layout;
use pyunwind::host::versions;

use super::elf::Elf;
use super::symbols::Symbols;
use super::version::Version;

/// How much of `PyInterpreterState_Head` is looked at: it returns the variable and does nothing else.
const FUNCTION_BYTES: u64 = 24;

/// Where the list of interpreters begins, before relocation, and the layout that starts there.
pub(super) fn layout(elf: &Elf<'_>, symbols: &Symbols<'_, '_>, version: &Version) -> Option<(u64, Layout)> {
    let layout = match (version.major, version.minor) {
        (2, 7) => versions::V2_7,
        (3, 6) => versions::layout(6)?,
        _ => return None,
    };
    let current = symbols.get("_PyThreadState_Current")?.vaddr;
    let head = match symbols.get("interp_head") {
        Some(symbol) => symbol.vaddr,
        None => returned_variable(elf, symbols.get("PyInterpreterState_Head")?.vaddr)?,
    };
    // The two are neighbours in the same section (`Python/pystate.c`).
    let runtime_current = i32::try_from(current.wrapping_sub(head) as i64).ok()?;
    Some((head, Layout { runtime_current, ..layout }))
}

/// The address of the variable that a function does nothing but return, on x86-64: `mov rax, [rip + disp32]; ret`, after
/// what compilers put at the start of every function.
fn returned_variable(elf: &Elf<'_>, function: u64) -> Option<u64> {
    let bytes = elf.file.bytes(elf.offset_of(function, FUNCTION_BYTES)?, FUNCTION_BYTES).ok()?;
    let mut rest = bytes.as_slice();
    const ENDBR64: &[u8] = &[0xf3, 0x0f, 0x1e, 0xfa];
    const PUSH_RBP_MOV_RBP_RSP: &[u8] = &[0x55, 0x48, 0x89, 0xe5];
    const MOV_RAX_RIP: &[u8] = &[0x48, 0x8b, 0x05];
    for prefix in [ENDBR64, PUSH_RBP_MOV_RBP_RSP] {
        rest = rest.strip_prefix(prefix).unwrap_or(rest);
    }
    let before = (bytes.len() - rest.len()) as u64;
    let displacement = i32::from_le_bytes(*rest.strip_prefix(MOV_RAX_RIP)?.first_chunk::<4>()?);
    let after = function.wrapping_add(before + MOV_RAX_RIP.len() as u64 + 4);
    Some(after.wrapping_add_signed(i64::from(displacement)))
}
