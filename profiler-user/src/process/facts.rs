//! What a file means to this program: the CPython it holds, or why it is none that can be read.

use pyunwind::Layout;
use pyunwind::host::debug_offsets::{self, DebugOffsetsError};
use pyunwind::host::versions;

use super::elf::{Elf, ElfError, Segment};
use super::file::RegularFile;
use super::legacy;
use super::nameless;
use super::symbols::{Symbols, static_symbols};
use super::version::{self, NAMES, Version};

/// A CPython that can be unwound.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CPython {
    pub version: Version,
    pub layout: Layout,
    /// Where `_PyRuntime` is, before relocation.
    pub runtime_vaddr: u64,
    /// A version that the tests run on, not a later one or a pre-release that says where its fields are.
    pub verified: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Runtime {
    None,
    CPython(CPython),
    /// Found, but not to be unwound: its name.
    Unsupported(String),
}

#[derive(Debug)]
pub struct ElfFacts {
    pub runtime: Runtime,
    /// The loadable segments.
    pub segments: Vec<Segment>,
    /// The linker will map a libpython as well.
    pub needs_libpython: bool,
    /// As hexadecimal digits.
    pub build_id: Option<String>,
}

impl ElfFacts {
    pub fn read(file: &RegularFile) -> Result<Self, ElfError> {
        let elf = Elf::read(file)?;
        let runtime = runtime(&elf);
        Ok(ElfFacts {
            runtime,
            needs_libpython: elf.needed.iter().any(|name| name.starts_with("libpython")),
            build_id: elf.build_id.as_ref().map(|id| id.iter().map(|byte| format!("{byte:02x}")).collect()),
            segments: elf.segments,
        })
    }
}

fn runtime(elf: &Elf<'_>) -> Runtime {
    let dynamic = Symbols::Dynamic(elf);
    if let Some(name) = other_python(elf, &dynamic) {
        return Runtime::Unsupported(name);
    }
    if let Some(symbol) = dynamic.get("_PyRuntime") {
        return classify(elf, &dynamic, symbol.vaddr);
    }
    if dynamic.has("_PyThreadState_Current") {
        return before_runtime(elf, &dynamic);
    }
    // The section is cheaper to find than a symbol in `.symtab`, and stripping does not remove it.
    let section = elf.section(".PyRuntime").map(|section| section.vaddr);
    let table = Symbols::Static(static_symbols(elf, NAMES));
    if let Some(vaddr) = section.or_else(|| table.get("_PyRuntime").map(|symbol| symbol.vaddr)) {
        return classify(elf, &table, vaddr);
    }
    if table.has("_PyThreadState_Current") {
        return before_runtime(elf, &table);
    }
    if !nameless::may_hold_python(elf) {
        return Runtime::None;
    }
    match nameless::cookie(elf) {
        Some(vaddr) => classify(elf, &table, vaddr),
        None => nameless::by_messages(elf).map_or(Runtime::None, Runtime::Unsupported),
    }
}

/// Another implementation of Python.
fn other_python(elf: &Elf<'_>, symbols: &Symbols<'_, '_>) -> Option<String> {
    // Builds without a soname exist; then the small program that needs the library tells.
    let mut names = elf.soname.iter().chain(&elf.needed).map(String::as_str);
    // GraalPy as a native program: `bin/graalpy` loads `lib/libpythonvm.so`.
    if names.clone().any(|name| name.starts_with("libpythonvm.")) {
        return Some("GraalPy".to_owned());
    }
    let soname = names.find(|name| name.starts_with("libpypy"));
    if soname.is_none() && !symbols.has("pypy_execute_source") && !symbols.has("pypy_main_startup") {
        return None;
    }
    // libpypy3.9-c.so; the language version is all that the name tells.
    let language = soname.and_then(|name| name.strip_prefix("libpypy")?.split_once('-')).map(|(it, _)| it);
    Some(match language.filter(|it| !it.is_empty() && it.bytes().all(|b| b.is_ascii_digit() || b == b'.')) {
        Some(language) => format!("PyPy {language}"),
        None => "PyPy".to_owned(),
    })
}

fn classify(elf: &Elf<'_>, symbols: &Symbols<'_, '_>, runtime_vaddr: u64) -> Runtime {
    let supported =
        |version, layout, verified| Runtime::CPython(CPython { version, layout, runtime_vaddr, verified });
    if let Some(table) = debug_offsets_table(elf, runtime_vaddr)
        && let Some((hex, free_threaded)) = debug_offsets::version(&table)
    {
        let version = Version::from_hex(hex);
        let reason = match debug_offsets::parse(&table) {
            Ok(layout) => return supported(version, layout, debug_offsets::is_verified(hex)),
            Err(DebugOffsetsError::UnknownVersion(_)) => String::new(),
            Err(error) => format!(" ({error})"),
        };
        let kind = if free_threaded { "free-threaded " } else { "" };
        return Runtime::Unsupported(format!("{kind}CPython {version}{reason}"));
    }
    let Some(version) = version::with_runtime(elf, symbols) else {
        return Runtime::Unsupported("CPython 3 of unknown version (stripped)".to_owned());
    };
    match versions::layout(version.minor) {
        Some(layout) => supported(version, layout, true),
        None => Runtime::Unsupported(format!("CPython {version}")),
    }
}

/// A CPython that has no `_PyRuntime` yet.
fn before_runtime(elf: &Elf<'_>, symbols: &Symbols<'_, '_>) -> Runtime {
    let version = version::without_runtime(elf, symbols);
    match legacy::layout(elf, symbols, &version) {
        Some((runtime_vaddr, layout)) => {
            Runtime::CPython(CPython { version, layout, runtime_vaddr, verified: true })
        }
        None => Runtime::Unsupported(format!("CPython {version}")),
    }
}

/// What stands at the start of `_PyRuntime` in the file; `None` where it is not initialised data.
fn debug_offsets_table(elf: &Elf<'_>, runtime_vaddr: u64) -> Option<Vec<u8>> {
    let offset = elf.offset_of(runtime_vaddr, 24)?;
    // A segment may claim to be behind the end of the file.
    let len = elf.file.size_bytes().saturating_sub(offset).min(debug_offsets::MAX_BYTES as u64);
    elf.file.bytes(offset, len).ok()
}

#[cfg(test)]
#[path = "facts_tests.rs"]
mod tests;
