//! The interpreters that tests take their truth from: one list for all, and none may be missing in silence.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pyunwind::Layout;
use pyunwind::host::versions;

/// Minor versions that the default list must hold.
const MINORS: std::ops::RangeInclusive<u8> = 8..=13;
/// A static build, beside the shared ones.
const STATIC: &str = "/usr/bin/python3.11";

/// The executables in `PYPROF_PYTHONS` (separated by colons), or else one of each version under pyenv's root and the
/// static one of the system. Panics, naming what is missing.
pub(crate) fn interpreters() -> Vec<PathBuf> {
    let found: Vec<PathBuf> = match env::var("PYPROF_PYTHONS") {
        Ok(list) => list.split(':').filter(|path| !path.is_empty()).map(PathBuf::from).collect(),
        Err(_) => MINORS.map(pyenv).chain([PathBuf::from(STATIC)]).collect(),
    };
    assert!(!found.is_empty(), "PYPROF_PYTHONS names no interpreter");
    for path in &found {
        assert!(
            path.is_file(),
            "no Python interpreter at {}: install it or set PYPROF_PYTHONS",
            path.display()
        );
    }
    found
}

/// The newest 3.`minor` that pyenv installed: its real executable, since a shim is a shell script.
fn pyenv(minor: u8) -> PathBuf {
    let root = env::var_os("PYENV_ROOT").map(PathBuf::from).unwrap_or_else(|| {
        let home = env::var_os("HOME").expect("neither PYENV_ROOT nor HOME is set");
        Path::new(&home).join(".pyenv")
    });
    let versions = root.join("versions");
    let prefix = format!("3.{minor}.");
    fs::read_dir(&versions)
        .unwrap_or_else(|error| panic!("no pyenv versions in {}: {error}", versions.display()))
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let micro: u32 = entry.file_name().to_str()?.strip_prefix(&prefix)?.parse().ok()?;
            Some((micro, entry.path().join(format!("bin/python3.{minor}"))))
        })
        .max()
        .unwrap_or_else(|| panic!("no Python 3.{minor} in {}: pyenv install 3.{minor}", versions.display()))
        .1
}

/// A script beside this test, run by `python` without site packages or the user's environment.
pub(crate) fn script(python: &Path, name: &str) -> Command {
    let mut command = Command::new(python);
    command.args(["-I", "-S"]).arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name));
    command
}

/// Where the fields of code objects and strings are. 3.13 and later export their own offsets; for those two kinds of object
/// they are those of 3.12 (`Include/cpython/code.h`, `Include/cpython/unicodeobject.h`).
pub(crate) fn layout(minor: u8) -> Layout {
    let known = versions::layout(minor.min(12)).unwrap_or_else(|| panic!("no layout for Python 3.{minor}"));
    assert!(minor <= 15, "no layout for Python 3.{minor}");
    Layout { minor, ..known }
}
