//! Looks symbols up by name: in the dynamic table through its hash, else in one bounded pass over `.symtab`.

use std::collections::HashMap;

use super::elf::{Elf, SHT_SYMTAB, u32_at, u64_at};

/// A hash chain of a sane file has a handful of entries.
const MAX_CHAIN: u32 = 4_096;
const MAX_SYMTAB_BYTES: u64 = 64 << 20;
const MAX_STRTAB_BYTES: u64 = 64 << 20;
const SYMBOL_BYTES: u64 = 24;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Symbol {
    pub(super) vaddr: u64,
}

/// Symbols of one file, from whichever table has them.
pub(super) enum Symbols<'e, 'f> {
    Dynamic(&'e Elf<'f>),
    Static(HashMap<&'static str, Symbol>),
}

impl Symbols<'_, '_> {
    pub(super) fn get(&self, name: &str) -> Option<Symbol> {
        match self {
            Symbols::Dynamic(elf) => dynamic_symbol(elf, name),
            Symbols::Static(found) => found.get(name).copied(),
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

fn dynamic_symbol(elf: &Elf<'_>, name: &str) -> Option<Symbol> {
    let dynamic = elf.dynamic?;
    match (dynamic.gnu_hash, dynamic.hash) {
        (Some(table), _) => gnu_lookup(elf, table, name),
        (None, Some(table)) => sysv_lookup(elf, table, name),
        (None, None) => None,
    }
}

/// `DT_GNU_HASH`: header, Bloom filter, buckets, chains (glibc `elf/dl-lookup.c`).
fn gnu_lookup(elf: &Elf<'_>, table: u64, name: &str) -> Option<Symbol> {
    let head: [u8; 16] = elf.file.array(table).ok()?;
    let buckets = u32_at(&head, 0);
    let first_symbol = u32_at(&head, 4);
    let bloom_words = u32_at(&head, 8);
    let bloom_shift = u32_at(&head, 12);
    let hash = name.bytes().fold(5381_u32, |hash, byte| hash.wrapping_mul(33).wrapping_add(u32::from(byte)));
    if buckets == 0 || bloom_words == 0 {
        return None;
    }
    let bloom_at = table.checked_add(16)?;
    let word = elf.file.array(bloom_at.checked_add(u64::from((hash / 64) % bloom_words) * 8)?).ok()?;
    let mask = 1_u64 << (hash % 64) | 1_u64 << (hash.checked_shr(bloom_shift).unwrap_or(0) % 64);
    if u64::from_le_bytes(word) & mask != mask {
        return None;
    }
    let buckets_at = bloom_at.checked_add(u64::from(bloom_words) * 8)?;
    let chains_at = buckets_at.checked_add(u64::from(buckets) * 4)?;
    let bucket = elf.file.array(buckets_at.checked_add(u64::from(hash % buckets) * 4)?).ok()?;
    let mut index = u32::from_le_bytes(bucket);
    for _ in 0..MAX_CHAIN {
        let chain = u64::from(index.checked_sub(first_symbol)?) * 4;
        let entry = u32::from_le_bytes(elf.file.array(chains_at.checked_add(chain)?).ok()?);
        // The lowest bit marks the end of a chain, so it says nothing about the hash.
        if entry | 1 == hash | 1
            && let Some(symbol) = symbol_at(elf, index, name)
        {
            return Some(symbol);
        }
        if entry & 1 == 1 {
            return None;
        }
        index = index.checked_add(1)?;
    }
    None
}

/// `DT_HASH`, which old and musl builds may have alone.
fn sysv_lookup(elf: &Elf<'_>, table: u64, name: &str) -> Option<Symbol> {
    let head: [u8; 8] = elf.file.array(table).ok()?;
    let buckets = u32_at(&head, 0);
    if buckets == 0 {
        return None;
    }
    let hash = name.bytes().fold(0_u32, |hash, byte| {
        let hash = (hash << 4).wrapping_add(u32::from(byte));
        let high = hash & 0xf000_0000;
        (hash ^ (high >> 24)) & !high
    });
    let buckets_at = table.checked_add(8)?;
    let chains_at = buckets_at.checked_add(u64::from(buckets) * 4)?;
    let bucket = elf.file.array(buckets_at.checked_add(u64::from(hash % buckets) * 4)?).ok()?;
    let mut index = u32::from_le_bytes(bucket);
    for _ in 0..MAX_CHAIN {
        if index == 0 {
            return None;
        }
        if let Some(symbol) = symbol_at(elf, index, name) {
            return Some(symbol);
        }
        index = u32::from_le_bytes(elf.file.array(chains_at.checked_add(u64::from(index) * 4)?).ok()?);
    }
    None
}

fn symbol_at(elf: &Elf<'_>, index: u32, name: &str) -> Option<Symbol> {
    let dynamic = elf.dynamic?;
    let entry: [u8; SYMBOL_BYTES as usize] =
        elf.file.array(dynamic.symbols.checked_add(u64::from(index) * SYMBOL_BYTES)?).ok()?;
    let symbol = defined(&entry)?;
    let at = dynamic.strings.checked_add(u64::from(u32_at(&entry, 0)))?;
    let found = elf.file.bytes(at, name.len() as u64 + 1).ok()?;
    (found.strip_prefix(name.as_bytes()) == Some(&[0])).then_some(symbol)
}

/// `None` for a symbol that this file only imports.
fn defined(entry: &[u8]) -> Option<Symbol> {
    let section = u32_at(entry, 4) >> 16;
    (section != 0).then(|| Symbol { vaddr: u64_at(entry, 8) })
}

/// Those of `names` that `.symtab` defines. Names are found first, in one pass over the strings, so that the pass over
/// the symbols compares numbers only.
pub(super) fn static_symbols(elf: &Elf<'_>, names: &[&'static str]) -> HashMap<&'static str, Symbol> {
    let mut found = HashMap::new();
    let Some(table) = elf.sections.iter().find(|section| section.kind == SHT_SYMTAB) else {
        return found;
    };
    let Some(strings) = elf.sections.get(table.link as usize) else { return found };
    if table.bytes > MAX_SYMTAB_BYTES || strings.bytes > MAX_STRTAB_BYTES {
        return found;
    }
    let longest = names.iter().map(|name| name.len()).max().unwrap_or(0);
    let shortest = names.iter().map(|name| name.len()).min().unwrap_or(0);
    let mut wanted: HashMap<u32, &'static str> = HashMap::new();
    let strings_read = elf.file.scan(strings.offset, strings.bytes, longest + 1, |at, chunk| {
        let mut begin = 0;
        for (end, _) in chunk.iter().enumerate().filter(|(_, byte)| **byte == 0) {
            let string = &chunk[begin..end];
            begin = end + 1;
            // A hole in the file is a string per byte: comparing each with all names takes seconds.
            if string.len() < shortest {
                continue;
            }
            // Linkers share tails: `x_PyRuntime` may hold `_PyRuntime`. Symbols decide which was meant.
            for name in names {
                if string.ends_with(name.as_bytes()) {
                    let start = at - strings.offset + (end - name.len()) as u64;
                    wanted.insert(start as u32, name);
                }
            }
        }
        wanted.len() > 1024
    });
    if strings_read.is_err() || wanted.is_empty() {
        return found;
    }
    // Chunks are multiples of a symbol's size, so none is cut in two.
    let _ = elf.file.scan(table.offset, table.bytes, 0, |_, chunk| {
        for entry in chunk.chunks_exact(SYMBOL_BYTES as usize) {
            if let Some(name) = wanted.get(&u32_at(entry, 0))
                && let Some(symbol) = defined(entry)
            {
                found.insert(*name, symbol);
            }
        }
        false
    });
    found
}
