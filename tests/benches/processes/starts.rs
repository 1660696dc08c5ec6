//! Interpreters that start during the capture, in every way that a program can be started.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use pyprof_tests::{Python, Scratch, pythons};

use super::{BURN, Image, check, python_command, run, script};

#[test]
fn a_child_that_lives_300_ms() {
    let (_scratch, path) = script("short.py", "say('work', rest(300))\n");
    check(
        "a short life",
        |_| None,
        |python, _| {
            let life = || {
                let (pid, said, cpu_ns) = run(python_command(python, &path), None);
                assert_eq!(pid, said.pid("work"));
                Image { cpu_ns: Some(cpu_ns), is_short: true, ..said.image("work", "short", python) }
            };
            (0..4).map(|_| life()).collect()
        },
    );
}

#[test]
fn children_by_posix_spawn_and_by_subprocess() {
    let source = "
import subprocess
arguments = [sys.executable, sys.argv[1]]
first = os.posix_spawn(arguments[0], arguments, os.environ)
total(first)
# vfork since 3.10, where the platform has it.
second = subprocess.Popen(arguments, close_fds=False)
usage = os.wait4(second.pid, 0)[2]
say('popen', int((usage.ru_utime + usage.ru_stime) * 1e9), second.pid)
";
    let (_child, child) = script("spawned.py", "rest()\n");
    let (_parent, parent) = script("parent.py", source);
    check(
        "posix_spawn and vfork",
        |_| None,
        |python, _| {
            let mut command = python_command(python, &parent);
            command.arg(&child);
            let (_, said, _) = run(command, None);
            // Between fork and exec the child is a Python process of its own, and may be sampled as one.
            ["total", "popen"]
                .map(|what| {
                    let image = said.image(what, "spawned", python);
                    Image { number: 0, cpu_ns: Some(said.ns(what)), work: Vec::new(), ..image }
                })
                .into()
        },
    );
}

#[test]
fn a_shell_script_that_execs_python() {
    let (_child, child) = script("inner.py", "say('work', rest())\n");
    let scratch = Scratch::new("shell");
    let shell = scratch.path().join("outer.sh");
    // Long enough in the shell for it to be looked at and given up.
    std::fs::write(&shell, "sleep 0.1\nexec \"$1\" \"$2\"\n").expect("the script");
    check(
        "a shell script",
        |_| None,
        |python, _| {
            let mut command = Command::new("/bin/sh");
            command.arg(&shell).arg(&python.path).arg(&child);
            let (pid, said, cpu_ns) = run(command, None);
            assert_eq!(pid, said.pid("work"));
            vec![Image { cpu_ns: Some(cpu_ns), ..said.image("work", "inner", python) }]
        },
    );
}

#[test]
fn a_script_with_an_interpreter_line() {
    let scratch = Scratch::new("shebang");
    let path = |python: &Python| scratch.path().join(format!("tool-{}-{}", python.minor, python.is_static));
    // Before any of them runs: a file that is open for writing in a child that another thread starts is busy.
    for python in pythons() {
        let path = path(&python);
        let source = format!("#!/usr/bin/env {}\n{BURN}\nsay('work', rest())\n", python.path.display());
        std::fs::write(&path, source).expect("the script");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("our own file");
    }
    check(
        "#!",
        |_| None,
        |python, _| {
            let path = path(python);
            let (_, said, cpu_ns) = run(Command::new(&path), None);
            let name: &str = path.file_name().and_then(|name| name.to_str()).expect("a plain name");
            vec![Image { cpu_ns: Some(cpu_ns), ..said.image("work", name.to_owned().leak(), python) }]
        },
    );
}
