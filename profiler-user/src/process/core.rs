//! A core file: the memory and the threads of a process that is gone or was copied. Who wrote it is unknown, so nothing in it
//! is believed: every count is capped, and every offset checked by the file that it leads into.
//!
//! Cores leave out what is in files anyway. That is read from the files that the core names, but only from regular files that
//! are ELF and have the build-id that the core shows: a forged core must not lead to the contents of other files.
//!
//! Layouts: `elf.h`, `fs/binfmt_elf.c` (`fill_files_note`), `include/uapi/linux/elfcore.h`, `core(5)`.

use std::path::Path;

use pyunwind::{Addr, Fault, Memory};

use super::elf::{NT_GNU_BUILD_ID, u16_at, u32_at, u64_at};
use super::facts::ElfFacts;
use super::file::{FileError, Located, RegularFile};

/// `vm.max_map_count` is 65,530 by default.
const MAX_SEGMENTS: u64 = 65_536;
const MAX_NOTES: usize = 400_000;
const MAX_THREADS: usize = 65_536;
/// `MAX_FILE_NOTE_SIZE` (`fs/binfmt_elf.c`).
const MAX_FILES_BYTES: u64 = 4 << 20;
const MAX_MAPPINGS: u64 = 65_536;
/// Files that are opened to look into.
const MAX_FILES: usize = 1_024;
const FIELD_BYTES: usize = 512;
const FRAME_BYTES: usize = 256;

const ENTRY_BYTES: u64 = 56;
/// `e_phnum` of files with more segments than it has room for (`PN_XNUM`): the number is in the first section header.
const PN_XNUM: u64 = 0xffff;
const NT_PRSTATUS: u32 = 1;
const NT_PRPSINFO: u32 = 3;
const NT_FILE: u32 = 0x4649_4c45;

/// `struct elf_prstatus`: the signal, the thread, its registers.
const PRSTATUS_SIGNAL: usize = 12;
const PRSTATUS_PID: usize = 32;
const PRSTATUS_REGISTERS: usize = 112;
/// `struct elf_prpsinfo`: the process and its name.
const PRPSINFO_PID: usize = 24;
const PRPSINFO_NAME: usize = 40;
const PRPSINFO_NAME_BYTES: usize = 16;

#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("failed to read the core file: {0}")]
    NotACore(&'static str),
}

/// A segment of memory, and how much of it is in the core.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub start: u64,
    pub memory_bytes: u64,
    offset: u64,
    file_bytes: u64,
    pub flags: u32,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct CoreThread {
    pub tid: u32,
    pub signal: u16,
    /// `fs_base`, or the thread pointer of other machines; 0 where the core does not tell.
    pub thread_pointer: u64,
    /// Where its C stack ends.
    pub stack_pointer: u64,
    /// The system call that it is in, with its arguments.
    pub syscall: Option<(u32, [u64; 6])>,
}

/// A file that was mapped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CoreMapping {
    pub start: u64,
    pub limit: u64,
    /// In bytes.
    pub offset: u64,
    pub path: Vec<u8>,
    /// Which of the files that were found it is.
    file: Option<usize>,
}

pub struct Core {
    file: RegularFile,
    /// By address.
    pub loads: Vec<Load>,
    pub threads: Vec<CoreThread>,
    /// By address.
    pub mappings: Vec<CoreMapping>,
    pub pid: u32,
    /// As the kernel calls the process.
    pub name: Vec<u8>,
    files: Vec<(RegularFile, ElfFacts)>,
    /// Why a file that the core names is not read.
    pub complaints: Vec<String>,
}

impl Core {
    pub fn open(path: &Path) -> Result<Core, CoreError> {
        Core::read(Located::open(&path.canonicalize().map_err(FileError::Open)?, false)?.read()?)
    }

    /// What the core itself says.
    pub fn read(file: RegularFile) -> Result<Core, CoreError> {
        let head: [u8; 64] = file.array(0).map_err(|error| match error {
            FileError::Truncated => CoreError::NotACore("it is no ELF file"),
            error => CoreError::File(error),
        })?;
        if head[..4] != *b"\x7fELF" {
            return Err(CoreError::NotACore("it is no ELF file"));
        }
        if head[4] != libc::ELFCLASS64 || head[5] != libc::ELFDATA2LSB {
            return Err(CoreError::NotACore("it is of another kind of machine"));
        }
        if u16_at(&head, 16) != libc::ET_CORE {
            return Err(CoreError::NotACore("it is a program or library, not a core"));
        }
        let mut count = u64::from(u16_at(&head, 56));
        if count == PN_XNUM {
            let section: [u8; 64] = file.array(u64_at(&head, 40))?;
            count = u64::from(u32_at(&section, 44));
        }
        if u64::from(u16_at(&head, 54)) != ENTRY_BYTES || count == 0 || count > MAX_SEGMENTS {
            return Err(CoreError::NotACore("its program header is malformed"));
        }
        let mut core = Core {
            file,
            loads: Vec::new(),
            threads: Vec::new(),
            mappings: Vec::new(),
            pid: 0,
            name: Vec::new(),
            files: Vec::new(),
            complaints: Vec::new(),
        };
        let table = core.file.bytes(u64_at(&head, 32), count * ENTRY_BYTES)?;
        let mut notes_left = MAX_NOTES;
        for entry in table.chunks_exact(ENTRY_BYTES as usize) {
            let (offset, file_bytes) = (u64_at(entry, 8), u64_at(entry, 32));
            match u32_at(entry, 0) {
                libc::PT_LOAD => core.loads.push(Load {
                    start: u64_at(entry, 16),
                    memory_bytes: u64_at(entry, 40),
                    offset,
                    file_bytes,
                    flags: u32_at(entry, 4),
                }),
                libc::PT_NOTE => core.notes(offset, file_bytes, &mut notes_left)?,
                _ => {}
            }
        }
        core.loads.sort_by_key(|load| load.start);
        core.mappings.sort_by_key(|mapping| mapping.start);
        Ok(core)
    }

    /// Notes are aligned to 4 bytes in cores, whatever their segment says.
    fn notes(&mut self, offset: u64, bytes: u64, left: &mut usize) -> Result<(), CoreError> {
        let end = offset.saturating_add(bytes).min(self.file.size_bytes());
        let mut at = offset;
        while *left > 0 {
            *left -= 1;
            if at.checked_add(12).is_none_or(|next| next > end) {
                break;
            }
            let head: [u8; 12] = self.file.array(at)?;
            let (name_bytes, content_bytes) = (u64::from(u32_at(&head, 0)), u64::from(u32_at(&head, 4)));
            let start = at + 12 + name_bytes.next_multiple_of(4);
            let next = start + content_bytes.next_multiple_of(4);
            if next > end {
                break;
            }
            self.note(u32_at(&head, 8), start, content_bytes)?;
            at = next;
        }
        Ok(())
    }

    fn note(&mut self, kind: u32, at: u64, bytes: u64) -> Result<(), CoreError> {
        match kind {
            NT_PRSTATUS if bytes >= 300 && self.threads.len() < MAX_THREADS => {
                self.threads.push(thread(&self.file.bytes(at, bytes.min(512))?));
            }
            #[cfg(target_arch = "aarch64")]
            NT_ARM_TLS if bytes >= 8 => {
                let pointer = u64::from_le_bytes(self.file.array(at)?);
                if let Some(thread) = self.threads.last_mut() {
                    thread.thread_pointer = pointer;
                }
            }
            NT_PRPSINFO if bytes >= 56 => {
                let info: [u8; 56] = self.file.array(at)?;
                self.pid = u32_at(&info, PRPSINFO_PID);
                let name = &info[PRPSINFO_NAME..PRPSINFO_NAME + PRPSINFO_NAME_BYTES];
                self.name = name.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
            }
            NT_FILE if bytes <= MAX_FILES_BYTES && self.mappings.is_empty() => {
                self.mappings = mappings(&self.file.bytes(at, bytes)?);
            }
            _ => {}
        }
        Ok(())
    }

    /// Looks for the files that were mapped; `instead` are those that the caller knows better places of.
    pub fn find_files(&mut self, instead: &[std::path::PathBuf]) {
        let mut known: std::collections::HashMap<Vec<u8>, Option<usize>> = std::collections::HashMap::new();
        for at in 0..self.mappings.len() {
            let path = self.mappings[at].path.clone();
            let file = match known.get(&path) {
                Some(file) => *file,
                None if known.len() < MAX_FILES => {
                    let file = self.find_file(&path, instead);
                    known.insert(path, file);
                    file
                }
                None => None,
            };
            self.mappings[at].file = file;
        }
    }

    fn find_file(&mut self, path: &[u8], instead: &[std::path::PathBuf]) -> Option<usize> {
        use std::os::unix::ffi::OsStrExt;
        // Devices and what is none (`/dev/zero`, `/SYSV0000`, `[heap]`) need not be asked for; nor what is no program.
        let printed = String::from_utf8_lossy(path).into_owned();
        let said = Path::new(std::ffi::OsStr::from_bytes(path));
        let same_name = |other: &&std::path::PathBuf| other.file_name() == said.file_name();
        let given = instead.iter().filter(same_name).map(std::path::PathBuf::as_path);
        let given: Vec<&Path> = given.chain(said.is_absolute().then_some(said)).collect();
        let expected = self.build_id(path);
        for place in given {
            // What the user names may be a link; what the core names was no link when it was mapped.
            let real = if place == said { Ok(place.to_path_buf()) } else { place.canonicalize() };
            let Ok(real) = real else { continue };
            let Ok(file) = Located::open(&real, false).and_then(|located| located.read()) else { continue };
            let facts = match ElfFacts::read(&file) {
                Ok(facts) => facts,
                Err(_) => continue,
            };
            if expected.is_some() && facts.build_id != expected {
                self.complaints.push(format!("{printed} is another build than the one that ran: not used"));
                continue;
            }
            self.files.push((file, facts));
            return Some(self.files.len() - 1);
        }
        None
    }

    /// The build-id of a mapped file, where the core has its first page.
    fn build_id(&self, path: &[u8]) -> Option<String> {
        let first = self.mappings.iter().find(|mapping| mapping.offset == 0 && mapping.path == path)?;
        let mut head = [0; 64];
        self.read_dumped(first.start, &mut head).ok()?;
        if head[..4] != *b"\x7fELF" || u64::from(u16_at(&head, 54)) != ENTRY_BYTES {
            return None;
        }
        for index in 0..u64::from(u16_at(&head, 56)).min(64) {
            let mut entry = [0; ENTRY_BYTES as usize];
            let at = u64_at(&head, 32).checked_add(index * ENTRY_BYTES)?.checked_add(first.start)?;
            self.read_dumped(at, &mut entry).ok()?;
            if u32_at(&entry, 0) != libc::PT_NOTE {
                continue;
            }
            // Of the file that is mapped at its beginning the notes are at the same distance as in the file.
            let at = first.start.checked_add(u64_at(&entry, 8))?;
            let mut notes = vec![0; u64_at(&entry, 32).min(1024) as usize];
            if self.read_dumped(at, &mut notes).is_ok()
                && let Some(id) = build_id_of(&notes)
            {
                return Some(id);
            }
        }
        None
    }

    /// The files that were found, with a mapping of each.
    pub fn mapped_files(&self) -> impl Iterator<Item = (&CoreMapping, &ElfFacts)> {
        self.mappings.iter().filter_map(|mapping| Some((mapping, &self.files.get(mapping.file?)?.1)))
    }

    /// The segment that an address is in.
    pub fn load_at(&self, at: u64) -> Option<&Load> {
        let load = &self.loads[self.loads.partition_point(|load| load.start <= at).checked_sub(1)?];
        (at - load.start < load.memory_bytes).then_some(load)
    }

    /// Memory that is in the core itself.
    fn read_dumped(&self, at: u64, into: &mut [u8]) -> Result<(), Fault> {
        let load = self.load_at(at).ok_or(Fault)?;
        let offset = at - load.start;
        let end = offset.checked_add(into.len() as u64).ok_or(Fault)?;
        if end > load.file_bytes {
            return Err(Fault);
        }
        self.file.fill(load.offset.checked_add(offset).ok_or(Fault)?, into).map_err(|_| Fault)
    }

    /// Memory that is in a file.
    fn read_mapped(&self, at: u64, into: &mut [u8]) -> Result<(), Fault> {
        let index =
            self.mappings.partition_point(|mapping| mapping.start <= at).checked_sub(1).ok_or(Fault)?;
        let mapping = &self.mappings[index];
        let offset = at - mapping.start;
        if at.checked_add(into.len() as u64).is_none_or(|end| end > mapping.limit) {
            return Err(Fault);
        }
        let (file, _) = mapping.file.and_then(|file| self.files.get(file)).ok_or(Fault)?;
        file.fill(mapping.offset.checked_add(offset).ok_or(Fault)?, into).map_err(|_| Fault)
    }

    fn read_memory(&self, at: u64, into: &mut [u8]) -> Result<(), Fault> {
        if self.read_dumped(at, into).is_ok() || self.read_mapped(at, into).is_ok() {
            return Ok(());
        }
        // Over the end of a segment into its neighbour.
        let split = (0x1000 - (at & 0xfff)) as usize;
        if split >= into.len() {
            return Err(Fault);
        }
        let (first, second) = into.split_at_mut(split);
        let next = at.checked_add(split as u64).ok_or(Fault)?;
        self.read_dumped(at, first).or_else(|Fault| self.read_mapped(at, first))?;
        self.read_dumped(next, second).or_else(|Fault| self.read_mapped(next, second))
    }

    /// Passes what is in the core of its writable memory, in chunks, to who looks for something in it: an address and bytes.
    pub fn scan_writable(&self, most_bytes: u64, mut visit: impl FnMut(u64, &[u8]) -> bool) {
        let mut left = most_bytes;
        for load in self.loads.iter().filter(|load| load.flags & libc::PF_W != 0) {
            let bytes = load.file_bytes.min(load.memory_bytes).min(left);
            left -= bytes;
            let mut done = false;
            let _ = self.file.scan(load.offset, bytes, 0, |at, chunk| {
                done = visit(load.start.wrapping_add(at - load.offset), chunk);
                done
            });
            if done || left == 0 {
                return;
            }
        }
    }
}

#[cfg(target_arch = "aarch64")]
const NT_ARM_TLS: u32 = 0x401;

/// `struct user_regs_struct` of x86-64: r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags
/// rsp ss fs_base. Of aarch64 (`struct user_pt_regs`) x0 to x30, sp, pc, pstate.
fn thread(status: &[u8]) -> CoreThread {
    let register = |index: usize| u64_at(status, PRSTATUS_REGISTERS + index * 8);
    let is_x86 = cfg!(target_arch = "x86_64");
    let number = register(15);
    // In an interrupt or on its way out it is -1.
    let in_call = is_x86 && number < 1 << 16;
    let arguments = [14, 13, 12, 7, 9, 8].map(register);
    CoreThread {
        tid: u32_at(status, PRSTATUS_PID),
        signal: u16_at(status, PRSTATUS_SIGNAL),
        thread_pointer: if is_x86 { register(21) } else { 0 },
        stack_pointer: register(if is_x86 { 19 } else { 31 }),
        syscall: in_call.then_some((number as u32, arguments)),
    }
}

/// A number of mappings and the size of a page; start, end and offset in pages of each; the names of all.
fn mappings(note: &[u8]) -> Vec<CoreMapping> {
    let (count, page_bytes) = (u64_at(note, 0).min(MAX_MAPPINGS), u64_at(note, 8));
    let Some(names) = note.get(16 + count as usize * 24..) else { return Vec::new() };
    let mut names = names.split(|byte| *byte == 0);
    let mut mappings = Vec::new();
    for index in 0..count as usize {
        let at = 16 + index * 24;
        let (start, limit) = (u64_at(note, at), u64_at(note, at + 8));
        let Some(path) = names.next() else { break };
        if start < limit {
            let offset = u64_at(note, at + 16).saturating_mul(page_bytes);
            mappings.push(CoreMapping { start, limit, offset, path: path.to_vec(), file: None });
        }
    }
    mappings
}

fn build_id_of(notes: &[u8]) -> Option<String> {
    let mut rest = notes;
    while rest.len() >= 12 {
        let (name_bytes, id_bytes) = (u32_at(rest, 0) as usize, u32_at(rest, 4) as usize);
        let start = 12_usize.checked_add(name_bytes)?.checked_next_multiple_of(4)?;
        let end = start.checked_add(id_bytes)?;
        let id = rest.get(start..end)?;
        if u32_at(rest, 8) == NT_GNU_BUILD_ID && rest.get(12..16)? == b"GNU\0" {
            return Some(id.iter().take(64).map(|byte| format!("{byte:02x}")).collect());
        }
        rest = rest.get(end.checked_next_multiple_of(4)?..)?;
    }
    None
}

/// The memory of a core, for the unwinder.
pub struct CoreMemory<'c> {
    core: &'c Core,
    fields: [u8; FIELD_BYTES],
    frame: [u8; FRAME_BYTES],
}

impl<'c> CoreMemory<'c> {
    pub fn new(core: &'c Core) -> Self {
        CoreMemory { core, fields: [0; FIELD_BYTES], frame: [0; FRAME_BYTES] }
    }

    pub fn read(&self, at: Addr, into: &mut [u8]) -> Result<(), Fault> {
        self.core.read_memory(at.0, into)
    }
}

impl Memory for CoreMemory<'_> {
    fn word(&mut self, at: Addr) -> Result<u64, Fault> {
        let mut word = [0; 8];
        self.core.read_memory(at.0, &mut word)?;
        Ok(u64::from_le_bytes(word))
    }

    fn load(&mut self, at: Addr, len: u32) -> Result<(), Fault> {
        self.core.read_memory(at.0, self.fields.get_mut(..len as usize).ok_or(Fault)?)
    }

    fn field(&self, offset: u32) -> u64 {
        u64_at(&self.fields, offset as usize)
    }

    fn load_frame(&mut self, at: Addr, len: u32, _contiguous: bool) -> Result<(), Fault> {
        self.core.read_memory(at.0, self.frame.get_mut(..len as usize).ok_or(Fault)?)
    }

    fn frame_field(&self, offset: u32) -> u64 {
        u64_at(&self.frame, offset as usize)
    }
}
