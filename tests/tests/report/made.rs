//! Profiles as other tools make them: by Go itself, and byte by byte from the public schema.

use std::path::Path;
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;

const SOURCE: &str = include_str!("../../targets/report.go");

/// `cpu.pb.gz` and `heap.pb.gz` in this directory.
pub fn by_go(directory: &Path) {
    std::fs::write(directory.join("report.go"), SOURCE).expect("the source");
    let ran = Command::new("go")
        .args(["run", "report.go", "cpu.pb.gz", "heap.pb.gz"])
        .current_dir(directory)
        .env("GOFLAGS", "-mod=mod")
        .output()
        .expect("go is needed: apt-get install golang-go");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("a vector");
    encoder.finish().expect("a vector")
}

/// A protobuf message that grows.
#[derive(Clone, Default)]
pub struct Message(pub Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    pub fn number(mut self, field: u64, value: i64) -> Message {
        self.varint(field << 3);
        self.varint(value as u64);
        self
    }

    pub fn bytes(mut self, field: u64, bytes: &[u8]) -> Message {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn message(self, field: u64, message: Message) -> Message {
        self.bytes(field, &message.0)
    }
}

pub fn new() -> Message {
    Message::default()
}

/// Numbers of fields: google/pprof `proto/profile.proto`.
pub mod field {
    pub const SAMPLE_TYPE: u64 = 1;
    pub const SAMPLE: u64 = 2;
    pub const LOCATION: u64 = 4;
    pub const FUNCTION: u64 = 5;
    pub const STRING: u64 = 6;
}

use field::{FUNCTION, LOCATION, SAMPLE, SAMPLE_TYPE, STRING};

const STRINGS: [&str; 18] = [
    "",
    "cpu-time",
    "nanoseconds",
    "wall-time",
    "alloc-samples",
    "count",
    "alloc-space",
    "bytes",
    "main",
    "/srv/app.py",
    "work",
    "inlined",
    "thread id",
    "thread name",
    "MainThread",
    "span id",
    "Worker \u{1f40d}",
    "_ZN4leafEv",
];

/// How many strings [`like_ddtrace`] has.
pub fn strings() -> usize {
    STRINGS.len()
}

/// What ddtrace and its like write: several sample types and no default, ids with gaps, inlined lines, no mapping, a function
/// with a system name only, threads by a number that is none of the kernel's, labels that nobody else knows.
pub fn like_ddtrace() -> Message {
    let value_type = |name, unit| new().number(1, name).number(2, unit);
    let line = |function, line| new().number(1, function).number(2, line);
    let text = |key, value| new().number(1, key).number(2, value);
    let number = |key, value| new().number(1, key).number(3, value);
    let sample = |locations: &[i64], values: [i64; 4], thread: i64, name: i64| {
        // Repeated numbers one by one, as a writer may, where protobuf packs them otherwise.
        let sample = locations.iter().fold(new(), |sample, id| sample.number(1, *id));
        let sample = values.iter().fold(sample, |sample, value| sample.number(2, *value));
        sample.message(3, number(12, thread)).message(3, text(13, name)).message(3, number(15, thread ^ 77))
    };
    let profile = new()
        .message(SAMPLE, sample(&[700, 9], [30_000_001, 40_000_000, 0, 0], 140_737_353_000_000, 14))
        .message(SAMPLE, sample(&[9], [7, 50_000_000, 3, 4096], 140_737_353_000_000, 14))
        .message(SAMPLE, sample(&[5, 700, 9], [1_000, 2_000, 1, 100], 140_737_354_000_000, 16))
        .message(SAMPLE_TYPE, value_type(1, 2))
        .message(SAMPLE_TYPE, value_type(3, 2))
        .message(SAMPLE_TYPE, value_type(4, 5))
        .message(SAMPLE_TYPE, value_type(6, 7))
        .message(LOCATION, new().number(1, 9).message(4, line(41, 12)))
        .message(LOCATION, new().number(1, 700).message(4, line(44, 33)).message(4, line(43, 22)))
        .message(LOCATION, new().number(1, 5).number(3, 0x1234).message(4, line(45, 0)))
        .message(FUNCTION, new().number(1, 41).number(2, 8).number(4, 9).number(5, 10))
        .message(FUNCTION, new().number(1, 43).number(2, 10).number(3, 10).number(4, 9))
        .message(FUNCTION, new().number(1, 44).number(2, 11).number(3, 11).number(4, 9))
        .message(FUNCTION, new().number(1, 45).number(2, 17).number(3, 17));
    STRINGS.iter().fold(profile, |profile, text| profile.bytes(STRING, text.as_bytes()))
}
