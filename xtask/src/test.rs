//! `cargo xtask test`: everything that shows that the product is right, the tests under real BPF included.

mod interpreters;

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::hosts;
use crate::matrix;
use crate::setup::{Readers, apt_install, readers, setup};
use crate::util::{Workspace, is_root, run, which};
use crate::vm::CLOCK;
pub(crate) use interpreters::{find as find_interpreters, of_this_machine};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only the tests whose name contains this, slow or not.
    filter: Option<String>,
    /// The slow ones instead: hostile and very many processes, containers, programs that run Python inside, labels, `top`, long
    /// captures, a soak.
    #[arg(long, conflicts_with = "filter")]
    slow: bool,
}

/// End-to-end tests of their own tier: what is left runs within a quarter of an hour.
const SLOW: [&str; 17] = [
    "containers",
    "crowd",
    "dump_slow",
    "embedding",
    "hostile",
    "hosts",
    "killed",
    "labels",
    "names",
    "periods",
    "select",
    "soak",
    "stall",
    "storm",
    "top",
    "top_soak",
    "prefork",
];

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
const HOST_CRATES: [&str; 4] = ["pyunwind", "profiler-common", "profiler-user", "xtask"];
const BINARY: &str = "PYPROF_BIN";
const END_TO_END: &str = "pyprof-tests";

pub(crate) fn command(options: Options) -> Result<()> {
    let Options { filter, slow } = options;
    let workspace = Workspace::find()?;
    setup(&workspace)?;
    for (program, package, why) in PROGRAMS {
        if which(program).is_none() {
            apt_install(&[package]).context(why)?;
        }
    }
    let readers = readers(&workspace)?;
    let interpreters = interpreters::find()?;
    let joined = std::env::join_paths(&interpreters).context("an interpreter's path contains a colon")?;

    let started = Instant::now();
    let all = filter.is_some();
    let filter = filter.as_slice();
    let mut host_tests = Ok(());
    if !slow {
        let mut host = workspace.cargo();
        // What they link is that of the release below. Examples are compiled by clippy; there are no tests in documentation.
        host.args(["test", "--no-fail-fast", "--profile", "bench", "--lib", "--bins", "--tests"])
            .args(HOST_CRATES.iter().flat_map(|name| ["--package", name]))
            .args(filter)
            // None of them loads the program.
            .env("AYA_BUILD_SKIP", "1");
        environment(&mut host, &workspace, &joined);
        hand_over(&mut host, &readers);
        host_tests = run(&mut host).context("host tests failed");
    }

    // After the host tests, passed or not: they leave a binary without the program where this one goes.
    run(workspace.cargo().args(["build", "--release", "--quiet", "--package", "profiler-user"]))?;
    host_tests?;
    let mut live = end_to_end(&workspace);
    environment(&mut live, &workspace, &joined);
    hand_over(&mut live, &readers);
    live.arg("--no-fail-fast");
    if !all {
        let wanted = |name: &String| name != CLOCK && SLOW.contains(&name.as_str()) == slow;
        for name in end_to_end_tests(&workspace)?.iter().filter(|name| wanted(name)) {
            live.args(["--test", name]);
        }
    }
    live.args(filter).args(["--", "--test-threads=1"]);
    if all || !slow {
        matrix::JUDGE.hand_over(&mut live, &workspace, &matrix::of_every_test()?)?;
    }
    if all || slow {
        hosts::JUDGE.hand_over(&mut live, &workspace, &hosts::of_every_test())?;
    }
    run(&mut live).context("end-to-end tests failed")?;

    println!("xtask test: ok ({} s, with what was built)", started.elapsed().as_secs());
    Ok(())
}

/// What cargo finds there by itself: files, and folders with a `main.rs`.
fn end_to_end_tests(workspace: &Workspace) -> Result<Vec<String>> {
    let folder = workspace.root.join("tests/tests");
    let entries =
        std::fs::read_dir(&folder).with_context(|| format!("failed to read {}", folder.display()))?;
    let paths = entries.flatten().map(|entry| entry.path());
    let tests = paths
        .filter(|path| path.extension().is_some_and(|kind| kind == "rs") || path.join("main.rs").exists());
    let mut names: Vec<String> =
        tests.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect();
    names.sort();
    Ok(names)
}

/// The tests under real BPF. Release, since the readers work through millions of samples; to be run by one thread, since
/// the tests load two cores by themselves and count on their share of the machine.
pub(crate) fn end_to_end(workspace: &Workspace) -> std::process::Command {
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

/// What the tests have to know about this run.
pub(crate) fn environment(cargo: &mut std::process::Command, workspace: &Workspace, pythons: &OsString) {
    cargo.env(BINARY, binary(workspace));
    cargo.env("PYPROF_PYTHONS", pythons);
}

/// The programs that read what the product writes.
fn hand_over(cargo: &mut std::process::Command, readers: &Readers) {
    let Readers { modules, browser } = readers;
    cargo.env("PYPROF_NODE_MODULES", modules).env("PYPROF_BROWSER", browser);
}

fn binary(workspace: &Workspace) -> PathBuf {
    workspace.target_dir.join("release/pyprof-bpf")
}

/// Cargo runs test binaries through the program named here; only those, so that nothing is compiled as root.
fn runner_key() -> String {
    format!("CARGO_TARGET_{}_UNKNOWN_LINUX_GNU_RUNNER", std::env::consts::ARCH.to_uppercase())
}
