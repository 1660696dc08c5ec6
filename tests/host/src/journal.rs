//! What was changed of the host and is not taken back yet, in one file. A change is noted before it is made.
//!
//! The file is below `/run`, which only root writes and which no boot outlives, as no setting does; where it does, the entries
//! of another boot are nothing. Whoever reads or writes it holds a lock, which the kernel takes back from the dead.

use std::fs::{DirBuilder, File};
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::{Change, Owner};

#[derive(Clone)]
pub struct Journal {
    directory: PathBuf,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Entry {
    number: u64,
    boot: String,
    owner: Owner,
    change: Change,
}

/// A change that is in the journal; it is taken back with this.
pub struct Held {
    journal: Journal,
    number: u64,
    change: Change,
}

impl Drop for Held {
    fn drop(&mut self) {
        // What could not be taken back stays noted: for the next run.
        let taken_back = self.change.undo().and_then(|()| {
            self.journal.edit(|entries| {
                entries.retain(|entry| entry.number != self.number);
            })
        });
        if let Err(error) = taken_back {
            eprintln!("{error:#}");
        }
    }
}

impl Journal {
    pub fn of_host() -> Journal {
        Journal::at(Path::new("/run/pyprof-tests"))
    }

    pub fn at(directory: &Path) -> Journal {
        Journal { directory: directory.into() }
    }

    /// Notes what is about to be changed. What another one has set, dead or alive, is not taken for the host's.
    pub fn note(&self, mut change: Change) -> Result<Held> {
        let (boot, owner) = (boot(), Owner::me());
        let mut number = 0;
        self.edit(|entries| {
            let of_others = entries.iter().filter(|entry| entry.owner != owner);
            if let Some(first) =
                of_others.map(|entry| &entry.change).find(|other| other.is_of_the_same(&change))
            {
                change = first.clone();
            }
            number = entries.last().map_or(0, |last| last.number + 1);
            entries.push(Entry { number, boot, owner, change: change.clone() });
        })?;
        Ok(Held { journal: self.clone(), number, change })
    }

    /// What those have left who are dead, in the order in which they did it.
    pub fn left(&self) -> Result<Vec<Change>> {
        if !self.directory.exists() {
            return Ok(Vec::new());
        }
        let _lock = self.lock()?;
        let left = self.read()?.into_iter().filter(|entry| !entry.owner.lives());
        Ok(left.map(|entry| entry.change).collect())
    }

    /// Takes back what the dead have left, the last first, and says what became of each. What cannot be taken back stays noted.
    pub fn restore(&self) -> Result<Vec<(Change, Result<()>)>> {
        let mut mended = Vec::new();
        if !self.directory.exists() {
            return Ok(mended);
        }
        self.edit(|entries| {
            let mut kept = Vec::new();
            while let Some(entry) = entries.pop() {
                if entry.owner.lives() {
                    kept.push(entry);
                    continue;
                }
                let result = entry.change.undo();
                mended.push((entry.change.clone(), result));
                if mended.last().is_some_and(|(_, result)| result.is_err()) {
                    kept.push(entry);
                }
            }
            kept.reverse();
            *entries = kept;
        })?;
        Ok(mended)
    }

    fn edit(&self, change: impl FnOnce(&mut Vec<Entry>)) -> Result<()> {
        let _lock = self.lock()?;
        let mut entries = self.read()?;
        change(&mut entries);
        let text = serde_json::to_string_pretty(&entries).context("failed to write the journal as JSON")?;
        let (new, file) = (self.directory.join("journal.new"), self.file());
        std::fs::write(&new, text).with_context(|| format!("failed to write {}", new.display()))?;
        // Whoever is killed here leaves the old one or the new one.
        std::fs::rename(&new, &file).with_context(|| format!("failed to replace {}", file.display()))
    }

    fn file(&self) -> PathBuf {
        self.directory.join("journal")
    }

    /// All of this boot.
    fn read(&self) -> Result<Vec<Entry>> {
        let file = self.file();
        let text = match std::fs::read_to_string(&file) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.with_context(|| format!("failed to read {}", file.display()))?,
        };
        let entries: Vec<Entry> = serde_json::from_str(&text)
            .with_context(|| format!("failed to understand {}: remove it", file.display()))?;
        let boot = boot();
        Ok(entries.into_iter().filter(|entry| entry.boot == boot).collect())
    }

    /// The directory is for its owner only: what is written in it, root does.
    fn lock(&self) -> Result<File> {
        let directory = &self.directory;
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.with_context(|| format!("failed to make {}", directory.display()))?;
        let is = std::fs::symlink_metadata(directory)
            .with_context(|| format!("failed to look at {}", directory.display()))?;
        // SAFETY: takes nothing, touches no memory and cannot fail.
        let own = unsafe { libc::geteuid() };
        if !is.is_dir() || is.uid() != own || is.mode() & 0o077 != 0 {
            bail!("failed to trust {}: it is not a directory of ours alone", directory.display());
        }
        let path = directory.join("lock");
        let file = File::options().create(true).append(true).open(&path);
        let file = file.with_context(|| format!("failed to open {}", path.display()))?;
        // SAFETY: the descriptor is the file's own, and open.
        if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) } != 0 {
            bail!("failed to lock {}: {}", path.display(), std::io::Error::last_os_error());
        }
        Ok(file)
    }
}

fn boot() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests;
