//! `record` beyond one set of files: commands that it runs, signals, and disks that do not take what it writes.

mod disk;
mod gone;
mod launch;
