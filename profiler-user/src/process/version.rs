//! Which CPython a file holds: from its own words where it has any, else from what it exports.

use super::elf::Elf;
use super::symbols::Symbols;

/// Exported functions by the version that brought them. All are public API, so no build option removes them.
const SINCE: &[(u8, &str)] =
    &[(8, "PyInterpreterState_GetDict"), (9, "PyThreadState_GetFrame"), (10, "PyModule_AddObjectRef")];

/// Every name that this file and [`super::facts`] look up: one pass over `.symtab` finds them all.
pub(super) const NAMES: &[&str] = &[
    "_PyRuntime",
    "Py_Version",
    "Py_Initialize",
    "_PyThreadState_Current",
    "PyInt_FromLong",
    "PyOS_FSPath",
    "PyInterpreterState_Head",
    "interp_head",
    SINCE[0].1,
    SINCE[1].1,
    SINCE[2].1,
];

const MAX_STRINGS_BYTES: u64 = 32 << 20;
/// `1234.12.12rc12+` and its NUL.
const MAX_VERSION_CHARS: usize = 16;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Version {
    pub major: u8,
    pub minor: u8,
    pub micro: Option<u8>,
    /// `PY_RELEASE_LEVEL` and serial, 0xf0 for a final release.
    level: u8,
}

impl Version {
    const fn new(major: u8, minor: u8, micro: Option<u8>) -> Self {
        Version { major, minor, micro, level: 0xf0 }
    }

    /// From `PY_VERSION_HEX` (`Include/patchlevel.h`).
    pub(super) const fn from_hex(hex: u32) -> Self {
        let [major, minor, micro, level] = hex.to_be_bytes();
        Version { major, minor, micro: Some(micro), level }
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        if let Some(micro) = self.micro {
            write!(f, ".{micro}")?;
        }
        let serial = self.level & 0xF;
        match self.level >> 4 {
            0xA => write!(f, "a{serial}"),
            0xB => write!(f, "b{serial}"),
            0xC => write!(f, "rc{serial}"),
            _ => Ok(()),
        }
    }
}

/// The version of a CPython that has `_PyRuntime` but no debug offsets, that is 3.7 to 3.12.
pub(super) fn with_runtime(elf: &Elf<'_>, symbols: &Symbols<'_, '_>) -> Option<Version> {
    if let Some(hex) = symbols.get("Py_Version").and_then(|symbol| word(elf, symbol.vaddr))
        && hex >> 24 == 3
    {
        return u32::try_from(hex).ok().map(Version::from_hex);
    }
    if symbols.has("Py_Initialize") {
        let minor = SINCE.iter().rev().find(|(_, name)| symbols.has(name)).map_or(7, |(minor, _)| *minor);
        let micro = unique_version(elf, 3, |found| found == minor).and_then(|version| version.micro);
        return Some(Version::new(3, minor, micro));
    }
    // Embedded and stripped: only the string that `Py_GetVersion` prints is left.
    unique_version(elf, 3, |minor| (7..=12).contains(&minor))
}

/// The version of a CPython from before `_PyRuntime`: 2.x, and 3.6 or older.
pub(super) fn without_runtime(elf: &Elf<'_>, symbols: &Symbols<'_, '_>) -> Version {
    if symbols.has("PyInt_FromLong") {
        return unique_version(elf, 2, |minor| minor <= 7).unwrap_or(Version::new(2, 7, None));
    }
    // os.fspath came with 3.6.
    if symbols.has("PyOS_FSPath") {
        let micro = unique_version(elf, 3, |minor| minor == 6).and_then(|version| version.micro);
        return Version::new(3, 6, micro);
    }
    unique_version(elf, 3, |minor| minor <= 5).unwrap_or(Version::new(3, 5, None))
}

/// The version of a 3.x of which nothing but its strings is left.
pub(super) fn by_strings(elf: &Elf<'_>) -> Option<Version> {
    unique_version(elf, 3, |minor| (6..=12).contains(&minor))
}

fn word(elf: &Elf<'_>, vaddr: u64) -> Option<u64> {
    elf.file.array(elf.offset_of(vaddr, 8)?).ok().map(u64::from_le_bytes)
}

/// The only `major.minor.micro` among the constants with such a minor, if there is exactly one.
fn unique_version(elf: &Elf<'_>, major: u8, minor: impl Fn(u8) -> bool) -> Option<Version> {
    let (offset, bytes) = match elf.section(".rodata") {
        Some(section) => (section.offset, section.bytes),
        // Without sections: the first segment that is readable only and lies behind code, as linkers lay them out.
        None => elf
            .segments
            .iter()
            .rev()
            .find(|segment| segment.flags == libc::PF_R)
            .map(|segment| (segment.offset, segment.file_bytes))?,
    };
    let mut found: Option<Version> = None;
    let mut ambiguous = false;
    let scanned = elf.file.scan(offset, bytes.min(MAX_STRINGS_BYTES), MAX_VERSION_CHARS + 1, |_, chunk| {
        for (end, _) in chunk.iter().enumerate().filter(|(_, byte)| **byte == 0) {
            let start = end.saturating_sub(MAX_VERSION_CHARS);
            let Some(version) = version_at_end(&chunk[start..end], major) else { continue };
            if minor(version.minor) {
                ambiguous |= found.is_some_and(|other| other != version);
                found = Some(version);
            }
        }
        ambiguous
    });
    found.filter(|_| scanned.is_ok() && !ambiguous)
}

/// Reads the version that a string ends with. What stands before it does not matter (linkers let `3.8.1` share the
/// tail of `/opt/python-3.8.1`), unless it continues the number.
fn version_at_end(text: &[u8], major: u8) -> Option<Version> {
    let is_version = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
    if !text.last().is_some_and(|byte| byte.is_ascii_digit() || *byte == b'+') {
        return None;
    }
    let text = text.strip_suffix(b"+").unwrap_or(text);
    let start = text.iter().rposition(|byte| !is_version(byte)).map_or(0, |at| at + 1);
    // The whole window is digits and dots: its start may be cut off.
    if start == 0 && text.len() >= MAX_VERSION_CHARS - 1 {
        return None;
    }
    let mut parts = std::str::from_utf8(&text[start..]).ok()?.split('.').map(|part| {
        let sane = (1..=2).contains(&part.len()) && (part.len() == 1 || !part.starts_with('0'));
        part.parse::<u8>().ok().filter(|_| sane)
    });
    let version = Version::new(parts.next()??, parts.next()??, Some(parts.next()??));
    (parts.next().is_none() && version.major == major).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_end_of_a_string() {
        fn check(text: &str, expected: Option<&str>) {
            let found = version_at_end(text.as_bytes(), 3).map(|version| version.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        }
        check("3.8.18", Some("3.8.18"));
        check("versions/3.8.18", Some("3.8.18"));
        check("Python-3.10.2+", Some("3.10.2"));
        check("13.8.1", None);
        check("2.3.8.1", None);
        check("3.8.1.2", None);
        check("3.8", None);
        check("3.8.", None);
        check("3.08.1", None);
        check("3.8.100", None);
        check("", None);
        check("+", None);
        check("2.7.18", None);
        check("3.3.3.3.3.3.3.3.", None);
        check("003.3.3.3.3.3.3.", None);
    }

    #[test]
    fn hex_versions_name_their_level() {
        for (hex, expected) in [
            (0x030d_00f0, "3.13.0"),
            (0x030b_02f0, "3.11.2"),
            (0x030f_00a3, "3.15.0a3"),
            (0x030e_00c1, "3.14.0rc1"),
        ] {
            assert_eq!(Version::from_hex(hex).to_string(), expected);
        }
    }
}
