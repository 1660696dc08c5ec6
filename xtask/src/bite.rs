//! `cargo xtask bite`: do the tests bite? Plants one bug at a time in a copy of the sources and shows the test that turns
//! red for it. A bug that no test notices fails the command.

mod bugs;
pub(crate) mod plant;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use self::bugs::{BUGS, Bug, Proof};
use self::plant::copy_sources;
use crate::setup::setup;
use crate::util::{Workspace, display, output};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only the bugs whose name contains this.
    filter: Option<String>,
}

pub(crate) fn command(options: Options) -> Result<()> {
    let workspace = Workspace::find()?;
    setup(&workspace)?;
    let tree = workspace.target_dir.join("bite/tree");
    copy_sources(&workspace, &tree)?;
    let bench = Bench { tree, target_dir: workspace.target_dir.join("bite/target") };

    let wanted = |bug: &&Bug| options.filter.as_deref().is_none_or(|filter| bug.name.contains(filter));
    let bugs: Vec<&Bug> = BUGS.iter().filter(wanted).collect();
    let mut missed = Vec::new();
    for bug in &bugs {
        let red = bench.plant(bug)?;
        match &red {
            Some(test) => println!("bites   {:<44} {test}", bug.name),
            None => println!("MISSED  {:<44} {}", bug.name, bug.proof),
        }
        if red.is_none() {
            missed.push(bug.name);
        }
    }
    if !missed.is_empty() {
        bail!("{} of {} planted bugs went unnoticed: {}", missed.len(), bugs.len(), missed.join(", "));
    }
    println!("all {} planted bugs turned a test red", bugs.len());
    Ok(())
}

/// A copy of the sources to spoil, and where it is built.
struct Bench {
    tree: PathBuf,
    target_dir: PathBuf,
}

impl Bench {
    /// Plants a bug, runs its test, takes the bug out again. The name of the test that failed, if one did.
    fn plant(&self, bug: &Bug) -> Result<Option<String>> {
        bug.place().spoilt(&self.tree, || self.try_test(bug))
    }

    fn try_test(&self, bug: &Bug) -> Result<Option<String>> {
        if let Proof::Live { .. } | Proof::Measured { .. } = bug.proof {
            let mut build = self.cargo();
            build.args(["build", "--release", "--quiet", "--package", "profiler-user"]);
            output(&mut build).with_context(|| format!("{}: the spoilt product does not build", bug.name))?;
        }
        let mut test = self.cargo();
        test.arg("test").env("PYPROF_BIN", self.target_dir.join("release/pyprof-bpf"));
        match bug.proof {
            Proof::Host { package, test: name, filter } => {
                test.args(["--package", package, "--test", name, filter]).env("AYA_BUILD_SKIP", "1")
            }
            Proof::Live { test: name, filter } => {
                test.args(["--package", "pyprof-tests", "--test", name, filter, "--", "--test-threads=1"])
            }
            Proof::Measured { test: name, filter } => {
                test.args(["--package", "pyprof-tests", "--bench", name, filter, "--", "--test-threads=1"])
            }
        };
        let done = test.output().with_context(|| format!("failed to start {}", display(&test)))?;
        let said = String::from_utf8_lossy(&done.stdout);
        if done.status.success() {
            return Ok(None);
        }
        // A test that did not compile or run proves nothing.
        match said.lines().find_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED")) {
            Some(name) => Ok(Some(format!("{}::{name}", bug.proof.test()))),
            None => bail!(
                "{}: {} failed, but no test of it did:\n{said}{}",
                bug.name,
                display(&test),
                String::from_utf8_lossy(&done.stderr)
            ),
        }
    }

    fn cargo(&self) -> Command {
        let mut cargo = crate::util::command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(&self.tree).env("CARGO_TARGET_DIR", &self.target_dir);
        cargo
    }
}

#[cfg(test)]
mod tests {
    use super::plant::expect_once;
    use super::{BUGS, Bug};

    #[test]
    fn every_bug_has_exactly_one_place_to_be_planted_in() {
        expect_once(BUGS.iter().map(Bug::place));
    }
}
