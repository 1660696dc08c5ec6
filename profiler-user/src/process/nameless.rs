//! A CPython without names: embedded into a program that exports nothing, and stripped of symbols and of section names.
//!
//! Every other program of the host comes here once as well, so what costs (reading whole segments) waits for what is cheap:
//! a file with a symbol table would name a CPython, and the types and the state of any CPython make hundreds of kilobytes of
//! writable data in the file.

use super::elf::{Elf, SHT_SYMTAB};
use super::version;

/// Writable bytes in the file below which there is no CPython: 3.10 has the fewest of 2.7-3.15, 232 KB.
const MIN_WRITABLE_BYTES: u64 = 128 << 10;
/// How much writable data is searched for the cookie.
const MAX_COOKIE_SCAN_BYTES: u64 = 32 << 20;
/// How much constant data is searched for messages.
const MAX_MESSAGES_BYTES: u64 = 32 << 20;
const COOKIE: &[u8; 8] = b"xdebugpy";
/// Messages that every CPython since 2.7 and nothing else has: `Python/pylifecycle.c` (`pythonrun.c`), `Python/initconfig.c`
/// (`main.c`, `random.c`).
const MESSAGES: [&[u8]; 2] = [b"Fatal Python error: ", b"PYTHONHASHSEED must be"];

fn writable<'e>(elf: &'e Elf<'_>) -> impl Iterator<Item = &'e super::elf::Segment> {
    elf.segments.iter().filter(|segment| segment.flags & libc::PF_W != 0)
}

/// Whether the file is worth a search.
pub(super) fn may_hold_python(elf: &Elf<'_>) -> bool {
    let has_symbols = elf.sections.iter().any(|section| section.kind == SHT_SYMTAB);
    !has_symbols && writable(elf).any(|segment| segment.file_bytes >= MIN_WRITABLE_BYTES)
}

/// Searches the writable data for a debug offsets table (3.13+); returns its address before relocation.
pub(super) fn cookie(elf: &Elf<'_>) -> Option<u64> {
    let mut found = None;
    let mut left_bytes = MAX_COOKIE_SCAN_BYTES;
    for segment in writable(elf) {
        let bytes = segment.file_bytes.min(left_bytes);
        left_bytes -= bytes;
        // Aligned in memory, hence aligned in the file relative to the segment's address.
        let skip = segment.vaddr.wrapping_neg() & 7;
        let start = segment.offset.checked_add(skip)?;
        let _ = elf.file.scan(start, bytes.saturating_sub(skip), 0, |at, chunk| {
            let hit = chunk.chunks_exact(8).position(|word| word == COOKIE);
            found = hit.map(|hit| segment.vaddr.wrapping_add(at - segment.offset + hit as u64 * 8));
            found.is_some()
        });
        if found.is_some() {
            break;
        }
    }
    found
}

/// The name of a CPython that nothing leads to: before 3.13 its state looks like any other data. Only programs and plugins
/// are searched: nobody strips a library that others link to of all that it could be linked by.
pub(super) fn by_messages(elf: &Elf<'_>) -> Option<String> {
    if elf.soname.is_some() {
        return None;
    }
    let longest = MESSAGES.iter().map(|message| message.len()).max().unwrap_or(0);
    let mut missing = MESSAGES.to_vec();
    let mut left_bytes = MAX_MESSAGES_BYTES;
    for segment in elf.segments.iter().filter(|segment| segment.flags & libc::PF_W == 0) {
        let bytes = segment.file_bytes.min(left_bytes);
        left_bytes -= bytes;
        let _ = elf.file.scan(segment.offset, bytes, longest, |_, chunk| {
            missing.retain(|message| !holds(chunk, message));
            missing.is_empty()
        });
        if missing.is_empty() {
            let version = version::by_strings(elf).map(|version| format!(" {version}"));
            return Some(format!(
                "CPython{} whose symbols and sections were stripped",
                version.unwrap_or_default()
            ));
        }
    }
    None
}

/// The C library searches some gigabytes per second, in any build of ours.
fn holds(chunk: &[u8], message: &[u8]) -> bool {
    // SAFETY: both pointers are to live slices of the lengths given with them.
    let found =
        unsafe { libc::memmem(chunk.as_ptr().cast(), chunk.len(), message.as_ptr().cast(), message.len()) };
    !found.is_null()
}

#[cfg(test)]
mod tests {
    use super::holds;

    #[test]
    fn a_message_is_found_anywhere_and_only_as_a_whole() {
        for (chunk, expected) in [
            ("PYTHONHASHSEED must be", true),
            ("PPYTHONHASHSEED must be random", true),
            ("PYTHONHASHSEED must b", false),
            ("", false),
            ("PYTHONHASPYTHONHASHSEED must be", true),
        ] {
            assert_eq!(holds(chunk.as_bytes(), b"PYTHONHASHSEED must be"), expected, "{chunk}");
        }
    }
}
