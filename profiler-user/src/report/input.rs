//! The files of a report: those that were named, and those of a capture's directory. One that cannot be read stops no other.

use crate::amount;
use crate::capture_json::{self, ReadCapture};
use crate::decode::{self, DecodeError, Decoded, Facts};
use crate::encode::Format;
use crate::escape::{escape, escape_bytes};
use crate::profile::{Measure, Profile, ValueType};
use crate::summary::columns::grouped;
use crate::talk::{Talk, progress};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Of a directory without a `capture.json`.
const ENDINGS: [&str; 4] = [".pb.gz", ".pb", ".pprof", ".prof"];
/// More than twice what a capture of a whole host holds.
const MAX_FILES: usize = 40_000;

/// Fewer are read before anybody wonders.
const MANY_FILES: usize = 20;

/// What was read.
#[derive(Default)]
pub struct Loaded {
    pub files: Vec<LoadedFile>,
    pub profiles: Vec<Profile>,
    /// The accounts of directories.
    pub captures: Vec<ReadCapture>,
    pub failures: Vec<Unread>,
    /// What was left out for a reason that is no failure.
    pub notes: Vec<String>,
}

pub struct LoadedFile {
    pub path: String,
    pub facts: Facts,
    pub measure: Measure,
    pub bytes: usize,
    pub samples: u64,
    /// Of a file of a directory whose account was read: that account's position.
    pub account: Option<usize>,
}

impl LoadedFile {
    /// `read web-7.pb.gz: 4.1 kB, 1,234 samples of cpu/nanoseconds, 10.0 s, pyprof-bpf 0.1.0`
    pub fn told(&self) -> String {
        let LoadedFile { path, facts, measure, bytes, samples, .. } = self;
        let ValueType { name, unit } = &measure.weight;
        let mut line = format!(
            "read {path}: {}, {} samples of {}/{}",
            amount::bytes(*bytes as u64),
            grouped(*samples),
            escape(name),
            escape(unit)
        );
        if facts.duration_ns > 0 {
            line.push_str(&format!(", {}", amount::ns(facts.duration_ns)));
        }
        let tool = facts.tool_version.as_ref().map(|version| format!("pyprof-bpf {version}"));
        format!("{line}, written by {}", escape(tool.as_deref().unwrap_or("another tool")))
    }
}

/// A file that was not read, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    pub path: String,
    pub why: String,
}

/// One file to read.
struct Wanted {
    path: PathBuf,
    /// Position of the account that names it.
    account: Option<usize>,
}

pub fn load(inputs: &[PathBuf], sample_type: Option<&str>, talk: Talk) -> Loaded {
    let mut loaded = Loaded::default();
    let mut wanted = Vec::new();
    for input in inputs {
        if input.is_dir() {
            loaded.directory(input, &mut wanted);
        } else {
            wanted.push(Wanted { path: input.clone(), account: None });
        }
    }
    // Files that have no such sample type, which is no failure where others have it.
    let mut without: Vec<Unread> = Vec::new();
    let mut others: BTreeSet<String> = BTreeSet::new();
    let mut progress =
        (talk.is_live() && wanted.len() >= MANY_FILES).then(|| progress("reading", wanted.len()));
    for (number, Wanted { path, account }) in wanted.into_iter().enumerate() {
        if let Some(progress) = &mut progress {
            progress(Some(number));
        }
        let shown = shown(&path);
        let bytes = match read(&path, decode::MAX_BYTES, account.is_some()) {
            Ok(bytes) => bytes,
            Err(why) => {
                loaded.failures.push(Unread { path: shown, why });
                continue;
            }
        };
        let Decoded { mut profiles, facts } = match decode::pprof(&bytes, sample_type) {
            Ok(decoded) => decoded,
            Err(error) => {
                let is_other_type = matches!(error, DecodeError::NoSampleType { .. });
                let unread = Unread { path: shown, why: error.to_string() };
                if is_other_type {
                    without.push(unread)
                } else {
                    loaded.failures.push(unread)
                }
                continue;
            }
        };
        let measure = profiles[0].measure().clone();
        if loaded.files.first().is_some_and(|first| first.measure.weight != measure.weight) {
            others.insert(measure.weight.name.to_string());
            continue;
        }
        name_processes(&mut profiles, &path, account.map(|index| &loaded.captures[index]));
        let samples = profiles.iter().map(|profile| profile.total().samples).sum();
        loaded.profiles.append(&mut profiles);
        loaded.files.push(LoadedFile { path: shown, facts, measure, bytes: bytes.len(), samples, account });
    }
    if let Some(progress) = &mut progress {
        progress(None);
    }
    if loaded.files.is_empty() {
        loaded.failures.append(&mut without);
    }
    if !without.is_empty() {
        let (count, have) = (without.len(), if without.len() == 1 { "file has" } else { "files have" });
        loaded.notes.push(format!("{count} {have} no such sample type: left out"));
    }
    if !others.is_empty() {
        let names: Vec<String> = others.into_iter().collect();
        let names = names.join(", ");
        loaded
            .notes
            .push(format!("files of other sample types are left out: see them with --sample-type ({names})"));
    }
    loaded
}

impl Loaded {
    fn fail(&mut self, path: &Path, why: impl Into<String>) {
        self.failures.push(Unread { path: shown(path), why: why.into() });
    }

    fn directory(&mut self, directory: &Path, wanted: &mut Vec<Wanted>) {
        let account = directory.join(capture_json::FILE_NAME);
        if !account.exists() {
            match listed(directory) {
                Ok(paths) if paths.is_empty() => match sets(directory) {
                    sets if sets.is_empty() => self.fail(directory, "there is no profile in it"),
                    sets => sets.iter().for_each(|set| self.directory(set, wanted)),
                },
                Ok(paths) => wanted.extend(paths.into_iter().map(|path| Wanted { path, account: None })),
                Err(error) => self.fail(directory, error.to_string()),
            }
            return;
        }
        let read = read(&account, capture_json::MAX_BYTES, true);
        let capture = match read.and_then(|bytes| ReadCapture::parse(&bytes)) {
            Ok(capture) => capture,
            Err(why) => {
                // The profiles are there all the same.
                self.fail(&account, why);
                let paths = listed(directory).unwrap_or_default();
                wanted.extend(paths.into_iter().map(|path| Wanted { path, account: None }));
                return;
            }
        };
        let index = self.captures.len();
        let mut names = BTreeSet::new();
        for process in &capture.processes {
            if process.file.is_none() && process.samples > 0 {
                self.fail(directory, format!("the profile of pid {} was not written", process.pid));
            }
        }
        // CPU time first: it is what is shown if nothing else is asked for.
        let of_cpu = capture.processes.iter().filter_map(|process| process.file.as_ref());
        let off_cpu = capture.processes.iter().flat_map(|process| process.files().skip(1));
        let only_off_cpu = capture.processes.iter().filter(|process| process.file.is_none());
        let only_off_cpu = only_off_cpu.flat_map(|process| process.files());
        for name in of_cpu.chain(off_cpu).chain(only_off_cpu) {
            // A name, not a way out of the directory.
            if name.is_empty() || name.contains('/') || name.starts_with('.') || names.len() >= MAX_FILES {
                self.fail(&account, format!("{name:?} is no name of a profile"));
            } else if names.insert(name.clone()) {
                match as_pprof(directory, name) {
                    Some(path) => wanted.push(Wanted { path, account: Some(index) }),
                    None => self.fail(&directory.join(name), "the capture wrote no pprof file of it"),
                }
            }
        }
        self.captures.push(capture);
    }
}

/// Of a capture in several formats the account names the first; what can be read stands beside it.
fn as_pprof(directory: &Path, name: &str) -> Option<PathBuf> {
    let format = match Format::of_file(name) {
        None | Some(Format::Pprof) => return Some(directory.join(name)),
        Some(other) => other,
    };
    let stem = format.endings().iter().find_map(|ending| name.strip_suffix(ending))?;
    let path = directory.join(format!("{stem}{}", Format::Pprof.ending()));
    path.exists().then_some(path)
}

/// The sets of files in a directory, one of each period, by name: see `record --every`.
fn sets(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().take(MAX_FILES).flatten();
    // Not behind a link: it might lead back here.
    let directories = entries.filter(|entry| entry.file_type().is_ok_and(|of| of.is_dir()));
    let mut sets: Vec<PathBuf> = directories.map(|entry| entry.path()).collect();
    sets.retain(|set| set.join(capture_json::FILE_NAME).exists());
    sets.sort();
    sets
}

/// The files of a directory that end like profiles, by name.
fn listed(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory)?.take(MAX_FILES) {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().as_bytes();
        if ENDINGS.iter().any(|ending| name.ends_with(ending.as_bytes())) && !name.starts_with(b".") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// At most `most_bytes` and one more, by which a longer file is known. What a directory holds has to be a file: a pipe among
/// them would hold up the report. What the user names may be a pipe.
fn read(path: &Path, most_bytes: usize, regular: bool) -> Result<Vec<u8>, String> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        _ => error.to_string(),
    };
    let mut bytes = Vec::new();
    let limit = most_bytes as u64 + 1;
    if path == Path::new("-") {
        io::stdin().lock().take(limit).read_to_end(&mut bytes).map_err(failed)?;
        return Ok(bytes);
    }
    let flags = if regular { libc::O_NONBLOCK | libc::O_NOFOLLOW } else { 0 } | libc::O_NOCTTY;
    let file = File::options().read(true).custom_flags(flags).open(path).map_err(failed)?;
    if regular && !file.metadata().map_err(failed)?.is_file() {
        return Err("it is no regular file".into());
    }
    file.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// A profile does not hold the name of its process: the account of the capture does, and so does the name of the file.
fn name_processes(profiles: &mut [Profile], path: &Path, account: Option<&ReadCapture>) {
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for profile in profiles {
        let process = profile.process_mut();
        let of = |known: &&capture_json::ReadProcess| {
            known.pid == process.pid && known.files().any(|name| *name == file)
        };
        if let Some(known) = account.and_then(|account| account.processes.iter().find(of)) {
            process.name = known.name.clone();
            process.python_version = known.python_version.clone();
        } else if let Some(name) = name_in(&file, process.pid) {
            process.name = name.into();
        }
        if process.name.is_empty() {
            process.name = if process.pid == 0 { file.clone() } else { format!("pid {}", process.pid) };
        }
    }
}

/// `NAME` of `NAME-PID.pb.gz` and `NAME-PID.2.pb.gz`.
fn name_in(file: &str, pid: u32) -> Option<&str> {
    let at = file.rfind(&format!("-{pid}."))?;
    (pid != 0 && at > 0).then(|| &file[..at])
}

pub fn shown(path: &Path) -> String {
    if path == Path::new("-") {
        return "standard input".into();
    }
    escape_bytes(path.as_os_str().as_bytes()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_hold_names_of_processes() {
        let rows = [
            ("app.py-7.pb.gz", 7, Some("app.py")),
            ("app-7.2.pb.gz", 7, Some("app")),
            ("a-b-7.pb.gz", 7, Some("a-b")),
            ("app.py-7.pb.gz", 77, None),
            ("-7.pb.gz", 7, None),
            ("cpu.pb.gz", 0, None),
        ];
        for (file, pid, expected) in rows {
            assert_eq!(name_in(file, pid), expected, "{file}");
        }
    }
}
