//! Readers of the formats that the product writes, for the tests: a browser from Debian, and what npm has, in the cache.
//!
//! Versions are those of `tests/readers/package-lock.json`, with their hashes: another lock file is another directory.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::apt;
use crate::util::{Workspace, cache_dir, command, output, which};

const LOCK: &str = "package-lock.json";
/// The names under which distributions have it.
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// What the tests have to know.
pub(crate) struct Readers {
    /// `node_modules`.
    pub(crate) modules: PathBuf,
    pub(crate) browser: PathBuf,
}

/// Where the readers are; what is missing is fetched.
pub(crate) fn readers(workspace: &Workspace) -> Result<Readers> {
    if which("node").is_none() {
        apt::install(&["nodejs"]).context("the tests need node")?;
    }
    let browser = || BROWSERS.iter().find_map(|name| which(name));
    if browser().is_none() {
        apt::install(&["chromium"]).context("the tests need a browser")?;
    }
    let browser = browser().context("chromium is not on PATH")?;
    let modules = modules(&workspace.root.join("tests/readers"))?;
    Ok(Readers { modules, browser })
}

fn modules(source: &Path) -> Result<PathBuf> {
    let read = |path: PathBuf| {
        fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))
    };
    let lock = read(source.join(LOCK))?;
    let package = read(source.join("package.json"))?;
    let place = cache_dir()?.join("readers");
    let modules = place.join("node_modules");
    // The lock is copied last: with it there, everything is.
    if fs::read_to_string(place.join(LOCK)).is_ok_and(|known| known == lock) && modules.is_dir() {
        return Ok(modules);
    }
    if which("npm").is_none() {
        apt::install(&["npm"]).context("the tests need npm")?;
    }
    eprintln!("Readers of formats: fetching");
    let scratch = cache_dir()?.join(format!("readers.{}.tmp", std::process::id()));
    let write = |name: &str, text: &str| {
        fs::write(scratch.join(name), text).with_context(|| format!("failed to write {name}"))
    };
    // Left behind by a run that was killed.
    let _ = fs::remove_dir_all(&scratch);
    fs::create_dir_all(&scratch).with_context(|| format!("failed to create {}", scratch.display()))?;
    write("package.json", &package)?;
    write(LOCK, &lock)?;
    // `ci`: what the lock says, or nothing. No script of a package is run.
    let mut npm = command("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
    output(npm.current_dir(&scratch)).context("failed to fetch the readers with npm")?;
    // Of another lock, or half of one.
    let _ = fs::remove_dir_all(&place);
    fs::rename(&scratch, &place).with_context(|| format!("failed to create {}", place.display()))?;
    Ok(modules)
}
