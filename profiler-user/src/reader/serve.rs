//! The reader's side: answers one question after the other until nobody asks any more. Everything that touches a target's
//! memory or files is called from here, and from nowhere else: each of these calls may never come back.

use std::io::{self, Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use pyunwind::host::code_object::CodeObject;
use pyunwind::host::thread_names::thread_names;
use pyunwind::thread::ThreadWalk;
use pyunwind::{Addr, code};
use serde::Serialize;

use super::questions::{
    Access, Brings, Code, Looked, MAX_FRAME_BYTES, Place, Presence, Question, Seen, Started, Threads,
};
use crate::process::parked::parked;
use crate::process::{
    FactsCache, InspectError, ProcessMemory, UNKNOWN, identity, inspect, is_started, may_bring_python, own,
    process_name, scan, stacks, standing,
};

/// Thread states walked: as many as a process is listed with.
const MAX_WALK: usize = 65_536;

/// Answers questions from standard input, which is a socket, until its other end is closed.
pub fn run() {
    // The end of the socket ends this process too, but not while it waits for a target.
    // SAFETY: takes numbers only.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    // Ours are closed on exec; what whoever started the profiler left open is not. An older kernel (before 5.9) leaves it so.
    // SAFETY: nothing in this process has opened a file yet.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
    // In a list of processes; without this it would be called "exe".
    // SAFETY: a valid string, which the kernel copies.
    unsafe { libc::prctl(libc::PR_SET_NAME, c"pyprof-reader".as_ptr()) };
    // What ends the capture is the capture's to handle: the last questions come after Ctrl-C.
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT] {
        // SAFETY: to ignore a signal involves no handler.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    own::prefer();
    // SAFETY: nothing else in this process uses standard input.
    let socket = UnixStream::from(unsafe { OwnedFd::from_raw_fd(libc::STDIN_FILENO) });
    // An error is the end of whoever asks, or of the order of frames: either way nobody is left to tell.
    let _ = serve(socket);
}

fn serve(mut socket: UnixStream) -> io::Result<()> {
    // Nobody types questions.
    socket.peer_addr()?;
    let mut server = Server::default();
    let mut frame = Vec::new();
    loop {
        let mut head = [0; 4];
        socket.read_exact(&mut head)?;
        let bytes = u32::from_le_bytes(head) as usize;
        if bytes > MAX_FRAME_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        frame.resize(bytes, 0);
        socket.read_exact(&mut frame)?;
        let question = postcard::from_bytes(&frame).map_err(|_| io::ErrorKind::InvalidData)?;
        let answer = server.answer(&question)?;
        socket.write_all(&answer)?;
    }
}

/// What the reader knows from question to question.
#[derive(Default)]
pub(super) struct Server {
    cache: FactsCache,
}

impl Server {
    /// The frame that answers a question.
    pub(super) fn answer(&mut self, question: &Question) -> io::Result<Vec<u8>> {
        match question {
            Question::Presence { pid } => {
                frame(&Presence { leader: scan::leader(*pid), has_memory: scan::has_memory(*pid) })
            }
            Question::User { pid } => frame(&scan::user(*pid)),
            Question::Look { pid } => frame(&self.look(*pid)),
            Question::Name { pid } => frame(&name(*pid)),
            Question::Comm { pid } => frame(&comm(*pid)),
            Question::Identity { task } => frame(&identity(*task)),
            Question::Standing { task } => frame(&standing(*task)),
            Question::Parent { pid } => frame(&scan::parent(*pid)),
            Question::Started(place) => frame(&match is_started(place.task, &place.layout, place.runtime) {
                Ok(true) => Started::Yes,
                Ok(false) => Started::NotYet,
                Err(_) => Started::Gone,
            }),
            Question::Brings { pid, mapping } => {
                let mapping = mapping.mapping();
                let brings = may_bring_python(*pid, &mapping, &mut self.cache);
                frame(&match brings {
                    true => Brings::Maybe,
                    false if self.cache.is_dull(&mapping) => Brings::Never,
                    false => Brings::No,
                })
            }
            Question::Threads(place) => frame(&threads(place)),
            Question::ThreadNames { pid, place, wanted } => frame(&names(*pid, place, wanted)),
            Question::Parked { place, from } => {
                frame(&parked(place.task, &place.layout, place.runtime, *from))
            }
            Question::Code { place, address, identity } => {
                frame(&code_object(place, *address, *identity).map(Code::from))
            }
            Question::Access { pid } => frame(&access(*pid)),
            Question::Stacks { pid, place, wanted } => {
                frame(&stacks::stacks(*pid, place.task, &place.layout, place.runtime, *wanted))
            }
        }
    }

    fn look(&mut self, pid: u32) -> Looked {
        let seen = match inspect(pid, &mut self.cache) {
            Ok(inspection) => Seen::Known(inspection),
            Err(InspectError::TooMuch) => Seen::TooMuch,
            Err(InspectError::Gone | InspectError::Io(_)) => Seen::Gone,
        };
        Looked {
            seen,
            start_ns: scan::start_time(pid).map_or(0, scan::StartTime::as_ns),
            age_ns: scan::age(pid).map_or(0, |age| age.as_nanos() as u64),
        }
    }
}

/// Who may not trace a process gets an empty list of its mappings, or none.
fn access(pid: u32) -> Access {
    match scan::mappings(pid) {
        Ok(true) => Access::Granted,
        Ok(false) => Access::Gone,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Access::Denied,
        Err(_) => Access::Gone,
    }
}

/// With its length in front.
fn frame(answer: &impl Serialize) -> io::Result<Vec<u8>> {
    super::worker::frame(answer)
}

/// What a process is called that is no Python: by its program, or by the kernel's name for its own threads.
fn name(pid: u32) -> String {
    match process_name(pid) {
        Ok(name) if name != UNKNOWN => name,
        _ => comm(pid),
    }
}

fn comm(pid: u32) -> String {
    scan::thread_name(pid, pid).unwrap_or_else(|_| UNKNOWN.into())
}

fn threads(place: &Place) -> Threads {
    let mut threads = Threads::default();
    let mut memory = ProcessMemory::new(place.task);
    let Ok(Some(mut walk)) = ThreadWalk::begin(&mut memory, &place.layout, place.runtime) else {
        return threads;
    };
    while threads.states.len() < MAX_WALK {
        match walk.list(&mut memory, &place.layout) {
            Ok(Some((state, thread_pointer))) => threads.states.push((thread_pointer, state.0)),
            Ok(None) => return Threads { whole: true, ..threads },
            // A thread went while its state was looked at. What was found until then is of use.
            Err(_) => break,
        }
    }
    threads
}

fn names(pid: u32, place: &Place, wanted: &[(u64, u32)]) -> Vec<(u64, String)> {
    let mut memory = ProcessMemory::new(place.task);
    let found = thread_names(&mut memory, &place.layout, place.runtime).unwrap_or_default();
    let wanted: std::collections::HashMap<u64, u32> = wanted.iter().copied().collect();
    // Who is still there had its pointer, and hence its name, the whole time: pointers go from thread to thread.
    let is_alive = |pointer: &u64| wanted.get(pointer).is_some_and(|tid| scan::thread_exists(pid, *tid));
    let named = found.into_iter().map(|thread| (thread.ident, thread.name));
    named.filter(|(pointer, _)| is_alive(pointer)).collect()
}

/// The code object, if it has this identity before it was read and afterwards.
fn code_object(place: &Place, address: u64, identity: u32) -> Option<CodeObject> {
    let mut memory = ProcessMemory::new(place.task);
    let same = |memory: &mut ProcessMemory| {
        code::check(memory, &place.layout, Addr(address), 0).is_ok_and(|check| check.identity == identity)
    };
    if !same(&mut memory) {
        return None;
    }
    let code = CodeObject::read(&mut memory, &place.layout, Addr(address)).ok()?;
    same(&mut memory).then_some(code)
}
