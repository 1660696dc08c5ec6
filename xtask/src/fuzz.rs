//! `cargo xtask fuzz`: every fuzz target for so many seconds each, and a table of what came of it. With `--bite`: does each
//! fuzzer find a bound that is missing?

mod bite;
mod build;
mod page;
mod run;
mod targets;

use std::collections::VecDeque;
use std::num::NonZero;
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use anyhow::{Result, bail};

use crate::util::Workspace;
use build::Build;
use run::{Report, Run};
use targets::{TARGETS, Target};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only the targets whose name contains this.
    target: Option<String>,
    /// How long each target runs.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Plant a missing bound for each target in a copy of the sources, and show that it is found within the time.
    #[arg(long)]
    bite: bool,
    /// Put what came of all targets into docs/fuzzing.md.
    #[arg(long, conflicts_with_all = ["bite", "target"])]
    write: bool,
}

pub(crate) fn command(options: Options) -> Result<()> {
    let workspace = Workspace::find()?;
    let wanted = |name: &str| options.target.as_deref().is_none_or(|part| name.contains(part));
    let targets: Vec<&Target> = TARGETS.iter().filter(|target| wanted(target.name)).collect();
    if targets.is_empty() {
        let all: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        bail!("no such target; there are {}", all.join(", "));
    }
    let time = Duration::from_secs(options.seconds);
    if options.bite {
        return bite::bite(&workspace, &targets, time);
    }
    let reports = fuzz(&workspace, &targets, time)?;
    if options.write {
        page::write(&workspace, &reports, options.seconds)?;
    }
    let found: Vec<&str> = reports
        .iter()
        .filter(|(_, report)| report.finding.is_some())
        .map(|(target, _)| target.name)
        .collect();
    if !found.is_empty() {
        bail!("{} of {} targets found something: {}", found.len(), targets.len(), found.join(", "));
    }
    println!("{} targets, no findings", targets.len());
    Ok(())
}

/// What came of each target, in their order.
type Reports<'t> = Vec<(&'t Target, Report)>;

fn fuzz<'t>(workspace: &Workspace, targets: &[&'t Target], time: Duration) -> Result<Reports<'t>> {
    let base = workspace.target_dir.join("fuzz");
    let build = Build::prepare(workspace.root.clone(), base.join("build"))?;
    build.targets(targets)?;
    println!("{:<14} {:>12} {:>9} {:>22}  findings", "target", "executions", "per s", "coverage");
    let queue = Mutex::new(targets.iter().copied().collect::<VecDeque<&'t Target>>());
    // More than there are processors: on two of them a target has 17 s of processor time in a minute, and all fourteen of a
    // minute each are through in two.
    let workers = 3 * std::thread::available_parallelism().map_or(1, NonZero::get) + 1;
    let workers = workers.min(targets.len());
    let (done, reports) = mpsc::channel();
    let mut ended: Reports = Vec::new();
    let mut failed = Ok(());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            let (done, queue, build, base) = (done.clone(), &queue, &build, &base);
            scope.spawn(move || {
                while let Some(target) = queue.lock().ok().and_then(|mut queue| queue.pop_front()) {
                    let report = Run::lasting(base, target).and_then(|run| run.fuzz(build, time));
                    if done.send((target, report)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(done);
        for (target, report) in reports {
            match report {
                Ok(report) => {
                    println!("{:<14} {report}", target.name);
                    ended.push((target, report));
                }
                Err(error) => failed = Err(error.context(format!("failed to fuzz {}", target.name))),
            }
        }
    });
    failed?;
    ended.sort_by_key(|(target, _)| targets.iter().position(|it| it.name == target.name));
    Ok(ended)
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Report { executions, seconds, coverage: (before, after), finding, .. } = self;
        let coverage = format!("{before} + {}", after.saturating_sub(*before));
        let per_second = executions / (*seconds).max(1);
        let finding = finding.as_deref().unwrap_or("none");
        write!(f, "{executions:>12} {per_second:>9} {coverage:>22}  {finding}")
    }
}
