//! How the cost of pyprof-bpf grows with threads, processes, depth and frequency: one capture of a known crowd at a time.

use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use pyprof_tests::Scratch;

use crate::Bench;
use crate::figures::Figure;
use crate::machine::{family_cpu_ns, family_memory_bytes};
use crate::measure::caught;
use crate::tools::{Attached, Collected, How, Job, OURS, programs_ns};
use crate::truth::Judged;
use crate::workload::{CROWD, Kind, PATH, Workload};

const MINOR: u8 = 13;
const USUAL_HZ: u32 = 99;
const SETTLE: Duration = Duration::from_millis(700);

/// What one of them does to the cost.
pub struct Curve {
    pub name: &'static str,
    pub axis: &'static str,
    pub points: Vec<Point>,
}

pub struct Point {
    pub at: u32,
    pub failed: Option<String>,
    /// Percent of a core: the process, and the programs in the kernel.
    pub process_percent: Figure,
    pub programs_percent: Figure,
    pub sample_us: Figure,
    pub memory_bytes: Figure,
    pub got_percent: Figure,
    pub judged: Judged,
}

/// The axis, its values, and what each is measured on.
struct Row {
    name: &'static str,
    axis: &'static str,
    values: &'static [u32],
    setting: fn(u32) -> Setting,
}

struct Setting {
    base: Kind,
    argument: u32,
    processes: u32,
    hz: u32,
}

const ROWS: [Row; 4] = [
    Row {
        name: "threads",
        axis: "threads of one process",
        values: &[1, 10, 100, 1000, 5000],
        setting: |threads| Setting { base: CROWD, argument: threads, processes: 1, hz: USUAL_HZ },
    },
    Row {
        name: "processes",
        axis: "processes",
        values: &[1, 10, 100, 500],
        setting: |processes| Setting { base: PATH, argument: 20, processes, hz: USUAL_HZ },
    },
    Row {
        name: "depth",
        axis: "frames",
        values: &[5, 20, 100, 500, 1000],
        setting: |frames| Setting { base: PATH, argument: frames, processes: 1, hz: USUAL_HZ },
    },
    Row {
        name: "frequency",
        axis: "Hz",
        values: &[19, 99, 999, 5000, 10000],
        setting: |hz| Setting { base: PATH, argument: 20, processes: 1, hz },
    },
];

pub fn measure(bench: &Bench) -> Result<Vec<Curve>> {
    let mut curves = Vec::new();
    for row in &ROWS {
        let mut points = Vec::new();
        for &at in row.values {
            let _quiet = bench.quiet()?;
            eprintln!("peers: growth, {at} {}", row.axis);
            let mut point = Point::new(at);
            if !bench.is_before(bench.plan.growth_until) {
                point.failed = Some("no time was left".to_owned());
            } else if let Err(why) = caught(|| one(bench, &(row.setting)(at), &mut point)) {
                eprintln!("peers: growth: {why:#}");
                point.failed = Some(format!("{why:#}"));
            }
            points.push(point);
        }
        curves.push(Curve { name: row.name, axis: row.axis, points });
    }
    Ok(curves)
}

impl Point {
    fn new(at: u32) -> Point {
        Point {
            at,
            failed: None,
            process_percent: Figure::default(),
            programs_percent: Figure::default(),
            sample_us: Figure::default(),
            memory_bytes: Figure::default(),
            got_percent: Figure::default(),
            judged: Judged::default(),
        }
    }
}

fn one(bench: &Bench, setting: &Setting, point: &mut Point) -> Result<()> {
    let python = bench.python(MINOR)?;
    let workload = Workload::crowd(setting.base, setting.argument, setting.processes, python, &bench.kit)?;
    let How::Outside(outside) = &OURS.how else { return Ok(()) };
    let seconds = (SETTLE + bench.plan.growth_window).as_secs() as u32 + 1;
    for repetition in 0..bench.plan.growth_repetitions {
        if repetition > 0 && !bench.is_before(bench.plan.growth_until) {
            break;
        }
        let scratch = Scratch::new("growth");
        let job = Job {
            kit: &bench.kit,
            pids: &workload.pids,
            hz: setting.hz,
            seconds,
            with_children: false,
            directory: scratch.path(),
        };
        let plain = |command: Command, _: &std::path::Path, _| command;
        let attached = Attached::start(outside, &job, plain)?.context("cannot be started")?;
        let (started, pid) = (Instant::now(), attached.pids()[0]);
        sleep(SETTLE);
        let (begin, of_target) = (Instant::now(), workload.read()?);
        let (process, programs) = (family_cpu_ns(pid), programs_ns(pid));
        sleep(bench.plan.growth_window);
        let percent = |ns: u64| 100.0 * ns as f64 / begin.elapsed().as_nanos() as f64;
        let process = percent(family_cpu_ns(pid).saturating_sub(process));
        let programs = percent(programs_ns(pid).saturating_sub(programs));
        let share = workload.read()?.share_since(&of_target);
        let rss = family_memory_bytes(pid, "VmHWM:");
        let said = attached.finish(Duration::from_secs(seconds.into()).saturating_sub(started.elapsed()))?;
        let Collected { stacks, kernel_bytes, .. } = (outside.read)(&job, &said)?;
        let judged = workload.truth.judge_all(&stacks);
        point.process_percent.push(process);
        point.programs_percent.push(programs);
        point.memory_bytes.push((rss + kernel_bytes) as f64);
        let per_second = judged.total() as f64 / f64::from(seconds);
        point.got_percent.push(100.0 * per_second / (f64::from(setting.hz) * share));
        if per_second > 0.0 {
            point.sample_us.push((process + programs) * 1e4 / per_second);
        }
        point.judged.add(&judged);
    }
    Ok(())
}
