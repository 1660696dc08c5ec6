//! Whether a mapping that a process has just made may bring a Python into it.

use super::cache::{Dull, FactsCache};
use super::facts::Runtime;
use super::maps::Mapping;
use super::open::open_mapped;
use super::python::mapping_key;

/// Looks at the one file behind the mapping, and at nothing at all if the file is known to be dull. `true` where the file
/// holds a Python, or cannot be looked at by now: then the whole process has to be inspected.
pub fn may_bring_python(pid: u32, mapping: &Mapping<'_>, cache: &mut FactsCache) -> bool {
    if mapping.inode == 0 || !mapping.path.starts_with(b"/") {
        return false;
    }
    let key = mapping_key(cache, mapping);
    if cache.dull(&key).is_some() {
        return false;
    }
    let Ok(located) = open_mapped(pid, mapping) else { return true };
    let device = libc::makedev(mapping.device.0, mapping.device.1);
    // As in `inspect`: another file may be mapped there by now, and nothing is learnt from that one.
    let is_the_file = (located.key.device, located.key.inode) == (device, mapping.inode);
    match cache.facts(&located) {
        Ok(Some(facts)) if facts.runtime != Runtime::None => true,
        Ok(known) => {
            if is_the_file {
                let needs_libpython = known.is_some_and(|facts| facts.needs_libpython);
                cache.set_dull(key, Dull { needs_libpython });
            }
            false
        }
        // Unreadable or of another machine: nothing that could be unwound.
        Err(_) => false,
    }
}
