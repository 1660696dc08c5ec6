//! Which processes there are, when they began, what their threads are called.

use std::fs::File;
use std::io::{self, Read};
use std::time::Duration;

use crate::escape::escape_bytes;

/// `/proc/PID/stat` counts time in `USER_HZ`, which is 100 on every 64-bit Linux.
const TICK_NS: u64 = 10_000_000;
const MAX_STAT_BYTES: u64 = 4_096;
const MAX_COMM_BYTES: u64 = 64;
const MAX_THREADS: usize = 65_536;
/// Room for some ten thousand.
const MAX_CHILDREN_BYTES: u64 = 65_536;

/// When a process began, in ticks of 10 ms since boot, as /proc tells it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StartTime {
    pub ticks: u64,
}

impl StartTime {
    /// What /proc shows for the kernel's `start_boottime`: it cuts, it does not round
    /// (`nsec_to_clock_t`, `kernel/time/time.c`).
    pub const fn from_ns(start_boottime_ns: u64) -> Self {
        StartTime { ticks: start_boottime_ns / TICK_NS }
    }

    /// Whether both are of the same process, as far as 10 ms can tell.
    pub const fn matches_ns(self, start_boottime_ns: u64) -> bool {
        self.ticks == start_boottime_ns / TICK_NS
    }

    /// The earliest moment that the ticks stand for.
    pub const fn as_ns(self) -> u64 {
        self.ticks.saturating_mul(TICK_NS)
    }
}

/// All processes that /proc shows, kernel threads included.
pub fn processes() -> io::Result<Vec<u32>> {
    numbered(std::fs::read_dir("/proc")?, usize::MAX)
}

pub fn exists(pid: u32) -> bool {
    std::fs::metadata(format!("/proc/{pid}/stat")).is_ok()
}

/// The process that `pid` is or, where it names a thread (which /proc finds but does not list), belongs to.
pub fn leader(pid: u32) -> Option<u32> {
    status(pid, b"Tgid:")
}

/// The user that a process runs as, by its real id. The owner of its files in /proc is root where it may not be dumped.
pub fn user(pid: u32) -> Option<u32> {
    status(pid, b"Uid:")
}

/// The user as whom it acts, by its effective id.
pub fn effective_user(pid: u32) -> Option<u32> {
    field(pid, b"Uid:", 1)
}

/// The process that it was made by, or that has taken its place.
pub fn parent(pid: u32) -> Option<u32> {
    status(pid, b"PPid:")
}

/// The first number of a line of `/proc/PID/status`.
fn status(pid: u32, name: &[u8]) -> Option<u32> {
    field(pid, name, 0)
}

fn field(pid: u32, name: &[u8], at: usize) -> Option<u32> {
    let status = read_bounded(&format!("/proc/{pid}/status"), MAX_STAT_BYTES).ok()?;
    let line = status.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(name))?;
    std::str::from_utf8(line).ok()?.split_whitespace().nth(at)?.parse().ok()
}

pub fn start_time(pid: u32) -> io::Result<StartTime> {
    let stat = read_bounded(&format!("/proc/{pid}/stat"), MAX_STAT_BYTES)?;
    start_ticks(&stat).map(|ticks| StartTime { ticks }).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Field 22. The name in field 2 may hold anything, parentheses and newlines too, so count from the last one.
fn start_ticks(stat: &[u8]) -> Option<u64> {
    let rest = &stat[stat.iter().rposition(|&byte| byte == b')')? + 1..];
    let field = rest.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty()).nth(19)?;
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// How long ago the process began, as far as 10 ms can tell.
pub fn age(pid: u32) -> io::Result<Duration> {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid pointer; every kernel has this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut now) };
    let now_ns = (now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64);
    Ok(Duration::from_nanos(now_ns.saturating_sub(start_time(pid)?.as_ns())))
}

/// Whether the process has memory of its own: a kernel thread has none, nor has one that is gone.
pub fn has_memory(pid: u32) -> bool {
    super::maps::Maps::read(pid).is_ok_and(|maps| maps.iter().next().is_some())
}

/// Whether the mappings of a process can be read, and are any: an error without the right to.
pub fn mappings(pid: u32) -> io::Result<bool> {
    super::maps::Maps::read(pid).map(|maps| maps.iter().next().is_some())
}

/// The tasks of a process.
pub fn threads(pid: u32) -> io::Result<Vec<u32>> {
    numbered(std::fs::read_dir(format!("/proc/{pid}/task"))?, MAX_THREADS)
}

/// The living children that the first thread of a process has, the oldest first; none where the kernel does not tell
/// (`CONFIG_PROC_CHILDREN`).
pub fn children(pid: u32) -> Vec<u32> {
    let text =
        read_bounded(&format!("/proc/{pid}/task/{pid}/children"), MAX_CHILDREN_BYTES).unwrap_or_default();
    // What follows the last blank may be half a number.
    let whole = text.iter().rposition(|byte| *byte == b' ').map_or(&[][..], |end| &text[..end]);
    let numbers =
        whole.split(|byte| *byte == b' ').map(|number| std::str::from_utf8(number).ok()?.parse().ok());
    numbers.flatten().collect()
}

/// The kernel's name of a thread, at most 15 bytes, with control characters made visible.
pub fn thread_name(pid: u32, tid: u32) -> io::Result<String> {
    let comm = read_bounded(&format!("/proc/{pid}/task/{tid}/comm"), MAX_COMM_BYTES)?;
    Ok(escape_bytes(comm.strip_suffix(b"\n").unwrap_or(&comm)).into_owned())
}

/// The same of a process, as it is: up to the first byte that is not UTF-8, for comparison.
pub fn comm(pid: u32) -> io::Result<String> {
    let comm = read_bounded(&format!("/proc/{pid}/comm"), MAX_COMM_BYTES)?;
    let valid = comm.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    Ok(valid.strip_suffix('\n').unwrap_or(valid).to_owned())
}

/// When a thread began.
pub fn thread_start_time(pid: u32, tid: u32) -> Option<StartTime> {
    let stat = read_bounded(&format!("/proc/{pid}/task/{tid}/stat"), MAX_STAT_BYTES).ok()?;
    start_ticks(&stat).map(|ticks| StartTime { ticks })
}

/// What the scheduler has counted of a thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Turns {
    /// How long it was ready to run, and did not.
    pub run_delay_ns: u64,
    /// How often it got a CPU.
    pub number: u64,
}

/// How often a thread that waits got a CPU; `None` if it runs, or is ready to.
/// (`/proc/PID/task/TID/schedstat`, second and third field; `kernel/sched/stats.h`, `sched_info_arrive`.)
pub fn turns(pid: u32, tid: u32) -> Option<Turns> {
    let schedstat = read_bounded(&format!("/proc/{pid}/task/{tid}/schedstat"), MAX_STAT_BYTES).ok()?;
    let mut words = std::str::from_utf8(&schedstat).ok()?.split_whitespace().skip(1);
    let turns = Turns { run_delay_ns: words.next()?.parse().ok()?, number: words.next()?.parse().ok()? };
    let stat = read_bounded(&format!("/proc/{pid}/task/{tid}/stat"), MAX_STAT_BYTES).ok()?;
    let state = *stat.get(stat.iter().rposition(|&byte| byte == b')')? + 2)?;
    matches!(state, b'S' | b'D' | b'T' | b't' | b'I').then_some(turns)
}

/// The system call that a thread waits in.
pub fn syscall(pid: u32, tid: u32) -> Option<u16> {
    let text = read_bounded(&format!("/proc/{pid}/task/{tid}/syscall"), MAX_STAT_BYTES).ok()?;
    std::str::from_utf8(&text).ok()?.split_whitespace().next()?.parse().ok()
}

/// Where the C stack of a thread ends that does not run now.
pub fn stack_pointer(pid: u32, tid: u32) -> Option<u64> {
    let text = read_bounded(&format!("/proc/{pid}/task/{tid}/syscall"), MAX_STAT_BYTES).ok()?;
    // The last but one, whether in a system call or not (`proc_pid_syscall`, `fs/proc/base.c`).
    let word = std::str::from_utf8(&text).ok()?.split_whitespace().rev().nth(1)?;
    u64::from_str_radix(word.strip_prefix("0x")?, 16).ok()
}

/// Whether a process still has this thread.
pub fn thread_exists(pid: u32, tid: u32) -> bool {
    std::fs::metadata(format!("/proc/{pid}/task/{tid}")).is_ok()
}

fn numbered(directory: std::fs::ReadDir, most: usize) -> io::Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for entry in directory.take(most) {
        if let Some(number) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
            numbers.push(number);
        }
    }
    Ok(numbers)
}

fn read_bounded(path: &str, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_is_found_behind_any_name() {
        let tail = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        for name in ["python3", "a) b", ") 1 2 3", "\n)", ""] {
            assert_eq!(start_ticks(format!("12 ({name}) {tail}\n").as_bytes()), Some(4711), "{name:?}");
        }
        for bad in ["", "12 (x", "12 (x) S 1 2", "12 (x) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 x 20"]
        {
            assert_eq!(start_ticks(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn a_start_in_ns_is_compared_at_the_resolution_of_proc() {
        let start = StartTime { ticks: 1234 };
        for (ns, same) in
            [(12_340_000_000, true), (12_349_999_999, true), (12_350_000_000, false), (12_339_999_999, false)]
        {
            assert_eq!(start.matches_ns(ns), same, "{ns}");
            assert_eq!(StartTime::from_ns(ns) == start, same, "{ns}");
        }
        assert_eq!(start.as_ns(), 12_340_000_000);
    }

    #[test]
    fn children_are_those_that_live() {
        let mut sleeping =
            std::process::Command::new("sh").args(["-c", "sleep 100 & sleep 100"]).spawn().unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while children(sleeping.id()).len() != 2 {
            assert!(std::time::Instant::now() < deadline);
        }
        let both = children(sleeping.id());
        assert!(both[0] < both[1] && both.iter().all(|child| exists(*child)), "{both:?}");
        for child in both {
            // SAFETY: a child of our own child, which lives and has not waited for it.
            unsafe { libc::kill(child as i32, libc::SIGKILL) };
        }
        sleeping.wait().unwrap();
        assert!(children(sleeping.id()).is_empty() && children(u32::MAX).is_empty());
    }

    #[test]
    fn this_process_is_listed_with_its_threads() {
        let pid = std::process::id();
        assert!(processes().unwrap().contains(&pid) && exists(pid) && !exists(u32::MAX));
        let named = std::thread::Builder::new().name("a\tb".to_owned());
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let thread = named.spawn(move || stopped.recv()).unwrap();
        let named = |tid| thread_name(pid, tid).is_ok_and(|name| name == "a\\x09b");
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while !threads(pid).unwrap().into_iter().any(named) {
            assert!(std::time::Instant::now() < deadline);
        }
        drop(stop);
        let _ = thread.join();
        assert!(start_time(pid).unwrap().ticks > 0);
    }
}
