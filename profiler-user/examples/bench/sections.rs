//! The sections of the report: each measures, fills a table, and holds the result against the project's targets.

use std::time::Duration;

use anyhow::Result;
use pyprof_tests::Python;

use crate::Bench;
use crate::figures::{grouped, table};
use crate::kernel_side::{Sampled, Variant};
use crate::product::{self, Attached};
use crate::slowdown::{SlowDown, slow_down};
use crate::workload::{Heat, Kind, Workload};

const DEPTHS: [u32; 5] = [5, 20, 60, 120, 250];
const WARM_HZ: u32 = 5_000;
const COLD_HZ: u32 = 99;

/// Rows of the table of one interpreter: what it is called, the workload, the variant.
const ROWS: [(&str, Kind, Heat, Variant); 11] = [
    ("empty program", Kind::Distinct, Heat::Warm, Variant::Empty),
    ("**distinct functions**", Kind::Distinct, Heat::Warm, Variant::Full),
    ("distinct functions, one read per frame", Kind::Distinct, Heat::Warm, Variant::Single),
    ("one function, recursing", Kind::Same, Heat::Warm, Variant::Full),
    ("one function, one read per frame", Kind::Same, Heat::Warm, Variant::Single),
    ("two stacks that alternate", Kind::Alternate, Heat::Warm, Variant::Full),
    ("code churn", Kind::Churn, Heat::Warm, Variant::Full),
    ("empty program, cold", Kind::Distinct, Heat::Cold, Variant::Empty),
    ("**distinct functions, cold**", Kind::Distinct, Heat::Cold, Variant::Full),
    ("distinct functions, one read per frame, cold", Kind::Distinct, Heat::Cold, Variant::Single),
    ("one function, cold", Kind::Same, Heat::Cold, Variant::Full),
];

/// Depths at which every row is measured; the others only where they cost no extra minute.
fn is_measured(kind: Kind, heat: Heat, depth: u32) -> bool {
    match (kind, heat) {
        (Kind::Distinct, _) | (Kind::Same, Heat::Warm) => true,
        (Kind::Same | Kind::Alternate | Kind::Churn, _) => matches!(depth, 20 | 120),
    }
}

/// Most that a warm sample of distinct functions may take, us: at depth 20 and at depth 120.
fn limits_us(minor: u8) -> [(u32, f64); 2] {
    if minor >= 12 { [(20, 3.5), (120, 15.0)] } else { [(20, 5.0), (120, 25.0)] }
}

pub fn head(bench: &Bench, quick: bool, when: &str, took: Duration) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, name)| name);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!(
        "# Performance\n\n\
         What pyprof-bpf costs, measured and written by `cargo xtask bench --write{}`; nothing here is typed by hand.\n\n\
         {when}, Linux {}, {} ({} CPUs), {} s. The machine is virtual and shared: absolute times drift by 20 % between \
         runs, ratios do not.\n\
         Variants take turns, so that drift meets all of them; a cell is the median of the repetitions, with the lowest \
         and the highest in brackets. Beside other profilers, how cost grows with threads, processes, depth and frequency, and the \
         plots of both: [peers.md](peers.md), by `cargo xtask bench --peers --write`.\n\n\
         ## Targets\n\n{}",
        if quick { " --quick" } else { "" },
        kernel.trim(),
        model.unwrap_or("unknown CPU"),
        bench.cpu + 1,
        took.as_secs(),
        bench.targets.table(),
    )
}

pub fn kernel(bench: &mut Bench, pythons: &[Python]) -> Result<String> {
    let mut text = format!(
        "## One sample in the kernel, ns\n\n\
         The kernel's own time of the program that counts ticks, which includes the sampling program it calls (a \
         tail-called program is on its caller's account), divided by its runs. Ticks come only while the target runs.\n\
         Warm: {WARM_HZ} Hz and a leaf that counts. Cold: {COLD_HZ} Hz and a leaf that walks over 11 MB. *Empty \
         program*: the counting program alone. *Code churn*: the leaf is a new code object at each call, so that \
         nearly every sample captures one.\n\
         Frames of 3.10 lie on the heap, so that there *one read per frame* is the same code twice: what these rows differ \
         by is the noise of the machine.\n"
    );
    for python in pythons {
        let head = format!("CPython {python}, frames:");
        let mut rows = vec![std::iter::once(head).chain(DEPTHS.map(|depth| depth.to_string())).collect()];
        let mut measured = vec![vec![None; ROWS.len()]; DEPTHS.len()];
        for heat in [Heat::Warm, Heat::Cold] {
            // One block of less than a minute.
            let _quiet = bench.quiet()?;
            eprintln!("bench: kernel side, CPython {python}, {heat:?}");
            for (depth, measured) in DEPTHS.into_iter().zip(&mut measured) {
                one_depth(bench, python, depth, heat, measured)?;
            }
        }
        for (row, (name, ..)) in ROWS.iter().enumerate() {
            let cell = |at_depth: &Vec<Option<Sampled>>| {
                at_depth[row].as_ref().map_or("-".into(), |sampled: &Sampled| sampled.ns.to_string())
            };
            rows.push(std::iter::once((*name).to_owned()).chain(measured.iter().map(cell)).collect());
        }
        let mut notes = Vec::new();
        for (depth, measured) in DEPTHS.into_iter().zip(&measured) {
            judge(bench, python, depth, measured);
            if depth == 20 || depth == 120 {
                notes.push(note(depth, measured));
            }
        }
        text += &format!("\n{}\n{}", table(&rows), notes.join("\n"));
    }
    Ok(text)
}

/// All rows of one depth; those of one workload in turns.
fn one_depth(
    bench: &mut Bench,
    python: &Python,
    depth: u32,
    heat: Heat,
    measured: &mut [Option<Sampled>],
) -> Result<()> {
    let (hz, rounds, slot) = match heat {
        Heat::Warm => (WARM_HZ, bench.plan.rounds, bench.plan.warm_slot),
        Heat::Cold => (COLD_HZ, bench.plan.cold_rounds, bench.plan.cold_slot),
    };
    for kind in [Kind::Distinct, Kind::Same, Kind::Alternate, Kind::Churn] {
        let rows: Vec<usize> =
            (0..ROWS.len()).filter(|row| (ROWS[*row].1, ROWS[*row].2) == (kind, heat)).collect();
        if rows.is_empty() || !is_measured(kind, heat, depth) {
            continue;
        }
        let variants: Vec<Variant> = rows.iter().map(|row| ROWS[*row].3).collect();
        let workload = Workload::start(python, kind, depth, heat, bench.cpu)?;
        let sampled = bench.lab.measure(&workload, &variants, hz, rounds, slot)?;
        for (row, sampled) in rows.into_iter().zip(sampled) {
            measured[row] = Some(sampled);
        }
    }
    Ok(())
}

fn judge(bench: &mut Bench, python: &Python, depth: u32, measured: &[Option<Sampled>]) {
    for (limit_depth, limit_us) in limits_us(python.minor) {
        for (name, row) in [("distinct functions", 1), ("one function", 3)] {
            if let (true, Some(sampled)) = (limit_depth == depth, &measured[row]) {
                let what = format!("one sample, CPython {python}, depth {depth}, {name}, warm");
                bench.targets.at_most(what, limit_us, "us", sampled.ns.median() / 1000.0, 1);
            }
        }
    }
}

/// What shows that the figures are of what they claim to be of.
fn note(depth: u32, measured: &[Option<Sampled>]) -> String {
    let mut out = String::new();
    if let Some(sampled) = &measured[1] {
        out += &format!(
            "Depth {depth}, distinct: {} ticks, {:.1} % complete, {:.1} frames on average; {} ns by the program's own clock. ",
            grouped(sampled.ticks as f64, 0),
            100.0 * sampled.complete as f64 / sampled.ticks.max(1) as f64,
            sampled.depth(),
            grouped(sampled.own_ns.median(), 0),
        );
    }
    if let Some(sampled) = &measured[6] {
        let codes = sampled.codes as f64 / sampled.ticks.max(1) as f64;
        out += &format!("Churn: {codes:.2} code objects captured per sample.");
    }
    out + "\n"
}

/// Fewer undisturbed windows give no figure.
const LEAST_WINDOWS: usize = 20;

/// Slow-down is measured at this depth.
const USUAL_DEPTH: u32 = 20;

pub fn slowdown(bench: &mut Bench, pythons: &[Python]) -> Result<String> {
    let mut rows = vec![
        ["CPython", "99 Hz", "1 kHz", "1 kHz, empty program", "windows used, left out"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for python in pythons {
        let _quiet = bench.quiet()?;
        eprintln!("bench: slow-down, CPython {python}");
        let workload = Workload::start(python, Kind::Distinct, USUAL_DEPTH, Heat::Warm, bench.cpu)?;
        let duration = bench.plan.windows;
        let seldom = slow_down(&mut bench.lab, &workload, &[Variant::Full], 99, duration)?;
        let often = slow_down(&mut bench.lab, &workload, &[Variant::Full, Variant::Empty], 1000, duration)?;
        let mut row = vec![python.to_string()];
        for slow_down in seldom.iter().chain(&often) {
            let figure = &slow_down.percent;
            if figure.len() < LEAST_WINDOWS {
                row.push("too disturbed".into());
                continue;
            }
            let (low, high) = figure.median_range();
            row.push(format!("{:+.2} % ({low:+.2} to {high:+.2})", figure.median()));
        }
        let windows = |slow_down: &SlowDown| format!("{}, {}", slow_down.percent.len(), slow_down.disturbed);
        row.push(seldom.iter().chain(&often).map(windows).collect::<Vec<_>>().join("; "));
        rows.push(row);
    }
    Ok(format!(
        "## What the target loses\n\n\
         {USUAL_DEPTH} frames, ticks on every CPU as in a capture. Windows of 30 ms without and with ticks follow each \
         other, and each one is held against its two neighbours; a cell is the median, with the range that would hold it \
         with 95 % probability if windows were independent. They are not quite: neighbours share a window, and load on \
         the other CPU shows here, too. A range that lies below zero is such a disturbance. Windows in which the target \
         had to wait for its CPU are left out.\n\n{}",
        table(&rows)
    ))
}

const ALL_IN_LIMIT_US: f64 = 25.0;

pub fn all_in(bench: &mut Bench, pythons: &[Python]) -> Result<String> {
    let head = ["CPython", "in all, us", "process, us", "programs, us", "samples", "its own account, us"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for python in pythons {
        let _quiet = bench.quiet()?;
        eprintln!("bench: CPU in all, CPython {python}");
        let workload = Workload::start(python, Kind::Alternate, USUAL_DEPTH, Heat::Warm, bench.cpu)?;
        let cost = product::all_in(&workload, bench.plan.all_in)?;
        let us = |ns: f64| grouped(ns / 1000.0, 1);
        let what = format!("CPU in all per sample at 1 kHz, CPython {python}, {USUAL_DEPTH} frames");
        bench.targets.at_most(what, ALL_IN_LIMIT_US, "us", cost.total_ns() / 1000.0, 1);
        rows.push(vec![
            python.to_string(),
            us(cost.total_ns()),
            us(cost.process_ns),
            us(cost.programs_ns),
            grouped(cost.samples, 0),
            us(cost.own_account_ns),
        ]);
    }
    Ok(format!(
        "## CPU in all, per sample\n\n\
         Process and programs together at 1 kHz, two stacks of {USUAL_DEPTH} frames that alternate, in the steady state: \
         what the scheduler and the kernel's clock on BPF programs book between two moments. Ticks on idle CPUs and on \
         others are shared among the samples. *Its own account*: what `capture.json` says the whole capture used, \
         starting and writing included.\n\n{}",
        table(&rows)
    ))
}

const STEADY_LIMIT_MB: f64 = 40.0;
/// Has the threads of the crowd use about one CPU together.
const REST_MS: u32 = 20_000;
const ATTACHED_LIMIT_S: f64 = 0.5;

pub fn memory(bench: &mut Bench, pythons: &[Python]) -> Result<String> {
    let mb = |bytes: f64| bytes / 1e6;
    let _quiet = bench.quiet()?;
    eprintln!("bench: time to attach");
    let attaches = bench.plan.attaches;
    let alone = product::attach_times(attaches)?;
    let usual = product::Crowd::start(pythons, REST_MS);
    let beside = product::attach_times(attaches)?;
    drop(usual);
    let crowd = product::Crowd::start(pythons, 0);
    let saturated = product::attach_times(attaches)?;
    eprintln!("bench: memory");
    let memory = product::memory(bench.plan.memory)?;
    drop(crowd);

    let crowd = format!("{} processes with {} threads each", product::PROCESSES, product::THREADS_EACH);
    let steady = mb(memory.steady.median());
    bench.targets.at_most(format!("steady RSS, {crowd}"), STEADY_LIMIT_MB, "MB", steady, 1);
    for (what, figure) in [
        ("attached since exec, idle host (median)".into(), &alone.since_exec),
        (format!("attached since exec, {crowd} (median)"), &beside.since_exec),
        // A process among thousands that want a CPU waits for one before it can do anything about it.
        (format!("attached since main, {crowd}, none of which ever rests (median)"), &saturated.since_main),
    ] {
        bench.targets.at_most(what, ATTACHED_LIMIT_S, "s", figure.median(), 2);
    }
    let ms = |Attached { since_exec, since_main }: &Attached| {
        format!("{} ms; since main {} ms", since_exec.scaled(1000.0), since_main.scaled(1000.0))
    };
    let rows = [
        ["what", "measured"].map(str::to_owned).to_vec(),
        vec![
            "steady RSS, second half of the capture".into(),
            format!("{:.1} MB", memory.steady.scaled(1e-6)),
        ],
        vec!["peak RSS".into(), format!("{:.1} MB", mb(memory.peak_bytes))],
        vec!["maps in the kernel".into(), format!("{:.1} MB", mb(memory.maps_bytes))],
        vec!["from exec to sampling, idle host".into(), ms(&alone)],
        vec![
            format!("from exec to sampling, beside {crowd} that rest {REST_MS} ms after each few"),
            ms(&beside),
        ],
        vec!["from exec to sampling, beside as many that never rest".into(), ms(&saturated)],
    ];
    Ok(format!(
        "## Memory, and time to attach\n\n\
         The whole host at 99 Hz for {} s with {crowd}, none of which ever rests: {} samples.\n\n{}",
        bench.plan.memory.as_secs(),
        grouped(memory.samples, 0),
        table(&rows)
    ))
}
