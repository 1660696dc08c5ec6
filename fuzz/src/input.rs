//! Takes an input apart: what is missing at its end reads as zero, so that every input means something.

pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    /// As many bytes as are left of `len`.
    pub fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub fn u8(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    /// How often what is left is to be taken, so that short inputs stand for as much as `most_bytes`: mostly once.
    pub fn times(&mut self, most_bytes: usize) -> usize {
        let times = 1_usize << self.u8().saturating_sub(239);
        times.min(most_bytes / self.0.len().max(1)).max(1)
    }

    pub fn u16(&mut self) -> u16 {
        self.u64_of(2) as u16
    }

    pub fn u32(&mut self) -> u32 {
        self.u64_of(4) as u32
    }

    pub fn i32(&mut self) -> i32 {
        self.u32() as i32
    }

    pub fn u64(&mut self) -> u64 {
        self.u64_of(8)
    }

    fn u64_of(&mut self, len: usize) -> u64 {
        let mut word = [0; 8];
        let taken = self.bytes(len);
        word[..taken.len()].copy_from_slice(taken);
        u64::from_le_bytes(word)
    }
}
