//! What the tests do to the host, and how it is put right again, however they end.
//!
//! Whatever a test changes of the host is in the [`journal`] before it is changed, and all that a run of the tests starts
//! carries its [`mark`]. So the next run finds what a run that was killed has left (`kill -9` of the whole tree of processes
//! included), and [`look`] names it and mends it. Nothing here needs what is left of that run itself.

pub mod change;
pub mod journal;
pub mod look;
pub mod mark;
pub mod owner;

pub use change::{Change, empty};
pub use journal::{Held, Journal};
pub use owner::Owner;

use std::path::Path;

use anyhow::{Context, Result};

/// Writes a setting of the host's. It goes back with the owner of what is returned, or with the next run.
pub fn set(file: &Path, value: &str) -> Result<Held> {
    let was = std::fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))?;
    let change = Change::Setting { file: file.into(), was: was.trim().to_owned() };
    let held = Journal::of_host().note(change)?;
    change::write(file, value)?;
    Ok(held)
}

/// Makes a directory, which goes with all that is in it, and mounted in it.
pub fn directory(path: &Path) -> Result<Held> {
    made(Change::Directory { path: path.into() }, path)
}

/// Makes a control group, which goes with those below it.
pub fn group(path: &Path) -> Result<Held> {
    made(Change::Group { path: path.into() }, path)
}

fn made(change: Change, path: &Path) -> Result<Held> {
    let held = Journal::of_host().note(change)?;
    std::fs::create_dir(path).with_context(|| format!("failed to make {}", path.display()))?;
    Ok(held)
}
