//! The address of a symbol in the executable of a process: for interpreters that cannot tell it themselves.

use std::fs;

/// `sh_type` of a table of symbols (`elf.h`).
const SHT_SYMTAB: u32 = 2;
const SHT_DYNSYM: u32 = 11;
/// `e_type` of what is loaded anywhere.
const ET_DYN: u16 = 3;

/// Reads a 64-bit ELF of an interpreter of our own choice: what does not fit is a panic.
pub(crate) fn symbol(process: u32, name: &[u8]) -> u64 {
    let file = fs::read(format!("/proc/{process}/exe")).unwrap();
    let u64_at = |at: usize| u64::from_le_bytes(file[at..at + 8].try_into().unwrap());
    let u32_at = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    let u16_at = |at: usize| u16::from_le_bytes(file[at..at + 2].try_into().unwrap());
    let section = |index: usize| u64_at(0x28) as usize + index * usize::from(u16_at(0x3a));
    let tables = (0..usize::from(u16_at(0x3c)))
        .map(section)
        .filter(|header| [SHT_SYMTAB, SHT_DYNSYM].contains(&u32_at(header + 4)));
    for header in tables {
        let names = u64_at(section(u32_at(header + 0x28) as usize) + 0x18) as usize;
        let (start, bytes) = (u64_at(header + 0x18) as usize, u64_at(header + 0x20) as usize);
        for symbol in (start..start + bytes).step_by(24) {
            let found = &file[names + u32_at(symbol) as usize..];
            if found.strip_prefix(name).is_some_and(|rest| rest[0] == 0) && u16_at(symbol + 6) != 0 {
                return u64_at(symbol + 8) + if u16_at(0x10) == ET_DYN { base(process) } else { 0 };
            }
        }
    }
    panic!("no symbol {}", String::from_utf8_lossy(name));
}

/// Where the executable is loaded: its first mapping is the start of the file.
fn base(process: u32) -> u64 {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let executable = fs::read_link(format!("/proc/{process}/exe")).unwrap();
    let line = maps.lines().find(|line| line.ends_with(executable.to_str().unwrap())).unwrap();
    u64::from_str_radix(line.split('-').next().unwrap(), 16).unwrap()
}
