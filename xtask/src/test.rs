//! `cargo xtask test`: everything that shows that the product is right, the tests under real BPF included.

mod interpreters;

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::host;
use crate::setup::{Readers, apt_install, readers, setup};
use crate::util::{Workspace, is_root, run, which};
pub(crate) use interpreters::{find as find_interpreters, of_this_machine};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only the tests whose name contains this.
    filter: Option<String>,
}

/// What the end-to-end tests run beside ours, and the Debian package that has it.
const PROGRAMS: [(&str, &str, &str); 8] = [
    ("go", "golang-go", "the tests read profiles with `go tool pprof`"),
    ("perf", "linux-perf", "a test runs `perf record` beside a capture"),
    ("mandoc", "mandoc", "two readers judge the manual pages"),
    ("groff", "groff-base", "two readers judge the manual pages"),
    ("zsh", "zsh", "shells judge their completions"),
    ("fish", "fish", "shells judge their completions"),
    ("tmux", "tmux", "the tests look at what `top` draws"),
    ("gcore", "gdb", "the tests make core files"),
];

/// The crates whose tests need neither root nor a kernel's help.
const HOST_CRATES: [&str; 5] = ["pyunwind", "profiler-common", "profiler-user", "pyprof-host", "xtask"];
const BINARY: &str = "PYPROF_BIN";
const END_TO_END: &str = "pyprof-tests";

pub(crate) fn command(options: Options) -> Result<()> {
    let Options { filter } = options;
    let prepared = prepare()?;
    let started = Instant::now();

    let filter = filter.as_slice();
    let mut host = prepared.workspace.cargo();
    // What they link is that of the release below. Examples are compiled by clippy; there are no tests in documentation.
    host.args(["test", "--no-fail-fast", "--profile", "bench", "--lib", "--bins", "--tests"])
        .args(HOST_CRATES.iter().flat_map(|name| ["--package", name]))
        .args(filter)
        // None of them loads the program.
        .env("AYA_BUILD_SKIP", "1");
    prepared.environment(&mut host);
    let host_tests = run(&mut host).context("host tests failed");
    // After the host tests, passed or not: they leave a binary without the program where this one goes.
    build(&prepared.workspace)?;
    host_tests?;

    let mut live = prepared.end_to_end();
    live.args(["--no-fail-fast", "--tests"]).args(filter).args(["--", "--test-threads=1"]);
    run(&mut live).context("end-to-end tests failed")?;

    println!("xtask test: ok ({} s, with what was built)", started.elapsed().as_secs());
    Ok(())
}

/// All that the tests need of this machine.
pub(crate) struct Prepared {
    pub(crate) workspace: Workspace,
    pythons: OsString,
    readers: Readers,
}

pub(crate) fn prepare() -> Result<Prepared> {
    host::begin()?;
    let workspace = Workspace::find()?;
    setup(&workspace)?;
    for (program, package, why) in PROGRAMS {
        if which(program).is_none() {
            apt_install(&[package]).context(why)?;
        }
    }
    let readers = readers(&workspace)?;
    let interpreters = interpreters::find()?;
    let pythons = std::env::join_paths(&interpreters).context("an interpreter's path contains a colon")?;
    Ok(Prepared { workspace, pythons, readers })
}

/// Builds the product as the tests run it.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    run(workspace.cargo().args(["build", "--release", "--quiet", "--package", "profiler-user"]))
}

impl Prepared {
    pub(crate) fn end_to_end(&self) -> Command {
        let mut live = end_to_end(&self.workspace);
        self.environment(&mut live);
        live
    }

    /// What the tests have to know about this run.
    fn environment(&self, cargo: &mut Command) {
        let Readers { modules, browser } = &self.readers;
        cargo.env(BINARY, binary(&self.workspace)).env("PYPROF_PYTHONS", &self.pythons);
        // A run that puts right what another has left.
        cargo.envs(std::env::current_exe().map(|own| ("PYPROF_XTASK", own)));
        cargo.env("PYPROF_NODE_MODULES", modules).env("PYPROF_BROWSER", browser);
    }
}

/// The tests under real BPF. Release, since the readers work through millions of samples; to be run by one thread, since
/// the tests load two cores by themselves and count on their share of the machine.
pub(crate) fn end_to_end(workspace: &Workspace) -> Command {
    let mut live = workspace.cargo();
    live.args(["test", "--release", "--package", END_TO_END]);
    // What a shell or nohup starts in the background has these ignored, and hands that on to all that the tests start.
    // SAFETY: signal(2) is async-signal-safe, and its default involves no handler.
    unsafe {
        live.pre_exec(|| {
            for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGHUP] {
                libc::signal(signal, libc::SIG_DFL);
            }
            Ok(())
        });
    }
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
