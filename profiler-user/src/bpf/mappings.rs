//! Executable mappings as processes make them: how a libpython is noticed that a program loads long after its exec.
//!
//! One dummy software event per CPU whose side-band records (`PERF_RECORD_MMAP2`, `kernel/events/core.c`,
//! `perf_event_mmap_event`) tell of every file that becomes executable memory, by `mmap` or `mprotect`, in any process. This
//! is how `perf record` learns of libraries. Why this and nothing else:
//! - a probe on `mmap` would run for every mapping of the host, this runs for files with code only: a process makes some
//!   five of them when it starts and then hardly any, each about a microsecond here and in the kernel;
//! - looking through /proc from time to time costs in proportion to the processes of the host, all the time, and finds a
//!   Python as late as its period is long;
//! - it needs no program in the kernel, and no more privilege than sampling does.
//!
//! The records wait in a ring per CPU, which the loop reads whenever it turns: ten times a second at least. What did not
//! fit the kernel counts, and the loop makes up for it by looking at every process once.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use super::{BpfError, event};

/// Data pages of a ring, a power of two: about 250 mappings.
const DATA_PAGES: usize = 8;
/// No record is longer: `header.size` has 16 bits.
const MAX_RECORD_BYTES: usize = 1 << 16;

/// `PERF_COUNT_SW_DUMMY`
const DUMMY: u64 = 9;
/// `perf_event_attr.mmap`, `.mmap2`: executable mappings, with the inode.
const MMAP: u64 = 1 << 8;
const MMAP2: u64 = 1 << 23;
/// `PERF_RECORD_LOST`, `PERF_RECORD_MMAP2`
const LOST: u32 = 2;
const MAPPED: u32 = 10;
/// `struct perf_event_mmap_page`: `data_head` and `data_tail`.
const DATA_HEAD: usize = 1024;
const DATA_TAIL: usize = 1032;

/// A file that a process has just mapped as code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MappedCode<'a> {
    pub pid: u32,
    pub start: u64,
    pub bytes: u64,
    pub offset: u64,
    pub device: (u32, u32),
    pub inode: u64,
    /// As the process sees it.
    pub path: &'a [u8],
}

/// The event of one CPU and its ring.
struct Ring {
    /// Only held: the event lives as long.
    _event: OwnedFd,
    base: *mut u8,
    page_bytes: usize,
}

// SAFETY: the mapping belongs to this value alone, and any thread may read it.
unsafe impl Send for Ring {}

impl Ring {
    fn open(cpu: u32) -> io::Result<Ring> {
        let event = event::open(cpu, DUMMY, 0, MMAP | MMAP2)?;
        // SAFETY: no memory is involved.
        let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        // SAFETY: a fresh shared mapping of the size that this kind of file demands; the result is checked.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                (1 + DATA_PAGES) * page_bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                event.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Ring { _event: event, base: base.cast(), page_bytes })
    }

    fn counter(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: an aligned word of the first page, mapped as long as `self`; the kernel writes it as one word.
        unsafe { AtomicU64::from_ptr(self.base.add(offset).cast()) }
    }

    /// Copies what is there to `into`, record after record, and gives the room back.
    fn take(&self, into: &mut Vec<u8>) {
        into.clear();
        let ring_bytes = (DATA_PAGES * self.page_bytes) as u64;
        let head = self.counter(DATA_HEAD).load(Ordering::Acquire);
        let tail = self.counter(DATA_TAIL).load(Ordering::Relaxed);
        let waiting = head.wrapping_sub(tail).min(ring_bytes);
        let first = (tail % ring_bytes) as usize;
        let until_end = (ring_bytes as usize - first).min(waiting as usize);
        for (start, bytes) in [(first, until_end), (0, waiting as usize - until_end)] {
            // SAFETY: within the data pages, which the kernel does not write between tail and head.
            let piece = unsafe { std::slice::from_raw_parts(self.base.add(self.page_bytes + start), bytes) };
            into.extend_from_slice(piece);
        }
        self.counter(DATA_TAIL).store(head, Ordering::Release);
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: the mapping that `open` made; nothing borrowed from it outlives `self`.
        unsafe { libc::munmap(self.base.cast(), (1 + DATA_PAGES) * self.page_bytes) };
    }
}

/// The rings of all CPUs.
pub struct Mappings {
    rings: BTreeMap<u32, Ring>,
    copy: Vec<u8>,
    /// Mappings that the rings had no room for.
    pub lost: u64,
}

impl Mappings {
    pub(super) fn open() -> Result<Mappings, BpfError> {
        let mut mappings = Mappings { rings: BTreeMap::new(), copy: Vec::new(), lost: 0 };
        mappings.follow_cpus()?;
        Ok(mappings)
    }

    pub(super) fn follow_cpus(&mut self) -> Result<(), BpfError> {
        let online = aya::util::online_cpus().map_err(|(_, source)| BpfError::Cpus(source))?;
        self.rings.retain(|cpu, _| online.contains(cpu));
        for cpu in online {
            if let std::collections::btree_map::Entry::Vacant(place) = self.rings.entry(cpu) {
                match Ring::open(cpu) {
                    Ok(ring) => drop(place.insert(ring)),
                    // A CPU may go away between the list and the call.
                    Err(_) if !aya::util::online_cpus().is_ok_and(|now| now.contains(&cpu)) => {}
                    Err(error) => return Err(BpfError::Mappings(error)),
                }
            }
        }
        Ok(())
    }

    /// Hands on every mapping that was made since the last call.
    pub fn read(&mut self, mut handle: impl FnMut(&MappedCode<'_>)) {
        for ring in self.rings.values() {
            ring.take(&mut self.copy);
            self.lost = self.lost.saturating_add(each_mapping(&self.copy, &mut handle));
        }
    }
}

/// Hands on the mappings among the records of a ring; how many the kernel says were lost.
pub fn each_mapping(records: &[u8], mut handle: impl FnMut(&MappedCode<'_>)) -> u64 {
    let (mut rest, mut lost) = (records, 0_u64);
    while let Some((record, tail)) = split(rest) {
        rest = tail;
        match parse(record) {
            Some(Record::Mapped(mapped)) => handle(&mapped),
            Some(Record::Lost(count)) => lost = lost.saturating_add(count),
            None => {}
        }
    }
    lost
}

enum Record<'a> {
    Mapped(MappedCode<'a>),
    Lost(u64),
}

/// `struct perf_event_header { u32 type; u16 misc; u16 size; }` says how long a record is.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let size = usize::from(u16::from_le_bytes(bytes.get(6..8)?.try_into().ok()?));
    (8..=MAX_RECORD_BYTES).contains(&size).then(|| bytes.split_at_checked(size))?
}

fn parse(record: &[u8]) -> Option<Record<'_>> {
    let u32_at = |at: usize| Some(u32::from_ne_bytes(record.get(at..at + 4)?.try_into().ok()?));
    let u64_at = |at: usize| Some(u64::from_ne_bytes(record.get(at..at + 8)?.try_into().ok()?));
    match u32_at(0)? {
        // { header; u64 id; u64 lost; }
        LOST => Some(Record::Lost(u64_at(16)?)),
        // { header; u32 pid, tid; u64 addr, len, pgoff; u32 maj, min; u64 ino, ino_generation; u32 prot, flags;
        //   char filename[]; }
        MAPPED => {
            let name = record.get(72..)?;
            let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
            Some(Record::Mapped(MappedCode {
                pid: u32_at(8)?,
                start: u64_at(16)?,
                bytes: u64_at(24)?,
                offset: u64_at(32)?,
                device: (u32_at(40)?, u32_at(44)?),
                inode: u64_at(48)?,
                path: &name[..end],
            }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_any_shape_are_taken_or_left() {
        let mut record = vec![0_u8; 80];
        record[0] = MAPPED as u8;
        record[6] = 80;
        record[8..12].copy_from_slice(&7_u32.to_ne_bytes());
        record[16..24].copy_from_slice(&0x1000_u64.to_ne_bytes());
        record[72..77].copy_from_slice(b"/a/b\0");
        let two = [&record[..], &record[..]].concat();
        let (first, rest) = split(&two).expect("a record");
        let Some(Record::Mapped(mapped)) = parse(first) else { panic!("a mapping") };
        assert_eq!((mapped.pid, mapped.start, mapped.path, rest.len()), (7, 0x1000, &b"/a/b"[..], 80));
        for cut in 0..80 {
            assert!(split(&record[..cut]).is_none(), "{cut}");
            let _ = parse(&record[..cut]);
        }
        for size in 0..8 {
            record[6] = size;
            assert!(split(&record).is_none(), "{size}");
        }
        let lost =
            [[2_u64, 0], [5, 6]].concat().iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<_>>();
        assert!(matches!(parse(&lost), Some(Record::Lost(5))));
    }
}
