//! What is written, where, when and for whom; and what is left when the profiler itself is killed.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use pyprof_tests::{Profile, Scratch, Target, capture};
use serde_json::Value;

use super::{any_python, fits, list, pyprof, run, spinner};

/// Starts a capture in `directory` and waits until it samples.
fn start(directory: &Scratch, arguments: &[&str]) -> (Child, BufReader<std::process::ChildStderr>) {
    let mut child =
        pyprof(directory).args(arguments).stderr(Stdio::piped()).spawn().expect("pyprof-bpf runs");
    let mut stderr = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut line = String::new();
    stderr.read_line(&mut line).expect("standard error");
    assert!(line.starts_with("Sampling "), "{line}");
    (child, stderr)
}

fn signal(child: &Child, signal: i32) {
    // SAFETY: our own child, not yet waited for.
    unsafe { libc::kill(child.id() as i32, signal) };
}

fn profiles(directory: &Path) -> Vec<String> {
    list(directory).into_iter().filter(|name| name.ends_with(".pb.gz")).collect()
}

#[test]
fn both_signals_write_what_there_is() {
    let target = spinner("spin.py");
    for number in [libc::SIGINT, libc::SIGTERM] {
        let capture = {
            let recording = capture::start(&["-p", &target.pid().to_string()]);
            target.wait_for_cpu(Duration::from_millis(250));
            recording.signal(number);
            recording.finish()
        };
        assert_eq!(capture.code, 0, "signal {number}: {}", capture.stderr);
        assert!(capture.profile(target.pid()).flat("spin").0 > 10, "signal {number}");
    }
}

#[test]
fn the_default_directory_names_host_and_time_and_is_private() {
    let target = spinner("spin.py");
    let directory = Scratch::new("default");
    // A mask that would take nothing away.
    let mut command = pyprof(&directory);
    // SAFETY: umask is async-signal-safe.
    unsafe {
        std::os::unix::process::CommandExt::pre_exec(&mut command, || {
            libc::umask(0);
            Ok(())
        });
    }
    let ran = run(command.args(["-d", "0.5", "-p", &target.pid().to_string()]));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let host = fs::read_to_string("/proc/sys/kernel/hostname").expect("the host's name");
    let names = list(directory.path());
    assert!(names.len() == 1 && fits(&format!("pyprof-{}-#T#Z", host.trim()), &names[0]), "{names:?}");
    assert_eq!(names[0].len(), format!("pyprof-{}-20261120T231500Z", host.trim()).len(), "{names:?}");
    assert!(ran.stderr.contains(&format!("Ctrl-C writes ./{}\n", names[0])), "{}", ran.stderr);

    let out = directory.path().join(&names[0]);
    assert_eq!(out.metadata().expect("it is there").permissions().mode() & 0o7777, 0o700);
    assert_eq!(list(&out), ["capture.json".to_owned(), format!("spin-{}.pb.gz", target.pid())]);
    for name in list(&out) {
        let metadata = out.join(&name).metadata().expect("it is there");
        assert_eq!((metadata.permissions().mode() & 0o7777, metadata.uid()), (0o600, 0), "{name}");
    }
}

#[test]
fn under_sudo_the_files_belong_to_who_called_it() {
    let target = spinner("spin.py");
    let pid = target.pid().to_string();
    let rows = [("1234", "2345", (1234, 2345)), ("x", "2345", (0, 0)), ("-1", "-1", (0, 0))];
    for (uid, gid, expected) in rows {
        let directory = Scratch::new("sudo");
        let mut command = pyprof(&directory);
        command.args(["-d", "0.5", "-o", "out", "-p", &pid]).env("SUDO_UID", uid).env("SUDO_GID", gid);
        let ran = run(&mut command);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let out = directory.path().join("out");
        for path in list(&out).into_iter().map(|name| out.join(name)).chain([out.clone()]) {
            let metadata = path.metadata().expect("it is there");
            assert_eq!((metadata.uid(), metadata.gid()), expected, "{uid} {gid} {}", path.display());
        }
    }
}

#[test]
fn an_empty_directory_is_taken_and_a_target_that_dies_keeps_its_profile() {
    let target = spinner("dies.py");
    let pid = target.pid();
    let directory = Scratch::new("dies");
    fs::create_dir(directory.path().join("out")).expect("a directory");
    let begun = Instant::now();
    let (child, stderr) = start(&directory, &["-d", "4", "-F", "499", "-o", "out", "-p", &pid.to_string()]);
    target.wait_for_cpu(Duration::from_millis(500));
    drop(target);
    let lived = begun.elapsed();
    let said: Vec<String> = stderr.lines().map_while(Result::ok).collect();
    let status = wait(child);
    assert_eq!(status, Some(0), "{said:?}");
    let profile = Profile::read(&directory.path().join(format!("out/dies-{pid}.pb.gz")));
    // Of half a second of its life, 249 ticks, a good part, and nothing after its death: a thread that moves between CPUs
    // meets the clock of each.
    let (samples, _) = profile.flat("spin");
    let cpus = std::thread::available_parallelism().expect("the number of CPUs").get() as u64;
    let most = cpus * (lived.as_millis() as u64 * 499 / 1000 + 1);
    assert!((100..=most).contains(&samples), "{samples} of {most}: {said:?}");
}

fn wait(mut child: Child) -> Option<i32> {
    child.wait().expect("our own child").code()
}

#[test]
fn two_captures_at_once_do_not_disturb_each_other() {
    let target = spinner("spin.py");
    let pid = target.pid().to_string();
    let directory = Scratch::new("two");
    let begun = Instant::now();
    let (one, _one) =
        start(&directory, &["-d", "2", "-F", "999", "--max-cpu", "400", "-o", "one", "-p", &pid]);
    let (two, _two) = start(&directory, &["-d", "1", "-F", "499", "--max-cpu", "400", "-o", "two"]);
    assert_eq!((wait(two), wait(one)), (Some(0), Some(0)));
    let read = |name: &str| Profile::read(&directory.path().join(format!("{name}/spin-{pid}.pb.gz")));
    for (name, hz) in [("one", 999), ("two", 499)] {
        let profile = read(name);
        let (samples, ns) = profile.total();
        assert_eq!(profile.period, 1_000_000_000 / hz, "{name}");
        // Each has its own rhythm and counts its own time: a tick weighs a period of its own capture, and one thread uses no
        // more than the time that passed. How much at most is measured (benches/limits.rs).
        let mean = ns as f64 / samples as f64;
        assert!(mean / profile.period as f64 >= 0.9, "{name}: {mean}");
        assert!(samples > 0 && u128::from(ns) <= begun.elapsed().as_nanos(), "{name}: {samples} {ns}");
    }
}

/// The ids of all BPF programs in the kernel (`BPF_PROG_GET_NEXT_ID`, `include/uapi/linux/bpf.h`).
fn programs() -> Vec<u32> {
    const BPF_PROG_GET_NEXT_ID: libc::c_long = 11;
    let mut ids = Vec::new();
    let mut attributes = [0u32; 32];
    loop {
        attributes[0] = ids.last().copied().unwrap_or(0);
        // SAFETY: the kernel reads and writes at most the size given.
        let failed = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                BPF_PROG_GET_NEXT_ID,
                attributes.as_mut_ptr(),
                size_of_val(&attributes),
            )
        };
        if failed != 0 {
            let error = std::io::Error::last_os_error();
            assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "{error}");
            return ids;
        }
        ids.push(attributes[1]);
    }
}

/// The programs that a process holds, by what the kernel says of its descriptors.
fn programs_of(pid: u32) -> Vec<u32> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("our own child").flatten() {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        ids.extend(text.lines().filter_map(|line| line.strip_prefix("prog_id:")?.trim().parse::<u32>().ok()));
    }
    ids.sort_unstable();
    ids.dedup();
    ids
}

#[test]
fn a_killed_profiler_leaves_nothing_behind() {
    let target = spinner("spin.py");
    let pid = target.pid().to_string();
    let directory = Scratch::new("killed");
    let (child, _stderr) = start(&directory, &["-F", "999", "-o", "out", "-p", &pid]);
    let held = programs_of(child.id());
    assert!(held.len() >= 5, "{held:?}");
    assert!(held.iter().all(|id| programs().contains(id)), "{held:?}");
    signal(&child, libc::SIGKILL);
    assert_eq!(wait(child), None);
    // The kernel frees them after a grace period.
    let until = Instant::now() + Duration::from_secs(10);
    while programs().iter().any(|id| held.contains(id)) {
        assert!(Instant::now() < until, "still there: {held:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(list(&directory.path().join("out")), [""; 0], "half a capture");

    // Killed while it writes: a file is there in full or not at all, whatever its moment.
    for delay_us in [0, 300, 1000, 3000, 6000, 10_000, 20_000] {
        let directory = Scratch::new("cut");
        let (child, _stderr) = start(&directory, &["-F", "999", "-o", "out", "-p", &pid]);
        std::thread::sleep(Duration::from_millis(200));
        signal(&child, libc::SIGINT);
        std::thread::sleep(Duration::from_micros(delay_us));
        signal(&child, libc::SIGKILL);
        wait(child);
        let out = directory.path().join("out");
        for name in profiles(&out) {
            assert!(!Profile::read(&out.join(name)).samples.is_empty());
        }
        if let Ok(json) = fs::read(out.join("capture.json")) {
            serde_json::from_slice::<Value>(&json).expect("whole");
        }
    }
}

/// What an operator does first: the answer on the screen, line by line.
#[test]
fn the_summary_says_what_it_promises() {
    let target = spinner("busy.py");
    let source = SOURCE_OF_TWO;
    let other = Target::start(&any_python(), "second.py", source, &[]);
    let directory = Scratch::new("summary");
    let ran = run(pyprof(&directory).args(["-d", "2", "-F", "499", "--max-cpu", "400", "-o", "out"]));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert!(fits("Sampling # Python processes at 499 Hz; Ctrl-C writes out", lines[0]), "{}", lines[0]);
    let has = |pattern: &str| {
        assert!(lines.iter().any(|line| fits(pattern, line)), "{pattern} is missing:\n{}", ran.stderr);
    };
    let version = &any_python().version;
    has("*PID  NAME*PYTHON*SAMPLES*CPU s*TRUNCATED*LOST*TOP FUNCTION*");
    has(&format!("*{}  busy * {version} *#  *#.#  *#  *#  spin", target.pid()));
    has(&format!("*{}  second * {version} *#  *#.#  *#  *#  alpha", other.pid()));
    has("Hottest: * (pid #)");
    has("*own %*total %*function");
    has("*#.#*#.#  *.py:#");
    has("Captured #.# of #.# s of Python CPU (#.# %): complete #.#*");
    has("pyprof-bpf used #.# s CPU, # MB + # MB kernel");
    has("go tool pprof -http=: out/*-#.pb.gz");
    let account = lines.iter().position(|line| line.starts_with("Captured ")).expect("checked");
    assert!(lines[account + 1].starts_with("pyprof-bpf used "), "{}", ran.stderr);
    // By CPU time, the most first, and nothing after the line that opens the hottest.
    let file = lines.last().and_then(|line| line.rsplit(' ').next()).map(PathBuf::from).expect("a line");
    assert!(directory.path().join(&file).exists(), "{}", file.display());
    let first = lines[2].split_whitespace().next().expect("a pid");
    assert!(file.to_string_lossy().ends_with(&format!("-{first}.pb.gz")), "{}", ran.stderr);

    let json: Value =
        serde_json::from_slice(&fs::read(directory.path().join("out/capture.json")).expect("it is there"))
            .expect("JSON");
    for key in [
        "schema",
        "tool_version",
        "host",
        "kernel",
        "start",
        "duration_seconds",
        "frequency_hz",
        "ticks",
        "processes",
    ] {
        assert!(!json[key].is_null(), "{key}");
    }
    for process in json["processes"].as_array().expect("processes") {
        for key in
            ["pid", "start", "name", "executable", "python_version", "file", "samples", "cpu_ns", "outcomes"]
        {
            assert!(!process[key].is_null(), "{key}");
        }
    }
}

const SOURCE_OF_TWO: &str = "
def alpha():
    for _ in range(9000):
        pass

def beta():
    for _ in range(1000):
        pass

print('ready', flush=True)
while True:
    alpha()
    beta()
";
