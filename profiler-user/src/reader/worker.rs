//! One reader process: started from this very program, asked through a socket, and left alone if it never answers.

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::questions::MAX_FRAME_BYTES;
use crate::process::own::{self, Progress};

/// The first argument that makes a reader of this program. No user needs to know it, and no option looks like it.
pub const ARGUMENT: &str = "\u{1}reader";
/// What it is called in a list of processes.
const NAME: &str = "pyprof-bpf: reader";
/// Received in one piece.
const PIECE_BYTES: usize = 64 << 10;

/// What goes over the socket: a length and so many bytes.
pub(super) fn frame(content: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut frame = postcard::to_extend(content, vec![0; 4]).map_err(io::Error::other)?;
    let bytes = frame.len() - 4;
    if bytes > MAX_FRAME_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    frame[..4].copy_from_slice(&(bytes as u32).to_le_bytes());
    Ok(frame)
}

pub(super) struct Worker {
    child: Child,
    socket: UnixStream,
    /// Of the answer that is coming.
    received: Vec<u8>,
}

impl Worker {
    pub(super) fn start() -> io::Result<Worker> {
        use std::os::unix::process::CommandExt;
        // Both ends are closed on exec; the child has its own as standard input.
        let (socket, theirs) = UnixStream::pair()?;
        socket.set_nonblocking(true)?;
        // No stream of ours: who waits for the end of our output must not wait for a reader that cannot end. And no file: there
        // may be no /dev/null. What is written to a socket without another end goes nowhere.
        let (nowhere, _) = UnixStream::pair()?;
        let nowhere = OwnedFd::from(nowhere);
        let child = Command::new(own::PROGRAM)
            .arg0(NAME)
            .arg(ARGUMENT)
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::from(nowhere.try_clone()?))
            .stderr(Stdio::from(nowhere))
            .spawn()?;
        Ok(Worker { child, socket, received: Vec::new() })
    }

    /// One that never answers.
    #[cfg(test)]
    pub(super) fn silent(child: Child) -> Worker {
        let (socket, _) = UnixStream::pair().expect("sockets");
        Worker { child, socket, received: Vec::new() }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks; `false` if the reader does not take the question in time.
    pub(super) fn send(&mut self, frame: &[u8], until: Instant) -> io::Result<bool> {
        let mut rest = frame;
        while !rest.is_empty() {
            match self.socket.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !self.wait(libc::POLLOUT, until)? {
                        return Ok(false);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// The answer, once it is there; an error if there will be none.
    pub(super) fn receive(&mut self, until: Instant) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(head) = self.received.first_chunk::<4>() {
                let bytes = u32::from_le_bytes(*head) as usize;
                if bytes > MAX_FRAME_BYTES {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                if self.received.len() >= 4 + bytes {
                    let mut answer = std::mem::take(&mut self.received);
                    answer.truncate(4 + bytes);
                    answer.drain(..4);
                    return Ok(Some(answer));
                }
            }
            let held = self.received.len();
            self.received.resize(held + PIECE_BYTES, 0);
            let read = self.socket.read(&mut self.received[held..]);
            self.received.truncate(held + read.as_ref().map_or(0, |read| *read));
            match read {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !self.wait(libc::POLLIN, until)? {
                        return Ok(None);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn wait(&self, events: libc::c_short, until: Instant) -> io::Result<bool> {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        let mut fd = libc::pollfd { fd: self.socket.as_raw_fd(), events, revents: 0 };
        let time = libc::timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        // SAFETY: one valid structure, a valid time, no signal mask.
        let ready = unsafe { libc::ppoll(&mut fd, 1, &time, std::ptr::null()) };
        match ready {
            0 => Ok(false),
            ready if ready > 0 => Ok(true),
            _ => {
                let error = io::Error::last_os_error();
                if error.kind() == io::ErrorKind::Interrupted { Ok(true) } else { Err(error) }
            }
        }
    }

    /// Whether it runs or waits for a CPU, and for how long it has.
    pub(super) fn progress(&self) -> Progress {
        own::progress(self.pid())
    }

    /// CPU time so far.
    pub(super) fn cpu_ns(&self) -> u64 {
        own::cpu_ns(self.pid())
    }

    /// Ends it, as soon as the kernel lets go of it.
    pub(super) fn kill(&mut self) {
        // It has not been waited for, so its number is still its own.
        let _ = self.child.kill();
    }

    /// Whether it is gone; never waits.
    pub(super) fn is_gone(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

/// Waits for killed readers, but no longer than this: one that a target holds ends when the target lets go.
pub(super) fn reap(workers: &mut Vec<Worker>, at_most: Duration) {
    let until = Instant::now() + at_most;
    loop {
        workers.retain_mut(|worker| !worker.is_gone());
        if workers.is_empty() || Instant::now() >= until {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
