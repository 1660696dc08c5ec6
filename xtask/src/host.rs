//! `cargo xtask host`: is the host as the tests need it? What a run of theirs that was killed has left is named, and what else
//! would make them fail; `--restore` puts it right.

use anyhow::{Context, Result, bail};
use pyprof_host::look::{Mended, look, restore, restore_ours};

use crate::util::{as_root, is_root, run};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Put it right: end what earlier runs have started, take back what they have changed, then sample rate and offline CPUs.
    #[arg(long)]
    restore: bool,
    /// Only what earlier runs of the tests have left.
    #[arg(long, requires = "restore")]
    own: bool,
}

pub(crate) fn command(options: Options) -> Result<()> {
    let Options { restore, own } = options;
    if !is_root() {
        // What others run can only be seen by root.
        return as_root_with(&[("--restore", restore), ("--own", own)]);
    }
    match (restore, own) {
        (false, _) => name_all(),
        (true, false) => restore_all(),
        (true, true) => begin(),
    }
}

/// What comes before everything that runs the tests.
pub(crate) fn begin() -> Result<()> {
    if !is_root() {
        return as_root_with(&[("--restore", true), ("--own", true)]);
    }
    report(restore_ours()?)?;
    let faults = look()?;
    for fault in &faults {
        println!("host: {fault}");
    }
    if faults.iter().any(|fault| !fault.is_left_alone()) {
        println!("host: `cargo xtask host --restore` puts this right");
    }
    Ok(())
}

fn as_root_with(flags: &[(&str, bool)]) -> Result<()> {
    let own = std::env::current_exe().context("failed to find this program")?;
    let mut command = as_root(&own.to_string_lossy())?;
    run(command.arg("host").args(flags.iter().filter(|(_, given)| *given).map(|(flag, _)| flag)))
}

fn name_all() -> Result<()> {
    let faults = look()?;
    for fault in &faults {
        println!("host: {fault}");
    }
    let count = faults.iter().filter(|fault| !fault.is_left_alone()).count();
    if count > 0 {
        bail!("not as the tests need it ({count} found); `cargo xtask host --restore` puts it right");
    }
    println!("host: as the tests need it");
    Ok(())
}

fn restore_all() -> Result<()> {
    report(restore()?)?;
    println!("host: as the tests need it");
    Ok(())
}

/// Says of each what it was and what became of it.
fn report(mended: Vec<Mended>) -> Result<()> {
    let mut failed = 0;
    for (fault, result) in mended {
        match result {
            Ok(()) if fault.is_left_alone() => println!("host: {fault}"),
            Ok(()) => println!("host: {fault}: put right"),
            Err(error) => {
                println!("host: {fault}: NOT put right: {error:#}");
                failed += 1;
            }
        }
    }
    if failed > 0 {
        bail!("not put right: {failed}");
    }
    Ok(())
}
