//! A process must not be able to stall the profiler: its memory and files lie on a file system that never answers. A capture
//! goes on, ends in time, names the process, and the profile of another process beside it is whole.

mod fuse;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use fuse::{HangingFs, Silent};
use pyprof_tests::limits::Limits;
use pyprof_tests::{Capture, Python, Target, capture, pythons};

const HOSTILE: &str = include_str!("../../targets/stall.py");
const BUSY: &str = include_str!("../../targets/stall_busy.py");

/// What each process of a row may take.
const TASKS: u32 = 64;
const MEMORY_BYTES: u64 = 512 << 20;
const ROOT: u32 = 0;
const NOBODY: u32 = 65534;
/// How long a capture runs.
const WINDOW: Duration = Duration::from_secs(5);
/// CPU time after which a process has samples.
const SEEN_NS: u64 = 500_000_000;
/// Of the samples of a run without the hostile process, one with it has this share at least.
const SHARE: f64 = 0.99;
/// A capture that takes longer than this to begin or to end hangs.
const HANGS: Duration = Duration::from_secs(20);

/// Where the hostile process lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Where {
    /// The interpreter itself is a file of the silent file system.
    Executable,
    /// Arguments and environment are pages of a silent file.
    Arguments,
    /// The state of a second CPython in the process is.
    Runtime,
    /// The interpreter's file was replaced by a FIFO.
    Fifo,
}

struct Row {
    place: Where,
    silent: Silent,
    /// How many such processes.
    processes: usize,
    /// They are there before the capture starts; else they start while it runs.
    before: bool,
    /// Who runs them.
    user: u32,
    /// What the profiler has to say of them.
    expected: Expected,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Expected {
    /// Nobody can tell what they are.
    Refused,
    /// Nothing at all.
    Whole,
}

fn static_python() -> Python {
    pythons().into_iter().find(|python| python.is_static).expect("a static interpreter")
}

fn shared_python() -> Python {
    pythons().into_iter().rev().find(|python| !python.is_static).expect("an interpreter with a libpython")
}

/// The libpython that an interpreter maps.
fn libpython(python: &Python) -> String {
    let ask = "print(next(line.split()[-1] for line in open('/proc/self/maps') if 'libpython' in line))";
    let output = Command::new(&python.path).args(["-I", "-c", ask]).output().expect("an interpreter");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

/// Lets go of everything if the capture hangs, so that a failure does not hang as well.
struct Watchdog {
    fired: Arc<AtomicBool>,
    done: mpsc::Sender<()>,
}

fn watch(fs: Arc<Mutex<HangingFs>>) -> Watchdog {
    let fired = Arc::new(AtomicBool::new(false));
    let (done, is_done) = mpsc::channel();
    std::thread::spawn({
        let fired = Arc::clone(&fired);
        move || {
            if is_done.recv_timeout(2 * WINDOW + HANGS) == Err(mpsc::RecvTimeoutError::Timeout) {
                fired.store(true, Ordering::SeqCst);
                fs.lock().expect("no panic").end();
            }
        }
    });
    Watchdog { fired, done }
}

/// The processes that one has started and that are there still, with the time each began.
fn children(pid: u32) -> BTreeMap<u32, String> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let pids = list.split_whitespace().filter_map(|pid| pid.parse().ok());
    pids.filter_map(|pid| Some((pid, stat(pid)?.1))).collect()
}

/// State and start of a process.
fn stat(pid: u32) -> Option<(String, String)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit(')').next()?.split_whitespace().collect();
    Some((fields[0].to_owned(), fields[19].to_owned()))
}

/// What a capture has of the busy process.
struct Measured {
    /// Whole stacks, of all ticks on it and of those that any process lost.
    complete: f64,
    /// The time they stand for, of the CPU time that the scheduler charged it.
    time: f64,
    samples: f64,
    capture: Capture,
    /// Processes that the profiler started, and when each began.
    readers: BTreeMap<u32, String>,
}

/// A capture beside a busy process; `during` starts what else there is.
fn measure(during: impl FnOnce()) -> Measured {
    let busy = Target::start(&shared_python(), "stall_busy.py", BUSY, &[]);
    let begin = Instant::now();
    let recording = capture::start(&["-F", "199"]);
    eprintln!("sampling after {:?}", begin.elapsed());
    let charged = busy.schedstat_ns();
    let begin = Instant::now();
    during();
    std::thread::sleep(WINDOW / 2);
    // Who starts later is seen, too.
    let late = Target::start(&shared_python(), "stall_late.py", BUSY, &[]);
    let mut readers = BTreeMap::new();
    let is_seen = || late.schedstat_ns() >= SEEN_NS || begin.elapsed() >= WINDOW + HANGS / 2;
    while begin.elapsed() < WINDOW || !is_seen() {
        readers.append(&mut children(recording.pid()));
        std::thread::sleep(Duration::from_millis(20));
    }
    let charged = busy.schedstat_ns() - charged;
    let begin = Instant::now();
    let capture = recording.stop();
    eprintln!("ended after {:?}", begin.elapsed());
    assert!(capture.processes(late.pid()).len() == 1, "a later process is missing: {}", capture.stderr);
    let process = capture.process(busy.pid());
    let count = |value: &serde_json::Value| value.as_u64().expect("a count") as f64;
    let (samples, complete) = (count(&process["samples"]), count(&process["outcomes"]["complete"]));
    let lost = count(&process["dropped"]) + capture.loss("sample_ring_full") as f64;
    let time = count(&process["cpu_ns"]) / charged as f64 * complete / samples;
    Measured { complete: complete / (samples + lost), time, samples, capture, readers }
}

fn start_hostile(row: &Row, fs: &Mutex<HangingFs>, limits: &Limits) -> Vec<Target> {
    let python = static_python();
    let file = fs.lock().expect("no panic").file();
    let script = pyprof_tests::Scratch::new("stall-script");
    let path = script.path().join("stall.py");
    std::fs::write(&path, HOSTILE).expect("a script");
    fs.lock().expect("no panic").fall_silent(row.silent);
    (0..row.processes)
        .map(|_| {
            let own = script.path().join("python3.11");
            let (program, arguments) = match row.place {
                Where::Executable => (file.clone(), vec![]),
                Where::Arguments => (python.path.clone(), vec!["arguments".to_owned(), "x".repeat(32 << 10)]),
                Where::Runtime => {
                    (python.path.clone(), vec!["runtime".to_owned(), libpython(&shared_python())])
                }
                Where::Fifo => {
                    std::fs::copy(&python.path, &own).expect("a copy");
                    (own.clone(), vec![])
                }
            };
            let mut command = Command::new(program);
            command.arg(&path).args(arguments).env("STALL_FILE", &file).uid(row.user);
            let mut target = Target::command(command);
            limits.add(target.pid());
            target.line();
            if row.place == Where::Fifo {
                std::fs::remove_file(&own).expect("the copy");
                let fifo = std::ffi::CString::new(own.to_str().expect("text")).expect("no NUL");
                // SAFETY: a valid string.
                assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o755) }, 0);
            }
            target
        })
        .collect()
}

fn check(row: &Row, control: f64) {
    let Row { place, silent, processes, before, user, expected } = row;
    let what = format!("{processes} x {place:?} of user {user}, {silent:?}, before: {before}");
    let limits = Limits::new(&format!("stall-{place:?}-{processes}-{before}"), TASKS, MEMORY_BYTES);
    let fs = Arc::new(Mutex::new(HangingFs::mount(&static_python().path)));
    let watchdog = watch(Arc::clone(&fs));
    let mut hostile = Vec::new();
    if *before {
        hostile = start_hostile(row, &fs, &limits);
    }
    let Measured { complete, time, samples, capture, readers } = measure(|| {
        if !*before {
            hostile = start_hostile(row, &fs, &limits);
        }
    });
    let unanswered = fs.lock().expect("no panic").unanswered();
    let _ = watchdog.done.send(());
    assert!(!watchdog.fired.load(Ordering::SeqCst), "{what}: the capture hangs");
    eprintln!(
        "{what}: {complete:.4} of its samples, {time:.4} of its time, {control:.4} without; {unanswered} unanswered; {} readers; {}",
        readers.len(),
        capture.json["own_cost"]
    );
    assert_eq!(capture.code, 0, "{what}: {}", capture.stderr);
    assert!(complete >= SHARE, "{what}: {complete} of the samples");
    // On a busy host, work in pieces shorter than a tick is counted as by chance: three standard errors.
    let least = SHARE * control * (1.0 - 3.0 / samples.sqrt());
    assert!(time >= least, "{what}: {time} of the time, {control} without");
    assert_eq!(unanswered > 0, *expected != Expected::Whole, "{what}: {unanswered} silent");
    let named: BTreeSet<u64> = capture.json["unsupported"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|one| one["reason"].as_str().is_some_and(|reason| reason.starts_with("unresponsive")))
        .filter_map(|one| one["pid"].as_u64())
        .collect();
    for target in &hostile {
        let (pid, processes) = (target.pid(), capture.processes(target.pid()));
        let is_named = named.contains(&u64::from(pid));
        let (refused, profiled) = match expected {
            Expected::Refused => (true, false),
            Expected::Whole => (false, true),
        };
        let found = (is_named, processes.len() == 1);
        assert_eq!(found, (refused, profiled), "{what}: process {pid}; {}", capture.stderr);
    }
    assert_eq!(capture.loss("target_unresponsive") == 0, *expected == Expected::Whole, "{what}");

    // Of ours, only what a target holds is left.
    let left = || readers.iter().filter(|(pid, start)| stat(**pid).is_some_and(|(_, now)| now == **start));
    for (pid, _) in left() {
        let (state, _) = stat(*pid).unwrap_or_default();
        assert!(
            ["D", "Z", "X", ""].contains(&state.as_str()),
            "{what}: reader {pid} is left in state {state}"
        );
    }
    eprintln!("{what}: {} readers left", left().count());
    drop(hostile);
    fs.lock().expect("no panic").end();
    let deadline = Instant::now() + Duration::from_secs(5);
    while left().count() > 0 {
        assert!(Instant::now() < deadline, "{what}: readers are left after the file system has ended");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_process_that_never_answers_stalls_nobody() {
    // More than the scheduler charged is time that a hypervisor took.
    let control = measure(|| ()).time.min(1.0);
    let rows = {
        use {Expected::*, Silent::*, Where::*};
        let row = |place, silent, processes, before, user, expected| Row {
            place,
            silent,
            processes,
            before,
            user,
            expected,
        };
        [
            row(Executable, Attributes, 1, true, ROOT, Refused),
            row(Executable, Attributes, 12, true, ROOT, Refused),
            row(Executable, Attributes, 12, false, ROOT, Refused),
            // More than there may be readers.
            row(Executable, Attributes, 30, true, NOBODY, Refused),
            // Since 4.17 the kernel reads no file for /proc/PID/cmdline and environ (FOLL_ANON, CVE-2018-1120).
            row(Arguments, Pages, 4, true, ROOT, Whole),
            row(Runtime, Pages, 1, true, ROOT, Refused),
            row(Fifo, Pages, 1, true, ROOT, Whole),
        ]
    };
    for row in &rows {
        check(row, control);
    }
}

#[test]
fn a_profiler_that_is_killed_leaves_no_reader_behind() {
    let limits = Limits::new("stall-killed", TASKS, MEMORY_BYTES);
    let fs = Arc::new(Mutex::new(HangingFs::mount(&static_python().path)));
    let watchdog = watch(Arc::clone(&fs));
    let row = Row {
        place: Where::Executable,
        silent: Silent::Attributes,
        processes: 1,
        before: true,
        user: ROOT,
        expected: Expected::Refused,
    };
    let hostile = start_hostile(&row, &fs, &limits);
    let recording = capture::start(&[]);
    let readers = children(recording.pid());
    assert!(readers.len() >= 2, "one at work and one that is held: {readers:?}");
    for reader in readers.keys() {
        // Nothing of the profiler's but the socket: neither programs nor what it writes.
        let files = std::fs::read_dir(format!("/proc/{reader}/fd")).expect("a reader");
        let files: BTreeSet<String> =
            files.flatten().map(|file| file.file_name().to_string_lossy().into_owned()).collect();
        assert!(["0", "1", "2"].iter().all(|fd| files.contains(*fd)) && files.len() <= 5, "{files:?}");
        for file in &files {
            let link = std::fs::read_link(format!("/proc/{reader}/fd/{file}")).unwrap_or_default();
            let link = link.to_string_lossy();
            assert!(
                !link.contains("bpf") && !link.contains("perf_event") && !link.contains("pipe:"),
                "{link}"
            );
        }
    }
    recording.signal(libc::SIGKILL);
    let left = |states: &[&str]| {
        let is_left = |(pid, start): &(&u32, &String)| {
            stat(**pid).is_some_and(|(state, now)| now == **start && !states.contains(&state.as_str()))
        };
        readers.iter().filter(is_left).count()
    };
    let wait = |states: &[&str]| {
        let deadline = Instant::now() + Duration::from_secs(5);
        while left(states) > 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(left(states), 0, "readers are left that are in none of these states: {states:?}");
    };
    wait(&["D", "Z", "X"]);
    drop(hostile);
    fs.lock().expect("no panic").end();
    wait(&["Z", "X"]);
    let _ = watchdog.done.send(());
    assert!(!watchdog.fired.load(Ordering::SeqCst), "the capture hangs");
}
