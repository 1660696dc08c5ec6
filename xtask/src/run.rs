//! `cargo xtask run`: the product from a checkout, in one command.

mod demo;

use std::os::unix::process::CommandExt;

use anyhow::{Context, Result};

use crate::setup::setup;
use crate::util::{Workspace, as_root, display, run};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Start a small Python workload of several processes beside the capture; it ends with it.
    #[arg(long)]
    demo: bool,
    /// Arguments of pyprof-bpf itself.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

pub(crate) fn command(options: Options) -> Result<()> {
    let Options { demo, args } = options;
    let workspace = Workspace::find()?;
    setup(&workspace)?;
    run(workspace.cargo().args(["build", "--release", "--quiet", "--package", "profiler-user"]))?;

    let binary = workspace.target_dir.join("release/pyprof-bpf");
    let mut profiler = as_root(&binary.to_string_lossy())?;
    profiler.args(args);
    if demo {
        demo::start(&workspace)?;
    }
    eprintln!("$ {}", display(&profiler));
    // exec, not spawn: signals and the exit status then need no forwarding, and the demo's processes, whose
    // parent this process stays, end when the profiler does.
    Err(profiler.exec()).with_context(|| format!("failed to start {}", display(&profiler)))
}
