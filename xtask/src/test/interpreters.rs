//! The CPythons that the end-to-end tests run on: one per supported minor version, and a static build.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::interpreters;
use crate::util::{home, is_executable};

/// One interpreter: where its kind is found and how to get it.
struct Wanted {
    minor: u32,
    source: Source,
}

enum Source {
    /// Shared libpython, as pyenv builds it with `--enable-shared`; the patch version is the one to install.
    Pyenv { patch: u32 },
    /// Debian's, with the interpreter linked into the executable.
    Debian,
}

const WANTED: [Wanted; 7] = [
    Wanted { minor: 8, source: Source::Pyenv { patch: 18 } },
    Wanted { minor: 9, source: Source::Pyenv { patch: 18 } },
    Wanted { minor: 10, source: Source::Pyenv { patch: 13 } },
    Wanted { minor: 11, source: Source::Pyenv { patch: 7 } },
    Wanted { minor: 12, source: Source::Pyenv { patch: 1 } },
    Wanted { minor: 13, source: Source::Pyenv { patch: 0 } },
    Wanted { minor: 11, source: Source::Debian },
];

/// Newer than what pyenv has in most places: Debian's, by `cargo xtask interpreters`.
const FETCHED: [&str; 2] = ["sid-3.14", "sid-3.15"];

impl Wanted {
    fn find(&self, pyenv_versions: &Path) -> Option<PathBuf> {
        let name = format!("python3.{}", self.minor);
        let found = match self.source {
            Source::Pyenv { .. } => newest(pyenv_versions, self.minor)?.join("bin").join(name),
            Source::Debian => Path::new("/usr/bin").join(name),
        };
        is_executable(&found).then_some(found)
    }

    fn how_to_get(&self) -> String {
        let minor = self.minor;
        match self.source {
            Source::Pyenv { patch } => {
                format!("PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install 3.{minor}.{patch}")
            }
            Source::Debian => format!("apt-get install python3.{minor}"),
        }
    }
}

/// All that are wanted, or how to get what is missing.
pub(crate) fn find() -> Result<Vec<PathBuf>> {
    let pyenv = match env::var_os("PYENV_ROOT") {
        Some(root) => PathBuf::from(root),
        None => home()?.join(".pyenv"),
    };
    let versions = pyenv.join("versions");
    let mut found = Vec::new();
    let mut missing = Vec::new();
    for wanted in &WANTED {
        match wanted.find(&versions) {
            Some(python) => found.push(python),
            None => missing.push(wanted.how_to_get()),
        }
    }
    if !missing.is_empty() {
        bail!("interpreters are missing; install them with\n  {}", missing.join("\n  "));
    }
    for (name, fetched) in interpreters::look(&FETCHED.map(str::to_owned), true)? {
        let fetched = fetched.with_context(|| format!("failed to get {name}"))?;
        found.push(interpreters::native(&fetched)?);
    }
    Ok(found)
}

/// The directory of the highest patch version, compared as a number.
fn newest(versions: &Path, minor: u32) -> Option<PathBuf> {
    let prefix = format!("3.{minor}.");
    let names =
        fs::read_dir(versions).ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let patch = |name: &String| name.strip_prefix(&prefix)?.parse::<u32>().ok();
    names.filter(|name| patch(name).is_some()).max_by_key(patch).map(|name| versions.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_patch_version_is_taken_by_number() {
        let dir = env::temp_dir().join(format!("pyprof-versions-{}", std::process::id()));
        for name in ["3.1.9", "3.11.9", "3.11.12", "3.11-dev", "3.12.1", "envs"] {
            fs::create_dir_all(dir.join(name)).unwrap();
        }
        let check = |minor, expected: Option<&str>| {
            assert_eq!(newest(&dir, minor), expected.map(|name| dir.join(name)), "3.{minor}");
        };
        check(11, Some("3.11.12"));
        check(12, Some("3.12.1"));
        check(1, Some("3.1.9"));
        check(13, None);
        fs::remove_dir_all(&dir).unwrap();
    }
}
