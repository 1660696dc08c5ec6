//! The two rings, read in causal order: a sample is handed on only when every lifecycle event before it has been.

use aya::maps::{MapData, RingBuf};
use profiler_common::event::{KIND_CODE, KIND_LINES, KIND_SAMPLE, KIND_STACK, KIND_THREAD, VERSION};
use profiler_common::{CodeEvent, EventHeader, Frame, LinesEvent, ProcessEvent, SampleEvent, ThreadEvent};
use tokio::io::unix::AsyncFd;

use super::BpfError;

/// One record of the sample ring.
pub enum Record<'a> {
    Sample(&'a SampleEvent, &'a [Frame]),
    Code(&'a CodeEvent, &'a [u8]),
    Lines(&'a LinesEvent, &'a [u8]),
    /// Of a thread off its CPU, ahead of the samples that name it.
    Stack(&'a SampleEvent, &'a [Frame]),
    Thread(&'a ThreadEvent),
}

pub struct Rings {
    lifecycle: AsyncFd<RingBuf<MapData>>,
    samples: AsyncFd<RingBuf<MapData>>,
    /// A record read too early: it waits for lifecycle events that may precede it.
    early: Option<Vec<u64>>,
    /// Records that were not understood.
    pub malformed: u64,
}

/// The records are 8-aligned in the ring, and so are ours.
fn header(bytes: &[u8]) -> Option<&EventHeader> {
    bytemuck::try_from_bytes(bytes.get(..size_of::<EventHeader>())?).ok()
}

fn split<T: bytemuck::Pod>(bytes: &[u8]) -> Option<(&T, &[u8])> {
    if bytes.len() < size_of::<T>() {
        return None;
    }
    let (fixed, rest) = bytes.split_at(size_of::<T>());
    Some((bytemuck::try_from_bytes(fixed).ok()?, rest))
}

/// Whether a record was made after `until_ns`, so that lifecycle events not yet read may precede it.
fn is_later(bytes: &[u8], until_ns: u64) -> bool {
    header(bytes).is_some_and(|head| head.time_ns > until_ns)
}

/// Checks a record's claims about itself.
pub fn parse(bytes: &[u8]) -> Option<Record<'_>> {
    let head = header(bytes)?;
    if head.version != VERSION || head.bytes as usize > bytes.len() {
        return None;
    }
    let bytes = &bytes[..head.bytes as usize];
    match head.kind {
        KIND_SAMPLE | KIND_STACK => {
            let (sample, rest) = split::<SampleEvent>(bytes)?;
            let frames = rest.get(..usize::from(sample.frames) * size_of::<Frame>())?;
            let frames = bytemuck::try_cast_slice(frames).ok()?;
            Some(if head.kind == KIND_STACK {
                Record::Stack(sample, frames)
            } else {
                Record::Sample(sample, frames)
            })
        }
        KIND_CODE => {
            let (code, rest) = split::<CodeEvent>(bytes)?;
            let wanted =
                u64::from(code.name.bytes) + u64::from(code.file.bytes) + u64::from(code.lines_bytes);
            (wanted <= rest.len() as u64).then_some(Record::Code(code, rest))
        }
        KIND_LINES => {
            let (lines, rest) = split::<LinesEvent>(bytes)?;
            Some(Record::Lines(lines, rest.get(..lines.bytes as usize)?))
        }
        KIND_THREAD => Some(Record::Thread(split::<ThreadEvent>(bytes)?.0)),
        _ => None,
    }
}

/// The same for a record of the lifecycle ring.
pub fn parse_lifecycle(bytes: &[u8]) -> Option<&ProcessEvent> {
    let (event, _) = split::<ProcessEvent>(bytes)?;
    (event.header.version == VERSION).then_some(event)
}

impl Rings {
    pub(super) fn new(lifecycle: RingBuf<MapData>, samples: RingBuf<MapData>) -> Result<Rings, BpfError> {
        let watch = |ring: RingBuf<MapData>| {
            // SAFETY: the ring owns its map's descriptor, which stays open and the same until the ring is dropped.
            unsafe { AsyncFd::register(ring) }.map_err(|error| BpfError::Ring(error.into()))
        };
        Ok(Rings { lifecycle: watch(lifecycle)?, samples: watch(samples)?, early: None, malformed: 0 })
    }

    /// Waits until a program asked for a reader.
    pub async fn readable(&self) -> Result<(), BpfError> {
        tokio::select! {
            ready = self.lifecycle.readable() => ready.map_err(BpfError::Ring)?.clear_ready(),
            ready = self.samples.readable() => ready.map_err(BpfError::Ring)?.clear_ready(),
        }
        Ok(())
    }

    /// Hands on every lifecycle event that is there.
    pub fn lifecycle(&mut self, mut handle: impl FnMut(&ProcessEvent)) {
        while let Some(item) = self.lifecycle.get_mut().next() {
            match parse_lifecycle(&item) {
                Some(event) => handle(event),
                None => self.malformed += 1,
            }
        }
    }

    /// Hands on the records that were made no later than `until_ns` (CLOCK_MONOTONIC), which the caller took before it
    /// read the lifecycle ring. At most `most` records, so that other work gets its turn; `true` if more are waiting.
    pub fn records(&mut self, until_ns: u64, most: usize, mut handle: impl FnMut(Record<'_>)) -> bool {
        if let Some(early) = self.early.take() {
            let bytes: &[u8] = bytemuck::cast_slice(&early);
            if is_later(bytes, until_ns) {
                self.early = Some(early);
                return false;
            }
            match parse(bytes) {
                Some(record) => handle(record),
                None => self.malformed += 1,
            }
        }
        for _ in 0..most {
            let Some(item) = self.samples.get_mut().next() else { return false };
            if is_later(&item, until_ns) {
                let mut copy = vec![0u64; item.len().div_ceil(8)];
                bytemuck::cast_slice_mut::<u64, u8>(&mut copy)[..item.len()].copy_from_slice(&item);
                self.early = Some(copy);
                return false;
            }
            match parse(&item) {
                Some(record) => handle(record),
                None => self.malformed += 1,
            }
        }
        true
    }
}
