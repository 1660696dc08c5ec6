//! Signals as events of the loop: what ends a capture, what has it write and go on, what is passed on to a command.
//!
//! They are blocked and read from a descriptor, which tells who sent them: what the terminal sends, it sends to the command
//! as well. Handlers of ours would also be in the way of what the command inherits.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::unix::AsyncFd;

use crate::capture::monotonic_ns;
use crate::sink::remove_unfinished;

/// What ends a capture, or asks for what there is.
const OURS: [i32; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGUSR1];
/// What a command may want beside that.
const OF_COMMANDS: [i32; 2] = [libc::SIGQUIT, libc::SIGUSR2];

/// A signal that has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caught {
    pub signal: i32,
    /// Sent by the kernel to everybody in the foreground.
    pub from_terminal: bool,
}

/// Signals that wait to be read.
pub struct Blocked {
    set: libc::sigset_t,
    /// As it was before: what a command gets.
    pub before: libc::sigset_t,
}

pub struct Signals {
    descriptor: AsyncFd<OwnedFd>,
    before: libc::sigset_t,
}

fn empty() -> libc::sigset_t {
    // SAFETY: `sigset_t` is plain bits.
    let mut set = unsafe { std::mem::zeroed() };
    // SAFETY: a valid pointer.
    unsafe { libc::sigemptyset(&mut set) };
    set
}

/// Whether whoever started this program wants the signal ignored, as nohup does. Not so of SIGINT, which shells ignore for all
/// that they start in the background: there, too, it is how a capture is asked to end.
fn is_ignored(signal: i32) -> bool {
    if signal != libc::SIGHUP {
        return false;
    }
    // SAFETY: `sigaction` is plain numbers and pointers.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: only asks; a valid pointer.
    unsafe { libc::sigaction(signal, std::ptr::null(), &mut action) };
    action.sa_sigaction == libc::SIG_IGN
}

impl Blocked {
    /// From here on signals wait. Before any thread is made, so that all of them inherit it.
    pub fn new(has_command: bool) -> Blocked {
        let mut set = empty();
        let more = if has_command { &OF_COMMANDS[..] } else { &[] };
        for signal in OURS.iter().chain(more).filter(|signal| !is_ignored(**signal)) {
            // SAFETY: a valid set and a valid signal.
            unsafe { libc::sigaddset(&mut set, *signal) };
        }
        let mut before = empty();
        // SAFETY: valid pointers.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set, &mut before) };
        Blocked { set, before }
    }

    /// To be called within the event loop.
    pub fn open(&self) -> io::Result<Signals> {
        // SAFETY: a valid set.
        let descriptor = unsafe { libc::signalfd(-1, &self.set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just opened, and nobody else's.
        let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
        // SAFETY: the descriptor stays open and the same until it is dropped.
        let descriptor = unsafe { AsyncFd::register(descriptor) }.map_err(io::Error::from)?;
        Ok(Signals { descriptor, before: self.before })
    }
}

impl Signals {
    /// The next signal.
    pub async fn next(&self) -> Caught {
        loop {
            let Ok(mut ready) = self.descriptor.readable().await else {
                // The loop ends; nobody waits for this any more.
                return std::future::pending().await;
            };
            match read(self.descriptor.get_ref()) {
                Some(caught) => return caught,
                None => ready.clear_ready(),
            }
        }
    }

    /// The capture has ended and its results are being written: whoever asks again, or for the second time where it ended by
    /// itself, has the program stop at once, with nothing half-written left behind.
    pub fn stop_at_once_from_here_on(&self, was_asked: bool) {
        ASKED_NS.store(if was_asked { monotonic_ns() } else { 0 }, Ordering::Relaxed);
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP].into_iter().filter(|it| !is_ignored(*it)) {
            // SAFETY: `sigaction` is plain numbers and pointers.
            let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
            action.sa_sigaction = stop as *const () as libc::sighandler_t;
            // SAFETY: a valid structure; the handler does nothing that a handler may not do.
            unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) };
        }
        // There is no period to end any more, and its default is to end the program.
        // SAFETY: to ignore a signal involves no handler.
        unsafe { libc::signal(libc::SIGUSR1, libc::SIG_IGN) };
        // SAFETY: a valid set, which was in force before.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.before, std::ptr::null_mut()) };
    }
}

/// When the end of the capture was asked for, by `CLOCK_MONOTONIC`; 0: not yet.
static ASKED_NS: AtomicU64 = AtomicU64::new(0);
/// What comes so soon again is the same wish: `timeout` sends its signal to the program and then to all of its group, and so
/// do managers of services.
const SAME_WISH_NS: u64 = 300_000_000;

/// `clock_gettime` is async-signal-safe, and so are atomic numbers.
extern "C" fn stop(signal: i32) {
    const SAID: &[u8] = b"pyprof-bpf: stopped: not everything was written\n";
    let now_ns = monotonic_ns();
    let asked_ns = match ASKED_NS.compare_exchange(0, now_ns, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => now_ns,
        Err(before) => before,
    };
    if now_ns.saturating_sub(asked_ns) < SAME_WISH_NS {
        return;
    }
    remove_unfinished();
    // SAFETY: bytes of a constant; both calls are async-signal-safe.
    unsafe {
        libc::write(libc::STDERR_FILENO, SAID.as_ptr().cast(), SAID.len());
        libc::_exit(128 + signal);
    }
}

fn read(descriptor: &OwnedFd) -> Option<Caught> {
    // SAFETY: the structure is plain numbers.
    let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
    let bytes = size_of_val(&info);
    // SAFETY: a buffer of the size that is stated.
    let read = unsafe { libc::read(descriptor.as_raw_fd(), (&raw mut info).cast(), bytes) };
    /// `SI_KERNEL` (`include/uapi/asm-generic/siginfo.h`)
    const FROM_KERNEL: i32 = 0x80;
    (read == bytes as isize)
        .then_some(Caught { signal: info.ssi_signo as i32, from_terminal: info.ssi_code == FROM_KERNEL })
}
