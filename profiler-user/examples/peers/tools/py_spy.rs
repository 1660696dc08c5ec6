//! py-spy: it stops the target, reads it, and lets it go; with `--nonblocking` it reads while the target runs.

use std::fs;
use std::process::Command;

use anyhow::Result;

use super::{Clock, Collected, How, Job, Outside, Tool, collapsed, files, number_after};
use crate::workload::Launch;

pub const TOOL: Tool = Tool {
    name: "py-spy",
    part: "py-spy",
    fixed_hz: None,
    minors: &[13, 15],
    clock: Clock::Wall,
    how: How::Outside(Outside {
        ends_with: 0,
        serves_all: false,
        command: |job, pid| Some(command(job, pid)),
        read,
        launch: |_| Launch::default(),
    }),
};

pub const NONBLOCKING: Tool = Tool {
    name: "py-spy --nonblocking",
    part: "py-spy",
    fixed_hz: None,
    minors: &[13],
    clock: Clock::Wall,
    how: How::Outside(Outside {
        ends_with: 0,
        serves_all: false,
        command: |job, pid| {
            let mut command = command(job, pid);
            command.arg("--nonblocking");
            Some(command)
        },
        read,
        launch: |_| Launch::default(),
    }),
};

fn command(job: &Job, pid: u32) -> Command {
    let mut command = Command::new(job.kit.directory.join("py-spy/bin/py-spy"));
    command.args(["record", "--format", "raw", "--nolineno", "--rate", &job.hz.to_string()]);
    command.args(["--duration", &job.seconds.to_string(), "--pid", &pid.to_string()]);
    command.arg("--output").arg(job.directory.join(format!("stacks.{pid}")));
    command.args(job.with_children.then_some("--subprocesses"));
    command
}

fn read(job: &Job, said: &str) -> Result<Collected> {
    let mut collected = Collected::default();
    for file in files(job, "stacks.")? {
        collected.stacks.extend(collapsed::py_spy(&fs::read_to_string(file)?));
    }
    collected.rejected = number_after(said, "Errors:").unwrap_or(0.0) as u64;
    Ok(collected)
}
