//! `cargo xtask test`: the gate. Exact claims, which no state of the host makes wrong, the tests under real BPF included; what
//! is decided by quantities is `cargo xtask measure`.

mod interpreters;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

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
    let prepared = prepare()?;
    let started = Instant::now();

    let filter = filter.as_slice();
    let mut host = prepared.workspace.cargo();
    host.args(["test", "--no-fail-fast"])
        .args(HOST_CRATES.iter().flat_map(|name| ["--package", name]))
        .args(filter);
    prepared.environment(&mut host);
    run(&mut host).context("host tests failed")?;

    let mut live = prepared.end_to_end();
    live.arg("--no-fail-fast").args(filter).args(["--", "--test-threads=1"]);
    run(&mut live).context("end-to-end tests failed")?;

    println!("xtask test: ok ({} s after the build)", started.elapsed().as_secs());
    Ok(())
}

/// All that the tests need, with the product built.
pub(crate) struct Prepared {
    pub(crate) workspace: Workspace,
    pythons: OsString,
}

pub(crate) fn prepare() -> Result<Prepared> {
    let workspace = Workspace::find()?;
    setup(&workspace)?;
    // The end-to-end tests read our profiles with `go tool pprof`.
    if which("go").is_none() {
        apt_install(&["golang-go"]).context("the tests need `go tool pprof`")?;
    }
    let interpreters = interpreters::find()?;
    let pythons = std::env::join_paths(&interpreters).context("an interpreter's path contains a colon")?;
    run(workspace.cargo().args(["build", "--release", "--quiet", "--package", "profiler-user"]))?;
    Ok(Prepared { workspace, pythons })
}

impl Prepared {
    pub(crate) fn end_to_end(&self) -> Command {
        let mut live = end_to_end(&self.workspace);
        self.environment(&mut live);
        live
    }

    /// What the tests have to know about this run.
    fn environment(&self, cargo: &mut Command) {
        cargo.env(BINARY, binary(&self.workspace));
        cargo.env("PYPROF_PYTHONS", &self.pythons);
    }
}

/// The tests under real BPF. Release, since the readers work through millions of samples; to be run by one thread, since
/// the tests load two cores by themselves and count on their share of the machine.
pub(crate) fn end_to_end(workspace: &Workspace) -> Command {
    let mut live = workspace.cargo();
    live.args(["test", "--release", "--package", END_TO_END]);
    live.env(BINARY, binary(workspace));
    if !is_root() {
        live.env(runner_key(), "sudo -E");
    }
    live
}

fn binary(workspace: &Workspace) -> PathBuf {
    workspace.target_dir.join("release/pyprof-bpf")
}

/// Cargo runs test binaries through the program named here; only those, so that nothing is compiled as root.
fn runner_key() -> String {
    format!("CARGO_TARGET_{}_UNKNOWN_LINUX_GNU_RUNNER", std::env::consts::ARCH.to_uppercase())
}
