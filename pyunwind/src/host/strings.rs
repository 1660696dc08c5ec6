//! From the characters of a CPython string, as they lie in memory, to a Rust one: names and paths of the target in
//! any script, and never an error, since a name that is only half readable is better than none.

use alloc::string::String;

use crate::text::StrShape;

/// Ends a string of which only the beginning is there.
pub const CUT_MARK: char = '…';

/// Decodes as many of `total_chars` characters as `bytes` holds; if that is not all of them, a [`CUT_MARK`] follows.
///
/// A surrogate stands for itself in CPython (`os.fsdecode` makes them out of bytes that are not UTF-8), never as half
/// of a pair: each becomes U+FFFD. Control characters stay: escaping is for whoever prints.
pub fn decode(shape: StrShape, bytes: &[u8], total_chars: u64) -> String {
    // Width 0 would never end; for any shape that is no string's, nothing can be said but that something was there.
    let width = if shape.is_valid() { usize::from(shape.kind) } else { usize::MAX };
    let wanted = usize::try_from(total_chars).unwrap_or(usize::MAX);
    if shape.bytes {
        let mut text = String::from_utf8_lossy(bytes.get(..wanted).unwrap_or(bytes)).into_owned();
        if bytes.len() < wanted {
            text.push(CUT_MARK);
        }
        return text;
    }
    let mut chars = 0;
    let mut text = String::with_capacity(bytes.len().min(wanted));
    for unit in bytes.chunks_exact(width).take(wanted) {
        text.push(match *unit {
            [a] => char::from(a),
            [a, b] => {
                char::from_u32(u32::from(u16::from_le_bytes([a, b]))).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            [a, b, c, d] => {
                char::from_u32(u32::from_le_bytes([a, b, c, d])).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            _ => char::REPLACEMENT_CHARACTER,
        });
        chars += 1;
    }
    if chars < wanted {
        text.push(CUT_MARK);
    }
    text
}
