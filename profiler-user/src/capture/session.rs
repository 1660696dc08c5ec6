//! The loop of a capture: one task owns all state, wakes for rings, timers and signals, and never waits for a target longer
//! than `reader` has patience.

mod period;

use std::time::{Duration, Instant};

use profiler_common::Stat;

use period::Before;

use super::budget::Budget;
use super::host::{Host, boot_ns, monotonic_ns, own_cpu_ns};
use super::{CaptureError, CaptureOptions, how_to_read, nothing_matches, privileges};
use crate::amount;
use crate::bpf::{Bpf, Counters, LoadOptions};
use crate::escape::escape;
use crate::pipeline::{Follower, Image, Ingest, Received, any_key};
use crate::process::own;
use crate::profile::{CaptureMeta, FrequencyChange, OwnCost};
use crate::reader::{Access, Presence, Reader};
use crate::summary::Live;

/// How often the sample ring is read when nothing asks for it sooner.
pub const POLL: Duration = Duration::from_millis(100);
/// Records handled before other work gets its turn.
const BATCH: usize = 8192;
/// What a sample takes of the ring, its code objects included, and how much of a second the ring holds: the reader comes
/// ten times a second. All of a ring counts as resident memory, twice, because it is mapped twice in a row.
const SAMPLE_BYTES: u64 = 2048;
const RING_PER_SECOND: u64 = 2;
/// Most of the memory limit that the ring may take, and its bounds. It is a power of two.
const RING_SHARE: u64 = 16;
const RING_BYTES: std::ops::RangeInclusive<u64> = (2 << 20)..=(8 << 20);
/// What profiles may take even if the program itself is beyond the limit.
const LEAST_BYTES: u64 = 4 << 20;
/// Of what profiles may take, one in so many is left to what no table counts.
const UNCOUNTED_SHARE: u64 = 16;

/// How often threads without names are looked for.
const NAMES: Duration = Duration::from_millis(200);

/// A code object that was asked for so long is not waited for any more where samples are handed over.
const GIVE_UP_NS: u64 = 2_000_000_000;

/// A capture that runs. Its owner calls [`Session::turn`] whenever [`Session::ready`] or the time of the turn before says so.
pub struct Session {
    bpf: Bpf,
    pub ingest: Ingest,
    pub follower: Follower,
    budget: Budget,
    pub meta: CaptureMeta,
    /// Python processes that were there at the beginning.
    pub found: usize,
    /// What is to be said about targets before the capture begins, fit for a terminal.
    pub notices: Vec<String>,
    /// Resident memory before the first sample.
    base_bytes: u64,
    pub started: Instant,
    names_due: Instant,
    /// Execs, forks and exits that the ring had no room for.
    lifecycle_lost: u64,
    before: Before,
}

/// What a turn did and when the next one is due.
pub struct Turn {
    pub due: Option<Instant>,
    /// The frequency has changed with the profiler's own CPU: fit for a terminal.
    pub changed: Option<String>,
    /// Once a second, when cost was looked at.
    pub is_second: bool,
}

/// What was counted in a period, or in all of a capture that has but one.
#[derive(Default)]
pub struct Account {
    pub counters: Counters,
    pub expected: u64,
    pub malformed: u64,
    pub received: Received,
    /// Processes that turned out not to answer.
    pub given_up: u64,
    /// Samples that the kernel has made and nobody has seen.
    pub unaccounted: u64,
    /// The same of blocks.
    pub off_cpu_unaccounted: u64,
    pub own_cost: OwnCost,
}

/// A reader of targets, once it is sure that this host, its privileges and `pids` let a capture begin.
pub fn prepare(pids: &[u32]) -> Result<Reader, CaptureError> {
    privileges::check()?;
    let mut reader = Reader::start().map_err(CaptureError::Reader)?;
    for pid in pids {
        match reader.presence(&any_key(*pid)) {
            Ok(Presence { leader: None, .. }) => return Err(CaptureError::TargetGone(*pid)),
            Ok(Presence { leader: Some(leader), .. }) if leader != *pid => {
                let what = format!("it is a thread of process {leader}");
                return Err(CaptureError::Unsupported { pid: *pid, what });
            }
            // Who does not answer is there; what becomes of it the first look tells.
            Ok(Presence { .. }) | Err(_) => {}
        }
    }
    Ok(reader)
}

/// The loop that a session runs in.
pub fn event_loop() -> Result<tokio::runtime::Runtime, CaptureError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(CaptureError::Runtime)
}

/// What a process is called that maps no Python.
pub fn not_a_python(follower: &Follower, ingest: &mut Ingest, pid: u32) -> String {
    format!("{}, which maps no Python runtime", follower.name(pid, ingest))
}

fn ring_bytes(options: &CaptureOptions) -> u32 {
    let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u64);
    let wanted = (u64::from(options.frequency_hz) * cpus).saturating_mul(SAMPLE_BYTES) / RING_PER_SECOND;
    let most = (options.max_memory_bytes / RING_SHARE).max(1 << 20);
    wanted.clamp(*RING_BYTES.start(), *RING_BYTES.end()).min(most).next_power_of_two() as u32
}

impl Session {
    /// Loads, finds the processes and starts sampling. `copies`: how many times the profiles are held when they are written.
    pub fn begin(
        options: &CaptureOptions,
        host: Host,
        reader: Reader,
        start_unix_ns: u64,
        copies: u64,
    ) -> Result<Session, CaptureError> {
        // Together with `start_unix_ns`: they are the same instant in three clocks.
        let (start_boot_ns, start_monotonic_ns) = (boot_ns(), monotonic_ns());
        let ring_bytes = ring_bytes(options);
        let load = LoadOptions {
            btf: options.btf.clone(),
            targets_only: !options.pids.is_empty() || !options.selection.trees.is_empty(),
            ring_bytes,
            off_cpu: options.off_cpu,
            bounded: options.bounded,
            single_reads: false,
            verbose: options.verbose,
            max_processes: options.max_processes,
        };
        own::prefer();
        let reserved = own::reserve();
        let mut bpf = Bpf::load(&load).map_err(privileges::explain)?;
        own::release_freed_memory();
        let kernel_bytes = own::map_bytes();
        let base_bytes = own::rss_bytes();
        let for_profiles =
            options.max_memory_bytes.saturating_sub(kernel_bytes + base_bytes).max(LEAST_BYTES);
        // Such as the little that stays of every process that ever was.
        let for_profiles = (for_profiles - for_profiles / UNCOUNTED_SHARE) / copies.max(1);
        let mut ingest = Ingest::new(for_profiles as usize, reader);
        ingest.keep_times = options.keep_times;
        let mut notices = Vec::new();
        let mut follower = Follower::new(&options.pids).selecting(options.selection.clone());
        let found = follower.scan(&mut ingest, &mut bpf.tables)?;
        for &pid in &options.pids {
            if ingest.latest(pid).is_some() || follower.is_dormant(pid) || follower.is_left_out(pid) {
                continue;
            }
            if let Some(one) = follower.unsupported.iter().find(|one| one.pid == pid) {
                return Err(CaptureError::Unsupported { pid, what: escape(&one.what).into_owned() });
            }
            // Who does not answer is there.
            let there = Presence { leader: Some(pid), has_memory: true };
            let Presence { leader, has_memory } = ingest.reader.presence(&any_key(pid)).unwrap_or(there);
            if leader.is_none() {
                return Err(CaptureError::TargetGone(pid));
            }
            if let Ok(Access::Denied) = ingest.reader.access(&any_key(pid)) {
                return Err(CaptureError::Denied { pid, why: how_to_read() });
            }
            let what = escape(&not_a_python(&follower, &mut ingest, pid)).into_owned();
            // A thread of the kernel never becomes one.
            if !has_memory {
                return Err(CaptureError::Unsupported { pid, what });
            }
            notices.push(format!("process {pid} is {what}: it is watched for one"));
        }
        let asked = options.asked();
        if found == 0 && !asked.is_empty() && notices.is_empty() {
            let (left_out, near) = follower.left_out();
            notices.push(format!("{}: waiting for one", nothing_matches(&asked, left_out, &near)));
        }
        follower.hint(&mut ingest, &mut bpf.tables);
        bpf.start(options.frequency_hz).map_err(privileges::explain)?;
        if options.off_cpu {
            ingest.begin_off_cpu(monotonic_ns(), boot_ns());
            bpf.follow_off_cpu().map_err(privileges::explain)?;
        }
        drop(reserved);
        if options.verbose {
            eprintln!("programs: {}", bpf.programs.join(", "));
            let [kernel, profiles] = [kernel_bytes, for_profiles].map(amount::bytes);
            eprintln!("kernel maps take {kernel}, profiles may take {profiles}");
            eprintln!("attached {} ms after the start", host.since.elapsed().as_millis());
        }
        let used_ns = own_cpu_ns() + ingest.reader.cost().cpu_ns;
        Ok(Session {
            bpf,
            ingest,
            follower,
            budget: Budget::new(options.max_cpu_percent, options.frequency_hz, used_ns),
            meta: CaptureMeta {
                tool_version: env!("CARGO_PKG_VERSION").into(),
                host: host.name,
                kernel: host.kernel,
                start_unix_ns,
                start_boot_ns,
                start_monotonic_ns,
                frequency_hz: options.frequency_hz,
                ..CaptureMeta::default()
            },
            found,
            notices,
            base_bytes,
            started: Instant::now(),
            names_due: Instant::now(),
            lifecycle_lost: 0,
            before: Before::default(),
        })
    }

    /// Waits for records or for a wish of the kernel's to be read, such as a new process.
    pub async fn ready(&mut self) -> Result<(), CaptureError> {
        Ok(self.bpf.rings.readable().await?)
    }

    /// Reads what is there and does what is due; says when to come again.
    pub fn turn(&mut self) -> Result<Turn, CaptureError> {
        self.follower.begin_turn();
        self.ingest.reader.tend();
        self.ingest.mark_unresponsive();
        while self.drain() {}
        self.ingest.find_parked(|tid| self.bpf.has_run(tid));
        self.watch_mappings()?;
        self.follower.hint(&mut self.ingest, &mut self.bpf.tables);
        self.name_threads();
        self.follower.run_due(&mut self.ingest, &mut self.bpf.tables);
        self.bpf.flush_log();
        let is_second = self.budget.is_due();
        let mut changed = None;
        if is_second {
            self.reclaim();
            self.bpf.follow_cpus()?;
            let counters = self.bpf.stats.read()?;
            let cpu_ns = own_cpu_ns() + self.ingest.reader.cost().cpu_ns + counters.get(Stat::SamplerNs);
            self.lifecycle_lost = counters.get(Stat::LifecycleRingFull);
            let frequency_hz = self.bpf.clock.frequency_hz();
            if let Some(new_hz) = self.budget.check(cpu_ns, frequency_hz) {
                self.change_frequency(new_hz)?;
                let percent = self.budget.percent;
                changed = Some(match new_hz < frequency_hz {
                    true => format!("own CPU {percent:.1} % is over the limit: sampling at {new_hz} Hz"),
                    false => format!("own CPU {percent:.1} % leaves room: sampling at {new_hz} Hz again"),
                });
            }
        }
        let due =
            [self.follower.next_due(&self.ingest), self.ingest.reader.next_due(), Some(self.budget.due())];
        Ok(Turn { due: due.into_iter().flatten().min(), changed, is_second })
    }

    /// Whether none of these processes lives any more, nor any of these trees.
    pub fn are_gone(&self, pids: &[u32], trees: &[u32]) -> bool {
        let is_gone = |pid: &u32| match self.ingest.latest(*pid) {
            Some(index) => self.ingest.images()[index].exited,
            None => own::is_gone(*pid),
        };
        pids.iter().chain(trees).all(is_gone) && (trees.is_empty() || !self.bpf.tables.has_tree())
    }

    /// By how much resident memory has grown since the first sample.
    fn grown_bytes(&self) -> usize {
        own::rss_bytes().saturating_sub(self.base_bytes) as usize
    }

    /// Of what was handed over, or written, glibc keeps the memory: it would count as in use for good.
    pub fn reclaim(&mut self) {
        if self.ingest.wants_freed_memory(self.grown_bytes()) {
            own::release_freed_memory();
        }
        self.ingest.check_memory(self.grown_bytes());
    }

    fn name_threads(&mut self) {
        let now = Instant::now();
        if now >= self.names_due {
            self.ingest.name_threads(false);
            self.names_due = now + NAMES;
        }
    }

    /// Follows what loads a Python late, or starts one that it has loaded long ago.
    fn watch_mappings(&mut self) -> Result<(), CaptureError> {
        let Session { bpf, ingest, follower, .. } = self;
        if let Some(mappings) = &mut bpf.mappings {
            let since = Instant::now();
            let tables = &bpf.tables;
            mappings.read(|mapped| follower.mapped(mapped, ingest, tables, since));
        }
        follower.lost(bpf.mappings.as_ref().map(|mappings| mappings.lost), self.lifecycle_lost);
        follower.run_late(ingest, &mut bpf.tables)?;
        Ok(())
    }

    /// One pass over both rings, in causal order; `true` if more is waiting.
    fn drain(&mut self) -> bool {
        let Session { bpf, ingest, follower, .. } = self;
        let until_ns = monotonic_ns();
        bpf.rings.lifecycle(|event| follower.event(event, ingest, &mut bpf.tables));
        let tables = &mut bpf.tables;
        let more = bpf.rings.records(until_ns, BATCH, |record| {
            if let Some(index) = ingest.record(record) {
                follower.look_fresh(index, ingest, tables);
            }
        });
        ingest.settle(false);
        // After every batch: what no limit stops may fill megabytes within a second.
        self.ingest.check_memory(self.grown_bytes());
        more
    }

    fn change_frequency(&mut self, frequency_hz: u32) -> Result<(), CaptureError> {
        let after_ns = self.started.elapsed().as_nanos() as u64 - self.before.ended_ns;
        self.meta.frequency_changes.push(FrequencyChange { after_ns, frequency_hz });
        self.bpf.start(frequency_hz)?;
        Ok(())
    }

    /// Where the capture stands.
    pub fn live(&mut self) -> Result<Live, CaptureError> {
        let counters = self.bpf.stats.read()?;
        let is_living = |image: &&Image| image.python().is_some() && !image.exited;
        Ok(Live {
            elapsed: self.started.elapsed(),
            processes: self.ingest.images().iter().filter(is_living).count(),
            samples: self.ingest.received.samples - self.ingest.received.other,
            lost: counters.get(Stat::SampleRingFull),
            frequency_hz: self.bpf.clock.frequency_hz(),
            own_cpu_percent: self.budget.percent,
        })
    }

    /// CPU of the profiler in the last second, in percent of one core.
    pub fn own_cpu_percent(&self) -> f64 {
        self.budget.percent
    }

    /// Hands over what every Python has counted since the last time and forgets it, names beyond `most_bytes` too: what
    /// goes on for days keeps its own account.
    pub fn harvest(&mut self, most_bytes: usize, take: impl FnMut(&Image)) -> Result<(), CaptureError> {
        self.divide_off_cpu();
        self.ingest.settle_older(monotonic_ns().saturating_sub(GIVE_UP_NS));
        for key in self.ingest.harvest(most_bytes, take) {
            self.bpf.tables.renew(&key)?;
        }
        Ok(())
    }

    /// Counts for how long threads were off their CPUs until now, where they are followed.
    fn divide_off_cpu(&mut self) {
        let now_ns = monotonic_ns();
        if self.bpf.is_off_cpu_followed() {
            // Nobody may have come or gone yet: then all wait from before the beginning, or run.
            self.ingest.divide_off_cpu(self.bpf.off_cpu_threads(), now_ns);
        }
    }

    /// Detaches, reads the rest, and completes the account.
    pub fn end(&mut self) -> Result<(), CaptureError> {
        self.bpf.stop()?;
        self.meta.duration_ns = self.started.elapsed().as_nanos() as u64 - self.before.ended_ns;
        let end_ns = monotonic_ns();
        let threads = self.bpf.end_off_cpu()?;
        // What is in the rings now is all there will be: the second pass reads the record held back by the first.
        while self.drain() {}
        while self.drain() {}
        self.ingest.end_off_cpu(threads, end_ns);
        self.ingest.settle(true);
        self.ingest.name_threads(true);
        self.ingest.reader.end();
        self.follower.end(&mut self.ingest);
        self.ingest.mark_unresponsive();
        Ok(())
    }

    /// What the kernel counted, and what it cost.
    pub fn account(&mut self) -> Result<Account, CaptureError> {
        self.account_of_period(true)
    }
}
