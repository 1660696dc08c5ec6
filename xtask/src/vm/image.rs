//! The initramfs: this program as the first process, the plan, and everything that the plan runs, at the paths that it has here.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::arch::Arch;
use super::archive::Archive;
use super::plan::{FETCHED, MATRIX, MATRIX_OF_OTHERS, PLAN, Plan};
use super::{closure, foreign};

/// What the kernel is told to start (`rdinit`).
pub(super) const INIT: &str = "/vm-init";

/// Where something is mounted, or written.
const DIRECTORIES: [&str; 5] = ["/proc", "/sys", "/dev", "/tmp", "/run"];
/// Some tests, and what restores a setting after one of them, start a shell.
const SHELL: [&str; 2] = ["/bin/sh", "/bin/cat"];
/// Text outside ASCII: what `C.UTF-8` means to the C library.
const LOCALE: &str = "/usr/lib/locale/C.utf8";

/// Its size, bytes.
pub(super) fn make(path: &Path, plan: &Plan, arch: &'static Arch) -> Result<u64> {
    let mut archive = Archive::create(path)?;
    for directory in DIRECTORIES {
        archive.directory(Path::new(directory))?;
    }
    // The kernel opens it before anything can mount /dev.
    archive.device(Path::new("/dev/console"), 5, 1)?;
    archive.link(Path::new(INIT), &plan.own)?;
    let programs = plan.programs.iter().chain([&plan.own]);
    let mut interpreters = plan.interpreters.iter().map(|(_, path)| path);
    if arch.is_ours() {
        programs
            .chain(&SHELL.map(PathBuf::from))
            .try_for_each(|path| closure::program(&mut archive, path))?;
        interpreters.try_for_each(|path| closure::interpreter(&mut archive, path))?;
    } else {
        programs.into_iter().try_for_each(|path| foreign::program(&mut archive, path, arch))?;
        interpreters.try_for_each(|path| foreign::interpreter(&mut archive, path))?;
        foreign::shell(&mut archive, arch)?;
    }
    if Path::new(LOCALE).exists() {
        archive.tree(Path::new(LOCALE), &|_| true)?;
    }
    let text = serde_json::to_vec(plan).context("failed to write the plan as JSON")?;
    archive.bytes(Path::new(PLAN), 0o644, 0, &text)?;
    let row = |(name, path): &(String, PathBuf)| serde_json::json!({ "name": name, "argv": [path], "env": {}, "root": null, "kind": "release" });
    let few = |(name, _): &&(String, PathBuf)| !plan.is_ci || name == FETCHED;
    let all: Vec<_> = plan.interpreters.iter().map(row).collect();
    let of_others: Vec<_> = plan.interpreters.iter().filter(few).map(row).collect();
    for (place, rows) in [(MATRIX, all), (MATRIX_OF_OTHERS, of_others)] {
        let text = serde_json::to_vec(&rows).context("failed to write the interpreters as JSON")?;
        archive.bytes(Path::new(place), 0o644, 0, &text)?;
    }
    archive.finish()
}
