//! Stacks of a thread that never rests, whose possible stacks are known: none is impossible, unless it is marked as torn.
//!
//! The target calls and returns as fast as it can, so that its frames lie in the same places over and over with other
//! contents: whatever is put together from two moments is a pair of caller and callee that never was.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use profiler_user::process::stacks::{End, Python, StackFrame, Thread, Wanted, stacks};
use profiler_user::process::{FactsCache, Inspection, inspect};

/// `callee` is called by its own `caller` only, from its own line.
const SOURCE: &str = "
import threading
def leaf_a(): return 1
def leaf_b(): return 2
def leaf_c(): return 3
def middle_a(): return leaf_a()
def middle_b():
    return leaf_b()
def middle_c():
    return [leaf_c() for _ in (1,)]
def generate():
    yield leaf_a()
    yield middle_b()
def busy():
    while True:
        middle_a(); middle_b(); middle_c()
        sum(generate())
threading.Thread(target=busy, daemon=True).start()
print('ready', flush=True)
threading.Event().wait()
";
/// Callers of each function (of any kind of comprehension: a frame of its own up to 3.11), with the lines of their calls.
const CALLS: &[(&str, &[(&str, u32)])] = &[
    ("leaf_a", &[("middle_a", 6), ("generate", 12)]),
    ("leaf_b", &[("middle_b", 8)]),
    ("leaf_c", &[("middle_c", 10), ("middle_c.<locals>.<listcomp>", 10), ("<listcomp>", 10)]),
    ("<listcomp>", &[("middle_c", 10)]),
    ("middle_c.<locals>.<listcomp>", &[("middle_c", 10)]),
    ("middle_a", &[("busy", 16)]),
    ("middle_b", &[("busy", 16), ("generate", 13)]),
    ("middle_c", &[("busy", 16)]),
    ("generate", &[("busy", 17)]),
];
/// Of each interpreter. Under load a few in a thousand stay torn; a rule that lets through what it should not shows in a
/// share of all stacks, not in one of thousands.
const DUMPS: usize = 400;

struct Target(Child);

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A target that waits for a CPU stands still by itself, and shows nothing: on a busy machine both sides go before others, as
/// the reader of the program does.
fn prefer() {
    // SAFETY: takes numbers only. Without the privilege all stays as it is.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) };
}

fn start(python: &Path) -> Target {
    let mut command = Command::new(python);
    command.args(["-S", "-c", SOURCE]).stdin(Stdio::null()).stdout(Stdio::piped());
    // SAFETY: setpriority is async-signal-safe and takes numbers only.
    unsafe {
        command.pre_exec(|| {
            prefer();
            Ok(())
        });
    }
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", python.display()));
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
    Target(child)
}

fn pythons() -> Vec<PathBuf> {
    if let Some(list) = std::env::var_os("PYPROF_PYTHONS") {
        return std::env::split_paths(&list).collect();
    }
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let entries = std::fs::read_dir(home.join(".pyenv/versions")).into_iter().flatten().flatten();
    let found = entries.filter_map(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let minor: u8 = name.strip_prefix("3.")?.split('.').next()?.parse().ok()?;
        (minor >= 8).then(|| entry.path().join(format!("bin/python3.{minor}")))
    });
    found.chain([PathBuf::from("/usr/bin/python3.11")]).collect()
}

/// Why this stack cannot be one, if it cannot.
fn impossible(frames: &[StackFrame]) -> Option<String> {
    let name = |frame: &StackFrame| frame.function.clone().unwrap_or_default();
    let Some(root) = frames.iter().position(|frame| name(frame) == "busy") else {
        return Some("no `busy`".into());
    };
    frames[..=root].windows(2).find_map(|pair| {
        let (callee, caller) = (name(&pair[0]), name(&pair[1]));
        let callers = CALLS.iter().find(|(name, _)| *name == callee).map_or(&[][..], |(_, callers)| callers);
        // A generator that ends is resumed by `sum`, like one that goes on.
        let fits = callers.iter().any(|(name, line)| *name == caller && *line == pair[1].line);
        (!fits).then(|| format!("{callee} called by {caller}, line {}", pair[1].line))
    })
}

#[test]
fn no_stack_of_a_thread_that_runs_is_one_that_never_was() {
    prefer();
    let (mut all, mut torn) = (0, 0);
    for python in pythons() {
        let target = start(&python);
        let pid = target.0.id();
        let Ok(Inspection::Python(image)) = inspect(pid, &mut FactsCache::new()) else {
            panic!("{}: no Python", python.display());
        };
        let mut seen = BTreeMap::<String, u32>::new();
        for _ in 0..DUMPS {
            let wanted = Wanted { after: pid, locals: false };
            let found = stacks(pid, image.task, &image.layout, image.runtime_address, wanted);
            let Some(Thread { python: stacks, .. }) = found.threads.first() else { panic!("no thread") };
            let Some(Python { frames, end, torn: is_torn, .. }) = stacks.first() else { panic!("no stack") };
            all += 1;
            if *is_torn {
                torn += 1;
                continue;
            }
            assert_eq!(*end, End::Root, "{}: {frames:?}", python.display());
            if let Some(why) = impossible(frames) {
                panic!("{}: {why}: {frames:?}", python.display());
            }
            *seen.entry(frames[0].function.clone().unwrap_or_default()).or_default() += 1;
        }
        println!("{}: {seen:?}", python.display());
        // It was not the same moment over and over.
        assert!(seen.len() >= 4, "{}: {seen:?}", python.display());
    }
    println!("{all} stacks, {torn} torn");
    assert!(torn * 20 < all, "{torn} of {all} stacks are torn");
}
