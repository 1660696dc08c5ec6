//! Hash-consing: equal keys get the same small id, so a sample costs hash lookups and four-byte ids, not strings.
//!
//! The tables hold ids only; the keys stay in one dense vector, which is also the table that encoders walk. The hasher
//! is seeded per table: names and addresses come from the target, which must not be able to choose collisions.

use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::{BuildHasher, Hash};
use std::mem::size_of;

/// Bytes per slot of a hash table of ids: the id and its control byte, at a load of at most 7/8.
const SLOT_BYTES: usize = 6;

/// Ids of 32 bits: the memory cap (at most 16 GiB, twelve bytes or more per entry) is reached long before they end.
fn next_id(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// Distinct `Copy` keys, numbered from 0 in the order of their first appearance.
#[derive(Clone)]
pub(crate) struct Interner<K> {
    items: Vec<K>,
    table: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl<K: Copy + Eq + Hash> Interner<K> {
    pub(crate) fn new() -> Self {
        Self { items: Vec::new(), table: HashTable::new(), hasher: DefaultHashBuilder::default() }
    }

    /// The id of `key`, and whether it is new.
    pub(crate) fn intern(&mut self, key: K) -> (u32, bool) {
        let Self { items, table, hasher } = self;
        let hash = hasher.hash_one(key);
        if let Some(&id) = table.find(hash, |&id| items[id as usize] == key) {
            return (id, false);
        }
        let id = next_id(items.len());
        items.push(key);
        table.insert_unique(hash, id, |&id| hasher.hash_one(items[id as usize]));
        (id, true)
    }

    pub(crate) fn contains(&self, key: &K) -> bool {
        self.table.find(self.hasher.hash_one(key), |&id| self.items[id as usize] == *key).is_some()
    }

    pub(crate) fn items(&self) -> &[K] {
        &self.items
    }

    /// Forgets all keys and keeps the room for as many.
    pub(crate) fn clear(&mut self) {
        self.items.clear();
        self.table.clear();
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.items.capacity() * size_of::<K>() + self.table.capacity() * SLOT_BYTES
    }

    /// What `more` new keys may add at once: a full table doubles, and the old one stays until all is moved.
    pub(crate) fn growth_bytes(&self, more: usize) -> usize {
        let is_full = |capacity: usize| self.items.len() + more > capacity;
        let items = if is_full(self.items.capacity()) { self.items.capacity() * size_of::<K>() } else { 0 };
        let table = if is_full(self.table.capacity()) { 2 * self.table.capacity() * SLOT_BYTES } else { 0 };
        items + table
    }
}

/// Distinct strings in one buffer; id 0 is the empty string.
#[derive(Clone)]
pub(crate) struct Strings {
    text: String,
    /// Where each string ends; it starts where the one before it ends.
    ends: Vec<usize>,
    table: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Strings {
    pub(crate) fn new() -> Self {
        let mut strings = Self {
            text: String::new(),
            ends: Vec::new(),
            table: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
        };
        strings.intern("");
        strings
    }

    pub(crate) fn intern(&mut self, value: &str) -> u32 {
        let Self { text, ends, table, hasher } = self;
        let hash = hasher.hash_one(value);
        if let Some(&id) = table.find(hash, |&id| slice(text, ends, id) == value) {
            return id;
        }
        let id = next_id(ends.len());
        text.push_str(value);
        ends.push(text.len());
        table.insert_unique(hash, id, |&id| hasher.hash_one(slice(text, ends, id)));
        id
    }

    pub(crate) fn get(&self, id: u32) -> &str {
        slice(&self.text, &self.ends, id)
    }

    /// What `more` new strings of `bytes` together may add at once.
    pub(crate) fn growth_bytes(&self, more: usize, bytes: usize) -> usize {
        let Self { text, ends, table, .. } = self;
        let is_full = |capacity: usize| ends.len() + more > capacity;
        let text = if text.len() + bytes > text.capacity() { text.capacity().max(bytes) } else { 0 };
        let items = if is_full(ends.capacity()) { ends.capacity() * size_of::<usize>() } else { 0 };
        let table = if is_full(table.capacity()) { 2 * table.capacity() * SLOT_BYTES } else { 0 };
        text + items + table
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.text.capacity() + self.ends.capacity() * size_of::<usize>() + self.table.capacity() * SLOT_BYTES
    }
}

fn slice<'a>(text: &'a str, ends: &[usize], id: u32) -> &'a str {
    let id = id as usize;
    let end = ends.get(id).copied().unwrap_or(0);
    let start = if id == 0 { 0 } else { ends.get(id - 1).copied().unwrap_or(0) };
    text.get(start..end).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_told_before_it_happens() {
        let mut ids = Interner::new();
        for key in 0..100_000u64 {
            let (before, told) = (ids.memory_bytes(), ids.growth_bytes(1));
            ids.intern(key);
            let grown = ids.memory_bytes() - before;
            // A table of a few slots may more than double.
            if key >= 16 {
                assert!(grown <= told, "{grown} bytes at {key}, {told} told");
                assert_eq!(grown == 0, told == 0, "at {key}");
            }
        }
    }

    #[test]
    fn growth_of_strings_is_told_before_it_happens() {
        let mut strings = Strings::new();
        for number in 0..100_000 {
            let name = format!("name{number}");
            let (before, told) = (strings.memory_bytes(), strings.growth_bytes(1, name.len()));
            strings.intern(&name);
            let grown = strings.memory_bytes() - before;
            // Tables of a few slots may more than double.
            assert!(number < 16 || grown <= told, "{grown} bytes at {number}, {told} told");
        }
    }

    #[test]
    fn equal_keys_share_an_id_and_survive_growth() {
        let mut ids = Interner::new();
        for round in 0..2 {
            for key in 0..10_000u64 {
                assert_eq!(ids.intern(key), (key as u32, round == 0));
            }
        }
        assert_eq!(ids.items().len(), 10_000);
    }

    #[test]
    fn strings_are_kept_as_they_are() {
        let rows = ["", "<lambda>", "na\u{ef}ve", "\u{1f40d}", "a\0b", "x", "xx"];
        let mut strings = Strings::new();
        let ids: Vec<u32> = rows.iter().map(|row| strings.intern(row)).collect();
        assert_eq!(ids[0], 0);
        for (row, id) in rows.iter().zip(&ids) {
            assert_eq!(strings.get(*id), *row);
            assert_eq!(strings.intern(row), *id);
        }
        assert_eq!(strings.get(9999), "");
    }
}
