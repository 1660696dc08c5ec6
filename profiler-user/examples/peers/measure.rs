//! One profiler on one target: windows without and with it that follow each other, what it reported held against what the
//! target can do, and a run of it under strace for its system calls on the target.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use pyprof_tests::{Python, Scratch};

use crate::Bench;
use crate::calls::{self, Calls};
use crate::figures::Figure;
use crate::load::Latency;
use crate::machine::{family_cpu_ns, family_memory_bytes};
use crate::tools::{Attached, Collected, How, Job, Tool, programs_ns, switch_inside};
use crate::truth::Judged;
use crate::workload::{Kind, Launch, Workload};

/// All profilers on one kind of target with one interpreter, at one frequency.
pub struct Group {
    pub kind: &'static Kind,
    pub python: String,
    pub hz: u32,
    pub cells: Vec<Cell>,
}

/// What one profiler did to one kind of target.
#[derive(Clone)]
pub struct Cell {
    pub tool: &'static Tool,
    /// Why there is nothing, or less than there could be.
    pub failed: Option<String>,
    pub failures: u32,
    pub judged: Judged,
    pub rejected: u64,
    pub asked: f64,
    /// Percent of the samples asked for, per repetition.
    pub got_percent: Figure,
    /// What the target loses by the wall clock, percent.
    pub slow_percent: Figure,
    /// What a unit of its work costs more of its own CPU time, percent.
    pub work_cpu_percent: Figure,
    /// Of the profiler.
    pub cpu_percent: Figure,
    pub sample_us: Figure,
    pub memory_bytes: Figure,
    pub calls: Option<Calls>,
    pub without: Latencies,
    pub with: Latencies,
}

/// Requests of a server, as repetitions: milliseconds, and answers per second.
#[derive(Clone, Default)]
pub struct Latencies {
    pub p50_ms: Figure,
    pub p99_ms: Figure,
    pub per_second: Figure,
}

impl Latencies {
    fn push(&mut self, latency: Option<Latency>) {
        let Some(Latency { per_second, p50, p99 }) = latency else { return };
        self.p50_ms.push(p50.as_secs_f64() * 1e3);
        self.p99_ms.push(p99.as_secs_f64() * 1e3);
        self.per_second.push(per_second);
    }
}

impl Cell {
    fn new(tool: &'static Tool) -> Cell {
        Cell {
            tool,
            failed: None,
            failures: 0,
            judged: Judged::default(),
            rejected: 0,
            asked: 0.0,
            got_percent: Figure::default(),
            slow_percent: Figure::default(),
            work_cpu_percent: Figure::default(),
            cpu_percent: Figure::default(),
            sample_us: Figure::default(),
            memory_bytes: Figure::default(),
            calls: None,
            without: Latencies::default(),
            with: Latencies::default(),
        }
    }

    pub fn of_all(&self, count: u64) -> f64 {
        100.0 * count as f64 / self.judged.total().max(1) as f64
    }

    /// Of what it took and what it threw away.
    pub fn rejected_percent(&self) -> f64 {
        100.0 * self.rejected as f64 / (self.judged.total() + self.rejected).max(1) as f64
    }
}

/// All groups of one kind of target. A profiler that fails is a row with its reason; the others go on.
pub fn kind(bench: &Bench, kind: &'static Kind, tools: &[&'static Tool]) -> Result<Vec<Group>> {
    let mut minors: Vec<u8> = tools.iter().flat_map(|tool| tool.minors).copied().collect();
    minors.sort_unstable();
    minors.dedup();
    let mut groups = Vec::new();
    for &minor in &minors {
        let python = bench.python(minor)?;
        let of_minor: Vec<&'static Tool> =
            tools.iter().copied().filter(|tool| tool.minors.contains(&minor)).collect();
        // Our own alone is no comparison.
        if of_minor.len() < 2 && minors.len() > 1 {
            continue;
        }
        for &hz in bench.plan.frequencies_hz {
            let share = bench.plan.per_kind / (minors.len() * bench.plan.frequencies_hz.len()) as u32;
            let _quiet = bench.quiet()?;
            let cells = group(bench, kind, python, hz, &of_minor, share);
            groups.push(Group { kind, python: python.to_string(), hz, cells });
        }
    }
    Ok(groups)
}

/// The harness of the tests panics where a test would fail: a target that ended, a profile that is none.
pub fn caught(work: impl FnOnce() -> Result<()>) -> Result<()> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| bail!("the target ended, or what the profiler wrote is no profile"))
}

/// A target, and what it does without a profiler: the window after one is the window before the next.
struct Running {
    workload: Workload,
    idle: Option<(Instant, Window)>,
}

/// What fails once may be the machine's doing.
const MOST_FAILURES: u32 = 2;

/// A window that is older says nothing about the next one.
const FRESH: Duration = Duration::from_secs(2);

fn group(
    bench: &Bench,
    kind: &Kind,
    python: &Python,
    hz: u32,
    tools: &[&'static Tool],
    share: Duration,
) -> Vec<Cell> {
    let mut cells: Vec<Cell> = tools.iter().map(|tool| Cell::new(tool)).collect();
    let begin = Instant::now();
    // In turns, so that a drift of the machine meets all of them alike.
    for repetition in 0..bench.plan.most_repetitions {
        if repetition >= bench.plan.least_repetitions && begin.elapsed() > share {
            break;
        }
        let mut plain: Option<Running> = None;
        for cell in cells.iter_mut().filter(|cell| cell.failures < MOST_FAILURES) {
            eprintln!(
                "peers: {}, CPython {python}, {hz} Hz, {}, {}",
                kind.name,
                cell.tool.name,
                repetition + 1
            );
            if !bench.is_before(bench.plan.kinds_until) {
                if repetition == 0 {
                    cell.failed = Some("no time was left".to_owned());
                }
                continue;
            }
            let is_first = repetition == 0;
            let done = caught(|| one(bench, kind, python, hz, &mut plain, is_first, cell));
            if let Err(why) = done {
                eprintln!("peers: {}: {why:#}", cell.tool.name);
                cell.failed = Some(format!("{why:#}"));
                cell.failures += 1;
                // What it left behind is not the next one's concern.
                plain = None;
            }
        }
    }
    cells
}

/// One repetition. A target that needs nothing special is started once for all profilers.
fn one(
    bench: &Bench,
    kind: &Kind,
    python: &Python,
    hz: u32,
    plain: &mut Option<Running>,
    is_first: bool,
    cell: &mut Cell,
) -> Result<()> {
    if let Some(why) = bench.kit.why_missing(cell.tool.part) {
        bail!("could not be had: {why}");
    }
    let scratch = Scratch::new("profiler");
    let mut own = match cell.tool.launch(&bench.kit, scratch.path()) {
        Some(launch) => {
            // Two targets would share their CPU.
            *plain = None;
            let workload = Workload::start(*kind, python, &launch, &bench.kit)?;
            Some(Running { workload, idle: None })
        }
        None => None,
    };
    if own.is_none() && plain.is_none() {
        let workload = Workload::start(*kind, python, &Launch::default(), &bench.kit)?;
        *plain = Some(Running { workload, idle: None });
    }
    let running = own.as_mut().or(plain.as_mut()).context("no target")?;
    let pids = running.workload.pids.clone();
    let job = Job {
        kit: &bench.kit,
        pids: &pids,
        hz: cell.tool.fixed_hz.unwrap_or(hz),
        seconds: bench.plan.seconds,
        with_children: kind.has_children,
        directory: scratch.path(),
    };
    watched(bench, running, &job, cell)?;
    if is_first && let How::Outside(outside) = &cell.tool.how {
        let scratch = Scratch::new("strace");
        cell.calls = calls::count(outside, &Job { directory: scratch.path(), ..job })?;
    }
    Ok(())
}

/// The windows without, with and without the profiler, and what it reported.
fn watched(bench: &Bench, running: &mut Running, job: &Job, cell: &mut Cell) -> Result<()> {
    let plan = bench.plan;
    let Running { workload, idle } = running;
    let before = match idle.take() {
        Some((at, window)) if at.elapsed() < FRESH => window,
        _ => window(workload, plan.window)?,
    };
    let (collected, during, seconds) = match &cell.tool.how {
        How::Outside(outside) => {
            let Some(attached) = Attached::start(outside, job, |command, _, _| command)? else {
                bail!("has no way to do this");
            };
            let started = Instant::now();
            sleep(plan.settle);
            let cpu = |attached: &Attached| -> u64 {
                attached.pids().iter().map(|&pid| family_cpu_ns(pid) + programs_ns(pid)).sum()
            };
            let rss = |attached: &Attached| -> u64 {
                attached.pids().iter().map(|&pid| family_memory_bytes(pid, "VmHWM:")).sum()
            };
            let early_rss = rss(&attached);
            let (begin, used) = (Instant::now(), cpu(&attached));
            let during = window(workload, plan.window)?;
            let used = cpu(&attached).saturating_sub(used);
            let percent = 100.0 * used as f64 / begin.elapsed().as_nanos() as f64;
            cell.cpu_percent.push(percent);
            let rss = early_rss.max(rss(&attached));
            let said =
                attached.finish(Duration::from_secs(job.seconds.into()).saturating_sub(started.elapsed()))?;
            let collected = (outside.read)(job, &said)?;
            cell.memory_bytes.push((rss + collected.kernel_bytes) as f64);
            let samples: u64 = collected.stacks.iter().map(|stack| stack.count).sum();
            if samples > 0 {
                cell.sample_us.push(percent / 100.0 * 1e6 * f64::from(job.seconds) / samples as f64);
            }
            (collected, during, f64::from(job.seconds))
        }
        How::Inside(_, read) => {
            switch_inside(workload, true)?;
            let begin = Instant::now();
            sleep(plan.settle);
            let during = window(workload, plan.window)?;
            let seconds = begin.elapsed().as_secs_f64();
            switch_inside(workload, false)?;
            (read(job)?, during, seconds)
        }
    };
    let after = window(workload, plan.window)?;

    let Collected { stacks, rejected, .. } = &collected;
    let judged = workload.truth.judge_all(stacks);
    cell.rejected += rejected;
    let asked = f64::from(job.hz) * seconds * (before.share + after.share) / 2.0;
    cell.asked += asked;
    cell.got_percent.push(100.0 * judged.total() as f64 / asked);
    cell.judged.add(&judged);
    let without = (before.rate + after.rate) / 2.0;
    if ![during.rate, without].iter().all(|rate| rate.is_finite() && *rate > 0.0) {
        bail!("the target did not get its CPU");
    }
    cell.slow_percent.push(100.0 * (without / during.rate - 1.0));
    let work_ns = |window: &Window| window.share / window.rate;
    let work_without = (work_ns(&before) + work_ns(&after)) / 2.0;
    cell.work_cpu_percent.push(100.0 * (work_ns(&during) / work_without - 1.0));
    cell.without.push(before.latency);
    cell.with.push(during.latency);
    *idle = Some((Instant::now(), after));
    Ok(())
}

/// What a target got done.
struct Window {
    rate: f64,
    /// Of a CPU.
    share: f64,
    latency: Option<Latency>,
}

fn window(workload: &Workload, length: Duration) -> Result<Window> {
    let begin = workload.read()?;
    sleep(length);
    // One that is stopped by a profiler may be late with its first result.
    let patience = Instant::now() + Duration::from_secs(20);
    while workload.done() == begin.done && Instant::now() < patience {
        sleep(Duration::from_millis(10));
    }
    let end = workload.read()?;
    if end.done == begin.done {
        bail!("the target stands still");
    }
    let latency = workload.load().map(|load| load.between(begin.at, end.at)).transpose()?;
    Ok(Window { rate: end.rate_since(&begin), share: end.share_since(&begin), latency })
}
