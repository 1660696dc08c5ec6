//! Dictionaries and attributes of the target, as far as it takes to find a value by its name. All of it may change while
//! it is read: every read is bounded, and an answer is worth as much as the checks of whoever asked.
//!
//! Sources: `Objects/dict-common.h` (3.10 and older) and `Include/internal/pycore_dict.h` for tables of keys,
//! `Include/cpython/dictobject.h`, `Include/cpython/object.h` for types, `Include/internal/pycore_object.h` (3.11, 3.12:
//! `Objects/object.c`, `_PyObject_GetDictPtr`) for the attributes of instances. Offsets were printed by `offsetof` from the
//! installed headers of each version and are checked again on live interpreters.

use super::code_object::str_at;
use crate::{Addr, Fault, Layout, Memory};

/// Entries looked at in one dictionary: programs have thousands of modules, not more.
const MAX_ENTRIES: u64 = 16_384;
/// Words of entries taken at once; a multiple of both sizes of entries.
const BATCH_WORDS: usize = 48;

/// `Py_TPFLAGS_INLINE_VALUES` (3.13+) and `Py_TPFLAGS_MANAGED_DICT` (3.11+), `Include/object.h`.
const INLINE_VALUES: u64 = 1 << 2;
const MANAGED_DICT: u64 = 1 << 4;

/// `dk_kind`: only this one has a hash in each entry; the others have strings as keys, which know their own.
const KEYS_GENERAL: u64 = 0;
/// Strings as keys; strings as keys with the values elsewhere.
const KEYS_MAX: u64 = 2;

/// Where the fields of the objects of one build are.
#[derive(Clone, Copy, Debug)]
pub struct Objects {
    layout: Layout,
    /// `sizeof(PyObject)`: 16, or 32 where reference counts are split between threads.
    head: u64,
    /// `PyHeapTypeObject.ht_cached_keys`
    cached_keys: u64,
}

/// The entries of a dictionary, or of the attributes of an instance.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Table {
    /// The `PyDictKeysObject`: another one after every growth.
    pub keys: Addr,
    entries: Addr,
    entry_words: usize,
    /// Word of the key within its entry.
    key_word: usize,
    count: u64,
    /// Values of a split table, by the index of their key.
    values: Option<Addr>,
}

/// An entry that is in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Of keys that are not all strings; 0 otherwise.
    pub hash: u64,
    pub key: Addr,
    /// Where the pointer to the value stands.
    pub value_at: Addr,
    index: u64,
}

impl Objects {
    /// `None` for versions whose objects are not known.
    pub fn of(layout: &Layout) -> Option<Objects> {
        let head = u64::from(layout.object_type) + 8;
        let cached_keys = match layout.minor {
            // Instances have their dictionary behind them, wherever the type says.
            6..=10 => 0,
            11 => 856,
            12..=14 => 864,
            15 => 872,
            _ => return None,
        };
        let free_threaded = head > 16;
        if free_threaded && layout.minor < 13 {
            return None;
        }
        Some(Objects { layout: *layout, head, cached_keys: cached_keys + head })
    }

    /// `sizeof(PyObject)`
    pub(super) fn head(&self) -> u64 {
        self.head
    }

    /// The dictionary of a module: `PyModuleObject.md_dict`.
    pub fn module_dict(&self, memory: &mut impl Memory, module: Addr) -> Result<Addr, Fault> {
        pointer(memory, module.offset(self.head))
    }

    /// The entries of a `PyDictObject`.
    pub fn dict(&self, memory: &mut impl Memory, dict: Addr) -> Result<Table, Fault> {
        let keys = pointer(memory, dict.offset(self.head + 16))?;
        let values = Addr(memory.word(dict.offset(self.head + 24))?);
        self.table(memory, keys, (!values.is_null()).then_some(values))
    }

    fn table(&self, memory: &mut impl Memory, keys: Addr, values: Option<Addr>) -> Result<Table, Fault> {
        let table = |entries, general: bool, count: u64| Table {
            keys,
            entries,
            entry_words: if general { 3 } else { 2 },
            key_word: usize::from(general),
            count: count.min(MAX_ENTRIES),
            values,
        };
        let minor = self.layout.minor;
        if minor <= 10 {
            // dk_refcnt, dk_size, dk_lookup, dk_usable, dk_nentries, dk_indices[dk_size], entries.
            memory.load(keys, 40)?;
            let (size, count) = (memory.field(8), memory.field(32));
            if !size.is_power_of_two() || size > 1 << 32 {
                return Err(Fault);
            }
            let index_bytes = match size {
                0..=0xff => 1,
                0x100..=0xffff => 2,
                _ => 4,
            };
            return Ok(table(keys.offset(40 + size * index_bytes), true, count));
        }
        // dk_refcnt, dk_log2_size, dk_log2_index_bytes, dk_kind and so on, dk_usable, dk_nentries, dk_indices, entries.
        memory.load(keys, 32)?;
        let (sizes, count) = (memory.field(8), memory.field(24));
        let (log2_index_bytes, kind) = (sizes >> 8 & 0xff, sizes >> 16 & 0xff);
        if log2_index_bytes > 40 || kind > KEYS_MAX {
            return Err(Fault);
        }
        // From 3.13 on the values begin with four bytes about themselves.
        let values = values.map(|values| if minor >= 13 { values.offset(8) } else { values });
        let entries = keys.offset(32 + (1 << log2_index_bytes));
        Ok(Table { values, ..table(entries, kind == KEYS_GENERAL, count) })
    }

    /// The attributes of an instance of a class without `__slots__`; `None` if it has none yet.
    pub fn attributes(&self, memory: &mut impl Memory, object: Addr) -> Result<Option<Table>, Fault> {
        let class = pointer(memory, object.offset(self.layout.object_type.into()))?;
        let flags = memory.word(class.offset(self.head + 152))?;
        if self.layout.minor <= 10 || flags & MANAGED_DICT == 0 {
            let offset = memory.word(class.offset(self.head + 272))?;
            // Counted from the end where it is negative: of types that no thread has.
            if offset == 0 || offset > 1 << 16 {
                return Ok(None);
            }
            return self.dict_at(memory, object.offset(offset));
        }
        let before = |words: u64| Addr(object.0.wrapping_sub(words * 8));
        let values = match self.layout.minor {
            // A pointer each: to the values, and to the dictionary.
            11 => memory.word(before(4))?,
            // One of both, told apart by the lowest bit: `_PyDictOrValues_GetValues`.
            12 => match memory.word(before(3))? {
                word if word & 1 != 0 => word.wrapping_add(1),
                _ => 0,
            },
            // Values are behind the object as long as nobody asked for its dictionary.
            _ => {
                let dict = before(if self.head > 16 { 1 } else { 3 });
                if memory.word(dict)? != 0 || flags & INLINE_VALUES == 0 {
                    return self.dict_at(memory, dict);
                }
                let size = memory.word(class.offset(self.head + 16))?;
                object.0.wrapping_add(size.min(1 << 16))
            }
        };
        if values == 0 {
            return self.dict_at(memory, before(3));
        }
        let keys = pointer(memory, class.offset(self.cached_keys))?;
        self.table(memory, keys, Some(Addr(values))).map(Some)
    }

    fn dict_at(&self, memory: &mut impl Memory, at: Addr) -> Result<Option<Table>, Fault> {
        let dict = Addr(memory.word(at)?);
        if dict.is_null() { Ok(None) } else { self.dict(memory, dict).map(Some) }
    }

    /// The value under a name, or its absence. `hint` is where it was in a table like this one, and then where it is.
    pub fn find(
        &self,
        memory: &mut impl Memory,
        table: &Table,
        name: &str,
        hint: &mut u64,
    ) -> Result<Option<Addr>, Fault> {
        let mut found = None;
        for (from, count) in [(*hint, 1), (0, table.count)] {
            table.entries(memory, from, count, |memory, entry| {
                if self.is_called(memory, entry.key, name)? {
                    *hint = entry.index;
                    found = Some(entry.value_at);
                }
                Ok(found.is_none())
            })?;
            if let Some(value_at) = found {
                let value = Addr(memory.word(value_at)?);
                return Ok((!value.is_null() && value.is_aligned()).then_some(value));
            }
        }
        Ok(None)
    }

    fn is_called(&self, memory: &mut impl Memory, key: Addr, name: &str) -> Result<bool, Fault> {
        // Most keys differ by their length, which costs one read; what is no string at all differs by it, too, or later.
        if memory.word(key.offset(self.layout.str_length.into()))? != name.len() as u64 {
            return Ok(false);
        }
        Ok(str_at(memory, &self.layout, key, "key").is_ok_and(|key| key == name))
    }
}

impl Table {
    /// Passes the entries in use to `visit` until it has had enough.
    pub fn each<M: Memory>(
        &self,
        memory: &mut M,
        visit: impl FnMut(&mut M, Entry) -> Result<bool, Fault>,
    ) -> Result<(), Fault> {
        self.entries(memory, 0, self.count, visit)
    }

    fn entries<M: Memory>(
        &self,
        memory: &mut M,
        from: u64,
        count: u64,
        mut visit: impl FnMut(&mut M, Entry) -> Result<bool, Fault>,
    ) -> Result<(), Fault> {
        let end = from.saturating_add(count).min(self.count);
        let at_once = BATCH_WORDS / self.entry_words;
        let mut index = from;
        while index < end {
            let batch = (end - index).min(at_once as u64) as usize;
            let at = self.entries.offset(index * self.entry_words as u64 * 8);
            memory.load(at, (batch * self.entry_words * 8) as u32)?;
            // Visitors read, too.
            let mut words = [0; BATCH_WORDS];
            for (offset, word) in (0..).step_by(8).zip(&mut words[..batch * self.entry_words]) {
                *word = memory.field(offset);
            }
            for (entry, words) in words[..batch * self.entry_words].chunks_exact(self.entry_words).enumerate()
            {
                let (key, index) = (Addr(words[self.key_word]), index + entry as u64);
                if key.is_null() || !key.is_aligned() {
                    continue;
                }
                let value_at = match self.values {
                    Some(values) => values.offset(index * 8),
                    None => at.offset((entry * self.entry_words + self.key_word + 1) as u64 * 8),
                };
                let hash = if self.key_word == 0 { 0 } else { words[0] };
                if !visit(memory, Entry { hash, key, value_at, index })? {
                    return Ok(());
                }
            }
            index += batch as u64;
        }
        Ok(())
    }
}

/// A pointer that leads somewhere.
pub(super) fn pointer(memory: &mut impl Memory, at: Addr) -> Result<Addr, Fault> {
    let pointer = Addr(memory.word(at)?);
    if pointer.is_null() || !pointer.is_aligned() { Err(Fault) } else { Ok(pointer) }
}
