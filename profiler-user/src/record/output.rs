//! Profiles to where they were asked for: every file on its own, so that one that fails stops no other.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cli::{Output, RecordOptions};
use crate::encode::{Choices, Format, encode};
use crate::profile::{CaptureMeta, Group, Profile, groups};
use crate::sink::{
    GroupNames, ImageNumbers, OutputDirectory, OutputFile, Owner, SinkError, default_directory, file_stem,
    of_kind, write_to_stdout,
};

/// In the names of profiles of time off CPU.
const OFF_CPU: &str = "off_cpu";

/// Where results go, looked at before the capture begins.
pub enum Destination {
    Directory(Arc<OutputDirectory>),
    /// With the file beside it for what another source finds.
    File {
        file: OutputFile,
        off_cpu: Option<OutputFile>,
    },
    Stdout,
}

impl Destination {
    pub fn open(options: &RecordOptions, host: &str, start_unix_ns: u64) -> Result<Destination, SinkError> {
        let owner = Owner::from_sudo();
        Ok(match &options.output {
            Output::Directory(path) => {
                let path = path.clone().unwrap_or_else(|| default_directory(host, start_unix_ns));
                Destination::Directory(Arc::new(OutputDirectory::create(&path, owner)?))
            }
            Output::File(path) => {
                let beside = of_kind(path, options.formats[0].ending_of(path), OFF_CPU);
                let off_cpu =
                    options.capture.off_cpu.then(|| OutputFile::create(&beside, owner)).transpose()?;
                Destination::File { file: OutputFile::create(path, owner)?, off_cpu }
            }
            Output::Stdout => Destination::Stdout,
        })
    }

    /// What people are told of it.
    pub fn shown(&self) -> &Path {
        match self {
            Destination::Directory(directory) => directory.path(),
            Destination::File { file, .. } => file.path(),
            Destination::Stdout => Path::new("standard output"),
        }
    }

    /// Leaves nothing behind when nothing came of it.
    pub fn abandon(&self) {
        if let Destination::Directory(directory) = self {
            directory.remove_if_empty();
        }
    }
}

#[derive(Default)]
pub struct Written {
    /// Beside the profiles: the file of the first format that each is in.
    pub files: Vec<Option<PathBuf>>,
    /// How many were to be written.
    pub number: usize,
    pub failures: Vec<SinkError>,
}

/// What profiles are about; those of another source than the CPU have it in their names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Cpu,
    OffCpu,
}

impl Source {
    fn name(self) -> Option<&'static str> {
        match self {
            Source::Cpu => None,
            Source::OffCpu => Some(OFF_CPU),
        }
    }
}

/// Everything that has samples, as asked for.
pub fn write_profiles(
    profiles: &[&Profile],
    meta: &CaptureMeta,
    destination: &Destination,
    options: &RecordOptions,
    source: Source,
    numbers: &mut ImageNumbers,
) -> Written {
    let mut written = Written { files: vec![None; profiles.len()], ..Written::default() };
    let choices = |gzip| Choices { timeline: options.timeline, gzip };
    match destination {
        Destination::Directory(directory) => {
            for (mut stem, mut members) in files(profiles, options, numbers) {
                members.retain(|member| !is_empty(profiles[*member]));
                if let Some(source) = source.name() {
                    stem = format!("{stem}.{source}");
                }
                if members.is_empty() {
                    continue;
                }
                let together: Vec<&Profile> = members.iter().map(|member| profiles[*member]).collect();
                for &format in &options.formats {
                    let name = format!("{stem}{}", format.ending());
                    let fill = |file: &mut std::fs::File| {
                        let mut file = BufWriter::new(file);
                        encode(format, &together, meta, choices(true), &mut file)?;
                        file.flush()
                    };
                    written.number += 1;
                    match directory.write_with(&name, fill) {
                        Ok(()) => written.note(&members, Path::new(&name)),
                        Err(error) => written.failures.push(error),
                    }
                }
            }
        }
        Destination::File { file, off_cpu } => {
            let Some(file) = (if source == Source::OffCpu { off_cpu.as_ref() } else { Some(file) }) else {
                return written;
            };
            let is_gzip = file.path().extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gz"));
            let fill = |file: &mut std::fs::File| {
                let mut file = BufWriter::new(file);
                encode(options.formats[0], profiles, meta, choices(is_gzip), &mut file)?;
                file.flush()
            };
            written.number = 1;
            let all: Vec<usize> = (0..profiles.len()).collect();
            match file.write_with(fill) {
                Ok(()) => written.note(&all, file.path()),
                Err(error) => written.failures.push(error),
            }
        }
        Destination::Stdout => {
            written.number = 1;
            let fill = |stdout: &mut std::io::StdoutLock<'_>| {
                let mut stdout = BufWriter::new(stdout);
                encode(options.formats[0], profiles, meta, choices(false), &mut stdout)?;
                stdout.flush()
            };
            written.failures.extend(write_to_stdout(fill).err());
        }
    }
    written
}

impl Written {
    fn note(&mut self, members: &[usize], file: &Path) {
        for member in members {
            self.files[*member].get_or_insert_with(|| file.into());
        }
    }
}

/// What each file of a directory is called before its ending, and which profiles are in it.
fn files(
    profiles: &[&Profile],
    options: &RecordOptions,
    numbers: &mut ImageNumbers,
) -> Vec<(String, Vec<usize>)> {
    match options.merge_by {
        None => {
            let stem = |(index, profile): (usize, &&Profile)| {
                let process = profile.process();
                let stem = file_stem(&process.name, process.pid, numbers.next(process.pid));
                (stem, vec![index])
            };
            profiles.iter().enumerate().map(stem).collect()
        }
        Some(by) => {
            let mut names = GroupNames::default();
            let groups = groups(profiles.iter().map(|profile| profile.process()), by);
            groups.into_iter().map(|Group { name, members }| (names.next(&name), members)).collect()
        }
    }
}

fn is_empty(profile: &Profile) -> bool {
    profile.total().samples + profile.dropped().samples == 0
}

/// How many times the profiles are held while they are written.
pub fn copies(options: &RecordOptions) -> u64 {
    // A period is written beside the next one.
    if options.has_periods {
        return 2;
    }
    let in_one = options.merge_by.is_some() || !matches!(options.output, Output::Directory(_));
    // The tree of a flame graph is cut down beside the profile; Firefox's tables are made thread by thread.
    let beside = |format: &Format| match format {
        Format::Pprof => in_one,
        Format::Flamegraph | Format::Firefox | Format::Speedscope => true,
        Format::Collapsed => false,
    };
    if options.formats.iter().any(beside) { 2 } else { 1 }
}
