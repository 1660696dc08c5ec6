//! perf, with the support that CPython has for it: a piece of machine code per function, with unwind tables
//! (`-X perf_jit`), which `perf inject` turns into symbols.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::{Clock, Collected, How, Job, Outside, Tool};
use crate::truth::{Frame, Stack};
use crate::workload::Launch;

/// perf can copy this much of the stack at most (`PERF_SAMPLE_STACK_USER`: below 64 KiB, a multiple of 8).
const STACK_BYTES: u32 = 65528;

pub const TOOL: Tool = Tool {
    name: "perf",
    part: "perf",
    fixed_hz: None,
    minors: &[13],
    clock: Clock::Cpu,
    how: How::Outside(Outside {
        ends_with: 0,
        serves_all: true,
        command: |job, _| {
            let mut command = Command::new("perf");
            let pids: Vec<String> = job.pids.iter().map(u32::to_string).collect();
            command.args([
                "record",
                "--event",
                "cpu-clock:u",
                "--freq",
                &job.hz.to_string(),
                "--clockid",
                "mono",
            ]);
            command.args(["--call-graph", &format!("dwarf,{STACK_BYTES}"), "--pid", &pids.join(",")]);
            command.arg("--output").arg(job.directory.join("perf.data"));
            command.args(["--", "sleep", &job.seconds.to_string()]);
            Some(command)
        },
        read,
        launch: |_| Launch { options: vec!["-X".to_owned(), "perf_jit".to_owned()], environment: Vec::new() },
    }),
};

fn read(job: &Job, said: &str) -> Result<Collected> {
    let jitted = job.directory.join("perf.jit");
    run(job, "inject", &["--jit", "--input", "perf.data", "--output", "perf.jit"])?;
    let text = run(job, "script", &["--no-inline", "--fields", "ip,sym", "--input", "perf.jit"])?;
    let collected = Collected { stacks: stacks(&text), rejected: lost(said), kernel_bytes: 0 };
    clean(&jitted, job.pids);
    Ok(collected)
}

fn run(job: &Job, what: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new("perf")
        .arg(what)
        .args(arguments)
        .current_dir(job.directory)
        .stdin(Stdio::null())
        .output()
        .context("failed to start perf")?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "perf {what} ended with {}: {}", output.status, stderr.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A paragraph per sample, leaf first; Python's functions are `py::name:file`.
fn stacks(text: &str) -> Vec<Stack> {
    let one = |paragraph: &str| {
        let frame = |line: &str| {
            let (_, symbol) = line.split_once("py::")?;
            let (name, file) = symbol.split_once(':')?;
            let file = file.split('+').next().unwrap_or(file).trim();
            Some(Frame::new(name, file))
        };
        let mut frames: Vec<Frame> = paragraph.lines().filter_map(frame).collect();
        frames.reverse();
        Stack { frames, count: 1 }
    };
    text.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty()).map(one).collect()
}

/// `Check IO/CPU overload!`, `Processed 12 events and lost 3 chunks!`
fn lost(said: &str) -> u64 {
    said.split("lost ").nth(1).and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// CPython and perf leave these in /tmp, whatever TMPDIR is.
fn clean(jitted: &Path, pids: &[u32]) {
    // What is left is only in the way.
    let _ = std::fs::remove_file(jitted);
    for entry in std::fs::read_dir("/tmp").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if pids.iter().any(|pid| name.starts_with(&format!("jitted-{pid}-"))) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_is_the_python_part_of_a_paragraph() {
        let text = "  85 py::leaf:/t/rec.py\n f0 _PyObject_VectorcallTstate (inlined)\n 85 py::<module>:/t/rec.py\n\n\
                    25ba5d Py_DECREF\n";
        let stacks = stacks(text);
        let frames = vec![Frame::new("<module>", "rec.py"), Frame::new("leaf", "rec.py")];
        assert_eq!((stacks.len(), &stacks[0].frames, stacks[1].frames.len()), (2, &frames, 0));
        assert_eq!(lost("Processed 12 events and lost 3 chunks!"), 3);
    }
}
