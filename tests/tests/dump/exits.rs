//! Exit codes and messages: what is missing is named, and one process that cannot be shown does not keep others from it.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use pyprof_tests::dump::{PARKED, dump, telling};
use pyprof_tests::pythons::python;
use pyprof_tests::{Scratch, Target, capture};

const SLEEP: &str = "import time\nprint('ready', flush=True), time.sleep(100)\n";

#[test]
fn what_cannot_be_shown_is_named_and_the_rest_is_shown() {
    let python = python(11);
    let target = Target::start(&python, "sleeper.py", SLEEP, &[]);
    let mut other = Command::new("sleep").arg("100").spawn().expect("sleep");
    let (pid, alien) = (target.pid().to_string(), other.id().to_string());
    // (arguments, exit code, what is said, whether the sleeper is shown)
    let rows: &[(&[&str], i32, &str, bool)] = &[
        (&["-p", &pid], 0, "", true),
        (&["-p", "4194304"], 4, "process 4194304 does not exist", false),
        (&["-p", &alien], 5, "maps no Python runtime", false),
        (&["-p", "2"], 5, "thread of the kernel", false),
        (&["-p", "4194304", "-p", &pid], 4, "does not exist", true),
        (&["-p", &alien, "-p", &pid, "-p", "4194304"], 4, "maps no Python runtime", true),
        (&["--all"], 0, "", true),
        (&[], 2, "--pid", false),
        (&["-p", "0"], 2, "", false),
        (&["-p", &pid, "--all"], 2, "", false),
        (&["--core", "/nowhere"], 1, "/nowhere", false),
        (&["--core", "/dev/null"], 1, "not a regular file", false),
        (&["--core", "/bin/true"], 1, "not a core", false),
        (&["--executable", "/bin/true", "-p", &pid], 2, "", false),
    ];
    // Who has seen enough.
    let mut piped = Command::new(capture::binary());
    let mut piped = piped
        .args(["dump", "-p", &pid])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    drop(piped.stdout.take());
    let output = piped.wait_with_output().expect("our own child");
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
    for (arguments, code, words, shown) in rows {
        let output = dump(arguments);
        let (stdout, stderr) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(*code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(words) && !stderr.contains("panicked"), "{arguments:?}: {stderr}");
        assert_eq!(stdout.contains("sleeper.py:2"), *shown, "{arguments:?}: {stdout}");
    }
    for (when, painted) in [("always", true), ("auto", false), ("never", false)] {
        let text = dump(&["-p", &pid, "--color", when]).stdout;
        let text = String::from_utf8_lossy(&text);
        assert_eq!(text.contains("\x1b[32m    <module>\x1b[0m (/"), painted, "{when}: {text}");
        assert_eq!(text.starts_with("\x1b[1mProcess "), painted, "{when}: {text}");
        assert_eq!(text.contains('\x1b'), painted, "{when}: {text}");
    }
    other.kill().and_then(|()| other.wait()).expect("our own child");
}

#[test]
fn without_root_own_processes_are_shown_and_others_need_a_capability_that_is_named() {
    let shared = Scratch::new("binary");
    let binary = shared.path().join("pyprof-bpf");
    std::fs::copy(capture::binary(), &binary).expect("a copy");
    for path in [shared.path(), &binary] {
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("our own file");
    }
    let nobody = |arguments: &[&str]| {
        let mut command = Command::new(&binary);
        let output = command.arg("dump").args(arguments).current_dir("/").uid(65534).gid(65534).output();
        output.expect("pyprof-bpf runs")
    };
    let (roots, _) = telling(&python(11), PARKED, &[]);
    let refused = nobody(&["-p", &roots.pid().to_string()]);
    let stderr = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("CAP_SYS_PTRACE") && stderr.contains("sudo"), "{stderr}");
    assert!(stderr.contains("pyprof-bpf doctor"), "{stderr}");

    // Of all processes: in one line, with -v one by one, and with -q not at all.
    let stderr = |arguments: &[&str]| String::from_utf8(nobody(arguments).stderr).expect("text");
    let (one, quiet, each) = (stderr(&["--all"]), stderr(&["--all", "-q"]), stderr(&["--all", "-v"]));
    let name = format!("process {} (", roots.pid());
    assert!(one.contains("may not be read: needs CAP_SYS_PTRACE") && !one.contains(&name), "{one}");
    assert!(!quiet.contains("may not be read"), "{quiet}");
    assert!(each.contains(&name) && each.contains(" run no Python, or ended meanwhile"), "{each}");

    let mut own = Command::new("/usr/bin/python3.11");
    own.args(["-c", SLEEP]).uid(65534).gid(65534);
    let mut own = Target::command(own);
    own.line();
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    let shown = nobody(&["-p", &own.pid().to_string()]);
    if scope.trim().is_empty() || scope.trim() == "0" {
        let stdout = String::from_utf8_lossy(&shown.stdout);
        assert!(
            stdout.contains("<module> (<string>:2)"),
            "{stdout}{}",
            String::from_utf8_lossy(&shown.stderr)
        );
    } else {
        let stderr = String::from_utf8_lossy(&shown.stderr);
        assert_eq!(shown.status.code(), Some(3), "{stderr}");
    }
}
