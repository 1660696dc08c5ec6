//! How the unwinder reads and where its frames go. A BPF program, a live process and a snapshot each bring their own.

use crate::code::CodeCheck;
use crate::{Addr, Fault};

/// Bytes of the target, in two buffers that the implementation owns: BPF programs have no room on the stack, and a
/// frame buffer that holds a whole page serves many frames with one read.
///
/// `field` and `frame_field` take offsets that are multiples of 8 and lie inside what was loaded; outside it they
/// return unspecified bytes, never anything unsafe.
pub trait Memory {
    /// One aligned word.
    fn word(&mut self, at: Addr) -> Result<u64, Fault>;

    /// Loads `len` bytes (multiple of 8, below 512) for [`Memory::field`].
    fn load(&mut self, at: Addr, len: u32) -> Result<(), Fault>;

    /// The 8 bytes at `offset` from the address last loaded.
    fn field(&self, offset: u32) -> u64;

    /// Makes `len` bytes at `at` available to [`Memory::frame_field`]. With `contiguous`, neighbouring frames lie
    /// *below* `at`: an implementation may read down to the start of the page in the same go.
    fn load_frame(&mut self, at: Addr, len: u32, contiguous: bool) -> Result<(), Fault>;

    /// The 8 bytes at `offset` from the frame address last loaded.
    fn frame_field(&self, offset: u32) -> u64;
}

/// Where frames go, leaf first, and what is known of a code object within this sample.
pub trait FrameSink {
    /// Takes a Python frame; `false` when there is no room left.
    fn push(&mut self, code: Addr, check: CodeCheck, index: i32) -> bool;

    /// The frame that comes next is the one in which the garbage collector, which runs now, was triggered.
    fn collector(&mut self);

    /// Forgets every frame pushed so far: they belonged to a chain that turned out not to be the thread's.
    fn clear(&mut self);

    /// The result of a check of `code` earlier in this same sample: a code object on the stack cannot change under
    /// a stopped thread, so one check per sample is enough. Never answer from an earlier sample.
    fn recall(&self, code: Addr) -> Option<CodeCheck>;

    fn remember(&mut self, code: Addr, check: CodeCheck);
}
