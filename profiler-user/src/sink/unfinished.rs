//! The one file that is being written, for whoever has to stop at once: a handler of signals can take it away.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicI32, AtomicU8, Ordering};

const NONE: i32 = -1;
/// Names on file systems have 255 bytes; the last one here is a NUL.
const BYTES: usize = 256;

static DIRECTORY: AtomicI32 = AtomicI32::new(NONE);
static NAME: [AtomicU8; BYTES] = [const { AtomicU8::new(0) }; BYTES];

/// As long as it lives, there is a file of this name that is not whole.
pub(super) struct Unfinished(());

impl Unfinished {
    pub(super) fn note(directory: BorrowedFd<'_>, name: &CStr) -> Unfinished {
        let bytes = name.to_bytes_with_nul();
        if bytes.len() <= BYTES {
            NAME.iter().zip(bytes).for_each(|(slot, byte)| slot.store(*byte, Ordering::Relaxed));
            DIRECTORY.store(directory.as_raw_fd(), Ordering::Release);
        }
        Unfinished(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        DIRECTORY.store(NONE, Ordering::Release);
    }
}

/// Takes away what is not whole. A handler of signals may call this; whoever does ends the program.
pub fn remove_unfinished() {
    let directory = DIRECTORY.load(Ordering::Acquire);
    if directory == NONE {
        return;
    }
    let name: [u8; BYTES] = std::array::from_fn(|at| NAME[at].load(Ordering::Relaxed));
    // SAFETY: the descriptor was open when it was noted, and the name ends in a NUL.
    unsafe { libc::unlinkat(directory, name.as_ptr().cast(), 0) };
}
