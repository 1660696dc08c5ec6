//! Spoils one place of a copy of the sources and mends it again: for tests that must notice, and for fuzzers.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::util::{Workspace, output};

/// One place in the sources, and what is to stand there instead.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) name: &'static str,
    pub(crate) file: &'static str,
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
}

impl Place {
    /// Plants the bug in `tree`, works there, takes the bug out again.
    pub(crate) fn spoilt<T>(&self, tree: &Path, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let file = tree.join(self.file);
        let sound = fs::read_to_string(&file).with_context(|| format!("failed to read {}", self.file))?;
        if sound.matches(self.from).count() != 1 {
            bail!(
                "{}: the place to spoil is not there exactly once in {}:\n{}",
                self.name,
                self.file,
                self.from
            );
        }
        fs::write(&file, sound.replacen(self.from, self.to, 1))?;
        let result = work();
        fs::write(&file, sound)?;
        result
    }
}

/// The files that git knows or would add, as they are in the working tree.
pub(crate) fn copy_sources(workspace: &Workspace, tree: &Path) -> Result<()> {
    if tree.exists() {
        fs::remove_dir_all(tree).with_context(|| format!("failed to clear {}", tree.display()))?;
    }
    let mut git = Command::new("git");
    git.args(["ls-files", "--cached", "--others", "--exclude-standard"]).current_dir(&workspace.root);
    for name in output(&mut git)?.lines() {
        let (from, to) = (workspace.root.join(name), tree.join(name));
        // Listed but deleted in the working tree.
        if !from.exists() {
            continue;
        }
        let parent = to.parent().context("a file has a directory")?;
        fs::create_dir_all(parent).with_context(|| format!("failed to create {}", parent.display()))?;
        fs::copy(&from, &to).with_context(|| format!("failed to copy {}", from.display()))?;
    }
    Ok(())
}

/// Fails unless each place is there exactly once, so that planting cannot go wrong later.
#[cfg(test)]
pub(crate) fn expect_once(places: impl Iterator<Item = Place>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for Place { name, file, from, .. } in places {
        let text = fs::read_to_string(root.join(file)).unwrap();
        assert_eq!(text.matches(from).count(), 1, "{name}: {from}");
    }
}
