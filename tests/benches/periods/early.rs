//! A long capture of a host on which processes come and go: what has ended is written before the end.

use pyprof_tests::Target;
use pyprof_tests::pythons::python;
use pyprof_tests::running::{list, start};

use super::number;

/// One process after the other, each with functions that no other has.
const FORKS: &str = "
import os, sys
print('ready', flush=True)
for number in range(int(sys.argv[1])):
    if os.fork() == 0:
        functions = []
        for at in range(80):
            space = {}
            name = 'process_%d_function_%d' % (number, at)
            body = 'def %s(n):\\n' % name + '    for _ in range(n): pass\\n' * 30
            exec(compile(body, '/a/long/path/to/%s.py' % name, 'exec'), space)
            functions.append(space[name])
        for function in functions:
            function(400)
        os._exit(0)
    os.wait()
print('done', flush=True)
";

#[test]
fn processes_that_have_ended_are_written_before_memory_is_short() {
    const PROCESSES: usize = 100;
    let mut forks = Target::spawn(&python(12), "forks.py", FORKS, &[&PROCESSES.to_string()]);
    let own = forks.pid().to_string();
    let mut running =
        start(&["-F", "2003", "--max-cpu", "200", "--max-memory", "16", "--tree", &own, "-o", "out"]);
    running.wait_for("Sampling ");
    assert_eq!(forks.line(), "ready");
    let out = running.scratch.path().join("out");
    let mut before_the_end = 0;
    let pid = running.child.id();
    let mut most_kb = 0;
    let done = std::thread::spawn(move || forks.line());
    while !done.is_finished() {
        before_the_end = before_the_end.max(list(&out).len());
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a line");
        most_kb = most_kb.max(line.trim().trim_end_matches(" kB").parse::<u64>().expect("kB"));
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(done.join().expect("a line"), "done");
    std::thread::sleep(std::time::Duration::from_millis(300));
    running.signal(libc::SIGINT);
    let ran = running.finish();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let out = ran.scratch.path().join("out");
    let bytes = std::fs::read(out.join("capture.json")).expect("capture.json");
    let json: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
    let processes = json["processes"].as_array().expect("a list");
    assert!(before_the_end > 10, "{before_the_end} files before the end, {most_kb} kB: {}", ran.stderr);
    // Nothing was dropped for want of memory, and every process is in the account and in a file of its own.
    let sum = |name: &str| processes.iter().map(|process| number(&process[name])).sum::<u64>();
    assert_eq!(sum("dropped"), 0, "{most_kb} kB: {}", ran.stderr);
    assert!(processes.len() >= PROCESSES * 9 / 10, "{} processes: {}", processes.len(), ran.stderr);
    let mut files: Vec<&str> =
        processes.iter().map(|process| process["file"].as_str().expect("a file")).collect();
    files.push("capture.json");
    files.sort();
    assert_eq!(list(&out), files);
    assert_eq!(sum("samples"), number(&json["ticks"]["on_python"]));
    assert_eq!(sum("cpu_ns"), number(&json["ticks"]["on_python_ns"]));
    for process in processes.iter().step_by(9) {
        let profile = pyprof_tests::Profile::read(&out.join(process["file"].as_str().expect("a file")));
        assert_eq!(profile.total(), (number(&process["samples"]), number(&process["cpu_ns"])));
    }
    let more = format!("\u{2026} and {} more", processes.len() - 20);
    assert!(ran.stderr.contains(&more), "{more}: {}", ran.stderr);
    assert!(most_kb < 24 << 10, "{most_kb} kB");
}
