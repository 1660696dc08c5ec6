//! The interpreters that every test runs against.

use std::fmt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Python {
    pub path: PathBuf,
    pub minor: u8,
    /// As the interpreter states it: "3.11.2".
    pub version: String,
    /// The runtime is in the executable itself, not in a libpython.
    pub is_static: bool,
}

impl fmt::Display for Python {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.version, if self.is_static { " static" } else { "" })
    }
}

/// Every minor version that must be there, and the static build; unless `PYPROF_FEWER` says that fewer are meant.
const REQUIRED: [u8; 6] = [8, 9, 10, 11, 12, 13];
/// The oldest version whose standard library has what the targets of the tests need.
const OLDEST: u8 = 8;

/// Debian's static build also says `Py_ENABLE_SHARED`, so what is mapped decides.
const ASK: &str = "import sys\nprint('%d %d.%d.%d %d' % (sys.version_info[1:2] + sys.version_info[:3] + \
                   ('libpython' not in open('/proc/self/maps').read(),)))";

fn ask(path: PathBuf) -> Option<Python> {
    let output = Command::new(&path).args(["-I", "-S", "-c", ASK]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut words = text.split_whitespace();
    let minor = words.next()?.parse().ok()?;
    let version = words.next()?.to_owned();
    Some(Python { path, minor, version, is_static: words.next()? == "1" })
}

fn default_paths() -> Vec<PathBuf> {
    let root = std::env::var_os("PYENV_ROOT")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".pyenv"));
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(root.join("versions")).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let mut parts = name.split('.');
        if let (Some("3"), Some(minor)) = (parts.next(), parts.next()) {
            paths.push(entry.path().join(format!("bin/python3.{minor}")));
        }
    }
    paths.push("/usr/bin/python3.11".into());
    paths
}

/// All interpreters, oldest first; a required one that is missing fails the test by name.
pub fn pythons() -> Vec<Python> {
    let paths = match std::env::var_os("PYPROF_PYTHONS") {
        Some(list) => std::env::split_paths(&list).collect(),
        None => default_paths(),
    };
    let given = std::env::var_os("PYPROF_PYTHONS").is_some();
    let mut pythons: Vec<Python> = paths
        .into_iter()
        .filter_map(|path| {
            let python = ask(path.clone());
            assert!(
                python.is_some() || !given,
                "PYPROF_PYTHONS names {}, which is no Python",
                path.display()
            );
            python
        })
        .filter(|python| python.minor >= OLDEST)
        .collect();
    pythons.sort_by_key(|python| (python.minor, python.is_static));
    if std::env::var_os("PYPROF_FEWER").is_some() {
        assert!(!pythons.is_empty(), "no interpreters");
        return pythons;
    }
    for minor in REQUIRED {
        assert!(
            pythons.iter().any(|python| python.minor == minor && !python.is_static),
            "CPython 3.{minor} (shared libpython) is missing: set PYPROF_PYTHONS or install it with pyenv"
        );
    }
    assert!(
        pythons.iter().any(|python| python.is_static),
        "a static CPython is missing: apt-get install python3.11"
    );
    pythons
}

/// Checks every interpreter, two at a time: for what asks for no share of the machine, only for some of it.
pub fn two_at_a_time(check: impl Fn(&Python) + Sync) {
    let rest = Mutex::new(pythons().into_iter());
    let take = || rest.lock().unwrap_or_else(PoisonError::into_inner).next();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(python) = take() {
                    check(&python);
                }
            });
        }
    });
}

/// The newest interpreter of one minor version: shared build, or whatever there is where fewer are meant.
pub fn python(minor: u8) -> Python {
    let any_build = std::env::var_os("PYPROF_FEWER").is_some();
    pythons()
        .into_iter()
        .rfind(|python| python.minor == minor && (any_build || !python.is_static))
        .unwrap_or_else(|| panic!("CPython 3.{minor} is missing"))
}
