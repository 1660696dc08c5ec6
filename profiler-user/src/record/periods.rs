//! Sets of files, one per period, each in a directory of its own that is named after its beginning. They are written beside
//! the loop, which goes on to read the rings meanwhile. `capture.json` comes last: a set that has one is whole.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::finish::{Delivered, Set, deliver};
use super::output::Destination;
use crate::cli::RecordOptions;
use crate::escape::escape_bytes;
use crate::sink::{OutputDirectory, SinkError};
use crate::utc;
use std::os::unix::ffi::OsStrExt;

pub struct Periods {
    directory: Arc<OutputDirectory>,
    options: Arc<RecordOptions>,
    /// What was written and is still there, the oldest first, with its size.
    kept: VecDeque<(String, u64)>,
    writing: Option<JoinHandle<Period>>,
    last_name: String,
    same_names: u32,
    /// Sets that were asked for, that were not all written, and the first reason.
    pub sets: usize,
    pub failed: Option<(usize, usize, SinkError)>,
}

/// A set that was written, or not.
struct Period {
    name: String,
    bytes: u64,
    processes: usize,
    cpu_ns: u64,
    delivered: Delivered,
}

impl Periods {
    pub fn new(directory: Arc<OutputDirectory>, options: &RecordOptions) -> Periods {
        // Also where it is SIGUSR1 that makes them.
        let options = Arc::new(RecordOptions { has_periods: true, ..options.clone() });
        Periods {
            directory,
            options,
            kept: VecDeque::new(),
            writing: None,
            last_name: String::new(),
            same_names: 0,
            sets: 0,
            failed: None,
        }
    }

    /// Whether the set before is still being written: then its successor has to wait.
    pub fn is_busy(&self) -> bool {
        self.writing.as_ref().is_some_and(|writing| !writing.is_finished())
    }

    /// Begins to write a set. Nothing is made of one without a sample.
    pub fn begin(&mut self, mut set: Set) {
        if set.images.is_empty() && set.earlier.processes == 0 {
            return;
        }
        let name = self.next_name(set.meta.start_unix_ns);
        let (directory, options) = (self.directory.clone(), self.options.clone());
        self.sets += 1;
        self.writing = Some(std::thread::spawn(move || write(&directory, name, &mut set, &options)));
    }

    /// Two may begin within one second.
    fn next_name(&mut self, start_unix_ns: u64) -> String {
        let name = utc::compact(start_unix_ns);
        self.same_names = if name == self.last_name { self.same_names + 1 } else { 1 };
        self.last_name.clone_from(&name);
        if self.same_names > 1 { format!("{name}.{}", self.same_names) } else { name }
    }

    /// Takes note of a set that was written; with `wait`, of one that is still being written. What is to be said of it.
    pub fn tend(&mut self, wait: bool) -> Vec<String> {
        if self.writing.is_none() || !wait && self.is_busy() {
            return Vec::new();
        }
        let Some(Ok(period)) = self.writing.take().map(JoinHandle::join) else { return Vec::new() };
        let Period { name, bytes, processes, cpu_ns, delivered: Delivered { failed, all, first } } = period;
        let mut said = Vec::new();
        let noun = if processes == 1 { "process" } else { "processes" };
        let path = self.directory.path().join(&name);
        let path = escape_bytes(path.as_os_str().as_bytes()).into_owned();
        match first {
            None => {
                said.push(format!("wrote {path}: {processes} {noun}, {:.1} s of Python CPU", seconds(cpu_ns)))
            }
            Some(first) => {
                said.push(format!("failed to write {failed} of {all} files of {path}; the first: {first}"));
                let (failed_before, all_before, first) = self.failed.take().unwrap_or((0, 0, first));
                self.failed = Some((failed_before + failed, all_before + all, first));
            }
        }
        // One without a directory of its own stays.
        if !name.is_empty() {
            self.kept.push_back((name, bytes));
        }
        said.extend(self.make_room());
        said
    }

    /// Removes the oldest sets as long as all together are too big; the newest stays whatever its size.
    fn make_room(&mut self) -> Vec<String> {
        let Some(most) = self.options.max_size_bytes else { return Vec::new() };
        let mut said = Vec::new();
        while self.kept.len() > 1 && self.kept.iter().map(|(_, bytes)| bytes).sum::<u64>() > most {
            let Some((name, bytes)) = self.kept.pop_front() else { break };
            let megabytes = bytes as f64 / f64::from(1 << 20);
            said.push(match self.directory.remove_subdirectory(&name) {
                Ok(()) => format!("removed {name} ({megabytes:.1} MB), the oldest: --max-size"),
                Err(error) => format!("failed to remove {name}, the oldest: {error}"),
            });
        }
        said
    }
}

fn write(directory: &Arc<OutputDirectory>, name: String, set: &mut Set, options: &RecordOptions) -> Period {
    let cpu_ns = set.images.iter().map(|image| image.profile.total().weight_ns).sum::<u64>();
    let cpu_ns = cpu_ns.saturating_add(set.earlier.total.weight_ns);
    let processes = set.images.len() + set.earlier.processes;
    let mut bytes = 0;
    if set.earlier.processes > 0 {
        // Some of its files are there already: the first set of a capture that was not to have any.
        let delivered = deliver(set, &Destination::Directory(directory.clone()), options);
        return Period { name: String::new(), bytes, processes, cpu_ns, delivered };
    }
    let delivered = match directory.subdirectory(&name) {
        Ok(below) => {
            let below = Arc::new(below);
            let delivered = deliver(set, &Destination::Directory(below.clone()), options);
            bytes = below.bytes_on_disk().unwrap_or(0);
            if delivered.failed == delivered.all {
                below.remove_if_empty();
            }
            delivered
        }
        Err(first) => Delivered { failed: 1, all: 1, first: Some(first) },
    };
    Period { name, bytes, processes, cpu_ns, delivered }
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
