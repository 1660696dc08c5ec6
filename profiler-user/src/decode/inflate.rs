//! gzip, or what is not compressed at all: no more comes out than there may be, however little goes in.

use super::{DecodeError, MAX_BYTES};
use flate2::read::MultiGzDecoder;
use std::borrow::Cow;
use std::io::Read;

/// The bytes of a pprof message.
pub(super) fn inflate(bytes: &[u8]) -> Result<Cow<'_, [u8]>, DecodeError> {
    inflate_within(bytes, MAX_BYTES)
}

fn inflate_within(bytes: &[u8], most_bytes: usize) -> Result<Cow<'_, [u8]>, DecodeError> {
    if bytes.is_empty() {
        return Err(DecodeError::Empty);
    }
    if bytes.len() > most_bytes {
        return Err(DecodeError::TooLong);
    }
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(Cow::Borrowed(bytes));
    }
    let mut plain = Vec::new();
    // Several members one after the other are one file, as in RFC 1952, 2.2.
    MultiGzDecoder::new(bytes)
        .take(most_bytes as u64 + 1)
        .read_to_end(&mut plain)
        .map_err(|error| DecodeError::Gzip(error.to_string()))?;
    match plain.len() {
        0 => Err(DecodeError::Empty),
        len if len > most_bytes => Err(DecodeError::Bomb),
        _ => Ok(Cow::Owned(plain)),
    }
}

/// What a file is that somebody may take for a profile.
pub(super) fn other_format(bytes: &[u8]) -> Option<&'static str> {
    const HEADS: [(&[u8], &str); 9] = [
        (b"\x28\xb5\x2f\xfd", "compressed by zstd: unpack it first"),
        (b"\xfd7zXZ", "compressed by xz: unpack it first"),
        (b"PERFILE2", "a file of perf record"),
        (b"\x7fELF", "a program"),
        (b"<!", "HTML or XML"),
        (b"<?", "HTML or XML"),
        (b"<html", "HTML or XML"),
        (b"{", "JSON"),
        (b"heap profile: ", "a profile in the old text format: go tool pprof -proto converts it"),
    ];
    let known = HEADS.iter().find(|(head, _)| bytes.starts_with(head)).map(|(_, what)| *what);
    known.or_else(|| is_collapsed(bytes).then_some("a list of collapsed stacks, which only other tools read"))
}

/// `frame;frame;frame 12` is the first line.
fn is_collapsed(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\n').next().and_then(|line| std::str::from_utf8(line).ok());
    line.and_then(|line| line.rsplit_once(' '))
        .is_some_and(|(stack, count)| stack.contains(';') && count.parse::<u64>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn no_more_comes_out_than_may() {
        let zeros = vec![0u8; 1 << 20];
        let two = [gzip(b"one"), gzip(b"two")].concat();
        let cut = &gzip(&zeros)[..100];
        let mut flipped = gzip(b"some text that is long enough");
        flipped[15] ^= 0xff;
        let rows: &[(&[u8], usize, Result<usize, &str>)] = &[
            (b"", 10, Err("empty")),
            (b"plain", 10, Ok(5)),
            (b"plain", 4, Err("more than")),
            (&gzip(b""), 100, Err("empty")),
            (&two, 1000, Ok(6)),
            (&gzip(&zeros), 1 << 20, Ok(1 << 20)),
            (&gzip(&zeros), (1 << 20) - 1, Err("unpacks to more")),
            (cut, 1 << 20, Err("damaged or cut")),
            (&flipped, 1000, Err("damaged or cut")),
            (b"\x1f\x8b", 10, Err("damaged or cut")),
        ];
        for (number, (bytes, most, expected)) in rows.iter().enumerate() {
            let got =
                inflate_within(bytes, *most).map(|plain| plain.len()).map_err(|error| error.to_string());
            match expected {
                Ok(len) => assert_eq!(got, Ok(*len), "row {number}"),
                Err(part) => assert!(got.as_ref().is_err_and(|e| e.contains(part)), "row {number}: {got:?}"),
            }
        }
    }
}
