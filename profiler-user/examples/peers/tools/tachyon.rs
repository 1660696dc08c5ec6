//! Tachyon: CPython's own `profiling.sampling`, for targets of its own version.

use std::fs;
use std::process::Command;

use anyhow::Result;

use super::{Clock, Collected, How, Job, Outside, Tool, collapsed, files};
use crate::workload::Launch;

pub const TOOL: Tool = Tool {
    name: "Tachyon",
    part: "Tachyon",
    fixed_hz: None,
    minors: &[15],
    clock: Clock::Wall,
    how: How::Outside(Outside {
        ends_with: 0,
        serves_all: false,
        command: |job, pid| {
            let mut command = Command::new(&job.kit.newest_python);
            command.args([
                "-m",
                "profiling.sampling",
                "attach",
                "--all-threads",
                "--mode",
                "cpu",
                "--collapsed",
            ]);
            command.args(["--sampling-rate", &job.hz.to_string(), "--duration", &job.seconds.to_string()]);
            command.arg("--output").arg(job.directory.join(format!("stacks.{pid}")));
            command.args(job.with_children.then_some("--subprocesses"));
            command.arg(pid.to_string());
            Some(command)
        },
        read,
        launch: |_| Launch::default(),
    }),
};

fn read(job: &Job, said: &str) -> Result<Collected> {
    let mut collected = Collected::default();
    for file in files(job, "stacks.")? {
        collected.stacks.extend(collapsed::tachyon(&fs::read_to_string(file)?));
    }
    // `Captured 200 samples in 2.00 seconds`, `Error rate: 7.50` in percent, for each process of it.
    let after = |line: &str, label: &str| {
        line.strip_prefix(label)?.split_whitespace().next()?.replace(',', "").parse::<f64>().ok()
    };
    let mut captured = 0.0;
    for line in said.lines() {
        captured = after(line, "Captured ").unwrap_or(captured);
        collected.rejected += (after(line, "Error rate: ").unwrap_or(0.0) / 100.0 * captured).round() as u64;
    }
    Ok(collected)
}
