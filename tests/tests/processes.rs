//! Processes that come, change and go during a host-wide capture: each has its own file under its right name, with at
//! least 90 % of the samples that its CPU time calls for.
//!
//! Ground truth: what `wait4` says a process used, and its own `time.process_time_ns()` around the work. At 1999 Hz
//! 300 ms are 600 samples. If every sample were an independent draw (they are not: a timer ticks evenly while a process
//! runs, so the spread is smaller), one sigma would be at most sqrt(600)/2 = 12.3, and the 10 % allowed are 60 samples:
//! 4.9 sigma, a false alarm in 1e-6.

use std::collections::HashMap;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use pyprof_tests::{Capture, Profile, Python, Scratch, Target, capture, pythons};

const HZ: &str = "1999";
const BURN: &str = include_str!("../targets/burn.py");

/// A process image that must have a file.
struct Image {
    pid: u32,
    /// 1 for the first image of the pid in this capture; 0 for the last, whatever its number.
    number: usize,
    name: &'static str,
    version: String,
    /// What the kernel charged it.
    cpu_ns: Option<u64>,
    /// Functions, and how long the target says they ran.
    work: Vec<(&'static str, u64)>,
}

/// What targets print: `WHAT PID NS` per line.
#[derive(Default)]
struct Said(HashMap<String, (u32, u64)>);

impl Said {
    fn of(text: &str) -> Said {
        let mut said = Said::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            if let (Some(what), Some(pid), Some(ns)) = (words.next(), words.next(), words.next()) {
                said.0.insert(what.into(), (pid.parse().expect("a pid"), ns.parse().expect("nanoseconds")));
            }
        }
        said
    }

    fn pid(&self, what: &str) -> u32 {
        self.0.get(what).unwrap_or_else(|| panic!("the target did not say {what}: {:?}", self.0)).0
    }

    fn ns(&self, what: &str) -> u64 {
        self.pid(what);
        self.0[what].1
    }

    fn image(&self, what: &str, name: &'static str, python: &Python) -> Image {
        Image {
            pid: self.pid(what),
            number: 1,
            name,
            version: python.version.clone(),
            cpu_ns: None,
            work: vec![("burn", self.ns(what))],
        }
    }
}

/// A script in a directory of its own.
fn script(name: &str, source: &str) -> (Scratch, String) {
    let scratch = Scratch::new("script");
    let path = scratch.path().join(name);
    std::fs::write(&path, format!("{BURN}\n{source}")).expect("the script");
    let path = path.to_str().expect("a plain path").to_owned();
    (scratch, path)
}

/// Runs a command to its end: its pid, its output, the CPU time it was charged.
fn run(mut command: Command, kill_after_ms: Option<u64>) -> (u32, Said, u64) {
    let mut child = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().expect("the target runs");
    let pid = child.id();
    if let Some(ms) = kill_after_ms {
        let used = || {
            let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
            text.split_whitespace().next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(u64::MAX)
        };
        while used() < ms * 1_000_000 {
            std::thread::sleep(Duration::from_millis(5));
        }
        child.kill().expect("our own child");
    }
    let mut text = String::new();
    child.stdout.take().expect("a pipe").read_to_string(&mut text).expect("output");
    let mut status = 0;
    // SAFETY: plain integers, for which zero is a valid value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: our own child, not yet waited for, and valid pointers.
    let waited = unsafe { libc::wait4(pid as i32, &mut status, 0, &mut usage) };
    assert_eq!(waited, pid as i32, "{}", std::io::Error::last_os_error());
    assert!(kill_after_ms.is_some() || status == 0, "{command:?} ended with {status}: {text}");
    let ns = |time: libc::timeval| time.tv_sec as u64 * 1_000_000_000 + time.tv_usec as u64 * 1_000;
    (pid, Said::of(&text), ns(usage.ru_utime) + ns(usage.ru_stime))
}

fn python_command(python: &Python, path: &str) -> Command {
    let mut command = Command::new(&python.path);
    command.arg(path);
    command
}

/// One capture of the host; for every interpreter `before` it and `during` it.
fn check(
    scenario: &str,
    before: impl Fn(&Python) -> Option<Target>,
    during: impl Fn(&Python, Option<Target>) -> Vec<Image>,
) {
    let pythons = pythons();
    let targets: Vec<Option<Target>> = pythons.iter().map(before).collect();
    let recording = capture::start(&["-F", HZ, "--max-cpu", "400"]);
    let images: Vec<(Python, Vec<Image>)> = pythons
        .into_iter()
        .zip(targets)
        .map(|(python, target)| {
            let images = during(&python, target);
            (python, images)
        })
        .collect();
    let capture = recording.stop();
    assert_eq!(capture.code, 0, "{scenario}: {}", capture.stderr);
    for loss in ["lifecycle_ring_full", "process_table_full", "sample_ring_full", "sample_unaccounted"] {
        assert_eq!(capture.loss(loss), 0, "{scenario}: {loss}");
    }
    let failures: Vec<String> = images
        .iter()
        .flat_map(|(python, images)| images.iter().map(move |image| (python, image)))
        .filter_map(|(python, image)| {
            verify(&capture, image).err().map(|what| format!("{scenario}, {python}, process {}: {what}", image.pid))
        })
        .collect();
    assert!(failures.is_empty(), "{}\n{}", failures.join("\n"), capture.stderr);
}

macro_rules! ensure {
    ($condition:expr, $($what:tt)+) => { if !$condition { return Err(format!($($what)+)); } };
}

fn verify(capture: &Capture, image: &Image) -> Result<(), String> {
    let all = capture.processes(image.pid);
    let number = if image.number == 0 { all.len() } else { image.number };
    ensure!(number > 0 && all.len() >= number, "{} images, number {number} is wanted", all.len());
    let entry = all[number - 1];
    let suffix = if number > 1 { format!(".{number}") } else { String::new() };
    let file = format!("{}-{}{suffix}.pb.gz", image.name, image.pid);
    ensure!(entry["name"] == image.name, "called {}, not {}", entry["name"], image.name);
    ensure!(entry["file"] == *file, "file {}, not {file}", entry["file"]);
    ensure!(entry["python_version"] == *image.version, "{}, not {}", entry["python_version"], image.version);
    let profile: Profile = capture.profile_of(entry);
    let (samples, ns) = profile.total();
    let hz: u64 = HZ.parse().expect("a number");
    let mut report = format!("{file} {}: {samples} samples {:.1} ms", image.version, ns as f64 / 1e6);
    if let Some(cpu_ns) = image.cpu_ns {
        let wanted = cpu_ns * hz / 1_000_000_000;
        report += &format!(", {:.1} % of the CPU time", 100.0 * ns as f64 / cpu_ns as f64);
        ensure!(ns * 10 >= cpu_ns * 9 && ns * 10 <= cpu_ns * 11, "{ns} ns of {cpu_ns} ns: {entry}");
        ensure!(samples * 10 >= wanted * 9, "{samples} samples of {wanted}: {entry}");
    }
    for (function, work_ns) in &image.work {
        let (_, seen_ns) = profile.cumulative(function);
        report += &format!(", {function} {:.1} %", 100.0 * seen_ns as f64 / *work_ns as f64);
        ensure!(
            seen_ns * 10 >= work_ns * 9 && seen_ns * 10 <= work_ns * 11,
            "{function} has {seen_ns} ns of {work_ns} ns: {entry}"
        );
    }
    let pid = i64::from(image.pid);
    ensure!(profile.samples.iter().all(|sample| sample.numbers["pid"] == pid), "a sample of another process");
    eprintln!("  {report}");
    Ok(())
}

#[test]
fn a_child_that_lives_300_ms() {
    let (_scratch, path) = script("short.py", "say('work', rest())\n");
    check(
        "a short life",
        |_| None,
        |python, _| {
            let (pid, said, cpu_ns) = run(python_command(python, &path), None);
            assert_eq!(pid, said.pid("work"));
            vec![Image { cpu_ns: Some(cpu_ns), ..said.image("work", "short", python) }]
        },
    );
}

const FORK: &str = "
def child():
    say('child', burn(300))
    os._exit(0)

def grandchild():
    say('grandchild', burn(300))
    os._exit(0)

def fork():
    pid = os.fork()
    if pid == 0:
        child()
    total(pid)

def double_fork():
    # The child goes at once, as a daemon's does; the end of the pipe says that the orphan is done.
    end, other = os.pipe()
    pid = os.fork()
    if pid == 0:
        if os.fork() == 0:
            grandchild()
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(other)
    os.read(end, 1)

def fork_in_thread():
    import threading
    thread = threading.Thread(target=fork)
    thread.start()
    thread.join()

go()
{fork,double_fork,fork_in_thread}[0]()
";

/// `call` forks without exec; the child's work is under a function that only it runs, from its first tick on.
fn check_fork(call: &str, what: &'static str, has_total: bool) {
    let source = FORK.replace("{fork,double_fork,fork_in_thread}[0]", call);
    let source = format!("{BURN}\n{source}");
    check(
        call,
        |python| Some(Target::start(python, "forker.py", &source, &[])),
        |python, target| {
            let mut target = target.expect("started before");
            target.tell("go");
            let said = Said::of(&target.wait());
            let cpu_ns = has_total.then(|| said.ns("total"));
            let work = vec![("burn", said.ns(what)), (what, said.ns(what))];
            vec![Image { cpu_ns, work, ..said.image(what, "forker", python) }]
        },
    );
}

#[test]
fn a_fork_without_exec() {
    check_fork("fork", "child", true);
}

#[test]
fn a_double_fork() {
    check_fork("double_fork", "grandchild", false);
}

#[test]
fn a_fork_from_a_thread() {
    check_fork("fork_in_thread", "child", true);
}

#[test]
fn a_fork_of_a_process_that_just_started() {
    let source = FORK.replace("go()\n{fork,double_fork,fork_in_thread}[0]", "fork");
    let (_scratch, path) = script("fresh.py", &source);
    check(
        "a fork soon after exec",
        |_| None,
        |python, _| {
            let (_, said, _) = run(python_command(python, &path), None);
            vec![Image { cpu_ns: Some(said.ns("total")), ..said.image("child", "fresh", python) }]
        },
    );
}

/// The interpreter that another one execs into.
fn next(python: &Python) -> Python {
    let all = pythons();
    let at = all.iter().position(|one| one == python).expect("one of them");
    all[(at + 1) % all.len()].clone()
}

const EXEC: &str = "
def execute():
    os.execv(sys.argv[1], [sys.argv[1], sys.argv[2]])

def from_thread():
    import threading
    threading.Thread(target=execute).start()
    while True:
        time.sleep(10)

";

/// The first image, started before the capture or during it, execs into another version.
fn check_exec(scenario: &str, early: bool, call: &str) {
    let begin = if early { "go()\n" } else { "say('before', 0)\n" };
    let first = format!("{EXEC}{begin}say('first', burn(200))\nsay('until', now())\n{call}()\n");
    let (_first, first_path) = script("first.py", &first);
    let (_second, second_path) = script("second.py", "say('second', burn(300))\nsay('end', now())\n");
    let arguments = |python: &Python| {
        let path = next(python).path.to_str().expect("a plain path").to_owned();
        [path, second_path.clone()]
    };
    check(
        scenario,
        |python| {
            early.then(|| {
                let [path, second] = arguments(python);
                let source = format!("{BURN}\n{first}");
                Target::start(python, "first.py", &source, &[&path, &second])
            })
        },
        |python, target| {
            let said = match target {
                Some(mut target) => {
                    target.tell("go");
                    Said::of(&target.wait())
                }
                None => {
                    let mut command = python_command(python, &first_path);
                    command.args(arguments(python));
                    run(command, None).1
                }
            };
            assert_eq!(said.pid("first"), said.pid("second"), "exec keeps the pid");
            let before_ns = said.ns("until") - said.ns("before");
            let after_ns = said.ns("end") - said.ns("until");
            vec![
                Image { cpu_ns: Some(before_ns), ..said.image("first", "first", python) },
                Image { number: 2, cpu_ns: Some(after_ns), ..said.image("second", "second", &next(python)) },
            ]
        },
    );
}

#[test]
fn an_exec_into_another_version() {
    check_exec("exec", false, "execute");
}

#[test]
fn an_exec_of_a_process_that_ran_before() {
    check_exec("exec of an old process", true, "execute");
}

#[test]
fn an_exec_from_a_thread() {
    check_exec("exec from a thread", false, "from_thread");
}

#[test]
fn a_process_that_is_killed_while_sampled() {
    let (_scratch, path) = script("killed.py", "burn(60000)\n");
    check(
        "killed",
        |_| None,
        |python, _| {
            let (pid, _, cpu_ns) = run(python_command(python, &path), Some(300));
            let version = python.version.clone();
            let cpu_ns = Some(cpu_ns);
            vec![Image { pid, number: 1, name: "killed", version, cpu_ns, work: Vec::new() }]
        },
    );
}

#[test]
fn a_process_that_exits_with_threads_that_run() {
    let source = "
import threading
begin = now()
for _ in range(3):
    threading.Thread(target=burn, args=(60000,), daemon=True).start()
rest()
say('work', now() - begin)
os._exit(0)
";
    let (_scratch, path) = script("exits.py", source);
    check(
        "exits",
        |_| None,
        |python, _| {
            let (_, said, cpu_ns) = run(python_command(python, &path), None);
            vec![Image { cpu_ns: Some(cpu_ns), ..said.image("work", "exits", python) }]
        },
    );
}

const ZOMBIE: &str = "
import ctypes
import threading

def work():
    while open('/proc/self/stat').read().rpartition(')')[2].split()[0] != 'Z':
        time.sleep(0.001)
    BEGIN
    say('work', burn(300))
    os._exit(0)

libc = ctypes.CDLL('libc.so.6')
threading.Thread(target=work).start()
libc.pthread_exit(None)
";

#[test]
fn a_zombie_leader_with_live_threads() {
    let (_scratch, path) = script("zombie.py", &ZOMBIE.replace("BEGIN", ""));
    check(
        "zombie leader",
        |_| None,
        |python, _| {
            let (_, said, cpu_ns) = run(python_command(python, &path), None);
            vec![Image { cpu_ns: Some(cpu_ns), ..said.image("work", "zombie", python) }]
        },
    );
}

#[test]
fn a_leader_that_was_a_zombie_before() {
    let source = format!("{BURN}\n{}", ZOMBIE.replace("BEGIN", "go()"));
    check(
        "zombie leader before",
        |python| Some(Target::start(python, "zombie.py", &source, &[])),
        |python, target| {
            let mut target = target.expect("started before");
            target.tell("go");
            let said = Said::of(&target.wait());
            vec![Image { cpu_ns: Some(said.ns("work")), ..said.image("work", "zombie", python) }]
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
            ["total", "popen"].map(|what| {
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
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new("shebang");
    check(
        "#!",
        |_| None,
        |python, _| {
            let path = scratch.path().join(format!("tool-{}-{}", python.minor, python.is_static));
            let source = format!("#!/usr/bin/env {}\n{BURN}\nsay('work', rest())\n", python.path.display());
            std::fs::write(&path, source).expect("the script");
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("our own file");
            let (_, said, cpu_ns) = run(Command::new(&path), None);
            let name: &str = path.file_name().and_then(|name| name.to_str()).expect("a plain name");
            vec![Image { cpu_ns: Some(cpu_ns), ..said.image("work", name.to_owned().leak(), python) }]
        },
    );
}
