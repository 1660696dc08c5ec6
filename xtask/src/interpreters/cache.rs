//! The directory that the trees are in. A tree is made next to its place and moved there when it is whole, so
//! that no one ever takes half of one for an interpreter.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::rows::Tree;

/// What the tree was made from.
const RECIPE: &str = "recipe";
/// The rows that did not run when it was made, a line each: making it again would not help them.
const WITHOUT: &str = "without";

pub(crate) struct Cache {
    pub(crate) dir: PathBuf,
}

/// What a tree is called, and made from: with another recipe it is another tree.
pub(crate) trait Made {
    fn name(&self) -> &'static str;
    fn recipe(&self) -> String;
}

impl Made for Tree {
    fn name(&self) -> &'static str {
        self.name
    }

    fn recipe(&self) -> String {
        format!("{:#?}\n", self.how)
    }
}

/// Held as long as the file is open.
pub(crate) struct Lock {
    _file: File,
}

impl Cache {
    pub(crate) fn open(kind: &str) -> Result<Self> {
        let dir = crate::util::cache_dir()?.join(kind);
        fs::create_dir_all(&dir).with_context(|| format!("failed to create {}", dir.display()))?;
        Ok(Self { dir })
    }

    /// One fetches at a time: two would do the same work, and each would sweep away what the other is at.
    pub(crate) fn lock(&self) -> Result<Lock> {
        let path = self.dir.join(".lock");
        let file = File::create(&path).with_context(|| format!("failed to create {}", path.display()))?;
        if flock(&file, libc::LOCK_EX | libc::LOCK_NB).is_err() {
            eprintln!("waiting for another fetch into {}", self.dir.display());
            flock(&file, libc::LOCK_EX).with_context(|| format!("failed to lock {}", path.display()))?;
        }
        Ok(Lock { _file: file })
    }

    /// Where the root of a tree is, or will be.
    pub(crate) fn root(&self, tree: &impl Made) -> PathBuf {
        self.dir.join(tree.name()).join("root")
    }

    pub(crate) fn has(&self, tree: &impl Made) -> bool {
        let recipe = fs::read_to_string(self.dir.join(tree.name()).join(RECIPE));
        recipe.is_ok_and(|recipe| recipe == tree.recipe())
    }

    pub(crate) fn is_without(&self, tree: &impl Made, row: &str) -> bool {
        let without = fs::read_to_string(self.dir.join(tree.name()).join(WITHOUT)).unwrap_or_default();
        without.lines().any(|name| name == row)
    }

    /// An empty directory on the same file system, gone when the value is dropped.
    pub(crate) fn scratch(&self, name: &str) -> Result<Scratch> {
        let dir = self.dir.join(format!(".{name}.{}", std::process::id()));
        remove(&dir)?;
        fs::create_dir(&dir).with_context(|| format!("failed to create {}", dir.display()))?;
        Ok(Scratch { dir })
    }

    /// Puts what is in `scratch` (its `root`) where `tree` belongs.
    pub(crate) fn commit(&self, tree: &impl Made, scratch: &Scratch, without: &[&str]) -> Result<()> {
        let whole = scratch.dir.join("whole");
        fs::create_dir(&whole).with_context(|| format!("failed to create {}", whole.display()))?;
        rename(&scratch.dir.join("root"), &whole.join("root"))?;
        fs::write(whole.join(RECIPE), tree.recipe()).context("failed to write the recipe")?;
        fs::write(whole.join(WITHOUT), without.join("\n")).context("failed to write what does not run")?;
        let place = self.dir.join(tree.name());
        if place.symlink_metadata().is_ok() {
            rename(&place, &scratch.dir.join("old"))?;
        }
        rename(&whole, &place)
    }

    /// Removes what a fetch that was killed has left; call it under the lock.
    pub(crate) fn sweep(&self, _lock: &Lock) -> Result<()> {
        let entries =
            fs::read_dir(&self.dir).with_context(|| format!("failed to read {}", self.dir.display()))?;
        for entry in entries.flatten() {
            let is_left_over = entry.file_name().to_string_lossy().starts_with('.');
            if is_left_over && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }
}

pub(crate) struct Scratch {
    pub(crate) dir: PathBuf,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.dir) {
            eprintln!("{error:#}");
        }
    }
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).with_context(|| format!("failed to rename {} to {}", from.display(), to.display()))
}

fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

fn flock(file: &File, how: libc::c_int) -> io::Result<()> {
    // SAFETY: the descriptor is open as long as `file` is borrowed, and flock touches no memory of ours.
    match unsafe { libc::flock(file.as_raw_fd(), how) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows::TREES;
    use super::*;

    #[test]
    fn a_tree_is_there_once_it_is_whole_and_as_long_as_its_recipe_is_the_same() {
        let dir = std::env::temp_dir().join(format!("pyprof-farm-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let cache = Cache { dir };
        let tree = &TREES[0];
        for round in ["first", "again"] {
            let scratch = cache.scratch(tree.name).unwrap();
            fs::create_dir(scratch.dir.join("root")).unwrap();
            fs::write(scratch.dir.join("root/python"), round).unwrap();
            assert_eq!(cache.has(tree), round == "again");
            cache.commit(tree, &scratch, &[round, "other"]).unwrap();
            assert!(cache.is_without(tree, round) && cache.is_without(tree, "other"));
            assert!(!cache.is_without(tree, tree.name) && !cache.is_without(&TREES[1], round));
            assert!(cache.has(tree) && !cache.has(&TREES[1]));
            assert_eq!(fs::read_to_string(cache.root(tree).join("python")).unwrap(), round);
        }
        fs::create_dir(cache.dir.join(".cut-short.1")).unwrap();
        cache.sweep(&cache.lock().unwrap()).unwrap();
        let mut left: Vec<_> =
            fs::read_dir(&cache.dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [".lock", tree.name]);

        fs::write(cache.dir.join(tree.name).join(RECIPE), TREES[1].recipe()).unwrap();
        assert!(!cache.has(tree), "made from another recipe");
        fs::remove_dir_all(&cache.dir).unwrap();
    }
}
