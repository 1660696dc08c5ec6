//! A process as an input: its layout, or the debug offsets that it shows instead, where its runtime is, and its memory.
//!
//! ```text
//! u8 layout     which of the tables of versions; from 128 on, debug offsets follow
//! u8 flags      bit 0: something is mapped at every address
//! u64 runtime, u64 pointer, 2 x u64 registers
//! [u16 length and the debug offsets]
//! pieces        u64 address, u16 length and the bytes, to the end
//! ```

use pyunwind::host::{debug_offsets, versions};
use pyunwind::{Addr, Layout};

use crate::input::Input;
use crate::memory::{Elsewhere, Pieces};

const HAS_OFFSETS: u8 = 128;
const MAPPED_EVERYWHERE: u8 = 1;
/// Before what is of variable length.
pub(crate) const HEAD_BYTES: usize = 2 + 4 * 8;

pub struct Process<'a> {
    pub layout: Layout,
    pub runtime: Addr,
    pub pointer: u64,
    pub registers: [Addr; 2],
    pub memory: Pieces<'a>,
}

/// 2.7, then 3.6 to 3.12.
fn known(index: u8) -> Layout {
    match index % 8 {
        0 => versions::V2_7,
        minor => versions::layout(minor + 5).expect("3.6-3.12 have tables"),
    }
}

impl<'a> Process<'a> {
    /// `None` where the debug offsets are refused.
    pub fn decode(data: &'a [u8]) -> Option<Process<'a>> {
        let mut input = Input(data);
        let (kind, flags) = (input.u8(), input.u8());
        let runtime = Addr(input.u64());
        let pointer = input.u64();
        let registers = [Addr(input.u64()), Addr(input.u64())];
        let layout = if kind >= HAS_OFFSETS {
            let len = input.u16().into();
            debug_offsets::parse(input.bytes(len)).ok()?
        } else {
            // What discovery finds of 2.7 and 3.6, whose two variables are neighbours.
            Layout { runtime_current: -8, ..known(kind) }
        };
        let mut pieces = Vec::new();
        while !input.0.is_empty() {
            let (at, len) = (input.u64(), input.u16());
            pieces.push((at, input.bytes(len.into())));
        }
        let elsewhere =
            if flags & MAPPED_EVERYWHERE == 0 { Elsewhere::Nothing } else { Elsewhere::FirstPiece };
        pieces.sort_by_key(|(at, _)| *at);
        Some(Process { layout, runtime, pointer, registers, memory: Pieces { pieces, elsewhere } })
    }
}

/// Writes what [`Process::decode`] reads. `offsets` or else the layout of `minor`, 0 for 2.7.
pub fn encode(
    minor: u8,
    offsets: &[u8],
    everywhere: bool,
    runtime: Addr,
    pointer: u64,
    pieces: &[(u64, Vec<u8>)],
) -> Vec<u8> {
    let kind = if offsets.is_empty() { minor.saturating_sub(5) } else { HAS_OFFSETS };
    let mut data = vec![kind, if everywhere { MAPPED_EVERYWHERE } else { 0 }];
    for word in [runtime.0, pointer, 0, 0] {
        data.extend(word.to_le_bytes());
    }
    if !offsets.is_empty() {
        data.extend((offsets.len() as u16).to_le_bytes());
        data.extend(offsets);
    }
    encode_pieces(&mut data, pieces);
    data
}

pub(crate) fn encode_pieces(data: &mut Vec<u8>, pieces: &[(u64, Vec<u8>)]) {
    for (at, bytes) in pieces {
        for (index, part) in bytes.chunks(0xfff8).enumerate() {
            data.extend((at + index as u64 * 0xfff8).to_le_bytes());
            data.extend((part.len() as u16).to_le_bytes());
            data.extend(part);
        }
    }
}

/// Where the words of the pieces stand in an encoded process, and where its words of the head and of the addresses of
/// pieces do: what a mutation may change without taking the form apart.
pub fn words(data: &[u8]) -> Vec<usize> {
    let mut words = vec![2, 10, 18, 26];
    let mut at = HEAD_BYTES;
    let len_at =
        |at: usize| data.get(at..at + 2).map(|len| usize::from(u16::from_le_bytes([len[0], len[1]])));
    if data.first().is_some_and(|kind| *kind >= HAS_OFFSETS) {
        let Some(len) = len_at(at) else { return Vec::new() };
        words.extend((at + 2..at + 2 + len).step_by(8));
        at += 2 + len;
    }
    words_of_pieces(data, at, &mut words);
    words
}

pub(crate) fn words_of_pieces(data: &[u8], mut at: usize, words: &mut Vec<usize>) {
    let len_at =
        |at: usize| data.get(at..at + 2).map(|len| usize::from(u16::from_le_bytes([len[0], len[1]])));
    while let Some(len) = len_at(at + 8) {
        words.push(at);
        words.extend((at + 10..at + 10 + len).step_by(8));
        at += 10 + len;
    }
    words.retain(|word| word + 8 <= data.len());
}
