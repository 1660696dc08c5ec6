//! The loop of a capture: one task owns all state, wakes for rings, timers and signals, and never waits on a target.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use profiler_common::Stat;
use tokio::signal::unix::{SignalKind, signal};

use super::budget::Budget;
use super::host::{Host, boot_ns, monotonic_ns, unix_ns};
use super::{RecordError, finish, privileges};
use crate::bpf::{Bpf, LoadOptions};
use crate::cli::RecordOptions;
use crate::escape::escape;
use crate::pipeline::{Follower, Ingest};
use crate::process::{own, scan};
use crate::profile::{CaptureMeta, FrequencyChange};
use crate::report::{Live, live_line, start_line};
use crate::sink::{OutputDirectory, Owner, default_directory};

/// How often the sample ring is read when nothing asks for it sooner.
const POLL: Duration = Duration::from_millis(100);
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

/// How often threads without names are looked for.
const NAMES: Duration = Duration::from_millis(200);

/// Why the loop ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Time,
    Signal,
    Failure,
}

struct Session {
    bpf: Bpf,
    ingest: Ingest,
    follower: Follower,
    budget: Budget,
    meta: CaptureMeta,
    /// Resident memory before the first sample.
    base_bytes: u64,
    started: Instant,
    names_due: Instant,
    /// Execs, forks and exits that the ring had no room for.
    lifecycle_lost: u64,
    quiet: bool,
    live: bool,
}

/// Records as asked, writes the files, prints the summary.
pub fn record(options: &RecordOptions) -> Result<(), RecordError> {
    let host = Host::here();
    privileges::check(&host)?;
    for pid in &options.pids {
        match scan::leader(*pid) {
            None => return Err(RecordError::TargetGone(*pid)),
            Some(leader) if leader != *pid => {
                let what = format!("it is a thread of process {leader}");
                return Err(RecordError::Unsupported { pid: *pid, what });
            }
            Some(_) => {}
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(RecordError::Runtime)?;
    runtime.block_on(run(options, host))
}

async fn run(options: &RecordOptions, host: Host) -> Result<(), RecordError> {
    // Installed first: from here on Ctrl-C ends the capture in an orderly way.
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RecordError::Runtime)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(RecordError::Runtime)?;
    let start_unix_ns = unix_ns();
    let path = options.output.clone().unwrap_or_else(|| default_directory(&host.name, start_unix_ns));
    let directory = OutputDirectory::create(&path, Owner::from_sudo())?;

    let mut session = match Session::begin(options, host, start_unix_ns, &path) {
        Ok(session) => session,
        Err(error) => {
            directory.remove_if_empty();
            return Err(error);
        }
    };
    let deadline = options.duration.map(|duration| session.started + duration);
    // A failure in the middle ends the capture, but what was sampled before it is written.
    let mut failure: Option<RecordError> = None;
    let end = loop {
        let due = match session.turn() {
            Ok(due) => due,
            Err(error) => {
                failure = Some(error);
                break End::Failure;
            }
        };
        let now = Instant::now();
        if deadline.is_some_and(|deadline| now >= deadline) {
            break End::Time;
        }
        let wake = [Some(now + POLL), due, deadline].into_iter().flatten().min().unwrap_or(now + POLL);
        tokio::select! {
            ready = session.bpf.rings.readable() => if let Err(error) = ready {
                failure = Some(error.into());
                break End::Failure;
            },
            () = tokio::time::sleep_until(wake.into()) => {}
            _ = interrupt.recv() => break End::Signal,
            _ = terminate.recv() => break End::Signal,
        }
    };
    session.end(end)?;
    let account = session.account()?;
    let written =
        finish::write(&session.ingest, &session.follower, &session.meta, &account, &directory, options);
    failure.map_or(written, Err)
}

fn ring_bytes(options: &RecordOptions) -> u32 {
    let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u64);
    let wanted = (u64::from(options.frequency_hz) * cpus).saturating_mul(SAMPLE_BYTES) / RING_PER_SECOND;
    let most = (options.max_memory_bytes / RING_SHARE).max(1 << 20);
    wanted.clamp(*RING_BYTES.start(), *RING_BYTES.end()).min(most).next_power_of_two() as u32
}

impl Session {
    fn begin(
        options: &RecordOptions,
        host: Host,
        start_unix_ns: u64,
        path: &std::path::Path,
    ) -> Result<Session, RecordError> {
        let ring_bytes = ring_bytes(options);
        let load = LoadOptions {
            targets_only: !options.pids.is_empty(),
            ring_bytes,
            single_reads: false,
            verbose: options.verbose,
        };
        own::prefer();
        let mut bpf = Bpf::load(&load).map_err(privileges::explain)?;
        own::release_freed_memory();
        let kernel_bytes = own::map_bytes();
        let base_bytes = own::rss_bytes();
        let for_profiles =
            options.max_memory_bytes.saturating_sub(kernel_bytes + base_bytes).max(LEAST_BYTES);
        // A merge holds its processes twice while it is written.
        let for_profiles = if options.merge_by.is_some() { for_profiles / 2 } else { for_profiles };
        let mut ingest = Ingest::new(for_profiles as usize);
        let mut follower = Follower::new(&options.pids);
        let found = follower.scan(&mut ingest, &mut bpf.tables)?;
        for &pid in &options.pids {
            if ingest.latest(pid).is_some() || follower.is_dormant(pid) {
                continue;
            }
            if let Some(one) = follower.unsupported.iter().find(|one| one.pid == pid) {
                return Err(RecordError::Unsupported { pid, what: escape(&one.what).into_owned() });
            }
            if !scan::exists(pid) {
                return Err(RecordError::TargetGone(pid));
            }
            let what = escape(&finish::not_a_python(&follower, pid)).into_owned();
            // A thread of the kernel never becomes one.
            if !scan::has_memory(pid) {
                return Err(RecordError::Unsupported { pid, what });
            }
            if !options.quiet {
                eprintln!("process {pid} is {what}: it is watched for one");
            }
        }
        follower.hint(&mut ingest, &mut bpf.tables);
        bpf.start(options.frequency_hz).map_err(privileges::explain)?;
        if options.verbose {
            eprintln!("kernel maps take {kernel_bytes} bytes, profiles may take {for_profiles} bytes");
        }
        let live = !options.quiet && std::io::stderr().is_terminal();
        if !options.quiet {
            eprintln!("{}", start_line(found, options.frequency_hz, path));
        }
        Ok(Session {
            bpf,
            ingest,
            follower,
            budget: Budget::new(options.max_cpu_percent),
            meta: CaptureMeta {
                tool_version: env!("CARGO_PKG_VERSION").into(),
                host: host.name,
                kernel: host.kernel,
                start_unix_ns,
                start_boot_ns: boot_ns(),
                frequency_hz: options.frequency_hz,
                ..CaptureMeta::default()
            },
            base_bytes,
            started: Instant::now(),
            names_due: Instant::now(),
            lifecycle_lost: 0,
            quiet: options.quiet,
            live,
        })
    }

    /// Reads what is there and does what is due; says when to come again.
    fn turn(&mut self) -> Result<Option<Instant>, RecordError> {
        while self.drain() {}
        self.watch_mappings()?;
        self.follower.hint(&mut self.ingest, &mut self.bpf.tables);
        self.name_threads();
        self.follower.run_due(&mut self.ingest, &mut self.bpf.tables);
        self.bpf.flush_log();
        if self.budget.is_due() {
            self.bpf.follow_cpus()?;
            let counters = self.bpf.stats.read()?;
            let kernel_ns = counters.get(Stat::SamplerNs);
            self.lifecycle_lost = counters.get(Stat::LifecycleRingFull);
            let frequency_hz = self.bpf.clock.frequency_hz();
            if let Some(lower) = self.budget.check(kernel_ns, frequency_hz) {
                self.change_frequency(lower)?;
            }
            self.show_live()?;
        }
        Ok([self.follower.next_due(&self.ingest), Some(self.budget.due())].into_iter().flatten().min())
    }

    fn name_threads(&mut self) {
        let now = Instant::now();
        if now >= self.names_due {
            self.ingest.name_threads(false);
            self.names_due = now + NAMES;
        }
    }

    /// Follows what loads a Python late, or starts one that it has loaded long ago.
    fn watch_mappings(&mut self) -> Result<(), RecordError> {
        let Session { bpf, ingest, follower, .. } = self;
        if let Some(mappings) = &mut bpf.mappings {
            let since = Instant::now();
            mappings.read(|mapped| follower.mapped(mapped, ingest, since));
        }
        follower.lost(bpf.mappings.as_ref().map(|mappings| mappings.lost), self.lifecycle_lost);
        follower.run_late(ingest, &mut bpf.tables)?;
        Ok(())
    }

    /// One pass over both rings, in causal order; `true` if more is waiting.
    fn drain(&mut self) -> bool {
        let Session { bpf, ingest, follower, base_bytes, .. } = self;
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
        ingest.check_memory(own::rss_bytes().saturating_sub(*base_bytes) as usize);
        more
    }

    fn change_frequency(&mut self, frequency_hz: u32) -> Result<(), RecordError> {
        let after_ns = self.started.elapsed().as_nanos() as u64;
        self.meta.frequency_changes.push(FrequencyChange { after_ns, frequency_hz });
        if !self.quiet {
            self.clear_live();
            eprintln!(
                "own CPU {:.1} % is over the limit: sampling at {frequency_hz} Hz from here on",
                self.budget.percent
            );
        }
        self.bpf.start(frequency_hz)?;
        Ok(())
    }

    fn show_live(&mut self) -> Result<(), RecordError> {
        if !self.live {
            return Ok(());
        }
        let counters = self.bpf.stats.read()?;
        let line = live_line(
            &Live {
                elapsed: self.started.elapsed(),
                processes: self
                    .ingest
                    .images()
                    .iter()
                    .filter(|image| image.python().is_some() && !image.exited)
                    .count(),
                samples: self.ingest.received.samples - self.ingest.received.other,
                lost: counters.get(Stat::SampleRingFull),
                frequency_hz: self.bpf.clock.frequency_hz(),
                own_cpu_percent: self.budget.percent,
            },
            finish::terminal_width(),
        );
        self.clear_live();
        let mut stderr = std::io::stderr();
        // A terminal that went away is no reason to stop recording.
        let _ = write!(stderr, "{line}").and_then(|()| stderr.flush());
        Ok(())
    }

    /// Back to the beginning of the line, and clear it.
    fn clear_live(&self) {
        if self.live {
            eprint!("\r\x1b[2K");
        }
    }

    /// Detaches, reads the rest, and completes the account.
    fn end(&mut self, end: End) -> Result<(), RecordError> {
        self.bpf.stop()?;
        self.meta.duration_ns = self.started.elapsed().as_nanos() as u64;
        // What is in the rings now is all there will be: the second pass reads the record held back by the first.
        while self.drain() {}
        while self.drain() {}
        self.ingest.settle(true);
        self.ingest.name_threads(true);
        self.clear_live();
        if end == End::Signal && !self.quiet {
            eprintln!("interrupted: writing what there is");
        }
        Ok(())
    }

    /// What the kernel counted, and what it cost.
    fn account(&mut self) -> Result<finish::Account, RecordError> {
        let counters = self.bpf.stats.read()?;
        let expected: f64 = self.bpf.clock.ticks().values().map(|ticks| ticks.expected).sum();
        Ok(finish::Account { counters, expected: expected as u64, malformed: self.bpf.rings.malformed })
    }
}
