//! Single lines: at the start, while it runs, and how to open the result.

use super::columns::{cut, grouped};
use crate::encode::Format;
use crate::escape::{escape_bytes, shell_word};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// `Sampling 37 Python processes at 99 Hz; Ctrl-C writes ./pyprof-...`
pub fn start_line(processes: usize, frequency_hz: u32, directory: &Path) -> String {
    let noun = if processes == 1 { "process" } else { "processes" };
    let directory = escape_bytes(directory.as_os_str().as_bytes());
    format!("Sampling {processes} Python {noun} at {frequency_hz} Hz; Ctrl-C writes {directory}")
}

/// Where a running capture stands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Live {
    pub elapsed: Duration,
    pub processes: usize,
    pub samples: u64,
    pub lost: u64,
    pub frequency_hz: u32,
    /// Of one core.
    pub own_cpu_percent: f64,
}

/// One line for a terminal, without any control sequence; the caller returns to its beginning and clears the rest.
pub fn live_line(live: &Live, width: usize) -> String {
    let Live { elapsed, processes, samples, lost, frequency_hz, own_cpu_percent } = live;
    let seconds = elapsed.as_secs();
    let clock = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    let noun = if *processes == 1 { "process" } else { "processes" };
    let samples = grouped(*samples);
    let lost = if *lost == 0 { String::new() } else { format!(", {} lost", grouped(*lost)) };
    let line = format!(
        "{clock}  {processes} {noun}, {samples} samples{lost} at {frequency_hz} Hz, own CPU {own_cpu_percent:.1} %"
    );
    // A terminal that is filled to its last column may wrap.
    cut(&line, width.saturating_sub(1))
}

/// How to open a file: `go tool pprof -http=: DIR/FILE`.
pub fn open_line(file: &Path, format: Format) -> String {
    let word = shell_word(file.as_os_str().as_bytes());
    match format {
        Format::Pprof => format!("go tool pprof -http=: {word}"),
        Format::Flamegraph => format!("open in a browser: {word}"),
        Format::Collapsed => format!("flamegraph.pl --countname=ns {word} >flamegraph.svg"),
        Format::Speedscope => format!("open at https://www.speedscope.app: {word}"),
        Format::Firefox => format!("open at https://profiler.firefox.com: {word}"),
    }
}
