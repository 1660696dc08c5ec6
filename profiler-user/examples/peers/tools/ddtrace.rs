//! ddtrace: a sampler inside the target, switched on and off by a signal that the target understands.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use pyprof_tests::Profile;

use super::{Clock, Collected, How, Job, Kit, Tool, files};
use crate::truth::{Frame, Stack};
use crate::workload::Launch;

pub const TOOL: Tool = Tool {
    name: "ddtrace",
    part: "ddtrace",
    fixed_hz: Some(100),
    minors: &[13],
    clock: Clock::Wall,
    how: How::Inside(launch, read),
};

/// Its profiles are zstd, which this CPython can read and the tests' reader cannot.
const RECODE: &str = "import sys, gzip\nfrom compression import zstd\n\
                      open(sys.argv[2], 'wb').write(gzip.compress(zstd.decompress(open(sys.argv[1], 'rb').read())))";

fn launch(kit: &Kit, directory: &Path) -> Launch {
    let mut path = kit.directory.join("ddtrace").into_os_string();
    path.push(":");
    path.push(kit.target_packages(13));
    let set = |name: &str, value: &str| (name.to_owned(), value.into());
    Launch {
        options: Vec::new(),
        environment: vec![
            set("PEERS_INSIDE", "1"),
            ("PYTHONPATH".to_owned(), path.into()),
            ("DD_PROFILING_OUTPUT_PPROF".to_owned(), directory.join("stacks")),
            // The sampler of stacks alone: the others have no counterpart here.
            set("DD_PROFILING_MEMORY_ENABLED", "0"),
            set("DD_PROFILING_HEAP_ENABLED", "0"),
            set("DD_PROFILING_LOCK_ENABLED", "0"),
            set("DD_TRACE_ENABLED", "0"),
            set("DD_INSTRUMENTATION_TELEMETRY_ENABLED", "0"),
        ],
    }
}

fn read(job: &Job) -> Result<Collected> {
    let mut collected = Collected::default();
    for file in
        files(job, "stacks.")?.into_iter().filter(|file| file.extension().is_some_and(|it| it == "pprof"))
    {
        let recoded = job.directory.join("recoded");
        let status =
            Command::new(&job.kit.newest_python).args(["-c", RECODE]).arg(&file).arg(&recoded).status()?;
        ensure!(status.success(), "failed to recode {}", file.display());
        for sample in Profile::read_foreign(&recoded, "cpu-samples").samples {
            let frames: Vec<Frame> =
                sample.frames.iter().rev().map(|frame| Frame::new(&frame.name, &frame.file)).collect();
            collected.stacks.push(Stack { frames, count: sample.count });
        }
    }
    ensure!(!collected.stacks.is_empty(), "ddtrace wrote no sample");
    Ok(collected)
}
