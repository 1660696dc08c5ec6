//! docs/support.md: two tables, each written by its own command, which leaves the other as it is.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::test::{build, end_to_end};
use crate::util::{Workspace, command, output, run};

const DOCUMENT: &str = "docs/support.md";
/// Where the second section begins.
const HOSTS: &str = "## Hosts and packers\n";

/// What the commands take that fill it.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only this one (repeat for more).
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Vec<String>,
    /// Put the table into docs/support.md.
    #[arg(long, conflicts_with = "only")]
    pub(crate) write: bool,
    /// Lock this file during each capture (flock), so that several people can share a machine.
    #[arg(long)]
    pub(crate) lock: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    Interpreters,
    Hosts,
}

/// A test that is told what it is about, and leaves a table.
pub(crate) struct Judge {
    pub(crate) test: &'static str,
    /// The variables that name its list and its table.
    pub(crate) list: &'static str,
    pub(crate) table: &'static str,
}

/// The variable that names the file of `Options.lock`.
const LOCK: &str = "PYPROF_LOCK";

impl Judge {
    /// Tells a run of the tests what it is about.
    pub(crate) fn hand_over(
        &self,
        tests: &mut Command,
        workspace: &Workspace,
        entries: &[impl Serialize],
    ) -> Result<()> {
        let list = workspace.target_dir.join(format!("{}.json", self.test));
        let text = serde_json::to_string_pretty(entries).context("failed to write the list as JSON")?;
        fs::write(&list, text).with_context(|| format!("failed to write {}", list.display()))?;
        tests.env(self.list, list);
        Ok(())
    }

    /// Builds and runs it: its table, and whether all of its rows passed.
    pub(crate) fn run(
        &self,
        workspace: &Workspace,
        entries: &[impl Serialize],
        lock: Option<PathBuf>,
    ) -> Result<(String, Result<()>)> {
        build(workspace)?;
        let table = workspace.target_dir.join(format!("{}.md", self.test));
        // That of an earlier run is none of this one.
        let _ = fs::remove_file(&table);
        let mut tests = end_to_end(workspace);
        tests.args(["--bench", self.test, "--", "--nocapture", "--test-threads=1"]).env(self.table, &table);
        tests.envs(lock.map(|file| (LOCK, file)));
        self.hand_over(&mut tests, workspace, entries)?;
        let passed = run(&mut tests);
        match fs::read_to_string(&table) {
            Ok(text) => Ok((text, passed)),
            Err(_) => passed
                .and_then(|()| Err(anyhow::anyhow!("it has left none")))
                .context("the test did not get to its table"),
        }
    }
}

/// Puts the text of a section into the document.
pub(crate) fn write(workspace: &Workspace, section: Section, text: &str) -> Result<()> {
    let file = workspace.root.join(DOCUMENT);
    // Without a document there is no other section.
    let old = fs::read_to_string(&file).unwrap_or_default();
    fs::write(&file, replace(&old, section, text))
        .with_context(|| format!("failed to write {}", file.display()))
}

fn replace(document: &str, section: Section, text: &str) -> String {
    let at = if document.starts_with(HOSTS) {
        Some(0)
    } else {
        document.find(&format!("\n{HOSTS}")).map(|at| at + 1)
    };
    let (interpreters, hosts) = document.split_at(at.unwrap_or(document.len()));
    let parts = match section {
        Section::Interpreters => [text.trim_end().to_owned(), hosts.trim_end().to_owned()],
        Section::Hosts => [interpreters.trim_end().to_owned(), format!("{HOSTS}\n{}", text.trim_end())],
    };
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("\n\n") + "\n"
}

/// When and on what a table was made.
pub(crate) fn now() -> Result<String> {
    let date = output(command("date").args(["-u", "+%Y-%m-%d %H:%M UTC"]))?;
    let kernel = output(command("uname").arg("-r"))?;
    Ok(format!("{}, Linux {}", date.trim(), kernel.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_section_leaves_the_other() {
        let check = |old: &str, section, text: &str, new: &str| {
            assert_eq!(replace(old, section, text), new, "{old:?}");
        };
        let (first, second) = ("# Supported\n\na\n\n## Checks\n\nb\n", "## Hosts and packers\n\nh\n");
        let both = format!("{first}\n{second}");
        check("", Section::Interpreters, first, first);
        check("", Section::Hosts, "h\n", second);
        check(first, Section::Hosts, "h\n", &both);
        check(second, Section::Interpreters, first, &both);
        check(&both, Section::Hosts, "i", &both.replace("\nh\n", "\ni\n"));
        check(&both, Section::Interpreters, "# Supported\n\nc\n", &format!("# Supported\n\nc\n\n{second}"));
    }
}
