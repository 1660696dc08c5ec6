//! The memory of a live process, read with `process_vm_readv`: the process is neither stopped nor traced.

use std::cell::Cell;

use pyunwind::{Addr, Fault, Memory};

use super::maps::Maps;

const FIELD_BYTES: usize = 512;
const FRAME_BYTES: usize = 256;

/// Reads of one process; [`Memory`] for the unwinder, [`ProcessMemory::read`] for everybody else.
pub struct ProcessMemory {
    task: Task,
    fields: [u8; FIELD_BYTES],
    frame: [u8; FRAME_BYTES],
}

impl ProcessMemory {
    /// Any thread of the process will do. Where it has ended, a leader too (then a zombie without memory), one that lives
    /// is looked for, once.
    pub fn new(task: u32) -> Self {
        let task = Task { tid: Cell::new(task), looked: Cell::new(false) };
        ProcessMemory { task, fields: [0; FIELD_BYTES], frame: [0; FRAME_BYTES] }
    }

    /// Fills `into` from `at` on, wholly or not at all.
    pub fn read(&self, at: Addr, into: &mut [u8]) -> Result<(), Fault> {
        self.task.read(at, into)
    }
}

/// A thread of the process: another one when this has ended.
struct Task {
    tid: Cell<u32>,
    looked: Cell<bool>,
}

impl Task {
    fn read(&self, at: Addr, into: &mut [u8]) -> Result<(), Fault> {
        match read(self.tid.get(), at, into) {
            Err(Missed::Task) if !self.looked.replace(true) => {
                let maps = Maps::read(self.tid.get()).map_err(|_| Fault)?;
                self.tid.set(maps.task);
                read(maps.task, at, into).map_err(|_| Fault)
            }
            done => done.map_err(|_| Fault),
        }
    }
}

/// Why nothing was read.
enum Missed {
    /// The thread has no memory any more, or is none.
    Task,
    Memory,
}

impl Memory for ProcessMemory {
    fn word(&mut self, at: Addr) -> Result<u64, Fault> {
        let mut word = [0; 8];
        self.task.read(at, &mut word)?;
        Ok(u64::from_ne_bytes(word))
    }

    fn load(&mut self, at: Addr, len: u32) -> Result<(), Fault> {
        self.task.read(at, self.fields.get_mut(..len as usize).ok_or(Fault)?)
    }

    fn field(&self, offset: u32) -> u64 {
        word_at(&self.fields, offset)
    }

    // One system call per frame is good enough here: this is the fallback, not the sampling path.
    fn load_frame(&mut self, at: Addr, len: u32, _contiguous: bool) -> Result<(), Fault> {
        self.task.read(at, self.frame.get_mut(..len as usize).ok_or(Fault)?)
    }

    fn frame_field(&self, offset: u32) -> u64 {
        word_at(&self.frame, offset)
    }
}

fn word_at(buffer: &[u8], offset: u32) -> u64 {
    let start = offset as usize;
    buffer.get(start..start + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_ne_bytes)
}

fn read(task: u32, at: Addr, into: &mut [u8]) -> Result<(), Missed> {
    if into.is_empty() {
        return Ok(());
    }
    let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let remote = libc::iovec { iov_base: at.0 as *mut libc::c_void, iov_len: into.len() };
    // SAFETY: `local` is a live, exclusively borrowed buffer of exactly that length; `remote` is only interpreted by
    // the kernel, in the other process's address space.
    let copied = unsafe { libc::process_vm_readv(task as i32, &local, 1, &remote, 1, 0) };
    if copied == into.len() as isize {
        return Ok(());
    }
    let gone = copied < 0 && std::io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH);
    Err(if gone { Missed::Task } else { Missed::Memory })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_memory_reads_back_and_what_is_not_mapped_is_a_fault() {
        let words = [1_u64, 2, 3, 4];
        let at = Addr(words.as_ptr() as u64);
        let mut memory = ProcessMemory::new(std::process::id());
        assert_eq!(memory.word(at.offset(8)), Ok(2));
        assert_eq!(memory.load(at, 32), Ok(()));
        assert_eq!((memory.field(16), memory.field(24)), (3, 4));
        assert_eq!(memory.load_frame(at, 16, true), Ok(()));
        assert_eq!((memory.frame_field(8), memory.frame_field(u32::MAX)), (2, 0));
        assert_eq!(memory.load(at, 4096), Err(Fault));
        for bad in [Addr::NULL, Addr(8), Addr(u64::MAX - 3), Addr(1 << 63)] {
            assert_eq!(memory.word(bad), Err(Fault));
        }
    }
}
