//! A command that is started to be profiled: held back until sampling has begun, then run by exec as whoever called us would
//! have run it. It has none of our descriptors, our priority, our signal mask or handlers, and the environment as it was.

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::exit::{CANNOT_RUN, NOT_FOUND, OWN_FAILURE};

/// A command, before or after its exec.
pub struct Launched {
    pid: libc::pid_t,
    /// Closed without a byte: the command never runs.
    go: Option<OwnedFd>,
    /// The number of the error, if there is no exec.
    report: OwnedFd,
    exit: AsyncFd<OwnedFd>,
    ended: Option<Ended>,
}

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// Its exit status, or 128 and the signal that ended it.
    With(u8),
    /// It could not be run: the system's error.
    NotRun(i32),
}

impl Ended {
    /// What `env` and shells end with.
    pub const fn status(self) -> u8 {
        match self {
            Ended::With(status) => status,
            Ended::NotRun(libc::ENOENT) => NOT_FOUND,
            Ended::NotRun(_) => CANNOT_RUN,
        }
    }
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened, and nobody else's.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

impl Launched {
    /// Makes the process, which waits. `mask`: the signal mask that the command gets. Within the event loop, and while this
    /// program has one thread.
    pub fn new(command: &[OsString], mask: &libc::sigset_t) -> io::Result<Launched> {
        let nul = |_| io::Error::from_raw_os_error(libc::EINVAL);
        let words = command.iter().map(|word| CString::new(word.clone().into_vec()).map_err(nul));
        let words: Vec<CString> = words.collect::<Result<_, _>>()?;
        let mut pointers: Vec<*const libc::c_char> = words.iter().map(|word| word.as_ptr()).collect();
        pointers.push(std::ptr::null());
        let (wait, go) = pipe()?;
        let (report, tell) = pipe()?;
        // SAFETY: there is no other thread whose locks could be held in the child.
        let pid = unsafe { libc::fork() };
        if pid < 0 {
            return Err(io::Error::last_os_error());
        }
        if pid == 0 {
            // Or the child would wait for itself.
            drop(go);
            run(&pointers, wait.as_raw_fd(), tell.as_raw_fd(), mask);
        }
        // SAFETY: takes numbers; the child has not been waited for, so its number is its own.
        let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just opened, and nobody else's.
        let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor as i32) };
        // SAFETY: the descriptor stays open and the same until it is dropped.
        let exit = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }
            .map_err(io::Error::from)?;
        Ok(Launched { pid, go: Some(go), report, exit, ended: None })
    }

    pub fn pid(&self) -> u32 {
        self.pid as u32
    }

    /// Sampling has begun: the command may run.
    pub fn let_go(&mut self) {
        if let Some(go) = self.go.take() {
            // SAFETY: one byte of a constant. If the child is gone, its end is what tells.
            unsafe { libc::write(go.as_raw_fd(), b"g".as_ptr().cast(), 1) };
        }
    }

    /// Waits for its end; at once if it has ended before.
    pub async fn ended(&mut self) -> Ended {
        if let Some(ended) = self.ended {
            return ended;
        }
        // An error would come from a loop that has ended, where nobody waits.
        let _ = self.exit.readable().await;
        let status = reap(self.pid);
        let mut error = [0; 4];
        // SAFETY: a buffer of four bytes. The other end is closed: by exec, or by the child's end.
        let read = unsafe { libc::read(self.report.as_raw_fd(), error.as_mut_ptr().cast(), 4) };
        let ended = if read == 4 { Ended::NotRun(i32::from_ne_bytes(error)) } else { Ended::With(status) };
        self.ended = Some(ended);
        ended
    }

    pub fn signal(&self, signal: i32) {
        if self.ended.is_none() {
            // SAFETY: our own child, not yet waited for.
            unsafe { libc::kill(self.pid, signal) };
        }
    }
}

/// Never run at all: the child sees that nobody will tell it to go.
impl Drop for Launched {
    fn drop(&mut self) {
        if self.go.take().is_some() && self.ended.is_none() {
            reap(self.pid);
        }
    }
}

fn reap(pid: libc::pid_t) -> u8 {
    let mut status = 0;
    loop {
        // SAFETY: a valid pointer; our own child.
        let done = unsafe { libc::waitpid(pid, &mut status, 0) };
        if done == pid {
            break;
        }
        if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return OWN_FAILURE;
        }
    }
    if libc::WIFSIGNALED(status) {
        128 + libc::WTERMSIG(status) as u8
    } else {
        libc::WEXITSTATUS(status) as u8
    }
}

/// The child: nothing here may allocate or take a lock.
fn run(command: &[*const libc::c_char], wait: i32, tell: i32, mask: &libc::sigset_t) -> ! {
    // SAFETY: async-signal-safe calls alone, on open descriptors, valid buffers, and words that end in a null pointer.
    unsafe {
        let mut word = 0u8;
        if libc::read(wait, (&raw mut word).cast(), 1) != 1 {
            libc::_exit(i32::from(OWN_FAILURE));
        }
        // The runtime of Rust ignores it, and exec would leave it so.
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        libc::sigprocmask(libc::SIG_SETMASK, mask, std::ptr::null_mut());
        libc::execvp(command[0], command.as_ptr());
        let error = io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL);
        libc::write(tell, (&raw const error).cast(), 4);
        libc::_exit(i32::from(CANNOT_RUN));
    }
}

#[cfg(test)]
mod tests {
    use super::Ended;

    #[test]
    fn statuses_are_those_of_env() {
        let rows = [
            (Ended::With(0), 0),
            (Ended::With(137), 137),
            (Ended::NotRun(libc::ENOENT), 127),
            (Ended::NotRun(libc::EACCES), 126),
            (Ended::NotRun(libc::ENOEXEC), 126),
        ];
        for (ended, status) in rows {
            assert_eq!(ended.status(), status, "{ended:?}");
        }
    }
}
