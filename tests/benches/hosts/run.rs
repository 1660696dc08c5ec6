//! One host under one capture: what it was asked, what it answered, and what the profile shows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use pyprof_tests::{Capture, capture};

use crate::host::{Expected, Host, cpu_ns};
use crate::rows::Row;
use crate::truth::Report;
use crate::{container, packed, servers};

const HZ: &str = "999";
/// Each part of the work of one request; there are four.
const PART_MS: u64 = 150;
/// Requests after each other, from as many clients as there are workers.
const ROUNDS: usize = 2;
/// A Python that was begun late is noticed within half a second: mappings are read ten times a second, dormant runtimes
/// five times, and on a busy host each a little later. What comes then has to be there. Apache loads its modules twice, and a
/// process is not looked at more often than twice a second.
const NOTICED_WITHIN: Duration = Duration::from_millis(1000);
/// A process that maps a CPython and has not started it for two seconds does not count as a Python; the machine may be slow.
const DORMANT_AFTER: Duration = Duration::from_millis(3000);
/// How busy processes without Python have to be for their silence to mean something.
const BUSY_NS: u64 = 200_000_000;

/// Whether the host is there when the capture begins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum When {
    Before,
    During,
}

pub struct Measured {
    pub expected: Expected,
    pub capture: Capture,
    pub reports: Vec<Report>,
    /// The pids that the host's processes have in the profile, by what they call themselves.
    pub pids: BTreeMap<u32, u32>,
    /// Those that answered nothing, as the kernel knows them.
    pub others: BTreeSet<u32>,
    /// CPU time that these used meanwhile.
    pub others_ns: u64,
}

fn start(row: &Row) -> Result<Host, String> {
    let host = match row.name.as_str() {
        "uwsgi" => servers::uwsgi(row),
        "mod_wsgi" => servers::embedded(row),
        "mod_wsgi-daemon" => servers::daemon(row),
        "gunicorn" => servers::gunicorn(row),
        "celery" => servers::celery(row),
        "gdb" => packed::gdb(row),
        "pyinstaller" => packed::one_file(row),
        "cx_freeze" | "nuitka" => packed::directory(row),
        "runc" => container::runc(row),
        name => Err(format!("no host is called {name}")),
    }?;
    host.ready()?;
    Ok(host)
}

pub fn measure(row: &Row, when: When) -> Result<Measured, String> {
    let before = if when == When::Before { Some(start(row)?) } else { None };
    let recording = capture::start(&["-F", HZ, "--max-cpu", "400"]);
    let host = match before {
        Some(host) => host,
        None => start(row)?,
    };
    let begun = Instant::now();
    std::thread::sleep(NOTICED_WITHIN);
    let reports = work(&host)?;
    let processes = host.processes();
    let used = |pids: &BTreeSet<u32>| pids.iter().map(|pid| cpu_ns(*pid)).sum::<u64>();
    let pids = names_of(&host, &reports)?;
    let others: BTreeSet<u32> =
        processes.into_iter().filter(|pid| !pids.values().any(|one| one == pid)).collect();
    let mut others_ns = 0;
    if let Some(what) = &host.busy_work {
        // Younger ones may be about to start their Python.
        std::thread::sleep(DORMANT_AFTER.saturating_sub(begun.elapsed()));
        let before_ns = used(&others);
        for _ in 0..500 {
            host.get(what)?;
            others_ns = used(&others).saturating_sub(before_ns);
            if others_ns > BUSY_NS {
                break;
            }
        }
        if others_ns <= BUSY_NS {
            return Err(format!("processes without Python used {others_ns} ns only"));
        }
    }
    let capture = recording.stop();
    if capture.code != 0 {
        return Err(format!("the capture ended with {}: {}", capture.code, capture.stderr.trim()));
    }
    let expected = host.expected.clone();
    Ok(Measured { expected, capture, reports, pids, others, others_ns })
}

/// As many clients as there are workers, each with its requests after each other.
fn work(host: &Host) -> Result<Vec<Report>, String> {
    let client = || (0..ROUNDS).map(|_| host.request(PART_MS)).collect::<Result<Vec<Report>, String>>();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..host.expected.workers).map(|_| scope.spawn(client)).collect();
        let mut reports = Vec::new();
        for client in clients {
            reports.extend(client.join().map_err(|_| "a client panicked")??);
        }
        Ok(reports)
    })
}

/// What the processes that answered are called outside (`NSpid` of /proc/PID/status).
fn names_of(host: &Host, reports: &[Report]) -> Result<BTreeMap<u32, u32>, String> {
    let said: BTreeSet<u32> = reports.iter().map(|report| report.pid).collect();
    let Some(file) = &host.expected.pid_file else {
        return Ok(said.into_iter().map(|pid| (pid, pid)).collect());
    };
    let pid = std::fs::read_to_string(file).map_err(|error| format!("no pid: {error}"))?;
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.trim()));
    let status = status.map_err(|error| format!("no process {pid}: {error}"))?;
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
    let numbers: Vec<u32> = numbers.split_whitespace().flat_map(str::parse).collect();
    match (&numbers[..], &said.iter().collect::<Vec<_>>()[..]) {
        ([outside, inside], [said]) if inside == *said => Ok(BTreeMap::from([(*inside, *outside)])),
        _ => Err(format!("processes {said:?} answered, and inside is {numbers:?}")),
    }
}
