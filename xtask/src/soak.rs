//! `cargo xtask soak`: churn under capture for as long as one likes, to see whether anything grows.

use anyhow::{Context, Result};

use crate::support::now;
use crate::test::{build, prepare};
use crate::util::run;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// How long, in seconds: an hour on demand, less for a first look.
    #[arg(long, default_value_t = 3600, value_parser = clap::value_parser!(u32).range(20..))]
    seconds: u32,
    /// Put what came of it into docs/endurance.md.
    #[arg(long)]
    write: bool,
}

pub(crate) fn command(options: Options) -> Result<()> {
    let prepared = prepare()?;
    let workspace = &prepared.workspace;
    build(workspace)?;
    let mut soak = prepared.end_to_end();
    soak.env("PYPROF_SOAK_SECONDS", options.seconds.to_string());
    let table = workspace.target_dir.join("soak.md");
    soak.env("PYPROF_SOAK_TABLE", &table);
    soak.args(["--bench", "soak", "--", "--nocapture"]);
    run(&mut soak)?;
    if options.write {
        let table = std::fs::read_to_string(&table).context("failed to read what the soak wrote")?;
        let page = page(&now()?, options.seconds, &table);
        std::fs::write(workspace.root.join("docs/endurance.md"), page).context("failed to write the page")?;
    }
    Ok(())
}

fn page(date: &str, seconds: u32, table: &str) -> String {
    format!(
        "# Endurance

Processes, threads and code objects that come and go, all at once, under two captures of the whole host with `--max-memory 96`
for {minutes} minutes: {date}, by `cargo xtask soak --seconds {seconds} --write`. Nothing may grow from the middle third to the last; memory, that in the
kernel included, stays under its limit; at the end every tick is in exactly one sum (`tests/benches/soak.rs`). Memory is resident;
figures are the highest of ten looks per third. A capture keeps what it has sampled, so its memory grows until the limit; beyond
it what adds something new is counted and dropped.

{table}",
        minutes = seconds / 60
    )
}
