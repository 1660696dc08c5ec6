//! `cargo xtask vm`: kernels of Debian's suites under qemu. Inside, the tests of tests/ run as they are on this machine, and the
//! verifier says what each program cost it. Nothing is installed into a disk image: an initramfs holds all that runs.

mod arch;
mod archive;
mod boot;
mod budget;
mod closure;
mod foreign;
mod guest;
mod image;
mod kernels;
mod plan;
pub(crate) use plan::{SETS_THE_CLOCK, WHOLE_HOST};
mod report;
mod verifier;

use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::setup::setup;
use crate::util::Workspace;
use arch::Arch;
use kernels::{SERIES, Series};
use report::Report;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only this series, as 5.10 (repeat for more).
    #[arg(long, value_name = "SERIES")]
    only: Vec<String>,
    /// Only this check, as load (repeat for more).
    #[arg(long, value_name = "CHECK")]
    check: Vec<String>,
    /// So many kernels at a time. They disturb each other.
    #[arg(long, value_name = "N", default_value_t = 1)]
    jobs: usize,
    /// Put the tables into docs/kernels.md, and the counts into the budget: what ran now, with the last run of what did not.
    #[arg(long, conflicts_with = "ci")]
    write: bool,
    /// Only the oldest series and that of the stable release, with fewer interpreters and checks.
    #[arg(long, conflicts_with = "only")]
    ci: bool,
    /// The kind of machine that is emulated: x86_64 or aarch64; this machine's own without it.
    #[arg(long, value_name = "ARCH", conflicts_with = "ci")]
    arch: Option<String>,
    /// Let the machine lend its processor (KVM) instead of emulating one: faster, and not to be had everywhere.
    #[arg(long)]
    kvm: bool,
}

/// What hosts run for years: the kernel without `bpf_loop`, and that of the stable release.
const OF_CI: [&str; 2] = ["5.10", "6.12"];

pub(crate) fn command(options: Options) -> Result<()> {
    let Options { only, check, jobs, write, ci, arch, kvm } = options;
    let arch = arch::find(arch.as_deref())?;
    if let Some(unknown) = only.iter().find(|name| SERIES.iter().all(|series| series.name != **name)) {
        bail!("no series is called {unknown}: {}", SERIES.each_ref().map(|series| series.name).join(", "));
    }
    let wanted = |series: &&Series| match ci {
        true => OF_CI.contains(&series.name),
        false => only.is_empty() || only.iter().any(|name| name == series.name),
    };
    let workspace = Workspace::find()?;
    setup(&workspace)?;
    let qemu = kernels::qemu(arch)?;
    // The logs of a shorter plan are not what the table is made of.
    let place = workspace.target_dir.join(arch.directory(if ci { "vm-ci" } else { "vm" }));
    fs::create_dir_all(&place).with_context(|| format!("failed to make {}", place.display()))?;
    let parts = if arch.is_ours() { plan::parts(&workspace, ci)? } else { foreign::parts(&workspace, arch)? };
    let plan = plan::plan(parts, arch, &check, ci)?;
    let image = place.join(format!("initramfs.{}", std::process::id()));
    let bytes = image::make(&image, &plan, arch)?;
    eprintln!("initramfs: {} MB", bytes >> 20);

    let machine = boot::Machine { arch, qemu, image, kvm };
    let series: Vec<&Series> = SERIES.iter().filter(wanted).collect();
    let reports = look_at_all(&series, &machine, &place, jobs);
    // It is as large as all interpreters together, and made again in seconds.
    fs::remove_file(&machine.image).context("failed to remove the initramfs")?;

    let budget_file = workspace.root.join(budget::FILE);
    println!("\n{}\n{}", report::checks(&reports), report::counts(&reports));
    if write {
        // Of a machine of another kind there may be fewer.
        let ran = |series: &&Series| arch.is_ours() || place.join(series.name).exists();
        let all: Result<Vec<_>> =
            SERIES.iter().filter(ran).map(|series| last(series, arch, &place)).collect();
        let all = all?;
        budget::save(&budget_file, arch, &all)?;
        report::write(&workspace, arch, &all)?;
    }
    let is_counted = check.is_empty() || plan::COUNTED.iter().all(|name| check.iter().any(|one| one == name));
    let over = if is_counted { budget::over(&budget_file, arch, &reports)? } else { Vec::new() };
    over.iter().for_each(|why| eprintln!("budget: {why}"));
    let failed: Vec<&str> = reports.iter().filter(|one| one.has_failed()).map(|one| one.series).collect();
    if !failed.is_empty() || !over.is_empty() {
        bail!(
            "failed on {failed:?}, {} counts over the budget; the logs are in {}",
            over.len(),
            place.display()
        );
    }
    Ok(())
}

/// In the order of `series`.
fn look_at_all(
    series: &[&'static Series],
    machine: &boot::Machine,
    place: &Path,
    jobs: usize,
) -> Vec<Report> {
    let next = AtomicUsize::new(0);
    let reports: Vec<OnceLock<Report>> = series.iter().map(|_| OnceLock::new()).collect();
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while let Some((series, report)) = {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    series.get(at).zip(reports.get(at))
                } {
                    report.get_or_init(|| look(series, machine, place));
                }
            });
        }
    });
    reports.into_iter().filter_map(OnceLock::into_inner).collect()
}

/// One kernel. That it cannot be had, or does not boot, is a failed row and no reason not to look at the others.
fn look(series: &'static Series, machine: &boot::Machine, place: &Path) -> Report {
    let started = Instant::now();
    let mut report = Report::new(series.name);
    let outcome = series.kernel(machine.arch).and_then(|kernel| {
        report.release.clone_from(&kernel.release);
        let logs = place.join(series.name);
        fs::create_dir_all(&logs).with_context(|| format!("failed to make {}", logs.display()))?;
        let mut booted = machine.boot(&kernel, &logs, &mut report);
        for _ in 1..BOOTS {
            if booted.is_ok() || report.has_begun() {
                break;
            }
            eprintln!(
                "  {:<6} the machine ended before the first check began, and is started again",
                series.name
            );
            booted = machine.boot(&kernel, &logs, &mut report);
        }
        booted
    });
    if let Err(error) = outcome {
        report.broken = Some(format!("{error:#}"));
    }
    let verdict = if report.has_failed() { "FAILED" } else { "ok" };
    let seconds = started.elapsed().as_secs();
    eprintln!("  {:<6} {:<28} {verdict} in {seconds} s", report.series, report.release);
    report.failures().for_each(|why| eprintln!("    {why}"));
    for check in report.failed_checks() {
        let log =
            fs::read_to_string(place.join(series.name).join(format!("{check}.log"))).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].iter().for_each(|line| eprintln!("    | {line}"));
    }
    report
}

/// Kernels patch their own code while they come up, and now and then an emulated processor runs into what is half written (`Oops:
/// int3` in `sched_clock_cpu`, 3 s after the start). No check is ever repeated.
const BOOTS: u32 = 3;

/// Of the log of a check that failed: who reads this may not have the file.
const LAST_LINES: usize = 40;

/// What the last runs on a kernel said.
fn last(series: &'static Series, arch: &'static Arch, place: &Path) -> Result<Report> {
    Report::of_logs(series.name, &series.kernel(arch)?.release, &place.join(series.name))
}

/// What runs inside.
pub(crate) use guest::guest;
