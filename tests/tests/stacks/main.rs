//! Impossible stacks: no sample may show a stack that the program cannot have, down to the line of every caller, and
//! hardly any may be given up. Three workloads that spend their time in the windows between two stores of the
//! interpreter: calls through C, generators, long chains of `yield from`.

mod grammar;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::thread::sleep;
use std::time::{Duration, Instant};

use grammar::Grammar;
use pyprof_tests::{Capture, Python, Target, capture, pythons};

/// Samples per version and workload.
const SAMPLES: u64 = 20_000;
const HZ: u64 = 5000;
/// Ticks that must give a complete stack, of 1,000. A share of a thousandth that is lost gives 20 of 20,000 +- 4.5:
/// a limit of 100 is 17 standard deviations away, so chance alone never trips it.
const COMPLETE_PER_MILLE: u64 = 995;
/// The kernel may throttle, so a capture may end up short and another one adds to it. It is no claim about the host.
const MAX_CAPTURES: u32 = 30;

const CHAIN_LENGTH: usize = 150;

/// Each link is a function of its own: a link too many, too few or in the wrong place is no possible stack.
fn chain() -> String {
    let mut source = String::new();
    for link in 0..CHAIN_LENGTH - 1 {
        let next = link + 1;
        let _ = writeln!(source, "def g{link}(n):\n    yield from g{next}(n)  #: g{link}>g{next}\n");
    }
    let last = CHAIN_LENGTH - 1;
    let _ = writeln!(source, "def g{last}(n):\n    for i in range(n):\n        yield i * i\n");
    source.push_str(
        "def loop():\n    total = 0\n    for item in g0(500):  #: loop>g0\n        total += item\n    return total\n\n\
         def main():\n    while True:\n        loop()  #: main>loop\n\n\
         print('ready', flush=True)\nmain()  #: <module>>main\n",
    );
    source
}

struct Workload {
    name: &'static str,
    grammar: Grammar,
    target: Target,
    /// Ticks by outcome.
    outcomes: BTreeMap<String, u64>,
    ticks: u64,
    /// Stacks that cannot be, with the reason and the number of samples.
    impossible: BTreeMap<String, u64>,
    /// The same among stacks that are marked as incomplete.
    doubtful: BTreeMap<String, u64>,
    deepest: usize,
}

impl Workload {
    fn new(python: &Python, name: &'static str, source: &str) -> Workload {
        Workload {
            name,
            grammar: Grammar::new(source, python),
            target: Target::start(python, &format!("{name}.py"), source, &[]),
            outcomes: BTreeMap::new(),
            ticks: 0,
            impossible: BTreeMap::new(),
            doubtful: BTreeMap::new(),
            deepest: 0,
        }
    }

    fn add(&mut self, capture: &Capture) {
        let process = capture.process(self.target.pid());
        // A dropped sample is a tick that gave no stack.
        let mut sum = 0;
        let outcomes = process["outcomes"].as_object().expect("outcomes");
        let dropped = ("dropped".to_owned(), process["dropped"].clone());
        for (name, count) in outcomes.clone().into_iter().chain([dropped]) {
            let count = count.as_u64().expect("a count");
            *self.outcomes.entry(name).or_default() += count;
            sum += count;
        }
        self.ticks += sum;
        let profile = capture.profile(self.target.pid()).without_collector();
        let mut whole = 0;
        for sample in &profile.samples {
            let marked = sample.frames.last().is_none_or(|root| is_marker(&root.name));
            let (why, into) = if marked {
                let rest = sample.frames.len().saturating_sub(1);
                (self.grammar.impossible_part(&sample.frames[..rest]), &mut self.doubtful)
            } else {
                whole += sample.count;
                self.deepest = self.deepest.max(sample.frames.len());
                (self.grammar.impossible(&sample.frames), &mut self.impossible)
            };
            if let Some(why) = why {
                let names: Vec<String> =
                    sample.frames.iter().map(|frame| format!("{}:{}", frame.name, frame.line)).collect();
                *into.entry(format!("{why}: {}", names.join(" < "))).or_default() += sample.count;
            }
        }
        assert_eq!(
            whole,
            process["outcomes"]["complete"].as_u64().expect("a count"),
            "stacks without a marker"
        );
    }

    fn report(&self, python: &Python) {
        let mut rest = String::new();
        for (name, count) in self.outcomes.iter().filter(|(name, count)| **count != 0 && *name != "complete")
        {
            let _ = write!(rest, " {name} {count}");
        }
        println!(
            "{:<14} {:<10} {:>6} ticks, complete {:.3} %, impossible {}, doubtful {}, deepest {}{rest}",
            python.to_string(),
            self.name,
            self.ticks,
            self.complete() as f64 * 100.0 / self.ticks as f64,
            self.impossible.values().sum::<u64>(),
            self.doubtful.values().sum::<u64>(),
            self.deepest,
        );
    }

    fn complete(&self) -> u64 {
        self.outcomes.get("complete").copied().unwrap_or(0)
    }
}

/// Frames that stand for a part of a stack, or for a whole one, that is not there.
fn is_marker(name: &str) -> bool {
    let markers = ["truncated", "torn", "unreadable", "starting", "thread not found", "unknown", "native"];
    let inner = name.strip_prefix('<').and_then(|name| name.strip_suffix('>'));
    inner.is_some_and(|inner| markers.contains(&inner) || inner == "native, in kernel")
}

fn signal(target: &Target, signal: i32) {
    // SAFETY: our own child, which is not waited for before it is dropped.
    unsafe { libc::kill(target.pid() as i32, signal) };
}

/// One capture of the workloads that still need samples, at once: two of them always run on the two cores.
fn sample(workloads: &mut [&mut Workload]) {
    let mut args: Vec<String> = ["-F", &HZ.to_string(), "--max-cpu", "100"].map(str::to_owned).into();
    for workload in &*workloads {
        args.extend(["-p".to_owned(), workload.target.pid().to_string()]);
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let recording = capture::start(&args);
    let mut running: Vec<(&Target, u64)> = workloads
        .iter()
        .map(|workload| {
            // A tenth more, for ticks that come late or not at all.
            let ticks = (SAMPLES - workload.ticks) * 11 / 10 + 50;
            (&workload.target, workload.target.schedstat_ns() + ticks * 1_000_000_000 / HZ)
        })
        .collect();
    while !running.is_empty() {
        sleep(Duration::from_millis(20));
        running.retain(|(target, goal_ns)| {
            let is_done = target.schedstat_ns() >= *goal_ns;
            if is_done {
                // It leaves its core to the others.
                signal(target, libc::SIGSTOP);
            }
            !is_done
        });
    }
    let capture = recording.stop();
    assert_eq!(capture.code, 0, "{}", capture.stderr);
    for workload in workloads {
        workload.add(&capture);
        signal(&workload.target, libc::SIGCONT);
    }
}

#[test]
fn no_sample_shows_a_stack_that_cannot_be() {
    let chain = chain();
    let mut wrong = Vec::new();
    for python in pythons() {
        let begun = Instant::now();
        let mut workloads = [
            Workload::new(&python, "flat", include_str!("../../targets/flat.py")),
            Workload::new(&python, "generators", include_str!("../../targets/generators.py")),
            Workload::new(&python, "chain", &chain),
        ];
        for _ in 0..MAX_CAPTURES {
            let mut short: Vec<_> =
                workloads.iter_mut().filter(|workload| workload.ticks < SAMPLES).collect();
            if !short.is_empty() {
                sample(&mut short);
            }
        }
        for workload in &workloads {
            workload.report(&python);
            let name = format!("{python} {}", workload.name);
            if workload.ticks < SAMPLES {
                wrong.push(format!("{name}: {} ticks only", workload.ticks));
            }
            if workload.complete() * 1000 < workload.ticks * COMPLETE_PER_MILLE {
                wrong.push(format!("{name}: {} of {} ticks complete", workload.complete(), workload.ticks));
            }
            for (stack, count) in &workload.impossible {
                wrong.push(format!("{name}: {count} impossible: {stack}"));
            }
            for (stack, count) in workload.doubtful.iter().take(3) {
                println!("    {count} under a marker: {stack}");
            }
            if workload.name == "chain" && workload.deepest != CHAIN_LENGTH + 3 {
                wrong.push(format!("{name}: the deepest stack has {} frames", workload.deepest));
            }
        }
        println!("{:<14} {:.1} s", python.to_string(), begun.elapsed().as_secs_f64());
    }
    wrong.iter().for_each(|line| println!("{line}"));
    assert!(wrong.is_empty(), "{} findings, listed above", wrong.len());
}
