//! What following threads off their CPUs costs where they do little else than leave them: two processes that wake each other.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pyprof_tests::{Python, Target};
use serde_json::Value;

use crate::Bench;
use crate::figures::{Figure, grouped, table};
use crate::product::Run;
use crate::quiet::pin;
use crate::workload::Counter;

const SOURCE: &str = include_str!("targets/switches.py");
const DEPTH: u32 = 20;
/// Turns of an empty loop between two switches: some 200,000 switches a second, and as many as there can be.
const PACES: [u32; 2] = [400, 0];
/// From the first sample on; and for how long rates are compared.
const SETTLE: Duration = Duration::from_millis(500);
const WINDOW: Duration = Duration::from_secs(1);
/// To and from each of both, per round.
const SWITCHES: f64 = 2.0;

struct Pair {
    target: Target,
    counter: Counter,
}

impl Pair {
    fn start(python: &Python, turns: u32, cpu: usize) -> Result<Pair> {
        let counter = Counter::new()?;
        let args = [&DEPTH.to_string(), &turns.to_string(), counter.path()?];
        let target = Target::start(python, "switches.py", SOURCE, &args);
        let other = u32::try_from(counter.word(1)).context("no second process")?;
        // On one CPU, so that each waits for a switch to the other.
        pin(target.pid(), cpu)?;
        pin(other, cpu)?;
        Ok(Pair { target, counter })
    }

    /// Switches per second, now.
    fn rate(&self) -> f64 {
        let (begin, done) = (Instant::now(), self.counter.word(0));
        std::thread::sleep(WINDOW);
        (self.counter.word(0) - done) as f64 * SWITCHES / begin.elapsed().as_secs_f64()
    }
}

/// Of captures of one kind.
#[derive(Default)]
struct Cost {
    percent: Figure,
    own_percent: Figure,
    switch_ns: Figure,
    one_in: Figure,
    off_percent: Figure,
}

/// One capture between two windows without any.
fn capture(pair: &Pair, is_off_cpu: bool, cost: &mut Cost, without: &mut Figure) -> Result<()> {
    let pid = pair.target.pid().to_string();
    let before = pair.rate();
    let seconds = (2 * SETTLE + 2 * WINDOW).as_secs_f64().to_string();
    let mut args = vec!["-d", &seconds, "--tree", &pid, "--max-cpu", "1000"];
    args.extend(is_off_cpu.then_some("--off-cpu"));
    let run = Run::start(&args)?;
    std::thread::sleep(SETTLE);
    let (begin, used) = (Instant::now(), run.used()?);
    let during = pair.rate();
    let (after, elapsed_ns) = (run.used()?, begin.elapsed().as_nanos() as f64);
    let json = run.finish()?;
    let mean = (before + pair.rate()) / 2.0;
    without.push(mean);
    cost.percent.push(100.0 * (mean / during - 1.0));
    cost.own_percent.push(100.0 * (after.process_ns - used.process_ns) / elapsed_ns);
    let programs_ns = after.programs_ns - used.programs_ns;
    cost.switch_ns.push(programs_ns / (during * elapsed_ns / 1e9));
    if is_off_cpu {
        let processes = json["processes"].as_array().context("no processes")?;
        let sum = |name: &str| -> f64 {
            processes.iter().filter_map(|process| process["off_cpu"][name].as_f64()).sum()
        };
        ensure!(sum("blocks") > 1000.0, "{}", Value::from(processes.clone()));
        cost.one_in.push(sum("blocks") / (sum("blocks") - sum("not_walked")));
        cost.off_percent.push(100.0 * (sum("profile_ns") - sum("off_cpu_ns")) / sum("off_cpu_ns"));
    }
    Ok(())
}

pub fn section(bench: &mut Bench, pythons: &[Python]) -> Result<String> {
    let head = [
        "CPython",
        "capture",
        "switches/s without",
        "slow-down",
        "own CPU",
        "programs, ns per switch",
        "walked: one in",
        "profile against account",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    // The cost is the kernel's, and hardly differs by version: the oldest and the newest.
    let ends = [pythons.first(), pythons.last()].into_iter().flatten();
    for (python, turns) in ends.flat_map(|python| PACES.map(|turns| (python, turns))) {
        let _quiet = bench.quiet()?;
        eprintln!("bench: time off the CPU, CPython {python}");
        let pair = Pair::start(python, turns, bench.cpu)?;
        let (mut usual, mut off_cpu, mut without) = (Cost::default(), Cost::default(), Figure::default());
        for _ in 0..bench.plan.captures {
            capture(&pair, false, &mut usual, &mut without)?;
            capture(&pair, true, &mut off_cpu, &mut without)?;
        }
        for (name, cost) in [("99 Hz", &usual), ("99 Hz, `--off-cpu`", &off_cpu)] {
            let percent = |figure: &Figure| format!("{figure:.1} %");
            let of_off_cpu = |text: String| if name == "99 Hz" { "-".to_owned() } else { text };
            rows.push(vec![
                python.to_string(),
                name.to_owned(),
                without.to_string(),
                percent(&cost.percent),
                percent(&cost.own_percent),
                cost.switch_ns.to_string(),
                of_off_cpu(format!("{:.1}", cost.one_in)),
                of_off_cpu(format!("{:.2} %", cost.off_percent)),
            ]);
        }
    }
    Ok(format!(
        "## Time off the CPU, where threads do little but leave it\n\n\
         Two processes, {DEPTH} frames deep, wake each other in turn through pipes on one CPU: nothing but system calls and \
         switches, as bad as it gets, and the same with a loop between two switches. Rates of {} s within a capture are held against those before and after it; captures with \
         and without `--off-cpu` take turns. *Own CPU*: of the profiler's process, of one core. *Programs*: all of them, by the \
         kernel's clock. *Profile against account*: what the weights of the waits that were walked add up to, beside the sum of \
         all.\n\n{}",
        grouped(WINDOW.as_secs_f64(), 0),
        table(&rows)
    ))
}
