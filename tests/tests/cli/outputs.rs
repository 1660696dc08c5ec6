//! `--output` and `--format`: one file or a stream instead of a directory, several formats at once, and what becomes of the
//! rest when one cannot be written.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pyprof_tests::{Profile, Scratch};

use super::{list, pyprof, run, spinner};

/// What a format's file begins with, whatever is in it.
const BEGINNINGS: [(&str, &[u8]); 5] = [
    ("x.html", b"<!DOCTYPE html>"),
    ("x.pb.gz", b"\x1f\x8b"),
    ("x.speedscope.json", b"{\"$schema\":\"https://www.speedscope.app/"),
    ("x.firefox.json", b"{\"meta\":{\"interval\":"),
    ("x.firefox.json.gz", b"\x1f\x8b"),
];

#[test]
fn one_file_holds_all_processes_and_is_private_and_replaced() {
    let targets = [spinner("one.py"), spinner("two.py")];
    let pids = targets.each_ref().map(|target| target.pid().to_string());
    for (name, beginning) in BEGINNINGS {
        let directory = Scratch::new("file");
        let path = directory.path().join(name);
        fs::write(&path, "of yesterday").expect("a file");
        fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).expect("our own file");
        let mut command = pyprof(&directory);
        command.args(["-d", "0.6", "-F", "999", "-o", name, "-p", &pids[0], "-p", &pids[1]]);
        let ran = run(command.env("SUDO_UID", "1234").env("SUDO_GID", "2345"));
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""), "{name}: {}", ran.stderr);
        assert!(ran.stderr.contains(&format!("Ctrl-C writes {name}\n")), "{}", ran.stderr);
        assert!(ran.stderr.trim_end().ends_with(name), "how to open it: {}", ran.stderr);
        assert_eq!(list(directory.path()), [name], "nothing but the file");
        let bytes = fs::read(&path).expect("the file");
        assert!(bytes.starts_with(beginning), "{name}: {:?}", &bytes[..40]);
        let metadata = path.metadata().expect("the file");
        assert_eq!((metadata.mode() & 0o7777, metadata.uid(), metadata.gid()), (0o600, 1234, 2345));
        if name == "x.pb.gz" {
            let profile = Profile::read(&path);
            for target in &targets {
                let of_pid =
                    |sample: &&pyprof_tests::Sample| sample.numbers["pid"] == i64::from(target.pid());
                assert!(profile.samples.iter().filter(of_pid).count() > 0, "{}", target.pid());
            }
        }
    }
}

#[test]
fn a_stream_takes_results_and_standard_error_the_talk() {
    let target = spinner("spin.py");
    let pid = target.pid().to_string();
    let directory = Scratch::new("stream");
    let ran =
        run(pyprof(&directory).args(["-d", "0.5", "-F", "999", "-f", "collapsed", "-o", "-", "-p", &pid]));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stderr.contains("Ctrl-C writes standard output") && ran.stderr.contains("Captured "));
    for line in ran.stdout.lines() {
        let (stack, weight) = line.rsplit_once(' ').expect("a weight");
        assert!(weight.parse::<u64>().is_ok_and(|ns| ns > 0), "{line}");
        assert!(stack.starts_with("<module> (/"), "one process and one thread need no names: {line}");
    }
    assert!(ran.stdout.contains(";spin (/"), "{}", ran.stdout);
    assert_eq!(list(directory.path()), [""; 0]);

    // pprof goes to a pipe.
    let mut command = pyprof(&directory);
    let output =
        command.args(["-q", "-d", "0.5", "-F", "999", "-o", "-", "-p", &pid]).output().expect("it runs");
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), b"".as_slice()));
    let path = directory.path().join("x.pb.gz");
    fs::write(&path, output.stdout).expect("a file");
    assert!(Profile::read(&path).flat("spin").0 > 5);

    // Who reads is gone: said, and nothing else happens.
    let mut command = pyprof(&directory);
    command.args(["-d", "0.5", "-F", "999", "-f", "collapsed", "-o", "-", "-p", &pid]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("pyprof-bpf runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("our own child");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("failed to write standard output: Broken pipe"), "{said}");
}

#[test]
fn what_cannot_become_a_file_is_said_before_anything_is_sampled() {
    let directory = Scratch::new("refused");
    let inside = |name: &str| directory.path().join(name);
    fs::write(inside("precious"), "precious").expect("a file");
    symlink("precious", inside("link.html")).expect("a link");
    symlink(".", inside("way")).expect("a link");
    let read_only = Mounted::new(&inside("full"), "size=64k,ro");
    let before = list(directory.path());
    for (path, message) in [
        ("link.html", "failed to use link.html: it is not a regular file"),
        ("way/x.html", "failed to use way: it is not a directory, or a symbolic link"),
        ("none/x.html", "failed to open directory none: No such file"),
        ("full/x.html", "failed to write full/x.html: Read-only file system"),
    ] {
        let ran = run(pyprof(&directory).args(["-d", "30", "-o", path]));
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{path}: {}", ran.stderr);
        assert!(ran.stderr.contains(message) && !ran.stderr.contains("Sampling"), "{path}: {}", ran.stderr);
    }
    assert_eq!(list(directory.path()), before);
    assert_eq!(fs::read_to_string(inside("precious")).expect("it is there"), "precious");
    drop(read_only);
}

/// A file system of memory, gone with its owner.
struct Mounted(PathBuf);

impl Mounted {
    fn new(path: &Path, options: &str) -> Mounted {
        fs::create_dir(path).expect("a directory");
        let mut mount = Command::new("mount");
        let status = mount.args(["-t", "tmpfs", "-o", options, "none"]).arg(path).status();
        assert!(status.expect("mount runs").success());
        Mounted(path.into())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn where_one_output_has_no_room_the_others_are_delivered() {
    let target = spinner("spin.py");
    let pid = target.pid().to_string();
    let directory = Scratch::new("full");
    let place = directory.path().join("full");
    // A page of a flame graph has some 27 kB by itself, the others a few.
    let _mounted = Mounted::new(&place, "size=24k");
    let formats = "collapsed,flamegraph,speedscope,pprof";
    let ran =
        run(pyprof(&directory).args(["-d", "0.5", "-F", "999", "-f", formats, "-o", "full", "-p", &pid]));
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let message =
        format!("failed to write 1 of 5 files; the first: failed to write full/spin-{pid}.html: No space");
    assert!(ran.stderr.contains(&message), "{}", ran.stderr);
    let expected = ["collapsed.txt", "pb.gz", "speedscope.json"].map(|ending| format!("spin-{pid}.{ending}"));
    assert_eq!(list(&place), [&["capture.json".to_owned()], expected.as_slice()].concat());
    assert!(Profile::read(&place.join(&expected[1])).flat("spin").0 > 5);

    // As a file by itself: what was there stays.
    let old = vec![b'x'; 1000];
    fs::write(place.join("x.html"), &old).expect("a small file");
    let ran = run(pyprof(&directory).args(["-d", "0.5", "-F", "999", "-o", "full/x.html", "-p", &pid]));
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("failed to write full/x.html: No space left"), "{}", ran.stderr);
    assert_eq!(fs::read(place.join("x.html")).expect("it is there"), old);
    assert_eq!(list(&place).len(), 5, "{:?}", list(&place));
}

#[test]
fn every_format_of_a_merge_has_the_group_and_its_processes() {
    let targets = [spinner("same.py"), spinner("same.py")];
    let pids = targets.each_ref().map(|target| target.pid().to_string());
    let directory = Scratch::new("merged");
    let ran = run(pyprof(&directory).args([
        "-d",
        "0.5",
        "--merge-by",
        "name",
        "-f",
        "pprof,collapsed",
        "-o",
        "out",
        "-p",
        &pids[0],
        "-p",
        &pids[1],
    ]));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let out = directory.path().join("out");
    assert_eq!(list(&out), ["capture.json", "same.collapsed.txt", "same.pb.gz"]);
    let text = fs::read_to_string(out.join("same.collapsed.txt")).expect("text");
    let mut sum = 0;
    for line in text.lines() {
        assert!(pids.iter().any(|pid| line.starts_with(&format!("same (pid {pid});"))), "{line}");
        sum += line.rsplit_once(' ').and_then(|(_, ns)| ns.parse::<u64>().ok()).expect("a weight");
    }
    assert_eq!(sum, Profile::read(&out.join("same.pb.gz")).total().1);
}
