//! What the kernel says of one thread: its name, what it is at, and whether it has run between two moments.
//!
//! A thread that has not run has not changed its stack. Nobody says directly whether a thread ran, but this does: it was not
//! on a CPU at the one moment, nor at the other, and was not switched off one in between. It is not on a CPU while it sleeps,
//! and while it waits for the CPU that this very process runs on.

use std::fs::File;
use std::io::{self, Read};
use std::mem::MaybeUninit;

use super::scan;

const MAX_BYTES: u64 = 4_096;

/// What a thread is at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Task {
    /// The letter of `/proc/PID/task/TID/stat`.
    pub state: u8,
    /// Where it runs or ran last.
    pub cpu: u32,
    /// Scheduled ahead of all ordinary threads: where it runs, nothing else may.
    pub is_realtime: bool,
    /// How often it was switched off a CPU.
    switches: u64,
}

impl Task {
    pub fn runs(&self) -> bool {
        self.state == b'R'
    }

    /// The switches before the rest: what is switched off in between shows later.
    pub fn before(pid: u32, tid: u32) -> io::Result<Task> {
        let switches = switches(pid, tid)?;
        Ok(Task { switches, ..stat(pid, tid)? })
    }

    /// The switches after the rest.
    pub fn after(pid: u32, tid: u32) -> io::Result<Task> {
        let task = stat(pid, tid)?;
        Ok(Task { switches: switches(pid, tid)?, ..task })
    }

    /// Whether it was not on a CPU at this moment. `here`: the CPU that this process cannot leave.
    fn is_off(&self, here: Option<u32>) -> bool {
        !self.runs() || here == Some(self.cpu)
    }

    /// Whether it has not run since `before`.
    pub fn stood_still_since(&self, before: &Task, here: Option<u32>) -> bool {
        before.is_off(here) && self.is_off(here) && self.switches == before.switches
    }
}

fn stat(pid: u32, tid: u32) -> io::Result<Task> {
    parse_stat(&read(pid, tid, "stat")?).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Fields 3, 39 and 41 of `proc_pid_stat(5)`: state, processor, policy. The name in field 2 may hold anything.
fn parse_stat(stat: &[u8]) -> Option<Task> {
    let rest = &stat[stat.iter().rposition(|&byte| byte == b')')? + 1..];
    let fields: Vec<&[u8]> =
        rest.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty()).take(39).collect();
    let number = |at: usize| std::str::from_utf8(fields.get(at)?).ok()?.parse::<u32>().ok();
    let policy = number(38)?;
    let is_realtime = [libc::SCHED_FIFO, libc::SCHED_RR, libc::SCHED_DEADLINE].contains(&(policy as i32));
    Some(Task { state: *fields.first()?.first()?, cpu: number(36)?, is_realtime, switches: 0 })
}

fn switches(pid: u32, tid: u32) -> io::Result<u64> {
    parse_switches(&read(pid, tid, "status")?).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn parse_switches(status: &[u8]) -> Option<u64> {
    let number = |name: &[u8]| {
        let line = status.split(|&byte| byte == b'\n').rev().find_map(|line| line.strip_prefix(name))?;
        std::str::from_utf8(line).ok()?.trim().parse::<u64>().ok()
    };
    number(b"voluntary_ctxt_switches:")?.checked_add(number(b"nonvoluntary_ctxt_switches:")?)
}

/// Where a thread sleeps, as far as the kernel tells.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Sleep {
    /// Number and arguments of the system call that it is in.
    pub syscall: Option<(u32, [u64; 6])>,
    /// The function of the kernel.
    pub wchan: Option<String>,
}

pub fn sleep(pid: u32, tid: u32) -> Sleep {
    let syscall = read(pid, tid, "syscall").ok().and_then(|text| parse_syscall(&text));
    let wchan = read(pid, tid, "wchan").ok().and_then(|name| String::from_utf8(name).ok());
    let is_name =
        |name: &String| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(&byte));
    Sleep { syscall, wchan: wchan.filter(|name| !name.is_empty() && name != "0" && is_name(name)) }
}

/// `202 0x7f.. 0x189 0x0 0x0 0x0 0xffffffff 0x7ffd.. 0x7f..`; `running`, or -1 outside of system calls
/// (`proc_pid_syscall`, `fs/proc/base.c`).
fn parse_syscall(text: &[u8]) -> Option<(u32, [u64; 6])> {
    let mut words = std::str::from_utf8(text).ok()?.split_ascii_whitespace();
    let number = words.next()?.parse().ok()?;
    let mut arguments = [0; 6];
    for argument in &mut arguments {
        *argument = u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok()?;
    }
    Some((number, arguments))
}

/// Of a thread whose process is in a pid namespace: the number that it has in there itself.
pub fn own_number(pid: u32, tid: u32) -> Option<u32> {
    let status = read(pid, tid, "status").ok()?;
    let line = status.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"NSpid:"))?;
    std::str::from_utf8(line).ok()?.split_whitespace().next_back()?.parse().ok()
}

fn read(pid: u32, tid: u32, what: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(1024);
    File::open(format!("/proc/{pid}/task/{tid}/{what}"))?.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Keeps this thread on one CPU or the other, and lets it go in the end.
pub struct Pin {
    before: Option<libc::cpu_set_t>,
    here: Option<u32>,
}

impl Default for Pin {
    fn default() -> Pin {
        Pin::new()
    }
}

impl Pin {
    pub fn new() -> Pin {
        let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
        // SAFETY: room for a set of the size that is stated.
        let got = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), set.as_mut_ptr()) };
        // SAFETY: all zeros are a valid set, and the kernel writes sets.
        Pin { before: (got >= 0).then(|| unsafe { set.assume_init() }), here: None }
    }

    /// The CPU that this thread cannot leave.
    pub fn here(&self) -> Option<u32> {
        self.here
    }

    /// Goes to a CPU. `false` where it may not, or where nobody could bring it back.
    pub fn to(&mut self, cpu: u32) -> bool {
        if self.here == Some(cpu) {
            return true;
        }
        if self.before.is_none() || cpu >= libc::CPU_SETSIZE as u32 {
            return false;
        }
        let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
        // SAFETY: all zeros are a valid set, and the CPU is one that a set has room for.
        let set = unsafe {
            libc::CPU_SET(cpu as usize, &mut *set.as_mut_ptr());
            set.assume_init()
        };
        // SAFETY: a valid set of the size that is stated.
        let done = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) } == 0;
        if done {
            self.here = Some(cpu);
        }
        done
    }

    /// Lets it run anywhere.
    pub fn release(&mut self) {
        if let (Some(_), Some(set)) = (self.here.take(), &self.before) {
            // SAFETY: a set that the kernel gave.
            unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), set) };
        }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.release();
    }
}

/// Of its threads, those that a process has now; in order.
pub fn tids(pid: u32) -> io::Result<Vec<u32>> {
    let mut tids = scan::threads(pid)?;
    tids.sort_unstable();
    Ok(tids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_of_a_thread() {
        for (policy, is_realtime) in [("0", false), ("1", true), ("2", true), ("3", false), ("6", true)] {
            let mut fields = vec!["0"; 50];
            (fields[0], fields[36], fields[38]) = ("S", "7", policy);
            let stat = format!("12 (a) R) {}\n", fields.join(" "));
            let task = parse_stat(stat.as_bytes()).unwrap();
            assert_eq!((task.state, task.cpu, task.is_realtime), (b'S', 7, is_realtime), "{stat}");
        }
        assert_eq!(parse_stat(b"12 (a) R 1 2"), None);
        let status = b"Name:\tvoluntary_ctxt_switches: 9\nvoluntary_ctxt_switches:\t3\nnonvoluntary_ctxt_switches:\t4\n";
        assert_eq!(parse_switches(status), Some(7));
        assert_eq!(parse_switches(b"voluntary_ctxt_switches:\t3\n"), None);
        let futex = parse_syscall(b"202 0x7f10 0x189 0x0 0x0 0x0 0xffffffff 0x7ffd 0x7f\n").unwrap();
        assert_eq!((futex.0, futex.1[0]), (202, 0x7f10));
        for nothing in ["running\n", "-1 0x1 0x2\n", "", "7 0x1"] {
            assert_eq!(parse_syscall(nothing.as_bytes()), None, "{nothing}");
        }
    }

    #[test]
    fn only_what_was_off_every_cpu_and_was_not_switched_stood_still() {
        let task = |state: u8, cpu: u32, switches: u64| Task { state, cpu, is_realtime: false, switches };
        // (before, after, the CPU of this process, whether that shows that it did not run)
        let rows = [
            (task(b'S', 1, 5), task(b'S', 1, 5), None, true),
            (task(b'S', 1, 5), task(b'S', 1, 6), None, false),
            (task(b'R', 1, 5), task(b'R', 1, 5), None, false),
            (task(b'R', 1, 5), task(b'R', 1, 5), Some(0), false),
            (task(b'R', 1, 5), task(b'R', 1, 5), Some(1), true),
            (task(b'R', 1, 5), task(b'R', 1, 6), Some(1), false),
            (task(b'R', 1, 5), task(b'R', 0, 5), Some(1), false),
            (task(b'S', 0, 5), task(b'R', 0, 5), Some(1), false),
            (task(b'S', 0, 5), task(b'R', 1, 5), Some(1), true),
            (task(b'R', 1, 5), task(b'S', 1, 5), Some(1), true),
        ];
        for (before, after, here, expected) in rows {
            assert_eq!(after.stood_still_since(&before, here), expected, "{before:?} {after:?} {here:?}");
        }
    }
}
