//! The command itself: a session, what it counts second by second, and a screen or plain tables of it until the end.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::draw::{Status, room};
use super::history::{History, Shown};
use super::keys::{Key, Keys};
use super::pages::{Page, page};
use super::state::{Action, State, View};
use super::terminal::{Input, Screen, refusal};
use super::{Batch, TopError, TopOptions, batch};
use crate::capture::{CaptureError, Host, POLL, Session, event_loop, prepare, unix_ns};
use crate::process::own;
use crate::profile::{Loss, Measure};
use crate::reader::Reader;
use crate::record::losses;

/// Counts are taken over at least so often: a window is made of such periods.
const PERIOD: Duration = Duration::from_secs(1);
/// Where memory is short, more often, and so often at most.
const SHORT_PERIOD: Duration = Duration::from_millis(100);
/// How long the rest of a key may take to come.
const ESCAPE: Duration = Duration::from_millis(50);
/// How long something that happened is told.
const NOTICE: Duration = Duration::from_secs(10);
/// Of what the memory limit leaves for profiles, one in so many for what the screen is made of, and as much for names on
/// their way to it: the rest is for tables that grow, which take three times their room for a moment.
const MEMORY_SHARE: usize = 4;

/// Shows what happens until it is told to end.
pub fn top(options: &TopOptions) -> Result<(), TopError> {
    if options.batch.is_none()
        && let Some(refusal) = refusal()
    {
        return Err(TopError::NoTerminal(refusal));
    }
    let host = Host::here();
    own::prefer();
    let reader = prepare(&options.capture.pids)?;
    let mut options = options.clone();
    // What would be written over the screen.
    options.capture.verbose &= options.batch.is_some() || !io::stderr().is_terminal();
    event_loop()?.block_on(run(&options, host, reader))
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    stop: Signal,
    resized: Signal,
}

enum Told {
    End,
    Stop,
    Resized,
}

impl Signals {
    fn new() -> io::Result<Signals> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            stop: signal(SignalKind::from_raw(libc::SIGTSTP))?,
            resized: signal(SignalKind::window_change())?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.interrupt.recv() => Told::End,
            _ = self.terminate.recv() => Told::End,
            _ = self.hangup.recv() => Told::End,
            _ = self.stop.recv() => Told::Stop,
            _ = self.resized.recv() => Told::Resized,
        }
    }
}

/// Everything that is between a session and a screen.
struct Top {
    session: Session,
    history: History,
    /// Of the time off the CPU, where that is followed.
    waits: Option<History>,
    state: State,
    status: Status,
    notice_until: Option<Instant>,
    losses: Vec<Loss>,
    memory_bytes: usize,
    /// When the period that lasts began.
    harvested: Instant,
    /// When counts were taken over last.
    taken: Instant,
}

async fn run(options: &TopOptions, host: Host, reader: Reader) -> Result<(), TopError> {
    // Installed first: from here on a signal ends the view in an orderly way.
    let mut signals = Signals::new().map_err(CaptureError::Runtime)?;
    let status = Status { host: host.name.clone(), ..Status::default() };
    let mut session = Session::begin(&options.capture, host, reader, unix_ns(), 1)?;
    let notices = std::mem::take(&mut session.notices);
    let memory_bytes = session.ingest.max_memory_bytes / MEMORY_SHARE;
    let mut top = Top {
        harvested: session.started,
        taken: session.started,
        session,
        history: History::of(Shown::Cpu),
        waits: options.capture.off_cpu.then(|| History::of(Shown::Waits)),
        state: State::new(options.window, if options.capture.off_cpu { Shown::Waits } else { Shown::Cpu }),
        status,
        notice_until: None,
        losses: Vec::new(),
        memory_bytes,
    };
    match options.batch {
        Some(batch) => {
            notices.iter().for_each(|notice| options.talk.say(notice));
            top.print(options, batch, &mut signals).await
        }
        None => {
            if let Some(notice) = notices.into_iter().next() {
                top.say(notice);
            }
            top.live(options, &mut signals).await
        }
    }
}

impl Top {
    fn say(&mut self, notice: String) {
        self.status.notice = notice;
        self.notice_until = Some(Instant::now() + NOTICE);
    }

    /// One turn of the session; when the next is due.
    fn turn(&mut self) -> Result<Instant, TopError> {
        let turn = self.session.turn()?;
        if let Some(changed) = turn.changed {
            self.say(changed);
        }
        if self.notice_until.is_some_and(|until| until <= Instant::now()) {
            self.notice_until = None;
            self.status.notice.clear();
        }
        if self.session.ingest.is_short() && self.taken.elapsed() >= SHORT_PERIOD {
            self.take()?;
            self.session.reclaim();
        }
        let next = Instant::now() + POLL;
        Ok(turn.due.map_or(next, |due| due.min(next)))
    }

    /// Takes over what was counted since the last time.
    fn take(&mut self) -> Result<(), TopError> {
        let Top { session, history, waits, memory_bytes, .. } = self;
        session.harvest(*memory_bytes, |image| {
            let of_waits = image.profile.measure() == &Measure::OFF_CPU;
            match waits {
                Some(waits) if of_waits => waits.take(image),
                _ => history.take(image),
            }
        })?;
        self.taken = Instant::now();
        Ok(())
    }

    /// The same, and a period ends.
    fn harvest(&mut self) -> Result<(), TopError> {
        self.take()?;
        let now = self.taken;
        let length_ns = now.duration_since(self.harvested).as_nanos() as u64;
        self.harvested = now;
        let number = 1 + usize::from(self.waits.is_some());
        let most_bytes = self.memory_bytes / number;
        self.histories().for_each(|history| history.end_period(length_ns, most_bytes));
        Ok(())
    }

    fn histories(&mut self) -> impl Iterator<Item = &mut History> {
        [&mut self.history].into_iter().chain(&mut self.waits)
    }

    /// The history of what is shown.
    fn shown(&self) -> &History {
        match (&self.waits, self.state.shown) {
            (Some(waits), Shown::Waits) => waits,
            _ => &self.history,
        }
    }

    fn page(&self) -> Page {
        page(self.shown(), &self.state.view, self.state.window, &self.losses)
    }

    /// From where the CPU is used to where threads wait, or back.
    fn exchange(&mut self) {
        let Some(waits) = &self.waits else {
            self.say("start with --off-cpu to see where threads wait".into());
            return;
        };
        let (from, to) = match self.state.shown {
            Shown::Cpu => (&self.history, waits),
            Shown::Waits => (waits, &self.history),
        };
        let id = match &self.state.view {
            View::Processes => None,
            View::Process(id, _) | View::Function(id, _) => {
                from.process(*id).and_then(|process| to.id_of(&process.key))
            }
        };
        self.state.exchange(id);
    }

    /// What the profiler says of itself, as of now.
    fn refresh_status(&mut self) -> Result<(), TopError> {
        let live = self.session.live()?;
        let account = self.session.account_so_far()?;
        self.losses = losses(&account);
        let follower = &self.session.follower;
        self.status.elapsed = live.elapsed;
        self.status.frequency_hz = live.frequency_hz;
        self.status.own_cpu_percent = live.own_cpu_percent;
        self.status.own_bytes =
            own::rss_bytes() + self.session.ingest.reader.peak_rss_bytes() + own::map_bytes();
        self.status.lost = live.lost;
        self.status.unsupported = follower.unsupported.len() as u64 + follower.unsupported_more;
        Ok(())
    }

    async fn print(
        &mut self,
        options: &TopOptions,
        batch: Batch,
        signals: &mut Signals,
    ) -> Result<(), TopError> {
        let period = options.interval.min(PERIOD);
        let mut due = self.harvested + options.interval;
        let mut printed = 0;
        while batch.tables.is_none_or(|tables| printed < tables) {
            let next = self.turn()?;
            let now = Instant::now();
            if now >= due || now >= self.harvested + period {
                self.harvest()?;
            }
            if now >= due {
                due += options.interval;
                self.refresh_status()?;
                let make = if batch.is_json { batch::json } else { batch::table };
                let text = make(&self.page(), &self.status, options.window);
                let mut stdout = io::stdout().lock();
                match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
                    Ok(()) => printed += 1,
                    // Who reads has read enough.
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
                    Err(error) => return Err(TopError::Output(error)),
                }
                continue;
            }
            let wake = next.min(due).min(self.harvested + period);
            tokio::select! {
                ready = self.session.ready() => ready?,
                () = tokio::time::sleep_until(wake.into()) => {}
                told = signals.next() => match told {
                    Told::End => break,
                    // SAFETY: sends a signal to this process.
                    Told::Stop => { unsafe { libc::raise(libc::SIGSTOP) }; }
                    Told::Resized => {}
                },
            }
        }
        Ok(())
    }

    async fn live(&mut self, options: &TopOptions, signals: &mut Signals) -> Result<(), TopError> {
        let mut screen = Screen::take(options.talk.colour.is_wanted()).map_err(TopError::Terminal)?;
        let input = Input::open().and_then(|input| {
            // SAFETY: `Input` has a descriptor of its own, the same for as long as it lives.
            unsafe { AsyncFd::register_with_interest(input, Interest::READABLE) }.map_err(io::Error::from)
        });
        let input = input.map_err(TopError::Terminal)?;
        let mut keys = Keys::default();
        let mut buffer = [0; 256];
        let period = options.interval.min(PERIOD);
        let mut due = Instant::now();
        let mut escape_due: Option<Instant> = None;
        let mut page = self.page();
        loop {
            let next = self.turn()?;
            let now = Instant::now();
            if now >= self.harvested + period {
                self.harvest()?;
            }
            if now >= due {
                due = now + options.interval;
                self.refresh_status()?;
                page = self.page();
                screen.show(&mut self.state, &page, &self.status).map_err(TopError::Terminal)?;
            }
            let wake = [Some(next), Some(due), Some(self.harvested + period), escape_due];
            let wake = wake.into_iter().flatten().min().unwrap_or(now + POLL);
            let mut pressed: Vec<Key> = Vec::new();
            tokio::select! {
                ready = self.session.ready() => ready?,
                () = tokio::time::sleep_until(wake.into()) => {
                    if escape_due.is_some_and(|due| due <= Instant::now()) {
                        escape_due = None;
                        pressed.extend(keys.give_up());
                    }
                }
                told = signals.next() => match told {
                    Told::End => return Ok(()),
                    Told::Stop => pressed.push(Key::Suspend),
                    Told::Resized => due = Instant::now(),
                },
                ready = input.readable() => {
                    let mut ready = ready.map_err(TopError::Terminal)?;
                    // A terminal that went away sends nothing more, not even a signal to who has left its session.
                    let Some(read) = input.get_ref().read(&mut buffer) else { return Ok(()) };
                    if read < buffer.len() {
                        ready.clear_ready();
                    }
                    pressed = keys.feed(&buffer[..read]);
                    escape_due = keys.is_waiting().then(|| Instant::now() + ESCAPE);
                }
            }
            let is_pressed = !pressed.is_empty();
            for key in pressed {
                let height = room(screen.height());
                match self.state.press(key, &page, height) {
                    Action::Quit => return Ok(()),
                    Action::None => {}
                    Action::Refresh => page = self.page(),
                    Action::Pause => {
                        self.harvest()?;
                        self.histories().for_each(History::pause);
                        page = self.page();
                    }
                    Action::Resume => {
                        self.harvest()?;
                        self.histories().for_each(History::resume);
                        page = self.page();
                    }
                    Action::Reset => {
                        self.harvest()?;
                        self.histories().for_each(History::reset);
                        page = self.page();
                    }
                    Action::Exchange => {
                        self.exchange();
                        page = self.page();
                    }
                    Action::Repaint => screen.repaint().map_err(TopError::Terminal)?,
                    Action::Suspend => {
                        self.harvest()?;
                        screen.suspend().map_err(TopError::Terminal)?;
                        // Nobody read what the kernel sampled meanwhile: a window must not have a gap in it.
                        while self.session.turn()?.due.is_some_and(|due| due <= Instant::now()) {}
                        self.harvest()?;
                        if !self.history.is_paused() {
                            self.histories().for_each(History::begin_anew);
                        }
                    }
                }
                let shown = self.state.shown(&page.table);
                self.state.settle(&page.table, &shown, height);
            }
            if is_pressed {
                screen.show(&mut self.state, &page, &self.status).map_err(TopError::Terminal)?;
            }
        }
    }
}
