//! `cargo xtask bench --peers`: pyprof-bpf beside other profilers, on the same targets in one run. The measuring is an
//! example of profiler-user; this is what it needs to be there, and the way to docs/peers.md and its plots.

use std::path::PathBuf;
use std::process::Stdio;
use std::{env, fs};

use anyhow::{Context, Result, bail};

use super::kit;
use crate::setup::setup;
use crate::test::find_interpreters;
use crate::util::{Workspace, as_root, display, run};

const REPORT: &str = "docs/peers.md";
const PLOTS: &str = "docs/plots";

pub(super) struct Options {
    pub(super) quick: bool,
    pub(super) try_out: bool,
    pub(super) write: bool,
    pub(super) lock: Option<PathBuf>,
    pub(super) only: Vec<String>,
}

pub(super) fn command(options: Options) -> Result<()> {
    let Options { quick, try_out, write, lock, only } = options;
    let workspace = Workspace::find()?;
    setup(&workspace)?;
    let kit = kit::get()?;
    let pythons = env::join_paths(find_interpreters()?).context("an interpreter's path contains a colon")?;
    let build =
        ["build", "--release", "--quiet", "--package", "profiler-user", "--bins", "--example", "peers"];
    run(workspace.cargo().args(build))?;

    // Through env(1): sudo hands on arguments, and not the environment.
    let release = workspace.target_dir.join("release");
    let output = workspace.target_dir.join("peers");
    let mut bench = as_root("env")?;
    bench.arg(format!("PYPROF_BIN={}", release.join("pyprof-bpf").display()));
    bench.arg(format!("PYPROF_PYTHONS={}", pythons.to_string_lossy()));
    bench.arg(release.join("examples/peers"));
    bench.arg("--kit").arg(&kit.directory).arg("--output").arg(&output);
    for (name, why) in &kit.missing {
        bench.arg("--missing").arg(format!("{name}={why}"));
    }
    bench.args(quick.then_some("--quick"));
    bench.args(try_out.then_some("--try-out"));
    bench.args(only.iter().flat_map(|part| ["--only", part]));
    if let Some(lock) = lock {
        bench.arg("--lock").arg(lock);
    }
    eprintln!("$ {}", display(&bench));
    let status = bench.stdin(Stdio::null()).status().context("failed to start the benchmark")?;
    if !status.success() {
        bail!("the benchmark ended with {status}");
    }
    let report = fs::read_to_string(output.join("peers.md")).context("failed to read the report")?;
    print!("{report}");
    if write {
        // Here and not in the benchmark, which runs as root.
        let file = workspace.root.join(REPORT);
        fs::write(&file, report).with_context(|| format!("failed to write {}", file.display()))?;
        let plots = workspace.root.join(PLOTS);
        fs::create_dir_all(&plots).with_context(|| format!("failed to create {}", plots.display()))?;
        for entry in fs::read_dir(output.join("plots")).context("failed to list the plots")? {
            let from = entry?.path();
            let to = plots.join(from.file_name().context("a plot without a name")?);
            fs::copy(&from, &to).with_context(|| format!("failed to write {}", to.display()))?;
        }
    }
    Ok(())
}
