//! docs/peers.md as text: what was compared and how, the tables, where a peer is better and why, and how cost grows.

use std::collections::BTreeMap;
use std::time::Duration;

use profiler_user::utc;

use crate::Bench;
use crate::columns::{COLUMNS, Column};
use crate::figures::{Figure, grouped, table};
use crate::growth::Curve;
use crate::measure::{Cell, Group};
use crate::tools::{Clock, TOOLS};
use crate::truth::Judged;

const MARK: &str = "\u{25c4}";

pub fn write(
    bench: &Bench,
    groups: &[Group],
    curves: &[Curve],
    drawn: &[(String, String)],
    took: Duration,
) -> String {
    let mut parts = vec![head(bench, took)];
    if !groups.is_empty() {
        parts.push(verdict(groups));
        parts.push(behind(groups));
        parts.extend(
            drawn.iter().filter(|(name, _)| !name.starts_with("growth-")).map(|(name, _)| image(name)),
        );
        parts.extend(groups.iter().map(of_group));
        parts.extend(requests(groups));
    }
    parts.extend(curves.iter().map(of_curve));
    parts.join("\n")
}

fn head(bench: &Bench, took: Duration) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, name)| name);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let plan = bench.plan;
    let clocks = |clock| {
        let names = TOOLS.iter().filter(|tool| tool.clock == clock).map(|tool| tool.name);
        names.collect::<Vec<_>>().join(", ")
    };
    format!(
        "# Beside other profilers\n\n\
         Measured and written by `cargo xtask bench --peers --write{}`; nothing here is typed by hand.\n\n\
         {}, Linux {}, {} ({} CPUs), {} s. The machine is virtual and shared. Targets share one CPU, profilers another \
         one.\n\n\
         * *Asked*: the frequency times the CPU time that the target uses without a profiler. Every profiler is asked for \
         stacks of what is on the CPU. More than 100 %: it reported threads as running that were only waiting for their CPU \
         or for the GIL. Ticks by the wall clock: {}; by CPU time: {}. ddtrace has a fixed frequency of 100 Hz.\n\
         * *Impossible*: one function calls another that it never calls. Each target says which of its functions call \
         which, and takes turns between chains of calls that have no function in common; no profiler is the measure of \
         another. *Cut or empty*: what is there can be, but it does not begin where stacks begin, or there is no Python \
         frame.\n\
         * *Slow-down*: what the target gets done in {} ms with the profiler, held against the windows before and after \
         without it.\n\
         * *CPU* of the profiler in the same window, without its start and its end; programs in the kernel are in the figure \
         of pyprof-bpf, and what perf does in the kernel is in nobody's. A profiler that lives inside the target has no \
         figures of its own there: they are in the slow-down.\n\
         * *Memory*: the highest resident set, and for pyprof-bpf its maps in the kernel.\n\
         * *System calls on the target*: process_vm_readv, process_vm_writev and ptrace, counted by strace in a run of its \
         own of {} s, start included.\n\n\
         Profilers take turns; a cell is the median of the repetitions (their number is in each table), with the lowest \
         and the highest in brackets. Where these ranges of two profilers overlap, neither is called better.\n",
        plan.name,
        utc::rfc3339(now.map(|since| since.as_nanos() as u64).unwrap_or(0)),
        read("/proc/sys/kernel/osrelease").trim(),
        model.unwrap_or("unknown CPU"),
        std::thread::available_parallelism().map_or(0, usize::from).max(2),
        took.as_secs(),
        clocks(Clock::Wall),
        clocks(Clock::Cpu),
        plan.window.as_millis(),
        plan.seconds,
    )
}

/// Comparisons of one column: with peers that were better, and all.
fn verdict(groups: &[Group]) -> String {
    let mut rows = vec![
        ["column", "compared with a peer", "peer better", "no difference, or pyprof-bpf better"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for column in COLUMNS {
        let pairs: Vec<bool> = pairs(groups, column).map(|(_, _, _, better)| better).collect();
        let better = pairs.iter().filter(|better| **better).count();
        rows.push(vec![
            column.head.to_owned(),
            pairs.len().to_string(),
            better.to_string(),
            (pairs.len() - better).to_string(),
        ]);
    }
    format!("## In all\n\n{}", table(&rows))
}

fn pairs<'a>(
    groups: &'a [Group],
    column: &'a Column,
) -> impl Iterator<Item = (&'a Group, &'a Cell, &'a Cell, bool)> {
    groups.iter().flat_map(move |group| {
        let ours = group.cells.iter().find(|cell| cell.tool.is_ours());
        let peers = group.cells.iter().filter(|cell| !cell.tool.is_ours());
        let has = |cell: &Cell| (column.value)(cell).is_some();
        ours.into_iter().flat_map(move |ours| {
            peers
                .clone()
                .filter(move |peer| has(peer) && has(ours))
                .map(move |peer| (group, peer, ours, column.is_better(peer, ours)))
        })
    })
}

fn behind(groups: &[Group]) -> String {
    let mut out = format!("## Where a peer is better\n\nThese cells have the mark {MARK} in the tables.\n\n");
    let mut any = false;
    for column in COLUMNS {
        let mut by_peer: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (group, peer, _, _) in pairs(groups, column).filter(|(_, _, _, better)| *better) {
            by_peer.entry(peer.tool.name).or_default().push(place(group));
        }
        if by_peer.is_empty() {
            continue;
        }
        any = true;
        out += &format!("* **{}**: {}.\n", column.head, column.why);
        for (peer, places) in by_peer {
            out += &format!("  * {peer}: {}\n", places.join("; "));
        }
    }
    if any { out } else { "## Where a peer is better\n\nNowhere in this run.\n".to_owned() }
}

fn place(group: &Group) -> String {
    let minor = group.python.rsplit_once('.').map_or(&*group.python, |(minor, _)| minor);
    format!("{} on {minor} at {} Hz", group.kind.name, group.hz)
}

fn image(name: &str) -> String {
    format!("![{name}](plots/{name}.svg)\n")
}

fn of_group(group: &Group) -> String {
    let mut heads = vec!["profiler".to_owned(), "repetitions".to_owned()];
    heads.extend(COLUMNS.iter().map(|column| column.head.to_owned()));
    let mut rows = vec![heads];
    let ours = group.cells.iter().find(|cell| cell.tool.is_ours());
    let mut notes = String::new();
    for cell in &group.cells {
        let mut row = vec![cell.tool.name.to_owned(), cell.slow_percent.len().to_string()];
        row.extend(COLUMNS.iter().map(|column| {
            let is_better = !cell.tool.is_ours() && ours.is_some_and(|ours| column.is_better(cell, ours));
            format!("{}{}", column.show(cell), if is_better { format!(" {MARK}") } else { String::new() })
        }));
        if let Some(why) = &cell.failed {
            row[1] += ", and failed";
            notes += &format!("\n{} failed: {}.\n", cell.tool.name, one_line(why));
        }
        rows.push(row);
    }
    format!("## {}, CPython {}, {} Hz\n\n{}{notes}", group.kind.name, group.python, group.hz, table(&rows))
}

/// What a program said may have lines, and what Markdown would take for its own.
fn one_line(text: &str) -> String {
    let cleaned: String =
        text.chars().map(|c| if c.is_control() || "|<>`*".contains(c) { ' ' } else { c }).collect();
    cleaned.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(300).collect()
}

/// What the clients of the web server see.
fn requests(groups: &[Group]) -> Option<String> {
    let heads = ["profiler", "", "p50, ms", "p99, ms", "answers per second"];
    let mut out = String::new();
    for group in groups.iter().filter(|group| group.kind.is_web()) {
        let mut rows = vec![heads.map(str::to_owned).to_vec()];
        for cell in group.cells.iter().filter(|cell| cell.with.p50_ms.len() > 0) {
            for (which, latencies) in [("without", &cell.without), ("with", &cell.with)] {
                let show = |figure: &Figure, decimals| format!("{figure:.decimals$}");
                rows.push(vec![
                    cell.tool.name.to_owned(),
                    which.to_owned(),
                    show(&latencies.p50_ms, 1),
                    show(&latencies.p99_ms, 1),
                    show(&latencies.per_second, 0),
                ]);
            }
        }
        if rows.len() > 1 {
            out += &format!("## Requests to {}\n\n{}\n", place(group), table(&rows));
        }
    }
    (!out.is_empty()).then_some(out)
}

/// `3 of 1,234`
fn of_all(stacks: u64, judged: &Judged) -> String {
    format!("{} of {}", grouped(stacks as f64, 0), grouped(judged.total() as f64, 0))
}

fn of_curve(curve: &Curve) -> String {
    let heads = [
        curve.axis,
        "CPU in all, % of a core",
        "of it the process",
        "of it the programs",
        "CPU for a sample, us",
        "memory, MB",
        "samples got, % of asked",
        "impossible",
        "cut or empty",
    ];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    let mut notes = String::new();
    for point in &curve.points {
        let sum = point.process_percent.median() + point.programs_percent.median();
        rows.push(vec![
            grouped(f64::from(point.at), 0),
            if sum.is_finite() { grouped(sum, 2) } else { "-".to_owned() },
            format!("{:.2}", point.process_percent),
            format!("{:.2}", point.programs_percent),
            format!("{:.1}", point.sample_us),
            format!("{:.1}", point.memory_bytes.scaled(1e-6)),
            format!("{:.0}", point.got_percent),
            of_all(point.judged.impossible, &point.judged),
            of_all(point.judged.incomplete + point.judged.empty, &point.judged),
        ]);
        if let Some(why) = &point.failed {
            notes += &format!("\n{} failed: {}.\n", point.at, one_line(why));
        }
    }
    let images = ["cpu", "sample", "memory"].map(|what| image(&format!("growth-{}-{what}", curve.name)));
    format!(
        "## How the cost of pyprof-bpf grows: {}\n\n99 Hz and 20 frames where nothing else is said; all on one CPU.\n\n{}{notes}\n{}",
        curve.axis,
        table(&rows),
        images.join("\n")
    )
}
