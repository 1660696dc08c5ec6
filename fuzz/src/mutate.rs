//! Mutations that know what processes and files are made of: words, most of which are pointers to others of their words.

use libfuzzer_sys::fuzzer_mutate;

use crate::{file, processes};

/// Knuth's MMIX generator: a mutation is its seed.
struct Noise(u64);

impl Noise {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound.max(1)
    }
}

const TELLING: [u64; 12] =
    [0, 1, 7, 8, 0x100, 0x1000, 1 << 16, 1 << 20, 1 << 32, i64::MAX as u64, 1 << 63, u64::MAX];

/// Changes one word, or a few, or lets libFuzzer do what it knows; the new size.
fn mutate(data: &mut [u8], size: usize, max_size: usize, seed: u32, words: &[usize]) -> usize {
    let mut noise = Noise(seed.into());
    noise.below(2);
    if words.is_empty() || noise.below(3) == 0 {
        return fuzzer_mutate(data, size, max_size);
    }
    for _ in 0..1 << noise.below(4) {
        let (into, from) = (words[noise.below(words.len())], words[noise.below(words.len())]);
        // Lengths and the tables of files: half as wide.
        if noise.below(4) == 0 {
            let (into, from) = (into + 4 * noise.below(2), from + 4 * noise.below(2));
            let new = match noise.below(4) {
                0 => TELLING[noise.below(TELLING.len())] as u32,
                1 | 2 => noise.below(16) as u32,
                _ => u32::from_le_bytes(data[from..from + 4].try_into().unwrap_or_default()),
            };
            data[into..into + 4].copy_from_slice(&new.to_le_bytes());
            continue;
        }
        let word = |at: usize| u64::from_le_bytes(data[at..at + 8].try_into().unwrap_or_default());
        let new = match noise.below(6) {
            0 => TELLING[noise.below(TELLING.len())],
            // Of the same object, or of its neighbour.
            1 => word(into).wrapping_add(8 * noise.below(64) as u64),
            2 => word(into) ^ 1 << noise.below(64),
            3 => noise.below(4096) as u64,
            _ => word(from),
        };
        data[into..into + 8].copy_from_slice(&new.to_le_bytes());
    }
    size
}

/// Of a process; and whether something is mapped everywhere.
pub fn process(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let words = processes::words(&data[..size]);
    let size = mutate(data, size, max_size, seed, &words);
    if seed.is_multiple_of(8) && size > 1 {
        data[1] ^= 1;
    }
    size
}

/// Of a file in pieces, most of whose numbers are words.
pub fn file(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let mut words = vec![0];
    processes::words_of_pieces(&data[..size], file::HEAD_BYTES, &mut words);
    mutate(data, size, max_size, seed, &words)
}
