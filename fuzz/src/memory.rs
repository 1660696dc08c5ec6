//! Memory as a hostile process would have it: pieces anywhere, or something at every address; and a reader that holds the
//! code under test to the contract of `Memory`.

use pyunwind::{Addr, Fault, Memory};

/// What is where no piece is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Elsewhere {
    Nothing,
    /// The first piece, over and over: every pointer leads somewhere, and lists end where they began.
    FirstPiece,
}

/// Sorted by address; of pieces that overlap the one that begins last counts.
#[derive(Clone, Debug)]
pub struct Pieces<'a> {
    pub pieces: Vec<(u64, &'a [u8])>,
    pub elsewhere: Elsewhere,
}

/// The longest read that `Memory::load` may be asked for.
const MAX_LOAD_BYTES: u32 = 504;
/// What the BPF program has room for.
const MAX_FRAME_BYTES: u32 = 120;

impl Pieces<'_> {
    fn read(&self, at: u64, into: &mut [u8]) -> Result<(), Fault> {
        let next = self.pieces.partition_point(|(start, _)| *start <= at);
        if let Some((start, bytes)) = next.checked_sub(1).and_then(|index| self.pieces.get(index))
            && let Ok(offset) = usize::try_from(at - start)
            && let Some(found) = bytes.get(offset..).and_then(|rest| rest.get(..into.len()))
        {
            into.copy_from_slice(found);
            return Ok(());
        }
        let first = self.pieces.first().map_or(&[][..], |(_, bytes)| bytes);
        // Like a kernel, this has nothing at NULL.
        if self.elsewhere == Elsewhere::Nothing || first.len() < 64 || at < 4096 {
            return Err(Fault);
        }
        let first = &first[..first.len() & !7];
        let (mut from, mut rest) = ((at % first.len() as u64) as usize, into);
        while !rest.is_empty() {
            let (now, later) = rest.split_at_mut(rest.len().min(first.len() - from));
            now.copy_from_slice(&first[from..from + now.len()]);
            (from, rest) = (0, later);
        }
        Ok(())
    }
}

/// One reader of the pieces. Panics when a read breaks the contract of [`Memory`], or when there are too many.
pub struct Reader<'a> {
    pieces: &'a Pieces<'a>,
    most_reads: u64,
    pub reads: u64,
    block: Vec<u8>,
    frame: Vec<u8>,
    /// Every successful read, where somebody wants to know: what a seed has to hold.
    pub log: Option<Vec<(u64, Vec<u8>)>>,
}

impl<'a> Reader<'a> {
    pub fn new(pieces: &'a Pieces<'a>, most_reads: u64) -> Reader<'a> {
        Reader { pieces, most_reads, reads: 0, block: Vec::new(), frame: Vec::new(), log: None }
    }

    /// Panics if the work since `before` took more than `most` reads.
    pub fn expect_reads_since(&self, before: u64, most: u64, what: &str) {
        let reads = self.reads - before;
        assert!(reads <= most, "{what}: {reads} reads, {most} allowed");
    }

    fn read(&mut self, at: Addr, into: &mut [u8]) -> Result<(), Fault> {
        self.reads += 1;
        assert!(self.reads <= self.most_reads, "more than {} reads", self.most_reads);
        self.pieces.read(at.0, into)?;
        if let Some(log) = &mut self.log {
            log.push((at.0, into.to_vec()));
        }
        Ok(())
    }
}

/// Offsets are multiples of 8 and inside of what was loaded, or nobody knows what they give.
fn word_of(bytes: &[u8], offset: u32) -> u64 {
    let word = bytes.get(offset as usize..).and_then(|rest| rest.first_chunk());
    match word {
        Some(word) if offset.is_multiple_of(8) => u64::from_le_bytes(*word),
        _ => panic!("the word at {offset} of {} bytes that were loaded", bytes.len()),
    }
}

impl Memory for Reader<'_> {
    fn word(&mut self, at: Addr) -> Result<u64, Fault> {
        let mut word = [0; 8];
        self.read(at, &mut word)?;
        Ok(u64::from_le_bytes(word))
    }

    fn load(&mut self, at: Addr, len: u32) -> Result<(), Fault> {
        assert!(len.is_multiple_of(8) && len <= MAX_LOAD_BYTES, "{len} bytes at once");
        let mut block = std::mem::take(&mut self.block);
        block.clear();
        block.resize(len as usize, 0);
        let read = self.read(at, &mut block);
        self.block = block;
        read
    }

    fn field(&self, offset: u32) -> u64 {
        word_of(&self.block, offset)
    }

    fn load_frame(&mut self, at: Addr, len: u32, _contiguous: bool) -> Result<(), Fault> {
        assert!(len.is_multiple_of(8) && len <= MAX_FRAME_BYTES, "a frame of {len} bytes");
        let mut frame = std::mem::take(&mut self.frame);
        frame.clear();
        frame.resize(len as usize, 0);
        let read = self.read(at, &mut frame);
        self.frame = frame;
        read
    }

    fn frame_field(&self, offset: u32) -> u64 {
        word_of(&self.frame, offset)
    }
}
