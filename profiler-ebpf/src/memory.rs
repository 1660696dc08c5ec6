//! The interrupted process's memory, as `pyunwind` reads it: `bpf_probe_read_user` costs the same for 8 bytes as for 80,
//! so frames come a page at a time where they lie next to each other.

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use profiler_common::limits::C_STACK_BYTES;
use pyunwind::{Addr, Fault, Memory};

use crate::bound::{below_128, below_512, below_8192};
use crate::maps::SETTINGS;
use crate::nested::REGISTER_WORDS;

const BLOCK_WORDS: usize = 64;
const FRAME_WORDS: usize = 1024;
/// Where a frame read on its own stands; the window takes the words before it (a page and one frame: 530 words).
const SINGLE_WORD: usize = 768;
const PAGE: u64 = 4096;

#[repr(C)]
pub struct UserMemory {
    block: [u64; BLOCK_WORDS],
    frames: [u64; FRAME_WORDS],
    window_start: u64,
    window_end: u64,
    /// Where the current frame begins in `frames`.
    frame_word: u64,
}

#[inline(always)]
fn read(destination: *mut u64, bytes: u64, at: Addr) -> Result<(), Fault> {
    // SAFETY: every caller passes a buffer with at least `bytes` bytes, which the verifier checks again.
    let status = unsafe { bpf_probe_read_user(destination.cast(), bytes as u32, at.0 as *const _) };
    if status == 0 { Ok(()) } else { Err(Fault) }
}

impl UserMemory {
    pub const C_STACK_WORDS: usize = FRAME_WORDS;

    /// The buffer of frames, for who has no frames in it yet.
    #[inline(always)]
    pub fn c_stack(&mut self) -> &mut [u64; FRAME_WORDS] {
        &mut self.frames
    }

    /// Reads a C stack to behind its registers: `bytes` (below 8192), or less where less is mapped. How much it was.
    #[inline(always)]
    pub fn load_c_stack(&mut self, stack_pointer: u64, bytes: u64) -> u64 {
        // SAFETY: the registers lie inside `frames`.
        let words = unsafe { self.frames.as_mut_ptr().add(REGISTER_WORDS) };
        let mut bytes = bytes & !7;
        for _ in 0..4 {
            bytes = below_8192(bytes);
            if bytes <= C_STACK_BYTES && read(words, bytes, Addr(stack_pointer)).is_ok() {
                return bytes;
            }
            bytes = (bytes >> 2) & !7;
        }
        0
    }

    /// Forgets the window: it belongs to another moment.
    #[inline(always)]
    pub fn reset(&mut self) {
        self.window_start = 0;
        self.window_end = 0;
        self.frame_word = 0;
    }
}

impl Memory for UserMemory {
    #[inline(always)]
    fn word(&mut self, at: Addr) -> Result<u64, Fault> {
        let mut value = 0u64;
        read(&mut value, 8, at)?;
        Ok(value)
    }

    #[inline(always)]
    fn load(&mut self, at: Addr, len: u32) -> Result<(), Fault> {
        read(self.block.as_mut_ptr(), below_512(u64::from(len)), at)
    }

    #[inline(always)]
    fn field(&self, offset: u32) -> u64 {
        self.block[(offset >> 3) as usize & (BLOCK_WORDS - 1)]
    }

    #[inline(always)]
    fn load_frame(&mut self, at: Addr, len: u32, contiguous: bool) -> Result<(), Fault> {
        let len = u64::from(len);
        let end = at.0.wrapping_add(len);
        // Both ends: a hostile link near the end of the address space makes `end` wrap.
        if at.0 >= self.window_start && at.0 < self.window_end && end <= self.window_end {
            self.frame_word = (at.0 - self.window_start) >> 3;
            return Ok(());
        }
        if contiguous && SETTINGS.load().single_reads == 0 {
            let start = at.0 & !(PAGE - 1);
            if read(self.frames.as_mut_ptr(), below_8192(end.wrapping_sub(start)), Addr(start)).is_ok() {
                self.window_start = start;
                self.window_end = end;
                self.frame_word = (at.0 - start) >> 3;
                return Ok(());
            }
            self.window_start = 0;
            self.window_end = 0;
        }
        // SAFETY: SINGLE_WORD lies inside `frames` with 256 words behind it.
        let single = unsafe { self.frames.as_mut_ptr().add(SINGLE_WORD) };
        read(single, below_128(len), at)?;
        self.frame_word = SINGLE_WORD as u64;
        Ok(())
    }

    #[inline(always)]
    fn frame_field(&self, offset: u32) -> u64 {
        self.frames[(self.frame_word as usize + (offset >> 3) as usize) & (FRAME_WORDS - 1)]
    }
}
