//! What a program needs to run elsewhere: itself, its libraries, and for an interpreter its standard library. Asked of the
//! dynamic linker and of the interpreter, not guessed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::archive::Archive;
use crate::util::{command, output};

/// Directories of a standard library that no workload imports from, and that make up most of it.
pub(super) const LEFT_OUT: [&str; 11] = [
    "test",
    "tests",
    "idlelib",
    "lib2to3",
    "ensurepip",
    "site-packages",
    "dist-packages",
    "tkinter",
    "turtledemo",
    "pydoc_data",
    "venv",
];

/// What an interpreter says of itself, with every extension module that it has loaded.
#[derive(Deserialize)]
struct Facts {
    library: PathBuf,
    mapped: Vec<PathBuf>,
}

const ASK: &str = "
import json, os, sys
library = os.path.dirname(os.__file__)
directory = os.path.join(library, 'lib-dynload')
for name in sorted(os.listdir(directory)) if os.path.isdir(directory) else ():
    if not name.startswith(('_test', '_tkinter', '_ctypes_test', 'xx', '_xx')):
        try:
            __import__(name.split('.')[0])
        except Exception:
            pass
mapped = set(line.split(None, 5)[5].rstrip() for line in open('/proc/self/maps') if '/' in line)
print(json.dumps({'library': library, 'mapped': sorted(mapped)}))
";

pub(super) fn program(archive: &mut Archive, path: &Path) -> Result<()> {
    archive.add(path)?;
    // With this set, the dynamic linker says what it would load, instead of running the program (ld.so(8)).
    let said = output(command(path).env("LD_TRACE_LOADED_OBJECTS", "1"))
        .with_context(|| format!("failed to ask for the libraries of {}", path.display()))?;
    let of_line = |line: &str| -> Option<PathBuf> {
        let (before, _address) = line.rsplit_once(" (0x")?;
        let path = before.rsplit_once("=> ").map_or(before, |(_, path)| path).trim();
        path.starts_with('/').then(|| PathBuf::from(path))
    };
    said.lines().filter_map(of_line).try_for_each(|library| archive.add(&library))
}

/// Whether a file or directory of a standard library is.
pub(super) fn is_wanted(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let left_out = LEFT_OUT.contains(&name.as_str())
        || name.starts_with("config-")
        || [".opt-1.pyc", ".opt-2.pyc", ".a", ".exe"].iter().any(|end| name.ends_with(end));
    !left_out
}

pub(super) fn interpreter(archive: &mut Archive, path: &Path) -> Result<()> {
    program(archive, path)?;
    let said = output(command(path).args(["-I", "-S", "-c", ASK]))
        .with_context(|| format!("failed to ask {} what it consists of", path.display()))?;
    let Facts { library, mapped } = serde_json::from_str(&said).context("an interpreter said no JSON")?;
    archive.tree(&library, &is_wanted)?;
    let mut directories = BTreeSet::new();
    for file in mapped.iter().filter(|file| file.exists()) {
        archive.add(file)?;
        directories.extend(file.parent().map(Path::to_owned));
    }
    // A mapping has the name of the file; the dynamic linker will look for the link that has the library's.
    for directory in directories {
        for entry in fs::read_dir(&directory)?.flatten() {
            let link = entry.path();
            if entry.file_type()?.is_symlink() && link.canonicalize().is_ok_and(|file| mapped.contains(&file))
            {
                archive.add(&link)?;
            }
        }
    }
    Ok(())
}
