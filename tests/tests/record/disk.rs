//! Disks that are full, directories that nobody may write to, and whoever has no time to wait.

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use pyprof_tests::pythons::python;
use pyprof_tests::running::{list, run, start, start_in};
use pyprof_tests::{Scratch, Target, capture};

/// A file system of its own, so small.
struct Tiny {
    _scratch: Scratch,
    path: PathBuf,
}

impl Tiny {
    fn new(options: &str) -> Tiny {
        let scratch = Scratch::new("tiny");
        let path = scratch.path().join("disk");
        std::fs::create_dir(&path).expect("a directory");
        mount(&["-t", "tmpfs", "-o", options, "tmpfs"], &path);
        Tiny { _scratch: scratch, path }
    }
}

fn mount(arguments: &[&str], path: &Path) {
    let done = Command::new("mount").args(arguments).arg(path).status().expect("mount runs");
    assert!(done.success(), "mount {arguments:?}: {done}");
}

impl Drop for Tiny {
    fn drop(&mut self) {
        // Left behind only if something else took it away.
        let _ = Command::new("umount").arg(&self.path).status();
    }
}

fn spinner(name: &str) -> Target {
    let source = "print('ready', flush=True)\nwhile True:\n    for _ in range(2000):\n        pass\n";
    Target::start(&python(12), name, source, &[])
}

/// No file of which the end is missing.
fn assert_whole(directory: &Path) {
    for name in list(directory) {
        let path = directory.join(&name);
        if path.is_dir() {
            assert_whole(&path);
            continue;
        }
        assert!(!name.starts_with('.') && !name.ends_with(".tmp"), "left behind: {name}");
        let bytes = std::fs::read(&path).expect("a file");
        if name.ends_with(".gz") {
            let done = Command::new("gzip").arg("-t").arg(&path).status().expect("gzip runs");
            assert!(done.success(), "{name}: {done}");
        } else if name == "capture.json" {
            serde_json::from_slice::<serde_json::Value>(&bytes).expect("whole JSON");
        }
    }
}

#[test]
fn a_full_disk_is_named_and_nothing_is_half_written() {
    let targets = [spinner("one.py"), spinner("two.py"), spinner("three.py")];
    let pids = targets.each_ref().map(|target| target.pid().to_string());
    // Room for the profiles but not for all of them and the account; for one file; for none.
    for (size, least) in [("size=8k", 1), ("size=4k", 0), ("size=1m,nr_inodes=4", 1)] {
        let disk = Tiny::new(size);
        let out = disk.path.join("out");
        let arguments = ["-d", "0.6", "-p", &pids[0], "-p", &pids[1], "-p", &pids[2], "-o"];
        let ran = run(&[&arguments[..], &[out.to_str().expect("text")]].concat());
        assert_eq!(ran.code, Some(1), "{size}: {}", ran.stderr);
        assert!(
            ran.stderr.contains("failed to write ") && ran.stderr.contains("No space left"),
            "{}",
            ran.stderr
        );
        assert!(list(&out).len() >= least, "{size}: {:?}: {}", list(&out), ran.stderr);
        assert_whole(&out);
    }
}

#[test]
fn periods_go_on_when_a_full_disk_has_room_again() {
    let target = spinner("one.py");
    let disk = Tiny::new("size=32k");
    let out = disk.path.join("out");
    let pid = target.pid().to_string();
    let mut running = start(&["-p", &pid, "--every", "1", "-o", out.to_str().expect("text")]);
    running.wait_for("wrote ");
    let ballast = disk.path.join("ballast");
    // As much as there is room for.
    let _ = std::fs::write(&ballast, vec![1; 64 << 10]);
    running.wait_for("failed to write ");
    std::fs::remove_file(&ballast).expect("a file");
    running.wait_for("wrote ");
    running.signal(libc::SIGINT);
    let ran = running.finish();
    // Something is missing, and a script must know.
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("No space left"), "{}", ran.stderr);
    assert_whole(&out);
}

#[test]
fn a_file_system_that_is_read_only_is_named_before_anything_is_sampled() {
    let disk = Tiny::new("size=1m,ro");
    let ran = start_in(Scratch::new("ro"), &["-d", "5", "-o", disk.path.join("out").to_str().expect("text")]);
    let began = std::time::Instant::now();
    let ran = ran.finish();
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("Read-only file system") && ran.stderr.contains("out"), "{}", ran.stderr);
    assert!(began.elapsed().as_secs() < 4, "it sampled first");
}

/// What comes sooner is the same wish.
const AGAIN: std::time::Duration = std::time::Duration::from_millis(320);

#[test]
fn who_is_told_twice_at_once_as_timeout_does_writes_all_the_same() {
    let target = spinner("spin.py");
    for round in 0..4 {
        let scratch = Scratch::new("timeout");
        // Its signal goes to the program, and then to all of its group.
        let mut command = Command::new("timeout");
        command.args(["--preserve-status", "2"]).arg(capture::binary());
        command.args(["record", "-F", "499", "-o", "out", "-p", &target.pid().to_string()]);
        let ran = command.current_dir(scratch.path()).output().expect("it runs");
        let stderr = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(0), "{round}: {stderr}");
        assert!(!stderr.contains("stopped"), "{round}: {stderr}");
        assert!(scratch.path().join("out/capture.json").exists(), "{round}: {stderr}");
    }
}

#[test]
fn whoever_asks_twice_need_not_wait() {
    let target = spinner("spin.py");
    let pid = target.pid().to_string();
    // Nobody reads, and the page does not fit into a pipe: it would wait for ever.
    let mut running = start(&["-F", "499", "-p", &pid, "-f", "flamegraph", "-o", "-"]);
    let pipe = running.child.stdout.as_ref().expect("a pipe").as_raw_fd();
    // SAFETY: takes numbers; the descriptor is open.
    let room = unsafe { libc::fcntl(pipe, libc::F_SETPIPE_SZ, 4096) };
    assert_eq!(room, 4096, "{}", std::io::Error::last_os_error());
    running.wait_for("Sampling ");
    target.wait_for_cpu(std::time::Duration::from_millis(300));
    running.signal(libc::SIGINT);
    running.wait_for("interrupted");
    let waiting = || {
        let mut bytes: libc::c_int = 0;
        // SAFETY: a descriptor that is open, and a place for an int.
        assert_eq!(unsafe { libc::ioctl(pipe, libc::FIONREAD, &mut bytes) }, 0);
        bytes
    };
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while waiting() < room {
        assert!(std::time::Instant::now() < until, "{} bytes in the pipe", waiting());
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    std::thread::sleep(AGAIN);
    running.signal(libc::SIGINT);
    let ran = running.finish();
    assert_eq!(ran.code, Some(130), "{}", ran.stderr);
    assert!(ran.stderr.contains("stopped"), "{}", ran.stderr);
}

#[test]
fn whoever_stops_it_while_it_writes_leaves_whole_files_only() {
    // Hundreds of processes to be written, each with a sync.
    let source = "
import os, time
for _ in range(150):
    if os.fork() == 0:
        end = time.monotonic() + 3
        while time.process_time() < 0.015 and time.monotonic() < end:
            pass
        os._exit(0)
print('ready', flush=True)
time.sleep(600)
";
    let forks = Target::spawn(&python(12), "forks.py", source, &[]);
    let mut running = start(&["-F", "997", "--tree", &forks.pid().to_string(), "-o", "out"]);
    running.wait_for("Sampling ");
    std::thread::sleep(std::time::Duration::from_millis(2500));
    running.signal(libc::SIGINT);
    running.wait_for("interrupted");
    std::thread::sleep(AGAIN);
    running.signal(libc::SIGINT);
    let ran = running.finish();
    // It may have been through already, on a fast disk.
    assert!([Some(130), Some(0)].contains(&ran.code), "{:?}: {}", ran.code, ran.stderr);
    let out = ran.scratch.path().join("out");
    if out.exists() {
        assert_whole(&out);
    }
    assert_eq!(ran.code == Some(130), ran.stderr.contains("stopped"), "{}", ran.stderr);
}
