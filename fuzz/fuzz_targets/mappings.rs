//! The side-band records of perf events, held against the sizes that they begin with.
#![no_main]

use profiler_user::bpf::each_mapping;
use pyprof_fuzz::alloc::within;
use pyprof_fuzz::target;

target!(seeds, check);

/// `PERF_RECORD_LOST`, `PERF_RECORD_MMAP2`
const LOST: u32 = 2;
const MAPPED: u32 = 10;
/// `struct perf_event_header`
const HEADER_BYTES: usize = 8;
/// Of a mapping, before its name.
const FIXED_BYTES: usize = 72;

fn check(data: &[u8]) {
    let most = data.len() / FIXED_BYTES;
    let (mut handed, mut bytes) = (0, 0);
    let lost = within(0, || {
        each_mapping(data, |mapped| {
            handed += 1;
            bytes += FIXED_BYTES + mapped.path.len();
            assert!(handed <= most && bytes <= data.len(), "more mappings than there is room for");
        })
    });
    let (mut expected, mut expected_lost) = (Vec::new(), 0_u64);
    let mut rest = data;
    while let Some(size) =
        rest.get(6..HEADER_BYTES).map(|size| usize::from(u16::from_le_bytes([size[0], size[1]])))
        && (HEADER_BYTES..=rest.len()).contains(&size)
    {
        let (record, tail) = rest.split_at(size);
        let word = |at: usize| u32::from_le_bytes(record[at..at + 4].try_into().unwrap_or_default());
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        match word(0) {
            LOST if size >= 24 => expected_lost = expected_lost.saturating_add(long(16)),
            MAPPED if size >= FIXED_BYTES => {
                let name = record[FIXED_BYTES..].split(|byte| *byte == 0).next().unwrap_or_default();
                let numbers = [u64::from(word(8)), long(16), long(24), long(32), long(48)];
                expected.push((numbers, (word(40), word(44)), name));
            }
            _ => {}
        }
        rest = tail;
    }
    let mut expected = expected.into_iter();
    each_mapping(data, |it| {
        let numbers = [u64::from(it.pid), it.start, it.bytes, it.offset, it.inode];
        assert_eq!(Some((numbers, it.device, it.path)), expected.next());
    });
    assert_eq!((lost, expected.next()), (expected_lost, None));
}

/// What the kernel writes (`perf_event_mmap_output`, `perf_output_begin` in `kernel/events`).
fn seeds() -> Vec<Vec<u8>> {
    let mapped = |name: &[u8]| {
        let mut record = MAPPED.to_le_bytes().to_vec();
        let name_bytes = (name.len() + 1).next_multiple_of(8);
        record.extend([2, 0]);
        record.extend(((FIXED_BYTES + name_bytes) as u16).to_le_bytes());
        record.extend(1234_u32.to_le_bytes().repeat(2));
        for word in [0x7f00_1234_5000_u64, 0x1000, 0x2000, 0xfe << 32 | 1, 77, 0, 5 | 2 << 32] {
            record.extend(word.to_le_bytes());
        }
        record.extend(name);
        record.resize(FIXED_BYTES + name_bytes, 0);
        record
    };
    let lost: Vec<u8> = [2_u64 | 24 << 48, 1, 9].iter().flat_map(|word| word.to_le_bytes()).collect();
    let exit = (4_u64 | 40 << 48).to_le_bytes().into_iter().chain([0; 32]).collect::<Vec<u8>>();
    let python = mapped(b"/usr/lib/x86_64-linux-gnu/libpython3.11.so.1.0");
    vec![
        python.clone(),
        [&python[..], &lost, &exit, &mapped(b"//anon")].concat(),
        [&exit[..], &mapped(b"/tmp/\xff\x1b[31m.so (deleted)"), &python[..60]].concat(),
    ]
}
