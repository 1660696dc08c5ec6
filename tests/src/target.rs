//! A Python process under test: its script, its lines of output, its end.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use pyprof_host::mark::mark;

use crate::{Python, Scratch};

/// Within this every host gives a few seconds of CPU time.
const DEADLINE: Duration = Duration::from_secs(120);

/// All its time is spent in `spin`, once it has said that it is ready.
pub const SPIN: &str = "
def spin():
    while True:
        for _ in range(2000):
            pass

print('ready', flush=True)
spin()
";

pub struct Target {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    script: PathBuf,
    _scratch: Option<Scratch>,
}

impl Target {
    /// Runs `source` as a script called `name` and waits until it has printed a line: it is then where the test wants it.
    pub fn start(python: &Python, name: &str, source: &str, args: &[&str]) -> Target {
        let mut target = Target::spawn(python, name, source, args);
        target.line();
        target
    }

    /// Runs `source` without waiting.
    pub fn spawn(python: &Python, name: &str, source: &str, args: &[&str]) -> Target {
        let scratch = Scratch::new("target");
        let script = scratch.path().join(name);
        std::fs::write(&script, source).expect("the script");
        let mut command = Command::new(&python.path);
        command.arg(&script).args(args);
        let mut target = Target::command(command);
        target.script = script;
        target._scratch = Some(scratch);
        target
    }

    /// Runs any command as a target; it dies with the test.
    pub fn command(mut command: Command) -> Target {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        mark(&mut command);
        // SAFETY: prctl is async-signal-safe and touches nothing of the parent.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let mut child = command.spawn().unwrap_or_else(|error| panic!("failed to run {command:?}: {error}"));
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        Target { child, stdin, stdout, script: PathBuf::new(), _scratch: None }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn script(&self) -> &Path {
        &self.script
    }

    /// The next line of output, without its newline.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("output of the target");
        assert!(line.ends_with('\n'), "the target ended early: {line:?}");
        line.truncate(line.len() - 1);
        line
    }

    /// From now on its first thread, and all that this makes, runs on this CPU only.
    pub fn pin(&self, cpu: usize) {
        pin(self.pid(), cpu);
    }

    /// Sends a line to the target's standard input.
    pub fn tell(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("standard input is open");
        writeln!(stdin, "{line}").and_then(|()| stdin.flush()).expect("the target reads");
    }

    /// Waits for the target to end by itself; the rest of its output.
    pub fn wait(mut self) -> String {
        drop(self.stdin.take());
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut self.stdout, &mut rest).expect("output of the target");
        let status = self.child.wait().expect("the target is ours");
        assert!(status.success(), "the target failed: {status}");
        rest
    }

    /// Waits for the target to end in whatever way.
    pub fn ended(&mut self) -> std::process::ExitStatus {
        self.child.wait().expect("the target is ours")
    }

    /// CPU time that the scheduler charged to all living threads of the process, ns (`/proc/PID/task/TID/schedstat`,
    /// first field; `kernel/sched/core.c`, `sum_exec_runtime`).
    pub fn schedstat_ns(&self) -> u64 {
        schedstat_ns(self.pid())
    }

    /// Waits until the target has used this much CPU time more, however long the host takes to give it.
    pub fn wait_for_cpu(&self, time: Duration) {
        wait_for_cpu(self.pid(), time);
    }
}

fn schedstat_ns(pid: u32) -> u64 {
    threads_ns(pid).into_iter().sum()
}

/// Of each thread that lives.
fn threads_ns(pid: u32) -> Vec<u64> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("the target lives");
    let ns = |task: std::fs::DirEntry| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        text.split_whitespace().next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0)
    };
    tasks.flatten().map(ns).collect()
}

/// `Target::wait_for_cpu` for a process that a target has started.
pub fn wait_for_cpu(pid: u32, time: Duration) {
    let (begun, goal_ns) = (Instant::now(), schedstat_ns(pid) + time.as_nanos() as u64);
    while schedstat_ns(pid) < goal_ns {
        assert!(begun.elapsed() < DEADLINE, "the host gave no {time:?} of CPU time within {DEADLINE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until so many threads of a process have used this much CPU time each, all in all.
pub fn wait_for_threads(pid: u32, threads: usize, time: Duration) {
    let begun = Instant::now();
    let goal_ns = time.as_nanos() as u64;
    while threads_ns(pid).into_iter().filter(|ns| *ns >= goal_ns).count() < threads {
        assert!(
            begun.elapsed() < DEADLINE,
            "the host gave no {time:?} of CPU time to each within {DEADLINE:?}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Has a thread, and all that it makes from now on, run on this CPU only.
pub fn pin(tid: u32, cpu: usize) {
    // SAFETY: `cpu_set_t` is plain bits.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is ours, and the macro checks its size.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: a valid set of the size that is stated.
    let done = unsafe { libc::sched_setaffinity(tid as i32, size_of_val(&set), &set) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

impl Drop for Target {
    fn drop(&mut self) {
        // Already gone is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
