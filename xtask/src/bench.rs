//! `cargo xtask bench`: what pyprof-bpf costs. The measuring is an example of profiler-user, which can only be built when
//! `setup` has run; this is the way to it, and to docs/performance.md.

mod kit;
mod peers;

use std::path::PathBuf;
use std::process::Stdio;
use std::{env, fs};

use anyhow::{Context, Result, bail};

use crate::setup::setup;
use crate::test::find_interpreters;
use crate::util::{Workspace, as_root, display, run};

pub(crate) use kit::django;

const REPORT: &str = "docs/performance.md";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Beside other profilers, which are fetched, and how cost grows: docs/peers.md. An hour, or ten minutes with `--quick`.
    #[arg(long)]
    peers: bool,
    /// Two minutes instead of ten: fewer repetitions, more noise.
    #[arg(long)]
    quick: bool,
    /// Write docs/performance.md, too.
    #[arg(long)]
    write: bool,
    /// With `--peers`: shortest of all, to see that everything runs; the figures are worth nothing.
    #[arg(long, requires = "peers", conflicts_with_all = ["quick", "write"])]
    try_out: bool,
    /// Lock this file during each block of measurements (flock), so that several people can share a machine.
    #[arg(long)]
    lock: Option<PathBuf>,
    /// Only this section: kernel, slowdown, product, off-cpu or memory; with `--peers`, targets, profilers or `growth` whose name
    /// contains this. May be repeated.
    #[arg(long, conflicts_with = "write")]
    only: Vec<String>,
}

pub(crate) fn command(options: Options) -> Result<()> {
    let Options { peers, quick, write, try_out, lock, only } = options;
    if peers {
        return peers::command(peers::Options { quick, try_out, write, lock, only });
    }
    let workspace = Workspace::find()?;
    setup(&workspace)?;
    let pythons = env::join_paths(find_interpreters()?).context("an interpreter's path contains a colon")?;
    let build =
        ["build", "--release", "--quiet", "--package", "profiler-user", "--bins", "--example", "bench"];
    run(workspace.cargo().args(build))?;

    // Through env(1): sudo hands on arguments, and not the environment.
    let release = workspace.target_dir.join("release");
    let mut bench = as_root("env")?;
    bench.arg(format!("PYPROF_BIN={}", release.join("pyprof-bpf").display()));
    bench.arg(format!("PYPROF_PYTHONS={}", pythons.to_string_lossy()));
    bench.arg(release.join("examples/bench"));
    bench.args(quick.then_some("--quick"));
    bench.args(only.iter().flat_map(|section| ["--only", section]));
    if let Some(lock) = lock {
        bench.arg("--lock").arg(lock);
    }
    eprintln!("$ {}", display(&bench));
    let output = bench.stderr(Stdio::inherit()).output().context("failed to start the benchmark")?;
    if !output.status.success() {
        bail!("the benchmark ended with {}", output.status);
    }
    let report = String::from_utf8(output.stdout).context("the report is no text")?;
    print!("{report}");
    if write {
        // Here and not in the benchmark, which runs as root.
        let file = workspace.root.join(REPORT);
        fs::write(&file, report).with_context(|| format!("failed to write {}", file.display()))?;
    }
    Ok(())
}
