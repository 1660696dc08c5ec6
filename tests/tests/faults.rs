//! What the host takes away: the profiler itself is stopped until its ring is full; the kernel's files are not where they
//! should be. What is lost is counted to the last tick, and what cannot work says why.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use pyprof_tests::limits::Limits;
use pyprof_tests::pythons::python;
use pyprof_tests::target::{SPIN, wait_for_cpu};
use pyprof_tests::{Capture, Scratch, Target, capture};

const DEEP: &str = include_str!("../targets/deep.py");

fn sum(capture: &Capture, field: &str) -> u64 {
    let processes = capture.json["processes"].as_array().expect("processes");
    processes.iter().map(|process| process[field].as_u64().expect("a count")).sum()
}

#[test]
fn a_ring_that_is_full_is_counted_to_the_last_tick() {
    // A sample of a deep stack takes 8 KB: the ring is full within a second.
    let targets = [python(10), python(13)].map(|python| Target::start(&python, "deep.py", DEEP, &[]));
    let recording = capture::start(&["-F", "1999", "--max-cpu", "400"]);
    std::thread::sleep(Duration::from_millis(500));
    recording.signal(libc::SIGSTOP);
    targets.iter().for_each(|target| target.wait_for_cpu(Duration::from_secs(3)));
    recording.signal(libc::SIGCONT);
    std::thread::sleep(Duration::from_millis(500));
    let capture = recording.stop();
    drop(targets);
    assert_eq!(capture.code, 0, "{}", capture.stderr);
    println!("{} {}", capture.json["ticks"], capture.json["losses"]);
    let lost = capture.loss("sample_ring_full");
    assert!(lost > 100, "the ring never was full");
    let ticks = |name: &str| capture.json["ticks"][name].as_u64().expect("a count");
    let dropped = sum(&capture, "dropped");
    assert_eq!(sum(&capture, "samples") + dropped + lost, ticks("on_python"));
    assert_eq!(sum(&capture, "cpu_ns") + capture.loss("sample_ring_full_ns"), ticks("on_python_ns"));
    assert_eq!(capture.loss("sample_unaccounted"), 0);
    assert!(capture.stderr.contains("LOST"), "{}", capture.stderr);
}

/// Those that there is no room for are counted, by the scan at the beginning and at every exec later, and the others are right.
#[test]
fn a_table_of_processes_that_is_full_is_counted_and_harms_nobody_else() {
    let first: Vec<Target> = (0..4).map(|_| Target::start(&python(12), "first.py", SPIN, &[])).collect();
    let recording = capture::start(&["-F", "499", "--max-processes", "3", "--max-cpu", "400"]);
    let later = Target::start(&python(11), "later.py", SPIN, &[]);
    let pids: Vec<u32> = first.iter().chain([&later]).map(Target::pid).collect();
    pids.iter().for_each(|pid| wait_for_cpu(*pid, Duration::from_millis(300)));
    let capture = recording.stop();
    assert_eq!(capture.code, 0, "{}", capture.stderr);
    println!("{} {}", capture.json["ticks"], capture.json["losses"]);
    assert!(capture.loss("process_table_full") >= 2, "{}", capture.json["losses"]);
    let seen =
        pids.iter().filter(|pid| capture.processes(**pid).iter().any(|one| one["samples"] != 0)).count();
    assert!((1..=3).contains(&seen), "{seen} of {}", pids.len());
    let ticks = |name: &str| capture.json["ticks"][name].as_u64().expect("a count");
    assert_eq!(sum(&capture, "samples") + sum(&capture, "dropped"), ticks("on_python"));
    assert_eq!(ticks("delivered"), ticks("idle") + ticks("other") + ticks("on_python"));
    assert!(ticks("other") > 100, "the others run as well: {}", capture.json["ticks"]);
}

/// Two fork faster than the stopped profiler reads; a process that began meanwhile is found by looking again.
#[test]
fn a_full_ring_of_forks_and_ends_is_counted_and_every_process_is_looked_at_again() {
    // Two events each; the ring has room for 14,563 (1 MB of 64 bytes and a head of 8).
    const FORKS: &str = "5000";
    const STORM: &str = "import os, sys
print(flush=True)
sys.stdin.readline()
for _ in range(int(sys.argv[1])):
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
print('done', flush=True)
while True:
    pass
";
    let limits = Limits::new("storm", 100, 1 << 30);
    let mut storms = [8, 12].map(|minor| {
        let scratch = Scratch::new("storm");
        let script = scratch.path().join("storm.py");
        std::fs::write(&script, STORM).expect("the script");
        let mut command = Command::new(&python(minor).path);
        command.args(["-I", "-S"]).arg(&script).arg(FORKS);
        limits.enter(&mut command);
        let mut storm = Target::command(command);
        storm.line();
        (storm, scratch)
    });
    let recording = capture::start(&["-F", "199", "--max-cpu", "400"]);
    recording.signal(libc::SIGSTOP);
    storms.iter_mut().for_each(|(storm, _)| storm.tell(""));
    storms.iter_mut().for_each(|(storm, _)| assert_eq!(storm.line(), "done"));
    let unseen = Target::start(&python(11), "unseen.py", SPIN, &[]);
    recording.signal(libc::SIGCONT);
    for pid in storms.iter().map(|(storm, _)| storm.pid()).chain([unseen.pid()]) {
        wait_for_cpu(pid, Duration::from_millis(600));
    }
    let capture = recording.stop();
    assert_eq!(capture.code, 0, "{}", capture.stderr);
    println!("{} {}", capture.json["ticks"], capture.json["losses"]);
    assert!(capture.loss("lifecycle_ring_full") > 0, "{}", capture.json["losses"]);
    let pids = storms.iter().map(|(storm, _)| storm.pid()).chain([unseen.pid()]);
    for pid in pids {
        let whole = capture.process(pid)["outcomes"]["complete"].as_u64().expect("a count");
        assert!(whole > 50, "{pid}: {}", capture.process(pid));
    }
    let ticks = |name: &str| capture.json["ticks"][name].as_u64().expect("a count");
    assert_eq!(sum(&capture, "samples") + sum(&capture, "dropped"), ticks("on_python"));
    assert_eq!(ticks("delivered"), ticks("idle") + ticks("other") + ticks("on_python"));
    limits.kill();
}

/// A capture of a mount namespace in which a file system or file hides what is at `hidden`.
fn without(hidden: &'static [(&'static str, bool)], arguments: &[&str]) -> (i32, String) {
    let target = Target::start(&python(12), "spin.py", SPIN, &[]);
    let scratch = Scratch::new("without");
    let mut command = Command::new(capture::binary());
    command
        .args(arguments)
        .args(["-d", "1", "-p", &target.pid().to_string(), "-o"])
        .arg(scratch.path().join("out"));
    // SAFETY: system calls only, which touch nothing of the parent.
    unsafe {
        command.pre_exec(move || {
            let check = |result: i32| if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) };
            check(libc::unshare(libc::CLONE_NEWNS))?;
            let (none, root) = (c"none".as_ptr(), c"/".as_ptr());
            let private = libc::MS_REC | libc::MS_PRIVATE;
            check(libc::mount(none, root, std::ptr::null(), private, std::ptr::null()))?;
            for (path, is_directory) in hidden {
                let mut place = [0_u8; 64];
                place[..path.len()].copy_from_slice(path.as_bytes());
                let place = place.as_ptr().cast();
                let done = if *is_directory {
                    libc::mount(none, place, c"tmpfs".as_ptr(), 0, std::ptr::null())
                } else {
                    libc::mount(
                        c"/dev/null".as_ptr(),
                        place,
                        std::ptr::null(),
                        libc::MS_BIND,
                        std::ptr::null(),
                    )
                };
                // What this host does not have need not be hidden.
                if done != 0 && *libc::__errno_location() != libc::ENOENT {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
    let output = command.stdin(Stdio::null()).output().expect("it runs");
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn without_tracefs_nothing_is_missing() {
    let (code, said) = without(&[("/sys/kernel/tracing", true), ("/sys/kernel/debug", true)], &[]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("Captured"), "{said}");
}

#[test]
fn without_the_types_of_the_kernel_they_are_taken_from_a_file_or_asked_for() {
    const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";
    let scratch = Scratch::new("btf");
    let copy = scratch.path().join("types");
    std::fs::copy(KERNEL_BTF, &copy).expect("this kernel has them");
    let copy = copy.to_str().expect("a plain path");
    for (row, arguments, expected, words) in [
        ("none", vec![], 7, &[KERNEL_BTF, "--btf"][..]),
        ("a copy", vec!["--btf", copy], 0, &["Captured"]),
        ("no such file", vec!["--btf", "/nowhere"], 7, &["/nowhere", "--btf"]),
        ("something else", vec!["--btf", "/proc/self/exe"], 7, &["--btf"]),
    ] {
        let (code, said) = without(&[(KERNEL_BTF, false)], &arguments);
        assert_eq!(code, expected, "{row}: {said}");
        assert!(words.iter().all(|word| said.contains(word)), "{row}: {said}");
    }
}

#[test]
fn with_other_clocks_than_the_host_it_says_why_not() {
    let target = Target::start(&python(12), "spin.py", SPIN, &[]);
    for (row, offset, expected, words) in [
        ("the host's", "0", 0, "Captured"),
        ("ahead", "100000", 7, "time namespace"),
        ("behind", "-100", 7, "nsenter"),
    ] {
        let scratch = Scratch::new("clocks");
        // util-linux; the offsets have to be written before the first process of the namespace.
        let output = Command::new("unshare")
            .args(["--time", "--fork", "--monotonic", offset, "--boottime", offset])
            .arg(capture::binary())
            .args(["-d", "1", "-p", &target.pid().to_string(), "-o"])
            .arg(scratch.path().join("out"))
            .stdin(Stdio::null())
            .output()
            .expect("unshare runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(expected), "{row}: {said}");
        assert!(said.contains(words), "{row}: {said}");
    }
}
