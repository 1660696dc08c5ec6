//! Interpreters built into other programs, down to those of which every name was stripped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use profiler_user::process::{FactsCache, Inspection, inspect, process_name};

use super::{PARK, Parked, Scratch, pyenv};

/// What was taken out of the program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stripped {
    Nothing,
    Symbols,
    /// And the name of the section that holds `_PyRuntime`.
    SectionName,
    /// And all section headers, as packers do.
    Sections,
}
use Stripped::{Nothing, SectionName, Sections, Symbols};

/// `PY_VERSION_HEX` in the debug offsets, and an offset there, overwritten: what an interpreter of another release would say.
const VERSION_AT: usize = 8;
const INTERPRETERS_HEAD_AT: usize = 40;

/// What must be found: the version, or how the program is called that cannot be followed.
enum Found {
    Python(&'static str),
    Named(&'static str),
}
use Found::{Named, Python};

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}

/// A program with the static library of a version in it.
fn build(version: &str, stripped: Stripped, directory: &Path) -> PathBuf {
    let (source, program) = (directory.join("host.c"), directory.join("host"));
    let code = "int Py_BytesMain(int, char **); int main(int n, char **v) { return Py_BytesMain(n, v); }";
    fs::write(&source, code).unwrap();
    let home = pyenv(version).parent().unwrap().parent().unwrap().to_owned();
    let minor = &version[..version.rfind('.').unwrap()];
    let archive = home.join(format!("lib/python{minor}/config-{minor}-x86_64-linux-gnu/libpython{minor}.a"));
    let mut gcc = Command::new("gcc");
    gcc.args([&source, &archive]).arg("-o").arg(&program).args(["-lm", "-lpthread", "-ldl", "-lutil"]);
    run(gcc.args((stripped != Nothing).then_some("-s")));
    match stripped {
        Nothing | Symbols => {}
        SectionName => {
            run(Command::new("objcopy").args(["--rename-section", ".PyRuntime=.data9"]).arg(&program))
        }
        Sections => {
            // e_shoff, e_shnum and e_shstrndx of the header (`elf.h`).
            let mut bytes = fs::read(&program).unwrap();
            bytes[0x28..0x30].fill(0);
            bytes[0x3c..0x40].fill(0);
            fs::write(&program, bytes).unwrap();
        }
    }
    program
}

fn check(version: &str, stripped: Stripped, expected: Found) {
    let directory = Scratch::new(&format!("embedded-{version}-{stripped:?}"));
    let program = build(version, stripped, &directory.0);
    let home = pyenv(version).parent().unwrap().parent().unwrap().to_owned();
    let parked = Parked::start(Command::new(&program).env("PYTHONHOME", &home).args(["-c", PARK, "secret"]));
    let row = format!("{version} without {stripped:?}");
    match (inspect(parked.pid(), &mut FactsCache::new()), expected) {
        // The program exports nothing, so it cannot say its own address: that the links hold is the proof.
        (Ok(Inspection::Python(image)), Python(expected)) => {
            assert!(image.initialized && image.runtime == image.executable && image.verified, "{row}");
            assert_eq!(image.version_text, expected, "{row}");
        }
        (Ok(Inspection::Unsupported { what }), Named(expected)) => assert_eq!(what, expected, "{row}"),
        (found, _) => panic!("{row}: {found:?}"),
    }
    assert_eq!(process_name(parked.pid()).unwrap(), "host");
}

#[test]
fn found_or_named_whatever_was_stripped() {
    check("3.8.18", Nothing, Python("3.8.18"));
    check("3.9.18", Nothing, Python("3.9.18"));
    check("3.11.7", Nothing, Python("3.11.7"));
    check("3.13.0", Nothing, Python("3.13.0"));
    // 3.10 brought the section. Of an older one without symbols only its messages are left.
    check("3.8.18", Symbols, Named("CPython 3.8.18 whose symbols and sections were stripped"));
    check("3.9.18", Symbols, Named("CPython 3.9.18 whose symbols and sections were stripped"));
    check("3.10.13", Symbols, Python("3.10.13"));
    check("3.11.7", Symbols, Python("3.11.7"));
    check("3.12.1", Symbols, Python("3.12.1"));
    check("3.13.0", Symbols, Python("3.13.0"));
    // 3.13 brought the cookie.
    check("3.11.7", SectionName, Named("CPython 3.11.7 whose symbols and sections were stripped"));
    check("3.13.0", SectionName, Python("3.13.0"));
    check("3.12.1", Sections, Named("CPython 3.12.1 whose symbols and sections were stripped"));
    check("3.13.0", Sections, Python("3.13.0"));
}

/// A program with 3.13 in it whose debug offsets say something else at one place.
fn says_otherwise(at: usize, value: u64) -> Result<Inspection, String> {
    let directory = Scratch::new(&format!("otherwise-{at}-{value}"));
    let program = build("3.13.0", Symbols, &directory.0);
    let mut bytes = fs::read(&program).unwrap();
    // The cookie and the version: the cookie alone also stands among the constants.
    let head = [&b"xdebugpy"[..], &0x030d_00f0_u64.to_le_bytes()].concat();
    let table = bytes.windows(16).position(|window| window == head).unwrap();
    bytes[table + at..][..8].copy_from_slice(&value.to_le_bytes());
    fs::write(&program, bytes).unwrap();
    let home = pyenv("3.13.0").parent().unwrap().parent().unwrap().to_owned();
    let parked = Parked::start(Command::new(&program).env("PYTHONHOME", &home).args(["-c", PARK]));
    inspect(parked.pid(), &mut FactsCache::new()).map_err(|error| error.to_string())
}

#[test]
fn another_release_is_followed_unverified_or_refused_with_its_reason() {
    // A release candidate has the structures of the release.
    match says_otherwise(VERSION_AT, 0x030d_00c1) {
        Ok(Inspection::Python(image)) => {
            assert_eq!((image.version_text.as_str(), image.verified), ("3.13.0rc1", false));
            assert!(image.initialized);
        }
        other => panic!("{other:?}"),
    }
    let rows = [
        // No table of such a version is known.
        (VERSION_AT, 0x0363_00f0, "CPython 3.99.0"),
        (INTERPRETERS_HEAD_AT, 633, "CPython 3.13.0"),
        // Where there is no interpreter, but where the offsets are plausible.
        (INTERPRETERS_HEAD_AT, 8, "CPython 3.13.0 whose structures are not where they should be"),
    ];
    for (at, value, expected) in rows {
        match says_otherwise(at, value) {
            Ok(Inspection::Unsupported { what }) => {
                assert!(what.starts_with(expected), "{at} {value}: {what}");
                eprintln!("{what}");
            }
            other => panic!("{at} {value}: {other:?}"),
        }
    }
}
