//! Plain tables for scripts: what they say, how many, and how it ends.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use pyprof_tests::capture;
use serde_json::Value;

use super::spinner;

#[test]
fn as_many_tables_as_asked_for_with_the_shares_that_the_kernel_charged() {
    let target = spinner("spin.py");
    let pid = target.pid().to_string();
    let before = target.schedstat_ns();
    let output = Command::new(capture::binary())
        .args([
            "top",
            "--batch",
            "-n",
            "3",
            "-i",
            "1",
            "-w",
            "all",
            "-F",
            "997",
            "--max-cpu",
            "400",
            "-p",
            &pid,
        ])
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    let charged = target.schedstat_ns() - before;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), said.as_ref()), (Some(0), ""));
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(!text.contains('\x1b'), "{text:?}");
    let tables: Vec<&str> = text.trim_end().split("\n\n").collect();
    assert_eq!(tables.len(), 3, "{text}");
    for (index, table) in tables.iter().enumerate() {
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[0].contains(&format!("window all {} s", index + 1)), "{table}");
        let heads: Vec<&str> = lines[1].split_whitespace().collect();
        assert_eq!(heads, ["PID", "CPU%", "GIL%", "LOST%", "THR", "PYTHON", "NAME", "TOP", "FUNCTION"]);
        let cells: Vec<&str> = lines[2].split_whitespace().collect();
        assert_eq!((cells[0], &cells[4..]), (pid.as_str(), &["2", cells[5], "spin", "inner"][..]), "{table}");
    }
    // Two threads and one GIL: about one core, unless others want it; the kernel knows.
    let last = tables[2].lines().nth(2).and_then(|line| line.split_whitespace().nth(1)).expect("a number");
    let shown: f64 = last.parse().expect("a number");
    // On a busy machine it may be 600 samples only, a deviation of 4 %. The process was charged from a little before the first tick to a little after the last.
    let most = charged as f64 / 3e9 * 100.0;
    assert!((most * 0.6..most * 1.2 + 2.0).contains(&shown), "{shown} % shown, {most} % charged at most");
}

#[test]
fn a_script_gets_json_with_one_object_a_line() {
    let target = spinner("spin\u{1b}[31m.py");
    let output = Command::new(capture::binary())
        .args(["top", "-b", "--json", "-n", "2", "-i", "0.5", "-p", &target.pid().to_string()])
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let objects: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(objects.len(), 2, "{text}");
    for object in &objects {
        let process = &object["processes"][0];
        assert_eq!(process["pid"], target.pid(), "{text}");
        assert_eq!((&process["name"], &process["threads"]), (&"spin\\x1b[31m".into(), &2.into()), "{text}");
        let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("no number: {text}"));
        let (cpu, gil) = (number(&process["cpu_percent"]), number(&process["gil_percent"]));
        assert!(cpu > 0.0 && gil <= cpu && (cpu - number(&object["cpu_percent"])).abs() < 0.01, "{text}");
        assert!(number(&object["window_s"]) <= number(&object["elapsed_s"]) + 0.1, "{text}");
    }
}

#[test]
fn it_ends_with_who_reads_and_by_signals() {
    let target = spinner("spin.py");
    let start = || {
        let mut command = Command::new(capture::binary());
        command.args(["top", "-b", "-i", "0.2", "-p", &target.pid().to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("it runs")
    };
    let mut child = start();
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
    assert_eq!(child.wait().expect("our own child").code(), Some(0), "the pipe was closed");
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let mut child = start();
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe"));
        lines.read_line(&mut line).expect("a line");
        // SAFETY: our own child, which was not waited for.
        unsafe { libc::kill(child.id() as i32, signal) };
        assert_eq!(child.wait().expect("our own child").code(), Some(0), "signal {signal}");
    }
}

#[test]
fn what_keeps_a_capture_from_beginning_is_said_as_by_record() {
    let mut gone = Command::new("/bin/true").spawn().expect("it runs");
    gone.wait().expect("our own child");
    let kernel = "2".to_owned();
    for (args, expected) in [
        (vec!["-p", &gone.id().to_string()], 4),
        (vec!["-p", &kernel], 5),
        (vec!["-F", "0"], 2),
        (vec!["-i", "0"], 2),
        (vec!["-w", "61"], 2),
        (vec!["-n", "0"], 2),
        (vec!["--color", "red"], 2),
    ] {
        let run = |command: &str, more: &[&str]| {
            let output = Command::new(capture::binary())
                .arg(command)
                .args(more)
                .args(&args)
                .output()
                .expect("it runs");
            (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
        };
        let (code, said) = run("top", &["-b"]);
        assert_eq!(code, Some(expected), "{args:?}: {said}");
        if args[0] == "-p" {
            assert_eq!((code, said), run("record", &["-d", "1"]), "{args:?}");
        }
    }
    // Without a single privilege.
    let mut command = Command::new(capture::binary());
    // SAFETY: prctl is async-signal-safe and touches nothing of the parent.
    unsafe {
        command.pre_exec(|| {
            (0..=40).for_each(|capability| {
                libc::prctl(libc::PR_CAPBSET_DROP, capability as libc::c_ulong);
            });
            Ok(())
        });
    }
    let output = command.args(["top", "-b", "-n", "1"]).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("CAP_BPF") && said.contains("sudo"), "{said}");
}
