//! Who opens files: the kernel tells (`fanotify(7)`), so that a row of spoilt files shows that the profiler did read them.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs;
use std::io::Read;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use pyprof_tests::capture;

/// `struct fanotify_event_metadata` (`include/uapi/linux/fanotify.h`), in words of 4 bytes: its length comes first, the file
/// and the process last.
const EVENT_WORDS: usize = 6;

pub struct Opened {
    stop: Arc<AtomicBool>,
    watcher: JoinHandle<BTreeSet<PathBuf>>,
}

impl Opened {
    /// From here on. Needs CAP_SYS_ADMIN.
    pub fn watch(paths: &[PathBuf]) -> Opened {
        // SAFETY: flags only.
        let fd =
            unsafe { libc::fanotify_init(libc::FAN_CLOEXEC | libc::FAN_NONBLOCK, libc::O_RDONLY as u32) };
        assert!(fd >= 0, "fanotify_init: {}", std::io::Error::last_os_error());
        for path in paths {
            let text = CString::new(path.as_os_str().as_bytes()).expect("no NUL");
            // SAFETY: a path that ends with NUL.
            let marked = unsafe {
                libc::fanotify_mark(fd, libc::FAN_MARK_ADD, libc::FAN_OPEN, libc::AT_FDCWD, text.as_ptr())
            };
            assert_eq!(marked, 0, "fanotify_mark {}: {}", path.display(), std::io::Error::last_os_error());
        }
        // SAFETY: just opened, and nobody else's.
        let events = unsafe { fs::File::from_raw_fd(fd) };
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        Opened { stop, watcher: std::thread::spawn(move || watch(events, &stopped)) }
    }

    /// The files that the profiler has opened.
    pub fn end(self) -> BTreeSet<PathBuf> {
        self.stop.store(true, Ordering::Relaxed);
        self.watcher.join().expect("it watches")
    }
}

fn watch(mut events: fs::File, stop: &AtomicBool) -> BTreeSet<PathBuf> {
    let ours = fs::canonicalize(capture::binary()).expect("the binary");
    let (mut opened, mut buffer) = (BTreeSet::new(), [0_u8; 16_384]);
    loop {
        let ends = stop.load(Ordering::Relaxed);
        let bytes = events.read(&mut buffer).unwrap_or(0);
        for event in buffer[..bytes].chunks_exact(EVENT_WORDS * 4) {
            let word = |at: usize| i32::from_le_bytes(event[at * 4..][..4].try_into().expect("4 bytes"));
            let (fd, pid) = (word(EVENT_WORDS - 2), word(EVENT_WORDS - 1));
            if fd < 0 {
                continue;
            }
            // SAFETY: the kernel opened it for us.
            let _closed = unsafe { OwnedFd::from_raw_fd(fd) };
            // Whoever is gone already was no profiler: that one is still at work.
            if fs::read_link(Path::new("/proc").join(pid.to_string()).join("exe")).ok().as_ref()
                == Some(&ours)
            {
                opened.extend(fs::read_link(format!("/proc/self/fd/{fd}")));
            }
        }
        if bytes == 0 {
            if ends {
                return opened;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
