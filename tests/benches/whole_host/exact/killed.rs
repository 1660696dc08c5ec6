//! `kill -9` in the middle of a test that has changed the host: the next `cargo xtask host --restore` names what is left of it
//! and mends it.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pyprof_host::Owner;
use pyprof_host::mark::MARK;

use crate::{hotplug, throttle};

/// One of the other tests of this binary.
struct Row {
    test: &'static str,
    setting: PathBuf,
    changed: &'static str,
    /// `kill -9` of the test alone, whose capture goes on; or of all that it has started as well.
    alone: bool,
}

const THROTTLE: &str = "throttle::a_throttled_capture_shows_the_same_time";
const HOTPLUG: &str = "hotplug::the_time_on_a_cpu_that_goes_and_comes_back_is_what_was_used";

#[test]
fn the_next_run_puts_right_what_a_killed_one_has_left() {
    let row = |test, setting, changed, alone| Row { test, setting, changed, alone };
    let rate = || PathBuf::from(throttle::SETTING);
    for row in [
        row(THROTTLE, rate(), throttle::THROTTLED_HZ, false),
        row(THROTTLE, rate(), throttle::THROTTLED_HZ, true),
        row(HOTPLUG, hotplug::switch(), "0", false),
        row(HOTPLUG, hotplug::switch(), "0", true),
    ] {
        check(&row);
    }
}

fn check(row: &Row) {
    let Row { test, setting, changed, alone } = row;
    let before = value(setting);
    assert_ne!(before, *changed, "{}", setting.display());
    let mut run = Run::of(test, |_| ());
    let deadline = Instant::now() + Duration::from_secs(120);
    // In the middle: it is changed, and a capture runs.
    while value(setting) != *changed || !descendants(run.id()).iter().any(is_capture) {
        assert!(
            run.0.try_wait().expect("our own child").is_none(),
            "{test} ended before it changed anything"
        );
        assert!(Instant::now() < deadline, "{test} has changed nothing");
        std::thread::sleep(Duration::from_millis(5));
    }
    let started = descendants(run.id());
    assert!(started.len() >= 2, "{test}: a capture and a target: {started:?}");
    let killed = if *alone { &started[..0] } else { &started[..] };
    for pid in killed.iter().map(|owner| owner.pid) {
        // SAFETY: our own child has started it.
        unsafe { libc::kill(pid as i32, libc::SIGKILL) };
    }
    run.kill();
    assert_eq!(value(setting), *changed, "{test}: nobody else puts it back");
    assert!(!scratch_of(run.id()).is_empty(), "{test} had scratch directories");
    if *alone {
        assert!(started.iter().any(|one| one.lives() && is_capture(one)), "{test}: its capture goes on");
    }

    let restored = restore();
    println!("{test}, killed {}:\n{restored}", if *alone { "alone" } else { "with all that it had started" });
    assert_eq!(value(setting), before, "{test}: {restored}");
    assert!(restored.contains(setting.to_str().expect("text")), "{restored}");
    assert_eq!(restored.contains("pyprof-bpf"), *alone, "{restored}");
    let left: Vec<_> = started.iter().filter(|one| one.lives()).collect();
    assert!(left.is_empty(), "{test}: {left:?} still run: {restored}");
    assert!(scratch_of(run.id()).is_empty(), "{test}: {restored}");
}

/// A test of this binary in a run of its own. It is killed, even if the one that started it fails.
pub struct Run(Child);

impl Run {
    pub fn of(test: &str, adapt: impl FnOnce(&mut Command)) -> Run {
        let mut command = Command::new(std::env::current_exe().expect("this binary"));
        command.args([test, "--exact", "--test-threads=1"]).stdin(Stdio::null()).stdout(Stdio::null());
        adapt(command.env_remove(MARK));
        Run(command.spawn().expect("this binary runs"))
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    pub fn kill(&mut self) {
        // It has not ended by itself: its end would have put everything right.
        self.0.kill().expect("our own child");
        let status = self.0.wait().expect("our own child");
        assert_eq!(status.signal(), Some(libc::SIGKILL));
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // Already gone, as a rule.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn is_capture(one: &Owner) -> bool {
    std::fs::read_to_string(format!("/proc/{}/comm", one.pid)).is_ok_and(|name| name == "pyprof-bpf\n")
}

fn value(setting: &Path) -> String {
    std::fs::read_to_string(setting).expect("a setting").trim().to_owned()
}

/// As a new run does it, by another process.
pub fn restore() -> String {
    said_by(&mut xtask())
}

fn xtask() -> Command {
    let mut command = match std::env::var_os("PYPROF_XTASK") {
        Some(xtask) => Command::new(xtask),
        None => {
            let mut cargo = Command::new("cargo");
            cargo.arg("xtask").current_dir(env!("CARGO_MANIFEST_DIR"));
            cargo
        }
    };
    command.args(["host", "--restore"]);
    command
}

fn said_by(command: &mut Command) -> String {
    let output = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

#[test]
fn who_was_started_by_a_run_that_is_over_does_not_end_itself() {
    let xtask = xtask();
    // No pid is as large (`PID_MAX_LIMIT`, `include/linux/threads.h`).
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "sleep 600 & \"$@\" && echo alive", "sh"])
        .arg(xtask.get_program())
        .args(xtask.get_args());
    shell.current_dir(env!("CARGO_MANIFEST_DIR")).env(MARK, "4194304:1");
    let said = said_by(&mut shell);
    assert!(said.contains(" of an earlier run: sleep 600: put right"), "{said}");
    assert!(said.ends_with("\nalive\n"), "{said}");
}

/// What carries the mark of a run.
pub fn run_of(pid: u32) -> Vec<u32> {
    let beginning = format!("{MARK}={pid}:");
    let pids = std::fs::read_dir("/proc").expect("/proc").flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_of = |pid: &u32| {
        let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ.split(|byte| *byte == 0).any(|one| one.starts_with(beginning.as_bytes()))
    };
    pids.filter(is_of).collect()
}

/// All that a process has started, as far as it lives.
fn descendants(pid: u32) -> Vec<Owner> {
    let children = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists =
        children.map(|task| std::fs::read_to_string(task.path().join("children")).unwrap_or_default());
    let pids: Vec<u32> = lists
        .flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .filter_map(|word| word.parse().ok())
        .collect();
    pids.into_iter().flat_map(|child| Owner::of(child).into_iter().chain(descendants(child))).collect()
}

pub fn scratch_of(pid: u32) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(std::env::temp_dir()).expect("a directory").flatten();
    let beginning = format!("pyprof-test-{pid}-");
    let own = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&beginning));
    own.map(|entry| entry.path()).collect()
}
