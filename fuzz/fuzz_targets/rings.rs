//! Records of both rings, well-formed or not, and what the profiles make of them: every sample is accounted for once.
//!
//! ```text
//! records       u8 ring, u16 length and the bytes, to the end
//! ```
#![no_main]

use profiler_common::event::{
    KIND_CODE, KIND_LINES, KIND_SAMPLE, KIND_STACK, KIND_THREAD, SOURCE_OFF_CPU, VERSION,
};
use profiler_common::{
    CodeEvent, EventHeader, Frame, LinesEvent, ProcessEvent, ProcessKey, SampleEvent, Text, ThreadEvent,
};
use profiler_user::bpf::{Record, parse, parse_lifecycle};
use profiler_user::pipeline::{Image, Ingest, State};
use profiler_user::process::PythonImage;
use profiler_user::profile::Total;
use profiler_user::reader::Reader;
use pyprof_fuzz::alloc::within;
use pyprof_fuzz::input::Input;
use pyprof_fuzz::target;
use pyunwind::Addr;
use pyunwind::host::versions;
use std::mem::offset_of;

target!(seeds, check);

/// Of a record on the ring of samples.
const SAMPLES: u8 = 0;
/// The program charges ten periods at most, so sums do not overflow.
const MOST_WEIGHT_NS: u64 = 1 << 40;
const WEIGHT_AT: usize = 32;
/// What profiles may hold, beside what one record adds.
const MEMORY_BYTES: usize = 1 << 20;
const MOST_HELD_BYTES: usize = 4 << 20;
/// Of a process that is not there: nothing can be asked of it.
const NOBODY: u32 = i32::MAX as u32;

fn check(data: &[u8]) {
    let first = within(MOST_HELD_BYTES, || play(data));
    assert_eq!(first, play(data));
}

/// What became of all samples: how many there were, and the sum of each image.
fn play(data: &[u8]) -> (u64, Vec<(u32, Total)>) {
    let mut ingest = processes();
    let (mut input, mut sent, mut blocks) = (Input(data), Total::default(), 0);
    while !input.0.is_empty() {
        let (ring, len) = (input.u8(), input.u16());
        let mut words = vec![0_u64; usize::from(len).div_ceil(8)];
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
        let given = input.bytes(len.into());
        let bytes = &mut bytes[..given.len()];
        bytes.copy_from_slice(given);
        if ring & 1 != SAMPLES {
            let event = parse_lifecycle(bytes);
            let (len, version) = (bytes.len(), Input(bytes.get(2..4).unwrap_or(&[0, 0])).u16());
            assert_eq!(event.is_some(), len >= size_of::<ProcessEvent>() && version == VERSION);
            continue;
        }
        if let Some(weight) = bytes.get_mut(WEIGHT_AT + 5..WEIGHT_AT + 8) {
            weight.fill(0);
        }
        let record = parse(bytes);
        assert_eq!(record.as_ref().map(payload), expected(bytes));
        let Some(record) = record else { continue };
        match &record {
            Record::Sample(sample, _) if sample.source == SOURCE_OFF_CPU => blocks += 1,
            Record::Sample(sample, _) => {
                assert!(sample.weight_ns < MOST_WEIGHT_NS);
                sent.add(1, sample.weight_ns);
            }
            Record::Code(..) | Record::Lines(..) | Record::Stack(..) | Record::Thread(_) => {}
        }
        ingest.record(record);
        ingest.check_memory(0);
        assert_eq!(ingest.received.off_cpu, blocks);
        expect_all(&ingest, sent);
    }
    for give_up in [false, true] {
        ingest.settle(give_up);
        expect_all(&ingest, sent);
    }
    assert!(ingest.images().iter().all(|image| image.waiting.is_empty() && image.held.is_empty()));
    let images = ingest.images().iter().map(|image| (image.key.tgid, image.profile.total()));
    (ingest.received.unnamed, images.collect())
}

fn expect_all(ingest: &Ingest, sent: Total) {
    let mut seen = Total::default();
    seen.add(ingest.received.other, ingest.received.other_weight_ns);
    ingest.images().iter().for_each(|image| seen.merge(image.all_samples()));
    assert_eq!(seen, sent, "what is kept is not what was sent");
    let outcomes: u64 = ingest.received.outcomes.iter().sum();
    assert_eq!(
        (ingest.received.samples, ingest.received.weight_ns, outcomes),
        (sent.samples, sent.weight_ns, sent.samples)
    );
}

/// The kind of a record and how many bytes of it follow its fixed part, of those that mean something.
fn payload(record: &Record<'_>) -> (u16, usize) {
    match record {
        Record::Sample(_, frames) => (KIND_SAMPLE, size_of_val(*frames)),
        Record::Code(_, data) => (KIND_CODE, data.len()),
        Record::Lines(_, data) => (KIND_LINES, data.len()),
        Record::Stack(_, frames) => (KIND_STACK, size_of_val(*frames)),
        Record::Thread(_) => (KIND_THREAD, 0),
    }
}

/// The same, as the declarations of the records say it.
fn expected(bytes: &[u8]) -> Option<(u16, usize)> {
    let u16_at = |at: usize| bytes.get(at..at + 2).map(|it| u16::from_le_bytes([it[0], it[1]]));
    let u32_at = |at: usize| Some(u32::from(u16_at(at)?) | u32::from(u16_at(at + 2)?) << 16);
    let (kind, version, len) = (u16_at(0)?, u16_at(2)?, u32_at(4)? as usize);
    if version != VERSION || bytes.len() < size_of::<EventHeader>() || len > bytes.len() {
        return None;
    }
    let behind = |fixed: usize| len.checked_sub(fixed);
    // Offsets of `frames`, of the sizes of three parts, and of `bytes`.
    match kind {
        KIND_SAMPLE | KIND_STACK => {
            let frames = u16_at(offset_of!(SampleEvent, frames))?;
            let (rest, wanted) =
                (behind(size_of::<SampleEvent>())?, usize::from(frames) * size_of::<Frame>());
            (wanted <= rest).then_some((kind, wanted))
        }
        KIND_CODE => {
            let rest = behind(size_of::<CodeEvent>())?;
            let parts = [56, 72, 84].map(|at| u32_at(at).map_or(0, u64::from));
            (parts.iter().sum::<u64>() <= rest as u64).then_some((kind, rest))
        }
        KIND_LINES => {
            let (rest, wanted) = (behind(size_of::<LinesEvent>())?, u32_at(48)? as usize);
            (wanted <= rest).then_some((kind, wanted))
        }
        KIND_THREAD => behind(size_of::<ThreadEvent>()).map(|_| (kind, 0)),
        _ => None,
    }
}

const fn key(tgid: u32) -> ProcessKey {
    ProcessKey { start_ns: 5, tgid, exec_id: 1 }
}

/// Pythons of four kinds, and a process that is none.
fn processes() -> Ingest {
    let mut ingest = Ingest::new(MEMORY_BYTES, Reader::here());
    let known = [6, 10, 11, 12].map(|minor| versions::layout(minor).expect("has a table"));
    for (tgid, layout) in (1..).zip([versions::V2_7].into_iter().chain(known)) {
        let mut image = Image::new(key(tgid));
        image.state = State::Python(Box::new(PythonImage {
            version: (3, layout.minor, None),
            version_text: String::new(),
            layout,
            runtime_address: Addr::NULL,
            initialized: true,
            has_rival: false,
            verified: true,
            executable: Default::default(),
            runtime: Default::default(),
            task: NOBODY,
        }));
        ingest.add(image);
    }
    let mut other = Image::new(key(9));
    other.state = State::Other;
    ingest.add(other);
    ingest
}

/// What the program sends of a function and of two stacks that it is in, for each process; and of one that is not known.
fn seeds() -> Vec<Vec<u8>> {
    (1..=10)
        .map(|tgid| [code(tgid), lines(tgid), sample(tgid, 1), sample(tgid, 2), exec(tgid)].concat())
        .collect()
}

fn on_ring(ring: u8, record: &[u8], rest: &[u8]) -> Vec<u8> {
    let len = record.len() + rest.len();
    let mut bytes = vec![ring];
    bytes.extend((len as u16).to_le_bytes());
    bytes.extend(record);
    bytes.extend(rest);
    bytes[7..11].copy_from_slice(&(len as u32).to_le_bytes());
    bytes
}

fn header(kind: u16, tgid: u32) -> EventHeader {
    EventHeader { kind, version: VERSION, bytes: 0, time_ns: 100, process: key(tgid) }
}

fn code(tgid: u32) -> Vec<u8> {
    // `PyASCIIObject.state`: compact, ASCII, of one byte.
    let text = |bytes: u32| Text { chars: bytes, state: 0xe4, bytes, reserved: 0 };
    let header = header(KIND_CODE, tgid);
    let (name, file) = (text(4), text(6));
    let event = CodeEvent {
        header,
        code: 0x1000,
        identity: 7,
        first_line: 3,
        name,
        file,
        lines_total: 12,
        lines_bytes: 8,
    };
    on_ring(SAMPLES, bytemuck::bytes_of(&event), b"workfile.p\x04\x01\x06\x01\x04\x02\x08\x01")
}

fn lines(tgid: u32) -> Vec<u8> {
    let event = LinesEvent {
        header: header(KIND_LINES, tgid),
        code: 0x1000,
        identity: 7,
        offset: 8,
        bytes: 4,
        reserved: 0,
    };
    on_ring(SAMPLES, bytemuck::bytes_of(&event), &[4, 1, 4, 1])
}

fn sample(tgid: u32, stack_hash: u64) -> Vec<u8> {
    let frames: Vec<Frame> =
        (0..3).map(|index| Frame { code: 0x1000 * stack_hash, identity: 7, index: 4 * index }).collect();
    let event = SampleEvent {
        header: header(KIND_SAMPLE, tgid),
        weight_ns: 10_000_000,
        thread_start_ns: 6,
        stack_hash,
        tid: tgid,
        frames: 3,
        flags: 6,
        collector: 1,
        comm: *b"python3\0\0\0\0\0\0\0\0\0",
        ..SampleEvent::default()
    };
    on_ring(SAMPLES, bytemuck::bytes_of(&event), bytemuck::cast_slice(&frames))
}

fn exec(tgid: u32) -> Vec<u8> {
    let event = ProcessEvent { header: header(4, tgid), parent: key(1), comm: [b'x'; 16] };
    on_ring(1, bytemuck::bytes_of(&event), &[])
}
