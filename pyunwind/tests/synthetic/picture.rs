//! Memory that a test draws: sparse words on pages that are there or not. Counts reads, fails those it is told to, and
//! holds the code under test to the contract of `Memory`.

use std::collections::{HashMap, HashSet};

use pyunwind::{Addr, Fault, Memory};

const PAGE: u64 = 4096;
/// What stands in mapped memory that nobody wrote: no valid address, not even an aligned one.
const FILLER: u64 = 0xdead_beef_dead_beef;

#[derive(Clone, Default)]
pub(crate) struct Picture {
    words: HashMap<u64, u64>,
    pages: HashSet<u64>,
    /// Words whose read faults although their page is there: no such thing exists, but it finds reads that look at more
    /// than they should.
    forbidden: HashSet<u64>,
    /// Reads frames a page at a time, as the BPF program does, and not one by one.
    pub(crate) windows: bool,
    /// How many reads reached the target.
    pub(crate) reads: u32,
    /// The read that fails, counted from 0.
    pub(crate) fail_at: Option<u32>,
    /// Whether the last read that failed was of a frame.
    pub(crate) failed_frame: bool,
    loaded: Vec<u64>,
    window: Vec<u64>,
    window_start: u64,
    frame: Vec<u64>,
}

impl Picture {
    pub(crate) fn set(&mut self, at: u64, value: u64) {
        assert!(at.is_multiple_of(8), "tests draw whole words");
        self.map(at);
        self.words.insert(at, value);
    }

    pub(crate) fn get(&self, at: u64) -> u64 {
        self.words.get(&at).copied().unwrap_or(FILLER)
    }

    pub(crate) fn set_bits(&mut self, at: u64, bits: u32, value: u64) {
        let shift = (at & 7) * 8;
        let mask = (u64::MAX >> (64 - bits)) << shift;
        let word = self.get(at & !7);
        self.set(at & !7, (word & !mask) | ((value << shift) & mask));
    }

    pub(crate) fn map(&mut self, at: u64) {
        self.pages.insert(at & !(PAGE - 1));
    }

    pub(crate) fn forbid(&mut self, at: u64) {
        self.forbidden.insert(at);
    }

    fn read(&mut self, at: u64, bytes: u64) -> Result<Vec<u64>, Fault> {
        let number = self.reads;
        self.reads += 1;
        self.failed_frame &= self.fail_at != Some(number);
        if self.fail_at == Some(number) || !at.is_multiple_of(8) {
            return Err(Fault);
        }
        (0..bytes / 8)
            .map(|index| {
                let at = at.checked_add(index * 8).ok_or(Fault)?;
                let there = self.pages.contains(&(at & !(PAGE - 1))) && !self.forbidden.contains(&at);
                if there { Ok(self.get(at)) } else { Err(Fault) }
            })
            .collect()
    }

    /// Forgets what was read: the next sample.
    pub(crate) fn reset(&mut self) {
        (self.reads, self.window_start) = (0, 0);
        self.window.clear();
    }
}

impl Memory for Picture {
    fn word(&mut self, at: Addr) -> Result<u64, Fault> {
        Ok(self.read(at.0, 8)?[0])
    }

    fn load(&mut self, at: Addr, len: u32) -> Result<(), Fault> {
        assert!(len.is_multiple_of(8) && len <= 512, "the contract of Memory");
        self.loaded = self.read(at.0, len.into())?;
        Ok(())
    }

    fn field(&self, offset: u32) -> u64 {
        assert!(offset.is_multiple_of(8), "the contract of Memory");
        self.loaded[offset as usize / 8]
    }

    fn load_frame(&mut self, at: Addr, len: u32, contiguous: bool) -> Result<(), Fault> {
        assert!(len.is_multiple_of(8) && len <= 128, "the contract of Memory");
        let window_end = self.window_start + self.window.len() as u64 * 8;
        if self.window_start <= at.0 && at.0 < window_end && window_end - at.0 >= len.into() {
            let first = (at.0 - self.window_start) as usize / 8;
            self.frame = self.window[first..first + len as usize / 8].to_vec();
            return Ok(());
        }
        if contiguous && self.windows {
            let start = at.0 & !(PAGE - 1);
            if let Ok(window) = self.read(start, (at.0 - start) + u64::from(len)) {
                (self.window, self.window_start) = (window, start);
                return self.load_frame(at, len, contiguous);
            }
            self.window.clear();
        }
        self.frame = self.read(at.0, len.into()).inspect_err(|_| self.failed_frame = true)?;
        Ok(())
    }

    fn frame_field(&self, offset: u32) -> u64 {
        assert!(offset.is_multiple_of(8), "the contract of Memory");
        self.frame[offset as usize / 8]
    }
}
