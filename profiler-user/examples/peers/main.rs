//! pyprof-bpf beside other profilers on the same targets, and how its cost grows, as `cargo xtask bench --peers` shows it.
//! Writes `peers.md` and `plots/*.svg`; needs root, interpreters, and the kit that the command fetches.

#[path = "../bench/figures.rs"]
#[expect(dead_code, reason = "shared with the other benchmark")]
mod figures;
#[path = "../bench/quiet.rs"]
#[expect(dead_code, reason = "shared with the other benchmark")]
mod quiet;

mod calls;
mod columns;
mod growth;
mod load;
mod machine;
mod measure;
mod plot;
mod report;
mod tools;
mod truth;
mod workload;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use pyprof_tests::{Python, pythons};

use quiet::{Quiet, pin};
use tools::{Kit, TOOLS, Tool};
use workload::{KINDS, Kind};

#[derive(Parser)]
#[command(name = "peers", about = "pyprof-bpf beside other profilers")]
struct Options {
    /// Ten minutes instead of an hour: fewer repetitions, more noise.
    #[arg(long)]
    quick: bool,
    /// Seconds instead of minutes, of which the figures are worth nothing: to see that all of it runs.
    #[arg(long, conflicts_with = "quick")]
    try_out: bool,
    /// Lock this file during each block of measurements (flock), so that several people can share a machine.
    #[arg(long)]
    lock: Option<PathBuf>,
    /// Only targets, profilers or `growth` whose name contains this.
    #[arg(long)]
    only: Vec<String>,
    /// Where the other profilers are.
    #[arg(long)]
    kit: PathBuf,
    /// `NAME=WHY`: a part of the kit that could not be had.
    #[arg(long)]
    missing: Vec<String>,
    /// Directory of the report; what is there is replaced.
    #[arg(long)]
    output: PathBuf,
}

/// How often and how long.
pub struct Plan {
    pub name: &'static str,
    pub frequencies_hz: &'static [u32],
    /// What a profiler is told to run, s.
    pub seconds: u32,
    /// From its start to the window in which the target and it are looked at.
    pub settle: Duration,
    pub window: Duration,
    /// Repetitions of one kind of target go on until its share of time is used up.
    pub per_kind: Duration,
    pub least_repetitions: usize,
    pub most_repetitions: usize,
    /// What was not begun by then is not begun.
    pub kinds_until: Duration,
    pub growth_until: Duration,
    pub growth_window: Duration,
    pub growth_repetitions: usize,
}

const FULL: Plan = Plan {
    name: "",
    frequencies_hz: &[100, 1000],
    seconds: 3,
    settle: Duration::from_millis(1200),
    window: Duration::from_millis(1500),
    per_kind: Duration::from_secs(330),
    least_repetitions: 3,
    most_repetitions: 9,
    kinds_until: Duration::from_secs(2 * 3600),
    growth_until: Duration::from_secs(3 * 3600),
    growth_window: Duration::from_secs(3),
    growth_repetitions: 5,
};

const QUICK: Plan = Plan {
    name: " --quick",
    frequencies_hz: &[100],
    seconds: 1,
    settle: Duration::from_millis(400),
    window: Duration::from_millis(420),
    per_kind: Duration::from_secs(60),
    least_repetitions: 3,
    most_repetitions: 5,
    kinds_until: Duration::from_secs(1200),
    growth_until: Duration::from_secs(1400),
    growth_window: Duration::from_secs(1),
    growth_repetitions: 3,
};

const TRY_OUT: Plan = Plan {
    name: " (a trial: the figures are worth nothing)",
    per_kind: Duration::ZERO,
    least_repetitions: 1,
    growth_repetitions: 1,
    ..QUICK
};

/// What every part needs.
pub struct Bench {
    pub plan: &'static Plan,
    pub kit: Kit,
    pub pythons: Vec<Python>,
    begin: Instant,
    lock: Option<PathBuf>,
    only: Vec<String>,
}

impl Bench {
    pub fn is_before(&self, deadline: Duration) -> bool {
        self.begin.elapsed() < deadline
    }

    /// Waits until nobody else measures; keep the result for one block.
    pub fn quiet(&self) -> Result<Quiet> {
        Quiet::begin(self.lock.as_deref())
    }

    /// Options that name targets choose among targets, and those that name profilers among profilers.
    fn kinds(&self) -> Vec<&'static Kind> {
        let named = |kind: &&Kind| self.only.iter().any(|only| kind.name.contains(only));
        let any = KINDS.iter().any(|kind| named(&kind)) || self.only.iter().any(|only| "growth" == only);
        KINDS.iter().filter(|kind| !any || named(kind)).collect()
    }

    fn tools(&self) -> Vec<&'static Tool> {
        let named = |tool: &&Tool| self.only.iter().any(|only| tool.name == only);
        let any = TOOLS.iter().any(named);
        // There is nothing to compare with without our own.
        TOOLS.iter().copied().filter(|tool| !any || tool.is_ours() || named(tool)).collect()
    }

    fn wants_growth(&self) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == "growth")
    }

    /// The interpreter of a minor version that targets run on: the first that is there.
    pub fn python(&self, minor: u8) -> Result<&Python> {
        let found = self.pythons.iter().find(|python| python.minor == minor);
        found.with_context(|| format!("there is no CPython 3.{minor}"))
    }
}

fn main() -> Result<()> {
    let Options { quick, try_out, lock, only, kit, missing, output } = Options::parse();
    let begin = Instant::now();
    ensure!(std::thread::available_parallelism()?.get() >= 2, "targets need a CPU of their own");
    let pythons = pythons();
    let newest = pythons.iter().find(|python| python.minor == tools::NEWEST_MINOR);
    let newest_python = newest.context("Tachyon comes with CPython 3.15, which is not there")?.path.clone();
    let missing = missing
        .iter()
        .map(|item| item.split_once('=').map(|(name, why)| (name.to_owned(), why.to_owned())))
        .collect::<Option<_>>()
        .context("--missing takes NAME=WHY")?;
    let plan = match (try_out, quick) {
        (true, _) => &TRY_OUT,
        (_, true) => &QUICK,
        _ => &FULL,
    };
    let bench =
        Bench { plan, kit: Kit { directory: kit, newest_python, missing }, pythons, begin, lock, only };
    pin(0, machine::SAMPLER_CPU)?;
    if !try_out {
        machine::PRIORITY.store(-20, Ordering::Relaxed);
    }

    let mut groups = Vec::new();
    let growth_only = bench.only.iter().any(|only| only == "growth");
    for kind in bench.kinds().into_iter().filter(|_| !growth_only) {
        groups.extend(measure::kind(&bench, kind, &bench.tools())?);
    }
    let curves = if bench.wants_growth() { growth::measure(&bench)? } else { Vec::new() };

    let plots = output.join("plots");
    if plots.exists() {
        fs::remove_dir_all(&plots).context("failed to remove old plots")?;
    }
    fs::create_dir_all(&plots).with_context(|| format!("failed to create {}", plots.display()))?;
    let mut drawn = plot::of_groups(&groups);
    drawn.extend(curves.iter().flat_map(plot::of_curve));
    for (name, svg) in &drawn {
        fs::write(plots.join(format!("{name}.svg")), svg).context("failed to write a plot")?;
    }
    let text = report::write(&bench, &groups, &curves, &drawn, begin.elapsed());
    fs::write(output.join("peers.md"), text).context("failed to write the report")?;
    Ok(())
}
