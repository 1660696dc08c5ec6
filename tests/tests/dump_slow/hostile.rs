//! Processes that lie, that change under the hand, that stop or end in the middle: a dump ends in time, with what there is.

use std::process::Command;
use std::time::{Duration, Instant};

use pyprof_tests::dump::dump;
use pyprof_tests::limits::Limits;
use pyprof_tests::pythons::python;
use pyprof_tests::{Scratch, Target};

/// `sizeof(_Py_DebugOffsets)` of 3.13, read as the tests of hostile captures do.
const READ_TABLE: &str = "import ctypes\n\
    at = ctypes.addressof(ctypes.c_char.in_dll(ctypes.pythonapi, '_PyRuntime'))\n\
    print(','.join(str(byte) for byte in ctypes.string_at(at, 584)))";

#[test]
fn forged_structures_end_a_dump_in_time() {
    let scratch = Scratch::new("forge");
    let at = |name: &str| scratch.path().join(name);
    let table = Command::new(&python(13).path).args(["-c", READ_TABLE]).output().expect("3.13 runs").stdout;
    let table = String::from_utf8(table).expect("text");
    std::fs::write(at("table.h"), format!("#define TABLE {table}")).expect("the table");
    std::fs::write(at("forge.c"), include_str!("../../targets/forge.c")).expect("the source");
    let built =
        Command::new("gcc").args(["-O1", "-pthread", "-o"]).args([at("forge"), at("forge.c")]).status();
    assert!(built.expect("gcc is needed").success());
    // (what is forged, what the dump must say of it)
    let rows = [
        ("honest", "    forged_leaf ("),
        ("frames_in_a_ring", "(deeper frames are not shown)"),
        ("frame_of_itself", "(torn"),
        ("frames_without_end", "(deeper frames are not shown)"),
        ("shims_without_end", "(deeper frames are not shown)"),
        ("frames_nowhere", "(deeper frames could not be read)"),
        ("leaf_nowhere", "(deeper frames could not be read)"),
        ("threads_in_a_ring", "(there are more threads)"),
        ("many_threads", "Thread "),
        ("threads_without_end", "(there are more threads)"),
        ("interpreters_in_a_ring", "Thread "),
        ("lengths", "Thread "),
        ("huge_name", "\u{2026}"),
        ("lines_without_end", "forged_leaf"),
        ("line_entry_without_end", "forged_leaf"),
        ("escapes_in_names", "\\x1b"),
        ("code_without_end", "Thread "),
        ("links_that_change", "Thread "),
        ("threads_that_change", "Thread "),
        ("codes_that_change", "Thread "),
    ];
    for (mode, words) in rows {
        let limits = Limits::new("forge", 100, 512 << 20);
        let mut command = Command::new(at("forge"));
        command.arg(mode);
        limits.enter(&mut command);
        let mut target = Target::command(command);
        target.tell("go");
        target.line();
        let began = Instant::now();
        let output = dump(&["--locals", "-p", &target.pid().to_string()]);
        let took = began.elapsed();
        let stdout = String::from_utf8_lossy(&output.stdout);
        let stderr = String::from_utf8_lossy(&output.stderr);
        println!("{mode}: {} bytes in {took:?}", stdout.len());
        // What changes all the time may do so while its own account of itself is checked: then it is refused by name.
        let is_refused = mode.ends_with("_that_change")
            && output.status.code() == Some(5)
            && stderr.contains("structures are not where they should be");
        let is_shown = output.status.success() && stdout.contains(words);
        assert!(is_shown || is_refused, "{mode}: {words}: {stdout:.2000}{stderr}");
        assert!(took < Duration::from_secs(10), "{mode}: {took:?}");
        assert!(stdout.len() < 16 << 20 && !stdout.contains('\u{1b}'), "{mode}");
    }
}

/// Threads that come and go, and deep stacks that are built and torn down, until it is killed in the middle.
const CHURN: &str = "
import threading
def deep(depth):
    return depth if depth == 0 else deep(depth - 1)
def work():
    for _ in range(20):
        deep(200)
print('ready', flush=True)
while True:
    threads = [threading.Thread(target=work) for _ in range(10)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
";

#[test]
fn a_target_that_dies_in_the_middle_is_gone_or_shown_and_one_that_is_stopped_is_shown() {
    let python = python(12);
    for turn in 0..20 {
        let target = Target::start(&python, "churn.py", CHURN, &[]);
        let pid = target.pid();
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(2 * turn));
            drop(target);
        });
        let output = dump(&["-p", &pid.to_string()]);
        killer.join().expect("it ends");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(matches!(output.status.code(), Some(0 | 4 | 5)), "{:?}: {stderr}", output.status);
        assert!(!stderr.contains("panicked"), "{stderr}");
    }
    let target = Target::start(&python, "churn.py", CHURN, &[]);
    // SAFETY: a child of our own.
    unsafe { libc::kill(target.pid() as i32, libc::SIGSTOP) };
    std::thread::sleep(Duration::from_millis(100));
    let output = dump(&["-p", &target.pid().to_string()]);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.contains("stopped") && stdout.contains("churn.py:"), "{stdout}");
}
