//! pyprof-bpf itself, read back through the tests' own reader of pprof.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use pyprof_tests::{Profile, capture};
use serde_json::Value;

use super::{Clock, Collected, How, Job, Outside, Tool};
use crate::truth::{Frame, Stack};
use crate::workload::Launch;

pub const TOOL: Tool = Tool {
    name: "pyprof-bpf",
    part: "pyprof-bpf",
    fixed_hz: None,
    minors: &[13, 15],
    clock: Clock::Cpu,
    how: How::Outside(Outside {
        ends_with: 0,
        serves_all: true,
        command: |job, _| Some(command(job)),
        read,
        launch: |_| Launch::default(),
    }),
};

fn command(job: &Job) -> Command {
    let mut command = Command::new(capture::binary());
    // No limit on its CPU: a lowered frequency would be no comparison.
    command.args(["-F", &job.hz.to_string(), "-d", &job.seconds.to_string(), "--max-cpu", "1000"]);
    let option = if job.with_children { "--tree" } else { "-p" };
    command.args(job.pids.iter().flat_map(|pid| [option.to_owned(), pid.to_string()]));
    command.arg("-o").arg(job.directory.join("out"));
    command
}

fn read(job: &Job, _said: &str) -> Result<Collected> {
    let directory = job.directory.join("out");
    let json = fs::read(directory.join("capture.json")).context("failed to read capture.json")?;
    let json: Value = serde_json::from_slice(&json).context("failed to parse capture.json")?;
    let mut collected = Collected::default();
    let counted = |value: &Value| value.as_u64().unwrap_or(0);
    let samples_lost = [
        "sample_ring_full",
        "not_chained",
        "no_scratch",
        "stale_record",
        "process_vanished",
        "process_unresponsive",
        "sample_unaccounted",
    ];
    for loss in samples_lost {
        collected.rejected += counted(&json["losses"][loss]);
    }
    for process in json["processes"].as_array().into_iter().flatten() {
        collected.rejected += counted(&process["dropped"]);
        let Some(file) = process["file"].as_str() else { continue };
        for sample in Profile::read(&directory.join(file)).samples {
            let frames: Vec<Frame> =
                sample.frames.iter().rev().map(|frame| Frame::new(&frame.name, &frame.file)).collect();
            collected.stacks.push(Stack { frames, count: sample.count });
        }
    }
    collected.kernel_bytes = json.pointer("/own_cost/kernel_bytes").and_then(Value::as_u64).unwrap_or(0);
    Ok(collected)
}

/// The kernel's account of the programs that a process holds (`fdinfo`: `kernel/bpf/syscall.c`,
/// `bpf_prog_show_fdinfo`), ns.
pub fn programs_ns(pid: u32) -> u64 {
    let mut programs = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten() {
        let Ok(info) = fs::read_to_string(entry.path()) else { continue };
        let field = |name: &str| {
            let value = info.lines().find_map(|line| line.strip_prefix(name))?;
            value.trim().parse::<u64>().ok()
        };
        if let (Some(id), Some(ns)) = (field("prog_id:"), field("run_time_ns:")) {
            programs.insert(id, ns);
        }
    }
    programs.values().sum()
}
