//! The interpreters that tests take their truth from: one list for all, and none may be missing in silence.
// Each test file uses a part of it.
#![allow(dead_code)]

pub(crate) mod elf;
pub(crate) mod snapshot;
pub(crate) mod stacks;
pub(crate) mod target;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pyunwind::Layout;
use pyunwind::host::versions;

/// Minor versions that the default list must hold.
const MINORS: std::ops::RangeInclusive<u8> = 6..=13;
/// A static build, beside the shared ones.
const STATIC: &str = "/usr/bin/python3.11";

/// The executables in `PYPROF_PYTHONS` (separated by colons), or else one of each version of Python 3 under pyenv's root
/// and the static one of the system. Panics, naming what is missing.
pub(crate) fn interpreters() -> Vec<PathBuf> {
    let found: Vec<PathBuf> = match env::var("PYPROF_PYTHONS") {
        Ok(list) => list.split(':').filter(|path| !path.is_empty()).map(PathBuf::from).collect(),
        Err(_) => MINORS.map(|minor| pyenv(&format!("3.{minor}"))).chain([PathBuf::from(STATIC)]).collect(),
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

fn home() -> PathBuf {
    env::var_os("HOME").expect("HOME is not set").into()
}

/// The newest release of `version` that pyenv installed: its real executable, since a shim is a shell script.
pub(crate) fn pyenv(version: &str) -> PathBuf {
    let root = env::var_os("PYENV_ROOT").map_or_else(|| home().join(".pyenv"), PathBuf::from);
    let versions = root.join("versions");
    let prefix = format!("{version}.");
    fs::read_dir(&versions)
        .unwrap_or_else(|error| panic!("no pyenv versions in {}: {error}", versions.display()))
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let micro: u32 = entry.file_name().to_str()?.strip_prefix(&prefix)?.parse().ok()?;
            Some((micro, entry.path().join(format!("bin/python{version}"))))
        })
        .max()
        .unwrap_or_else(|| panic!("no Python {version} in {}: pyenv install {version}", versions.display()))
        .1
}

/// An interpreter and how it is run, in a file system of its own or not.
#[derive(Clone, Debug)]
pub(crate) struct Python {
    pub(crate) name: String,
    argv: Vec<String>,
    env: Vec<(String, String)>,
    root: PathBuf,
}

impl Python {
    fn at(path: &Path) -> Python {
        let argv = vec![path.to_str().expect("a path of text").to_string()];
        // A build is named by its version: the folder that pyenv made for it, or else its own name.
        let folder = path.ancestors().nth(2).and_then(Path::file_name).unwrap_or_default().to_string_lossy();
        let own = path.file_name().unwrap_or_default().to_string_lossy();
        let name = if folder.contains('.') { format!("pyenv-{folder}") } else { format!("system-{own}") };
        Python { name, argv, env: Vec::new(), root: "/".into() }
    }

    /// 2.7 does not parse the longer script, and the smallest build lacks modules for it.
    pub(crate) fn needs_simple_script(&self) -> bool {
        self.name.starts_with("musl")
            || self
                .argv
                .last()
                .is_some_and(|path| path.rsplit('/').next().unwrap_or(path).starts_with("python2"))
    }

    /// What to run to run `script`, which stands beside this test, from a neutral place in the interpreter's own file
    /// system; without site packages or the user's environment. `-I` would make it deaf for its own.
    pub(crate) fn script(&self, script: &str, folder: &str) -> Command {
        let at = self.root.join("tmp").join(folder);
        fs::create_dir_all(&at).unwrap();
        fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(script), at.join(script)).unwrap();
        let mut command = Command::new(&self.argv[0]);
        command.args(&self.argv[1..]).args(["-S", "-s", "-B"]).arg(format!("/tmp/{folder}/{script}"));
        command.env_clear().envs(self.env.iter().cloned());
        command
    }

    pub(crate) fn remove_script(&self, folder: &str) {
        let _ = fs::remove_dir_all(self.root.join("tmp").join(folder));
    }
}

/// All of [`interpreters`]; unless those were named by `PYPROF_PYTHONS`, also a 2.7 and what `cargo xtask interpreters` has
/// put into its cache.
pub(crate) fn pythons() -> Vec<Python> {
    let mut all: Vec<Python> = interpreters().iter().map(|path| Python::at(path)).collect();
    if env::var_os("PYPROF_PYTHONS").is_none() {
        all.push(Python::at(&pyenv("2.7")));
        all.extend(cached());
    }
    all
}

/// Empty where there is no cache.
fn cached() -> Vec<Python> {
    let Ok(index) = fs::read(home().join(".cache/pyprof-bpf/interpreters/index.json")) else {
        return Vec::new();
    };
    let index: serde_json::Value = serde_json::from_slice(&index).expect("an index of interpreters");
    let rows = index.as_array().expect("a list of interpreters");
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_string();
    rows.iter()
        // Programs that embed Python do not take a script.
        .filter(|row| row["implementation"] == "cpython")
        .filter(|row| !row["name"].as_str().is_some_and(|name| name.starts_with("embedded")))
        .map(|row| Python {
            name: text(&row["name"]),
            argv: row["argv"].as_array().expect("arguments").iter().map(text).collect(),
            env: row["env"]
                .as_object()
                .expect("an environment")
                .iter()
                .map(|(key, value)| (key.clone(), text(value)))
                .collect(),
            root: row["root"].as_str().unwrap_or("/").into(),
        })
        .collect()
}

/// A script beside this test, run by `python` without site packages or the user's environment (`-I` is not for 2.7).
pub(crate) fn script(python: &Path, name: &str) -> Command {
    let mut command = Command::new(python);
    command
        .args(["-E", "-s", "-S", "-B"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name));
    command
}

/// Where the fields of code objects and strings are. 3.13 and later export their own offsets; for those two kinds of object
/// they are those of 3.12 (`Include/cpython/code.h`, `Include/cpython/unicodeobject.h`).
pub(crate) fn layout(minor: u8) -> Layout {
    let known = versions::layout(minor.min(12)).unwrap_or_else(|| panic!("no layout for Python 3.{minor}"));
    assert!(minor <= 15, "no layout for Python 3.{minor}");
    Layout { minor, ..known }
}
