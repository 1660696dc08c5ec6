//! ELF files that lie: what is in them is found, or not, with few reads and little memory.
#![no_main]

use std::path::{Path, PathBuf};
use std::{env, fs};

use profiler_user::process::elf::Segment;
use profiler_user::process::facts::{ElfFacts, Runtime};
use profiler_user::process::file::Located;
use pyprof_fuzz::alloc::within;
use pyprof_fuzz::elf::{Names, Place, Spec, build};
use pyprof_fuzz::file::{self, Reads, Sparse, with_file};
use pyprof_fuzz::{file_target, snapshots};

file_target!(seeds, check);

/// Thirteen names are looked up, each along a chain of 4,096 symbols, three reads each; the libraries that are needed; and
/// what is searched, in pieces.
const MOST: Reads = Reads {
    count: 13 * (4 + 4096 * 3) + 600 + MOST_SEARCHED_BYTES / (100 << 10),
    bytes: MOST_SEARCHED_BYTES + (16 << 20),
};
/// Symbols and their names, versions twice, the cookie and messages.
const MOST_SEARCHED_BYTES: u64 = (64 + 64 + 4 * 32) << 20;
/// The table of sections as it is and as it is read, their names, and a piece that is searched.
const MOST_HELD_BYTES: usize = 4 << 20;
const MOST_SEGMENTS: usize = 128;

fn check(data: &[u8]) {
    let sparse = Sparse::decode(data);
    let once = || with_file(&sparse, MOST, |path| within(MOST_HELD_BYTES, || facts(path)));
    let facts = once();
    if let Some(facts) = &facts {
        assert!(facts.segments.len() <= MOST_SEGMENTS, "{} segments", facts.segments.len());
        assert_eq!(facts.segments, segments(&sparse));
        if let Some(id) = &facts.build_id {
            let digits = id.bytes().filter(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')).count();
            assert!(digits == id.len() && (2..=128).contains(&digits) && digits % 2 == 0, "{id:?}");
        }
        if let Runtime::Unsupported(name) = &facts.runtime {
            let plain = name.bytes().all(|byte| matches!(byte, b' '..=b'~'));
            assert!(plain && (1..=300).contains(&name.len()), "{name:?}");
        }
    }
    // Twice as slow, so not for all.
    if data.len().is_multiple_of(4) {
        assert_eq!(format!("{facts:?}"), format!("{:?}", once()));
    }
}

fn facts(path: &Path) -> Option<ElfFacts> {
    ElfFacts::read(&Located::open(path, true).ok()?.read().ok()?).ok()
}

/// `PT_LOAD` of the program headers.
fn segments(sparse: &Sparse<'_>) -> Vec<Segment> {
    let bytes = |at: u64, len: usize| {
        let mut bytes = vec![0; len];
        sparse.read(at, &mut bytes);
        bytes
    };
    let word = |at: u64| bytes(at, 8).iter().rev().fold(0_u64, |word, byte| word << 8 | u64::from(*byte));
    let (table, count) = (word(32), word(56) & 0xffff);
    let entries = (0..count).map(|number| table + number * 56);
    let loaded = entries.filter(|at| word(*at) as u32 == 1);
    let segment = |at| Segment {
        flags: (word(at) >> 32) as u32,
        offset: word(at + 8),
        vaddr: word(at + 16),
        file_bytes: word(at + 32),
        memory_bytes: word(at + 40),
    };
    loaded.map(segment).collect()
}

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = made();
    seeds.extend(snapshots::all().iter().filter(|recorded| !recorded.offsets.is_empty()).flat_map(
        |recorded| {
            let spec = |names, symbols, data| Spec { names, symbols, data, ..EMPTY };
            let far = [&[0; 24][..], &recorded.offsets].concat();
            [
                expect(
                    &spec(
                        Names::GnuHash,
                        &[("x", Place::Code), ("_PyRuntime", Place::Data(0))],
                        &recorded.offsets,
                    ),
                    "3.1",
                ),
                expect(&spec(Names::Stripped, &[], &far), "3.1"),
            ]
        },
    ));
    seeds.extend(real().iter().filter_map(|path| {
        let size_bytes = fs::metadata(path).ok()?.len();
        let pieces = file::recorded(|| drop(facts(path)));
        let bytes: usize = pieces.iter().map(|(_, bytes)| bytes.len() + 10).sum();
        (bytes < MOST_RECORDED_BYTES).then(|| file::encode(size_bytes, false, &pieces))
    }));
    seeds
}

/// Larger inputs are too slow to be of use.
const MOST_RECORDED_BYTES: usize = 14 << 10;

/// This program, what it is linked to, and Pythons that are there: not the same everywhere, but more than what is made.
fn real() -> Vec<PathBuf> {
    let mut files = vec![PathBuf::from("/proc/self/exe")];
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    files.extend(
        maps.lines().filter_map(|line| line.split_once('/')).map(|(_, path)| format!("/{path}").into()),
    );
    let home = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let kept = home.join(".cache/pyprof-bpf/interpreters");
    let folders = [home.join(".pyenv/versions"), kept];
    for version in folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten() {
        for below in ["lib", "bin", "root/usr/local/lib", "root/usr/local/bin", "root/usr/bin"] {
            let Ok(entries) = fs::read_dir(version.path().join(below)) else { continue };
            let is_python = |path: &PathBuf| path.to_string_lossy().contains("python");
            files.extend(entries.flatten().map(|entry| entry.path()).filter(is_python));
        }
    }
    files.retain(|path| path.is_file() && (path.starts_with("/proc") || !path.is_symlink()));
    files.sort();
    files.dedup();
    files
}

const EMPTY: Spec<'static> = Spec {
    names: Names::Stripped,
    symbols: &[],
    soname: "",
    needed: "",
    code: b"",
    constants: b"",
    data: b"",
    section: "",
};

/// One for each way in which a Python is found.
fn made() -> Vec<Vec<u8>> {
    use Names::{GnuHash, Stripped, Symtab, SysvHash};
    use Place::{Code, Data};
    // `endbr64; mov rax, [rip + 8]; ret`
    let head_of_list = b"\xf3\x0f\x1e\xfa\x48\x8b\x05\x08\0\0\0\xc3\0\0\0\0\0\0\0\0\0\0\0\0";
    let hex = 0x030c_01f0_u64.to_le_bytes();
    let runtime = ("_PyRuntime", Data(0));
    let since_8 = [runtime, ("Py_Initialize", Code), ("PyInterpreterState_GetDict", Code)];
    let python_2 =
        [("_PyThreadState_Current", Data(8)), ("PyInt_FromLong", Code), ("PyInterpreterState_Head", Code)];
    let python_3_6 = [("_PyThreadState_Current", Data(8)), ("interp_head", Data(0)), ("PyOS_FSPath", Code)];
    let messages = b"Fatal Python error: \0PYTHONHASHSEED must be\0003.9.18\0";
    let versioned = [("Py_Version", Data(0)), runtime];
    let rows = [
        (Spec { names: Symtab, symbols: &versioned, data: &hex, section: ".PyRuntime", ..EMPTY }, "3.12.1"),
        (Spec { names: Symtab, symbols: &since_8, constants: b"x\x003.8.18\0", ..EMPTY }, "3.8"),
        (Spec { names: SysvHash, symbols: &since_8, constants: b"/opt/3.8.18\0", ..EMPTY }, "3.8"),
        (
            Spec { names: GnuHash, symbols: &python_2, code: head_of_list, constants: b"2.7.18\0", ..EMPTY },
            "2.7",
        ),
        (Spec { names: SysvHash, symbols: &python_2, code: head_of_list, ..EMPTY }, "2.7"),
        (Spec { names: Symtab, symbols: &python_3_6, constants: b"3.6.15+\0", ..EMPTY }, "3.6"),
        (Spec { names: Stripped, constants: messages, ..EMPTY }, "stripped"),
        (Spec { names: GnuHash, soname: "libpypy3.9-c.so", ..EMPTY }, "PyPy 3.9"),
        (Spec { names: SysvHash, needed: "libpythonvm.so", ..EMPTY }, "GraalPy"),
        (Spec { names: GnuHash, symbols: &[("malloc", Code)], soname: "libc.so.6", ..EMPTY }, "None"),
    ];
    rows.iter().map(|(spec, found)| expect(spec, found)).collect()
}

/// A seed in which nothing is found teaches nothing.
fn expect(spec: &Spec<'_>, found: &str) -> Vec<u8> {
    let seed = build(spec);
    let facts = with_file(&Sparse::decode(&seed), MOST, facts);
    let facts = facts.expect("an ELF file");
    assert!(facts.build_id.is_some_and(|id| id.len() == 40));
    let text = match &facts.runtime {
        Runtime::CPython(python) => python.version.to_string(),
        other => format!("{other:?}"),
    };
    assert!(text.contains(found), "{text}, not {found}");
    seed
}
