//! What an unwind touched in a live process, in a file, with what the interpreter said of itself: enough to repeat the
//! unwind anywhere, without the interpreter and without root.
//!
//! The file is text, one record per line, compressed with gzip; `x` begins bytes as hexadecimal digits. In this order:
//!
//! ```text
//! pyprof-bpf snapshot 1                       what it is, and the version of the format
//! python NAME MAJOR MINOR                     which interpreter it was taken of
//! runtime ADDRESS CURRENT                     `_PyRuntime` (2.7, 3.6: `interp_head`) and, from there, the current thread state
//! offsets xBYTES                              `_Py_DebugOffsets` (3.13+), the source of the layout; x alone: a table
//! thread POINTER COUNT                        a thread, and that many lines
//! frame INDEX LINE xNAME xFILE                its frames as the interpreter gives them, leaf first
//! name POINTER xNAME                          the name of a thread
//! range ADDRESS xBYTES                        memory, in order of addresses, no two adjacent
//! end
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::path::Path;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use pyunwind::host::{debug_offsets, versions};
use pyunwind::{Addr, Fault, Layout, Memory};

use super::stacks::{Truth, hex, numbers, read_frame, text, unhex};

const HEADER: &str = "pyprof-bpf snapshot 1";

/// All that stand beside the tests.
pub(crate) fn snapshots() -> Vec<Snapshot> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "snap"));
    files.sort();
    files.iter().map(|path| Snapshot::read(&fs::read(path).unwrap())).collect()
}

/// The layout of a build of which there is a snapshot.
pub(crate) fn recorded(python: &str) -> Layout {
    let found = snapshots().into_iter().find(|snapshot| snapshot.python == python);
    found.unwrap_or_else(|| panic!("no snapshot of {python}")).layout()
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Snapshot {
    pub(crate) python: String,
    pub(crate) version: (u64, u64),
    pub(crate) runtime: Addr,
    pub(crate) current: i32,
    pub(crate) offsets: Vec<u8>,
    pub(crate) truth: Truth,
    pub(crate) names: Vec<(u64, String)>,
    pub(crate) ranges: Ranges,
}

impl Snapshot {
    pub(crate) fn layout(&self) -> Layout {
        let known = match self.version {
            (3, 13..) => return debug_offsets::parse(&self.offsets).expect("debug offsets"),
            (2, 7) => versions::V2_7,
            (3, minor) => versions::layout(minor as u8).expect("a table"),
            version => panic!("no layout for {version:?}"),
        };
        if known.minor < 7 { Layout { runtime_current: self.current, ..known } } else { known }
    }

    pub(crate) fn write(&self) -> Vec<u8> {
        let mut out = format!("{HEADER}\npython {} {} {}\n", self.python, self.version.0, self.version.1);
        let mut line = |line: std::fmt::Arguments<'_>| writeln!(out, "{line}").expect("room");
        line(format_args!("runtime {} {}", self.runtime.0, self.current));
        line(format_args!("offsets {}", hex(&self.offsets)));
        for (pointer, frames) in &self.truth {
            line(format_args!("thread {pointer} {}", frames.len()));
            for frame in frames {
                let (name, file) = (hex(frame.name.as_bytes()), hex(frame.file.as_bytes()));
                line(format_args!("frame {} {} {name} {file}", frame.index, frame.line));
            }
        }
        for (pointer, name) in &self.names {
            line(format_args!("name {pointer} {}", hex(name.as_bytes())));
        }
        for (at, bytes) in &self.ranges.0 {
            line(format_args!("range {at} {}", hex(bytes)));
        }
        line(format_args!("end"));
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(out.as_bytes()).expect("memory");
        encoder.finish().expect("memory")
    }

    pub(crate) fn read(file: &[u8]) -> Snapshot {
        let mut all = String::new();
        GzDecoder::new(file).read_to_string(&mut all).expect("compressed text");
        let mut lines = all.lines();
        let mut line = |kind: &str| {
            let line = lines.next().expect("a snapshot breaks off");
            let rest = line.strip_prefix(kind).unwrap_or_else(|| panic!("no {kind}: {line}"));
            rest.trim_start().to_string()
        };
        line(HEADER);
        let python = line("python");
        let [python, major, minor] = python.split(' ').collect::<Vec<_>>().try_into().expect("a version");
        let version = (major.parse().unwrap(), minor.parse().unwrap());
        let runtime = line("runtime");
        let (runtime, current) = runtime.split_once(' ').expect("an address and an offset");
        let mut snapshot = Snapshot {
            python: python.to_string(),
            version,
            runtime: Addr(runtime.parse().unwrap()),
            current: current.parse().unwrap(),
            offsets: unhex(&line("offsets")),
            truth: Truth::new(),
            names: Vec::new(),
            ranges: Ranges::default(),
        };
        loop {
            let record = line("");
            let (kind, rest) = record.split_once(' ').unwrap_or((&record, ""));
            match kind {
                "thread" => {
                    let [pointer, count] = numbers(rest);
                    let frames = (0..count).map(|_| read_frame(&line("frame"))).collect();
                    snapshot.truth.push((pointer, frames));
                }
                "name" => {
                    let (pointer, name) = rest.split_once(' ').expect("a thread and its name");
                    snapshot.names.push((pointer.parse().unwrap(), text(name)));
                }
                "range" => {
                    let (at, bytes) = rest.split_once(' ').expect("an address and bytes");
                    snapshot.ranges.0.insert(at.parse().unwrap(), unhex(bytes));
                }
                "end" => return snapshot,
                _ => panic!("no such record: {record}"),
            }
        }
    }
}

/// Memory in pieces, by address: none overlaps or adjoins another.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Ranges(pub(crate) BTreeMap<u64, Vec<u8>>);

impl Ranges {
    /// Puts reads together that overlap or adjoin.
    pub(crate) fn of(mut reads: Vec<(u64, Vec<u8>)>) -> Ranges {
        reads.sort();
        let mut ranges = BTreeMap::<u64, Vec<u8>>::new();
        for (at, bytes) in reads {
            if let Some(mut last) = ranges.last_entry()
                && at <= last.key() + last.get().len() as u64
            {
                let known = (last.key() + last.get().len() as u64 - at) as usize;
                last.get_mut().extend(bytes.get(known..).unwrap_or_default());
                continue;
            }
            ranges.insert(at, bytes);
        }
        Ranges(ranges)
    }

    fn get(&self, at: u64, len: u64) -> Option<&[u8]> {
        let (start, bytes) = self.0.range(..=at).next_back()?;
        let offset = at - start;
        bytes.get(offset as usize..)?.get(..len as usize)
    }
}

/// Reads from a snapshot's memory, and remembers what was not in it.
pub(crate) struct Replay<'a> {
    ranges: &'a Ranges,
    block: &'a [u8],
    frame: &'a [u8],
    pub(crate) outside: Vec<(Addr, u32)>,
    pub(crate) reads: usize,
    fail_at: Option<usize>,
}

impl<'a> Replay<'a> {
    pub(crate) fn of(ranges: &'a Ranges) -> Replay<'a> {
        Replay { ranges, block: &[], frame: &[], outside: Vec::new(), reads: 0, fail_at: None }
    }

    /// The read of this number fails, though all of it is there.
    pub(crate) fn failing(ranges: &'a Ranges, number: usize) -> Replay<'a> {
        Replay { fail_at: Some(number), ..Replay::of(ranges) }
    }

    fn read(&mut self, at: Addr, len: u32) -> Result<&'a [u8], Fault> {
        let fails = self.fail_at == Some(self.reads);
        self.reads += 1;
        if fails {
            return Err(Fault);
        }
        let found = self.ranges.get(at.0, len.into());
        if found.is_none() {
            self.outside.push((at, len));
        }
        found.ok_or(Fault)
    }
}

/// Unspecified outside of what was loaded, as the contract has it.
fn word_of(bytes: &[u8], offset: u32) -> u64 {
    let word = bytes.get(offset as usize..).and_then(|rest| rest.first_chunk());
    word.map_or(u64::MAX, |word| u64::from_le_bytes(*word))
}

impl Memory for Replay<'_> {
    fn word(&mut self, at: Addr) -> Result<u64, Fault> {
        Ok(word_of(self.read(at, 8)?, 0))
    }

    fn load(&mut self, at: Addr, len: u32) -> Result<(), Fault> {
        self.block = self.read(at, len)?;
        Ok(())
    }

    fn field(&self, offset: u32) -> u64 {
        word_of(self.block, offset)
    }

    fn load_frame(&mut self, at: Addr, len: u32, _: bool) -> Result<(), Fault> {
        self.frame = self.read(at, len)?;
        Ok(())
    }

    fn frame_field(&self, offset: u32) -> u64 {
        word_of(self.frame, offset)
    }
}
