//! The command itself: a session from its beginning to a signal, the end of its time or of what it runs, and what is said
//! meanwhile.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::early::Early;
use super::launch::{Ended, Launched};
use super::output::{Destination, copies};
use super::periods::Periods;
use super::signals::{Blocked, Caught, Signals};
use super::{RecordError, finish, so_far};
use crate::capture::{
    CaptureError, CaptureOptions, Host, POLL, Session, as_options, event_loop, prepare, unix_ns,
};
use crate::cli::RecordOptions;
use crate::escape::{escape, escape_bytes};
use crate::pipeline::NearMiss;
use crate::process::own;
use crate::reader::{Questions, Reader};
use crate::summary::{live_line, start_line};
use crate::talk::{Talk, progress};
use std::os::unix::ffi::OsStrExt;

/// Records as asked, writes the files, prints the summary. With a command, its exit status.
pub fn record(options: &RecordOptions) -> Result<u8, RecordError> {
    let own = |error: RecordError| match error {
        error @ RecordError::NotRun { .. } => error,
        error if options.command.is_empty() => error,
        error => RecordError::Own(Box::new(error)),
    };
    start(options).map_err(own)
}

fn start(options: &RecordOptions) -> Result<u8, RecordError> {
    let host = Host::here();
    let numbers = [&options.capture.pids[..], &options.capture.selection.trees].concat();
    // A command must not inherit it.
    if options.command.is_empty() {
        own::prefer();
    }
    let reader = prepare(&numbers)?;
    // From here on Ctrl-C ends the capture in an orderly way.
    let blocked = Blocked::new(!options.command.is_empty());
    event_loop()?.block_on(run(options, host, reader, &blocked))
}

async fn run(
    options: &RecordOptions,
    host: Host,
    reader: Reader,
    blocked: &Blocked,
) -> Result<u8, RecordError> {
    let signals = blocked.open().map_err(CaptureError::Runtime)?;
    let start_unix_ns = unix_ns();
    let destination = Destination::open(options, &host.name, start_unix_ns)?;
    let options = options.clone();
    // Before anything is done that it must not inherit.
    let launched = match options.command.is_empty() {
        true => Ok(None),
        false => Launched::new(&options.command, &blocked.before).map(Some),
    };
    let mut launched = match launched {
        Ok(launched) => launched,
        Err(source) => {
            destination.abandon();
            return Err(RecordError::NotRun { what: shown(&options), source });
        }
    };
    let mut capture = options.capture.clone();
    capture.selection.trees.extend(launched.as_ref().map(Launched::pid));
    let session = Session::begin(&capture, host, reader, start_unix_ns, copies(&options));
    let session = match session {
        Ok(session) => session,
        Err(error) => {
            destination.abandon();
            return Err(error.into());
        }
    };
    let console = Console { talk: options.talk, live: options.talk.is_live() };
    if launched.is_none() {
        for notice in &session.notices {
            console.say(notice);
        }
        console.say(&start_line(session.found, options.capture.frequency_hz, destination.shown()));
    } else {
        console.say(&format!("Sampling {} at {} Hz", shown(&options), options.capture.frequency_hz));
    }
    let shared = Arc::new(options.clone());
    let sets = match &destination {
        Destination::Directory(directory) => Some(Sets {
            early: Early::new(directory.clone(), shared),
            periods: Periods::new(directory.clone(), &options),
        }),
        Destination::File { .. } | Destination::Stdout => None,
    };
    let mut recording = Recording { session, options, destination, console, sets, signals };
    let result = recording.record(&mut launched).await;
    let Recording { options, console, signals, destination, .. } = recording;
    let Some(mut launched) = launched else { return result.map(|()| 0) };
    // The time was up before the command was through; it goes on.
    let ended = loop {
        tokio::select! {
            ended = launched.ended() => break ended,
            Caught { signal, from_terminal } = signals.next() => {
                if !from_terminal && signal != libc::SIGUSR1 {
                    launched.signal(signal);
                }
            }
        }
    };
    match (ended, result) {
        (Ended::NotRun(error), _) => {
            destination.abandon();
            let source = io::Error::from_raw_os_error(error);
            Err(RecordError::NotRun { what: shown(&options), source })
        }
        // That it needed no CPU is no failure.
        (ended, Err(RecordError::NothingSampled(what))) => {
            console.say(&format!("pyprof-bpf: {what}"));
            Ok(ended.status())
        }
        (ended, Ok(())) => Ok(ended.status()),
        (_, Err(error)) => Err(error),
    }
}

/// The command as people know it.
fn shown(options: &RecordOptions) -> String {
    escape_bytes(options.command.first().map_or(b"", |word| word.as_bytes())).into_owned()
}

/// The last ticks of a process have come this long after its end.
const SETTLED: Duration = Duration::from_millis(300);

/// Fewer files are written before anybody wonders.
const MANY_FILES: usize = 20;

/// Why a capture ends.
enum End {
    Time,
    Signal,
    Command,
    /// Nobody is left of the processes that were asked for by their numbers.
    Gone,
    /// A failure in the middle, but what was sampled before it is written.
    Failure(RecordError),
}

struct Recording {
    session: Session,
    options: RecordOptions,
    destination: Destination,
    console: Console,
    /// Where there is a directory.
    sets: Option<Sets>,
    signals: Signals,
}

/// What is written before the end.
struct Sets {
    early: Early,
    periods: Periods,
}

impl Recording {
    /// From the first sample to the last file.
    async fn record(&mut self, launched: &mut Option<Launched>) -> Result<(), RecordError> {
        if let Some(launched) = launched {
            launched.let_go();
        }
        let end = self.sample(launched).await;
        // A command that still runs has its signals passed on afterwards.
        if launched.is_none() || matches!(end, End::Command) {
            self.signals.stop_at_once_from_here_on(matches!(end, End::Signal));
        }
        self.session.end()?;
        self.console.clear();
        if let End::Signal = end {
            self.console.say("interrupted: writing what there is");
        }
        if let End::Gone = end {
            self.console.say("what was asked for has ended: writing what there is");
        }
        let written = self.write();
        match end {
            End::Failure(error) => Err(error),
            End::Time | End::Signal | End::Command | End::Gone => written,
        }
    }

    /// Turns the session until something ends it.
    async fn sample(&mut self, launched: &mut Option<Launched>) -> End {
        let started = self.session.started;
        let deadline = self.options.duration.map(|duration| started + duration);
        let mut period_ends = self.options.every.map(|every| started + every);
        let mut is_asked = false;
        loop {
            let turn = match self.session.turn() {
                Ok(turn) => turn,
                Err(error) => return End::Failure(error.into()),
            };
            if let Some(changed) = &turn.changed {
                self.console.say(changed);
            }
            if turn.is_second && self.console.live {
                match self.session.live() {
                    Ok(live) => self.console.show(&live_line(&live, finish::terminal_width())),
                    Err(error) => return End::Failure(error.into()),
                }
            }
            if turn.is_second && launched.is_none() && self.are_targets_gone() {
                return End::Gone;
            }
            self.tend_periods(false);
            self.spare_memory();
            let now = Instant::now();
            if deadline.is_some_and(|deadline| now >= deadline) {
                return End::Time;
            }
            let is_over = period_ends.is_some_and(|end| now >= end);
            if (is_over || is_asked) && !self.is_busy() {
                if let Err(error) = self.end_period() {
                    return End::Failure(error);
                }
                is_asked = false;
                if let (true, Some(every), Some(end)) = (is_over, self.options.every, &mut period_ends) {
                    while *end <= now {
                        *end += every;
                    }
                }
            }
            let period = period_ends.filter(|end| *end > now);
            let wake = [Some(now + POLL), turn.due, deadline, period].into_iter().flatten().min();
            let command = async {
                match launched {
                    Some(launched) => launched.ended().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                ready = self.session.ready() => if let Err(error) = ready {
                    return End::Failure(error.into());
                },
                () = tokio::time::sleep_until(wake.unwrap_or(now + POLL).into()) => {}
                _ = command => return End::Command,
                Caught { signal, from_terminal } = self.signals.next() => match (signal, &launched) {
                    (libc::SIGUSR1, _) => is_asked = true,
                    // It has it already.
                    (_, Some(_)) if from_terminal => {}
                    (_, Some(launched)) => launched.signal(signal),
                    (_, None) => return End::Signal,
                },
            }
        }
    }

    fn are_targets_gone(&self) -> bool {
        let CaptureOptions { pids, selection, .. } = &self.options.capture;
        let is_asked = !pids.is_empty() || !selection.trees.is_empty();
        is_asked && self.session.are_gone(pids, &selection.trees)
    }

    fn tend_periods(&mut self, wait: bool) {
        for line in self.sets.iter_mut().flat_map(|sets| sets.periods.tend(wait)) {
            self.console.say(&line);
        }
    }

    fn is_busy(&self) -> bool {
        self.sets.as_ref().is_some_and(|sets| sets.periods.is_busy())
    }

    /// Writes processes that have ended, if there is reason to: a period has its own end.
    fn spare_memory(&mut self) {
        let Some(Sets { early, .. }) = &mut self.sets else { return };
        if !self.options.has_periods && self.session.ingest.is_filling() && early.is_ready() {
            let images = self.session.take_finished(SETTLED);
            if !images.is_empty() {
                let mut meta = self.session.meta.clone();
                meta.duration_ns = self.session.started.elapsed().as_nanos() as u64;
                early.begin(images, &meta);
            }
        }
    }

    /// What was sampled since the last time, into a set of its own.
    fn end_period(&mut self) -> Result<(), RecordError> {
        self.tend_periods(true);
        let Some(Sets { early, periods }) = &mut self.sets else {
            let said = so_far::write(&mut self.session, &self.destination, &self.options)?;
            self.console.say(&said);
            return Ok(());
        };
        self.options.has_periods = true;
        let (images, meta, account) = self.session.cut()?;
        // Written at once where there are no periods yet; those are in the directory above.
        let earlier = early.end();
        let set = finish::gather((&mut self.session, images, earlier), &meta, &account, &self.options);
        periods.begin(set);
        Ok(())
    }

    /// The last of what there is.
    fn write(&mut self) -> Result<(), RecordError> {
        let account = self.session.account()?;
        if self.options.capture.verbose {
            let Questions { number, waited, longest, late } = self.session.ingest.reader.questions();
            self.console.say(&format!(
                "asked about targets {number} times, waited {waited:.1?}, {longest:.1?} at most; late: {late}"
            ));
            self.console.say(&format!("counted in the kernel: {}", account.counters));
            for NearMiss { pid, name, kind, has, .. } in self.session.follower.left_out().1 {
                self.console.say(&format!("left out: {} (pid {pid}) has {kind} {has}", escape(&name)));
            }
        }
        let nothing = finish::nothing(&self.session, &self.options);
        let meta = self.session.meta.clone();
        let images = self.session.ingest.take_images();
        let earlier = self.sets.as_mut().map(|sets| sets.early.end()).unwrap_or_default();
        let mut set = finish::gather((&mut self.session, images, earlier), &meta, &account, &self.options);
        if !self.options.has_periods {
            let left_out = set.meta.selected.left_out;
            if left_out > 0 && !set.images.is_empty() {
                let noun = if left_out == 1 { "process that does" } else { "processes that do" };
                let asked = as_options(&self.options.capture.asked());
                self.console.say(&format!("Left out: {left_out} Python {noun} not match {asked}"));
            }
            if let Destination::Directory(directory) = &self.destination
                && self.console.live
                && set.images.len() >= MANY_FILES
            {
                directory.listen(progress("writing", set.images.len() * self.options.formats.len() + 1));
            }
            return finish::write(&mut set, nothing, &self.destination, &self.options);
        }
        self.tend_periods(true);
        if let Some(sets) = &mut self.sets {
            sets.periods.begin(set);
        }
        self.tend_periods(true);
        let Some(Sets { periods, .. }) = &mut self.sets else { return Ok(()) };
        match periods.failed.take() {
            Some((failed, all, first)) => Err(RecordError::Files { failed, all, first }),
            None if periods.sets == 0 => {
                self.destination.abandon();
                Err(RecordError::NothingSampled(nothing))
            }
            None => Ok(()),
        }
    }
}

/// What is said while it runs: lines, and on a terminal one line that is written over.
struct Console {
    talk: Talk,
    live: bool,
}

impl Console {
    fn say(&self, line: &str) {
        self.clear();
        self.talk.say(line);
    }

    fn show(&self, line: &str) {
        self.clear();
        let mut stderr = std::io::stderr();
        // A terminal that went away is no reason to stop recording.
        let _ = write!(stderr, "{line}").and_then(|()| stderr.flush());
    }

    /// Back to the beginning of the line, and clear it.
    fn clear(&self) {
        if self.live {
            let _ = write!(std::io::stderr(), "\r\x1b[2K");
        }
    }
}
