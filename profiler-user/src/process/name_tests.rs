//! Command lines and the names they give; the secret argument that some rows carry must never show.

use super::*;

const PYTHON: &str = "/usr/bin/python3.11";

fn check(executable: &str, arguments: &[&str], expected: &str) {
    let mut command_line = arguments.join("\0").into_bytes();
    command_line.push(0);
    assert_eq!(name_of(&command_line, executable.as_bytes()), expected, "{executable} {arguments:?}");
}

#[test]
fn interpreters_are_called_by_script_or_module() {
    check(PYTHON, &["python3", "/srv/app/server.py", "--password=secret"], "server");
    check(PYTHON, &["/usr/bin/python3", "/usr/bin/gunicorn", "app:app"], "gunicorn");
    check(PYTHON, &["python3", "-m", "http.server", "8000"], "http.server");
    check(PYTHON, &["python3", "-mfoo.bar", "secret"], "foo.bar");
    check(PYTHON, &["python3", "-Bsm", "pkg", "secret"], "pkg");
    check(PYTHON, &["python3", "-Bsmpkg", "secret"], "pkg");
    check(PYTHON, &["python3", "-u", "-W", "error::secret", "-X", "dev", "a.py"], "a");
    check(PYTHON, &["python3", "-Wdefault", "-Xdev", "-uBW", "ignore", "a.py"], "a");
    check(PYTHON, &["python3", "--check-hash-based-pycs", "default", "dir/a.py"], "a");
    check(PYTHON, &["python3", "--", "-odd.py", "secret"], "-odd");
    check(PYTHON, &["python3", "app.pyz"], "app.pyz");
    check(PYTHON, &["python3", "package/"], "package");
    check(PYTHON, &["python3", ".py"], ".py");
    check("/usr/bin/pypy3", &["pypy3", "a.py"], "a");
    check("/usr/bin/python2.7", &["python2", "-3", "-Qnew", "a.py"], "a");
}

#[test]
fn helpers_of_multiprocessing_are_called_by_their_module() {
    let code = "from multiprocessing.spawn import spawn_main; spawn_main(tracker_fd=5, pipe_handle=7)";
    check(PYTHON, &["python3", "-c", code, "--multiprocessing-fork"], "multiprocessing.spawn");
    check(PYTHON, &["python3", "-s", "-E", "-Bc", code], "multiprocessing.spawn");
    let code = "from multiprocessing.forkserver import main; main(9, 10, ['__main__'], **{'secret': 1})";
    check(PYTHON, &["python3", "-Xdev", "-c", code], "multiprocessing.forkserver");
    let code = "from multiprocessing.resource_tracker import main;main(4)";
    check(PYTHON, &["python3", &format!("-c{code}")], "multiprocessing.resource_tracker");
    for other in ["from multiprocessing.spawning import x", "from multiprocessing.spawn", "import secret", ""]
    {
        check(PYTHON, &["python3", "-c", other], "python3");
    }
}

#[test]
fn without_a_script_the_program_gives_the_name() {
    check(PYTHON, &["python3"], "python3");
    check(PYTHON, &["python3", "-c", "secret", "secret"], "python3");
    check(PYTHON, &["python3", "-Bc", "secret"], "python3");
    check(PYTHON, &["python3", "-", "secret"], "python3");
    check(PYTHON, &["python3", "-i"], "python3");
    check(PYTHON, &["python3", "-m"], "python3");
    check(PYTHON, &["python3", "--"], "python3");
    check(PYTHON, &["python3", "-W"], "python3");
    check(PYTHON, &["python3", "--unknown", "secret"], "python3");
    check(PYTHON, &["python3", "-Z", "secret"], "python3");
    check(PYTHON, &["python3", "--version", "secret"], "python3");
    check(PYTHON, &["-bash-like", "-c", "secret"], "python3.11");
}

#[test]
fn other_programs_keep_their_name_whatever_their_arguments() {
    check("/usr/sbin/uwsgi", &["uwsgi", "--ini", "secret.py"], "uwsgi");
    check("/usr/bin/gdb", &["gdb", "/bin/python3"], "gdb");
    check("/opt/app/pythonista", &["pythonista", "secret"], "pythonista");
    check("/opt/app/python3-config", &["python3-config", "secret"], "python3-config");
    check("/opt/app (deleted)/x", &["y", "secret"], "x");
    check(
        "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
        &["/lib/ld.so", "--library-path", "/x", "/usr/bin/python3", "/a/b.py"],
        "b",
    );
    check("/lib/ld-musl-x86_64.so.1", &["ld", "--", "/usr/bin/python3", "-m", "x"], "x");
    check("/lib/ld-linux-x86-64.so.2", &["ld.so", "/bin/cat", "secret"], "cat");
}

#[test]
fn a_renamed_process_is_called_by_the_first_word_of_its_title() {
    check(PYTHON, &["gunicorn: master [secret]"], "gunicorn");
    check(PYTHON, &["celeryd secret"], "celeryd");
    check(PYTHON, &["gunicorn: worker [secret]", "", "", ""], "gunicorn");
    check(PYTHON, &["myserver", "/srv/run.py"], "run");
    check(PYTHON, &[": secret"], "python3.11");
}

#[test]
fn what_a_target_writes_there_cannot_hurt() {
    check(PYTHON, &[""], "python3.11");
    check("", &[""], "unknown");
    check("", &["python3", "a.py"], "a");
    check(PYTHON, &["python3", "/"], "python3");
    check(PYTHON, &["python3", "..."], "...");
    check(PYTHON, &["python3", "-m", "../../etc/x"], "x");
    check(PYTHON, &["python3", "a\x1b[31m\n.py"], "a\\x1b[31m\\x0a");
    check(PYTHON, &["python3", "\u{202e}yp.a"], "\\u{202e}yp.a");
    check(PYTHON, &["python3", &"x".repeat(5_000)], &"x".repeat(120));
    assert_eq!(name_of(b"python3\0\xff\xfe.py\0", PYTHON.as_bytes()), "\\xff\\xfe");
    assert_eq!(name_of(b"", b""), "unknown");
    assert_eq!(name_of(&[0; 100], b"/usr/bin/python3"), "python3");
}
