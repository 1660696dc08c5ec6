//! `kill -9` at random moments, from the loading of programs to the writing of files: nothing of the profiler stays in the
//! kernel, no process of it goes on, and no file is there in part.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pyprof_tests::pythons::python;
use pyprof_tests::{Profile, Scratch, Target, bpf, capture};

const DEEP: &str = include_str!("../targets/deep.py");
const ROUNDS: u32 = 24;
const MOST_ROUNDS: u32 = 240;
/// A capture begins after 150 ms or so.
const UP_TO_US: u64 = 600_000;
/// Of the rounds every third is asked to end first, and killed within the time that writing takes.
const WRITING_US: u64 = 40_000;
/// The kernel frees programs and maps after a grace period: 50 ms or so where the host is idle.
const PATIENCE: Duration = Duration::from_secs(60);

/// xorshift64 (G. Marsaglia, 2003)
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

fn start(output: &Path, pids: &[String]) -> Child {
    let mut command = Command::new(capture::binary());
    command.args(["-q", "-F", "999", "--max-cpu", "400", "-o"]).arg(output);
    command.args(pids.iter().flat_map(|pid| ["-p", pid]));
    command.stderr(Stdio::null()).spawn().expect("the profiler starts")
}

fn children(pid: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// Whether it runs; one that nobody has waited for does not.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}

/// For the report of a failure.
fn describe(pid: u32) -> String {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let files: Vec<_> = files.filter_map(|entry| std::fs::read_link(entry.path()).ok()).collect();
    format!("{pid}: {} {} {files:?}\n{}", read("cmdline"), read("wchan"), read("status"))
}

fn signal(child: &Child, signal: i32) {
    // SAFETY: a child of ours that was not waited for.
    unsafe { libc::kill(child.id() as i32, signal) };
}

fn whole_files(output: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(output) else { return 0 };
    let mut whole = 0;
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name of ours");
        match name {
            "capture.json" => {
                let bytes = std::fs::read(&path).expect("it is there");
                serde_json::from_slice::<serde_json::Value>(&bytes).expect("whole");
            }
            _ => assert!(!Profile::read(&path).samples.is_empty(), "{name}"),
        }
        whole += 1;
    }
    whole
}

#[test]
fn a_profiler_killed_at_any_moment_leaves_nothing_behind() {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos() as u64 | 1;
    println!("seed {seed}");
    let mut random = Random(seed);
    let targets = [python(9), python(13)].map(|python| Target::start(&python, "deep.py", DEEP, &[]));
    let pids = targets.each_ref().map(|target| target.pid().to_string());
    let (mut loading, mut running, mut writing, mut written) = (0, 0, 0, 0);
    // As many as one holds that runs.
    let mut all = 0;
    for round in 0..MOST_ROUNDS {
        // What a round meets is up to chance.
        if round >= ROUNDS && written > 0 {
            break;
        }
        let scratch = Scratch::new("killed");
        let output = scratch.path().join("out");
        let mut profiler = start(&output, &pids);
        let asked = round % 3 == 2;
        std::thread::sleep(Duration::from_micros(if asked { UP_TO_US } else { random.below(UP_TO_US) }));
        // What it holds a moment before: it ends itself where it was asked to.
        let held = bpf::objects_of(profiler.id());
        let readers = children(profiler.id());
        if asked {
            signal(&profiler, libc::SIGINT);
            std::thread::sleep(Duration::from_micros(random.below(WRITING_US)));
        }
        signal(&profiler, libc::SIGKILL);
        profiler.wait().expect("it ends");
        all = all.max(held.len());
        match (asked, held.len() < all) {
            (true, _) => writing += 1,
            (false, true) => loading += 1,
            (false, false) => running += 1,
        }
        let until = Instant::now() + PATIENCE;
        while held.iter().any(|object| object.exists()) || readers.iter().any(|pid| runs(*pid)) {
            let left: Vec<_> = held.iter().filter(|object| object.exists()).collect();
            let what = || readers.iter().map(|pid| describe(*pid)).collect::<String>();
            assert!(
                Instant::now() < until,
                "round {round}: {left:?} and {readers:?} are still there\n{}",
                what()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        written += whole_files(&output);
    }
    println!("killed while loading {loading}, running {running}, writing {writing}; {written} whole files");
    assert!(all > 10 && loading + running > 0 && writing > 0 && written > 0, "{all} objects at most");
}
