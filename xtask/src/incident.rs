//! `cargo xtask incident`: the walk of docs/incident.md, done again: a gunicorn with a slow Django view is started, each command of
//! the walk is run against it, and each must show what the page says that it shows, down to the planted line.
//! `--write` puts what they printed into the page.

mod server;
mod walk;

use std::fs;

use anyhow::{Context, Result, bail};

use crate::bench::django;
use crate::setup::setup;
use crate::test::find_interpreters;
use crate::util::{Workspace, as_root, home, run};
use server::{Server, Shop};
use walk::{END, HEAD, STEPS, Step};

const REPORT: &str = "docs/incident.md";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Write docs/incident.md, too.
    #[arg(long)]
    write: bool,
}

pub(crate) fn command(options: Options) -> Result<()> {
    let Options { write } = options;
    let workspace = Workspace::find()?;
    setup(&workspace)?;
    run(workspace.cargo().args(["build", "--release", "--quiet", "--package", "profiler-user"]))?;
    let python = find_interpreters()?
        .into_iter()
        .find(|path| path.ends_with("python3.13"))
        .context("the walk needs CPython 3.13")?;
    let shop = Shop::new(&python, &django()?)?;
    let binary = workspace.target_dir.join("release");

    let mut page = HEAD.to_owned();
    let mut server = Server::start(&shop)?;
    let mut rates = Vec::new();
    for step in STEPS {
        if step.is_after_the_mend && rates.is_empty() {
            rates.push(server.rate()?);
            drop(server);
            shop.mend()?;
            server = Server::start(&shop)?;
        }
        page.push_str(&take(step, &shop, &server, &binary)?);
    }
    rates.push(server.rate()?);
    drop(server);
    let [before, after] = rates[..] else { bail!("the walk has no mend") };
    if after < before * 2.0 {
        bail!("the mend was none: {before:.0} requests a second before, {after:.0} after");
    }
    page.push_str(
        &END.replace("{before}", &format!("{before:.0}")).replace("{after}", &format!("{after:.0}")),
    );
    print!("{page}");
    if write {
        let file = workspace.root.join(REPORT);
        fs::write(&file, page).with_context(|| format!("failed to write {}", file.display()))?;
    }
    Ok(())
}

/// Runs a step and gives its part of the page.
fn take(step: &Step, shop: &Shop, server: &Server, binaries: &std::path::Path) -> Result<String> {
    let (line, waits) = (shop.slow_line.to_string(), shop.waiting_line.to_string());
    let fill = |text: &str| {
        text.replace("{pid}", &server.worker.to_string()).replace("{line}", &line).replace("{waits}", &waits)
    };
    let typed = fill(step.command);
    eprintln!("$ {typed}");
    // As root all of it: what asks for no privilege does not mind.
    let plain = typed.replace("sudo ", "");
    let path = format!("{}:{}", binaries.display(), std::env::var("PATH").unwrap_or_default());
    let mut shell = as_root("env")?;
    shell
        .args([&format!("PATH={path}"), "bash", "-c", &format!("{plain} 2>&1")])
        .current_dir(&shop.directory);
    let words: Vec<String> = step.shows.iter().map(|word| fill(word)).collect();
    let mut tries = step.tries;
    let said = loop {
        let ran = shell.output().with_context(|| format!("failed to run {plain}"))?;
        let said = String::from_utf8_lossy(&ran.stdout).into_owned();
        if !ran.status.success() {
            bail!("{plain} ended with {}:\n{said}", ran.status);
        }
        match words.iter().find(|word| !said.contains(*word)) {
            None => break said,
            Some(_) if tries > 1 => tries -= 1,
            Some(word) => bail!("{plain} does not show {word:?}:\n{said}"),
        }
    };
    // The interpreter is in somebody's home.
    let said = said.replace(&*home()?.to_string_lossy(), "~");
    let mut shown: Vec<&str> = said.lines().take(step.most_lines).map(str::trim_end).collect();
    if said.lines().count() > step.most_lines {
        shown.push("...");
    }
    Ok(format!("{}\n```\n$ {typed}\n{}\n```\n\n", fill(step.text), shown.join("\n")))
}
