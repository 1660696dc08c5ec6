//! Finds the CPython inside a process: which mapped file holds `_PyRuntime`, where it was loaded, what its layout is.

use std::io;
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pyunwind::{Addr, Layout};
use serde::{Deserialize, Serialize};

use super::cache::{Dull, FactsCache, Known, MappingKey};
use super::elf::ElfError;
use super::facts::{CPython, ElfFacts, Runtime};
use super::gil;
use super::links::{State, busy_threads, validate};
use super::maps::{Mapping, Maps, unescape};
use super::memory::ProcessMemory;
use super::name::base_name;
use super::open::{open_executable, open_mapped};
use super::scan;

/// One process has a few CPythons at most (a program that embeds one and loads another).
const MAX_CANDIDATES: usize = 16;
/// A process may map thousands of large files that nobody has looked at yet; what was learnt in time is kept, so that
/// the next inspection gets further.
const EXAMINATION: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    #[error("failed to inspect the process: it is gone")]
    Gone,
    #[error("failed to inspect the process in one go: it maps too many unknown files")]
    TooMuch,
    #[error("failed to inspect the process: {0}")]
    Io(#[source] io::Error),
}

impl From<io::Error> for InspectError {
    fn from(error: io::Error) -> Self {
        match (error.kind(), error.raw_os_error()) {
            (io::ErrorKind::NotFound, _) | (_, Some(libc::ESRCH)) => InspectError::Gone,
            _ => InspectError::Io(error),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub enum Inspection {
    Python(Box<PythonImage>),
    /// A Python that cannot be unwound, by name: "CPython 3.7.16", "PyPy 3.9", "free-threaded CPython 3.13.0".
    Unsupported {
        what: String,
    },
    /// No runtime is mapped. With `expects_libpython` the linker is about to map one.
    MaybeLater {
        expects_libpython: bool,
    },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PythonImage {
    /// Major, minor and, where the file tells it, micro.
    pub version: (u8, u8, Option<u8>),
    /// "3.11.2", "3.15.0a3"
    pub version_text: String,
    #[serde(with = "as_bytes")]
    pub layout: Layout,
    /// Where `_PyRuntime` is in the process.
    #[serde(with = "as_bytes")]
    pub runtime_address: Addr,
    /// Threads are there. Not so in the first milliseconds, nor where a program maps libpython and does not use it.
    pub initialized: bool,
    /// Another CPython of the process has threads as well.
    pub has_rival: bool,
    /// A release of a version that is tested; anything else is unwound as far as it says itself where its fields are.
    pub verified: bool,
    /// What /proc/PID/exe leads to.
    pub executable: Image,
    /// The file that holds `_PyRuntime`: the executable or a libpython.
    pub runtime: Image,
    /// A live task of the process: the process itself unless its leader has exited.
    pub task: u32,
}

/// A mapped file: its code in the process, and its name there.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Image {
    pub path: String,
    pub start: u64,
    pub limit: u64,
    pub offset: u64,
    pub build_id: Option<String>,
}

/// How plain structures of other crates go from process to process: as what they are in memory.
pub(crate) mod as_bytes {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<T: bytemuck::Pod, S: Serializer>(it: &T, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytemuck::bytes_of(it))
    }

    pub(crate) fn deserialize<'de, T: bytemuck::Pod, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
        let bytes = <&[u8]>::deserialize(from)?;
        bytemuck::try_pod_read_unaligned(bytes).map_err(D::Error::custom)
    }
}

/// A CPython that some mapping of the process belongs to.
struct Candidate<'m> {
    mapping: Mapping<'m>,
    facts: Arc<ElfFacts>,
    python: CPython,
    runtime_address: Addr,
    state: State,
    /// Thread states with frames.
    busy: usize,
}

/// Looks at one process. Opens only files that the cache does not know to be dull.
pub fn inspect(pid: u32, cache: &mut FactsCache) -> Result<Inspection, InspectError> {
    match look(pid, cache) {
        // The first thread may end while it is looked at: the others, if any, have the same memory and files.
        Err(InspectError::Gone) if scan::exists(pid) => look(pid, cache),
        looked => looked,
    }
}

fn look(pid: u32, cache: &mut FactsCache) -> Result<Inspection, InspectError> {
    let maps = Maps::read(pid)?;
    let start = Instant::now();
    let mut too_much = false;
    let mut expects_libpython = false;
    let mut unsupported = None;
    let mut candidates: Vec<Candidate<'_>> = Vec::new();
    // Neighbouring lines are of the same file: the last few are enough to look at each file once.
    let mut seen: Vec<((u32, u32), u64)> = Vec::new();
    for mapping in maps.iter().filter(may_hold_code) {
        let file = (mapping.device, mapping.inode);
        if seen.contains(&file) || candidates.len() >= MAX_CANDIDATES {
            continue;
        }
        if seen.len() >= 512 {
            seen.clear();
        }
        seen.push(file);
        let key = mapping_key(cache, &mapping);
        if let Some(dull) = cache.dull(&key) {
            expects_libpython |= dull.needs_libpython;
            continue;
        }
        too_much |= start.elapsed() > EXAMINATION;
        if too_much {
            continue;
        }
        let Ok(located) = open_mapped(maps.task, &mapping) else { continue };
        // Between reading the line and opening the file the target may have mapped another one, to have a
        // libpython that others use forgotten: only what certainly is the file of the line is remembered as dull.
        let device = libc::makedev(mapping.device.0, mapping.device.1);
        let is_the_file = (located.key.device, located.key.inode) == (device, mapping.inode);
        let known = match cache.facts(&located) {
            Ok(known) => known,
            Err(ElfError::Foreign(what)) => {
                let name = lossy(base_name(&unescape(mapping.path)));
                if name.starts_with("python") || name.starts_with("libpython") {
                    unsupported.get_or_insert(format!("{what} {name}"));
                    continue;
                }
                None
            }
            Err(_) => continue,
        };
        match known.as_deref().map(|facts| &facts.runtime) {
            None | Some(Runtime::None) => {
                let needs_libpython = known.is_some_and(|facts| facts.needs_libpython);
                expects_libpython |= needs_libpython;
                if is_the_file {
                    cache.set_dull(key, Dull { needs_libpython });
                }
            }
            Some(Runtime::Unsupported(what)) => drop(unsupported.get_or_insert(what.clone())),
            Some(Runtime::CPython(python)) => {
                add_candidates(&mut candidates, &maps, file, &known, python);
                // Its data are not mapped yet: the linker is in the middle of it.
                expects_libpython = true;
            }
        }
    }
    // Two CPythons in one process (a host that loads plugins, each with its own) may both be at work. One is followed:
    // the one with threads, and of two such the one with more threads that have frames now; else the first, which is
    // the program itself before any library. Who follows the process looks again if its threads show no frames.
    let has_rival = candidates.iter().filter(|one| one.state == State::Initialized).count() > 1;
    let rank = |one: &Candidate<'_>| (one.state, one.busy);
    let best =
        candidates.into_iter().reduce(|best, next| if rank(&next) > rank(&best) { next } else { best });
    match best {
        // Its first thread, or all of it, has ended since its mappings were read: nothing was read of its memory.
        Some(best) if best.state == State::Mismatch && has_moved(&maps, pid) => Err(InspectError::Gone),
        Some(best) if best.state == State::Mismatch => {
            let what =
                format!("CPython {} whose structures are not where they should be", best.python.version);
            Ok(Inspection::Unsupported { what })
        }
        Some(best) => image(&maps, best, has_rival, cache).map(|image| Inspection::Python(Box::new(image))),
        None => Ok(match unsupported.or_else(|| other_python(maps.task)) {
            Some(what) => Inspection::Unsupported { what },
            None if too_much => return Err(InspectError::TooMuch),
            None => Inspection::MaybeLater { expects_libpython },
        }),
    }
}

/// Whether another task, or none, has the memory of the process now.
fn has_moved(maps: &Maps, pid: u32) -> bool {
    Maps::read(pid).map_or(true, |now| now.task != maps.task || now.iter().next().is_none())
}

/// Code is mapped executable; the private writable data serve where code was moved to anonymous huge pages.
fn may_hold_code(mapping: &Mapping<'_>) -> bool {
    mapping.inode != 0 && mapping.private && (mapping.executable || mapping.writable)
}

pub(super) fn mapping_key(cache: &FactsCache, mapping: &Mapping<'_>) -> MappingKey {
    MappingKey {
        device: libc::makedev(mapping.device.0, mapping.device.1),
        inode: mapping.inode,
        offset: mapping.offset,
        bytes: mapping.limit - mapping.start,
        path_hash: cache.hash(mapping.path),
    }
}

/// One candidate per place to which the file is loaded.
fn add_candidates<'m>(
    candidates: &mut Vec<Candidate<'m>>,
    maps: &'m Maps,
    file: ((u32, u32), u64),
    known: &Known,
    python: &CPython,
) {
    let Some(facts) = known else { return };
    for mapping in
        maps.iter().filter(|mapping| (mapping.device, mapping.inode) == file && may_hold_code(mapping))
    {
        let Some(bias) = bias(&facts.segments, &mapping) else { continue };
        let runtime_address = Addr(python.runtime_vaddr.wrapping_add(bias));
        if candidates.iter().any(|candidate| candidate.runtime_address == runtime_address) {
            continue;
        }
        let mapped = |it: &Mapping<'_>| (it.start..it.limit).contains(&runtime_address.0) && it.writable;
        if candidates.len() >= MAX_CANDIDATES || !maps.iter().any(|it| mapped(&it)) {
            continue;
        }
        let mut memory = ProcessMemory::new(maps.task);
        let state = validate(&mut memory, &python.layout, runtime_address);
        let busy = match state {
            State::Initialized => busy_threads(&mut memory, &python.layout, runtime_address),
            State::NotYet | State::Mismatch => 0,
        };
        candidates.push(Candidate {
            mapping,
            facts: Arc::clone(facts),
            python: python.clone(),
            runtime_address,
            state,
            busy,
        });
    }
}

/// What was added to the addresses of the file when this mapping was made.
pub(super) fn bias(segments: &[super::elf::Segment], mapping: &Mapping<'_>) -> Option<u64> {
    // SAFETY: no memory is involved.
    let page_bytes = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()?;
    let segment = segments.iter().find(|segment| {
        // A page of the file may be mapped twice, as the end of one segment and the start of the next.
        let first = segment.offset & !(page_bytes - 1);
        let end = segment.offset.saturating_add(segment.file_bytes);
        let executable = segment.flags & libc::PF_X != 0;
        let writable = segment.flags & libc::PF_W != 0;
        let same_kind = executable == mapping.executable && (executable || writable == mapping.writable);
        same_kind && (first..end).contains(&mapping.offset)
    })?;
    let vaddr = segment.vaddr.wrapping_add(mapping.offset.wrapping_sub(segment.offset));
    let bias = mapping.start.wrapping_sub(vaddr);
    bias.is_multiple_of(page_bytes).then_some(bias)
}

/// Implementations of Python that are known by the name of their program only.
const OTHER_PYTHONS: [(&[u8], &str); 3] =
    [(b"micropython", "MicroPython"), (b"graalpy", "GraalPy"), (b"rustpython", "RustPython")];

fn other_python(task: u32) -> Option<String> {
    let printed = std::fs::read_link(format!("/proc/{task}/exe")).ok()?.into_os_string().into_vec();
    let printed = unescape(&printed);
    let name = base_name(&printed);
    OTHER_PYTHONS.iter().find(|(prefix, _)| name.starts_with(prefix)).map(|(_, what)| (*what).to_owned())
}

fn image(
    maps: &Maps,
    best: Candidate<'_>,
    has_rival: bool,
    cache: &mut FactsCache,
) -> Result<PythonImage, InspectError> {
    let printed = std::fs::read_link(format!("/proc/{}/exe", maps.task))?.into_os_string().into_vec();
    let mut executable = text_of(maps, |mapping| unescape(mapping.path) == unescape(&printed));
    executable.path = lossy(&unescape(&printed));
    executable.build_id = open_executable(maps.task)
        .ok()
        .and_then(|located| cache.facts(&located).ok().flatten())
        .and_then(|facts| facts.build_id.clone());
    let mut runtime = text_of(maps, |mapping| {
        (mapping.device, mapping.inode) == (best.mapping.device, best.mapping.inode)
            && bias(&best.facts.segments, mapping) == bias(&best.facts.segments, &best.mapping)
    });
    runtime.path = lossy(&unescape(best.mapping.path));
    runtime.build_id = best.facts.build_id.clone();
    Ok(PythonImage {
        version: (best.python.version.major, best.python.version.minor, best.python.version.micro),
        version_text: best.python.version.to_string(),
        layout: gil::believed(&mut ProcessMemory::new(maps.task), &best.python.layout, best.runtime_address),
        runtime_address: best.runtime_address,
        initialized: best.state == State::Initialized,
        has_rival,
        verified: best.python.verified,
        executable,
        runtime,
        task: maps.task,
    })
}

/// The first executable mapping that `is_of` accepts.
fn text_of(maps: &Maps, is_of: impl Fn(&Mapping<'_>) -> bool) -> Image {
    maps.iter().find(|mapping| mapping.executable && mapping.inode != 0 && is_of(mapping)).map_or_else(
        Image::default,
        |mapping| Image {
            start: mapping.start,
            limit: mapping.limit,
            offset: mapping.offset,
            ..Image::default()
        },
    )
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
