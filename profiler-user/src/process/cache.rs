//! Facts about files, kept so that a file mapped by a thousand processes is examined once.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use super::elf::ElfError;
use super::facts::ElfFacts;
use super::file::{FileKey, Located};
use super::maps::Mapping;
use super::python::mapping_key;

/// Files examined: two generations of this many.
const FILES: usize = 2_048;
/// Mappings known to be without interest: two generations of this many, about 50 bytes each.
const DULL_MAPPINGS: usize = 32_768;

/// A line of a maps file, as far as it identifies what is mapped.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct MappingKey {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) offset: u64,
    pub(super) bytes: u64,
    pub(super) path_hash: u64,
}

/// Why a mapping need not be looked at again.
#[derive(Clone, Copy)]
pub(super) struct Dull {
    pub(super) needs_libpython: bool,
}

/// What is known of a file: facts, or that it is no program at all.
pub(super) type Known = Option<Arc<ElfFacts>>;

pub struct FactsCache {
    files: Generations<FileKey, Known>,
    dull: Generations<MappingKey, Dull>,
    hasher: std::hash::RandomState,
}

impl Default for FactsCache {
    fn default() -> Self {
        FactsCache {
            files: Generations::new(FILES),
            dull: Generations::new(DULL_MAPPINGS),
            hasher: std::hash::RandomState::new(),
        }
    }
}

impl FactsCache {
    pub fn new() -> Self {
        Self::default()
    }

    /// The facts of a file, from the cache or by reading it. A file that changed has another key.
    pub(super) fn facts(&mut self, located: &Located) -> Result<Known, ElfError> {
        if let Some(known) = self.files.get(&located.key) {
            return Ok(known);
        }
        let known = match located.read().map_err(ElfError::from).and_then(|file| ElfFacts::read(&file)) {
            Ok(facts) => Some(Arc::new(facts)),
            Err(ElfError::File(
                super::file::FileError::Open(error) | super::file::FileError::Read(error),
            )) => {
                // May work the next time.
                return Err(ElfError::File(super::file::FileError::Read(error)));
            }
            // Costs little to find out again and is rare, so the caller may name it each time.
            Err(ElfError::Foreign(what)) => return Err(ElfError::Foreign(what)),
            Err(_) => None,
        };
        self.files.insert(located.key, known.clone());
        Ok(known)
    }

    /// Most mappings of a host are of the same few hundred libraries: none of them is opened, not even for its
    /// metadata, a second time. The key holds the path and the extent, so that a number which the file system used
    /// again for another file does not hide a Python.
    pub(super) fn dull(&mut self, key: &MappingKey) -> Option<Dull> {
        self.dull.get(key)
    }

    pub(super) fn set_dull(&mut self, key: MappingKey, dull: Dull) {
        self.dull.insert(key, dull);
    }

    /// Whether no Python can come with this mapping: needs no file.
    pub fn is_dull(&mut self, mapping: &Mapping<'_>) -> bool {
        let key = mapping_key(self, mapping);
        self.dull(&key).is_some()
    }

    /// Takes over what another cache knows of a mapping: no Python can come with it.
    pub fn note_dull(&mut self, mapping: &Mapping<'_>) {
        let key = mapping_key(self, mapping);
        self.set_dull(key, Dull { needs_libpython: false });
    }

    /// Keyed anew in every run: a target cannot choose colliding paths.
    pub(super) fn hash(&self, path: &[u8]) -> u64 {
        use std::hash::BuildHasher;
        self.hasher.hash_one(path)
    }
}

/// A bounded map that forgets what has not been used for a while: when the young half is full it becomes the old
/// one, and what was in the old one and was not asked for is gone.
struct Generations<K, V> {
    capacity: usize,
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K: Hash + Eq + Copy, V: Clone> Generations<K, V> {
    fn new(capacity: usize) -> Self {
        Generations { capacity, young: HashMap::new(), old: HashMap::new() }
    }

    fn get(&mut self, key: &K) -> Option<V> {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let value = self.old.remove(key)?;
        self.insert(*key, value.clone());
        Some(value)
    }

    fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.capacity {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::Generations;

    #[test]
    fn what_is_used_stays_and_the_rest_is_bounded() {
        let mut map = Generations::new(10);
        for key in 0..1_000 {
            map.insert(key, key);
            assert_eq!(map.get(&0), Some(0));
            assert!(map.young.len() + map.old.len() <= 20);
        }
        assert_eq!(map.get(&1), None);
        assert_eq!(map.get(&999), Some(999));
    }
}
