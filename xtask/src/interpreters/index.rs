//! What is in the cache, for whoever runs these interpreters: `index.json`, written after each look.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::probe::{Facts, argv};
use super::rows::{Kind, Libc, Row, Runtime};

pub(super) const FILE: &str = "index.json";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Interpreter {
    pub(crate) name: String,
    /// `cpython` or `pypy`.
    pub(crate) implementation: String,
    pub(crate) version: String,
    pub(crate) minor: u32,
    /// What to start, without the script. The first word is an absolute path.
    pub(crate) argv: Vec<String>,
    /// To add to the environment.
    pub(crate) env: BTreeMap<String, String>,
    /// Where the interpreter's `/` is, if not ours: a script has to be below it, and is named from there.
    pub(crate) root: Option<PathBuf>,
    /// The file that the kernel runs.
    pub(crate) executable: PathBuf,
    pub(crate) kind: Kind,
    pub(crate) abiflags: String,
    pub(crate) free_threaded: bool,
    pub(crate) debug: bool,
    pub(crate) jit: bool,
    pub(crate) runtime: Runtime,
    pub(crate) libc: Libc,
    pub(crate) pie: bool,
}

impl Interpreter {
    pub(super) fn new(row: &Row, root: &Path, facts: Facts) -> Result<Self> {
        let Facts { implementation, version, abiflags, debug, free_threaded, jit, runtime, libc, pie } =
            facts;
        let argv = argv(row, root)?;
        Ok(Self {
            name: row.name.to_owned(),
            implementation,
            version,
            minor: row.minor,
            env: row.env.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            root: (argv.len() > 1).then(|| root.to_owned()),
            argv,
            executable: root.join(row.program),
            kind: row.kind,
            abiflags,
            free_threaded,
            debug,
            jit,
            runtime,
            libc,
            pie,
        })
    }

    /// As it would be typed.
    pub(super) fn how_to_run(&self) -> String {
        let env = self.env.iter().map(|(key, value)| format!("{key}={value}"));
        env.chain(self.argv.iter().cloned()).collect::<Vec<_>>().join(" ")
    }
}

/// What the last look found; nothing without a readable file.
pub(super) fn load(file: &Path) -> Vec<Interpreter> {
    fs::read_to_string(file).ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

/// Replaces what `looked_at` names with what was `found`; the rest stays as far as it is still there.
pub(super) fn save(file: &Path, looked_at: &[&str], found: &[&Interpreter]) -> Result<()> {
    let mut all = load(file);
    all.retain(|old| !looked_at.contains(&old.name.as_str()) && old.executable.exists());
    all.extend(found.iter().map(|one| (*one).clone()));
    all.sort_by(|a, b| a.name.cmp(&b.name));
    let text = serde_json::to_string_pretty(&all).context("failed to write the index as JSON")? + "\n";
    if fs::read_to_string(file).is_ok_and(|old| old == text) {
        return Ok(());
    }
    let new = file.with_extension(format!("json.{}", std::process::id()));
    fs::write(&new, text).with_context(|| format!("failed to write {}", new.display()))?;
    fs::rename(&new, file).with_context(|| format!("failed to write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const JIT: &str = r#"{
        "name": "jit-3.14", "implementation": "cpython", "version": "3.14.10", "minor": 14,
        "argv": ["/usr/sbin/chroot", "/c/sid-3.14/root", "/usr/bin/python3.14"],
        "env": {"PYTHON_JIT": "1"}, "root": "/c/sid-3.14/root", "executable": "/bin/true",
        "kind": "jit", "abiflags": "", "free_threaded": false, "debug": false, "jit": true,
        "runtime": "in-executable", "libc": "glibc", "pie": false }"#;

    #[test]
    fn the_format_is_the_one_that_others_read() {
        let jit: Interpreter = serde_json::from_str(JIT).unwrap();
        assert_eq!(jit.how_to_run(), "PYTHON_JIT=1 /usr/sbin/chroot /c/sid-3.14/root /usr/bin/python3.14");
        let expected: serde_json::Value = serde_json::from_str(JIT).unwrap();
        assert_eq!(serde_json::to_value(&jit).unwrap(), expected);
    }

    #[test]
    fn a_look_at_some_keeps_the_others_that_are_still_there() {
        let dir = std::env::temp_dir().join(format!("pyprof-index-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let file = dir.join(FILE);
        let named = |name: &str, executable: &str| {
            let jit: Interpreter = serde_json::from_str(JIT).unwrap();
            Interpreter { name: name.into(), executable: executable.into(), ..jit }
        };
        let [kept, gone, lost] =
            [named("kept", "/bin/true"), named("gone", "/no/such"), named("lost", "/bin/true")];
        let check = |looked_at: &[&str], found: &[&Interpreter], expected: &[&Interpreter]| {
            save(&file, looked_at, found).unwrap();
            assert_eq!(load(&file).iter().collect::<Vec<_>>(), expected);
        };
        check(&["kept", "gone", "lost"], &[&lost, &kept, &gone], &[&gone, &kept, &lost]);
        check(&["lost"], &[], &[&kept]);
        check(&["kept", "lost"], &[&kept, &lost], &[&kept, &lost]);
        fs::remove_dir_all(&dir).unwrap();
    }
}
