//! A file as a hostile process would have it: of any size, with holes, unreadable from some point on. Who reads it by
//! `pread64` is counted.
//!
//! ```text
//! u64 size      44 bits; bit 62: reads do not fail, however many there are
//! pieces        u64 offset, u16 length and the bytes, to the end
//! ```

use std::cell::RefCell;
use std::ffi::c_void;
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::Path;

use crate::input::Input;
use crate::processes::encode_pieces;

const SIZE_BITS: u64 = (1 << 44) - 1;
const PATIENT: u64 = 1 << 62;
/// What can be searched of a file before its disk fails, so that most inputs are quick. Short reads do not count: how
/// many of them there are is what has a bound.
const IMPATIENT_BYTES: u64 = 512 << 10;
/// Before the pieces.
pub(crate) const HEAD_BYTES: usize = 8;

pub struct Sparse<'a> {
    pub size_bytes: u64,
    pieces: Vec<(u64, &'a [u8])>,
    most_bytes: u64,
}

/// What was read of a file.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Reads {
    pub count: u64,
    pub bytes: u64,
}

impl<'a> Sparse<'a> {
    pub fn decode(data: &'a [u8]) -> Sparse<'a> {
        let mut input = Input(data);
        let head = input.u64();
        let mut pieces = Vec::new();
        while !input.0.is_empty() {
            let (at, len) = (input.u64(), input.u16());
            pieces.push((at, input.bytes(len.into())));
        }
        let most_bytes = if head & PATIENT == 0 { IMPATIENT_BYTES } else { u64::MAX };
        Sparse { size_bytes: head & SIZE_BITS, pieces, most_bytes }
    }

    /// Of what is longer than the file, the part that is in it; what comes last counts.
    pub fn read(&self, at: u64, into: &mut [u8]) -> usize {
        let len = self.size_bytes.saturating_sub(at).min(into.len() as u64) as usize;
        let into = &mut into[..len];
        into.fill(0);
        for (start, bytes) in &self.pieces {
            let (skip, from) = (start.saturating_sub(at), at.saturating_sub(*start));
            if skip < len as u64 && from < bytes.len() as u64 {
                let (skip, from) = (skip as usize, from as usize);
                let common = (len - skip).min(bytes.len() - from);
                into[skip..skip + common].copy_from_slice(&bytes[from..from + common]);
            }
        }
        len
    }
}

/// Writes what [`Sparse::decode`] reads.
pub fn encode(size_bytes: u64, patient: bool, pieces: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut data = (size_bytes | if patient { PATIENT } else { 0 }).to_le_bytes().to_vec();
    encode_pieces(&mut data, pieces);
    data
}

enum Source {
    Input(Sparse<'static>),
    /// A real file, and what of it was read in small pieces.
    File(Vec<(u64, Vec<u8>)>),
}

struct Served {
    source: Source,
    most: Reads,
    reads: Reads,
    searched_bytes: u64,
    too_many: bool,
}

thread_local! {
    static SERVED: RefCell<Option<Served>> = const { RefCell::new(None) };
    static EMPTY: RefCell<Option<File>> = const { RefCell::new(None) };
}

/// Reads from now on until `work` is done are of `source`.
fn serve<T>(source: Source, most: Reads, work: impl FnOnce() -> T) -> (T, Served) {
    let served = Served { source, most, reads: Reads::default(), searched_bytes: 0, too_many: false };
    SERVED.with_borrow_mut(|place| *place = Some(served));
    let result = work();
    let served = SERVED.with_borrow_mut(Option::take).expect("is still served");
    assert!(!served.too_many, "more than {most:?} of the file");
    (result, served)
}

/// Gives `work` the path of a file that is as `sparse` says. Panics where more than `most` of it is read.
pub fn with_file<T>(sparse: &Sparse<'_>, most: Reads, work: impl FnOnce(&Path) -> T) -> T {
    EMPTY.with_borrow_mut(|empty| {
        let file = empty.get_or_insert_with(memory_file);
        file.set_len(sparse.size_bytes).expect("a file in memory has any size");
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let pieces: Vec<(u64, &[u8])> = sparse.pieces.clone();
        // SAFETY: `serve` drops this before it returns, or the process ends with a panic; the pieces outlive the call.
        let pieces = unsafe { std::mem::transmute::<Vec<(u64, &[u8])>, Vec<(u64, &'static [u8])>>(pieces) };
        let source = Sparse { size_bytes: sparse.size_bytes, pieces, most_bytes: sparse.most_bytes };
        let (result, served) = serve(Source::Input(source), most, || work(Path::new(&path)));
        assert_ne!(served.reads.count, 0, "reads that nobody counts");
        result
    })
}

/// What `work` reads of a real file, but for long stretches that it searches.
pub fn recorded(work: impl FnOnce()) -> Vec<(u64, Vec<u8>)> {
    let most = Reads { count: u64::MAX, bytes: u64::MAX };
    match serve(Source::File(Vec::new()), most, work).1.source {
        Source::File(log) => log,
        Source::Input(_) => Vec::new(),
    }
}

fn memory_file() -> File {
    // SAFETY: a NUL-terminated name; the result is checked.
    let fd = unsafe { libc::memfd_create(c"fuzz".as_ptr(), libc::MFD_CLOEXEC) };
    assert!(fd >= 0, "no file in memory");
    // SAFETY: a fresh descriptor that nobody else owns.
    unsafe { File::from_raw_fd(fd) }
}

/// Longer reads are searches.
const MAX_SHORT_BYTES: usize = 4096;

/// In place of the C library's, which the standard library calls for `FileExt::read_exact_at`.
///
/// # Safety
/// As for `pread(2)`: `into` has room for `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pread64(fd: i32, into: *mut c_void, len: usize, at: i64) -> isize {
    // SAFETY: the arguments are the caller's, who keeps the contract of `pread`.
    let real = || unsafe { libc::syscall(libc::SYS_pread64, fd, into, len, at) as isize };
    SERVED.with_borrow_mut(|served| {
        let Some(served) = served else { return real() };
        // SAFETY: the caller's buffer of `len` bytes, which nobody else has while it is filled.
        let room = unsafe { std::slice::from_raw_parts_mut(into.cast::<u8>(), len) };
        served.reads.count += 1;
        served.reads.bytes += len as u64;
        served.searched_bytes += if len > MAX_SHORT_BYTES { len as u64 } else { 0 };
        served.too_many |= served.reads.count > served.most.count || served.reads.bytes > served.most.bytes;
        match &mut served.source {
            Source::Input(sparse) if served.too_many || served.searched_bytes > sparse.most_bytes => -1,
            Source::Input(sparse) => sparse.read(at as u64, room) as isize,
            Source::File(log) => {
                let read = real();
                if len <= MAX_SHORT_BYTES {
                    log.push((at as u64, room[..read.max(0) as usize].to_vec()));
                }
                read
            }
        }
    })
}
