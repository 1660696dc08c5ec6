//! The few facts of an ELF file that lead to CPython, read piece by piece: a 2 GB binary costs as little as a small one.
//!
//! Every count and size of the file is capped before use, every sum is checked; a file may lie in all of them. Layouts
//! and constants: `elf.h`, System V ABI.

use super::file::{FileError, RegularFile};

const MAX_SEGMENTS: u64 = 128;
const MAX_DYNAMIC_BYTES: u64 = 64 << 10;
const MAX_NOTE_BYTES: u64 = 64 << 10;
const MAX_SECTIONS: u64 = 16_384;
const MAX_SECTION_NAMES_BYTES: u64 = 1 << 20;
const MAX_NEEDED: usize = 512;
const MAX_NAME_BYTES: u64 = 256;
const MAX_BUILD_ID_BYTES: usize = 64;

#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("failed to read ELF: not an ELF file")]
    NotElf,
    #[error("failed to read ELF: not a program for this machine ({0})")]
    Foreign(&'static str),
    #[error("failed to read ELF: {0} is malformed")]
    Malformed(&'static str),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    pub flags: u32,
    pub offset: u64,
    pub vaddr: u64,
    pub file_bytes: u64,
    pub memory_bytes: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Section {
    pub(super) kind: u32,
    pub(super) vaddr: u64,
    pub(super) offset: u64,
    pub(super) bytes: u64,
    pub(super) link: u32,
    name: u32,
}

/// What the dynamic segment says, as file offsets.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Dynamic {
    pub(super) symbols: u64,
    pub(super) strings: u64,
    pub(super) strings_bytes: u64,
    pub(super) gnu_hash: Option<u64>,
    pub(super) hash: Option<u64>,
}

pub struct Elf<'f> {
    pub(super) file: &'f RegularFile,
    /// The loadable segments.
    pub segments: Vec<Segment>,
    pub(super) dynamic: Option<Dynamic>,
    pub soname: Option<String>,
    pub needed: Vec<String>,
    pub build_id: Option<Box<[u8]>>,
    pub(super) sections: Vec<Section>,
    section_names: Vec<u8>,
}

impl<'f> Elf<'f> {
    pub fn read(file: &'f RegularFile) -> Result<Self, ElfError> {
        let head: [u8; 64] = file.array(0).map_err(|error| match error {
            FileError::Truncated => ElfError::NotElf,
            error => error.into(),
        })?;
        if head[..4] != *b"\x7fELF" {
            return Err(ElfError::NotElf);
        }
        if head[4] != libc::ELFCLASS64 {
            return Err(ElfError::Foreign("32-bit"));
        }
        if head[5] != libc::ELFDATA2LSB || u32::from(u16_at(&head, 18)) != HOST_MACHINE {
            return Err(ElfError::Foreign("another architecture"));
        }
        if ![libc::ET_EXEC, libc::ET_DYN].contains(&u16_at(&head, 16)) {
            return Err(ElfError::NotElf);
        }
        let mut elf = Elf {
            file,
            segments: Vec::new(),
            dynamic: None,
            soname: None,
            needed: Vec::new(),
            build_id: None,
            sections: Vec::new(),
            section_names: Vec::new(),
        };
        elf.read_segments(&head)?;
        // Section headers are not needed to run a program: wrong ones are as good as none.
        if elf.read_sections(&head).is_err() {
            elf.sections.clear();
        }
        Ok(elf)
    }

    fn read_segments(&mut self, head: &[u8; 64]) -> Result<(), ElfError> {
        const ENTRY_BYTES: u64 = 56;
        let count = u64::from(u16_at(head, 56));
        if u64::from(u16_at(head, 54)) != ENTRY_BYTES || count == 0 || count > MAX_SEGMENTS {
            return Err(ElfError::Malformed("the program header"));
        }
        let table = self.file.bytes(u64_at(head, 32), count * ENTRY_BYTES)?;
        let (mut dynamic, mut notes) = (None, Vec::new());
        for entry in table.chunks_exact(ENTRY_BYTES as usize) {
            let segment = Segment {
                flags: u32_at(entry, 4),
                offset: u64_at(entry, 8),
                vaddr: u64_at(entry, 16),
                file_bytes: u64_at(entry, 32),
                memory_bytes: u64_at(entry, 40),
            };
            match u32_at(entry, 0) {
                libc::PT_LOAD => self.segments.push(segment),
                libc::PT_DYNAMIC => dynamic = Some(segment),
                libc::PT_NOTE => notes.push((segment, u64_at(entry, 48))),
                _ => {}
            }
        }
        self.build_id = notes.iter().find_map(|(segment, align)| self.read_build_id(segment, *align));
        match dynamic {
            Some(segment) => self.read_dynamic(&segment),
            None => Ok(()),
        }
    }

    fn read_build_id(&self, segment: &Segment, align: u64) -> Option<Box<[u8]>> {
        let notes = self.file.bytes(segment.offset, segment.file_bytes.min(MAX_NOTE_BYTES)).ok()?;
        let align = if align == 8 { 8 } else { 4 };
        let mut rest = &notes[..];
        while rest.len() >= 12 {
            let (name_bytes, id_bytes) = (u32_at(rest, 0) as usize, u32_at(rest, 4) as usize);
            let name_end = 12_usize.checked_add(name_bytes)?;
            let start = name_end.checked_next_multiple_of(align)?;
            let end = start.checked_add(id_bytes)?;
            let id = rest.get(start..end)?;
            if u32_at(rest, 8) == NT_GNU_BUILD_ID && rest.get(12..name_end)? == b"GNU\0" {
                return (1..=MAX_BUILD_ID_BYTES).contains(&id.len()).then(|| id.into());
            }
            rest = rest.get(end.checked_next_multiple_of(align)?..)?;
        }
        None
    }

    fn read_dynamic(&mut self, segment: &Segment) -> Result<(), ElfError> {
        let table = self.file.bytes(segment.offset, segment.file_bytes.min(MAX_DYNAMIC_BYTES))?;
        let (mut dynamic, mut soname, mut needed) = (Dynamic::default(), None, Vec::new());
        for entry in table.chunks_exact(16) {
            let value = u64_at(entry, 8);
            match u64_at(entry, 0) {
                DT_NULL => break,
                DT_NEEDED if needed.len() < MAX_NEEDED => needed.push(value),
                DT_SONAME => soname = Some(value),
                DT_STRSZ => dynamic.strings_bytes = value,
                DT_STRTAB => dynamic.strings = self.offset_of(value, 1).unwrap_or(0),
                DT_SYMTAB => dynamic.symbols = self.offset_of(value, 24).unwrap_or(0),
                DT_HASH => dynamic.hash = self.offset_of(value, 8),
                DT_GNU_HASH => dynamic.gnu_hash = self.offset_of(value, 16),
                _ => {}
            }
        }
        let name = |index| self.string(dynamic.strings, dynamic.strings_bytes, index);
        let soname = soname.and_then(name);
        let needed = needed.into_iter().filter_map(name).collect();
        (self.soname, self.needed) = (soname, needed);
        if dynamic.symbols != 0 && dynamic.strings != 0 {
            self.dynamic = Some(dynamic);
        }
        Ok(())
    }

    fn read_sections(&mut self, head: &[u8; 64]) -> Result<(), ElfError> {
        const ENTRY_BYTES: u64 = 64;
        let count = u64::from(u16_at(head, 60));
        if count == 0 || count > MAX_SECTIONS || u64::from(u16_at(head, 58)) != ENTRY_BYTES {
            return Err(ElfError::Malformed("the section header"));
        }
        let table = self.file.bytes(u64_at(head, 40), count * ENTRY_BYTES)?;
        self.sections = table
            .chunks_exact(ENTRY_BYTES as usize)
            .map(|entry| Section {
                name: u32_at(entry, 0),
                kind: u32_at(entry, 4),
                vaddr: u64_at(entry, 16),
                offset: u64_at(entry, 24),
                bytes: u64_at(entry, 32),
                link: u32_at(entry, 40),
            })
            .collect();
        let names = self.sections.get(usize::from(u16_at(head, 62)));
        let names = *names.ok_or(ElfError::Malformed("the section header"))?;
        self.section_names = self.file.bytes(names.offset, names.bytes.min(MAX_SECTION_NAMES_BYTES))?;
        Ok(())
    }

    pub(super) fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| {
            let rest = self.section_names.get(section.name as usize..).unwrap_or_default();
            rest.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
        })
    }

    /// Where in the file the byte at `vaddr` stands, if `len` bytes from there on are in the file.
    pub(super) fn offset_of(&self, vaddr: u64, len: u64) -> Option<u64> {
        self.segments.iter().find_map(|segment| {
            let within = vaddr.checked_sub(segment.vaddr)?;
            (within.checked_add(len)? <= segment.file_bytes).then(|| segment.offset.checked_add(within))?
        })
    }

    /// A NUL-terminated string of a string table, at most [`MAX_NAME_BYTES`] long.
    fn string(&self, table: u64, table_bytes: u64, index: u64) -> Option<String> {
        let len = table_bytes.checked_sub(index)?.min(MAX_NAME_BYTES);
        let bytes = self.file.bytes(table.checked_add(index)?, len).ok()?;
        let end = bytes.iter().position(|&byte| byte == 0)?;
        String::from_utf8(bytes[..end].to_vec()).ok()
    }
}

/// `e_machine` of what runs here.
#[cfg(target_arch = "x86_64")]
const HOST_MACHINE: u32 = libc::EM_X86_64 as u32;
#[cfg(target_arch = "aarch64")]
const HOST_MACHINE: u32 = libc::EM_AARCH64 as u32;

pub(super) const NT_GNU_BUILD_ID: u32 = 3;
pub(super) const SHT_SYMTAB: u32 = 2;
const DT_NULL: u64 = 0;
const DT_NEEDED: u64 = 1;
const DT_HASH: u64 = 4;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_STRSZ: u64 = 10;
const DT_SONAME: u64 = 14;
const DT_GNU_HASH: u64 = 0x6fff_fef5;

// Callers pass offsets inside records whose length they have checked; anything else reads as zero.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|bytes| bytes.try_into().ok()).map_or(0, u16::from_le_bytes)
}
