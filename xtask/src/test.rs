//! `cargo xtask test`: everything that shows that the product is right, the tests under real BPF included.

mod interpreters;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::matrix;
use crate::setup::{apt_install, setup};
use crate::util::{Workspace, is_root, run, which};
pub(crate) use interpreters::{find as find_interpreters, of_this_machine};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only the tests whose name contains this.
    filter: Option<String>,
}

/// The crates whose tests need neither root nor a kernel's help.
const HOST_CRATES: [&str; 4] = ["pyunwind", "profiler-common", "profiler-user", "xtask"];
const BINARY: &str = "PYPROF_BIN";
const END_TO_END: &str = "pyprof-tests";

pub(crate) fn command(options: Options) -> Result<()> {
    let Options { filter } = options;
    let workspace = Workspace::find()?;
    setup(&workspace)?;
    // The end-to-end tests read our profiles with `go tool pprof`.
    if which("go").is_none() {
        apt_install(&["golang-go"]).context("the tests need `go tool pprof`")?;
    }
    let interpreters = interpreters::find()?;
    let joined = std::env::join_paths(&interpreters).context("an interpreter's path contains a colon")?;

    run(workspace.cargo().args(["build", "--release", "--quiet", "--package", "profiler-user"]))?;
    let started = Instant::now();

    let filter = filter.as_slice();
    let mut host = workspace.cargo();
    host.args(["test", "--no-fail-fast"])
        .args(HOST_CRATES.iter().flat_map(|name| ["--package", name]))
        .args(filter);
    environment(&mut host, &workspace, &joined);
    run(&mut host).context("host tests failed")?;

    let mut live = end_to_end(&workspace);
    environment(&mut live, &workspace, &joined);
    live.arg("--no-fail-fast").args(filter).args(["--", "--test-threads=1"]);
    matrix::hand_over(&mut live, &workspace, &matrix::of_every_test()?)?;
    run(&mut live).context("end-to-end tests failed")?;

    println!("xtask test: ok ({} s after the build)", started.elapsed().as_secs());
    Ok(())
}

/// The tests under real BPF. Release, since the readers work through millions of samples; to be run by one thread, since
/// the tests load two cores by themselves and count on their share of the machine.
pub(crate) fn end_to_end(workspace: &Workspace) -> std::process::Command {
    let mut live = workspace.cargo();
    live.args(["test", "--release", "--package", END_TO_END]);
    live.env(BINARY, binary(workspace));
    if !is_root() {
        live.env(runner_key(), "sudo -E");
    }
    live
}

/// What the tests have to know about this run.
fn environment(cargo: &mut std::process::Command, workspace: &Workspace, pythons: &OsString) {
    cargo.env(BINARY, binary(workspace));
    cargo.env("PYPROF_PYTHONS", pythons);
}

fn binary(workspace: &Workspace) -> PathBuf {
    workspace.target_dir.join("release/pyprof-bpf")
}

/// Cargo runs test binaries through the program named here; only those, so that nothing is compiled as root.
fn runner_key() -> String {
    format!("CARGO_TARGET_{}_UNKNOWN_LINUX_GNU_RUNNER", std::env::consts::ARCH.to_uppercase())
}
