//! Exit codes: a promise to scripts. Each with a message that helps, none with a directory left behind.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use pyprof_tests::privileges::{BPF, PERFMON, SYS_ADMIN, SYS_PTRACE, as_nobody, keep, refuse, shared_binary};
use pyprof_tests::{Scratch, Target, capture};

use super::{Ran, any_python, list, pyprof, run, spinner};

/// Where each refusal by the host points to.
const DOCTOR: &str = "pyprof-bpf doctor";

/// The run ended with `code`, said each of `words`, did not panic and left nothing in its directory.
fn assert_refused(what: &str, ran: &Ran, directory: &Scratch, code: i32, words: &[&str]) {
    assert_eq!(ran.code, Some(code), "{what}: {}", ran.stderr);
    assert_eq!(ran.stdout, "", "{what}");
    for word in words {
        assert!(ran.stderr.contains(word), "{what}: {word} is missing in {:?}", ran.stderr);
    }
    assert!(!ran.stderr.is_empty() && !ran.stderr.contains("panicked"), "{what}: {}", ran.stderr);
    assert_eq!(list(directory.path()), [""; 0], "{what} left something behind");
}

#[test]
fn usage_is_2_whatever_is_typed() {
    let rows: &[&[&str]] = &[
        &["--nonsense"],
        &["nonsense"],
        &["record", "record"],
        &["-d"],
        &["-d", ""],
        &["-d", "0"],
        &["-d", "-1"],
        &["-d", "nan"],
        &["-d", "inf"],
        &["-d", "1e3"],
        &["-d", "99999999999999999999999999"],
        &["-d", "10 s"],
        &["-d", "\u{661}"],
        &["-d", "1", "-d", "2"],
        &["-F", "0"],
        &["-F", "-5"],
        &["-F", "10001"],
        &["-F", "99999999999999999999999999"],
        &["--rate", "x"],
        &["-r", "1.5"],
        &["-p", "0"],
        &["-p", "-1"],
        &["-p", "4294967297"],
        &["-p", "1,2"],
        &["-p", "self"],
        &["-p", "../1"],
        &["--max-cpu", "0"],
        &["--max-cpu", "-3"],
        &["--max-cpu", "nan"],
        &["--max-memory", "0"],
        &["--max-memory", "18446744073709551616"],
        &["-q", "-v"],
        &["-o", ""],
        &["-f", "svg"],
        &["-f", ""],
        &["-f", "pprof,collapsed", "-o", "-"],
        &["-f", "pprof,flamegraph", "-o", "x.html"],
        &["-f", "pprof", "-o", "x.html"],
        &["-f", "flamegraph", "--timeline"],
        &["-o", "x.html", "--merge-by", "name"],
        &["-o", "x.svg"],
        &["-o", "x.json"],
        &["-o", "/dev/null"],
        &["-o", "/proc/self/exe"],
        &["-o", "a", "-o", "b"],
        &["--every", "0.5"],
        &["--every", "x"],
        &["--max-size", "5", "-o", "x.html"],
        &["--every", "1", "--max-size", "0"],
        &["--name", "("],
        &["--uid", "no such user"],
        &["--uid", "-1"],
        &["--python", "snake"],
        &["--cgroup", ""],
        &["--cgroup", "/sys/fs/cgroup/nowhere"],
        &["--container", ""],
        &["--tree", "0"],
        &["\u{1b}[31m\n"],
        &["%s%n%x", "{}"],
    ];
    for arguments in rows {
        let directory = Scratch::new("usage");
        let ran = run(pyprof(&directory).args(*arguments));
        assert_refused(&format!("{arguments:?}"), &ran, &directory, 2, &[]);
    }
    let not_text = OsString::from_vec(b"\xff\xfe".to_vec());
    let long = OsString::from("x".repeat(100_000));
    for argument in [&not_text, &long] {
        for flag in ["-d", "-F", "-p", "--max-cpu", "--max-memory", "--python", "record"] {
            let directory = Scratch::new("usage");
            let ran = pyprof(&directory).arg(flag).arg(argument).output().expect("pyprof-bpf runs");
            let stderr = String::from_utf8_lossy(&ran.stderr).into_owned();
            let ran = Ran { code: ran.status.code(), stdout: String::new(), stderr };
            assert_refused(&format!("{flag} with a nasty value"), &ran, &directory, 2, &[]);
        }
    }
}

#[test]
fn help_and_version_are_0_on_standard_output() {
    for arguments in [&["--help"][..], &["-h"], &["--version"], &["record", "--help"], &["help"]] {
        let directory = Scratch::new("help");
        let ran = run(pyprof(&directory).args(arguments));
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{arguments:?}");
        let expected = if arguments == ["--version"] { "pyprof-bpf" } else { "Usage:" };
        assert!(ran.stdout.contains(expected), "{arguments:?}: {}", ran.stdout);
    }
}

#[test]
fn a_missing_privilege_is_3_and_named() {
    let (_shared, binary) = shared_binary();
    let directory = Scratch::new("nobody");
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o777)).expect("our own file");
    let mut nobody = Command::new(&binary);
    nobody.args(["-d", "1"]).current_dir(directory.path());
    as_nobody(&mut nobody);
    let words = ["CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE", "sudo", DOCTOR];
    assert_refused("nobody", &run(&mut nobody), &directory, 3, &words);

    let rows: [(&[u32], &[&str], &[&str]); 4] = [
        (&[BPF, SYS_ADMIN], &["CAP_BPF"], &["CAP_PERFMON", "CAP_SYS_PTRACE"]),
        (&[PERFMON, SYS_ADMIN], &["CAP_PERFMON"], &["CAP_BPF", "CAP_SYS_PTRACE"]),
        (&[SYS_PTRACE], &["CAP_SYS_PTRACE"], &["CAP_BPF", "CAP_PERFMON"]),
        (&[BPF, PERFMON, SYS_ADMIN, SYS_PTRACE], &["CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE"], &[]),
    ];
    for (dropped, named, silent) in rows {
        let directory = Scratch::new("dropped");
        let mut command = pyprof(&directory);
        command.args(["-d", "1"]);
        keep(&mut command, |capability| !dropped.contains(&capability));
        let ran = run(&mut command);
        assert_refused(&format!("without {dropped:?}"), &ran, &directory, 3, named);
        assert!(silent.iter().all(|name| !ran.stderr.contains(name)), "without {dropped:?}: {}", ran.stderr);
    }
}

#[test]
fn a_refusal_in_spite_of_capabilities_is_3_and_says_whose_it_may_be() {
    // Capabilities of a user namespace are none of the host's.
    let directory = Scratch::new("users");
    let mut users = Command::new("unshare");
    users.args(["-U", "-r"]).arg(capture::binary()).args(["-d", "1"]).current_dir(directory.path());
    assert_refused("a user namespace", &run(&mut users), &directory, 3, &["user namespace", DOCTOR]);
    for (what, call) in [("bpf", libc::SYS_bpf), ("perf_event_open", libc::SYS_perf_event_open)] {
        let directory = Scratch::new("filtered");
        let mut filtered = pyprof(&directory);
        filtered.args(["-d", "1"]);
        refuse(&mut filtered, call, libc::EPERM);
        let what = format!("a filter of {what}");
        assert_refused(
            &what,
            &run(&mut filtered),
            &directory,
            3,
            &["seccomp filter", "perf_event_open(2)", DOCTOR],
        );
    }
}

/// `--help` lists the codes: each has its cause here, and none is missing.
#[test]
fn every_code_of_the_table_has_a_real_cause() {
    let help = run(pyprof(&Scratch::new("help")).arg("--help"));
    let listed = help.stdout.lines().skip_while(|line| *line != "Exit codes:").skip(1);
    let listed: Vec<i32> =
        listed.map_while(|line| line.split_whitespace().next()?.parse::<i32>().ok()).collect();
    let busy = spinner("spin.py");
    let idle =
        Target::start(&any_python(), "idle.py", "import time\nprint(0, flush=True)\ntime.sleep(600)\n", &[]);
    let mut sleep = Command::new("/bin/sleep").arg("60").stdout(Stdio::null()).spawn().expect("it runs");
    let of = |arguments: &[&str], pid: u32| {
        let directory = Scratch::new("row");
        let mut command = pyprof(&directory);
        command.args(arguments).args(["-d", "1", "-p", &pid.to_string()]);
        run(&mut command).code
    };
    let unprivileged = {
        let directory = Scratch::new("row");
        let mut command = pyprof(&directory);
        keep(&mut command, |capability| capability != SYS_PTRACE);
        run(command.args(["-d", "1"])).code
    };
    let unshared = |namespace: &[&str], arguments: &[&str]| {
        let mut command = Command::new("unshare");
        run(command.args(namespace).arg(capture::binary()).args(arguments)).code
    };
    let launched = |options: &[&str], program: &str| {
        let directory = Scratch::new("row");
        run(pyprof(&directory).arg("record").args(options).args(["--", program])).code
    };
    let shown = [
        of(&[], busy.pid()),
        of(&["-o", "/nowhere/at/all"], busy.pid()),
        of(&["--nonsense"], busy.pid()),
        unprivileged,
        of(&[], 4_194_304),
        of(&[], sleep.id()),
        of(&[], idle.pid()),
        unshared(&["-p", "--fork"], &["-d", "1"]),
        unshared(&["-p", "--fork"], &["doctor"]),
        run(Command::new(capture::binary()).args(["report", "/nowhere"])).code,
        launched(&["-o", "/nowhere/at/all"], "true"),
        launched(&[], "/etc/passwd"),
        launched(&[], "/nowhere"),
    ];
    sleep.kill().and_then(|()| sleep.wait()).expect("our own child");
    let shown: Vec<i32> = shown.into_iter().flatten().collect();
    assert_eq!(shown, listed, "{}", help.stdout);
}

#[test]
fn the_named_privileges_are_enough() {
    let target = spinner("spin.py");
    let directory = Scratch::new("few");
    let mut command = pyprof(&directory);
    command.args(["-d", "1", "-o", "out", "-p", &target.pid().to_string()]);
    keep(&mut command, |capability| [BPF, PERFMON, SYS_PTRACE].contains(&capability));
    let ran = run(&mut command);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stderr.contains(" spin "), "{}", ran.stderr);
}

#[test]
fn a_process_that_is_not_there_is_4() {
    let mut child = Command::new("/bin/true").spawn().expect("it runs");
    let gone = child.id().to_string();
    child.wait().expect("our own child");
    let target = spinner("spin.py");
    for pids in [vec![gone.clone()], vec![target.pid().to_string(), gone.clone()], vec!["4194304".into()]] {
        let directory = Scratch::new("gone");
        let mut command = pyprof(&directory);
        command.args(["-d", "1"]).args(pids.iter().flat_map(|pid| ["-p", pid]));
        let last = pids.last().expect("one").clone();
        assert_refused(&format!("{pids:?}"), &run(&mut command), &directory, 4, &[&last]);
    }
}

/// A program with a `_PyRuntime` that claims to be a version to come, and is all zeros behind that.
fn forged_python() -> Scratch {
    const SOURCE: &str = "
#include <stdio.h>
struct { char cookie[8]; unsigned long version, rest[1000]; } _PyRuntime = { \"xdebugpy\", 0x036300f0 };
int main(void) { puts(\"ready\"); fflush(stdout); getchar(); return 0; }
";
    let scratch = Scratch::new("forged");
    let source = scratch.path().join("forged.c");
    std::fs::write(&source, SOURCE).expect("the source");
    let built = Command::new("gcc")
        .args(["-rdynamic", "-o"])
        .arg(scratch.path().join("forged"))
        .arg(&source)
        .status()
        .expect("gcc runs");
    assert!(built.success(), "gcc: {built}");
    scratch
}

#[test]
fn what_is_no_supported_cpython_is_5_and_named() {
    let mut sleep = Command::new("/bin/sleep").arg("60").stdout(Stdio::null()).spawn().expect("it runs");
    let mut rows: Vec<(String, u32, Vec<String>)> = vec![("sleep".into(), sleep.id(), vec!["sleep".into()])];
    // A kernel thread; the test's own process; a thread of a Python.
    rows.push(("kthreadd".into(), 2, vec!["kthreadd".into()]));
    rows.push(("a program in Rust".into(), std::process::id(), vec!["cli-".into()]));
    let source = "
import threading, time
thread = threading.Thread(target=time.sleep, args=(600,), daemon=True)
thread.start()
print(open('/proc/self/task/%d/stat' % thread.native_id).read().split()[0], flush=True)
time.sleep(600)
";
    let mut threaded = Target::spawn(&any_python(), "threaded.py", source, &[]);
    let tid = threaded.line().parse().expect("a thread id");
    rows.push(("a thread".into(), tid, vec!["thread of process".into(), threaded.pid().to_string()]));

    // Says itself where its fields are, and cannot be right.
    let forged = forged_python();
    let mut target = Target::command(Command::new(forged.path().join("forged")));
    target.line();
    let words = ["CPython", "3.99.0", "debug offsets"].map(String::from);
    rows.push(("a forged runtime".into(), target.pid(), words.into()));
    for (what, pid, words) in &rows {
        let directory = Scratch::new("unsupported");
        let ran = run(pyprof(&directory).args(["-d", "1", "-p", &pid.to_string()]));
        let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
        let number = pid.to_string();
        words.push(&number);
        eprint!("  {what}: {}", ran.stderr);
        assert_refused(what, &ran, &directory, 5, &words);
    }
    sleep.kill().and_then(|()| sleep.wait()).expect("our own child");
}

#[test]
fn nothing_sampled_is_6() {
    let source = "import time\nprint('ready', flush=True)\ntime.sleep(600)\n";
    let target = Target::start(&any_python(), "idle.py", source, &[]);
    let arguments = ["-d", "1", "-p", &target.pid().to_string()];
    let directory = Scratch::new("idle");
    let ran = run(pyprof(&directory).args(arguments));
    assert_refused("an idle process", &ran, &directory, 6, &["none used the CPU"]);
    // Asked for by number and left out by another rule, it is a Python all the same.
    let ran = run(pyprof(&directory).args(arguments).args(["--name", "nobody-is-called-so"]));
    assert_refused("a process that is left out", &ran, &directory, 6, &["has name idle"]);
    assert!(
        !ran.stderr.contains("no Python runtime") && !ran.stderr.contains("not a supported"),
        "{}",
        ran.stderr
    );
    // A directory that was there before stays.
    let existing = directory.path().join("mine");
    std::fs::create_dir(&existing).expect("a directory");
    let ran = run(pyprof(&directory).args(arguments).arg("-o").arg(&existing));
    assert_eq!((ran.code, list(directory.path())), (Some(6), vec!["mine".to_owned()]), "{}", ran.stderr);
}

#[test]
fn a_directory_that_cannot_be_used_is_1_and_named() {
    let directory = Scratch::new("full");
    let full = directory.path().join("fu\u{1b}[31mll");
    std::fs::create_dir(&full).expect("a directory");
    std::fs::write(full.join("mine"), "precious").expect("a file");
    std::os::unix::fs::symlink("/nowhere", directory.path().join("link")).expect("a link");
    std::os::unix::fs::symlink(&full, directory.path().join("other")).expect("a link");
    let before = list(directory.path());
    let rows = [
        ("fu\u{1b}[31mll", "fu\\x1b[31mll: it is not empty"),
        ("missing/parent", "missing/parent"),
        ("link", "link"),
        ("other", "other: it is not a directory, or a symbolic link"),
    ];
    for (output, words) in rows {
        let ran = run(pyprof(&directory).args(["-d", "1", "-o", output]));
        assert_eq!(ran.code, Some(1), "{output:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(words) && !ran.stderr.contains('\u{1b}'), "{output:?}: {:?}", ran.stderr);
        assert_eq!(list(directory.path()), before, "{output:?}");
    }
    assert_eq!(std::fs::read_to_string(full.join("mine")).expect("still there"), "precious");
}
