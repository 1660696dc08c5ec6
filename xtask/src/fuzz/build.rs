//! Builds fuzz targets as `cargo fuzz` does, with any compiler: coverage is a pass of LLVM, libFuzzer comes as a crate.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::targets::Target;
use crate::setup::apt_install;
use crate::util::{command, output, run, which};

/// What libFuzzer wants of the code: counters, the addresses they belong to, and what is compared with what.
const COVERAGE: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    // Otherwise conditions are merged and give no coverage of their own.
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
];

pub(super) struct Build {
    /// Of the sources.
    root: PathBuf,
    target_dir: PathBuf,
    host: String,
}

impl Build {
    pub(super) fn prepare(root: PathBuf, target_dir: PathBuf) -> Result<Build> {
        if which("c++").is_none() {
            apt_install(&["g++"])?;
        }
        let version = output(command("rustc").arg("-vV"))?;
        let host = version.lines().find_map(|line| line.strip_prefix("host: "));
        let host = host.context("failed to learn the host from rustc -vV")?.trim().to_owned();
        Ok(Build { root, target_dir, host })
    }

    pub(super) fn targets(&self, targets: &[&Target]) -> Result<()> {
        let mut flags: Vec<&str> = COVERAGE.to_vec();
        flags.extend(["--cfg", "fuzzing"]);
        let mut cargo = self.cargo();
        cargo.args(["build", "--quiet", "--release", "--locked"]);
        // Named, so that programs which run while this is built are not instrumented.
        cargo.args(["--target", &self.host]);
        if targets.iter().any(|target| target.user) {
            cargo.args(["--features", "user"]);
        }
        for target in targets {
            cargo.args(["--bin", target.name]);
        }
        // The BPF program is not fuzzed, what it is made of is.
        cargo.env("AYA_BUILD_SKIP", "1").env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
        run(&mut cargo)
    }

    pub(super) fn program(&self, target: &Target) -> PathBuf {
        self.target_dir.join(&self.host).join("release").join(target.name)
    }

    fn cargo(&self) -> Command {
        let mut cargo = command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(self.root.join("fuzz")).env("CARGO_TARGET_DIR", &self.target_dir);
        cargo
    }
}
