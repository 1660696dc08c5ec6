//! `record`: what may be typed, and what it means together.

use super::capture::{TypedCapture, capture};
use super::output::{Output, output};
use super::talk::{TypedTalk, talk};
use super::values;
use crate::capture::CaptureOptions;
use crate::encode::Format;
use crate::profile::MergeBy;
use crate::talk::Talk;
use clap::Args;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Each period asks every process for what it has to tell once more.
const MIN_PERIOD: Duration = Duration::from_secs(1);

#[derive(Args, Debug)]
pub(super) struct TypedRecord {
    /// Stop after this time: seconds, or with a unit as in 300ms, 1.5m, 2h [default: until Ctrl-C or SIGTERM]
    #[arg(short, long, value_name = "SECS", value_parser = values::duration, allow_hyphen_values = true)]
    pub(super) duration: Option<Duration>,

    #[command(flatten)]
    pub(super) capture: TypedCapture,

    /// One profile per group of processes: name, service or container [default: one per process]
    #[arg(long, value_name = "BY", value_parser = values::merge_by)]
    pub(super) merge_by: Option<MergeBy>,

    /// Formats: pprof, flamegraph, collapsed, speedscope, firefox; several by commas [default: pprof, or as --output ends]
    #[arg(short, long = "format", value_name = "FORMAT", value_delimiter = ',', value_parser = values::format)]
    pub(super) formats: Vec<Format>,

    /// pprof with the time of every sample, speedscope in their order; firefox always has times
    #[arg(long)]
    pub(super) timeline: bool,

    /// A new or empty directory; or one file, its format by its ending (.html, .pb.gz, .collapsed, .speedscope.json,
    /// .firefox.json), or - for standard output [default: ./pyprof-HOST-UTCTIME]
    #[arg(short, long, value_name = "PATH")]
    pub(super) output: Option<PathBuf>,

    /// Write a set of files each period, in a directory of its own, and go on; SIGUSR1 does so at any time, and
    /// writes one single file as it is so far
    #[arg(long, value_name = "SECS", value_parser = values::duration, allow_hyphen_values = true)]
    pub(super) every: Option<Duration>,

    /// Keep at most this much of the sets of --every and SIGUSR1 on disk: the oldest are removed first
    #[arg(long, value_name = "MB",
          value_parser = clap::value_parser!(u64).range(1..=values::MAX_SIZE_MB), allow_hyphen_values = true)]
    pub(super) max_size: Option<u64>,

    #[command(flatten)]
    pub(super) talk: TypedTalk,

    /// Run this and profile it, with what it starts, until it ends; its exit status is returned
    #[arg(last = true, value_name = "COMMAND")]
    pub(super) command: Vec<OsString>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct RecordOptions {
    pub capture: CaptureOptions,
    /// None: until Ctrl-C or SIGTERM.
    pub duration: Option<Duration>,
    /// None: one profile per process.
    pub merge_by: Option<MergeBy>,
    /// At least one, each once; one where the output is not a directory.
    pub formats: Vec<Format>,
    /// Samples keep their times in formats that leave the choice.
    pub timeline: bool,
    pub output: Output,
    pub talk: Talk,
    /// Length of a period. None: all of the capture.
    pub every: Option<Duration>,
    /// There is more than one set of files: by periods, or by a signal.
    pub has_periods: bool,
    pub max_size_bytes: Option<u64>,
    /// What is run to be profiled, with its arguments.
    pub command: Vec<OsString>,
}

pub(super) fn record(typed: TypedRecord) -> Result<RecordOptions, String> {
    let TypedRecord {
        capture: typed,
        duration,
        merge_by,
        formats,
        timeline,
        output,
        talk: typed_talk,
        every,
        max_size,
        command,
    } = typed;
    if every.is_some_and(|every| every < MIN_PERIOD) {
        return Err("--every: the shortest period is 1 s".into());
    }
    let (output, formats) = self::output(output, formats)?;
    if every.is_some() && !matches!(output, Output::Directory(_)) {
        return Err("--every: each period has a directory of its own; name a directory".into());
    }
    if max_size.is_some() && !matches!(output, Output::Directory(_)) {
        return Err("--max-size: one file holds all; name a directory, for sets of --every or SIGUSR1".into());
    }
    if merge_by.is_some() && !matches!(output, Output::Directory(_)) {
        return Err("--merge-by: one file holds all processes; name a directory".into());
    }
    if typed.off_cpu && matches!(output, Output::Stdout) {
        return Err(
            "--off-cpu: there are two profiles, of CPU and of waiting; name a file or a directory".into()
        );
    }
    let has_timeline = |format: &Format| match format {
        Format::Firefox => true,
        Format::Pprof | Format::Speedscope => timeline,
        Format::Flamegraph | Format::Collapsed => false,
    };
    if timeline && !formats.iter().any(has_timeline) {
        return Err("--timeline: none of these formats has times; add -f firefox, pprof or speedscope".into());
    }
    let talk = talk(typed_talk);
    let mut capture = capture(typed, talk);
    capture.keep_times = formats.iter().any(has_timeline);
    Ok(RecordOptions {
        capture,
        duration,
        merge_by,
        formats,
        timeline,
        output,
        talk,
        every,
        has_periods: every.is_some(),
        max_size_bytes: max_size.map(|megabytes| megabytes << 20),
        command,
    })
}
