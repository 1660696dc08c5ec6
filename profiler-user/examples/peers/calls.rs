//! System calls of a profiler on its target, counted by strace in a run of its own: how many a sample takes in the steady
//! state, and how many it takes to begin.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;

use crate::tools::{Attached, Job, Outside, files};

/// With which one process reads, writes or stops another.
const CALLS: &str = "process_vm_readv,process_vm_writev,ptrace";

#[derive(Clone, Copy, Debug)]
pub struct Calls {
    pub per_sample: f64,
    /// What comes before its first sample, and is not repeated.
    pub start: f64,
}

/// Nothing if it got no sample. Samples are evenly spread, and calls of the second half of its time are those of a steady
/// state.
pub fn count(outside: &Outside, job: &Job) -> Result<Option<Calls>> {
    let begin = Instant::now();
    let Some(attached) = Attached::start(outside, job, under_strace)? else { return Ok(None) };
    let told = Duration::from_secs(job.seconds.into());
    let said = attached.finish(told)?;
    let end = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let samples: u64 = (outside.read)(job, &said)?.stacks.iter().map(|stack| stack.count).sum();
    // One that was late goes on until it is stopped.
    let sampling = if begin.elapsed() > told + Duration::from_secs(1) { begin.elapsed() } else { told };
    let (mut all, mut late) = (0u64, 0u64);
    for file in files(job, "strace.")? {
        let [of_all, of_late] = count_lines(&fs::read_to_string(file)?, (end - sampling / 2).as_secs_f64());
        all += of_all;
        late += of_late;
    }
    if samples == 0 {
        return Ok(None);
    }
    let per_sample = late as f64 / (samples as f64 / 2.0);
    Ok(Some(Calls { per_sample, start: (all as f64 - 2.0 * late as f64).max(0.0) }))
}

fn under_strace(command: Command, directory: &Path, pid: u32) -> Command {
    let mut strace = Command::new("strace");
    // Arguments are of no interest, and long.
    strace.args([
        "-f",
        "--seccomp-bpf",
        "-qq",
        "-ttt",
        "-s",
        "0",
        "-e",
        "raw=all",
        "-e",
        "signal=none",
        "-e",
    ]);
    strace.arg(format!("trace={CALLS}")).arg("-o").arg(directory.join(format!("strace.{pid}"))).arg("--");
    strace.arg(command.get_program()).args(command.get_args());
    strace
}

/// All calls, and those after a moment. `PID TIME NAME(...`, where a second line may say that the call was resumed.
fn count_lines(text: &str, after: f64) -> [u64; 2] {
    let mut counts = [0, 0];
    for line in text.lines() {
        let mut words = line.split_whitespace().skip(1);
        let (Some(time), Some(call)) = (words.next(), words.next()) else { continue };
        let name = call.split('(').next().unwrap_or_default();
        let (true, Ok(time)) = (CALLS.split(',').any(|one| one == name), time.parse::<f64>()) else {
            continue;
        };
        counts[0] += 1;
        counts[1] += u64::from(time > after);
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_name_and_time() {
        let text = "12 100.5 process_vm_readv(0x1, 0x2) = 8\n12 100.6 ptrace(0x10, 0x2 <unfinished ...>\n\
                    12 100.7 <... ptrace resumed>) = 0\n13 101.5 process_vm_writev(0x1) = 8\n12 102.0 +++ exited with 0 +++\n";
        assert_eq!(count_lines(text, 101.0), [3, 1]);
        assert_eq!(count_lines("", 0.0), [0, 0]);
    }
}
