//! What a run of the tests has started, told by a mark in its environment (`/proc/PID/environ`), which everything inherits.

use std::ffi::OsString;
use std::fmt;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::Owner;

/// The variable. Its value is the [`Owner`] of the run: whoever carries it and has outlived that is left over.
pub const MARK: &str = "PYPROF_TEST_RUN";

/// The mark that this process has to hand on itself: none where it carries that of a run that is not over.
pub fn of_new_run() -> Option<String> {
    let carried = std::env::var(MARK).ok().and_then(|text| text.parse::<Owner>().ok());
    let is_part = carried.is_some_and(Owner::lives);
    (!is_part).then(|| Owner::me().to_string())
}

/// For a run that nobody has marked: `cargo test` by itself.
pub fn mark(command: &mut Command) {
    if let Some(mark) = of_new_run() {
        command.env(MARK, mark);
    }
}

/// A process of a run that has ended.
pub struct Stray {
    process: Owner,
    command: String,
    is_elsewhere: bool,
}

impl fmt::Display for Stray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.is_elsewhere { ", in a pid namespace of its own" } else { "" };
        write!(f, "process {} of an earlier run{place}: {}", self.process.pid, self.command)
    }
}

/// All processes of runs that have ended, but for this one and those that it descends from. Root sees all of them.
pub fn strays() -> Vec<Stray> {
    let own: Vec<u32> = std::iter::successors(Some(std::process::id()), |pid| parent(*pid)).collect();
    pids().filter(|pid| !own.contains(pid)).filter_map(stray).collect()
}

fn parent(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("PPid:"))?
        .trim()
        .parse()
        .ok()
        .filter(|parent| *parent != 0)
}

/// The pids of all processes.
pub(crate) fn pids() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn stray(pid: u32) -> Option<Stray> {
    // Before its environment: should the number go to another process between the two, then `end` finds that out.
    let process = Owner::of(pid)?;
    let run = run_of(&std::fs::read(format!("/proc/{pid}/environ")).ok()?)?;
    if run.lives() {
        return None;
    }
    let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    Some(Stray {
        process,
        command: readable(&words),
        is_elsewhere: namespace(&pid.to_string()) != namespace("self"),
    })
}

/// The run whose mark an environment carries.
fn run_of(environ: &[u8]) -> Option<Owner> {
    let beginning = format!("{MARK}=");
    let value = environ.split(|byte| *byte == 0).find_map(|one| one.strip_prefix(beginning.as_bytes()))?;
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// A command line for a terminal, cut to a line.
fn readable(words: &[u8]) -> String {
    let text = OsString::from_vec(words.to_vec()).to_string_lossy().replace('\0', " ");
    text.trim().chars().map(|letter| if letter.is_control() { '?' } else { letter }).take(100).collect()
}

impl Stray {
    pub fn pid(&self) -> u32 {
        self.process.pid
    }

    /// Ends it, and waits until it is gone.
    pub fn end(&self) -> Result<()> {
        // SAFETY: takes two numbers.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, self.process.pid, 0) };
        if fd < 0 {
            return Ok(());
        }
        // SAFETY: just opened, and nobody else's.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        // What the descriptor is of is still what was found: from here on it cannot be another one.
        if !self.process.lives() {
            return Ok(());
        }
        // SAFETY: a descriptor that is open, a number, no structure, no flags.
        unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                fd.as_raw_fd(),
                libc::SIGKILL,
                std::ptr::null::<()>(),
                0,
            )
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.process.lives() {
            if Instant::now() > deadline {
                bail!("process {} does not end", self.process.pid);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn the_mark_is_found_among_other_variables() {
        let owner = Owner { pid: 12, start: 345 };
        for (environ, expected) in [
            (&b"A=1\0PYPROF_TEST_RUN=12:345\0B=2\0"[..], Some(owner)),
            (b"PYPROF_TEST_RUN=12:345", Some(owner)),
            (b"XPYPROF_TEST_RUN=12:345\0", None),
            (b"PYPROF_TEST_RUN=\0", None),
            (b"PYPROF_TEST_RUN=12:\xff\0", None),
            (b"", None),
        ] {
            assert_eq!(run_of(environ), expected, "{}", String::from_utf8_lossy(environ));
        }
    }

    #[test]
    fn a_parent_is_found_up_to_the_first_process() {
        assert_eq!(parent(std::process::id()), Some(std::os::unix::process::parent_id()));
        assert_eq!(parent(1), None);
    }

    #[test]
    fn a_command_line_cannot_act_on_a_terminal() {
        assert_eq!(readable(b"python3\0-c\0a\x1b[2J\nb\0"), "python3 -c a?[2J?b");
        assert_eq!(readable(&[b'x'; 200]).len(), 100);
    }

    /// Gone with the test, even if that fails.
    struct Sleeper(std::process::Child);

    impl Sleeper {
        fn of(run: Owner) -> Sleeper {
            let mut command = Command::new("sleep");
            let sleeper = Sleeper(command.arg("600").env(MARK, run.to_string()).spawn().expect("it runs"));
            // The kernel lets go of us before it has set the environment of the new program.
            let environ = format!("/proc/{}/environ", sleeper.0.id());
            while run_of(&std::fs::read(&environ).expect("it lives")) != Some(run) {
                std::thread::sleep(Duration::from_millis(1));
            }
            sleeper
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            // Already gone is fine.
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn what_has_outlived_its_run_is_ended_and_nothing_else() {
        let me = Owner::me();
        let (mut left, mut ours) = (Sleeper::of(Owner { start: me.start + 1, ..me }), Sleeper::of(me));
        let found = stray(left.0.id()).expect("it is left over");
        assert!(found.to_string().ends_with(": sleep 600"), "{found}");
        assert!(stray(ours.0.id()).is_none());
        found.end().expect("it ends");
        assert_eq!(left.0.wait().expect("ours").signal(), Some(libc::SIGKILL));
        // Once it is gone there is nothing to end.
        found.end().expect("it is gone");
        assert!(ours.0.try_wait().expect("ours").is_none());
    }
}
