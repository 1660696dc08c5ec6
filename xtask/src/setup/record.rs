//! What setup found, kept as a file: the fast path of setup and the input of profiler-user's build script.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::compiler::Compiler;
use super::linker;

#[derive(Serialize, Deserialize, PartialEq, Debug)]
pub(crate) struct BpfToolchain {
    /// The name that `rustup run` understands.
    pub(crate) toolchain: String,
    rustc: String,
    llvm: u32,
    pub(crate) linker: PathBuf,
    linker_version: String,
    /// A stable compiler takes `-Z build-std` only with RUSTC_BOOTSTRAP=1.
    pub(crate) rustc_bootstrap: bool,
    /// Of every file whose change or absence makes the record stale.
    fingerprint: Vec<Stamp>,
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Stamp {
    path: PathBuf,
    size_bytes: u64,
    mtime_s: i64,
}

impl Stamp {
    fn of(path: &Path) -> Result<Self> {
        let meta = fs::metadata(path).with_context(|| format!("failed to stat {}", path.display()))?;
        Ok(Self { path: path.to_owned(), size_bytes: meta.len(), mtime_s: meta.mtime() })
    }

    fn holds(&self) -> bool {
        Self::of(&self.path).is_ok_and(|now| now == *self)
    }
}

impl BpfToolchain {
    pub(super) fn new(compiler: &Compiler, linker: PathBuf) -> Result<Self> {
        // By the name in rustup's directory, so that an unlinked toolchain is noticed too.
        let by_name = compiler.dir_in_rustup()?;
        let watched =
            [by_name.join("bin/rustc"), by_name.join("bin/cargo"), compiler.core_source(), linker.clone()];
        Ok(Self {
            toolchain: compiler.toolchain.clone(),
            rustc: compiler.release.clone(),
            llvm: compiler.llvm,
            linker,
            linker_version: linker::VERSION.to_owned(),
            rustc_bootstrap: !compiler.is_nightly(),
            fingerprint: watched.iter().map(|path| Stamp::of(path)).collect::<Result<_>>()?,
        })
    }

    /// The record, if everything in it is still as it was; a missing, foreign or stale one is the same as
    /// none.
    pub(super) fn load(file: &Path) -> Option<Self> {
        let record: Self = serde_json::from_str(&fs::read_to_string(file).ok()?).ok()?;
        let fresh = record.linker_version == linker::VERSION && record.fingerprint.iter().all(Stamp::holds);
        fresh.then_some(record)
    }

    /// Leaves an equal file alone: its time decides whether the build script runs again.
    pub(super) fn save(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        if fs::read_to_string(file).is_ok_and(|old| old == text) {
            return Ok(());
        }
        let dir = file.parent().context("a record has a directory")?;
        fs::create_dir_all(dir).with_context(|| format!("failed to create {}", dir.display()))?;
        fs::write(file, text).with_context(|| format!("failed to write {}", file.display()))
    }
}

impl fmt::Display for BpfToolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { toolchain, rustc, llvm, linker_version, .. } = self;
        write!(f, "rustc {rustc} (LLVM {llvm}, rustup toolchain {toolchain}), bpf-linker {linker_version}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Changes the file as `change` says and tells whether the record still counts.
    fn check(change: impl Fn(&Path), still_ready: bool) {
        let dir = std::env::temp_dir().join(format!("pyprof-record-{}-{still_ready}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let watched = dir.join("linker");
        fs::write(&watched, "one").unwrap();
        let record = BpfToolchain {
            toolchain: "nightly".into(),
            rustc: "1.97.0-nightly".into(),
            llvm: 22,
            linker: watched.clone(),
            linker_version: linker::VERSION.into(),
            rustc_bootstrap: false,
            fingerprint: vec![Stamp::of(&watched).unwrap()],
        };
        let file = dir.join("record.json");
        record.save(&file).unwrap();
        change(&watched);
        let loaded = BpfToolchain::load(&file);
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(loaded, still_ready.then_some(record));
    }

    #[test]
    fn a_record_counts_until_a_file_it_names_changes() {
        check(|_| (), true);
        check(|path| fs::write(path, "three").unwrap(), false);
        check(|path| fs::remove_file(path).unwrap(), false);
    }
}
