//! Profiles from anywhere: what is in them adds up, costs no more than its size allows, and comes back when it is written.
#![no_main]

use std::io::Read;

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use profiler_user::decode::{Decoded, pprof};
use profiler_user::encode;
use profiler_user::profile::{CaptureMeta, Profile, Total};
use pyprof_fuzz::alloc::within;
use pyprof_fuzz::target;

target!(seeds, check);

/// Longer ones say nothing more; only gzip gets there.
const MOST_PLAIN_BYTES: usize = 64 << 10;
/// Tables that double, one profile of a few kilobytes for each process, and the frames below.
const BYTES_PER_BYTE: usize = 1024;
const MOST_HELD_BYTES: usize = 8 << 20;
/// Of all stacks together.
const FRAMES_PER_BYTE: usize = 16;
const MOST_FRAMES: usize = 1 << 16;
/// A name that was cut ends in a mark; what is no UTF-8 takes three bytes for each.
const MOST_NAME_BYTES: usize = 3 * 4096 + 3;

fn check(data: &[u8]) {
    let Some(plain) = plain(data) else { return };
    let held = MOST_HELD_BYTES + BYTES_PER_BYTE * plain.len();
    let Ok(decoded) = within(held, || pprof(data, None)) else { return };
    let types = &decoded.facts.sample_types;
    let first = types[0].name.clone();
    sound(&decoded, plain.len());

    // The first of the types that have this name is the first of all.
    let asked = pprof(data, Some(&first)).expect("the type is there");
    let is_count = |index: &usize| types[*index].unit == "count";
    let count = if is_count(&0) { 0 } else { (0..types.len()).find(is_count).unwrap_or(0) };
    assert_eq!(total(&asked.profiles), expected(&plain, count), "sums of {first:?}");

    let [one] = &asked.profiles[..] else { return };
    // Two types of one name cannot be told apart by it.
    if one.measure().count.name == one.measure().weight.name && one.measure().count != one.measure().weight {
        return;
    }
    let capture = CaptureMeta { tool_version: "fuzz".into(), ..CaptureMeta::default() };
    let again = pprof(&encode::pprof(one, &capture), None).expect("our own");
    assert_eq!(total(&again.profiles), signed(one.samples().map(|sample| sample.total)), "written and read");
}

fn sound(decoded: &Decoded, len: usize) {
    let mut frames = 0;
    for profile in &decoded.profiles {
        for function in profile.functions() {
            for text in [function.name, function.file] {
                let bytes = profile.string(text).len();
                assert!(bytes <= MOST_NAME_BYTES, "a name of {bytes} bytes");
            }
        }
        for sample in profile.samples() {
            let stack = profile.stack_locations(sample.stack).count();
            assert!(stack <= MOST_FRAMES, "a stack of {stack} frames");
            frames += stack;
        }
        let outcomes = profile.outcomes().fold(Total::default(), |mut sum, (_, total)| {
            sum.merge(total);
            sum
        });
        assert_eq!(outcomes, profile.total());
    }
    let most = MOST_FRAMES.max(FRAMES_PER_BYTE * len);
    assert!(frames <= most, "{frames} frames in {len} bytes");
}

fn total(profiles: &[Profile]) -> Total {
    let mut sum = Total::default();
    profiles.iter().for_each(|profile| sum.merge(profile.total()));
    sum
}

/// As they are written: in `int64`.
fn signed(totals: impl Iterator<Item = Total>) -> Total {
    let mut sum = Total::default();
    totals.for_each(|of| sum.add(of.samples.min(i64::MAX as u64), of.weight_ns.min(i64::MAX as u64)));
    sum
}

fn plain(data: &[u8]) -> Option<Vec<u8>> {
    if !data.starts_with(&[0x1f, 0x8b]) {
        return Some(data.to_vec());
    }
    let mut plain = Vec::new();
    let most = MOST_PLAIN_BYTES as u64 + 1;
    MultiGzDecoder::new(data).take(most).read_to_end(&mut plain).ok()?;
    (plain.len() <= MOST_PLAIN_BYTES).then_some(plain)
}

/// The sums of a profile that is well-formed, by the shortest way there is.
fn expected(plain: &[u8], count: usize) -> Total {
    let mut sum = Total::default();
    for sample in messages(plain, 2) {
        let mut values = Vec::new();
        for (field, number, bytes) in fields(sample) {
            match (field, bytes) {
                (2, None) => values.push(number),
                (2, Some(mut packed)) => {
                    while !packed.is_empty() {
                        values.push(varint(&mut packed));
                    }
                }
                _ => {}
            }
        }
        if (values[count] as i64) >= 0 && (values[0] as i64) >= 0 {
            sum.add(values[count], values[0]);
        }
    }
    sum
}

fn messages(message: &[u8], wanted: u64) -> impl Iterator<Item = &[u8]> {
    fields(message).into_iter().filter_map(move |(field, _, bytes)| bytes.filter(|_| field == wanted))
}

/// Number, value, and bytes if it has any.
fn fields(mut bytes: &[u8]) -> Vec<(u64, u64, Option<&[u8]>)> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let skip = |bytes: &mut &[u8], len: usize| *bytes = &bytes[len..];
        match key & 7 {
            0 => fields.push((key >> 3, varint(&mut bytes), None)),
            1 => skip(&mut bytes, 8),
            5 => skip(&mut bytes, 4),
            _ => {
                let len = varint(&mut bytes) as usize;
                fields.push((key >> 3, 0, Some(&bytes[..len])));
                skip(&mut bytes, len);
            }
        }
    }
    fields
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..70).step_by(7) {
        let Some((first, rest)) = bytes.split_first() else { break };
        *bytes = rest;
        value |= u64::from(first & 0x7f).wrapping_shl(shift);
        if first & 0x80 == 0 {
            break;
        }
    }
    value
}

#[derive(Clone, Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn number(mut self, field: u64, value: u64) -> Message {
        self.varint(field << 3);
        self.varint(value);
        self
    }

    fn bytes(mut self, field: u64, bytes: &[u8]) -> Message {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn message(self, field: u64, message: Message) -> Message {
        self.bytes(field, &message.0)
    }
}

const STRINGS: [&str; 14] = [
    "",
    "samples",
    "count",
    "cpu",
    "nanoseconds",
    "main",
    "/app.py",
    "pid",
    "thread_id",
    "thread_name",
    "worker",
    "gil",
    "held",
    "span id",
];

/// One location of `lines` lines, and stacks that name it `times`.
fn made(lines: usize, stacks: u64, times: usize) -> Message {
    let new = Message::default;
    let value_type = |name, unit| new().number(1, name).number(2, unit);
    let line = || new().number(1, 1).number(2, 7);
    let wide = (0..lines).fold(new().number(1, 1).number(2, 1), |location, _| location.message(4, line()));
    let label = |key, str, num| new().number(1, key).number(2, str).number(3, num);
    let sample = |number: u64| {
        let ids = [vec![1; times], vec![2; number as usize % 8 + 1]].concat();
        new()
            .bytes(1, &ids)
            .bytes(2, &[number as u8 + 1, 10])
            .message(3, label(7, 0, 1 + number / 16))
            .message(3, label(8, 0, number % 5))
            .message(3, label(9, 10, 0))
            .message(3, label(11, 12, 0))
            .message(3, label(13, 0, 99))
    };
    let profile = new().message(1, value_type(1, 2)).message(1, value_type(3, 4));
    let profile = (0..stacks).fold(profile, |profile, number| profile.message(2, sample(number)));
    let profile = profile
        .message(3, new().number(1, 1).number(2, 0x1000).number(3, 0x2000).number(5, 6))
        .message(4, wide)
        .message(4, new().number(1, 2).number(2, 1).number(3, 0x1010))
        .message(5, new().number(1, 1).number(2, 5).number(4, 6).number(5, 3));
    let profile = STRINGS.iter().fold(profile, |profile, text| profile.bytes(6, text.as_bytes()));
    profile
        .number(9, 1_795_216_500_000_000_000)
        .number(10, 10_000_000_000)
        .number(12, 10_101_010)
        .number(14, 3)
}

fn seeds() -> Vec<Vec<u8>> {
    let small = made(2, 3, 2).0;
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    std::io::Write::write_all(&mut gzip, &small).expect("a vector");
    let long = "x".repeat(5000);
    let named =
        made(1, 1, 1).bytes(6, long.as_bytes()).message(5, Message::default().number(1, 9).number(2, 14));
    vec![
        small,
        gzip.finish().expect("a vector"),
        made(1, 40, 1).0,
        // As much as a file of this size may hold, nearly.
        made(400, 8, 20).0,
        // And a little more, which is refused.
        made(400, 9, 20).0,
        named.0,
    ]
}
