//! A bound for all reads of one question together: structures of a target may be long, deep and linked to each other.

use crate::{Addr, Fault, Memory};

/// Memory that ends after so many reads.
pub struct Bounded<'a, M> {
    memory: &'a mut M,
    reads: u32,
}

impl<'a, M> Bounded<'a, M> {
    pub fn new(memory: &'a mut M, reads: u32) -> Self {
        Bounded { memory, reads }
    }

    /// From now on so many more, and no others.
    pub fn refill(&mut self, reads: u32) {
        self.reads = reads;
    }

    /// How many are left.
    pub fn left(&self) -> u32 {
        self.reads
    }

    fn count(&mut self) -> Result<(), Fault> {
        self.reads = self.reads.checked_sub(1).ok_or(Fault)?;
        Ok(())
    }
}

impl<M: Memory> Memory for Bounded<'_, M> {
    fn word(&mut self, at: Addr) -> Result<u64, Fault> {
        self.count()?;
        self.memory.word(at)
    }

    fn load(&mut self, at: Addr, len: u32) -> Result<(), Fault> {
        self.count()?;
        self.memory.load(at, len)
    }

    fn field(&self, offset: u32) -> u64 {
        self.memory.field(offset)
    }

    fn load_frame(&mut self, at: Addr, len: u32, contiguous: bool) -> Result<(), Fault> {
        self.count()?;
        self.memory.load_frame(at, len, contiguous)
    }

    fn frame_field(&self, offset: u32) -> u64 {
        self.memory.frame_field(offset)
    }
}
