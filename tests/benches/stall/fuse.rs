//! A file system that answers until it is told not to: the kernel's side of FUSE (`include/uapi/linux/fuse.h`), spoken by a
//! thread of the test. With the end of the test, however it comes, the connection ends and whoever waits is let go.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use pyprof_tests::{Scratch, capture};

/// `enum fuse_opcode`
const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const OPEN: u32 = 14;
const READ: u32 = 15;
const RELEASE: u32 = 18;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
const INTERRUPT: u32 = 36;
const BATCH_FORGET: u32 = 42;

/// The file system has one file, by this name, below its root.
const ROOT: u64 = 1;
const THE_FILE: u64 = 2;
pub const NAME: &str = "python3.11";
const IN_HEADER_BYTES: usize = 40;

/// What the program under test gets no answer to any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Silent {
    /// What the file is: `fstat` waits and cannot be killed.
    Attributes,
    /// Its pages.
    Pages,
}

#[derive(Default)]
struct State {
    /// An opcode, or 0.
    silent: AtomicU32,
    unanswered: AtomicU64,
}

pub struct HangingFs {
    directory: Scratch,
    device: Option<OwnedFd>,
    state: Arc<State>,
    server: Option<std::thread::JoinHandle<()>>,
}

impl HangingFs {
    /// Mounts a file system that holds a copy of this file.
    pub fn mount(file: &Path) -> HangingFs {
        let directory = Scratch::new("fuse");
        let device = File::options()
            .read(true)
            .write(true)
            .custom_flags(libc::O_CLOEXEC | libc::O_NONBLOCK)
            .open("/dev/fuse")
            .expect("/dev/fuse");
        let text = |text: &str| CString::new(text).expect("no NUL");
        let target = text(directory.path().to_str().expect("a path of text"));
        let options = format!(
            "fd={},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions",
            device.as_raw_fd()
        );
        let (source, kind, options) = (text("hanging"), text("fuse"), text(&options));
        // SAFETY: five valid strings; the result is checked.
        let status = unsafe {
            libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), 0, options.as_ptr().cast())
        };
        assert_eq!(status, 0, "mount: {}", std::io::Error::last_os_error());
        let state = Arc::new(State::default());
        let content = File::open(file).expect("the file to serve");
        let requests = device.try_clone().expect("a descriptor");
        let server = std::thread::spawn({
            let state = Arc::clone(&state);
            move || serve(&requests, &content, &state)
        });
        HangingFs { directory, device: Some(device.into()), state, server: Some(server) }
    }

    pub fn file(&self) -> PathBuf {
        self.directory.path().join(NAME)
    }

    pub fn fall_silent(&self, what: Silent) {
        let opcode = match what {
            Silent::Attributes => GETATTR,
            Silent::Pages => READ,
        };
        self.state.silent.store(opcode, Ordering::SeqCst);
    }

    /// Requests that nobody will ever answer.
    pub fn unanswered(&self) -> u64 {
        self.state.unanswered.load(Ordering::SeqCst)
    }

    /// Ends the connection: every request, answered or not, fails.
    pub fn end(&mut self) {
        self.state.silent.store(u32::MAX, Ordering::SeqCst);
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
        self.device = None;
        let path = CString::new(self.directory.path().to_str().expect("text")).expect("no NUL");
        // SAFETY: a valid string. Whoever still runs from here keeps the mount until it ends.
        unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
    }
}

impl Drop for HangingFs {
    fn drop(&mut self) {
        self.end();
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// Numbers of four or eight bytes, one after the other.
struct Out(Vec<u8>);

impl Out {
    fn u32(mut self, numbers: &[u32]) -> Out {
        numbers.iter().for_each(|number| self.0.extend_from_slice(&number.to_ne_bytes()));
        self
    }

    fn u64(mut self, numbers: &[u64]) -> Out {
        numbers.iter().for_each(|number| self.0.extend_from_slice(&number.to_ne_bytes()));
        self
    }

    /// `struct fuse_attr`
    fn attributes(self, node: u64, bytes: u64) -> Out {
        let mode = if node == ROOT { libc::S_IFDIR | 0o755 } else { libc::S_IFREG | 0o755 };
        self.u64(&[node, bytes, bytes.div_ceil(512), 0, 0, 0]).u32(&[0, 0, 0, mode, 1, 0, 0, 0, 4096, 0])
    }
}

/// Whether whoever asks runs the program under test: the link is the kernel's own.
fn is_under_test(task: u32) -> bool {
    std::fs::read_link(format!("/proc/{task}/exe")).is_ok_and(|program| program == capture::binary())
}

fn serve(device: &File, content: &File, state: &State) {
    let bytes = content.metadata().expect("a file").len();
    let mut buffer = vec![0; 1 << 20];
    while state.silent.load(Ordering::SeqCst) != u32::MAX {
        let mut fd = libc::pollfd { fd: device.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid structure.
        unsafe { libc::poll(&mut fd, 1, 20) };
        // SAFETY: a live buffer of that size.
        let read = unsafe { libc::read(device.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
        if read < IN_HEADER_BYTES as isize {
            // Nothing there, a request that was taken back, or the end of the mount, which the owner tells of.
            continue;
        }
        let request = &buffer[..read as usize];
        let (opcode, unique, node) = (u32_at(request, 4), u64_at(request, 8), u64_at(request, 16));
        let silent = opcode == state.silent.load(Ordering::SeqCst) && node == THE_FILE;
        // Pages may be read by a thread of the kernel, for whoever needs them; no target needs any of them again.
        if silent && (opcode == READ || is_under_test(u32_at(request, 32))) {
            state.unanswered.fetch_add(1, Ordering::SeqCst);
            continue;
        }
        let input = &request[IN_HEADER_BYTES..];
        let out = Out(Vec::new());
        let reply = match opcode {
            FORGET | BATCH_FORGET | INTERRUPT => continue,
            // `struct fuse_init_out`: the version, sizes, and nothing special.
            INIT => {
                Ok(out.u32(&[7, 31, 128 << 10, 0, 12 | 9 << 16, 128 << 10, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]))
            }
            // `struct fuse_entry_out`: names are known for a minute, attributes not at all.
            LOOKUP if input.strip_suffix(b"\0") == Some(NAME.as_bytes()) => {
                Ok(out.u64(&[THE_FILE, 0, 60, 0]).u32(&[0, 0]).attributes(THE_FILE, bytes))
            }
            LOOKUP => Err(libc::ENOENT),
            // `struct fuse_attr_out`
            GETATTR => Ok(out.u64(&[0]).u32(&[0, 0]).attributes(node, bytes)),
            // `struct fuse_open_out`; 2: FOPEN_KEEP_CACHE
            OPEN => Ok(out.u64(&[0]).u32(&[2, 0])),
            READ => {
                let (offset, size) = (u64_at(input, 8), u32_at(input, 16) as usize);
                let mut data = vec![0; size];
                let read = content.read_at(&mut data, offset).expect("the file is there");
                data.truncate(read);
                Ok(Out(data))
            }
            FLUSH | RELEASE => Ok(out),
            _ => Err(libc::ENOSYS),
        };
        let (error, data) = match reply {
            Ok(Out(data)) => (0, data),
            Err(error) => (-error, Vec::new()),
        };
        let head = Out(Vec::new()).u32(&[16 + data.len() as u32, error as u32]).u64(&[unique]);
        let whole = [head.0, data].concat();
        // SAFETY: a live buffer of that size. Whoever asked may be gone by now.
        unsafe { libc::write(device.as_raw_fd(), whole.as_ptr().cast(), whole.len()) };
    }
}
